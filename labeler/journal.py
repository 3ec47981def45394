"""Answers (SQL): how they are stored, and taken back. What they say is in log.py, cards in dealing.py."""

import sqlite3
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from labeler import pieces
from labeler.database import timestamp, transaction
from labeler.dealing import Dealing
from labeler.domain import SKIP, UNSURE, Card, LabelEvent, Recorded, Session
from labeler.errors import Conflict
from labeler.log import Log
from labeler.standing import Standings
from labeler.store import label_numbers
from labeler.tallies import set_done, tally

_OF_UNDONE = "(SELECT gold FROM events WHERE seq = ?)"  # taking an answer on gold back is about gold too


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo took back, and the card to show again."""

    item: int
    label: str
    card: Card


class Journal(Log):
    """The log, and what changes it."""

    def __init__(self, conn: sqlite3.Connection, standings: Standings | None = None) -> None:
        super().__init__(conn, standings)
        self.dealing = Dealing(conn)

    def add_events(
        self,
        session: Session,
        person: int,
        events: Sequence[LabelEvent],
        *,
        lease: tuple[float, int] | None = None,
        device: int | None = None,
    ) -> Recorded:
        """Store answers in the order given; each id once. Late answers and foreign cards count too.

        lease  (unix time now, seconds): for so long the card of an answer that is taken back is held,
               by the device that sent it.
        """
        numbers = label_numbers(self.conn, session.id)
        accepted = duplicates = 0
        rejected: list[tuple[str, str]] = []
        known: list[tuple[str, int]] = []
        with transaction(self.conn) as conn:
            items = conn.execute("SELECT coalesce(max(id) + 1, 0) FROM items").fetchone()[0]
            for e in events:
                if conn.execute("SELECT 1 FROM events WHERE id = ?", (e.id,)).fetchone():
                    duplicates += 1
                elif not 0 <= e.item < items:
                    rejected.append((e.id, f"There is no item {e.item}."))
                elif e.answer not in (None, UNSURE, SKIP) and e.answer not in numbers:
                    rejected.append((e.id, f"There is no label {e.answer!r}."))
                else:
                    card, label = self._insert(conn, session.id, person, e, numbers)
                    if label is not None:
                        known.append((e.id, label))
                    if e.answer is None and card is not None and lease is not None:
                        self.dealing.hold_again(card, person, *lease, device)
                    accepted += 1
        return Recorded(accepted, duplicates, tuple(rejected), tuple(known))

    def _insert(
        self, conn: sqlite3.Connection, session: int, person: int, e: LabelEvent, numbers: dict[str, int]
    ) -> tuple[int | None, int | None]:
        """Store one event; return its card and, of a card that was dealt as gold, the label that is known.

        No card: it has none in this session. The label is `pieces.NOTHING_KNOWN` where nothing is any more.
        What is said of an image outside the pool is on gold, whether its card is named or not.
        """
        card = undoes = gold = None
        if e.card is not None and 0 < e.card < 2**62:
            row = conn.execute(
                "SELECT reason FROM cards WHERE id = ? AND session = ? AND item = ?",
                (e.card, session, e.item),
            ).fetchone()
            card = e.card if row else None
            if row and row[0] == "gold" and e.answer is not None:
                gold = pieces.label_of(conn, session, e.item)
        if card is None and e.answer is not None and pieces.is_outside(conn, e.item):
            gold = pieces.label_of(conn, session, e.item)
        if e.answer is None:  # the view `answers` has no skips of repeats, but they too can be taken back
            row = conn.execute(
                """SELECT seq, gold FROM events e
                   WHERE session = ? AND item = ? AND person = ? AND kind <> 'undo'
                     AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
                   ORDER BY seq DESC LIMIT 1""",
                (session, e.item, person),
            ).fetchone()
            undoes, gold = row or (None, None)
        kind = "undo" if e.answer is None else e.answer if e.answer in (UNSURE, SKIP) else "label"
        label = numbers[e.answer] if kind == "label" and e.answer is not None else None
        conn.execute(
            """INSERT INTO events(id, session, item, kind, label, undoes, person, card, at, ms, received_at,
                                  gold)
               VALUES (?,?,?,?,?,?,?,?,?,?,?,?)""",
            (
                e.id, session, e.item, kind, label, undoes, person, card, e.at.isoformat(), e.ms, timestamp(),
                gold,
            ),
        )  # fmt: skip
        if kind == "undo":
            self.dealing.forget()
        elif card is not None:  # nobody holds it any more; what others say ends nobody's hold
            conn.execute(  # below zero: how long it would have been held, should the answer be taken back
                "UPDATE cards SET lease_until = -lease_until WHERE id = ? AND person = ? AND lease_until > 0",
                (card, person),
            )
        if gold is None:  # what is said of gold is no vote
            tally(conn, session, [e.item])
            self.dealing.touch(session, [e.item])
        return card, gold if kind != "undo" else None

    def undo(
        self,
        session: Session,
        person: int,
        event_id: str,
        now: float,
        lease_s: int,
        device: int | None = None,
    ) -> Undone:
        """Take back the person's last answer; the same event id gives the same result.

        An answer that was given without a card of their own gets one, to be shown again.

        Raises Conflict when there is nothing to take back.
        """
        with transaction(self.conn) as conn:
            row = conn.execute(
                """SELECT e.seq, e.item, e.kind, e.label, coalesce(u.card, e.card)
                   FROM events u JOIN events e ON e.seq = u.undoes
                   WHERE u.id = ? AND u.person = ? AND u.session = ?""",
                (event_id, person, session.id),
            ).fetchone()
            if row is None and conn.execute("SELECT 1 FROM events WHERE id = ?", (event_id,)).fetchone():
                raise Conflict(f"The event id {event_id} is used already.", "Send a new one.")
            if row is None:
                row = conn.execute(
                    """SELECT e.seq, e.item, e.kind, e.label, e.card FROM events e
                       WHERE e.session = ? AND e.person = ? AND e.kind <> 'undo'
                         AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
                       ORDER BY e.seq DESC LIMIT 1""",
                    (session.id, person),
                ).fetchone()
                if row is None:
                    raise Conflict("There is nothing to undo.", "Answer a card first.")
                at = timestamp()
                card = self.dealing.own_card(row[4], person) or self.dealing.add_card(
                    session.id, row[1], person, "asked", now
                )
                conn.execute(
                    f"""INSERT INTO events(id, session, item, kind, undoes, person, card, at, received_at,
                                           gold)
                        VALUES (?,?,?,'undo',?,?,?,?,?,{_OF_UNDONE})""",
                    (event_id, session.id, row[1], row[0], person, card, at, at, row[0]),
                )
                row = (*row[:4], card)
                tally(conn, session.id, [row[1]])
            _, item, kind, label, card = row
            self.dealing.hold_again(card, person, now, lease_s, device)
            self.dealing.forget()
            name = session.labels[label] if kind == "label" else kind
            return Undone(item, name, self.dealing.cards(conn, [card])[0])

    def take_back(self, session: int, person: int, items: Sequence[int]) -> None:
        """Take back every standing answer to these items, whoever gave it, in the name of `person`."""
        at = timestamp()
        self.dealing.forget()
        with transaction(self.conn) as conn:
            for item in items:
                rows = conn.execute(
                    """SELECT e.seq FROM events e WHERE e.session = ? AND e.item = ? AND e.kind <> 'undo'
                         AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq) ORDER BY e.seq""",
                    (session, item),
                ).fetchall()
                conn.executemany(
                    f"""INSERT INTO events(id, session, item, kind, undoes, person, at, received_at, gold)
                       VALUES (?,?,?,'undo',?,?,?,?,{_OF_UNDONE})""",
                    [(str(uuid.uuid4()), session, item, seq, person, at, at, seq) for (seq,) in rows],
                )
            pieces.clear(conn, session, items)  # what people had settled is open again
            tally(conn, session, items)

    def take_back_all(self, session: int, person: int) -> int:
        """Take back every answer of a person that stands, skips too; return how many."""
        at = timestamp()
        self.dealing.forget()
        with transaction(self.conn) as conn:
            rows = conn.execute(
                """SELECT e.seq, e.item FROM events e
                   WHERE e.session = ? AND e.person = ? AND e.kind <> 'undo'
                     AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq) ORDER BY e.seq""",
                (session, person),
            ).fetchall()
            conn.executemany(
                f"""INSERT INTO events(id, session, item, kind, undoes, person, at, received_at, gold)
                   VALUES (?,?,?,'undo',?,?,?,?,{_OF_UNDONE})""",
                [(str(uuid.uuid4()), session, item, seq, person, at, at, seq) for seq, item in rows],
            )
            tally(conn, session, sorted({item for _, item in rows}))
        return len(rows)

    def set_done(self, session: int, done: Sequence[int], open_: Sequence[int]) -> None:
        """Note that items need no more answers, and that others need some again."""
        with transaction(self.conn) as conn:
            set_done(conn, session, done, open_)
        if open_:
            self.dealing.forget()
        else:
            self.dealing.touch(session, done)
