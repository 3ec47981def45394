"""What others have answered or hold and that wants more answers, kept in memory for dealing (SQL)."""

import json
import sqlite3
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import islice

from labeler.line import HELD, STALE_S, WAITED_FOR, WANTED, Args, Row

SHORT_S = 0.5  # where picks that others hold run short, how often they are read anew
_ANSWERED = """SELECT e.item, e.person FROM answers e
  JOIN tallies t ON t.session = e.session AND t.item = e.item
  WHERE e.session = :session AND e.kind IN ('label', 'unsure') AND NOT t.is_done {which}"""
_HOLDS = f"""SELECT c.item, c.person FROM cards c {{index}}
  JOIN tallies t ON t.session = c.session AND t.item = c.item
  WHERE c.session = :session AND NOT t.is_done AND c.reason <> 'gold' AND {HELD.format(c="c")}
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
        self._refresh(conn, args)
        candidates = self._candidates(args["person"], args["least"], but)
        sure: list[int] = []
        while some := list(islice(candidates, n - len(sure))):
            sure += _wanted(conn, args, some)
        for item in sure:
            self._holds.setdefault(item, set()).add(args["person"])
        return [_as_chosen(conn, args, item) for item in sure]

    def has_more(self, conn: sqlite3.Connection, args: Args) -> bool:
        """Return whether an image wants an answer of this person, as far as memory knows."""
        self._refresh(conn, args)
        return next(self._candidates(args["person"], args["least"], set()), None) is not None

    def _candidates(self, person: int, least: int, but: set[int]) -> Iterator[int]:
        """Yield the images that want an answer of this person, as far as memory knows, oldest first."""
        at = bisect_left(self._order, (self._passed.get(person, 0), 0))
        is_passed = True
        while at < len(self._order):
            first, item = self._order[at]
            at += 1
            if person in self._answered[item]:
                if is_passed:
                    self._passed[person] = first + 1
                continue
            is_passed = False
            given, holds = len(self._answered[item]), self._holds.get(item, ())
            if person not in holds and item not in but and given + len(holds) < max(least, given + 1):
                yield item

    def touch(self, conn: sqlite3.Connection, session: int, items: Iterable[int], now: float) -> None:
        """Read anew how these images stand: something was said about them."""
        some = list(items)
        args = {"session": session, "items": json.dumps(some), "now": now}
        for item in some:
            if (first := self._first.pop(item, None)) is not None:
                del self._order[bisect_left(self._order, (first, item))]
            self._answered.pop(item, None)
            self._holds.pop(item, None)
        self._feed(conn, args, "cards_item", _SOME)

    def _refresh(self, conn: sqlite3.Connection, args: Args) -> None:
        if not self._read_at <= args["now"] < self._read_at + STALE_S:
            self._read(conn, args)

    def _read(self, conn: sqlite3.Connection, args: Args) -> None:
        for kept in (self._first, self._order, self._answered, self._holds, self._passed):
            kept.clear()
        self._feed(conn, args, "cards_held", "")
        self._read_at = args["now"]

    def _feed(self, conn: sqlite3.Connection, args: Args, index: str, which: str) -> None:
        for item, first in conn.execute(_FIRST.format(which=which.format(of="tallies")), args):
            self._first[item] = first
            self._answered[item] = set()
            insort(self._order, (first, item))
        for item, person in conn.execute(_ANSWERED.format(which=which.format(of="e")), args):
            self._answered[item].add(person)
        holds = _HOLDS.format(index=f"INDEXED BY {index}", which=which.format(of="c"))
        for item, person in conn.execute(holds, args):
            self._holds.setdefault(item, set()).add(person)


class Handed:
    """The picks of one session's newest round that somebody holds and nobody has answered, in their order.

    In the second in which a class comes the round is soon handed out, and each of the others is put to as
    many people as an image wants answers of. As `Begun`: read anew every few seconds, looked up once more.
    """

    def __init__(self) -> None:
        self._read_at = -STALE_S
        self._round = -1
        self._of: dict[int, tuple[Row, set[int]]] = {}  # of each item, and who holds it

    def note(self, rows: Iterable[Row], person: int) -> None:
        """Note what somebody was given; picks of the newest round are meant."""
        for row in rows:
            if row[1] == self._round and row[2] not in ("repeat", "gold", "asked"):
                self._of.setdefault(row[0], (row, set()))[1].add(person)

    def forget(self, items: Iterable[int]) -> None:
        """Forget these: they were answered."""
        for item in items:
            self._of.pop(item, None)

    def take(self, conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
        """Return up to n picks that want one more answer, by this person.

        Where there are too few it is read anew, though not all the time: leases may have run out.
        """
        late_s = args["now"] - self._read_at
        is_stale = args["round"] != self._round or not 0 <= late_s < STALE_S
        rows = [] if is_stale else self._look(conn, args, n, but)
        if is_stale or (len(rows) < n and late_s >= SHORT_S):
            self._read(conn, args)
            rows = self._look(conn, args, n, but)
        return rows

    def _look(self, conn: sqlite3.Connection, args: Args, n: int, but: set[int]) -> list[Row]:
        candidates = (
            item for item, (_, people) in self._of.items()
            if len(people) < args["least"] and args["person"] not in people and item not in but
        )  # fmt: skip
        sure: list[int] = []
        while some := list(islice(candidates, n - len(sure))):
            sure += _wanted(conn, args, some)
        return [self._of[item][0] for item in sure]

    def _read(self, conn: sqlite3.Connection, args: Args) -> None:
        self._of.clear()
        self._round, self._read_at = args["round"], args["now"]
        rows = conn.execute(
            f"""SELECT x.item, x.round, x.reason, x.p_chosen, x.score, c.person
                FROM picks x JOIN cards c INDEXED BY cards_item ON c.session = x.session AND c.item = x.item
                WHERE x.session = :session AND x.round = :round AND x.reason <> 'repeat'
                  AND c.reason <> 'gold' AND {HELD.format(c="c")} AND {WAITED_FOR.format(c="c")}
                  AND NOT EXISTS (SELECT 1 FROM tallies t WHERE t.session = x.session AND t.item = x.item)
                ORDER BY x.place""",
            args,
        )
        for *row, person in rows:
            self._of.setdefault(row[0], (tuple(row), set()))[1].add(person)


def _wanted(conn: sqlite3.Connection, args: Args, items: list[int]) -> list[int]:
    """Return which of these want an answer of this person by what the database says, in the same order."""
    rows = conn.execute(
        f"SELECT x.item FROM (SELECT value AS item FROM json_each(:items)) x WHERE {WANTED}",
        args | {"items": json.dumps(items)},
    )
    sure = {item for (item,) in rows}
    return [item for item in items if item in sure]


def _as_chosen(conn: sqlite3.Connection, args: Args, item: int) -> Row:
    """Return an item with why it was chosen when it was first dealt."""
    row = conn.execute(
        """SELECT item, round, reason, p_chosen, score FROM cards
           WHERE session = ? AND item = ? AND reason <> 'gold' ORDER BY id LIMIT 1""",
        (args["session"], item),
    ).fetchone()
    return (item, args["round"], "asked", None, None) if row is None else tuple(row)
