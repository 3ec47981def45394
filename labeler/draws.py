"""The draws of certificates (SQL): fixed when one is begun, and what became of it."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from active.arrays import Ids
from labeler.database import read_time, timestamp, transaction


@dataclass(frozen=True, slots=True)
class Begun:
    """A certificate as it was begun.

    round     its draws are this round's picks, in the order in which they are asked.
    pool      it covers the items with id below this.
    share     what the person hopes to be able to say, in [0, 1].
    left      items that were unasked and there; the draws are from these.
    found     images of the target among what had been answered. draws: how many were fixed.
    answered  items that had an answer. absent: items whose files were gone.
    """

    id: int
    session: int
    round: int
    pool: int
    share: float
    left: int
    found: int
    draws: int
    answered: Ids
    absent: Ids
    begun_at: datetime
    finished_at: datetime | None = None
    cancelled_at: datetime | None = None


_COLUMNS = """id, session, round, pool, share, "left", found, draws, answered, absent, begun_at,
  finished_at, cancelled_at"""
_OPEN = "finished_at IS NULL AND cancelled_at IS NULL"


def add(conn: sqlite3.Connection, begun: Begun) -> int:
    """Store a certificate whose round is stored and return its id; `begun.id` is not looked at."""
    with transaction(conn):
        cursor = conn.execute(
            """INSERT INTO certificates(session, round, pool, share, "left", found, draws,
                                        answered, absent, begun_at)
               VALUES (?,?,?,?,?,?,?,?,?,?)""",
            (
                begun.session, begun.round, begun.pool, begun.share, begun.left, begun.found, begun.draws,
                _bytes(begun.answered), _bytes(begun.absent), begun.begun_at.isoformat(),
            ),
        )  # fmt: skip
    return int(cursor.lastrowid or 0)


def all_of(conn: sqlite3.Connection, session: int) -> list[Begun]:
    """Return the certificates of a session, the newest last."""
    rows = conn.execute(f"SELECT {_COLUMNS} FROM certificates WHERE session = ? ORDER BY id", (session,))
    return [_begun(row) for row in rows]


def newest(conn: sqlite3.Connection, session: int) -> Begun | None:
    """Return the certificate that was begun last, None where there is none."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM certificates WHERE session = ? ORDER BY id DESC LIMIT 1", (session,)
    ).fetchone()
    return None if row is None else _begun(row)


def running(conn: sqlite3.Connection, session: int) -> int | None:
    """Return the round of the certificate that is neither finished nor cancelled; None: there is none."""
    row = conn.execute(f"SELECT round FROM certificates WHERE session = ? AND {_OPEN}", (session,)).fetchone()
    return None if row is None else int(row[0])


def count(conn: sqlite3.Connection, session: int) -> int:
    """Return how many certificates were begun, cancelled ones included."""
    row = conn.execute("SELECT count(*) FROM certificates WHERE session = ?", (session,)).fetchone()
    return int(row[0])


def end(conn: sqlite3.Connection, certificate: int, *, cancelled: bool = False) -> None:
    """Note that a certificate is finished, or cancelled; one that has ended stays as it is."""
    column = "cancelled_at" if cancelled else "finished_at"
    with transaction(conn):
        conn.execute(
            f"UPDATE certificates SET {column} = ? WHERE id = ? AND {_OPEN}", (timestamp(), certificate)
        )


def _begun(row: tuple[Any, ...]) -> Begun:  # Any: numbers, bytes and text, as the table has them
    *_, answered, absent, begun_at, finished_at, cancelled_at = row
    number, session, made, pool, share, left, found, draws = row[:8]
    return Begun(
        number, session, made, pool, share, left, found, draws, _ids(answered), _ids(absent),
        read_time(begun_at), finished_at and read_time(finished_at),
        cancelled_at and read_time(cancelled_at),
    )  # fmt: skip


def _bytes(ids: Ids) -> bytes:
    return np.asarray(ids, "<i8").tobytes()


def _ids(data: bytes) -> Ids:
    return np.frombuffer(data, "<i8").astype(np.int64)
