"""What is known about files and items (SQL).

Encoders are in registry.py, sessions in store.py, answers in journal.py.
"""

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from labeler.database import HEAL, Connection, shown, transaction
from labeler.domain import Item
from labeler.errors import Blocked

# Reasons that may be gone the next time although the file is the same: rights, disk, memory, a copy.
PASSING = ("permission", " disk ", "memory", "still being written")
CHUNK = 10_000  # files or items named in one statement
RETRIED = " OR ".join(f"coalesce(reason, '') LIKE '%{words}%'" for words in PASSING)


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file as a scan met it. `path` is relative to the images folder, with / between parts,
    as os.fsdecode gives it (bytes that are no UTF-8 come as surrogates)."""

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


def shown_path(path: str) -> tuple[str, bytes | None]:
    """Return a path as it can be stored and shown, and its raw bytes where those differ."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raw = os.fsencode(path)
        return raw.decode("utf-8", "backslashreplace"), raw
    return path, None


def _rank(path: str) -> int:
    """Return the place of a path in a fixed random order, so that early items stand for all."""
    return int.from_bytes(blake2b(path.encode("utf-8", "surrogateescape"), digest_size=7).digest(), "big")


def _last_line(said: str) -> str:
    """Return what SQLite found, without the headline that it puts over some findings."""
    return said.strip().splitlines()[-1].rstrip(".")


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


