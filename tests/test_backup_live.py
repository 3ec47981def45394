"""Backups of a real server while three people answer quickly, and SIGKILLs in their middle."""

import hashlib
import time
from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks.killable import Count, Killable, Swiper, wait_until
from labeler import archive, drawing, loop
from labeler.workspace import Workspace
from tests.pools import make_pool
from tests.served import whole_server
from tests.test_backup import hidden
from tests.test_cli import run

IMAGES, PEOPLE, PER_S, ROUNDS = 2000, 3, 50, 2
WIDE = 4_000  # numbers in a vector of an encoder that was used before: a backup has to take a moment


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a workspace of 2000 images, and 32 MB of vectors."""
    folder = tmp_path_factory.mktemp("live")
    ws = make_pool(folder, IMAGES)
    rows = np.random.default_rng(0).normal(size=(IMAGES, WIDE)).astype(np.float32)
    ws.vectors("wide", WIDE).append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    ws.registry.set_embedded("wide", WIDE, IMAGES)
    loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    ws.close()
    return folder


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def room_of(path):
    return path.with_name(f".{path.name}.labeler-part")


def kill_midway(path, takes_s, rng, *words):
    """Start a command that fills `path`, and kill it at some moment while it does; return whether it did."""
    command = Killable(*map(str, words))
    wait_until(lambda: (room_of(path) / "lock").exists() or command.is_over(), "the hidden folder")
    time.sleep(rng.uniform(0, takes_s))
    was_on = not command.is_over()
    command.kill()
    return was_on


@contextmanager
def swiping(url):
    """Let people answer while the block runs; yields them and what waits for so many more answers."""
    count = Count(IMAGES)
    people = [Swiper(url, count, per_s=PER_S, seed=i) for i in range(PEOPLE)]

    def more(n):
        end = sum(len(p.stored) for p in people) + n
        wait_until(
            lambda: any(p.problem for p in people) or sum(len(p.stored) for p in people) >= end, "answers"
        )
        assert [p.problem for p in people] == [None] * PEOPLE
        assert not count.over

    for person in people:
        person.start()
    try:
        yield people, more
    finally:
        count.done = count.most
        for person in people:
            person.join(30)


@pytest.mark.load
def test_backups_while_people_answer_hold_all_that_was_acknowledged_before_whatever_is_killed(place):
    rng, ws, file = np.random.default_rng(0), place / "ws", place / "b.zip"
    where, kept, killed = ["--workspace", str(ws)], [], 0
    opened = Workspace.open(ws)
    with whole_server(opened) as url, swiping(url) as (people, more):
        for n in range(ROUNDS):
            more(40)
            before = {uid: what for p in people for uid, what in dict(p.stored).items()}
            Killable("backup", str(file), *where).finish()
            kept.append((before, file.rename(place / f"{n}.zip")))
            began = time.monotonic()
            run("backup", file, *where)
            takes_s, was = time.monotonic() - began, digest(file)
            killed += kill_midway(file, takes_s, rng, "backup", file, *where)
            if digest(file) != was:  # the kill came too late: then the new one is whole
                with archive.opened(file) as whole:
                    whole.check(lambda n: None)
        more(20)
    assert killed > 0
    run("backup", file, *where)
    assert hidden(place) == []
    for n, (before, saved) in enumerate(kept):
        back = put_back(saved, place / f"back{n}")
        assert len(before) >= 40 * (n + 1)
        stored = {e.id: (e.item, e.answer) for e in back.journal.log(loop.newest_session(back))}
        assert {uid: stored.get(uid) for uid in before} == before
        session = loop.newest_session(back)
        for one in back.store.rounds(session.id):
            assert drawing.draw_again(back, session, one) == back.store.picks(session.id, one.number)
        assert len(back.vectors("wide", WIDE)) == IMAGES
        back.close()
    assert loop.status(opened)["integrity"] == "ok"
    opened.close()


def put_back(file, folder):
    """Restore, and return the workspace, which is whole."""
    run("restore", file, "--workspace", folder)
    ws = Workspace.open(folder)
    assert loop.status(ws)["integrity"] == "ok"
    return ws


def test_a_restore_that_is_killed_leaves_no_half_workspace_and_the_next_one_is_whole(place, tmp_path):
    rng, file = np.random.default_rng(1), tmp_path / "b.zip"
    run("backup", file, "--workspace", place / "ws")
    began = time.monotonic()
    put_back(file, tmp_path / "first").close()
    takes_s, killed = time.monotonic() - began, 0
    for n in range(8):
        folder = tmp_path / f"w{n}"
        killed += kill_midway(folder, takes_s, rng, "restore", file, "--workspace", folder)
        takes_s *= 0.8  # it may have been measured while the machine was busy
        if folder.exists():
            assert (folder / "labeler.db").exists()  # the kill came too late
            continue
        ws = put_back(file, folder)
        assert len(ws.vectors("wide", WIDE)) == IMAGES
        ws.close()
        if killed == 2:
            break
    assert killed > 0
    assert hidden(tmp_path) == []
