"""What is in the way: a full disk, a lock, a wrong clock, a second server, a copy, a damaged file.

Each time: two sentences, nothing lost, and it goes on afterwards.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.killable import Killable, wait_until
from labeler import database, embedder, loop
from labeler.cli import cli
from labeler.config import Config
from labeler.errors import Blocked, LabelerError
from labeler.export import write
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.pools import event, make_pool
from tests.served import answer, begin, cards_of, is_problem, picture, served, visit
from tests.test_cli import free_port, paint, run
from tests.test_export import make_data

DAY = 86_400


def look(folder):
    """Return what `labeler status` says of a workspace."""
    result = CliRunner().invoke(cli, ["status", "--workspace", str(folder)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def is_two_sentences(text):
    lines = text.splitlines()
    assert len(lines) == 2, text
    assert lines[0].startswith("Error: ")
    assert all(line.endswith(".") for line in lines)
    return True


# a full disk -------------------------------------------------------------------------------


class Disk:
    """A small disk that can be filled and freed."""

    def __init__(self, folder):
        self.folder = folder
        self.filler = folder / "filler"

    def fill(self):
        with open(self.filler, "ab", buffering=0) as f:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while f.write(b"x" * size):
                        pass
                except OSError:
                    pass

    def free(self):
        self.filler.unlink()


@contextmanager
def mounted(folder, *options):
    """Mount something at a folder; the test is skipped, with the reason, where that is refused."""
    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", *map(str, options), str(folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=6m", "tmpfs") as folder:
        yield Disk(folder)


def test_answers_on_a_full_disk_are_refused_and_stored_once_when_sent_again(disk, monkeypatch):
    ws = make_pool(disk.folder, 200, images=True)
    session = begin(ws)
    with served(ws, monkeypatch) as (app, _):
        client = visit(app)
        sent = {e["id"]: e for e in (answer(i) for i in range(1, 200))}
        first, *more = sent.values()
        assert client.post("/api/labels", json={"events": [first]}).json()["accepted"] == 1
        disk.fill()
        refused = []
        for e in more:  # the log may have room for some more
            reply = client.post("/api/labels", json={"events": [e]})
            if reply.status_code != 200:
                assert is_problem(reply, 503)
                assert "the disk is full" in reply.json()["error"]
                assert int(reply.headers["Retry-After"]) > 0
                refused.append(e)
        assert len(refused) > 100
        assert ws.journal.count_events(session.id) == len(sent) - len(refused)
        for path in ("/api/session", "/api/search?item=1", "/tiles/3?w=256", "/swipe"):
            assert client.get(path).status_code == 200, path
        have = ["0"]
        for _ in range(20):  # the log may have room for some leases
            reply = client.get("/api/cards", params={"have": ",".join(have)})
            if reply.status_code != 200:
                break
            have += [str(card["card"]) for card in reply.json()["cards"]]
        assert is_problem(reply, 503)
        assert is_problem(client.post("/api/undo", json={"id": answer(0)["id"]}), 503)
        files = {"image": ("one.png", picture((1, 2, 3)))}
        assert is_problem(client.post("/api/examples", files=files), 503)
        disk.free()
        for _ in range(2):
            reply = client.post("/api/labels", json={"events": refused}).json()
        assert reply == {"accepted": 0, "duplicates": len(refused), "rejected": []}
        assert sorted(e.id for e in ws.journal.log(session)) == sorted(sent)
        assert client.post("/api/examples", files=files).status_code == 200
    assert loop.status(ws)["integrity"] == "ok"
    ws.close()


def learn_much(ws, session):
    for _ in range(50):  # the log may have room for some rounds
        loop.learn(ws, session)


def test_a_round_on_a_full_disk_is_made_later(disk):
    ws = make_pool(disk.folder, 100)
    session = begin(ws)
    loop.record(ws, session, loop.owner(ws), [event(i, "yes" if i % 10 == 0 else "no") for i in range(40)])
    disk.fill()
    with pytest.raises(Blocked, match=r"can't be written") as e:
        learn_much(ws, session)
    assert "Free some space" in e.value.do
    made = ws.store.rounds(session.id)[-1].number
    disk.free()
    assert loop.learn(ws, session).number == made + 1
    assert loop.status(ws)["integrity"] == "ok"
    ws.close()


def test_images_are_taken_in_again_once_the_disk_has_room(disk, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    paint(tmp_path / "photos", {f"{i}.png": tuple(map(int, rng.integers(0, 255, 3))) for i in range(60)})
    ws = Workspace.open(disk.folder / "ws", Config(images=str(tmp_path / "photos")))
    said = []
    monkeypatch.setattr(embedder, "AGAIN_S", 0.1)
    monkeypatch.setattr(embedder, "say", said.append)
    disk.fill()

    class Loaded:
        def get(self):
            return MeanColour()

    def take_in():
        embedder._take_in(ws, Loaded(), threading.Event())
        ws.close()

    thread = threading.Thread(target=take_in)
    thread.start()
    problem = wait_until(lambda: [m["problem"] for m in said if "problem" in m], "the problem")[0]
    assert "can't be written" in problem
    assert "Free some space; then try again." in problem
    disk.free()
    thread.join(60)
    assert said[-1]["progress"]["stage"] == "done"
    status = loop.status(ws)
    assert (status["embedded"], status["integrity"]) == (60, "ok")
    assert np.allclose(np.linalg.norm(ws.vectors(MeanColour.key, 3).rows(), axis=1), 1)
    ws.close()


def test_an_export_to_a_full_disk_leaves_nothing_and_goes_to_a_free_one(disk, tmp_path):
    (tmp_path / "images").mkdir()
    disk.fill()
    with pytest.raises(LabelerError, match="can't be written: No space left on device") as e:
        write("csv", make_data(tmp_path / "images"), disk.folder / "out")
    assert "the disk has room" in e.value.do
    assert [p.name for p in disk.folder.iterdir()] == ["filler"]
    disk.free()
    assert write("csv", make_data(tmp_path / "images"), disk.folder / "out").events == 4


def test_commands_on_a_full_disk_say_so(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    paint(tmp_path / "photos")
    ws = disk.folder / "ws"
    run("index", "--images", tmp_path / "photos", "--workspace", ws)
    disk.fill()
    for command in (
        ["status", "--workspace", ws],
        ["export", "--format", "csv", "--out", tmp_path / "out", "--workspace", ws],
        ["index", "--images", tmp_path / "photos", "--workspace", ws],
        ["start", "--no-browser", "--images", tmp_path / "photos", "--workspace", ws],
        ["start", "--no-browser", "--images", tmp_path / "photos", "--workspace", disk.folder / "new"],
        ["start", "--no-browser", "--workspace", disk.folder / "drawn"],
    ):
        said = run(*command, code=1).stderr
        lines = [line for line in said.splitlines() if not line.startswith("Warning: ")]
        assert is_two_sentences("\n".join(lines))
        assert "can't be written" in said
    disk.free()
    assert "3 images, 3 embedded" in run("status", "--workspace", ws).stdout
    index = ["index", "--images", tmp_path / "photos", "--workspace"]
    assert "3 embedded" in run(*index, disk.folder / "new").stdout


def test_a_read_only_workspace_is_said_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    paint(tmp_path / "photos")
    run("index", "--images", tmp_path / "photos", "--workspace", tmp_path / "place" / "ws")
    before = {p: p.read_bytes() for p in (tmp_path / "place").rglob("*") if p.is_file()}
    with mounted(tmp_path / "fixed", "--bind", tmp_path / "place") as fixed:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(fixed)], check=True)
        for command in (
            ["status"],
            ["export", "--format", "csv", "--out", tmp_path / "out"],
            ["index", "--images", tmp_path / "photos"],
            ["start", "--no-browser", "--images", tmp_path / "photos"],
        ):
            said = run(*command, "--workspace", fixed / "ws", code=1).stderr
            assert is_two_sentences(said)
            assert "ws/labeler.db can't be written." in said
            assert "Make its folder writable" in said
        said = run("index", "--images", tmp_path / "photos", "--workspace", fixed / "new", code=1).stderr
        assert is_two_sentences(said)
    assert {p: p.read_bytes() for p in (tmp_path / "place").rglob("*") if p.is_file()} == before


# a lock ------------------------------------------------------------------------------------

LOCK = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(ws):
    """Let another program hold the database's write lock; yields what ends that."""
    command = [sys.executable, "-c", LOCK, str(ws.folder / "labeler.db")]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    try:
        yield other.kill
    finally:
        other.kill()
        other.communicate()


