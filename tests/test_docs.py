"""What the documents say is what the code does."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import click
import pytest

from labeler import __version__
from labeler.cli import cli
from labeler.config import Config
from labeler.export.folders import INDEX_COLUMNS
from labeler.export.records import EVENT_COLUMNS, LABEL_COLUMNS

ROOT = Path(__file__).parent.parent
START = "pip install -r requirements.txt && labeler start"
TEST = "pip install -r requirements-dev.txt && pytest"
DOCS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def pins(name: str) -> dict[str, str]:
    """Return {package: version}, names as the index writes them in addresses."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", read(name), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def test_the_readme_has_the_two_commands_and_ci_runs_the_second():
    lines = read("README.md").splitlines()
    assert START in lines
    assert TEST in lines
    assert f'bash -c "{TEST}"' in read(".ci/run").splitlines()


def sections() -> dict[str, str]:
    parts = re.split(r"^## labeler (\w+)$", read("docs/commands.md"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_is_documented():
    assert sorted(sections()) == sorted(cli.commands)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_is_documented_and_no_other(name):
    options = {
        flag
        for param in cli.commands[name].params
        if isinstance(param, click.Option)
        for flag in (*param.opts, *param.secondary_opts)
        if flag.startswith("--") and flag != "--help"
    }
    documented = set(re.findall(r"`(--[a-z-]+)", sections()[name]))
    assert documented == options


def test_defaults_of_options_are_documented():
    text = sections()["start"]
    for param in cli.commands["start"].params:
        if isinstance(param.default, str | int) and not isinstance(param.default, bool):
            line = next(x for x in text.splitlines() if f"`{param.opts[0]}" in x)
            assert f"({param.default})" in line


def test_every_setting_is_documented_with_its_default():
    text = read("docs/workspace.md").split("## Settings", 1)[1].split("## An export", 1)[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.MULTILINE))
    expected = {
        f.name: "none"
        if f.default is None
        else f'`"{f.default}"`'
        if isinstance(f.default, str)
        else str(f.default)
        for f in fields(Config)
    }
    assert documented == expected


def test_every_column_of_an_export_is_documented():
    text = read("docs/workspace.md")
    table = text.split("`labels.csv`, one row per file", 1)[1].split("`events.csv`", 1)[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == LABEL_COLUMNS
    assert f"`{','.join(EVENT_COLUMNS)}`" in text
    assert f"`{','.join(INDEX_COLUMNS)}`" in text


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)|src=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if not re.match(r"https?:|mailto:", link):
            assert (path.parent / link).exists(), link


def test_the_lock_covers_the_project_and_ends_with_it():
    project = tomllib.loads(read("pyproject.toml"))
    locked, dev = pins("requirements.txt"), pins("requirements-dev.txt")
    for wanted in project["project"]["dependencies"]:
        name = re.match(r"[A-Za-z0-9_.-]+", wanted).group().lower()
        assert name in locked, wanted
        if "==" in wanted:
            assert wanted.split("==")[1] == locked[name]
    for wanted in project["dependency-groups"]["dev"]:
        assert re.match(r"[A-Za-z0-9_.-]+", wanted).group().lower() in dev, wanted
    assert locked["torch"] == "2.13.0"
    assert read("requirements.txt").splitlines()[-1] == "-e ."
    assert "-r requirements.txt" in read("requirements-dev.txt").splitlines()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_names_no_host_and_no_build_for_graphics_cards(name):
    text = read(name)
    assert "://" not in text
    assert not re.search(r"^-(?!e \.$|r requirements\.txt$)", text, re.MULTILINE)
    assert not [
        p for p in pins(name) if re.match(r"nvidia-|cuda-|triton|torchvision|torchaudio|timm|modal$", p)
    ]


def test_the_changelog_knows_this_version():
    assert re.search(rf"^## {re.escape(__version__)}\b", read("CHANGELOG.md"), re.MULTILINE)


def test_usage_statistics_are_off():
    settings = tomllib.loads(read(".streamlit/config.toml"))
    assert settings["browser"]["gatherUsageStats"] is False
