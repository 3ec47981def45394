"""Eighty hostile files and some odd ones that are fine, through the real commands."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rubbish import Growing, colours_of, jpeg, make_hostile, make_odd, quarters
from labeler import loop
from labeler.images import decode
from labeler.items import shown_path
from labeler.server.tiles import make_tile
from labeler.workspace import Workspace
from tests.pools import event

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes pipes and sockets")

ROOT = Path(__file__).parent.parent
OBEY = "from benchmarks.rubbish import obey_permissions\nheld = obey_permissions()\n"
LABELER = (
    OBEY + "import os, sys\nos.execv(sys.executable, [sys.executable, '-m', 'labeler.cli', *sys.argv[1:]])"
)


def python(code: str, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def labeler(command: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the program, for which permissions hold."""
    done = python(LABELER, command, *options)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Return (images, workspace, the hostile, the odd) after `labeler index`, and what status says."""
    home = tmp_path_factory.mktemp("hostile")
    images, workspace = home / "images", home / "w"
    images.mkdir()
    hostile = make_hostile(images, can_lock=python(OBEY + "print(held)").stdout == "True\n")
    odd = make_odd(images, large=False)
    with Growing(images):
        labeler("index", "--images", str(images), "--workspace", str(workspace))
    status = json.loads(labeler("status", "--workspace", str(workspace), "--json").stdout)
    return images, workspace, hostile, odd, status


def test_each_of_the_eighty_is_listed_with_its_reason(pool):
    _, _, hostile, odd, status = pool
    why = {entry["path"]: entry["reason"] for entry in status["set_aside"]}
    assert len(hostile) == 80
    assert set(why) == {shown_path(h.name)[0] for h in hostile}
    for h in hostile:
        assert re.search(h.why, why[shown_path(h.name)[0]]), (h, why[shown_path(h.name)[0]])
    assert (status["images"], status["embedded"], status["integrity"]) == (len(odd), len(odd), "ok")


def test_the_odd_ones_are_upright_and_in_their_colours(pool):
    _, workspace, _, odd, _ = pool
    ws = Workspace.open(workspace)
    items = {path: item for item, held in ws.catalog.paths().items() for path in held}
    assert set(items) == {o.name for o in odd}
    for o in odd:
        item = ws.catalog.item(items[o.name])
        assert (item.width, item.height) == o.size, o
        seen = colours_of(decode(make_tile(ws, item.id, "512").data).image)
        assert np.abs(np.array(seen) - np.array(o.colours)).max() <= 60, (o, seen)
    ws.close()


def test_status_shows_names_without_what_they_do_to_a_terminal(pool):
    _, workspace, _, _, _ = pool
    shown = labeler("status", "--workspace", str(workspace)).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    listed = [line for line in shown.splitlines() if line.startswith("Set aside")]
    assert len(listed) == 10
    assert all(line.endswith(".") for line in listed)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932"])
def test_names_that_the_output_has_no_letters_for_are_shown_all_the_same(pool, encoding, monkeypatch):
    _, workspace, _, _, _ = pool
    for command in (["status"], ["export", "--format", "csv", "--out", str(workspace.parent / "none")]):
        monkeypatch.setenv("PYTHONIOENCODING", encoding)
        full = [sys.executable, "-m", "labeler.cli", *command, "--workspace", str(workspace)]
        done = subprocess.run(full, cwd=ROOT, capture_output=True, timeout=120, check=False)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.returncode == (0 if command == ["status"] else 1)  # nothing was asked yet


def test_a_pipe_as_an_example_is_refused_and_not_waited_for(pool):
    images, workspace, _, _, _ = pool
    where = ["--images", str(images), "--workspace", str(workspace), "--no-browser"]
    done = python(LABELER, "start", *where, "--like", str(images / "pipe.jpg"))
    assert done.returncode == 1
    assert "pipe.jpg can't be used: This is a pipe or a device, not a file." in done.stderr


def test_the_next_index_takes_in_what_is_whole_by_now_and_keeps_what_was_renamed(pool):
    images, workspace, hostile, odd, _ = pool
    ws = Workspace.open(workspace)
    composed = next(o.name for o in odd if o.name == unicodedata.normalize("NFC", "Möller.jpg"))
    item = next(i for i, held in ws.catalog.paths().items() if held == [composed])
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    loop.record(ws, session, loop.owner(ws), [event(item, "yes")])
    n = ws.catalog.count_items()
    decomposed = unicodedata.normalize("NFD", composed)
    os.rename(images / composed, images / decomposed)
    (images / "growing1.jpg").write_bytes(jpeg(quarters(111, 80)))
    labeler("index", "--images", str(images), "--workspace", str(workspace))
    assert ws.catalog.count_items() == n + 1
    assert ws.catalog.paths([item]) == {item: [decomposed]}
    assert loop.session_status(ws, session)["counts"]["yes"] == 1
    assert ws.catalog.count_aside() == len(hostile) - 1
    assert ws.catalog.count_present() == len(odd) + 1
    ws.close()
