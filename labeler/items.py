"""What is known about items: each one image content, whatever files hold it (SQL)."""

import json
import os
from collections.abc import Sequence

from labeler.database import Connection, transaction
from labeler.domain import Item


def shown_path(path: str) -> tuple[str, bytes | None]:
    """Return a path as it can be stored and shown, and its raw bytes where those differ."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raw = os.fsencode(path)
        return raw.decode("utf-8", "backslashreplace"), raw
    return path, None


class Items:
    """The items of one workspace, over one connection of one thread."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    def count_items(self) -> int:
        """Return how many items there are, also those whose files are gone or outside the folder."""
        return int(self.conn.execute("SELECT coalesce(max(id) + 1, 0) FROM items").fetchone()[0])

    def count_present(self) -> int:
        """Return how many items have a file in the folder of images."""
        absent = self.conn.execute("SELECT count(*) FROM items WHERE present <> 1").fetchone()[0]
        return self.count_items() - int(absent)

    def items_between(self, lo: int, hi: int) -> list[Item]:
        """Return the items with lo <= id < hi, in order. `path` can be given to the file system."""
        rows = self.conn.execute(
            """SELECT i.id, f.path, f.raw, i.hash, i.width, i.height, i.present
               FROM items i LEFT JOIN files f ON f.id = i.file WHERE i.id >= ? AND i.id < ? ORDER BY i.id""",
            (lo, hi),
        )
        return [
            Item(i, os.fsdecode(raw) if raw is not None else path or "", h, w, ht, present == 1)
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

    def pool_item_by_hash(self, content_hash: str) -> int | None:
        """Return the same of an item that is, or was, in the folder of images."""
        row = self.conn.execute(
            """SELECT id FROM items WHERE hash = ?
                 AND EXISTS (SELECT 1 FROM files f WHERE f.item = items.id AND f.outside = 0)""",
            (content_hash,),
        ).fetchone()
        return None if row is None else int(row[0])

    def outside_among(self, items: Sequence[int]) -> set[int]:
        """Return which of these items only a file outside the folder of images holds."""
        rows = self.conn.execute(
            "SELECT id FROM items WHERE id IN (SELECT value FROM json_each(?)) AND present = 2",
            (json.dumps(list(items)),),
        )
        return {int(i) for (i,) in rows}

    def hashes(self, items: Sequence[int]) -> dict[int, str]:
        """Return the content hashes of these items."""
        rows = self.conn.execute(
            "SELECT id, hash FROM items WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(items)),),
        )
        return dict(rows.fetchall())

    def absent(self) -> list[int]:
        """Return the items whose files are gone or outside the folder of images, in order."""
        return [i for (i,) in self.conn.execute("SELECT id FROM items WHERE present <> 1 ORDER BY id")]

    def absent_among(self, items: Sequence[int]) -> set[int]:
        """Return which of these items have no file in the folder of images (any more)."""
        rows = self.conn.execute(
            """SELECT id FROM items
               WHERE id IN (SELECT value FROM json_each(?)) AND present <> 1""",
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
        """Return how many of these items have no file in the folder of images (any more)."""
        row = self.conn.execute(
            """SELECT count(*) FROM items
               WHERE id IN (SELECT value FROM json_each(?)) AND present <> 1""",
            (json.dumps(list(items)),),
        ).fetchone()
        return int(row[0])

    def mark_absent(self, items: Sequence[int]) -> None:
        """Let items leave the pool, because their files can't be read any more."""
        with transaction(self.conn) as conn:
            conn.executemany("UPDATE items SET present = 0 WHERE id = ?", [(i,) for i in items])

    def paths(self, items: Sequence[int] | None = None) -> dict[int, list[str]]:
        """Return every path of the given items (all: None) in the folder; gone files only if none is left,
        and then one outside.

        Paths can be given to the file system; `shown_path` makes text of them.
        """
        query = (
            "SELECT item, path, raw, state, outside FROM files WHERE item IS NOT NULL {} ORDER BY item, id"
        )
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
        out: dict[int, list[str]] = {}
        for item, text, raw, state, outside in rows:
            path = os.fsdecode(raw) if raw is not None else text
            (out if outside else gone if state == "gone" else there).setdefault(item, []).append(path)
        return out | gone | there

    def last_path(self, item: int) -> str:
        """Return where an item was last, also when that file holds something else by now."""
        row = self.conn.execute(
            "SELECT f.path, f.raw FROM items i JOIN files f ON f.id = i.file WHERE i.id = ?", (item,)
        ).fetchone()
        return "" if row is None else os.fsdecode(row[1]) if row[1] is not None else str(row[0])
