"""Runs of equal answers: when one is long enough to be broken up by a card of the other kind (SQL)."""

import sqlite3
from dataclasses import dataclass

RUN = 10
"""Equal answers in a row after which a hand may go on without the eyes.

Half of a round's batch. By chance alone somebody who is shown as many of each kind has one in 500 such rows;
where the target is rare, most rows are so long, and those who look for rare things miss more of them (Wolfe,
Horowitz and Kenner 2005, doi:10.1038/435439a): a likely one now and then keeps them looking. It costs
nothing, as the card would be asked anyway.
"""
_LAST = """SELECT e.seq, CASE e.kind WHEN 'label' THEN e.label END FROM events e
  WHERE e.session = ? AND e.person = ? AND e.kind <> 'undo'
    AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
  ORDER BY e.seq DESC LIMIT ?"""


@dataclass(frozen=True, slots=True)
class Run:
    """A person's last RUN answers, which are all this label; last: the newest one's place in the log."""

    label: int
    last: int


def run_of(conn: sqlite3.Connection, session: int, person: int, *, after: int = 0) -> Run | None:
    """Return the run that a person is in; None: there is none of answers after this place in the log.

    "Unsure" and a skip end a run. Costs as many looks as a run has answers.
    """
    rows = conn.execute(_LAST, (session, person, RUN)).fetchall()
    labels = {label for _, label in rows}
    if len(rows) < RUN or len(labels) > 1 or None in labels or rows[-1][0] <= after:
        return None
    return Run(labels.pop(), rows[0][0])
