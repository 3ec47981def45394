"""What the log of answers says, and where that leaves a session (SQL). What changes it is in journal.py."""

import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import cast

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from labeler.ballots import cast as cast_votes
from labeler.ballots import cast_gold
from labeler.database import read_time, timestamp
from labeler.domain import SKIP, UNSURE, Reason, Session, StoredEvent
from labeler.line import REPEATED, pause_began, paused
from labeler.standing import (
    ROLES_CHANGED,
    SKIP_NUMBER,
    UNSURE_NUMBER,
    Change,
    Standing,
    Standings,
)
from labeler.tallies import count_unfinished, votes_of

MOST_RECENT = 20_000  # events looked at for the pace


@dataclass(frozen=True, slots=True)
class Answers:
    """The current labels of a session at one moment, arrays of one length, by item.

    items   (n,) item ids. labels (n,) label numbers; -1 means unsure.
    owned   (n,) whether an owner has answered. sure (n,) how sure each label is, where several people decide;
            None: as sure as somebody's word.
    taught  (n,) the labels by people alone, which a model may learn from, -1 unsure; None: `labels`.
    weight  (n,) how sure those are; None as for sure.
    """

    items: Ids
    labels: NDArray[np.int64]
    last_event: int
    owned: NDArray[np.bool_]
    sure: NDArray[np.float32] | None = None
    weight: NDArray[np.float32] | None = None
    taught: NDArray[np.int64] | None = None


