"""The images that somebody has answered and that want more answers, kept in memory for dealing (SQL)."""

import json
import sqlite3
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

from labeler.line import HELD, STALE_S, WAITED_FOR, WANTED, Args, Row

_ANSWERED = """SELECT e.item, e.person FROM answers e
  JOIN tallies t ON t.session = e.session AND t.item = e.item
  WHERE e.session = :session AND e.kind IN ('label', 'unsure') AND NOT t.is_done {which}"""
_HOLDS = f"""SELECT c.item, c.person FROM cards c {{index}}
  JOIN tallies t ON t.session = c.session AND t.item = c.item
  WHERE c.session = :session AND NOT t.is_done AND {HELD.format(c="c")}
    AND {WAITED_FOR.format(c="c")} {{which}}"""
_FIRST = "SELECT item, first FROM tallies WHERE session = :session AND NOT is_done {which}"
_SOME = "AND {of}.item IN (SELECT value FROM json_each(:items))"


class Begun:
    """What others have begun in one session: who has answered each image and who holds it, oldest first.

    A look costs no walk over all of it in the database, which took 15 ms with 200 people. Read anew every
    few seconds, for leases that ran out and for what other processes did; what is dealt is looked up once
    more, so that an error here costs a moment and nothing else.
    """

    def __init__(self) -> None:
        self._read_at = -STALE_S
        self._first: dict[int, int] = {}  # of each item
        self._order: list[tuple[int, int]] = []  # (first answer's place in the log, item)
        self._answered: dict[int, set[int]] = {}
        self._holds: dict[int, set[int]] = {}
        self._passed: dict[int, int] = {}  # of each person: all up to there they have answered

    def take(self, conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
        """Return up to n images that want one more answer, by this person: those begun first come first."""
        if not self._read_at <= args["now"] < self._read_at + STALE_S:
            self._read(conn, args)
        person, least = args["person"], args["least"]
        begin = bisect_right(self._order, (self._passed.get(person, -1), -1))
        found: list[int] = []
        is_passed = True
        for first, item in self._order[begin:]:
            answered = self._answered.get(item)
            if answered is None or person in answered:
                if is_passed:
                    self._passed[person] = first
                continue
            is_passed = False
            holds = self._holds.get(item, set())
            if person in holds or item in but or len(answered) + len(holds) >= max(least, len(answered) + 1):
                continue
            found.append(item)
            if len(found) == n and len(found := self._sure(conn, args, found)) == n:
                break
        sure = self._sure(conn, args, found)
        for item in sure:
            self._holds.setdefault(item, set()).add(person)
        return [_as_chosen(conn, args, item) for item in sure]

    def touch(self, conn: sqlite3.Connection, session: int, items: Iterable[int], now: float) -> None:
        """Read anew how these images stand: something was said about them."""
        some = list(items)
        args = {"session": session, "items": json.dumps(some), "now": now}
        for item in some:
            first = self._first.pop(item, None)
            if first is not None and (at := bisect_left(self._order, (first, item))) < len(self._order):
                del self._order[at]
            self._answered.pop(item, None)
            self._holds.pop(item, None)
        self._feed(conn, args, "cards_item", _SOME)

    def _read(self, conn: sqlite3.Connection, args: Args) -> None:
        for kept in (self._first, self._order, self._answered, self._holds, self._passed):
            kept.clear()
        self._feed(conn, args, "cards_held", "")
        self._read_at = args["now"]

    def _feed(self, conn: sqlite3.Connection, args: Args, index: str, which: str) -> None:
        for item, first in conn.execute(_FIRST.format(which=which.format(of="tallies")), args).fetchall():
            known = self._first.get(item)
            self._first[item] = first
            if known is None:
                insort(self._order, (first, item))
        for item, person in conn.execute(_ANSWERED.format(which=which.format(of="e")), args):
            self._answered.setdefault(item, set()).add(person)
        holds = _HOLDS.format(index=f"INDEXED BY {index}", which=which.format(of="c"))
        for item, person in conn.execute(holds, args):
            self._holds.setdefault(item, set()).add(person)

    @staticmethod
    def _sure(conn: sqlite3.Connection, args: Args, items: list[int]) -> list[int]:
        """Return which of these are wanted of this person by what the database says, in the same order."""
        if not items:
            return []
        rows = conn.execute(
            f"""SELECT x.item FROM tallies x WHERE x.session = :session AND NOT x.is_done AND {WANTED}
                  AND x.item IN (SELECT value FROM json_each(:items))""",
            args | {"items": json.dumps(items)},
        )
        sure = {item for (item,) in rows}
        return [item for item in items if item in sure]


def _as_chosen(conn: sqlite3.Connection, args: Args, item: int) -> Row:
    """Return an item with why it was chosen when it was first dealt."""
    row = conn.execute(
        """SELECT item, round, reason, p_chosen, score FROM cards WHERE session = ? AND item = ?
           ORDER BY id LIMIT 1""",
        (args["session"], item),
    ).fetchone()
    return (item, args["round"], "asked", None, None) if row is None else tuple(row)
