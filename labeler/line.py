"""Who holds which card, and what of the newest round is still to be dealt (SQL)."""

import json
import sqlite3
from collections import deque
from typing import Any

SKIP_PAUSE = 50  # cards answered before a skipped one may come back
NEVER = 2**62  # a place in the log that no event has
READ = 100  # picks read at a time
EVEN = 0.5  # the score of a pick from which on it is likely the target
PULLED = 3  # of the picks that could break a run of equal answers so many are looked at
STALE_S = 5.0  # how late a card may be whose answer was taken back by another process

# An item is answered when somebody's current answer to it is a label or "unsure".
ANSWERED = """EXISTS (SELECT 1 FROM answers e WHERE e.session = :session AND e.item = {item}
  AND e.kind IN ('label', 'unsure'))"""
# A card given "later" than now was given before the clock was set back, and would be held for days.
HELD = "({c}.lease_until > :now AND {c}.leased_at < :now + 60)"
# A card without an answer that stands, by whom it was dealt to: what others say under its number settles
# nothing of theirs.
WAITED_FOR = """NOT EXISTS (SELECT 1 FROM events e WHERE e.card = {c}.id AND e.person = {c}.person
    AND e.kind <> 'undo' AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq))"""
# Without INDEXED BY, SQLite may read all held cards to find those of one item.
_LEASED = f"""EXISTS (SELECT 1 FROM cards c INDEXED BY cards_item
  WHERE c.session = :session AND c.item = {{item}} AND c.reason <> 'gold'
  AND {HELD.format(c="c")} AND {WAITED_FOR.format(c="c")})"""
_SKIPPED = """EXISTS (SELECT 1 FROM answers s
  WHERE s.session = :session AND s.item = {item} AND s.kind = 'skip' AND s.seq >= :since)"""
_REST = f"""NOT {ANSWERED} AND NOT {_SKIPPED}
  AND EXISTS (SELECT 1 FROM items i WHERE i.id = {{item}} AND i.present = 1)"""

# A card that was dealt to ask its item again, and answered, also with skip: once is enough.
REPEATED = f"""EXISTS (SELECT 1 FROM cards r WHERE r.session = :session AND r.item = {{item}}
  AND r.reason = 'repeat' AND NOT {WAITED_FOR.format(c="r")})"""
_AGAIN = f"""NOT {REPEATED} AND {ANSWERED}
  AND EXISTS (SELECT 1 FROM items i WHERE i.id = {{item}} AND i.present = 1)"""

# A card {c} whose answer is not waited for any more: it has one, or its item has.
SETTLED = f"""(CASE WHEN {{c}}.reason IN ('repeat', 'gold') THEN NOT {WAITED_FOR}
  ELSE {ANSWERED.format(item="{c}.item")} END)"""

# Whether the person who asks has seen an item as one whose answer is known.
_MY_GOLD = """EXISTS (SELECT 1 FROM events g INDEXED BY events_gold WHERE g.session = :session
  AND g.person = :person AND g.item = {item} AND g.gold IS NOT NULL)"""

# What may be dealt now: not answered, held by nobody, not put off a moment ago, and still there.
DEALABLE = f"NOT {_LEASED} AND {_REST} AND NOT {_MY_GOLD}"
DEALABLE_AGAIN = f"NOT {_LEASED} AND {_AGAIN} AND NOT {_MY_GOLD}"

# Cards of another device than the one that asks, also when both are one person's.
NOTMINE = "({c}.person <> :person OR {c}.device IS NOT :device)"

# Whether another device holds an item; of an item whose answer is known any number may.
OTHERS = f"""EXISTS (SELECT 1 FROM cards o INDEXED BY cards_item
  WHERE o.session = {{session}} AND o.item = {{item}} AND o.reason <> 'gold' AND {NOTMINE.format(c="o")}
  AND {HELD.format(c="o")} AND {WAITED_FOR.format(c="o")})"""

# With several votes: who has answered what, who holds what, and whether one more is wanted. First :least
# people are asked at a time; where what they say leaves it open, one after the other.
_DONE = "EXISTS (SELECT 1 FROM tallies t WHERE t.session = :session AND t.item = {item} AND t.is_done)"
MINE = """EXISTS (SELECT 1 FROM answers e WHERE e.session = :session AND e.item = {item}
  AND e.person = :person AND e.kind IN ('label', 'unsure'))"""
_I_HOLD = f"""EXISTS (SELECT 1 FROM cards m INDEXED BY cards_item
  WHERE m.session = {{session}} AND m.item = {{item}} AND m.person = :person AND {{which}}
  AND {HELD.format(c="m")} AND {WAITED_FOR.format(c="m")})"""