class Log:
    """What was said in one workspace, over one connection of one thread.

    standings  what all threads of the process know of where sessions stand.
    """

    def __init__(self, conn: sqlite3.Connection, standings: Standings | None = None) -> None:
        self.conn = conn
        self._standings = Standings() if standings is None else standings
        self._times: dict[tuple[int, float], tuple[int, deque[str]]] = {}  # of `count_since`

    def can_undo(self, session: int, person: int) -> bool:
        """Return whether the person has an answer that undo would take back."""
        row = self.conn.execute(
            """SELECT EXISTS (SELECT 1 FROM events e WHERE e.session = ? AND e.person = ? AND e.kind <> 'undo'
                 AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq))""",
            (session, person),
        ).fetchone()
        return bool(row[0])

    def count_answers_of(self, person: int) -> int:
        """Return how many answers of a person stand, in all sessions, on gold too, skips left out."""
        row = self.conn.execute(
            """SELECT count(*) FROM answers WHERE session IN (SELECT id FROM sessions) AND person = ?
               AND kind IN ('label', 'unsure')""",
            (person,),
        ).fetchone()
        on_gold = [
            self.gold_of(session, person) for (session,) in self.conn.execute("SELECT id FROM sessions")
        ]
        return int(row[0]) + sum(number != SKIP_NUMBER for given in on_gold for _, number in given)

    def count_careful(self, session: int, person: int, least_ms: int) -> int:
        """Return how many images a person has answered, skips left out, that they looked at for so long."""
        row = self.conn.execute(
            """SELECT count(*) FROM answers WHERE session = ? AND person = ? AND kind IN ('label', 'unsure')
               AND ms >= ?""",
            (session, person, least_ms),
        ).fetchone()
        return int(row[0])

    def count_by_day(self, person: int) -> dict[str, int]:
        """Return {day: answers of a person that stand and came then}, days as 2026-11-30 by local time."""
        rows = self.conn.execute(
            """SELECT date(received_at, 'localtime'), count(*) FROM answers
               WHERE session IN (SELECT id FROM sessions) AND person = ? AND kind IN ('label', 'unsure')
               GROUP BY 1""",
            (person,),
        )
        return dict(rows.fetchall())

    def by_person(self, session: int) -> dict[int, tuple[int, str]]:
        """Return {person: (how many answers of theirs stand, skips left out; when their last event came)}."""
        with self._standing_now(session) as stands:
            given = {person: answers for person, (answers, _) in stands.given.items()}
        last = "SELECT received_at FROM events WHERE session = ? AND person = ? ORDER BY seq DESC LIMIT 1"
        return {
            person: (answers, self.conn.execute(last, (session, person)).fetchone()[0])
            for person, answers in given.items()
        }

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
                 EXISTS (SELECT 1 FROM people p WHERE p.id = events.person AND p.role = 'own'),
                 gold IS NOT NULL FROM events
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
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (ROLES_CHANGED,)).fetchone()
        with self._standings.of(session, row[0] if row else "") as stands:
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

    def cast_gold(
        self, session: int, until: int | None = None, items: Sequence[int] | None = None
    ) -> NDArray[np.void]:
        """Return what was said of images whose answer is known; see `ballots.cast_gold`."""
        return cast_gold(self.conn, session, until, items)

    def gold_of(self, session: int, person: int) -> list[tuple[int, int]]:
        """Return what a person has answered on gold and not taken back: (place in the log, label number)."""
        rows = self.conn.execute(
            """SELECT e.seq, CASE e.kind WHEN 'label' THEN e.label WHEN 'unsure' THEN ? ELSE ? END
               FROM events e INDEXED BY events_gold WHERE e.session = ? AND e.person = ?
                 AND e.gold IS NOT NULL AND e.kind <> 'undo'
                 AND NOT EXISTS (SELECT 1 FROM events u WHERE u.undoes = e.seq)""",
            (UNSURE_NUMBER, SKIP_NUMBER, session, person),
        )
        return rows.fetchall()

    def received(self, seqs: Sequence[int]) -> list[datetime]:
        """Return when events came, aware UTC, in the order of the log."""
        rows = self.conn.execute(
            "SELECT received_at FROM events WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq",
            (json.dumps([int(seq) for seq in seqs]),),
        )
        return [read_time(at) for (at,) in rows]

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

    def count_unfinished(self, session: int) -> int:
        """Return how many images have answers and want more, where several people are asked."""
        return count_unfinished(self.conn, session)

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

    def finds_of(self, session: int, person: int) -> int:
        """Return how many images that stand at the target a person was the first to call so."""
        with self._standing_now(session) as stands:
            return stands.first[person]

    def newest_finds(self, session: int, most: int) -> list[int]:
        """Return the items that became finds last, the newest first."""
        with self._standing_now(session) as stands:
            return list(islice(reversed(stands.finders), most))

    def count_events(self, session: int) -> int:
        """Return how many events are stored, taken-back ones included."""
        with self._standing_now(session) as stands:
            return stands.events

    def count_shown(self, session: int) -> int:
        """Return how many cards were ever answered, also with skip; gold is left out."""
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
               WHERE e.session = :session AND e.kind = 'label' AND e.gold IS NULL
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
            f"""SELECT e.item FROM events e WHERE e.session = :session AND e.gold IS NULL
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
                  WHERE b.session = e.session AND b.item = e.item AND b.seq < e.seq AND b.gold IS NULL
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
        """Return how many answers came within the last `seconds`, of at most MOST_RECENT.

        What was read stays in memory: the next time only what came since is.
        """
        now = timestamp()
        since = (read_time(now) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
        last, times = self._times.pop((session, seconds), (0, deque(maxlen=MOST_RECENT)))
        rows = self.conn.execute(
            """SELECT seq, received_at FROM events WHERE session = ? AND seq > ? AND kind <> 'undo'
               ORDER BY seq DESC LIMIT ?""",
            (session, last, MOST_RECENT),
        ).fetchall()
        times.extend(at for _, at in reversed(rows))
        while times and times[0] < since:
            times.popleft()
        if not self.conn.in_transaction:  # what is rolled back must not be remembered
            self._times = {(session, seconds): (rows[0][0] if rows else last, times)}
        return len(times) if not times or times[-1] <= now else sum(at <= now for at in times)

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
        """Return how many answers came after this event, those taken back included, on gold left out."""
        row = self.conn.execute(
            """SELECT count(*) FROM events
               WHERE session = ? AND seq > ? AND kind <> 'undo' AND gold IS NULL""",
            (session, event),
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
        """Return {item: the place in the log of the newest event about it, answers on gold left out}."""
        rows = self.conn.execute(
            "SELECT item, max(seq) FROM events WHERE session = ? AND gold IS NULL GROUP BY item", (session,)
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
