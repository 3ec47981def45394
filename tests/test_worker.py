"""The worker with a real child process, a real encoder and real files."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from labeler import certificate, loop
from labeler.config import Config
from labeler.errors import BadInput
from labeler.worker import Worker
from labeler.workspace import Workspace
from tests.pools import event


def draw(folder, n):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(n):
        base = (200, 60, 40) if i % 5 == 0 else (40, 90, 180)
        noise = rng.integers(0, 40, (48, 48, 3))
        Image.fromarray(np.clip(np.array(base) + noise, 0, 255).astype(np.uint8)).save(
            folder / f"t{i:03}.png"
        )


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def ws(tmp_path):
    draw(tmp_path / "images", 60)
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "images")))
    yield ws
    ws.close()


@pytest.fixture
def worker(ws):
    worker = Worker(ws)
    yield worker
    worker.stop()


def test_cards_come_before_the_encoder_and_rounds_follow_the_answers(ws, worker):
    session = loop.start_session(ws, "Is it red?", ["yes", "no"], "find")
    worker.start()
    wait_for(lambda: ws.store.rounds(session.id))
    person = loop.owner(ws)
    wait_for(lambda: worker.state() == "idle" and worker.progress().stage == "done")
    assert loop.pool_status(ws)["embedded"] == 60
    for _ in range(3):
        wait_for(lambda: ws.dealing.count_waiting(session.id, time.time(), 1) >= 1)
        cards = loop.next_cards(ws, session, person, 20, have=[])
        loop.record(ws, session, person, [event(c.item, "yes", c.id) for c in cards])
        before = len(ws.store.rounds(session.id))
        worker.poke(session.id)
        if len(ws.journal.answers(session.id).items) < 60:
            wait_for(lambda before=before: len(ws.store.rounds(session.id)) > before)
    assert worker.problem() is None


def test_a_picture_is_embedded_on_request_and_rubbish_is_refused(ws, worker):
    loop.start_session(ws)
    worker.start()
    out = io.BytesIO()
    Image.new("RGB", (50, 50), (200, 60, 40)).save(out, "PNG")
    row = worker.embed(out.getvalue())
    wait_for(lambda: worker.progress().stage == "done")
    assert row.shape == (1, ws.registry.in_use()[1])
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-4)
    best = loop.neighbours(ws, row, k=12)
    reds = {ws.catalog.item(i).path for i, _ in best}
    assert sum(int(p[1:4]) % 5 == 0 for p in reds) >= 10
    with pytest.raises(BadInput, match="can't be used"):
        worker.embed(b"<html>")


def test_an_example_given_later_gets_its_vector_and_a_round(ws, worker):
    session = loop.start_session(ws)
    worker.start()
    wait_for(lambda: worker.progress().stage == "done")
    out = io.BytesIO()
    Image.new("RGB", (50, 50), (200, 60, 40)).save(out, "PNG")
    loop.add_example(ws, session, "red.png", out.getvalue())
    worker.poke(session.id)
    wait_for(lambda: ws.store.example_vectors(session.id, ws.registry.in_use()[0]))
    wait_for(lambda: any(r.examples == 1 for r in ws.store.rounds(session.id)))


def test_a_child_that_is_killed_is_started_again_and_nothing_is_lost(ws, worker):
    loop.start_session(ws)
    worker.start()
    wait_for(lambda: ws.catalog.count_items() > 0)
    os.kill(worker._embedder.pid, signal.SIGKILL)
    wait_for(worker.problem)
    assert "exit code -9" in loop.status(ws)["problem"]
    wait_for(lambda: worker.progress().stage == "done")
    assert worker.problem() is loop.status(ws)["problem"] is None
    assert loop.status(ws)["integrity"] == "ok"
    assert loop.pool_status(ws)["embedded"] == 60


def test_learning_that_is_killed_is_started_again_and_the_deck_goes_on(ws, worker):
    session = loop.start_session(ws)
    worker.start()
    wait_for(lambda: worker.state() == "idle" and worker.progress().stage == "done")
    person, made = loop.owner(ws), len(ws.store.rounds(session.id))
    os.kill(worker._trainer.pid, signal.SIGKILL)
    cards = loop.next_cards(ws, session, person, 20)
    assert len(cards) == 20
    wait_for(worker.problem)
    assert "Learning stopped" in worker.problem()
    assert loop.status(ws)["problem"] == worker.problem()
    loop.record(ws, session, person, [event(c.item, "yes", c.id) for c in cards])
    worker.poke(session.id)
    wait_for(lambda: len(ws.store.rounds(session.id)) > made)
    wait_for(lambda: worker.problem() is None)
    assert loop.status(ws)["problem"] is None


def test_an_error_in_learning_is_said_and_learning_goes_on(ws, worker):
    session = loop.start_session(ws)
    worker.start()
    wait_for(lambda: worker.state() == "idle" and worker.progress().stage == "done")
    worker.poke(999)
    wait_for(worker.problem)
    assert "no session 999" in worker.problem()
    worker.poke(session.id)
    wait_for(lambda: worker.problem() is None)


def test_images_that_another_process_takes_in_are_waited_for(ws, worker):
    session = loop.start_session(ws)
    with ws.lock("index"):
        worker.start()
        wait_for(worker.problem)
        assert "index" in worker.problem()
        assert not ws.store.rounds(session.id)
    wait_for(lambda: worker.progress().stage == "done")
    assert worker.problem() is None
    wait_for(lambda: ws.store.rounds(session.id))


def test_an_encoder_that_is_not_there_is_said_and_cards_go_on(tmp_path):
    draw(tmp_path / "images", 30)
    ws = Workspace.open(
        tmp_path / "ws", Config(images=str(tmp_path / "images"), encoder=str(tmp_path / "no"))
    )
    session = loop.start_session(ws)
    worker = Worker(ws)
    worker.start()
    try:
        wait_for(worker.problem)
        assert "can't be used" in worker.problem()
        wait_for(lambda: ws.store.rounds(session.id))
    finally:
        worker.stop()
        ws.close()


def test_both_processes_end_when_the_server_dies(ws):
    loop.start_session(ws)
    code = (
        "import sys, time; from pathlib import Path; from labeler.workspace import Workspace\n"
        "from labeler.worker import Worker; w = Worker(Workspace.open(Path(sys.argv[1]))); w.start()\n"
        "print(w._trainer.pid, w._embedder.pid, flush=True); time.sleep(60)"
    )
    server = subprocess.Popen([sys.executable, "-c", code, str(ws.folder)], stdout=subprocess.PIPE, text=True)
    children = [int(pid) for pid in server.stdout.readline().split()]
    server.kill()
    server.communicate()

    def is_gone(child):
        try:
            with open(f"/proc/{child}/stat") as f:
                return f.read().split(")")[1].split()[0] == "Z"
        except OSError:
            return True

    assert len(children) == 2
    wait_for(lambda: all(map(is_gone, children)), 15)


def test_the_process_that_learns_stands_by_while_a_certificate_runs_and_goes_on_after(ws, worker):
    session = loop.start_session(ws, "Is it red?", ["yes", "no"], "find")
    worker.start()
    wait_for(lambda: worker.progress().stage == "done" and worker.state() == "idle")
    person = loop.owner(ws)
    first = loop.next_cards(ws, session, person, 10, have=[])
    loop.record(ws, session, person, [event(c.item, "yes", c.id) for c in first])
    other = Workspace.open(ws.folder)  # as the command, in a process of its own
    begun = certificate.begin(other, session, 0.9, 12)
    number = ws.store.rounds(session.id)[-1].number
    shown = []
    while cards := loop.next_cards(ws, session, person, 5, have=[]):
        assert ws.store.rounds(session.id)[-1].number == number
        shown += cards
        loop.record(ws, session, person, [event(c.item, "no", c.id) for c in cards])
        worker.poke(session.id)
        wait_for(lambda: worker.state() == "idle")
        if len(shown) == 12:
            break
    assert len({c.item for c in shown}) == begun.draws
    assert {(c.round, c.reason) for c in shown} == {(number, "audit")}
    wait_for(lambda: ws.store.rounds(session.id)[-1].number == number + 1)
    assert certificate.look(other, session).state == "done"
    assert loop.next_cards(ws, session, person, 5, have=[])
    other.close()