def test_a_short_lock_is_waited_for(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 50)
    begin(ws)
    with served(ws, monkeypatch) as (app, _):
        client = visit(app)
        cards_of(client)
        with locked(ws) as let_go:
            threading.Timer(0.5, let_go).start()
            reply = client.post("/api/labels", json={"events": [answer(1)]})
        assert reply.json()["accepted"] == 1
    ws.close()


def test_a_long_lock_is_said_reads_go_on_and_answers_are_stored_later(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "LOCKED_S", 0.3)
    ws = make_pool(tmp_path, 50, images=True)
    session = begin(ws)
    with served(ws, monkeypatch) as (app, _):
        client = visit(app)
        cards_of(client)
        events = [answer(i) for i in range(5)]
        with locked(ws):
            for _ in range(2):
                reply = client.post("/api/labels", json={"events": events})
                assert is_problem(reply, 503)
                assert "ws/labeler.db is locked by another program" in reply.json()["error"]
                assert int(reply.headers["Retry-After"]) > 0
            for path in ("/api/session", "/api/search?item=1", "/api/items/1", "/tiles/3?w=256"):
                assert client.get(path).status_code == 200, path
            stranger = visit(app)  # whose person can't be stored
            assert is_problem(stranger.get("/api/cards"), 503)
            assert loop.status(ws)["integrity"] == "ok"
        assert client.post("/api/labels", json={"events": events}).json()["accepted"] == 5
        assert len(cards_of(stranger)) > 0
    assert ws.journal.count_events(session.id) == 5
    ws.close()