class Catalog:
    """Files and items of one workspace, over one connection of one thread."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
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
        left = self.conn.execute("SELECT id FROM files WHERE scan <> ? AND state <> 'gone'", (scan,))
        gone = [file for (file,) in left if file not in met]
        back = self.conn.execute(
            """SELECT id FROM items WHERE present = 0 AND EXISTS
                 (SELECT 1 FROM files f WHERE f.item = items.id AND f.state = 'item')"""
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
        """Let items be present while a file holds them, and point to such a file.

        A file that waits to be read again ('new') still counts for the item it held.
        """
        for lo in range(0, len(items), CHUNK):
            some = (json.dumps(items[lo : lo + CHUNK]),)
            these = "items.id IN (SELECT value FROM json_each(?))"
            conn.execute(
                f"""UPDATE items SET present = 0 WHERE {these} AND present = 1 AND NOT EXISTS
                     (SELECT 1 FROM files f WHERE f.item = items.id AND f.state IN ('item', 'new'))""",
                some,
            )
            conn.execute(
                f"""UPDATE items SET present = 1 WHERE {these} AND present = 0 AND EXISTS
                     (SELECT 1 FROM files f WHERE f.item = items.id AND f.state = 'item')""",
                some,
            )
            conn.execute(
                f"""UPDATE items SET file =
                     (SELECT min(f.id) FROM files f WHERE f.item = items.id AND f.state = 'item')
                   WHERE {these} AND present = 1
                     AND EXISTS (SELECT 1 FROM files f WHERE f.item = items.id AND f.state = 'item')
                     AND NOT EXISTS (SELECT 1 FROM files f WHERE f.id = items.file AND f.item = items.id
                                     AND f.state = 'item')""",
                some,
            )

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
        """Return how many files are there and not set aside."""
        return int(
            self.conn.execute("SELECT count(*) FROM files WHERE state IN ('new', 'item')").fetchone()[0]
        )

    def count_duplicates(self) -> int:
        """Return how many files hold the same bytes as another one that came first."""
        row = self.conn.execute(
            """SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT item FROM files WHERE state = 'item'))
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
        file changed content stays, with its labels, and leaves the pool.
        """
        out: dict[int, int] = {}
        with transaction(self.conn) as conn:
            left: set[int] = set()
            for r in results:
                old = conn.execute("SELECT item FROM files WHERE id = ?", (r.file,)).fetchone()
                if old is None:
                    continue
                if isinstance(r, Aside):
                    conn.execute(
                        "UPDATE files SET state = 'aside', reason = ?, item = NULL WHERE id = ?",
                        (r.reason, r.file),
                    )
                    left.add(old[0])
                    continue
                item = self._item_for(conn, r)
                out[r.file] = item
                conn.execute(
                    "UPDATE files SET state = 'item', item = ?, reason = NULL WHERE id = ?", (item, r.file)
                )
                conn.execute(
                    """UPDATE items SET file = ?, present = 1 WHERE id = ? AND (present = 0 OR NOT EXISTS
                         (SELECT 1 FROM files f WHERE f.id = items.file AND f.item = items.id
                            AND f.state IN ('item', 'new')))""",
                    (r.file, item),
                )
                if old[0] != item:
                    left.add(old[0])
            for item in left - {None}:
                self._leave(conn, item)
        return out

    def _item_for(self, conn: sqlite3.Connection, r: Decoded) -> int:
        row = conn.execute("SELECT id FROM items WHERE hash = ?", (r.hash,)).fetchone()
        if row is not None:
            return int(row[0])
        conn.execute(
            """INSERT INTO items(id, hash, width, height, file)
               VALUES ((SELECT coalesce(max(id) + 1, 0) FROM items), ?, ?, ?, ?)""",
            (r.hash, r.width, r.height, r.file),
        )
        return int(conn.execute("SELECT max(id) FROM items").fetchone()[0])

    def _leave(self, conn: sqlite3.Connection, item: int) -> None:
        """Point an item that lost a file to another one, or let it leave the pool."""
        row = conn.execute(
            "SELECT min(id) FROM files WHERE item = ? AND state IN ('item', 'new')", (item,)
        ).fetchone()
        if row[0] is None:
            conn.execute("UPDATE items SET present = 0 WHERE id = ?", (item,))
        else:
            conn.execute("UPDATE items SET file = ?, present = 1 WHERE id = ?", (row[0], item))

    # items ---------------------------------------------------------------------------------

    def count_items(self) -> int:
        """Return how many items there are, also those whose files are gone."""
        return int(self.conn.execute("SELECT coalesce(max(id) + 1, 0) FROM items").fetchone()[0])

    def count_present(self) -> int:
        """Return how many items have a file."""
        absent = self.conn.execute("SELECT count(*) FROM items WHERE present = 0").fetchone()[0]
        return self.count_items() - int(absent)

    def items_between(self, lo: int, hi: int) -> list[Item]:
        """Return the items with lo <= id < hi, in order. `path` can be given to the file system."""
        rows = self.conn.execute(
            """SELECT i.id, f.path, f.raw, i.hash, i.width, i.height, i.present
               FROM items i LEFT JOIN files f ON f.id = i.file WHERE i.id >= ? AND i.id < ? ORDER BY i.id""",
            (lo, hi),
        )
        return [
            Item(i, os.fsdecode(raw) if raw is not None else path or "", h, w, ht, bool(present))
            for i, path, raw, h, w, ht, present in rows
        ]

    def item(self, item: int) -> Item | None:
        """Return one item, or None."""
        found = self.items_between(item, item + 1) if 0 <= item < 2**62 else []
        return found[0] if found else None

    def item_by_hash(self, content_hash: str) -> int | None:
        """Return the id of the item with this content, or None."""
        row = self.conn.execute("SELECT id FROM items WHERE hash = ?", (content_hash,)).fetchone()
        return None if row is None else int(row[0])

    def absent(self) -> list[int]:
        """Return the items whose files are gone, in order."""
        return [i for (i,) in self.conn.execute("SELECT id FROM items WHERE present = 0 ORDER BY id")]

    def absent_among(self, items: Sequence[int]) -> set[int]:
        """Return which of these items have no file any more."""
        rows = self.conn.execute(
            """SELECT id FROM items
               WHERE id IN (SELECT value FROM json_each(?)) AND present = 0""",
            (json.dumps(list(items)),),
        )
        return {int(i) for (i,) in rows}

    def shown_paths(self, items: Sequence[int]) -> dict[int, str]:
        """Return where items lie in the folder of images, as text."""
        rows = self.conn.execute(
            """SELECT i.id, f.path, f.raw FROM items i LEFT JOIN files f ON f.id = i.file
               WHERE i.id IN (SELECT value FROM json_each(?))""",
            (json.dumps(list(items)),),
        )
        return {
            int(i): shown_path(os.fsdecode(raw) if raw is not None else path or "")[0]
            for i, path, raw in rows
        }

    def count_absent(self, items: Sequence[int]) -> int:
        """Return how many of these items have no file any more."""
        row = self.conn.execute(
            """SELECT count(*) FROM items
               WHERE id IN (SELECT value FROM json_each(?)) AND present = 0""",
            (json.dumps(list(items)),),
        ).fetchone()
        return int(row[0])

    def mark_absent(self, items: Sequence[int]) -> None:
        """Let items leave the pool, because their files can't be read any more."""
        with transaction(self.conn) as conn:
            conn.executemany("UPDATE items SET present = 0 WHERE id = ?", [(i,) for i in items])

    def paths(self, items: Sequence[int] | None = None) -> dict[int, list[str]]:
        """Return every path of the given items (all: None); gone files only if none is left.

        Paths can be given to the file system; `shown_path` makes text of them.
        """
        query = "SELECT item, path, raw, state FROM files WHERE item IS NOT NULL {} ORDER BY item, id"
        if items is None:
            rows = self.conn.execute(query.format("")).fetchall()
        else:
            rows = []
            for start in range(0, len(items), 500):
                part = list(items[start : start + 500])
                marks = ",".join("?" * len(part))
                rows += self.conn.execute(query.format(f"AND item IN ({marks})"), part).fetchall()
        there: dict[int, list[str]] = {}
        gone: dict[int, list[str]] = {}
        for item, text, raw, state in rows:
            path = os.fsdecode(raw) if raw is not None else text
            (gone if state == "gone" else there).setdefault(item, []).append(path)
        return {i: there.get(i) or gone[i] for i in there.keys() | gone.keys()}

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return {path: (bytes, modification time in ns)} of every file as it was when it was read."""
        rows = self.conn.execute("SELECT path, raw, size, mtime_ns FROM files WHERE state = 'item'")
        return {os.fsdecode(raw) if raw is not None else path: (size, at) for path, raw, size, at in rows}

    def last_path(self, item: int) -> str:
        """Return where an item was last, also when that file holds something else by now."""
        row = self.conn.execute(
            "SELECT f.path, f.raw FROM items i JOIN files f ON f.id = i.file WHERE i.id = ?", (item,)
        ).fetchone()
        return "" if row is None else os.fsdecode(row[1]) if row[1] is not None else str(row[0])

    # checks --------------------------------------------------------------------------------

    def count_files_of(self, n: int) -> int:
        """Return how many files hold an item with id below n."""
        row = self.conn.execute(
            "SELECT count(*) FROM files WHERE state IN ('item', 'new') AND item < ?", (n,)
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
