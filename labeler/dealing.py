"""Cards (SQL): what is asked next, and who holds what. Answers are in journal.py."""

import json
import sqlite3
import time
from collections.abc import Sequence

from labeler import draws, pieces
from labeler.begun import Begun, Handed
from labeler.database import timestamp, transaction
from labeler.domain import Card, Reason
from labeler.line import (
    ANSWERED,
    DEALABLE,
    HELD,
    HELD_ITEMS,
    STALE_S,
    WAITED_FOR,
    WAITING,
    Args,
    Line,
    Row,
    is_owner,
    pause_began,
    put_off,
    room,
    rules,
    shared,
)
from labeler.mixing import Mixer

MOST_HELD = 200  # cards that somebody may hold beside packs, on all their devices; a deck has some 24
WANTING_S = 60.0  # how long somebody who got too few cards is taken to wait for more
_WANTS = """INSERT INTO wanting VALUES (:session, :person, :now) ON CONFLICT DO UPDATE SET at = excluded.at
  WHERE at NOT BETWEEN excluded.at - 20 AND excluded.at"""  # whoever asks all the time writes now and then
UNDRAWN = """(:drawn IS NOT NULL AND {c}.reason <> 'asked' AND {c}.item NOT IN
  (SELECT item FROM picks WHERE session = :session AND round = :drawn)
  AND NOT EXISTS (SELECT 1 FROM events e WHERE e.card = {c}.id AND e.person = {c}.person))"""
"""Whether card c can wait: it is none of the draws of the certificate that runs, whose round is :drawn.

One that had an answer is there because that was taken back: it may count as a miss until it has one.
"""