# a clock that jumps ------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The unix time as the program sees it, to be set."""

    class Clock:
        days = 0.0

    real = time.time
    monkeypatch.setattr(loop.time, "time", lambda: real() + Clock.days * DAY)
    return Clock


@pytest.mark.parametrize("days", [-300, -2, 2, 300])
def test_a_clock_that_jumps_holds_no_card_and_changes_no_order(tmp_path, monkeypatch, clock, days):
    ws = make_pool(tmp_path, 30)
    session = begin(ws)
    with served(ws, monkeypatch) as (app, _):
        ann, bob = visit(app), visit(app)
        held = cards_of(ann, n=200)
        assert cards_of(bob, n=200) == []
        first, second = (answer(held[i]["item"], "yes", held[i]["card"]) for i in (0, 1))
        second["at"] = "1999-01-01T00:00:00Z"  # the client's clock jumps too
        assert ann.post("/api/labels", json={"events": [first]}).json()["accepted"] == 1
        clock.days = days
        assert ann.post("/api/labels", json={"events": [second]}).json()["accepted"] == 1
        mine = ",".join(str(c["card"]) for c in held[2:6])
        cards_of(ann, n=1, have=mine)  # what a deck still holds stays its own
        taken = {c["item"] for c in cards_of(bob, n=200)}
        assert taken
        assert not taken & {c["item"] for c in held[:6]}
        undone = ann.post("/api/undo", json={"id": answer(0)["id"]}).json()
        assert undone["item"] == second["item"]
        assert ann.get("/api/session").json()["per_minute"] <= 2
    made = loop.learn(ws, session)
    assert ws.store.rounds(session.id)[-1] == made
    ws.close()


def test_the_encoder_in_use_is_the_one_chosen_last_whatever_the_clock_said(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 10)

    class Earlier(database.datetime):
        @classmethod
        def now(cls, tz=None):
            return database.datetime(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr("labeler.registry.datetime", Earlier)
    ws.registry.use("another", 4)
    assert ws.registry.in_use() == ("another", 4, 0)
    ws.close()


# two at once -------------------------------------------------------------------------------


def test_a_second_server_says_who_has_the_workspace_and_a_kill_leaves_no_lock(tmp_path):
    rng = np.random.default_rng(0)
    paint(tmp_path / "photos", {f"{i}.png": tuple(map(int, rng.integers(0, 255, 3))) for i in range(30)})
    words = ["--images", str(tmp_path / "photos"), "--workspace", str(tmp_path / "ws")]
    for _ in range(2):  # the second time after a kill
        port = str(free_port())
        first = Killable("start", "--no-browser", "--port", port, *words)
        try:
            wait_until(lambda first=first: "Only the deck" in first.said() or first.is_over(), "the server")
            second = Killable("start", "--no-browser", "--port", port, "--batch-size", "7", *words)
            assert second.wait(60) == 1
            said = second.said()
            by = f"server at http://localhost:{port}"
            assert f"Error: Process {first.process.pid} works on {tmp_path / 'ws'} already ({by}).\n" in said
            assert "Traceback" not in said
            assert not first.is_over()
            assert "batch_size" not in (tmp_path / "ws" / "labeler.toml").read_text()
        finally:
            first.kill()


def test_start_beside_index_waits_for_it_and_says_so(tmp_path, monkeypatch):
    paint(tmp_path / "photos")
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "photos")))
    said = []
    monkeypatch.setattr(embedder, "AGAIN_S", 0.05)
    monkeypatch.setattr(embedder, "say", said.append)

    class Loaded:
        def get(self):
            return MeanColour()

    thread = threading.Thread(target=lambda: (embedder._take_in(ws, Loaded(), threading.Event()), ws.close()))
    with ws.lock("index"):
        thread.start()
        (problem,) = {m["problem"] for m in wait_until(lambda: list(said), "the problem")}
        assert f"Process {os.getpid()} works on" in problem
    thread.join(60)
    assert loop.status(ws)["embedded"] == 3
    ws.close()


