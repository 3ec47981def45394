"""Sessions, rounds, reference pictures (SQL). Cards: dealing.py, answers: journal.py, people: roster.py."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import cast

import numpy as np
from numpy.typing import NDArray

from labeler import draws
from labeler.config import Config
from labeler.database import read_time, timestamp, transaction
from labeler.domain import Estimate, Goal, Pick, Precision, Quality, Reason, Round, Session, State
from labeler.errors import BadInput, Missing
from labeler.tallies import tally, tally_all

WORDS = "words-"
"""How the hash of words begins; that of a picture is hex alone."""
LAST_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Example:
    """A reference picture given by a person, or words; `item` when its content is in the pool.

    hash, name  of words a mark with their hash, and the words themselves.
    """

    id: int
    hash: str
    name: str
    label: int
    item: int | None

    @property
    def is_words(self) -> bool:
        """Return whether this is no picture but words that describe one."""
        return self.hash.startswith(WORDS)

    @property
    def shown(self) -> str:
        """Return what to call it: a file's name, or the words in quotation marks."""
        return f"“{self.name}”" if self.is_words else self.name


def label_numbers(conn: sqlite3.Connection, session: int) -> dict[str, int]:
    """Return {name: label number}, earlier names of a label included: late answers may use them."""
    rows = conn.execute(
        "SELECT name, label FROM label_names WHERE session = ? ORDER BY seq", (session,)
    ).fetchall()
    now = {label: name for name, label in rows}
    return dict(rows) | {name: label for label, name in now.items()}


