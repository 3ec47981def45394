"""Workspaces of other versions: brought up to date with a copy kept, or refused; and what is on disk when."""

import hashlib
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from labeler import certificate, loop, schema
from labeler.config import Config
from labeler.database import Connection
from labeler.errors import Blocked, Conflict, NotReady
from labeler.workspace import Workspace
from labeler.writer import Writer
from tests.fakes import MeanColour
from tests.pools import DIM, KEY, event, make_pool, vectors_of
from tests.test_cli import paint, run

NOW = [step.__name__ for step in schema.STEPS]
KEPT = f"labeler.db.v{len(NOW)}.bak"


def later_step(db):
    """A later step, as one may look: a table made anew, with what it held."""
    (table,) = db.conn.execute("SELECT sql FROM sqlite_master WHERE name = 'sessions'").fetchone()
    db.conn.execute(table.replace("sessions", "anew", 1))
    db.conn.execute("INSERT INTO anew SELECT * FROM sessions")
    db.conn.execute("ALTER TABLE anew ADD COLUMN paused INTEGER")
    db.conn.execute("DROP TABLE sessions")
    db.conn.execute("ALTER TABLE anew RENAME TO sessions")


@pytest.fixture
def old(tmp_path):
    """A workspace of this version with three answers; it is closed."""
    ws = make_pool(tmp_path, 20)
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    answers = [event(i, "yes") for i in range(3)]
    ws.journal.add_events(session, ws.roster.owner().id, answers)
    ws.close()
    return ws.folder


def contents(folder):
    return {
        p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.endswith(("-shm", "-wal"))
    }


def applied(database):
    with closing(sqlite3.connect(database)) as conn:
        return [name for (name,) in conn.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]


def columns(database):
    with closing(sqlite3.connect(database)) as conn:
        return [row[1] for row in conn.execute("PRAGMA table_info(sessions)")]


def test_an_older_workspace_is_brought_up_to_date_and_its_database_kept(old, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, later_step))
    ws = Workspace.open(old)
    assert ws.kept == old / KEPT
    assert ws.journal.count_events(ws.store.session().id) == 3
    assert ws.catalog.problems() == []
    ws.close()
    assert applied(old / "labeler.db") == [*NOW, "later_step"]
    assert "paused" in columns(old / "labeler.db")
    assert applied(ws.kept) == NOW
    assert "paused" not in columns(ws.kept)
    with closing(sqlite3.connect(ws.kept)) as conn:
        assert conn.execute("SELECT count(*) FROM events").fetchone() == (3,)
    again = Workspace.open(old)
    assert again.kept is None
    again.close()


def test_a_workspace_without_certificates_and_repeats_is_brought_up_to_date(tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "STEPS", schema.STEPS[:3])
        ws = _old_pool(tmp_path, 20)
        add = "INSERT INTO sessions VALUES (1,'Is it?','find',1,20,'{}','2026-11-20T12:00:00.000Z',1)"
        ws.store.conn.execute(add)
        for i, name in enumerate(("yes", "no")):
            ws.store.conn.execute("INSERT INTO label_names VALUES (?,1,?,?,'')", (i, i, name))
        conn = ws.store.conn
        conn.execute("INSERT INTO people VALUES (1, NULL, 'owner', 'own', '')")
        conn.execute("INSERT INTO people VALUES (2, 'hash', 'client 1', 'own', '2026-11-20T12:00:00.000Z')")
        for item, kind, label, person in ((0, "label", 0, 2), (1, "skip", None, 1)):
            conn.execute(
                """INSERT INTO events(id, session, item, kind, label, person, at, received_at)
                   VALUES (?,1,?,?,?,?,?,?)""",
                (f"e{item}", item, kind, label, person, *["2026-11-20T12:00:00.000Z"] * 2),
            )
        ws.close()
    ws = Workspace.open(ws.folder)
    assert applied(ws.folder / "labeler.db") == NOW
    session = ws.store.session()
    assert session.target_share is None
    assert ws.journal.counts(session) == {"yes": 1, "no": 0, "unsure": 0, "skip": 1}
    assert loop.session_status(ws, session)["certificate"] is None
    assert certificate.begin(ws, session, 0.9, 5).left == 19
    assert (session.votes, ws.roster.owner().id) == (1, 1)
    assert ws.roster.person_by_token("hash").name == "client 1"
    ws.close()