# a copy made while it runs -----------------------------------------------------------------


@pytest.fixture
def busy(tmp_path):
    """A workspace, its session and a function that stores the next n answers and returns their ids."""
    ws = make_pool(tmp_path, 2000)
    session = begin(ws)
    person = loop.owner(ws)
    ids = []

    def store(n):
        for i in range(n):
            e = event(len(ids) % 2000, "yes" if i % 2 else "no")
            loop.record(ws, session, person, [e])
            ids.append(e.id)
        return set(ids)

    yield ws, session, store
    ws.close()


def copy(ws, to, between=lambda: None):
    """Copy a workspace file by file, as a file manager does; `between` the database and its log."""
    to.mkdir()
    shutil.copyfile(ws.folder / "labeler.db", to / "labeler.db")
    between()
    for name in ("labeler.db-wal", "labeler.db-shm", "labeler.toml"):
        shutil.copyfile(ws.folder / name, to / name)
    shutil.copytree(ws.folder / "vectors", to / "vectors")
    return to


def test_a_copy_made_while_answers_come_holds_all_that_were_acknowledged_before(busy, tmp_path):
    ws, session, store = busy
    for n in range(4):
        before = store(15)
        made = Workspace.open(copy(ws, tmp_path / f"copy{n}", between=lambda: store(15)))
        assert loop.status(made)["integrity"] == "ok"
        assert before <= {e.id for e in made.journal.log(session)}
        made.close()


@pytest.mark.parametrize("after", ["answers", "cards", "files"])
def test_a_copy_that_missed_the_emptying_of_the_log_says_that_it_is_broken(busy, tmp_path, after):
    ws, session, store = busy

    def between():
        store(60)
        database.empty_log(ws.store.conn)
        if after == "answers":
            store(5)
        elif after == "cards":
            loop.next_cards(ws, session, loop.owner(ws), 5)
        else:
            ws.catalog.mark_absent([1, 2, 3])

    store(200)
    folder = copy(ws, tmp_path / "copy", between)
    said = look(folder)
    assert "is damaged" in said or "The database says" in said
    assert "Put a backup of the workspace in its place" in said


# a damaged database ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["overwritten", "cut off", "emptied", "header"])
def test_a_damaged_database_is_said_and_not_used(tmp_path, monkeypatch, how):
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    ws = make_pool(tmp_path, 1000)
    session = begin(ws)
    loop.record(ws, session, loop.owner(ws), [event(i, "yes") for i in range(500)])
    ws.close()
    file = ws.folder / "labeler.db"
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    if how == "overwritten":
        data[middle : middle + 20_000] = os.urandom(20_000)
    elif how == "cut off":
        del data[middle:]
    elif how == "emptied":
        data[4096:] = bytes(len(data) - 4096)
    else:
        data[:100] = os.urandom(100)
    file.write_bytes(data)
    paint(tmp_path / "images")
    options = ["--images", tmp_path / "images", "--workspace", ws.folder]
    for command in (["start", "--no-browser", "--port", free_port(), *options], ["index", *options]):
        said = run(*command, code=1).stderr
        assert is_two_sentences("\n".join(x for x in said.splitlines() if not x.startswith("Warning: ")))
        assert "ws/labeler.db is damaged" in said
        assert "backup" in said
    said = look(ws.folder)
    assert "is damaged" in said or "The database says" in said
    assert "Put a backup of the workspace in its place" in said