_GIVEN = "coalesce((SELECT t.votes FROM tallies t WHERE t.session = {session} AND t.item = {item}), 0)"
_FULL = f"""({_GIVEN} + (SELECT count(DISTINCT o.person) FROM cards o INDEXED BY cards_item
     WHERE o.session = {{session}} AND o.item = {{item}} AND o.person <> :person
     AND o.reason <> 'gold' AND {HELD.format(c="o")}
     AND {WAITED_FOR.format(c="o")}) >= max(:least, {_GIVEN} + 1))"""
SETTLED_MANY = f"""(CASE WHEN {{c}}.reason IN ('repeat', 'gold') THEN NOT {WAITED_FOR}
  ELSE {_DONE.format(item="{c}.item")} OR {MINE.format(item="{c}.item")} END)"""
OTHERS_MANY = f"({_I_HOLD.replace('{which}', 'm.device IS NOT :device')} OR {_FULL})"


WANTED = f"""NOT {_DONE.format(item="x.item")} AND NOT {MINE.format(item="x.item")}
  AND NOT {_MY_GOLD.format(item="x.item")}
  AND NOT {_I_HOLD.format(session=":session", item="x.item", which="1")}
  AND NOT {_FULL.format(session=":session", item="x.item")} AND NOT {_SKIPPED.format(item="x.item")}
  AND EXISTS (SELECT 1 FROM items i WHERE i.id = x.item AND i.present = 1)"""

# All items that somebody holds, unanswered.
HELD_ITEMS = f"""SELECT c.item FROM cards c INDEXED BY cards_held
  WHERE c.session = :session AND c.reason <> 'gold' AND {HELD.format(c="c")} AND {WAITED_FOR.format(c="c")}"""

# What may be dealt now of a whole round: who holds what is read once, not for every pick.
WAITING = f"""picks x WHERE x.session = :session AND x.round = :round
  AND x.item NOT IN ({HELD_ITEMS})
  AND CASE WHEN x.reason = 'repeat' THEN {_AGAIN.format(item="x.item")}
      ELSE {_REST.format(item="x.item")} END"""

Row = tuple[int, int, str, float | None, float | None]  # item, round, reason, p_chosen, score
# Of the statements: session, now, round, and `since` as pause_began says. Any: numbers of either kind.
Args = dict[str, Any]


def rules(least: int) -> tuple[str, str]:
    """Return when a card {c} is settled, and when others leave none of its item; least: people asked."""
    settled, others = (SETTLED, OTHERS) if least == 1 else (SETTLED_MANY, OTHERS_MANY)
    others = others.format(session="{c}.session", item="{c}.item")
    return settled, f"({{c}}.reason <> 'gold' AND {others})"


def is_owner(conn: sqlite3.Connection, args: Args) -> bool:
    """Return whether the person who asks is an owner."""
    row = conn.execute("SELECT role FROM people WHERE id = :person", args).fetchone()
    return row is None or row[0] == "own"


def room(conn: sqlite3.Connection, args: Args, n: int, most: int) -> int:
    """Return how many of n more cards a person may get: an owner all, others as they hold fewer than `most`.

    Those of packs are left out: they are held for longer than is asked for now.
    """
    if n <= 0 or is_owner(conn, args):
        return max(0, n)
    held = conn.execute(
        f"""SELECT count(*) FROM (SELECT 1 FROM cards c INDEXED BY cards_person
            WHERE c.session = :session AND c.person = :person AND c.lease_until <= :until
              AND {HELD.format(c="c")} AND {WAITED_FOR.format(c="c")} LIMIT :most)""",
        args | {"most": most},
    ).fetchone()[0]
    return max(0, min(n, most - int(held)))


def pause_began(conn: sqlite3.Connection, session: int, until: int | None = None) -> int:
    """Return the place in the log from which on skipped items are not asked again, as of event `until`.

    The 50th newest event, undos left out: an older skip has fifty others after it.
    """
    row = conn.execute(
        """SELECT seq FROM events WHERE session = ? AND kind <> 'undo' AND seq <= coalesce(?, seq)
           ORDER BY seq DESC LIMIT 1 OFFSET ?""",
        (session, until, SKIP_PAUSE - 1),
    ).fetchone()
    return 0 if row is None else int(row[0])


def paused(conn: sqlite3.Connection, session: int, until: int | None = None) -> list[int]:
    """Return the items skipped within the last 50 cards as of event `until` (None: now), in order."""
    rows = conn.execute(
        """SELECT DISTINCT s.item FROM events s
           WHERE s.session = :session AND s.seq >= :since AND s.seq <= coalesce(:until, s.seq)
             AND s.kind = 'skip' AND s.gold IS NULL AND NOT EXISTS
               (SELECT 1 FROM events u WHERE u.undoes = s.seq AND u.seq <= coalesce(:until, u.seq))
           ORDER BY s.item""",
        {"session": session, "since": pause_began(conn, session, until), "until": until},
    )
    return [item for (item,) in rows]