class Dealing:
    """The cards of one workspace, over one connection of one thread."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self._lines: dict[int, Line] = {}
        self._asked: dict[int, tuple[int, float]] = {}  # of each session: place in `asked`, when it was read
        self._begun: dict[int, Begun] = {}
        self._handed: dict[int, Handed] = {}
        self._mixers: dict[int, Mixer] = {}

    def ask(self, session: int, items: Sequence[int]) -> int:
        """Put items at the front of the deck; return how many were not answered or waiting already."""
        with transaction(self.conn) as conn:
            added = 0
            for item in items:
                added += conn.execute(
                    f"""INSERT INTO asked(session, item, at) SELECT :session, :item, :at
                        WHERE NOT {ANSWERED.format(item=":item")}
                          AND NOT EXISTS (SELECT 1 FROM asked a WHERE a.session = :session AND a.item = :item
                            AND NOT EXISTS (SELECT 1 FROM cards c
                              WHERE c.session = :session AND c.item = :item AND c.reason = 'asked'))""",
                    {"session": session, "item": item, "at": timestamp()},
                ).rowcount
        return added

    def lease_cards(
        self,
        session: int,
        person: int,
        n: int,
        *,
        have: Sequence[int] | None,
        now: float,
        lease_s: int,
        device: int | None = None,
        most: int | None = None,
    ) -> list[Card]:
        """Return up to n cards for a person's device, held for `lease_s` seconds from `now` (unix time).

        device  the one that asks; None: the command line, or a page.
        most  how many cards held no longer than that somebody who is no owner may have, MOST_HELD for None:
              nobody gets a new one beyond. Else one device that asks again and again has all there are.
        have  the cards that the device's deck still holds: the lease of those without an answer is
              extended (never cut short), also when it ran out and nobody else has the item; none is
              sent again. None: the deck is new (a reload), so the device's own unanswered cards come
              first, but for those of a pack: these are leased for longer, and the deck knows them.
        Order: own cards, what people asked for, then the newest round by place; `Mixer` says what others
        than owners get between these. An item that
        is answered, held by somebody, skipped within the last 50 cards, or gone is passed over;
        when nothing else of a certificate's draws is left, those that were skipped come at once.
        While a certificate runs, own cards that it has not drawn are let go, but for those asked for.
        """
        args: Args = {
            "session": session, "person": person, "device": device, "now": now, "until": now + lease_s,
            "since": pause_began(self.conn, session), "drawn": draws.running(self.conn, session),
            "least": self._least(session),
        }  # fmt: skip
        settled, others = rules(args["least"])
        with transaction(self.conn) as conn:
            ids: list[int] = []
            if args["drawn"] is not None:  # their items are anybody's as soon as the certificate ends
                conn.execute(
                    f"""UPDATE cards SET lease_until = 0 WHERE session = :session AND person = :person
                          AND device IS :device AND lease_until > :now AND {UNDRAWN.format(c="cards")}""",
                    args,
                )
            if have is None:
                ids += self._own(conn, args, n)
            if have:
                # the plus signs keep SQLite from walking through all cards of the person
                conn.execute(
                    f"""UPDATE cards SET leased_at = :now, lease_until = :until
                       WHERE id IN (SELECT value FROM json_each(:have)) AND +session = :session
                         AND +person = :person AND device IS :device AND {WAITED_FOR.format(c="cards")}
                         AND NOT (lease_until > :until AND leased_at < :now + 60)
                         AND NOT {settled.format(c="cards")} AND NOT {UNDRAWN.format(c="cards")}
                         AND NOT {others.format(c="cards")}""",
                    args | {"have": json.dumps(list(have))},
                )
            if ids:
                marks = ",".join("?" * len(ids))
                until = (now, args["until"], *ids)
                conn.execute(f"UPDATE cards SET leased_at = ?, lease_until = ? WHERE id IN ({marks})", until)
            free = room(conn, args, n - len(ids), MOST_HELD if most is None else most)
            if rows := self._next_items(conn, args, free):
                # of a clock that was put back there may be leases that begin again later
                conn.execute(
                    f"""UPDATE cards INDEXED BY cards_item SET lease_until = 0
                       WHERE session = :session AND item IN (SELECT value FROM json_each(:items))
                         AND lease_until > 0 AND NOT {HELD.format(c="cards")}""",
                    args | {"items": json.dumps([row[0] for row in rows])},
                )
                conn.executemany(
                    """INSERT INTO cards(session, item, round, reason, p_chosen, score, person, device,
                                          leased_at, lease_until)
                       VALUES (?,?,?,?,?,?,?,?,?,?)""",
                    [(session, *row, person, device, now, now + lease_s) for row in rows],
                )
                if session in self._handed:
                    self._handed[session].note(rows, person)
                last = conn.execute("SELECT last_insert_rowid()").fetchone()[0]  # they are numbered in order
                ids += range(last - len(rows) + 1, last + 1)
            if len(rows) < free:
                conn.execute(_WANTS, args)
            return self.cards(conn, ids)

    def count_wanting(self, session: int, now: float) -> int:
        """Return how many people got fewer cards than they asked for within the last minute."""
        row = self.conn.execute(
            "SELECT count(*) FROM wanting WHERE session = ? AND at BETWEEN ? AND ?",
            (session, now - WANTING_S, now),
        ).fetchone()
        return int(row[0])

    def gone_cards(
        self, session: int, person: int, have: Sequence[int], now: float, device: int | None = None
    ) -> list[int]:
        """Return which cards of a device's deck need no answer any more, in order.

        Their item is answered, held by somebody else, or gone; or a certificate runs that has not drawn it.
        """
        marks = ",".join(str(int(card)) for card in have)
        drawn, least = draws.running(self.conn, session), self._least(session)
        settled, others = rules(least)
        rows = self.conn.execute(
            f"""SELECT c.id FROM cards c JOIN items i ON i.id = c.item
                WHERE c.session = :session AND c.id IN ({marks}) AND (i.present = 0
                  OR (i.present = 2 AND c.reason <> 'gold')
                  OR {settled.format(c="c")}
                  OR {others.format(c="c")}
                  OR {UNDRAWN.format(c="c")})
                ORDER BY c.id""",
            {
                "session": session,
                "person": person,
                "device": device,
                "now": now,
                "drawn": drawn,
                "least": least,
            },
        )
        return [i for (i,) in rows]

    def _own(self, conn: sqlite3.Connection, args: Args, n: int) -> list[int]:
        """Return the device's unanswered cards that nobody else holds, oldest first.

        A card of an older round whose lease ran out is not one: its item goes back to the pool. Nor is
        one that is leased for longer than is asked for now: it is in a pack.
        """
        settled, _ = rules(args["least"])
        rows = conn.execute(
            f"""SELECT c.id FROM cards c JOIN items i ON i.id = c.item
                WHERE c.session = :session AND c.person = :person AND c.device IS :device
                  AND {HELD.format(c="c")} AND (i.present = 1 OR (i.present = 2 AND c.reason = 'gold'))
                  AND c.lease_until <= :until
                  AND {WAITED_FOR.format(c="c")}
                  AND NOT {settled.format(c="c")} AND NOT {UNDRAWN.format(c="c")}
                ORDER BY c.id LIMIT :n""",
            args | {"n": n},
        )
        return [i for (i,) in rows]

    def _next_items(self, conn: sqlite3.Connection, args: Args, n: int) -> list[Row]:
        """Return what to ask next."""
        if n <= 0:
            return []
        newest = conn.execute(
            "SELECT coalesce(max(number), 0) FROM rounds WHERE session = :session", args
        ).fetchone()[0]
        args = args | {"round": newest}
        if args["drawn"] is not None or is_owner(conn, args):
            return self._ordinary(conn, args, n)
        return self._mixers.setdefault(args["session"], Mixer()).deal(
            conn, args, n,
            line=self._lines.setdefault(args["session"], Line()),
            ordinary=lambda k: self._ordinary(conn, args, k),
            has_more=lambda: self._has_more(conn, args),
        )  # fmt: skip

    def _has_more(self, conn: sqlite3.Connection, args: Args) -> bool:
        """Return whether the round, or an image that others have begun, has a card for this person."""
        if self._lines.setdefault(args["session"], Line()).has_more(conn, args):
            return True
        return args["least"] > 1 and self._begun.setdefault(args["session"], Begun()).has_more(conn, args)

    def _ordinary(self, conn: sqlite3.Connection, args: Args, n: int) -> list[Row]:
        """Return what to ask next, as it was chosen."""
        args = args | {"n": n}
        asked = conn.execute(
            f"""SELECT x.item, :round, 'asked', NULL, NULL FROM asked x
                WHERE x.session = :session AND x.seq >= :first AND {DEALABLE.format(item="x.item")}
                GROUP BY x.item ORDER BY min(x.seq) LIMIT :n""",
            args | {"first": self._first_asked(conn, args)},
        ).fetchall()
        line = self._lines.setdefault(args["session"], Line())
        rows = [*asked]
        if args["least"] > 1:
            rows += self._unfinished(conn, args, n - len(rows), but={row[0] for row in rows})
        rows += line.take(conn, args, n - len(rows), but={row[0] for row in rows})
        if len(rows) < n and args["least"] > 1:
            rows += self._shared(conn, args, n - len(rows), but={row[0] for row in rows})
        if len(rows) < n and draws.running(conn, args["session"]) == args["round"]:
            rows += put_off(conn, args, n - len(rows), but={row[0] for row in rows})
        return rows

    def _unfinished(self, conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
        """Return what others have answered and this person is asked too; none while a certificate runs."""
        if n <= 0 or args["drawn"] is not None:
            return []
        return self._begun.setdefault(args["session"], Begun()).take(conn, args, n, but=but)

    def _shared(self, conn: sqlite3.Connection, args: Args, n: int, *, but: set[int]) -> list[Row]:
        """Return picks of the newest round that others hold and that want one more answer."""
        if args["drawn"] is not None:
            return shared(conn, args, n, but=but)
        return self._handed.setdefault(args["session"], Handed()).take(conn, args, n, but=but)

    def touch(self, session: int, items: Sequence[int]) -> None:
        """Note that something was said about these items, where several people are asked."""
        if session in self._begun:
            self._begun[session].touch(self.conn, session, items, time.time())
        if session in self._handed:
            self._handed[session].forget(items)

    def _least(self, session: int) -> int:
        """Return how many people each image is put to at least; 1: one answer is enough."""
        row = self.conn.execute("SELECT least FROM sessions WHERE id = ?", (session,)).fetchone()
        return 1 if row is None else int(row[0])

    def _first_asked(self, conn: sqlite3.Connection, args: Args) -> int:
        """Return the place in `asked` before which everything is answered, so that it is passed over once."""
        session, now = args["session"], args["now"]
        first, read_at = self._asked.get(session, (0, now))
        if not read_at <= now < read_at + STALE_S:
            first, read_at = 0, now  # another process may have taken an answer back
        row = conn.execute(
            f"""SELECT x.seq FROM asked x WHERE x.session = :session AND x.seq >= :first
                AND NOT {ANSWERED.format(item="x.item")} ORDER BY x.seq LIMIT 1""",
            args | {"first": first},
        ).fetchone()
        if row is None:
            row = conn.execute("SELECT coalesce(max(seq), 0) + 1 FROM asked").fetchone()
        self._asked[session] = (int(row[0]), read_at)
        return int(row[0])

    def forget(self) -> None:
        """Forget what is kept in memory of cards to deal: an answer was taken back, or work rolled back."""
        self._lines.clear()
        self._asked.clear()
        self._begun.clear()
        self._handed.clear()

    def cards(self, conn: sqlite3.Connection, ids: Sequence[int]) -> list[Card]:
        """Return these cards, in this order."""
        rows = conn.execute(
            """SELECT c.id, c.item, i.width, i.height, c.round, c.reason, c.p_chosen, c.score
               FROM cards c JOIN items i ON i.id = c.item WHERE c.id IN (SELECT value FROM json_each(?))""",
            (json.dumps(list(ids)),),
        )
        known = {row[0]: Card(*row) for row in rows}
        return [known[card] for card in ids]

    def add_card(self, session: int, item: int, person: int, reason: Reason, now: float) -> int:
        """Store a card that is answered at once (an example in the pool) and return its id."""
        with transaction(self.conn) as conn:
            cursor = conn.execute(
                """INSERT INTO cards(session, item, round, reason, person, leased_at, lease_until)
                   VALUES (?,?,(SELECT coalesce(max(number), 0) FROM rounds WHERE session = ?),?,?,?,?)""",
                (session, item, session, reason, person, now, now),
            )
        return int(cursor.lastrowid or 0)

    def own_card(self, card: int | None, person: int) -> int | None:
        """Return a card where it was dealt to this person, else None."""
        row = self.conn.execute("SELECT id FROM cards WHERE id = ? AND person = ?", (card, person)).fetchone()
        return None if row is None else int(row[0])

    def last_dealt(self, session: int, n: int = 2) -> list[int]:
        """Return the items of the n newest cards, oldest first."""
        rows = self.conn.execute(
            "SELECT item FROM cards WHERE session = ? ORDER BY id DESC LIMIT ?", (session, n)
        ).fetchall()
        return [i for (i,) in rows][::-1]

    def held(self, session: int, now: float) -> list[int]:
        """Return the items that somebody holds now, unanswered, in order."""
        rows = self.conn.execute(
            f"SELECT DISTINCT item FROM ({HELD_ITEMS}) ORDER BY item", {"session": session, "now": now}
        )
        return [i for (i,) in rows]

    def count_leased(self, session: int, since: float, now: float) -> int:
        """Return how many items that somebody holds now, unanswered, were given out after `since`."""
        row = self.conn.execute(
            f"SELECT count(DISTINCT item) FROM ({HELD_ITEMS} AND c.leased_at > :since)",
            {"session": session, "now": now, "since": since},
        ).fetchone()
        return int(row[0])

    def packed(self, session: int, person: int, *, now: float, beyond: float) -> list[int]:
        """Return the unanswered cards that a person holds until after `beyond` (unix time), in order."""
        rows = self.conn.execute(
            f"""SELECT c.id FROM cards c INDEXED BY cards_person
                WHERE c.session = :session AND c.person = :person AND c.lease_until > :beyond
                  AND {HELD.format(c="c")} AND {WAITED_FOR.format(c="c")} ORDER BY c.id""",
            {"session": session, "person": person, "now": now, "beyond": beyond},
        )
        return [i for (i,) in rows]

    def give_back(self, session: int, person: int, cards: Sequence[int]) -> int:
        """End the leases of these cards where they are this person's and unanswered; return how many were."""
        with transaction(self.conn) as conn:
            back = conn.execute(
                f"""UPDATE cards SET lease_until = 0
                    WHERE id IN (SELECT value FROM json_each(:cards)) AND +session = :session
                      AND +person = :person AND lease_until > 0 AND {WAITED_FOR.format(c="cards")}""",
                {"cards": json.dumps(list(cards)), "session": session, "person": person},
            ).rowcount
        self.forget()
        return back

    def count_waiting(self, session: int, now: float, most: int) -> int:
        """Return how many cards of the newest round could be dealt now; `most` stands for more."""
        args = {"session": session, "now": now, "since": pause_began(self.conn, session), "most": most}
        newest = "SELECT max(number) AS round FROM rounds WHERE session = :session"
        number = self.conn.execute(newest, args).fetchone()[0]
        row = self.conn.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {WAITING} LIMIT :most)", args | {"round": number}
        ).fetchone()
        return int(row[0])

    def forget_gold(self) -> None:
        """Forget which images have a known answer: other ones may."""
        for mixer in self._mixers.values():
            mixer.forget()

    def count_gold(self, session: int) -> int:
        """Return how many images there are whose answer is known and that may be dealt as gold."""
        return len(pieces.known(self.conn, session))

    def has_gold(self, session: int) -> bool:
        """Return whether there is any gold, ready to be dealt or not; cheap enough for every request."""
        return pieces.is_any(self.conn, session)

    def session_of(self, card: int) -> int | None:
        """Return the session of a card, None for a card that was never dealt."""
        if not 0 < card < 2**62:
            return None
        row = self.conn.execute("SELECT session FROM cards WHERE id = ?", (card,)).fetchone()
        return None if row is None else int(row[0])

    def hold_again(self, card: int, person: int, now: float, lease_s: int, device: int | None = None) -> None:
        """Give a person's card that is shown again to this device, unless another one holds its item.

        One of a pack is held for as long as it was.
        """
        least = self._least(self.session_of(card) or 0)
        others = rules(least)[1].format(c="cards")
        self.conn.execute(
            f"""UPDATE cards SET leased_at = :now, device = :device, lease_until =
                  CASE WHEN leased_at < :now + 60 THEN max(:until, abs(lease_until)) ELSE :until END
                WHERE id = :card AND person = :person AND NOT {others}""",
            {
                "until": now + lease_s,
                "person": person,
                "device": device,
                "card": card,
                "now": now,
                "least": least,
            },
        )
