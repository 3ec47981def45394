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


def cast(
    conn: sqlite3.Connection, session: int, until: int | None = None, items: Sequence[int] | None = None
) -> NDArray[np.void]:
    """Return the answers that stand, or stood after event `until`, in order: each person's last to each item.

    Of dtype CAST. items  those to these alone; None: to all.
    """
    rows = conn.execute(
        """SELECT e.seq, e.item, e.person,
             CASE e.kind WHEN 'label' THEN e.label WHEN 'unsure' THEN -1 ELSE -2 END,
             e.ms, p.role = 'own', c.reason IS 'audit',
             CASE WHEN c.reason = 'find' AND r.quality IS NOT NULL THEN c.score END
           FROM events e JOIN people p ON p.id = e.person
             LEFT JOIN cards c ON c.id = e.card
             LEFT JOIN rounds r ON r.session = e.session AND r.number = c.round
           WHERE e.session = :session AND e.seq <= coalesce(:until, e.seq)
             AND (:items IS NULL OR e.item IN (SELECT value FROM json_each(:items)))
             AND e.kind <> 'undo' AND NOT (e.kind = 'skip' AND c.reason IS 'repeat')
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
    if not len(said):
        return said
    _, last = np.unique(np.stack([said["item"], said["person"]], 1)[::-1], axis=0, return_index=True)
    return said[np.sort(len(said) - 1 - last)]