class Store:
    """Sessions, rounds and reference pictures of one workspace, over one connection of one thread."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self._rounds: dict[int, tuple[Round, ...]] = {}  # the newest of the session that was asked for last

    # sessions ------------------------------------------------------------------------------

    def add_session(
        self,
        question: str,
        labels: Sequence[str],
        goal: Goal,
        config: Config,
        *,
        seed: int | None = None,
        votes: int = 1,
        least: int = 0,
    ) -> Session:
        """Create a session and return it. Its seed, drawn here when none is given, is stored."""
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        created = timestamp()
        checked = Session(
            0, question.strip(), tuple(labels), goal, seed, config.batch_size, read_time(created),
            votes=votes, least=least,
        )  # fmt: skip
        with transaction(self.conn) as conn:
            cursor = conn.execute(
                """INSERT INTO sessions(question, goal, seed, batch_size, config, created_at, votes, least,
                                        used)
                   VALUES (?,?,?,?,?,?,?,?, (SELECT coalesce(max(used), 0) + 1 FROM sessions))""",
                (
                    checked.question,
                    goal,
                    seed,
                    config.batch_size,
                    json.dumps(asdict(config)),
                    created,
                    votes,
                    checked.least,
                ),
            )
            number = int(cursor.lastrowid or 0)
            conn.executemany(
                "INSERT INTO label_names(session, label, name, at) VALUES (?,?,?,?)",
                [(number, i, name, created) for i, name in enumerate(labels)],
            )
        return self.session(number)

    def session(self, number: int | None = None) -> Session:
        """Return a session, the one started last for None. Raises Missing when there is none."""
        where = "ORDER BY used DESC LIMIT 1" if number is None else "WHERE id = ?"
        row = None
        if number is None or 0 < number < 2**62:
            row = self.conn.execute(
                f"""SELECT id, question, goal, seed, batch_size, created_at,
                      (SELECT share FROM targets WHERE session = sessions.id ORDER BY seq DESC LIMIT 1),
                      votes, least, state, notice, gold_feedback
                    FROM sessions {where}""",
                () if number is None else (number,),
            ).fetchone()
        if row is None and number is None:
            raise Missing("There is no session yet.", "Start one: labeler start, or the Start page.")
        if row is None:
            raise Missing(f"There is no session {number}.", "labeler status lists those there are.")
        names = tuple(self._names(row[0]).values())
        known = Session(
            row[0], row[1], names, cast(Goal, row[2]), row[3], row[4], read_time(row[5]), *row[6:11]
        )
        return replace(known, gold_feedback=bool(row[11]))

    def sessions(self) -> list[Session]:
        """Return every session, the one started last first."""
        ids = self.conn.execute("SELECT id FROM sessions ORDER BY used DESC").fetchall()
        return [self.session(i) for (i,) in ids]

    def use_session(self, session: Session) -> Session:
        """Make a session the one started last, which is meant where none is named; return it."""
        with transaction(self.conn) as conn:
            conn.execute(
                "UPDATE sessions SET used = (SELECT max(used) + 1 FROM sessions) WHERE id = ?", (session.id,)
            )
        return self.session(session.id)

    def set_goal(self, session: Session, goal: Goal) -> Session:
        """Change what a session leans on from the next round on; rounds keep the goal they had."""
        with transaction(self.conn) as conn:
            conn.execute("UPDATE sessions SET goal = ? WHERE id = ?", (goal, session.id))
        return self.session(session.id)

    def set_target(self, session: Session, share: float | None) -> Session:
        """Note what share of the target is wanted; None: none any more. What was wanted before is kept."""
        replace(session, target_share=share)  # checks it
        with transaction(self.conn) as conn:
            if self.session(session.id).target_share != share:
                conn.execute(
                    "INSERT INTO targets(session, share, at) VALUES (?,?,?)", (session.id, share, timestamp())
                )
        return self.session(session.id)

    def set_question(self, session: Session, question: str) -> Session:
        """Put a question in other words; answers stay, and the words before are kept."""
        changed = replace(session, question=question.strip())  # checks it
        with transaction(self.conn) as conn:
            now = self.session(session.id).question
            if changed.question != now:
                conn.execute(
                    "INSERT INTO wordings(session, question, until) VALUES (?,?,?)",
                    (session.id, now, timestamp()),
                )
                conn.execute("UPDATE sessions SET question = ? WHERE id = ?", (changed.question, session.id))
        return self.session(session.id)

    def wordings(self, session: int) -> list[tuple[str, datetime]]:
        """Return how a question was put before, and until when, oldest first."""
        rows = self.conn.execute(
            "SELECT question, until FROM wordings WHERE session = ? ORDER BY seq", (session,)
        )
        return [(question, read_time(until)) for question, until in rows]

    def set_state(self, session: Session, state: State, notice: str) -> Session:
        """Deal cards to others than owners, or none for now, and change what they are told."""
        changed = replace(session, state=state, notice=notice.strip())  # checks them
        with transaction(self.conn) as conn:
            conn.execute(
                "UPDATE sessions SET state = ?, notice = ? WHERE id = ?",
                (state, changed.notice, session.id),
            )
        return self.session(session.id)

    def set_votes(self, session: Session, votes: int, least: int = 0) -> Session:
        """Change how many people each image is put to; images with fewer answers are asked again."""
        changed = replace(session, votes=votes, least=least)  # checks it
        with transaction(self.conn) as conn:
            conn.execute(
                "UPDATE sessions SET votes = ?, least = ? WHERE id = ?", (votes, changed.least, session.id)
            )
            tally_all(conn, session.id)
        return self.session(session.id)

    def recount(self, session: int, person: int) -> None:
        """Count the images anew that somebody has answered: they became an owner, or are none any more."""
        with transaction(self.conn) as conn:
            rows = conn.execute(
                "SELECT DISTINCT item FROM events WHERE session = ? AND person = ?", (session, person)
            )
            tally(conn, session, [item for (item,) in rows.fetchall()])

    def set_gold_feedback(self, session: Session, on: bool) -> Session:
        """Tell people from now on, or no more, whether they agreed with what is known."""
        with transaction(self.conn) as conn:
            conn.execute("UPDATE sessions SET gold_feedback = ? WHERE id = ?", (int(on), session.id))
        return self.session(session.id)

    def targets(self, session: int) -> list[tuple[float | None, datetime]]:
        """Return every share that was wanted and since when, oldest first; None: none."""
        rows = self.conn.execute("SELECT share, at FROM targets WHERE session = ? ORDER BY seq", (session,))
        return [(share, read_time(at)) for share, at in rows]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let all that the block stores through this connection be stored together, or not at all."""
        with transaction(self.conn):
            yield

    def _names(self, session: int) -> dict[int, str]:
        """Return {label number: its name now}."""
        rows = self.conn.execute(
            "SELECT label, name FROM label_names WHERE session = ? ORDER BY seq", (session,)
        )
        return dict(sorted(dict(rows.fetchall()).items()))

    def label_numbers(self, session: int) -> dict[str, int]:
        """Return {name: label number}, earlier names of a label included."""
        return label_numbers(self.conn, session)

    def name_label(self, session: Session, label: int, name: str) -> Session:
        """Add a label (`label` is the next number) or rename one; the log keeps the old name."""
        names = dict(enumerate(session.labels)) | {label: name}
        Session(
            session.id, session.question, tuple(names.values()), session.goal, session.seed,
            session.batch_size, session.created_at,
        )  # fmt: skip  # checks the names
        taken = self.label_numbers(session.id).get(name)
        if taken is not None and taken != label:
            raise BadInput(f"The label {name!r} was another label's name before.", "Choose another name.")
        with transaction(self.conn) as conn:
            conn.execute(
                "INSERT INTO label_names(session, label, name, at) VALUES (?,?,?,?)",
                (session.id, label, name, timestamp()),
            )
        return self.session(session.id)

    # facts ---------------------------------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """Return a stored fact about the workspace, or None."""
        row = self.conn.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        """Store a fact about the workspace."""
        with transaction(self.conn) as conn:
            conn.execute("INSERT OR REPLACE INTO facts(name, value) VALUES (?,?)", (name, value))

    def forget_fact(self, name: str) -> None:
        """Delete a fact; it may not be there."""
        with transaction(self.conn) as conn:
            conn.execute("DELETE FROM facts WHERE name = ?", (name,))

    # rounds --------------------------------------------------------------------------------

    def round_numbers(self) -> list[tuple[int, int]]:
        """Return (session, number) of every round."""
        rows = self.conn.execute("SELECT session, number FROM rounds ORDER BY session, number")
        return [(int(s), int(n)) for s, n in rows]

    def add_round(self, made: Round, picks: Sequence[Pick], quality: Quality | None = None) -> bool:
        """Store a round, its picks in the order in which they are to be asked, and how right its head is.

        False, and nothing is stored: meanwhile another round has this number, or a certificate was begun,
        beside which nothing else is asked.
        """
        with transaction(self.conn) as conn:
            if draws.running(conn, made.session) is not None or self._has_round(made):
                return False
            conn.execute(
                """INSERT INTO rounds(session, number, pool, embedded, basis, last_event, seed, found, shown,
                                      encoder, created_at, examples, estimate, quality)
                   VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)""",
                (
                    made.session, made.number, made.pool, int(made.embedded), made.basis, made.last_event,
                    made.seed, made.found, made.shown, made.encoder, made.created_at.isoformat(),
                    made.examples, made.estimate and json.dumps(asdict(made.estimate)),
                    quality and json.dumps(asdict(quality)),
                ),
            )  # fmt: skip
            conn.executemany(
                """INSERT INTO picks(session, round, place, item, reason, p_chosen, score)
                   VALUES (?,?,?,?,?,?,?)""",
                [
                    (made.session, made.number, i, p.item, p.reason, p.p_chosen, p.score)
                    for i, p in enumerate(picks)
                ],
            )
        return True

    def _has_round(self, made: Round) -> bool:
        row = self.conn.execute(
            "SELECT 1 FROM rounds WHERE session = ? AND number = ?", (made.session, made.number)
        ).fetchone()
        return row is not None

    def rounds(self, session: int, last: int = LAST_ROUNDS) -> list[Round]:
        """Return the newest `last` rounds, oldest first; they never change, so what was read is kept."""
        known = self._rounds.get(session, ()) if last <= LAST_ROUNDS and not self.conn.in_transaction else ()
        rows = self.conn.execute(
            """SELECT session, number, pool, embedded, basis, last_event, seed, found, shown,
                      created_at, encoder, examples, estimate
               FROM rounds WHERE session = ? AND number > ? ORDER BY number DESC LIMIT ?""",
            (session, known[-1].number if known else -1, last),
        ).fetchall()
        new = [
            Round(
                r[0], r[1], r[2], bool(r[3]), r[4], r[5], r[6], r[7], r[8],
                created_at=read_time(r[9]), encoder=r[10], examples=r[11],
                estimate=r[12] and Estimate(**json.loads(r[12])),
            )
            for r in reversed(rows)
        ]  # fmt: skip
        found = (*known, *new)[-LAST_ROUNDS:]
        if last == LAST_ROUNDS and not self.conn.in_transaction:
            self._rounds = {session: found}
        return list(found[-last:])

    def quality(self, session: int) -> Quality | None:
        """Return how right the newest round's head is; None: nothing is known of it."""
        row = self.conn.execute(
            "SELECT quality FROM rounds WHERE session = ? ORDER BY number DESC LIMIT 1", (session,)
        ).fetchone()
        if row is None or row[0] is None:
            return None
        known = json.loads(row[0])
        return Quality(known["audit"], tuple(tuple(Precision(**p) for p in one) for one in known["labels"]))

    def picks(self, session: int, number: int) -> list[Pick]:
        """Return the picks of a round, in order."""
        rows = self.conn.execute(
            "SELECT item, reason, p_chosen, score FROM picks WHERE session = ? AND round = ? ORDER BY place",
            (session, number),
        )
        return [Pick(i, cast(Reason, r), p, s) for i, r, p, s in rows]

    # examples ------------------------------------------------------------------------------

    def add_example(self, session: int, content_hash: str, name: str, label: int) -> int | None:
        """Note a reference picture and return its id; None when the session has it already."""
        with transaction(self.conn) as conn:
            cursor = conn.execute(
                """INSERT INTO examples(session, hash, name, label, added_at) VALUES (?,?,?,?,?)
                   ON CONFLICT(session, hash) DO NOTHING""",
                (session, content_hash, name, label, timestamp()),
            )
        return int(cursor.lastrowid or 0) if cursor.rowcount else None

    def examples(self, session: int | None = None) -> list[Example]:
        """Return the reference pictures of a session, or of all, in order of arrival."""
        rows = self.conn.execute(
            "SELECT id, hash, name, label, item FROM examples WHERE :s IS NULL OR session = :s ORDER BY id",
            {"s": session},
        )
        return [Example(*row) for row in rows]

    def link_example(self, example: int, item: int) -> None:
        """State that a reference picture is this item of the pool."""
        with transaction(self.conn) as conn:
            conn.execute("UPDATE examples SET item = ? WHERE id = ?", (item, example))

    def unembedded_examples(self, encoder: str) -> list[Example]:
        """Return the reference pictures that this encoder has no vector of."""
        rows = self.conn.execute(
            """SELECT id, hash, name, label, item FROM examples x WHERE NOT EXISTS
                 (SELECT 1 FROM example_vectors v WHERE v.example = x.id AND v.encoder = ?) ORDER BY id""",
            (encoder,),
        )
        return [Example(*row) for row in rows]

    def set_example_vector(self, example: int, encoder: str, vector: NDArray[np.float32]) -> None:
        """Store the unit vector of a reference picture."""
        with transaction(self.conn) as conn:
            conn.execute(
                "INSERT OR REPLACE INTO example_vectors(example, encoder, vector) VALUES (?,?,?)",
                (example, encoder, np.asarray(vector, "<f4").tobytes()),
            )

    def example_vectors(self, session: int, encoder: str) -> list[tuple[Example, NDArray[np.float32]]]:
        """Return the reference pictures that have a vector, with it, in order of arrival."""
        rows = self.conn.execute(
            """SELECT x.id, x.hash, x.name, x.label, x.item, v.vector FROM examples x
               JOIN example_vectors v ON v.example = x.id AND v.encoder = ?
               WHERE x.session = ? ORDER BY x.id""",
            (encoder, session),
        )
        return [(Example(*row[:5]), np.frombuffer(row[5], "<f4")) for row in rows]
