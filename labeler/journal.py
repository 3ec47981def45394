"""Answers (SQL): what was said, and where that leaves a session. Cards are in dealing.py."""

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from labeler.ballots import cast as cast_votes
from labeler.database import read_time, timestamp, transaction
from labeler.dealing import Dealing
from labeler.domain import SKIP, UNSURE, Card, LabelEvent, Reason, Recorded, Session, StoredEvent
from labeler.errors import Conflict
from labeler.line import REPEATED, pause_began, paused
from labeler.standing import SKIP_NUMBER, UNSURE_NUMBER, Change, Standing, Standings
from labeler.store import label_numbers
from labeler.tallies import progress, set_done, tally, votes_of

MOST_RECENT = 2000  # events looked at for the pace


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo took back, and the card to show again."""

    item: int
    label: str
    card: Card


@dataclass(frozen=True, slots=True)
class Answers:
    """The current labels of a session at one moment, arrays of one length, by item.

    items   (n,) item ids. labels (n,) label numbers; -1 means unsure.
    owned   (n,) whether an owner has answered. sure (n,) how sure each label is, where several people decide;
            None: as sure as somebody's word.
    weight  (n,) how sure it is by people alone, which a model may learn from; None as for sure.
    """

    items: Ids
    labels: NDArray[np.int64]
    last_event: int
    owned: NDArray[np.bool_]
    sure: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None


class Journal:
    """Answers of one workspace, over one connection of one thread.

    standings  what all threads of the process know of where sessions stand.
    """

    def __init__(self, conn: sqlite3.Connection, standings: Standings | None = None) -> None:
        self.conn = conn
        self._standings = Standings() if standings is None else standings
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
                    card = self._insert(conn, session.id, person, e, numbers)
                    if e.answer is None and card is not None and lease is not None:
                        self.dealing.hold_again(card, person, *lease, device)
                    accepted += 1
        return Recorded(accepted, duplicates, tuple(rejected))

    def _insert(
        self, conn: sqlite3.Connection, session: int, person: int, e: LabelEvent, numbers: dict[str, int]
    ) -> int | None:
        """Store one event and return its card, None when it has none in this session."""
        card = undoes = None
        if e.card is not None and 0 < e.card < 2**62:
            row = conn.execute(
                "SELECT 1 FROM cards WHERE id = ? AND session = ? AND item = ?", (e.card, session, e.item)
            ).fetchone()
            card = e.card if row else None
        if e.answer is None:  # the view `answers` has no skips of repeats, but they too can be taken back
            row = conn.execute(
                """SELECT seq FROM events e
                   WHERE session = ? AND item = ? AND person = ? AND kind <> 'undo'
                     AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
                   ORDER BY seq DESC LIMIT 1""",
                (session, e.item, person),
            ).fetchone()
            undoes = row[0] if row else None
        kind = "undo" if e.answer is None else e.answer if e.answer in (UNSURE, SKIP) else "label"
        label = numbers[e.answer] if kind == "label" and e.answer is not None else None
        conn.execute(
            """INSERT INTO events(id, session, item, kind, label, undoes, person, card, at, ms, received_at)
               VALUES (?,?,?,?,?,?,?,?,?,?,?)""",
            (e.id, session, e.item, kind, label, undoes, person, card, e.at.isoformat(), e.ms, timestamp()),
        )
        if kind == "undo":
            self.dealing.forget()
        elif card is not None:  # nobody holds it any more
            conn.execute("UPDATE cards SET lease_until = 0 WHERE id = ?", (card,))
        tally(conn, session, [e.item])
        self.dealing.touch(session, [e.item])
        return card

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

        An answer that was given without a card gets one, to be shown again.

        Raises Conflict when there is nothing to take back.
        """
        with transaction(self.conn) as conn:
            row = conn.execute(
                """SELECT e.seq, e.item, e.kind, e.label, coalesce(e.card, u.card)
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
                card = row[4] or self.dealing.add_card(session.id, row[1], person, "asked", now)
                conn.execute(
                    """INSERT INTO events(id, session, item, kind, undoes, person, card, at, received_at)
                       VALUES (?,?,?,'undo',?,?,?,?,?)""",
                    (event_id, session.id, row[1], row[0], person, card, at, at),
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
                    """INSERT INTO events(id, session, item, kind, undoes, person, at, received_at)
                       VALUES (?,?,?,'undo',?,?,?,?)""",
                    [(str(uuid.uuid4()), session, item, seq, person, at, at) for (seq,) in rows],
                )
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
                """INSERT INTO events(id, session, item, kind, undoes, person, at, received_at)
                   VALUES (?,?,?,'undo',?,?,?,?)""",
                [(str(uuid.uuid4()), session, item, seq, person, at, at) for seq, item in rows],
            )
            tally(conn, session, sorted({item for _, item in rows}))
        return len(rows)

    def votes_progress(self, session: int) -> tuple[int, int]:
        """Return how many images have answers and want more, and how many need no more; (0, 0): one vote."""
        return progress(self.conn, session)

    def can_undo(self, session: int, person: int) -> bool:
        """Return whether the person has an answer that undo would take back."""
        row = self.conn.execute(
            """SELECT EXISTS (SELECT 1 FROM events e WHERE e.session = ? AND e.person = ? AND e.kind <> 'undo'
                 AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq))""",
            (session, person),
        ).fetchone()
        return bool(row[0])

    def count_answers_of(self, person: int) -> int:
        """Return how many answers of a person stand, in all sessions, skips left out."""
        row = self.conn.execute(
            """SELECT count(*) FROM answers WHERE session IN (SELECT id FROM sessions) AND person = ?
               AND kind IN ('label', 'unsure')""",
            (person,),
        ).fetchone()
        return int(row[0])

    def answers_by_person(self) -> dict[int, tuple[int, str]]:
        """Return {person: (answers that stand in all sessions, when the last one came)}, skips left out."""
        rows = self.conn.execute(
            """SELECT person, count(*), max(received_at) FROM events e WHERE kind IN ('label', 'unsure')
                 AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq) GROUP BY person"""
        )
        return {person: (n, at) for person, n, at in rows}

    def last_event(self, session: int) -> int:
        """Return the newest event's place in the log, 0 before the first."""
        row = self.conn.execute(
            "SELECT coalesce(max(seq), 0) FROM events WHERE session = ?", (session,)
        ).fetchone()
        return int(row[0])

    def standing(self, session: int, until: int | None = None) -> Standing:
        """Return where a session stands, or stood after event `until`, read anew: all its events."""
        stands = Standing()
        stands.feed(self._changes(session, 0, until))
        return stands

    def _changes(self, session: int, after: int, until: int | None) -> Iterator[Change]:
        rows = self.conn.execute(
            """SELECT seq, item, person,
                 CASE WHEN kind = 'skip' AND EXISTS
                   (SELECT 1 FROM cards c WHERE c.id = events.card AND c.reason = 'repeat')
                 THEN 'pass' ELSE kind END, label, undoes, card,
                 EXISTS (SELECT 1 FROM people p WHERE p.id = events.person AND p.role = 'own') FROM events
               WHERE seq > :after AND seq <= coalesce(:until, seq) AND session = :session ORDER BY seq""",
            {"after": after, "until": until, "session": session},
        )
        return (Change(*row) for row in rows)

    @contextmanager
    def _standing_now(self, session: int) -> Iterator[Standing]:
        """Yield where a session stands, for as long as the block runs; only new events are read.

        Inside a transaction, whose events may yet be rolled back, everything is read.
        """
        if self.conn.in_transaction:
            yield self.standing(session)
            return
        with self._standings.of(session) as stands:
            stands.feed(self._changes(session, stands.seq, None))
            yield stands

    def answers(self, session: int, until: int | None = None) -> Answers:
        """Return the labels as they stand now, or stood after event `until`; skips are left out."""
        if until is not None:
            return _answers(self.standing(session, until), until)
        with self._standing_now(session) as stands:
            return _answers(stands, stands.seq)

    def cast(
        self, session: int, until: int | None = None, items: Sequence[int] | None = None
    ) -> NDArray[np.void]:
        """Return who has said what, as it stands or stood after event `until`; see `ballots.cast`."""
        return cast_votes(self.conn, session, until, items)

    def items_after(self, session: int, after: int, until: int) -> list[int]:
        """Return the items that the events after one and up to another are about, in order."""
        rows = self.conn.execute(
            "SELECT DISTINCT item FROM events WHERE session = ? AND seq > ? AND seq <= ? ORDER BY item",
            (session, after, until),
        )
        return [item for (item,) in rows]

    def votes_of(self, session: int, items: Sequence[int]) -> dict[int, tuple[int, bool]]:
        """Return {item: (how many have answered it, whether it needs no more)} where several are asked."""
        return votes_of(self.conn, session, items)

    def set_done(self, session: int, done: Sequence[int], open_: Sequence[int]) -> None:
        """Note that items need no more answers, and that others need some again."""
        with transaction(self.conn) as conn:
            set_done(conn, session, done, open_)
        if open_:
            self.dealing.forget()
        else:
            self.dealing.touch(session, done)

    def skipped(self, session: int, until: int | None = None) -> list[int]:
        """Return items skipped within the last 50 cards as of event `until` (None: now), in order."""
        return paused(self.conn, session, until)

    def counts(self, session: Session) -> dict[str, int]:
        """Return how many items now stand at each label, at unsure and at skip."""
        with self._standing_now(session.id) as stands:
            tally = stands.tally
            return {
                **{name: tally[i] for i, name in enumerate(session.labels)},
                UNSURE: tally[UNSURE_NUMBER],
                SKIP: tally[SKIP_NUMBER],
            }

    def given(self, session: int, person: int) -> tuple[int, int]:
        """Return how many answers of a person stand, skips left out, and how many of them say the target."""
        with self._standing_now(session) as stands:
            return stands.given.get(person, (0, 0))

    def count_events(self, session: int) -> int:
        """Return how many events are stored, taken-back ones included."""
        with self._standing_now(session) as stands:
            return stands.events

    def count_shown(self, session: int) -> int:
        """Return how many cards people have seen: those that were ever answered, also with skip."""
        with self._standing_now(session) as stands:
            return len(stands.shown)

    def count_reason(self, session: int, reason: Reason) -> int:
        """Return how many items that were asked for this reason stand answered with a label."""
        return int((self.reasons(session)[1] == reason).sum())

    def reasons(self, session: int) -> tuple[Ids, NDArray[np.str_]]:
        """Return the items that stand answered with a label, oldest answer first, and why each was asked.

        Each is there once, by the first label it was given that was not taken back: who answers it again,
        or mends it, changes neither its place nor why it came up. "asked": answered without a card.
        """
        rows = self.conn.execute(
            """SELECT e.item, coalesce(c.reason, 'asked') FROM events e LEFT JOIN cards c ON c.id = e.card
               WHERE e.session = :session AND e.kind = 'label'
                 AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)
                 AND e.item IN (SELECT a.item FROM answers a WHERE a.session = :session AND a.kind = 'label')
               ORDER BY e.seq""",
            {"session": session},
        )
        found = np.fromiter(rows, np.dtype([("item", np.int64), ("why", "U12")]))
        _, first = np.unique(found["item"], return_index=True)
        first.sort()
        return found["item"][first], found["why"][first]

    def repeatable(self, session: int, until: int) -> Ids:
        """Return the items of which nothing was said for 50 cards as of event `until`, in order.

        Those that were asked again before are left out: once is enough.
        """
        since = pause_began(self.conn, session, until)
        rows = self.conn.execute(
            f"""SELECT e.item FROM events e WHERE e.session = :session
                GROUP BY e.item HAVING max(e.seq) < :since AND NOT {REPEATED.format(item="e.item")}""",
            {"session": session, "since": since},
        )
        return np.sort(np.fromiter((item for (item,) in rows), np.int64))

    def repeats(self, session: int) -> tuple[int, int]:
        """Return how many items got a label when they were asked again, and how many another one than before.

        Only whether it was the target is compared, with what was said last before; "unsure" is no label.
        """
        stands = "{e}.kind <> 'undo' AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = {e}.seq)"
        rows = self.conn.execute(
            f"""SELECT e.label, (SELECT b.label FROM events b
                  WHERE b.session = e.session AND b.item = e.item AND b.seq < e.seq
                    AND b.kind IN ('label', 'unsure') AND b.card IS NOT e.card AND {stands.format(e="b")}
                  ORDER BY b.seq DESC LIMIT 1)
                FROM cards c JOIN events e ON e.card = c.id
                WHERE c.session = ? AND c.reason = 'repeat' AND e.kind = 'label' AND {stands.format(e="e")}
                  AND NOT EXISTS (SELECT 1 FROM events l
                    WHERE l.card = e.card AND l.seq > e.seq AND {stands.format(e="l")})""",
            (session,),
        )
        pairs = [(now, before) for now, before in rows if before is not None]
        return len(pairs), sum((now == 0) != (before == 0) for now, before in pairs)

    def count_since(self, session: int, seconds: float) -> int:
        """Return how many of the last 2,000 answers came within the last `seconds`."""
        now = timestamp()
        since = (read_time(now) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
        row = self.conn.execute(
            """SELECT count(*) FROM
                 (SELECT kind, received_at FROM events WHERE session = ? ORDER BY seq DESC LIMIT ?)
               WHERE kind <> 'undo' AND received_at BETWEEN ? AND ?""",
            (session, MOST_RECENT, since, now),
        ).fetchone()
        return int(row[0])

    def count_people(self, session: int, seconds: float) -> int:
        """Return how many people gave those of the last 2,000 answers that came within the last `seconds`."""
        now = timestamp()
        since = (read_time(now) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
        row = self.conn.execute(
            """SELECT count(DISTINCT person) FROM
                 (SELECT person, received_at FROM events WHERE session = ? ORDER BY seq DESC LIMIT ?)
               WHERE received_at BETWEEN ? AND ?""",
            (session, MOST_RECENT, since, now),
        ).fetchone()
        return int(row[0])

    def count_after(self, session: int, event: int) -> int:
        """Return how many answers came after this event, those taken back included."""
        row = self.conn.execute(
            "SELECT count(*) FROM events WHERE session = ? AND seq > ? AND kind <> 'undo'", (session, event)
        ).fetchone()
        return int(row[0])

    def count_answered(self, session: int, *, after: int) -> int:
        """Return how many labels and "unsure" that were given after this event stand."""
        row = self.conn.execute(
            "SELECT count(*) FROM answers WHERE session = ? AND seq > ? AND kind <> 'skip'", (session, after)
        ).fetchone()
        return int(row[0])

    def log(
        self, session: Session, item: int | None = None, *, person: int | None = None
    ) -> list[StoredEvent]:
        """Return the events as stored, in order; of one item, of one person, or all."""
        where = "" if item is None else "AND e.item = :item"
        where += "" if person is None else " AND e.person = :person"
        rows = self.conn.execute(
            f"""SELECT e.seq, e.id, e.item, e.kind, e.label, e.at, e.person, e.card, e.ms,
                       c.reason, c.p_chosen, c.round
                FROM events e LEFT JOIN cards c ON c.id = e.card
                WHERE e.session = :session {where} ORDER BY e.seq""",
            {"session": session.id, "item": item, "person": person},
        )
        out = []
        for seq, uid, it, kind, label, at, person, card, ms, reason, p, number in rows:
            answer = None if kind == "undo" else session.labels[label] if kind == "label" else kind
            out.append(
                StoredEvent(
                    seq,
                    uid,
                    it,
                    answer,
                    read_time(at),
                    person,
                    card,
                    ms,
                    cast(Reason | None, reason),
                    p,
                    number,
                )
            )
        return out

    def last_events(self, session: int) -> dict[int, int]:
        """Return {item: the place in the log of the newest event about it}."""
        rows = self.conn.execute(
            "SELECT item, max(seq) FROM events WHERE session = ? GROUP BY item", (session,)
        )
        return dict(rows.fetchall())

    def votes(self, session: int) -> dict[tuple[int, int], tuple[int, datetime]]:
        """Return {(item, label number): (people who say so now, when the last of them said it)}."""
        rows = self.conn.execute(
            """SELECT item, coalesce(label, ?), count(*), at, max(seq) FROM answers
               WHERE session = ? AND kind <> 'skip' GROUP BY item, label""",
            (UNSURE_NUMBER, session),
        )
        return {(item, number): (n, read_time(at)) for item, number, n, at, _ in rows}


def _answers(stands: Standing, last_event: int) -> Answers:
    n = len(stands.now)  # arrays at once: thousands of small objects a round would scatter over the heap
    items = np.fromiter(stands.now.keys(), np.int64, n)
    labels = np.fromiter(stands.now.values(), np.int64, n)
    owned = np.fromiter((item in stands.owned for item in stands.now), np.bool_, n)
    order = np.argsort(items)
    order = order[labels[order] != SKIP_NUMBER]
    return Answers(items[order], labels[order], last_event, owned[order])
