"""Who has said what about each image, for a label that rests on several people (SQL)."""

import json
import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CAST = np.dtype(
    [
        ("seq", np.int64), ("item", np.int64), ("person", np.int64), ("number", np.int64), ("ms", np.float64),
        ("is_owner", bool), ("is_drawn", bool), ("p", np.float64),
    ]
)  # fmt: skip
"""An answer that stands: number is that of the label, -1 unsure, -2 skipped. ms: NaN where it is not known.

is_drawn  whether its card was drawn evenly at random. p: the probability of the target that the round's head
gave when it chose the card, not having learned from it; NaN where it gave none, or for another reason.
"""

GOLD = np.dtype([("item", np.int64), ("person", np.int64), ("number", np.int64), ("known", np.int64)])
"""A label that somebody gave to an image whose answer is known: which one, and which is known."""


def cast_gold(
    conn: sqlite3.Connection, session: int, until: int | None = None, items: Sequence[int] | None = None
) -> NDArray[np.void]:
    """Return the labels given on gold that stand, or stood after event `until`: each person's last to each.

    Of dtype GOLD; known: by what was known when it was answered. items  those to these alone; None: to all.
    """
    some = "" if items is None else "AND e.item IN (SELECT value FROM json_each(:items))"
    rows = conn.execute(
        f"""SELECT e.item, e.person, e.label, e.gold FROM events e
           WHERE e.session = :session AND e.gold IS NOT NULL AND e.kind = 'label' AND e.gold >= 0
             AND e.seq <= coalesce(:until, e.seq) {some} AND NOT EXISTS
               (SELECT 1 FROM events u WHERE u.undoes = e.seq AND u.seq <= coalesce(:until, u.seq))
           ORDER BY e.seq""",
        {
            "session": session,
            "until": until,
            "items": None if items is None else json.dumps([int(i) for i in items]),
        },
    )
    newest = {row[:2]: row for row in rows}
    return np.array(list(newest.values()), GOLD)


def cast(
    conn: sqlite3.Connection, session: int, until: int | None = None, items: Sequence[int] | None = None
) -> NDArray[np.void]:
    """Return the answers that stand, or stood after event `until`, in order: each person's last to each item.

    Of dtype CAST. items  those to these alone, at the cost of their own events; None: to all.
    """
    some = "" if items is None else "AND e.item IN (SELECT value FROM json_each(:items))"
    rows = conn.execute(
        f"""SELECT e.seq, e.item, e.person,
             CASE e.kind WHEN 'label' THEN e.label WHEN 'unsure' THEN -1 ELSE -2 END,
             e.ms, p.role = 'own', c.reason IS 'audit',
             CASE WHEN c.reason = 'find' AND r.quality IS NOT NULL THEN c.score END
           FROM events e JOIN people p ON p.id = e.person
             LEFT JOIN cards c ON c.id = e.card
             LEFT JOIN rounds r ON r.session = e.session AND r.number = c.round
           WHERE e.session = :session AND e.seq <= coalesce(:until, e.seq) {some}
             AND e.kind <> 'undo' AND e.gold IS NULL AND NOT (e.kind = 'skip' AND c.reason IS 'repeat')
             AND NOT EXISTS
               (SELECT 1 FROM events u WHERE u.undoes = e.seq AND u.seq <= coalesce(:until, u.seq))
           ORDER BY e.seq""",
        {
            "session": session,
            "until": until,
            "items": None if items is None else json.dumps([int(i) for i in items]),
        },
    )
    nan = float("nan")
    said = np.fromiter(
        (
            (*row[:4], nan if row[4] is None else row[4], *row[5:7], nan if row[7] is None else row[7])
            for row in rows
        ),
        CAST,
    )
    order = np.lexsort((said["seq"], said["person"], said["item"]))
    who = np.stack([said["item"], said["person"]], 1)[order]
    is_last = np.ones(len(said), bool)
    is_last[:-1] = (who[1:] != who[:-1]).any(1)
    return said[np.sort(order[is_last])]
