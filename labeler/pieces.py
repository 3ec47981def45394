"""Gold: images whose answer is known, and what is known of them (SQL). How they are dealt is in mixing.py."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from labeler.database import transaction

NOTHING_KNOWN = -1  # of an event on gold: the answer to its item was known once and is not any more

# What is known of a row g of `gold` with its item i: what an owner says now, else what people have settled
# or, of an image outside the pool, the folder's name in which it was given; -1: nothing.
# The plus sign keeps SQLite from walking through the whole log for its order; of one item's events by owners
# there are few, of one item's events there may be as many as people.
_LABEL = f"""coalesce(
  (SELECT CASE a.kind WHEN 'label' THEN a.label ELSE {NOTHING_KNOWN} END FROM answers a
   WHERE a.session = g.session AND a.item = i.id AND a.kind <> 'skip'
     AND a.person IN (SELECT id FROM people WHERE role = 'own') ORDER BY +a.seq DESC LIMIT 1),
  CASE WHEN g.source = 'settled' OR i.present = 2 THEN g.label ELSE {NOTHING_KNOWN} END)"""
_KNOWN = f"""SELECT i.id, {_LABEL} FROM gold g JOIN items i ON i.hash = g.hash
  WHERE g.session = :session AND i.present > 0 AND (g.item IS NOT NULL OR i.present = 2)"""


@dataclass(frozen=True, slots=True)
class Piece:
    """An image whose answer is known: by the hash of its content, with the label's number.

    item  None while no such image is in the pool, also of one that is dealt from outside it.
    source: "given" by an owner, or "settled" by people.
    """

    hash: str
    label: int
    item: int | None
    source: str


def pieces(conn: sqlite3.Connection, session: int) -> list[Piece]:
    """Return all gold of a session, as it was noted, in the order of hashes."""
    rows = conn.execute(
        "SELECT hash, label, item, source FROM gold WHERE session = ? ORDER BY hash", (session,)
    )
    return [Piece(*row) for row in rows]


def is_any(conn: sqlite3.Connection, session: int) -> bool:
    """Return whether a session has gold."""
    row = conn.execute("SELECT EXISTS (SELECT 1 FROM gold WHERE session = ?)", (session,)).fetchone()
    return bool(row[0])


def add(conn: sqlite3.Connection, session: int, some: Sequence[Piece]) -> None:
    """Note images as gold. What was noted before of the same content is replaced."""
    with transaction(conn):
        conn.executemany(
            "INSERT OR REPLACE INTO gold(session, hash, label, item, source) VALUES (?,?,?,?,?)",
            [(session, piece.hash, piece.label, piece.item, piece.source) for piece in some],
        )


def appeared(conn: sqlite3.Connection, session: int) -> list[Piece]:
    """Return the gold whose content was not in the pool when it was noted and is by now, with its items."""
    rows = conn.execute(
        """SELECT g.hash, g.label, i.id, g.source FROM gold g JOIN items i ON i.hash = g.hash
           WHERE g.session = ? AND g.item IS NULL
             AND EXISTS (SELECT 1 FROM files f WHERE f.item = i.id AND f.outside = 0) ORDER BY i.id""",
        (session,),
    )
    return [Piece(*row) for row in rows]


def clear(conn: sqlite3.Connection, session: int, items: Sequence[int] | None = None) -> int:
    """Forget all gold of a session, or what people had settled of these items; return how many it were.

    What was said of it stays, as do the owner's own answers.
    """
    with transaction(conn):
        if items is None:
            return conn.execute("DELETE FROM gold WHERE session = ?", (session,)).rowcount
        return conn.execute(
            """DELETE FROM gold WHERE session = ? AND source = 'settled'
               AND item IN (SELECT value FROM json_each(?))""",
            (session, json.dumps(list(items))),
        ).rowcount


def known(conn: sqlite3.Connection, session: int) -> dict[int, int]:
    """Return {item: label number} of the gold that may be dealt."""
    rows = conn.execute(_KNOWN, {"session": session})
    return {item: label for item, label in rows if label != NOTHING_KNOWN}


def is_outside(conn: sqlite3.Connection, item: int) -> bool:
    """Return whether an item was never in the folder of images: nobody is asked it but as gold."""
    row = conn.execute(
        """SELECT 1 FROM items i WHERE i.id = ? AND i.present = 2
             AND NOT EXISTS (SELECT 1 FROM files f WHERE f.item = i.id AND f.outside = 0)""",
        (item,),
    ).fetchone()
    return row is not None


def label_of(conn: sqlite3.Connection, session: int, item: int) -> int:
    """Return the number of the label that an item dealt as gold is known to have, NOTHING_KNOWN for none."""
    row = conn.execute(
        f"{_KNOWN} AND g.hash = (SELECT hash FROM items WHERE id = :item)",
        {"session": session, "item": item},
    ).fetchone()
    return NOTHING_KNOWN if row is None else int(row[1])
