"""How many people have answered each image, and which images need no more answers (SQL).

Only where several people are asked: with one answer for each, the answers themselves say it.
"""

import json
import sqlite3
from collections.abc import Sequence

_COUNT = """
INSERT INTO tallies(session, item, votes, is_done, first)
  SELECT e.session, e.item, count(*), count(*) >= s.votes OR max(p.role = 'own') OR (s.least < s.votes
      AND coalesce(max(t.is_done), 0) AND coalesce(max(t.votes), 0) <= count(*)),  -- one may be taken back
    min(e.seq)
  FROM answers e JOIN people p ON p.id = e.person JOIN sessions s ON s.id = e.session
    LEFT JOIN tallies t ON t.session = e.session AND t.item = e.item
  WHERE e.session = :session AND e.kind IN ('label', 'unsure') AND s.votes > 1 {which}
  GROUP BY e.item
  ON CONFLICT(session, item) DO UPDATE
    SET votes = excluded.votes, is_done = excluded.is_done, first = excluded.first"""

_OPENED = """is_done = 0 WHERE votes < (SELECT s.votes FROM sessions s WHERE s.id = tallies.session)
  AND NOT EXISTS (SELECT 1 FROM answers e JOIN people p ON p.id = e.person
    WHERE e.session = tallies.session AND e.item = tallies.item AND e.kind IN ('label', 'unsure')
      AND p.role = 'own')"""


def tally(conn: sqlite3.Connection, session: int, items: Sequence[int]) -> None:
    """Count anew who has answered these items: to be called with each event, in its transaction."""
    row = conn.execute("SELECT votes FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None or row[0] == 1:
        return
    args = {"session": session, "items": json.dumps(list(items))}
    some = "(SELECT value FROM json_each(:items))"
    conn.execute(_COUNT.format(which=f"AND e.item IN {some}"), args)
    conn.execute(
        f"""DELETE FROM tallies WHERE session = :session AND item IN {some} AND NOT EXISTS
              (SELECT 1 FROM answers e WHERE e.session = tallies.session AND e.item = tallies.item
                AND e.kind IN ('label', 'unsure'))""",
        args,
    )


def tally_all(conn: sqlite3.Connection, session: int) -> None:
    """Count all items of a session anew: when the number of answers that are wanted has changed."""
    conn.execute("DELETE FROM tallies WHERE session = ?", (session,))
    conn.execute(_COUNT.format(which=""), {"session": session})


def votes_of(conn: sqlite3.Connection, session: int, items: Sequence[int]) -> dict[int, tuple[int, bool]]:
    """Return {item: (how many have answered it, whether it needs no more)}, of items with an answer."""
    rows = conn.execute(
        """SELECT item, votes, is_done FROM tallies
           WHERE session = ? AND item IN (SELECT value FROM json_each(?))""",
        (session, json.dumps(list(items))),
    )
    return {item: (votes, bool(done)) for item, votes, done in rows}


def set_done(conn: sqlite3.Connection, session: int, done: Sequence[int], open_: Sequence[int]) -> None:
    """Note which items need no more answers, and which need some again.

    Whoever looked may have missed the last answers: what has all of its votes, or an owner's, is not opened.
    """
    for items, what in ((done, "is_done = 1 WHERE true"), (open_, _OPENED)):
        conn.execute(
            f"""UPDATE tallies SET {what} AND session = :session
                  AND item IN (SELECT value FROM json_each(:items))""",
            {"session": session, "items": json.dumps(list(items))},
        )


def count_unfinished(conn: sqlite3.Connection, session: int) -> int:
    """Return how many items have an answer and want more."""
    row = conn.execute(
        "SELECT count(*) FROM tallies INDEXED BY tallies_open WHERE session = ? AND is_done = 0", (session,)
    ).fetchone()
    return int(row[0])
