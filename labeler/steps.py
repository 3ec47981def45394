"""Every change of the tables, in order: append-only, a shipped one is never edited (SQL)."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite_utils

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


V9 = """
CREATE TABLE gold (
  session INTEGER NOT NULL REFERENCES sessions(id),
  hash TEXT NOT NULL,
  label INTEGER NOT NULL,
  item INTEGER REFERENCES items(id),
  source TEXT NOT NULL CHECK (source IN ('given', 'settled')),
  PRIMARY KEY (session, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX gold_item ON gold(session, item);

ALTER TABLE sessions ADD COLUMN gold_feedback INTEGER NOT NULL DEFAULT 0;

ALTER TABLE events ADD COLUMN gold INTEGER;
CREATE INDEX people_own ON people(id) WHERE role = 'own';
CREATE INDEX events_gold ON events(session, person, item) WHERE gold IS NOT NULL;

DROP VIEW answers;

CREATE VIEW answers AS
  SELECT e.* FROM events e
  WHERE e.kind <> 'undo' AND e.gold IS NULL
    AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
    AND NOT (e.kind = 'skip' AND EXISTS (SELECT 1 FROM cards c WHERE c.id = e.card AND c.reason = 'repeat'))
    AND NOT EXISTS (
      SELECT 1 FROM events l
      WHERE l.session = e.session AND l.item = e.item AND l.person = e.person AND l.seq > e.seq
        AND l.kind <> 'undo' AND l.gold IS NULL
        AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = l.seq)
        AND NOT (l.kind = 'skip'
          AND EXISTS (SELECT 1 FROM cards c WHERE c.id = l.card AND c.reason = 'repeat')));
"""


def v9(db: "sqlite_utils.Database") -> None:
    """Make room for images whose answer is known, and keep what people say of them apart from answers.

    gold     hash: of the content. label: what it is known to be. item: NULL while it is not among the images.
             source: given by the owner, whose answer to the item then says what it is, or settled by people.
    events   gold: NULL but for answers on cards that were dealt as gold, and for taking such back: what was
             known of the item by then; -1: nothing any more.
    """
    for statement in _statements(V9):
        db.conn.execute(statement)


V10 = """
ALTER TABLE files ADD COLUMN outside INTEGER NOT NULL DEFAULT 0;
CREATE INDEX files_outside ON files(item, state) WHERE outside = 1;
DROP INDEX items_absent;
CREATE INDEX items_absent ON items(id) WHERE present <> 1;
"""


def v10(db: "sqlite_utils.Database") -> None:
    """Let images whose answer is known come from outside the folder of images.

    files    outside: 1 for such a file; its path is absolute.
    items    present: 1 for what a file of the folder holds, 0 where that is gone, 2 where only a file outside
             holds it: it may be dealt as gold, and is in no other way of the pool.
    """
    for statement in _statements(V10):
        db.conn.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; triggers keep their inner semicolons."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""


STEPS: tuple[Callable[["sqlite_utils.Database"], None], ...] = (v1, v2, v3, v4, v5, v6, v7, v8, v9, v10)