def _old_pool(folder, n):
    """Return a workspace as the first versions made it: `make_pool` asks for what they didn't have."""
    ws = Workspace.open(folder / "ws", Config(images=str(folder)))
    conn = ws.store.conn
    new = "INSERT INTO files(id, path, size, mtime_ns, rank, state, scan) VALUES (?,?,1,1,?,'item',1)"
    conn.executemany(new, [(i + 1, f"img{i}.png", i) for i in range(n)])
    conn.executemany("INSERT INTO items VALUES (?,?,24,16,?,1)", [(i, f"hash{i}", i + 1) for i in range(n)])
    conn.execute("UPDATE files SET item = id - 1")
    ws.vectors(KEY, DIM).append(vectors_of(np.zeros(n, np.int64), np.random.default_rng(0)))
    ws.registry.use(KEY, DIM)
    ws.registry.set_embedded(KEY, DIM, n)
    return ws


def test_the_person_is_told_of_the_kept_copy(old, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, later_step))
    said = run("status", "--workspace", old).stderr
    assert "has been brought up to date" in said
    assert str(old / KEPT) in said
    assert run("status", "--workspace", old).stderr == ""


def test_the_kept_copy_is_a_workspace_of_the_older_version(old, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(schema, "STEPS", (*schema.STEPS, later_step))
        Workspace.open(old).close()
    (old / KEPT).replace(old / "labeler.db")
    ws = Workspace.open(old)
    assert ws.journal.count_events(ws.store.session().id) == 3
    ws.close()


@pytest.mark.parametrize("end", ["raises", "is killed"])
def test_an_interrupted_step_leaves_the_old_database_whole(old, end):
    before = contents(old)
    code = f"""
import os, signal, sys
from pathlib import Path
from labeler import schema
from labeler.workspace import Workspace
def later_step(db):
    db.conn.execute("CREATE TABLE half (x INTEGER)")
    db.conn.execute("UPDATE sessions SET question = 'gone'")
    {"raise RuntimeError('a bug')" if end == "raises" else "os.kill(os.getpid(), signal.SIGKILL)"}
schema.STEPS = (*schema.STEPS, later_step)
Workspace.open(Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(old)], check=False, capture_output=True, text=True)
    assert done.returncode == (1 if end == "raises" else -signal.SIGKILL), done.stderr
    ws = Workspace.open(old)
    assert ws.store.session().question == "Is it?"
    assert ws.journal.count_events(ws.store.session().id) == 3
    assert ws.catalog.problems() == []
    ws.close()
    assert applied(old / "labeler.db") == NOW
    assert contents(old).items() >= {k: v for k, v in before.items() if k.suffix != ".db"}.items()


def test_a_full_disk_while_the_copy_is_made_changes_nothing(old, monkeypatch):
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, later_step))
    (old / f"{KEPT}.new").mkdir()  # the copy can't be made
    before = contents(old)
    with pytest.raises(Blocked, match=rf"{re.escape(KEPT)}\.new can't be opened"):
        Workspace.open(old)
    assert applied(old / "labeler.db") == NOW
    assert {k: v for k, v in contents(old).items() if k.suffix != ".lock"} == before


def test_a_database_that_another_process_uses_is_not_changed_under_it(old, monkeypatch):
    ws = Workspace.open(old)
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, later_step))
    with ws.lock("server"), pytest.raises(Conflict, match="already"):
        Workspace.open(old)
    assert applied(old / "labeler.db") == NOW
    ws.close()


def test_a_later_versions_workspace_is_refused_and_nothing_is_touched(old, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(schema, "STEPS", (*schema.STEPS, later_step))
        Workspace.open(old).close()
    (old / "labeler.toml").write_text("colour = 1\n")  # a setting that only the later version knows
    before = contents(old)
    with pytest.raises(NotReady, match="made by a later version of labeler"):
        Workspace.open(old)
    for command in (
        ["status"],
        ["export", "--format", "csv", "--out", old.parent / "out"],
        ["index", "--images", old.parent / "images"],
        ["start", "--no-browser", "--images", old.parent / "images"],
        ["start", "--no-browser"],
    ):
        (old.parent / "images" / "x.png").write_bytes(b"")
        lines = run(*command, "--workspace", old, code=1).stderr.splitlines()
        assert len(lines) == 2
        assert "ws/labeler.db was made by a later version of labeler (later_step)." in lines[0]
        assert lines[1] == "Update labeler; nothing was changed."
    assert contents(old) == before


def test_another_programs_database_is_refused(tmp_path):
    with closing(sqlite3.connect(tmp_path / "labeler.db")) as conn:
        conn.execute("CREATE TABLE theirs (x)")
    before = contents(tmp_path)
    with pytest.raises(NotReady, match="is another program's"):
        Workspace.open(tmp_path)
    assert contents(tmp_path) == before


def test_a_workspace_whose_making_was_killed_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    paint(tmp_path / "photos")
    half = tmp_path / "data" / "photos"
    half.mkdir(parents=True)
    (half / "labeler.db").touch()
    assert "3 images, 3 embedded" in run("index", "--images", "photos").stdout
    assert list((tmp_path / "data").iterdir()) == [half]


def test_an_answer_is_on_disk_before_the_server_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(
        Connection, "execute", Connection.execute.__wrapped__
    )  # other tests don't wait for it
    ws = Workspace.open(tmp_path)
    writer = Writer(ws)
    writer.start()

    def ask(w, pragma):
        return w.store.conn.execute(f"PRAGMA {pragma}").fetchone()[0]

    found = {
        name: writer.submit(lambda w, name=name: ask(w, name)).result(10)
        for name in ("journal_mode", "synchronous", "fullfsync", "foreign_keys")
    }
    assert found == {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1, "foreign_keys": 1}
    writer.stop()
    ws.close()


def test_after_a_stop_in_order_the_database_file_alone_holds_everything(tmp_path):
    ws = make_pool(tmp_path, 20)
    session = ws.store.add_session("Is it?", ["yes", "no"], "find", ws.config)
    person = ws.roster.owner().id
    writer = Writer(ws)
    writer.start()
    writer.submit(lambda w: w.journal.add_events(session, person, [event(1, "yes")])).result(10)
    writer.stop()
    (tmp_path / "alone.db").write_bytes((ws.folder / "labeler.db").read_bytes())
    with closing(sqlite3.connect(tmp_path / "alone.db")) as conn:
        assert conn.execute("SELECT count(*) FROM events").fetchone() == (1,)
    ws.close()


def test_a_workspace_of_the_first_version_knows_no_target_and_takes_one(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(schema, "STEPS", schema.STEPS[:3])
        with closing(schema.open_db(tmp_path / "labeler.db")) as conn:
            conn.execute(
                """INSERT INTO sessions VALUES (1, 'Is it?', 'find', 7, 20, '{}', '2026-01-01', 1)"""
            )
            conn.executemany(
                "INSERT INTO label_names(session, label, name, at) VALUES (1, ?, ?, '2026-01-01T00:00:00Z')",
                [(0, "yes"), (1, "no")],
            )
    ws = Workspace.open(tmp_path)
    session = ws.store.session()
    assert (session.question, session.target_share, ws.store.targets(1)) == ("Is it?", None, [])
    assert ws.store.quality(1) is None
    assert ws.store.set_target(session, 0.9).target_share == 0.9
    ws.close()
