"""The tables, as append-only migrations, and how a database is opened."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labeler.database import Connection, connect, copy_database, empty_log, shown, transaction, use_wal
from labeler.errors import NotReady

if TYPE_CHECKING:
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

Sync = Literal["FULL", "NORMAL", "OFF"]
LOG_PAGES = 4000  # 16 MB; a copy made while the log is being emptied is broken, so that happens seldom

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


def v1(db: "sqlite_utils.Database") -> None:
    """Make all tables."""
    for statement in _statements(V1):
        db.conn.execute(statement)


def v2(db: "sqlite_utils.Database") -> None:
    """Find the cards that somebody holds without reading all that were ever dealt."""
    db.conn.execute("CREATE INDEX cards_held ON cards(session, lease_until)")


def v3(db: "sqlite_utils.Database") -> None:
    """Remember with each round how much had been found by then (JSON; NULL: nothing was said)."""
    db.conn.execute("ALTER TABLE rounds ADD COLUMN estimate TEXT")


V4 = """
CREATE TABLE targets (
  seq INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions(id),
  share REAL,
  at TEXT NOT NULL
) STRICT;
CREATE INDEX targets_session ON targets(session, seq);

ALTER TABLE rounds ADD COLUMN quality TEXT;
"""


def v4(db: "sqlite_utils.Database") -> None:
    """Keep what share people want found and since when (NULL: none), and how right each head is (JSON)."""
    for statement in _statements(V4):
        db.conn.execute(statement)


def v5(db: "sqlite_utils.Database") -> None:
    """Make room for certificates: draws that are fixed before anything is known of them.

    session, round    the round whose picks are the draws. draws of left items; found: before them.
    answered, absent  items of the pool, int64 little-endian: what had an answer, and what had no file.
    """
    db.conn.execute(
        """CREATE TABLE certificates (
             id INTEGER PRIMARY KEY,
             session INTEGER NOT NULL REFERENCES sessions(id),
             round INTEGER NOT NULL,
             pool INTEGER NOT NULL,
             share REAL NOT NULL,
             "left" INTEGER NOT NULL,
             found INTEGER NOT NULL,
             draws INTEGER NOT NULL,
             answered BLOB NOT NULL,
             absent BLOB NOT NULL,
             begun_at TEXT NOT NULL,
             finished_at TEXT,
             cancelled_at TEXT,
             FOREIGN KEY (session, round) REFERENCES rounds(session, number)
           ) STRICT"""
    )
    db.conn.execute(
        """CREATE UNIQUE INDEX certificates_running ON certificates(session)
           WHERE finished_at IS NULL AND cancelled_at IS NULL"""
    )


V6 = """
DROP VIEW answers;

CREATE VIEW answers AS
  SELECT e.* FROM events e
  WHERE e.kind <> 'undo'
    AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
    AND NOT (e.kind = 'skip' AND EXISTS (SELECT 1 FROM cards c WHERE c.id = e.card AND c.reason = 'repeat'))
    AND NOT EXISTS (
      SELECT 1 FROM events l
      WHERE l.session = e.session AND l.item = e.item AND l.person = e.person AND l.seq > e.seq
        AND l.kind <> 'undo' AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = l.seq)
        AND NOT (l.kind = 'skip'
          AND EXISTS (SELECT 1 FROM cards c WHERE c.id = l.card AND c.reason = 'repeat')));

CREATE INDEX cards_repeat ON cards(session, item) WHERE reason = 'repeat';
"""


def v6(db: "sqlite_utils.Database") -> None:
    """Let a card be asked again: skipping it takes nothing back that was said before."""
    for statement in _statements(V6):
        db.conn.execute(statement)


V7 = """
CREATE INDEX items_absent ON items(id) WHERE present = 0;
CREATE INDEX files_holding ON files(item, state);
DROP INDEX files_item;
DROP INDEX files_scan;
"""


def v7(db: "sqlite_utils.Database") -> None:
    """Count files and absent items from an index: of a million, looking at each took two seconds."""
    for statement in _statements(V7):
        db.conn.execute(statement)


V8 = """
CREATE TABLE links (
  id INTEGER PRIMARY KEY,
  code_hash TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK (role IN ('own', 'review', 'swipe')),
  person INTEGER REFERENCES people(id),
  session INTEGER REFERENCES sessions(id),
  made_at TEXT NOT NULL,
  made_by INTEGER REFERENCES people(id),
  ends_at REAL,
  most INTEGER,
  withdrawn_at TEXT
) STRICT;

CREATE TABLE devices (
  id INTEGER PRIMARY KEY,
  token_hash TEXT NOT NULL UNIQUE,
  person INTEGER NOT NULL REFERENCES people(id),
  link INTEGER,
  made_at TEXT NOT NULL,
  ended_at TEXT
) STRICT;
CREATE INDEX devices_person ON devices(person);
CREATE INDEX devices_link ON devices(link);

INSERT INTO devices(token_hash, person, made_at)
  SELECT token_hash, id, created_at FROM people WHERE token_hash IS NOT NULL ORDER BY id;
INSERT OR IGNORE INTO facts(name, value)
  SELECT 'owner', CAST(id AS TEXT) FROM people WHERE token_hash IS NULL AND role = 'own' ORDER BY id LIMIT 1;
UPDATE people SET token_hash = NULL;

ALTER TABLE sessions ADD COLUMN votes INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN least INTEGER NOT NULL DEFAULT 1;