def put_off(conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
    """Return up to n picks of a round that were skipped and may be dealt else, the longest ago first."""
    rows = conn.execute(
        f"""SELECT x.item, x.round, x.reason, x.p_chosen, x.score FROM {WAITING}
            ORDER BY (SELECT max(s.seq) FROM answers s
                      WHERE s.session = :session AND s.item = x.item), x.place""",
        args | {"since": NEVER},
    ).fetchall()
    return [row for row in rows if row[0] not in but][:n]


def shared(conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
    """Return up to n picks of the newest round that others hold now and that want one more answer."""
    rows = conn.execute(
        f"""SELECT x.item, x.round, x.reason, x.p_chosen, x.score FROM picks x
            WHERE x.session = :session AND x.round = :round AND x.reason <> 'repeat'
              AND {WANTED} ORDER BY x.place LIMIT :n""",
        args | {"n": n + len(but)},
    ).fetchall()
    return [row for row in rows if row[0] not in but][:n]


class Line:
    """The picks of one session's newest round that are still to be dealt, in order.

    Kept in memory, so that a card costs one look at its own item; a round for a hundred people has
    thousands of picks, most of them in somebody's hands. Read anew when it is another round, when a
    lease ran out or a pause ended, and every few seconds for what else may come back.
    """

    def __init__(self) -> None:
        self._round = -1
        self._read_at = 0.0
        self._paused: set[int] = set()
        self._place = -1  # of the last pick that was read
        self._rows: deque[Row] = deque()

    def take(self, conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
        """Return up to n picks that may be dealt now, other items than `but`. args: `round` is the newest."""
        if self._is_stale(conn, args):
            self._round, self._read_at, self._place = args["round"], args["now"], -1
            self._rows.clear()
        taken: list[Row] = []
        while len(taken) < n and (self._rows or self._read(conn, args)):
            some = [self._rows.popleft() for _ in range(min(n - len(taken), len(self._rows)))]
            free = self._free(conn, args, [row[0] for row in some if row[2] != "repeat"], DEALABLE)
            free |= self._free(conn, args, [row[0] for row in some if row[2] == "repeat"], DEALABLE_AGAIN)
            free -= but
            taken += [row for row in some if row[0] in free]
        return taken

    def pull(self, conn: sqlite3.Connection, args: Args, *, is_target: bool) -> Row | None:
        """Return a pick that is likely the target, or likely not, and may be dealt now, and leave it out.

        Of those in memory that were chosen by rank, the surest. Those drawn at random keep their places.
        """
        if self._is_stale(conn, args):
            return None
        likely = [
            (abs(row[4] - EVEN), row) for row in self._rows
            if row[2] == "find" and row[4] is not None and (row[4] >= EVEN) == is_target
        ]  # fmt: skip
        for _, row in sorted(likely, key=lambda one: one[0], reverse=True)[:PULLED]:
            if self._free(conn, args, [row[0]], DEALABLE):
                self._rows.remove(row)
                return row
        return None

    def has_more(self, conn: sqlite3.Connection, args: Args) -> bool:
        """Return whether anything may be dealt now, and leave it in its place."""
        rows = self.take(conn, args, 1, but=set())
        self._rows.extendleft(rows)
        return bool(rows)

    def _is_stale(self, conn: sqlite3.Connection, args: Args) -> bool:
        now = args["now"]
        before, self._paused = self._paused, set(paused(conn, args["session"]))
        if self._round != args["round"] or not self._read_at <= now < self._read_at + STALE_S:
            return True
        ran_out = "SELECT 1 FROM cards WHERE session = ? AND lease_until > ? AND lease_until <= ?"
        back = conn.execute(ran_out, (args["session"], self._read_at, now)).fetchone()
        return back is not None or not before <= self._paused

    def _read(self, conn: sqlite3.Connection, args: Args) -> bool:
        """Read some more; return whether there are any."""
        rows = conn.execute(
            f"""SELECT x.item, x.round, x.reason, x.p_chosen, x.score, x.place FROM {WAITING}
                AND x.place > :place ORDER BY x.place LIMIT :some""",
            args | {"place": self._place, "some": READ},
        ).fetchall()
        # whoever comes when all is handed out must not have all of the round looked through once more
        self._place = rows[-1][-1] if len(rows) == READ else NEVER
        self._rows.extend(row[:-1] for row in rows)
        return bool(rows)

    @staticmethod
    def _free(conn: sqlite3.Connection, args: Args, items: list[int], rule: str) -> set[int]:
        if not items:
            return set()
        rows = conn.execute(
            f"SELECT x.value FROM json_each(:items) x WHERE {rule.format(item='x.value')}",
            args | {"items": json.dumps(items)},
        )
        return {item for (item,) in rows}
