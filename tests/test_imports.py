"""What may be imported where, as far as import-linter can't see it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    *(
        "torch",
        "transformers",
        "faiss",
        "modAL",
        "sklearn",
        "scipy",
        "pandas",
        "streamlit",
        "fastapi",
        "starlette",
    ),
    *("uvicorn", "sqlite_utils", "sqlite3", "numpy", "PIL"),
)
HELP = """
import sys
from click.testing import CliRunner
from labeler.cli import cli
for args in (["--help"], ["--version"], *([name, "--help"] for name in cli.commands)):
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
print(*sorted(m for m in sys.modules if "." not in m))
"""
OPEN = """
import sys
from pathlib import Path
from labeler import loop
from labeler.config import Config
from labeler.workspace import Workspace
folder = Path(sys.argv[1])
ws = Workspace.open(folder / "ws", Config(images=str(folder)))
session = loop.start_session(ws)
loop.next_cards(ws, session, loop.owner(ws), 20)
loop.status(ws)
print(*sorted(m for m in sys.modules if "." not in m))
"""
PAGES = sorted((ROOT / "pages").glob("*.py"))


def modules_after(script: str, *args: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", script, *args], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_help_imports_nothing_heavy():
    assert modules_after(HELP) & set(HEAVY) == set()


def test_cards_come_before_anything_that_learns_or_draws_pages(tmp_path):
    never = {"torch", "transformers", "faiss", "modAL", "sklearn", "scipy", "pandas", "streamlit"}
    assert modules_after(OPEN, str(tmp_path)) & never == set()


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_a_page_is_thin(path):
    """No SQL, no NumPy, no rules about labeling: a page reads, draws, and hands one action to loop."""
    names = imported(path)
    roots = {n.split(".")[0] for n in names}
    assert roots & {"active", "numpy", "sqlite3", "sqlite_utils", "torch", "sklearn", "PIL"} == set()
    sql = ("labeler.store", "labeler.catalog", "labeler.schema", "labeler.database")
    assert not {n for n in names if n.startswith(sql)}
    assert len(path.read_text("utf-8").splitlines()) <= 80


def test_app_is_small():
    assert len((ROOT / "app.py").read_text("utf-8").splitlines()) <= 60


def test_labeler_and_active_import_no_page():
    for path in (*(ROOT / "labeler").rglob("*.py"), *(ROOT / "active").rglob("*.py")):
        roots = {n.split(".")[0] for n in imported(path)}
        assert roots & {"app", "pages", "benchmarks", "tests"} == set(), path