ALTER TABLE sessions ADD COLUMN state TEXT NOT NULL DEFAULT 'open'
  CHECK (state IN ('open', 'paused', 'closed'));
ALTER TABLE sessions ADD COLUMN notice TEXT NOT NULL DEFAULT '';

CREATE TABLE wordings (
  seq INTEGER PRIMARY KEY,
  session INTEGER NOT NULL REFERENCES sessions(id),
  question TEXT NOT NULL,
  until TEXT NOT NULL
) STRICT;
CREATE INDEX wordings_session ON wordings(session, seq);

CREATE TABLE tallies (
  session INTEGER NOT NULL REFERENCES sessions(id),
  item INTEGER NOT NULL REFERENCES items(id),
  votes INTEGER NOT NULL,
  is_done INTEGER NOT NULL,
  first INTEGER NOT NULL,
  PRIMARY KEY (session, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX tallies_open ON tallies(session, first) WHERE is_done = 0;

CREATE TABLE wanting (
  session INTEGER NOT NULL REFERENCES sessions(id),
  person INTEGER NOT NULL REFERENCES people(id),
  at REAL NOT NULL,
  PRIMARY KEY (session, person)
) STRICT, WITHOUT ROWID;

ALTER TABLE cards ADD COLUMN device INTEGER;
UPDATE cards SET device = (SELECT d.id FROM devices d WHERE d.person = cards.person);
"""


def v8(db: "sqlite_utils.Database") -> None:
    """Let people come by links, with several devices, and several people answer one image.

    A card is held by one device.
    sessions votes: how many people each image is put to at most, least: at least. state: whether cards are
             dealt to others than owners. notice: what people are told beside the question.
    wordings how a question was put before, and until when.
    tallies  of each item with an answer in a session of several votes: how many people have answered it,
             whether it needs no more, and its first answer's place in the log.
    wanting  who got fewer cards than they asked for, and when last (unix time).
    links    code_hash: of what the link holds. person: whose other devices it lets in. ends_at: unix time.
    devices  token_hash: of a cookie. Before, each person had one, in people.token_hash, which is empty now.
    """
    for statement in _statements(V8):
        db.conn.execute(statement)


# Every change of the tables, in order. A shipped one is never edited.
STEPS: tuple[Callable[["sqlite_utils.Database"], None], ...] = (v1, v2, v3, v4, v5, v6, v7, v8)


def migrations() -> "Migrations":
    """Return every change of the tables, as sqlite-utils applies and records them."""
    from sqlite_utils.migrations import Migrations

    steps = Migrations("labeler")
    for step in STEPS:
        steps()(step)
    return steps


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; triggers keep their inner semicolons."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""


# opening -----------------------------------------------------------------------------------


def version(path: Path) -> int:
    """Return how many STEPS the tables of a database have seen; 0: it is not there, or empty.

    Changes nothing. Raises NotReady for a database of a later version, or of another program.
    """
    if not path.exists():
        return 0
    with closing(connect(path)) as conn:
        return _version(conn)


def _version(conn: Connection) -> int:
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "_sqlite_migrations" not in tables:
        if tables:
            raise NotReady(f"{shown(conn.path)} is another program's.", "Give another --workspace.")
        return 0
    done = conn.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'labeler'").fetchall()
    later = {name for (name,) in done} - {step.__name__ for step in STEPS}
    if later:
        raise NotReady(
            f"{shown(conn.path)} was made by a later version of labeler ({max(later)}).",
            "Update labeler; nothing was changed.",
        )
    return len(done)


def is_old(version: int) -> bool:
    """Return whether a database of this version is there and has steps before it."""
    return 0 < version < len(STEPS)


def kept_copy(path: Path, before: int) -> Path:
    """Return where a database is kept as it was in version `before`, when it is brought up to date."""
    return path.with_name(f"{path.name}.v{before}.bak")


def open_db(path: Path, *, sync: Sync = "FULL") -> Connection:
    """Return an open connection in WAL mode, with the tables brought up to date.

    sync  FULL: a commit is on disk when it returns (answers). NORMAL: it may be lost in a
          power cut, never torn (images taken in, which can be taken in again). OFF: may be torn by one
          (a copy to play on, which is thrown away).
    Tables of an earlier version are changed all together or not at all, and `kept_copy` is made first.
    Raises NotReady for a later version, Blocked for a database that is locked, damaged or can't be written.
    """
    conn = connect(path)
    try:
        before = _version(conn)
        use_wal(conn)
        conn.execute(f"PRAGMA synchronous = {sync}")
        conn.execute("PRAGMA fullfsync = ON")  # on a Mac, where fsync alone leaves it to the drive
        conn.execute("PRAGMA temp_store = MEMORY")
        conn.execute("PRAGMA cache_size = -1024")  # KiB, for each of a dozen threads; the system caches too
        conn.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if is_old(before):
            copy_database(conn, kept_copy(path, before))
        if before < len(STEPS):
            _migrate(conn)
        conn.execute("PRAGMA foreign_keys = ON")  # only now: a step may have to make a table anew
    except BaseException:
        conn.close()
        raise
    return conn


def _migrate(conn: Connection) -> None:
    """Apply what is pending, all of it or nothing."""
    _import_sqlite_utils()
    import sqlite_utils

    with transaction(conn):  # of two processes that start at once, one waits and finds it done
        migrations().apply(sqlite_utils.Database(conn))
    empty_log(conn)  # the file itself has all tables: a copy without the log is not taken for a new one
