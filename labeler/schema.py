"""The tables, as append-only migrations, and how a connection to them is opened."""

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labeler.errors import Conflict, NotReady

if TYPE_CHECKING:
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

LOCKED_S = 30.0  # how long a connection waits for another one to be done

V1 = """
CREATE TABLE items (
  id INTEGER PRIMARY KEY,
  hash TEXT NOT NULL UNIQUE,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  file INTEGER REFERENCES files(id),
  present INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE files (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE,
  raw BLOB,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('new', 'item', 'aside', 'gone')),
  item INTEGER REFERENCES items(id),
  reason TEXT,
  scan INTEGER NOT NULL
) STRICT;
CREATE INDEX files_new ON files(rank) WHERE state = 'new';
CREATE INDEX files_aside ON files(path) WHERE state = 'aside';
CREATE INDEX files_item ON files(item);
CREATE INDEX files_scan ON files(scan);

CREATE TABLE encoders (
  key TEXT PRIMARY KEY,
  dim INTEGER NOT NULL,
  embedded INTEGER NOT NULL DEFAULT 0,
  used_at TEXT NOT NULL
) STRICT;

CREATE TABLE people (
  id INTEGER PRIMARY KEY,
  token_hash TEXT UNIQUE,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('own', 'review', 'swipe')),
  created_at TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
  id INTEGER PRIMARY KEY,
  question TEXT NOT NULL,
  goal TEXT NOT NULL CHECK (goal IN ('find', 'classify')),
  seed INTEGER NOT NULL,
  batch_size INTEGER NOT NULL,
  config TEXT NOT NULL,
  created_at TEXT NOT NULL,
  used INTEGER NOT NULL
) STRICT;

CREATE TABLE label_names (
  seq INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions(id),
  label INTEGER NOT NULL,
  name TEXT NOT NULL,
  at TEXT NOT NULL
) STRICT;
CREATE INDEX label_names_session ON label_names(session, label, seq);

CREATE TABLE rounds (
  session INTEGER NOT NULL REFERENCES sessions(id),
  number INTEGER NOT NULL,
  pool INTEGER NOT NULL,
  embedded INTEGER NOT NULL,
  basis INTEGER NOT NULL,
  last_event INTEGER NOT NULL,
  seed INTEGER NOT NULL,
  found INTEGER NOT NULL,
  shown INTEGER NOT NULL,
  examples INTEGER NOT NULL,
  encoder TEXT,
  created_at TEXT NOT NULL,
  PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE picks (
  session INTEGER NOT NULL,
  round INTEGER NOT NULL,
  place INTEGER NOT NULL,
  item INTEGER NOT NULL REFERENCES items(id),
  reason TEXT NOT NULL,
  p_chosen REAL,
  score REAL,
  PRIMARY KEY (session, round, place),
  FOREIGN KEY (session, round) REFERENCES rounds(session, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE asked (
  seq INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions(id),
  item INTEGER NOT NULL REFERENCES items(id),
  at TEXT NOT NULL
) STRICT;
CREATE INDEX asked_session ON asked(session, seq);

CREATE TABLE cards (
  id INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions(id),
  item INTEGER NOT NULL REFERENCES items(id),
  round INTEGER NOT NULL,
  reason TEXT NOT NULL,
  p_chosen REAL,
  score REAL,
  person INTEGER NOT NULL REFERENCES people(id),
  leased_at REAL NOT NULL,
  lease_until REAL NOT NULL
) STRICT;
CREATE INDEX cards_session ON cards(session);
CREATE INDEX cards_item ON cards(session, item);
CREATE INDEX cards_person ON cards(session, person, lease_until);

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  session INTEGER NOT NULL REFERENCES sessions(id),
  item INTEGER NOT NULL REFERENCES items(id),
  kind TEXT NOT NULL CHECK (kind IN ('label', 'unsure', 'skip', 'undo')),
  label INTEGER CHECK ((label IS NOT NULL) = (kind = 'label')),
  undoes INTEGER REFERENCES events(seq),
  person INTEGER NOT NULL REFERENCES people(id),
  card INTEGER REFERENCES cards(id),
  at TEXT NOT NULL,
  ms INTEGER,
  received_at TEXT NOT NULL
) STRICT;
CREATE INDEX events_session ON events(session);
CREATE INDEX events_item ON events(session, item, person);
CREATE INDEX events_person ON events(session, person, seq);
CREATE INDEX events_card ON events(card);
CREATE UNIQUE INDEX events_undoes ON events(undoes) WHERE undoes IS NOT NULL;
CREATE TRIGGER events_fixed BEFORE UPDATE ON events
  BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_kept BEFORE DELETE ON events
  BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;

CREATE VIEW answers AS
  SELECT e.* FROM events e
  WHERE e.kind <> 'undo'
    AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
    AND NOT EXISTS (
      SELECT 1 FROM events l
      WHERE l.session = e.session AND l.item = e.item AND l.person = e.person AND l.seq > e.seq
        AND l.kind <> 'undo' AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = l.seq));

CREATE TABLE examples (
  id INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions(id),
  hash TEXT NOT NULL,
  name TEXT NOT NULL,
  label INTEGER NOT NULL,
  item INTEGER REFERENCES items(id),
  added_at TEXT NOT NULL,
  UNIQUE (session, hash)
) STRICT;

CREATE TABLE example_vectors (
  example INTEGER NOT NULL REFERENCES examples(id),
  encoder TEXT NOT NULL,
  vector BLOB NOT NULL,
  PRIMARY KEY (example, encoder)
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


def _import_sqlite_utils() -> None:
    """Import sqlite-utils without pandas, which it would load (0.3 s) only to recognise its types."""
    if "sqlite_utils" in sys.modules or "pandas" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # None: "import pandas" raises ImportError
    try:
        import sqlite_utils.db  # noqa: F401
    finally:
        del sys.modules["pandas"]


def migrations() -> "Migrations":
    """Return every change of the tables, in order. A shipped one is never edited."""
    from sqlite_utils.migrations import Migrations

    steps = Migrations("labeler")

    @steps()
    def v1(db: "sqlite_utils.Database") -> None:
        for statement in _statements(V1):
            db.conn.execute(statement)

    return steps


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; triggers keep their inner semicolons."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""


def open_db(path: Path, *, sync: Literal["FULL", "NORMAL"] = "FULL") -> "sqlite_utils.Database":
    """Return an open connection in WAL mode, with the tables brought up to date.

    sync  FULL: a commit is on disk when it returns (answers). NORMAL: it may be lost in a
          power cut, never torn (images taken in, which can be taken in again).
    """
    _import_sqlite_utils()
    import sqlite_utils

    try:
        conn = sqlite3.connect(path, timeout=LOCKED_S, isolation_level=None, cached_statements=256)
        _use_wal(conn)
        conn.execute(f"PRAGMA synchronous = {sync}")
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("PRAGMA temp_store = MEMORY")
        db = sqlite_utils.Database(conn)
        steps = migrations()
        if steps.pending(db):
            _migrate(db)
    except sqlite3.OperationalError as e:
        if "locked" in str(e):
            raise Conflict(
                f"{path} is locked by another program.", "Close that program, or wait, and try again."
            ) from e
        raise NotReady(
            f"{path} can't be opened: {e}.", "Check that the folder exists and is writable."
        ) from e
    except sqlite3.DatabaseError as e:
        raise NotReady(f"{path} is not a labeler database: {e}.", "Give another --workspace.") from e
    return db


def _use_wal(conn: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; while another process does so, SQLite says "locked" without waiting."""
    end = time.monotonic() + LOCKED_S
    while True:
        try:
            conn.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as e:
            if "locked" not in str(e) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _migrate(db: "sqlite_utils.Database") -> None:
    """Apply what is pending; of two processes that start at once, one waits and finds nothing to do."""
    end = time.monotonic() + LOCKED_S
    while migrations().pending(db):
        try:
            migrations().apply(db)
        except sqlite3.OperationalError:  # the other one is at it; SQLite refuses a late writer at once
            if db.conn.in_transaction:
                db.conn.execute("ROLLBACK")
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def snapshot(conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Let everything that the block reads be of one moment; others go on writing."""
    conn.execute("BEGIN")
    try:
        yield conn
    finally:
        conn.execute("COMMIT")


def timestamp() -> str:
    """Return the time now, as it is stored: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """Return a stored time."""
    return datetime.fromisoformat(text)


def is_disk_trouble(e: Exception) -> bool:
    """Return whether the disk or another program is in the way (full, read-only, locked), not a bug."""
    return isinstance(e, sqlite3.OperationalError) and any(
        word in str(e) for word in ("full", "locked", "readonly", "disk I/O", "unable to open")
    )


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run the block as one transaction; inside another one, as a savepoint of it."""
    if conn.in_transaction:
        conn.execute("SAVEPOINT part")
        try:
            yield conn
        except BaseException:
            if conn.in_transaction:  # a full disk ends the whole transaction
                conn.execute("ROLLBACK TO part")
                conn.execute("RELEASE part")
            raise
        conn.execute("RELEASE part")
        return
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield conn
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:  # SQLite ends it itself when the disk is full
            conn.execute("ROLLBACK")
        raise
