"""What is known about files, and how they become items (SQL); what is known of these is in items.py.

Encoders are in registry.py, sessions in store.py, answers in journal.py.
"""

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from labeler.database import HEAL, Connection, shown, transaction
from labeler.errors import Blocked
from labeler.items import Items, shown_path

# Reasons that may be gone the next time although the file is the same: rights, disk, memory, a copy.
PASSING = ("permission", " disk ", "memory", "still being written")
CHUNK = 10_000  # files or items named in one statement
RETRIED = " OR ".join(f"coalesce(reason, '') LIKE '%{words}%'" for words in PASSING)


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as a scan met it. `path` is relative to the images folder, with / between parts, or absolute for
    a file outside; as os.fsdecode gives it (bytes that are no UTF-8 come as surrogates)."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file to be read: `path` can be given to the file system."""

    id: int
    path: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file that could be read: its content's hash and its size in pixels, upright."""

    file: int
    hash: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Aside:
    """A file that could not be read, and why, in one sentence."""

    file: int
    reason: str


def _rank(path: str) -> int:
    """Return the place of a path in a fixed random order, so that early items stand for all."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogateescape"), digest_size=7).digest(), "big")


def _last_line(said: str) -> str:
    """Return what SQLite found, without the headline that it puts over some findings."""
    return said.strip().splitlines()[-1].rstrip(".")


# An item of which a file was read: it points to that, unless another one of the folder holds it.
_HELD = """UPDATE items SET file = ?, present = 1 WHERE id = ? AND (present <> 1 OR NOT EXISTS
  (SELECT 1 FROM files f WHERE f.id = items.file AND f.item = items.id AND f.state IN ('item', 'new')))"""
_HELD_OUTSIDE = """UPDATE items SET file = ?, present = 2 WHERE id = ? AND (present = 0 OR (present = 2
  AND NOT EXISTS
  (SELECT 1 FROM files f WHERE f.id = items.file AND f.item = items.id AND f.state = 'item')))"""


class _Met:
    """A set of ids, one bit each: of ten million files a Python set would take half a gigabyte."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, file: int) -> None:
        if file >> 3 >= len(self._bits):
            self._bits.extend(bytes((file >> 3) + 1 + len(self._bits) // 4 - len(self._bits)))
        self._bits[file >> 3] |= 1 << (file & 7)

    def __contains__(self, file: int) -> bool:
        return file >> 3 < len(self._bits) and bool(self._bits[file >> 3] >> (file & 7) & 1)


class Catalog(Items):
    """The files of one workspace, and how they become its items."""

    def __init__(self, conn: Connection) -> None:
        super().__init__(conn)
        self._scan, self._met = 0, _Met()  # the scan that goes on, and the unchanged files that it met

    # files ---------------------------------------------------------------------------------

    def begin_scan(self) -> int:
        """Return the number of a new scan, one higher than any before. Its files are noted, and it is ended,
        through the same catalog.
        """
        row = self.conn.execute("SELECT coalesce(max(scan), 0) + 1 FROM files").fetchone()
        self._scan, self._met = int(row[0]), _Met()
        return self._scan

    def note_files(self, scan: int, files: Sequence[SeenFile]) -> None:
        """Note files met by a scan; those that are new or changed wait to be read.

        An unchanged file (same size and mtime) keeps its item, or its reason for being set
        aside, and nothing is written for it; one whose reason was not in the file (RETRIED) is tried again
        each time.
        """
        met = self._met_by(scan)
        shown = {f: shown_path(f.path) for f in files}
        known = {
            path: (size, mtime_ns, file)
            for path, size, mtime_ns, file in self.conn.execute(
                f"""SELECT path, size, mtime_ns, id FROM files
                    WHERE path IN (SELECT value FROM json_each(?)) AND state IN ('item', 'aside')
                      AND NOT ({RETRIED})""",
                (json.dumps([path for path, _ in shown.values()]),),
            )
        }
        rows = []
        for f, (path, raw) in shown.items():
            size, mtime_ns, file = known.get(path, (None, None, -1))
            if (size, mtime_ns) == (f.size, f.mtime_ns):
                met.add(file)
            else:
                rows.append((path, raw, f.size, f.mtime_ns, _rank(path), scan))
        if not rows:
            return
        with transaction(self.conn) as conn:
            conn.executemany(
                """INSERT INTO files(path, raw, size, mtime_ns, rank, state, scan) VALUES (?,?,?,?,?,'new',?)
                   ON CONFLICT(path) DO UPDATE SET scan = excluded.scan, state = 'new',
                     size = excluded.size, mtime_ns = excluded.mtime_ns""",
                rows,
            )

    def end_scan(self, scan: int) -> int:
        """Mark files that this whole scan did not meet as gone; return how many are newly gone.

        What changes is looked up before anything is locked, so that nobody waits for a large pool.
        """
        met = self._met_by(scan)
        left = self.conn.execute(
            "SELECT id FROM files WHERE scan <> ? AND state <> 'gone' AND outside = 0", (scan,)
        )
        gone = [file for (file,) in left if file not in met]
        back = self.conn.execute(
            """SELECT id FROM items WHERE present <> 1 AND EXISTS
                 (SELECT 1 FROM files f WHERE f.item = items.id AND f.state = 'item' AND f.outside = 0)"""
        ).fetchall()
        self._scan, self._met = 0, _Met()
        if not gone and not back:
            return 0
        with transaction(self.conn) as conn:
            lost: set[int] = set()
            for lo in range(0, len(gone), CHUNK):
                some = (json.dumps(gone[lo : lo + CHUNK]),)
                lost |= {item for (item,) in conn.execute(
                    """SELECT DISTINCT item FROM files
                       WHERE id IN (SELECT value FROM json_each(?)) AND item IS NOT NULL""", some
                )}  # fmt: skip
                conn.execute(
                    """UPDATE files SET state = 'gone', reason = NULL
                       WHERE id IN (SELECT value FROM json_each(?))""", some
                )  # fmt: skip
            self._refresh_present(conn, sorted(lost | {item for (item,) in back}))
        return len(gone)

    def _met_by(self, scan: int) -> "_Met":
        """Return the unchanged files that a scan has met so far."""
        assert scan == self._scan, "a scan is begun, noted and ended through one catalog"
        return self._met

    def _refresh_present(self, conn: sqlite3.Connection, items: Sequence[int]) -> None:
        """Let items be present while a file of the folder holds them, and point to such a file.

        Where only a file outside does, to that. A file that waits to be read again ('new') still counts
        for the item it held.
        """
        for lo in range(0, len(items), CHUNK):
            some = (json.dumps(items[lo : lo + CHUNK]),)
            these = "items.id IN (SELECT value FROM json_each(?))"
            conn.execute(
                f"""UPDATE items SET present = 0 WHERE {these} AND present > 0 AND NOT EXISTS
                     (SELECT 1 FROM files f WHERE f.item = items.id AND f.state IN ('item', 'new')
                        AND f.outside = present - 1)""",
                some,
            )
            for is_outside, present in ((0, 1), (1, 2)):
                held = f"f.item = items.id AND f.state = 'item' AND f.outside = {is_outside}"
                conn.execute(
                    f"""UPDATE items SET present = {present} WHERE {these} AND present IN (0, 2)
                          AND EXISTS (SELECT 1 FROM files f WHERE {held})""",
                    some,
                )
                conn.execute(
                    f"""UPDATE items SET file = (SELECT min(f.id) FROM files f WHERE {held})
                        WHERE {these} AND present = {present} AND EXISTS (SELECT 1 FROM files f WHERE {held})
                          AND NOT EXISTS (SELECT 1 FROM files f WHERE f.id = items.file AND {held})""",
                    some,
                )

    def note_outside(self, files: Sequence[SeenFile], items: Sequence[int | None] | None = None) -> None:
        """Note files outside the folder of images, by absolute paths; new and changed ones wait to be read.

        items  as long: what a file holds, where that is known to be an item; None: nothing is known.
        They are read in the same random order as the others, so that their items lie between those. A file
        that was read, did not change, and holds an item still, here or in the folder, is left alone.
        """
        if not files:
            return
        known = [None] * len(files) if items is None else items
        rows = []
        for f, item in zip(files, known, strict=True):
            path, raw = shown_path(f.path)
            rows.append((path, raw, f.size, f.mtime_ns, _rank(path), "new" if item is None else "item", item))
        with transaction(self.conn) as conn:
            conn.executemany(
                """INSERT INTO files(path, raw, size, mtime_ns, rank, state, item, scan, outside)
                     VALUES (?,?,?,?,?,?,?,0,1)
                   ON CONFLICT(path) DO UPDATE SET state = 'new', size = excluded.size,
                     mtime_ns = excluded.mtime_ns
                   WHERE size <> excluded.size OR mtime_ns <> excluded.mtime_ns OR state IN ('aside', 'gone')
                     OR NOT EXISTS (SELECT 1 FROM items i WHERE i.id = files.item AND i.present > 0)""",
                rows,
            )
            self._refresh_present(conn, [item for item in known if item is not None])

    def outside(self) -> list[tuple[int, str]]:
        """Return (file id, path) of the files outside the folder of images that were looked at."""
        rows = self.conn.execute("SELECT id, path, raw FROM files WHERE outside = 1 AND state <> 'new'")
        return [(i, os.fsdecode(raw) if raw is not None else path) for i, path, raw in rows]

    def lose_outside(self, files: Sequence[int]) -> None:
        """Note that files outside the folder of images are gone; what nothing else holds is dealt no more."""
        if not files:
            return
        these = "id IN (SELECT value FROM json_each(?)) AND outside = 1"
        some = (json.dumps(list(files)),)
        with transaction(self.conn) as conn:
            held = conn.execute(f"SELECT DISTINCT item FROM files WHERE {these} AND item IS NOT NULL", some)
            items = [item for (item,) in held]
            conn.execute(f"UPDATE files SET state = 'gone', reason = NULL WHERE {these}", some)
            self._refresh_present(conn, items)

    def new_files(self, limit: int, after_rank: int = -1) -> list[FileRow]:
        """Return files still to be read, in a fixed random order, above `after_rank`."""
        rows = self.conn.execute(
            "SELECT id, path, raw FROM files WHERE state = 'new' AND rank > ? ORDER BY rank LIMIT ?",
            (after_rank, limit),
        )
        return [FileRow(i, os.fsdecode(raw) if raw is not None else path) for i, path, raw in rows]

    def count_new(self) -> int:
        """Return how many files are still to be read."""
        return int(
            self.conn.execute(
                "SELECT count(*) FROM files INDEXED BY files_new WHERE state = 'new'"
            ).fetchone()[0]
        )

    def count_files(self) -> int:
        """Return how many files of the folder are there and not set aside."""
        return int(
            self.conn.execute(
                """SELECT count(*) -
                     (SELECT count(*) FROM files WHERE outside = 1 AND state IN ('new', 'item'))
                   FROM files WHERE state IN ('new', 'item')"""
            ).fetchone()[0]
        )

    def count_duplicates(self) -> int:
        """Return how many files of the folder hold the same bytes as another one that came first."""
        row = self.conn.execute(
            """SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT item FROM files WHERE state = 'item'))
                 - (SELECT count(*) FROM (SELECT 1 FROM files f WHERE f.outside = 1 AND f.state = 'item'
                      AND EXISTS (SELECT 1 FROM files g WHERE g.item = f.item AND g.state = 'item'
                        AND (g.outside = 0 OR g.id < f.id))))
               FROM files WHERE state = 'item'"""
        ).fetchone()
        return int(row[0])

    def set_aside(self, limit: int = 1_000_000) -> list[tuple[str, str]]:
        """Return (path, reason) of the files that can't be read, by path."""
        rows = self.conn.execute(
            "SELECT path, reason FROM files WHERE state = 'aside' ORDER BY path LIMIT ?", (limit,)
        )
        return [(p, r or "") for p, r in rows]

    def count_aside(self) -> int:
        """Return how many files can't be read."""
        return int(
            self.conn.execute(
                "SELECT count(*) FROM files INDEXED BY files_aside WHERE state = 'aside'"
            ).fetchone()[0]
        )

    def add_decoded(self, results: Sequence[Decoded | Aside]) -> dict[int, int]:
        """Store what became of some files, in one transaction; return {file id: item id}.

        The same content is the same item; a new content gets the next id. An item whose last
        file changed content stays, with its labels, and leaves the pool. What only a file outside the folder
        holds is not of the pool.
        """
        out: dict[int, int] = {}
        with transaction(self.conn) as conn:
            left: set[int] = set()
            for r in results:
                old = conn.execute("SELECT item, outside FROM files WHERE id = ?", (r.file,)).fetchone()
                if old is None:
                    continue
                if isinstance(r, Aside):
                    conn.execute(
                        "UPDATE files SET state = 'aside', reason = ?, item = NULL WHERE id = ?",
                        (r.reason, r.file),
                    )
                    left.add(old[0])
                    continue
                item = self._item_for(conn, r, present=2 if old[1] else 1)
                out[r.file] = item
                conn.execute(
                    "UPDATE files SET state = 'item', item = ?, reason = NULL WHERE id = ?", (item, r.file)
                )
                conn.execute(_HELD_OUTSIDE if old[1] else _HELD, (r.file, item))
                if old[0] != item:
                    left.add(old[0])
            for item in left - {None}:
                self._leave(conn, item)
        return out

    def _item_for(self, conn: sqlite3.Connection, r: Decoded, *, present: int) -> int:
        row = conn.execute("SELECT id FROM items WHERE hash = ?", (r.hash,)).fetchone()
        if row is not None:
            return int(row[0])
        conn.execute(
            """INSERT INTO items(id, hash, width, height, file, present)
               VALUES ((SELECT coalesce(max(id) + 1, 0) FROM items), ?, ?, ?, ?, ?)""",
            (r.hash, r.width, r.height, r.file, present),
        )
        return int(conn.execute("SELECT max(id) FROM items").fetchone()[0])

    def _leave(self, conn: sqlite3.Connection, item: int) -> None:
        """Point an item that lost a file to another one, or let it leave the pool."""
        row = conn.execute(
            """SELECT id, outside FROM files WHERE item = ? AND state IN ('item', 'new')
               ORDER BY outside, id LIMIT 1""",
            (item,),
        ).fetchone()
        if row is None:
            conn.execute("UPDATE items SET present = 0 WHERE id = ?", (item,))
        else:
            conn.execute("UPDATE items SET file = ?, present = ? WHERE id = ?", (row[0], 1 + row[1], item))

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return {path: (bytes, modification time in ns)} of the folder's files as they were when read."""
        rows = self.conn.execute(
            "SELECT path, raw, size, mtime_ns FROM files WHERE state = 'item' AND outside = 0"
        )
        return {os.fsdecode(raw) if raw is not None else path: (size, at) for path, raw, size, at in rows}

    # checks --------------------------------------------------------------------------------

    def count_files_of(self, n: int) -> int:
        """Return how many files of the folder hold an item with id below n."""
        row = self.conn.execute(
            """SELECT count(*) - (SELECT count(*) FROM files
                 WHERE outside = 1 AND state IN ('item', 'new') AND item < :n)
               FROM files WHERE state IN ('item', 'new') AND item < :n""",
            {"n": n},
        ).fetchone()
        return int(row[0])

    def refuse_damage(self) -> None:
        """Raise Blocked when the database file is damaged. Reads all of it: a second for 100 MB."""
        line = _last_line(self.conn.execute("PRAGMA quick_check(1)").fetchone()[0])
        if line != "ok":
            raise Blocked(f"{shown(self.conn.path)} is damaged: {line}.", HEAL)

    def problems(self) -> list[str]:
        """Return what SQLite and the catalog's own rules find wrong, one line each.

        Answers are looked at closely: each is in every index, and none is missing from the log.
        """
        found = [
            *self.conn.execute("PRAGMA quick_check(20)"),
            *self.conn.execute("PRAGMA integrity_check(events)"),
        ]
        out = [line for line in dict.fromkeys(_last_line(row[0]) for row in found) if line != "ok"]
        stored, last = self.conn.execute(
            """SELECT (SELECT count(*) FROM events NOT INDEXED),
                      (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events')"""
        ).fetchone()
        if stored != last:
            out.append(f"{stored} events are stored where {last} were written")
        out += [
            f"row {row[1]} of {row[0]} points to a missing {row[2]}"
            for row in self.conn.execute("PRAGMA foreign_key_check")
        ]
        n, top = self.conn.execute("SELECT count(*), coalesce(max(id) + 1, 0) FROM items").fetchone()
        if n != top:
            out.append(f"{n} items with ids up to {top - 1}: some are missing")
        return out
