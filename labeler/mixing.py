"""What is mixed into the cards of people who came by a link: gold, and what breaks up a run (SQL)."""

import random
import sqlite3
from collections.abc import Callable

from active.retire import gold_share
from labeler.line import HELD, STALE_S, WAITED_FOR, Args, Line, Row
from labeler.pieces import known
from labeler.runs import run_of

# What a person has seen of an item, as whatever card: an answer, or a card that is held for them.
_SEEN = f"""SELECT EXISTS (SELECT 1 FROM events e
    WHERE e.session = :session AND e.item = :item AND e.person = :person)
  OR EXISTS (SELECT 1 FROM cards c INDEXED BY cards_item WHERE c.session = :session AND c.item = :item
    AND c.person = :person AND {HELD.format(c="c")} AND {WAITED_FOR.format(c="c")})"""

# The items that a person has answered as gold, or holds as such.
_HAD = f"""SELECT item FROM events INDEXED BY events_gold
    WHERE session = :session AND person = :person AND gold IS NOT NULL
  UNION SELECT c.item FROM cards c INDEXED BY cards_person
    WHERE c.session = :session AND c.person = :person AND c.lease_until > :now
      AND c.reason = 'gold' AND {HELD.format(c="c")}"""


class Gold:
    """The gold of one session, kept in memory for dealing; read anew every few seconds.

    A person gets each piece once, and none that they have answered as an ordinary card. A card costs a look
    at what the person has had, from an index, and one at the piece itself.
    """

    def __init__(self) -> None:
        self._read_at = -STALE_S
        self._seed = 0
        self._labels: dict[int, int] = {}
        self._seen: dict[int, set[int]] = {}  # of each person: pieces that they have seen as another card

    def places(self, conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row | None]:
        """Return which of the next n cards of a person are gold; None: an ordinary one.

        Each is with the probability that `gold_share` gives, by a chance of its own for every look: nobody
        who doesn't know the session's seed can tell. args: `round` is the newest.
        """
        out: list[Row | None] = [None] * n
        left, seen, rng = self._left(conn, args)
        left = [item for item in left if item not in but]
        for i in range(n):
            if left and rng.random() < gold_share(seen) and (row := self._draw(conn, args, left, rng)):
                out[i], seen = row, seen + 1
        return out

    def other(self, conn: sqlite3.Connection, args: Args, label: int) -> Row | None:
        """Return a piece of another label than this, for this person; None: there is none."""
        left, _, rng = self._left(conn, args)
        some = [item for item in left if self._labels[item] != label]
        return self._draw(conn, args, some, rng)

    def _left(self, conn: sqlite3.Connection, args: Args) -> tuple[list[int], int, random.Random]:
        """Return what a person may still get, how many pieces they have had, and a source of chance."""
        if not self._read_at <= args["now"] < self._read_at + STALE_S:
            self._read(conn, args)
        if not self._labels:
            return [], 0, random.Random(0)
        had = {item for (item,) in conn.execute(_HAD, args)}
        out = had | self._seen.get(args["person"], set())
        (last,) = conn.execute("SELECT coalesce(max(id), 0) FROM cards").fetchone()
        rng = random.Random(f"{self._seed}/{args['session']}/{args['person']}/{last}")
        return [item for item in self._labels if item not in out], len(had), rng

    def _draw(self, conn: sqlite3.Connection, args: Args, left: list[int], rng: random.Random) -> Row | None:
        """Return one of these pieces, drawn evenly, and take it out of them; None: all were seen."""
        while left:
            at = rng.randrange(len(left))
            left[at], left[-1] = left[-1], left[at]
            item = left.pop()
            if not conn.execute(_SEEN, args | {"item": item}).fetchone()[0]:
                return item, args["round"], "gold", None, None
            self._seen.setdefault(args["person"], set()).add(item)
        return None

    def _read(self, conn: sqlite3.Connection, args: Args) -> None:
        self._labels, self._read_at = known(conn, args["session"]), args["now"]
        (self._seed,) = conn.execute("SELECT seed FROM sessions WHERE id = ?", (args["session"],)).fetchone()
        self._seen.clear()


class Mixer:
    """What has to be known to mix the cards of one session. Owners get theirs as the round has them."""

    def __init__(self) -> None:
        self._gold = Gold()
        self._broken: dict[int, int] = {}  # of each person: the end of the run that was broken up last

    def deal(
        self,
        conn: sqlite3.Connection,
        args: Args,
        n: int,
        *,
        line: Line,
        ordinary: Callable[[int], list[Row]],
        has_more: Callable[[], bool],
    ) -> list[Row]:
        """Return up to n cards: ordinary ones in their order, gold between them, never gold alone at the end.

        Where somebody is in a run of equal answers the first one is of the other kind, if there is one.
        ordinary  returns up to so many cards that may be dealt now. has_more: whether there are any.
        """
        other = self._breaks_run(conn, args, line)
        out: list[Row] = [] if other is None else [other]
        gold = self._gold.places(conn, args, n - len(out), but={row[0] for row in out})
        wanted = gold.count(None)
        rows = iter([row for row in ordinary(wanted) if row not in out] if wanted else [])
        for place in gold:
            row = place or next(rows, None)
            if row is None:
                break
            out.append(row)
        if all(row[2] == "gold" for row in out) and not has_more():
            return ordinary(n)
        return out

    def _breaks_run(self, conn: sqlite3.Connection, args: Args, line: Line) -> Row | None:
        """Return a card of another kind than a person's last answers, which are all the same; else None."""
        person = args["person"]
        run = run_of(conn, args["session"], person, after=self._broken.get(person, 0))
        if run is None:
            return None
        other = line.pull(conn, args, is_target=run.label != 0)
        other = other or self._gold.other(conn, args, run.label)
        if other is not None:
            self._broken[person] = run.last
        return other

    def forget(self) -> None:
        """Forget what is known of gold: another answer may be."""
        self._gold = Gold()
