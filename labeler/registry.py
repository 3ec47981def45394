"""What each encoder has seen, which one is in use, which one comes next, and where new ones learn (SQL)."""

import json
from datetime import UTC, datetime

from labeler.database import Connection, transaction

IN_USE = "encoder"  # the fact that names the encoder in use
NEXT = "encoder_next"  # the fact that names the one that takes its place once it has seen as much
TRAININGS = "trainings"  # the fact that lists the folders of encoders that learned from these images


class Registry:
    """The encoders of one workspace, over one connection of one thread."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    def embedded(self, key: str) -> int:
        """Return n: the items with id below n have a vector of this encoder."""
        row = self.conn.execute("SELECT embedded FROM encoders WHERE key = ?", (key,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_embedded(self, key: str, dim: int, n: int) -> None:
        """State that the items with id below n have a vector of `dim` numbers of this encoder.

        The next encoder is the one in use from the moment at which it has seen as many items.
        """
        with transaction(self.conn) as conn:
            conn.execute(
                """INSERT INTO encoders(key, dim, embedded, used_at) VALUES (?,?,?,?)
                   ON CONFLICT(key) DO UPDATE SET embedded = excluded.embedded, dim = excluded.dim""",
                (key, dim, n, datetime.now(UTC).isoformat()),
            )
            used, coming = self.in_use(), self.coming()
            if used and coming and coming[0] == key and n >= used[2]:
                self.use(key, dim)

    def use(self, key: str, dim: int) -> None:
        """State that this encoder's vectors are the ones to learn from."""
        with transaction(self.conn) as conn:
            conn.execute(
                """INSERT INTO encoders(key, dim, used_at) VALUES (?,?,?)
                   ON CONFLICT(key) DO UPDATE SET used_at = excluded.used_at""",
                (key, dim, datetime.now(UTC).isoformat()),
            )
            conn.execute("INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (IN_USE, key))
            conn.execute("DELETE FROM facts WHERE name = ?", (NEXT,))

    def choose(self, key: str, dim: int) -> None:
        """State which encoder is wanted: in use at once, or next where another has seen more so far."""
        with transaction(self.conn) as conn:
            used = self.in_use()
            if used is None or used[0] == key or self.embedded(key) >= used[2]:
                self.use(key, dim)
                return
            facts = [(IN_USE, used[0]), (NEXT, key)]
            conn.executemany("INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", facts)
            self.set_embedded(key, dim, self.embedded(key))

    def coming(self) -> tuple[str, int, int] | None:
        """Return (key, dim, embedded) of the encoder that will be the one in use, None: no change comes."""
        row = self.conn.execute(
            """SELECT key, dim, embedded FROM encoders
               WHERE key = (SELECT value FROM facts WHERE name = ?)""",
            (NEXT,),
        ).fetchone()
        return None if row is None else (str(row[0]), int(row[1]), int(row[2]))

    def all(self) -> list[tuple[str, int, int]]:
        """Return (key, dim, embedded) of every encoder that has seen something, the last chosen first."""
        rows = self.conn.execute("SELECT key, dim, embedded FROM encoders ORDER BY used_at DESC, key")
        return [(str(key), int(dim), int(n)) for key, dim, n in rows]

    def drop(self, key: str) -> None:
        """Forget what an encoder has seen. Raises ValueError for the one in use and the next one."""
        with transaction(self.conn) as conn:
            if any(one is not None and one[0] == key for one in (self.in_use(), self.coming())):
                raise ValueError(f"{key} is in use.")
            conn.execute("DELETE FROM encoders WHERE key = ?", (key,))
            conn.execute("DELETE FROM example_vectors WHERE encoder = ?", (key,))

    def in_use(self) -> tuple[str, int, int] | None:
        """Return (key, dim, embedded) of the encoder in use, None before the first."""
        row = self.conn.execute(
            """SELECT key, dim, embedded FROM encoders
               ORDER BY key = (SELECT value FROM facts WHERE name = ?) DESC, used_at DESC LIMIT 1""",
            (IN_USE,),  # used_at alone would go by a clock that may be set back
        ).fetchone()
        return None if row is None else (str(row[0]), int(row[1]), int(row[2]))

    def dim(self, key: str) -> int:
        """Return how many numbers a vector of this encoder has. Raises KeyError for an unknown one."""
        row = self.conn.execute("SELECT dim FROM encoders WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return int(row[0])

    def trainings(self) -> list[str]:
        """Return the folders of encoders that learned from the workspace's images, the newest first."""
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (TRAININGS,)).fetchone()
        return [] if row is None else [str(folder) for folder in json.loads(row[0])]

    def note_training(self, folder: str) -> None:
        """State that an encoder in this folder learns from the workspace's images."""
        with transaction(self.conn) as conn:
            every = list(dict.fromkeys([folder, *self.trainings()]))
            conn.execute(
                "INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (TRAININGS, json.dumps(every))
            )
