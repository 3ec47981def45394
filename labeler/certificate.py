"""A guarantee of how much has been found, from cards drawn evenly after labeling, and from nothing else."""

import weakref
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from active.arrays import Ids
from labeler import draws
from labeler.arrays import load_arrays, save_arrays
from labeler.domain import Pick, Round, Session
from labeler.draws import Begun
from labeler.errors import BadInput, Conflict, NotReady
from labeler.log import Answers
from labeler.workspace import Workspace

State = Literal["running", "done", "cancelled"]
TARGET, UNSURE, NONE = 0, -1, -2  # of an item: the first label, could not be told, no answer


@dataclass(frozen=True, slots=True)
class Price:
    """What a certificate would take that began now.

    left       items that are unasked and there. found: images of the target. unsure: could not be told.
    draws      the fewest cards after which it can say `share`, if none of them is the target; None: not
               even all would do.
    missed     how many of the target the last estimate expects among those left; None: there is none.
    if_missed  the cards that are enough with a chance of 4 in 5, if so many are; None: none or not known.
    """

    share: float
    left: int
    found: int
    unsure: int
    draws: int | None
    missed: int | None
    if_missed: int | None

    def says(self, cards: int, finds: int) -> float:
        """Return what a certificate of so many cards would say with so many finds among them."""
        from active.bound import certificate

        return certificate(self.left, found=self.found, draws=cards, finds=finds, unsure=(self.unsure, 0))


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of a session that was begun last, as it stands.

    share     what was hoped for. draws, left: so many were drawn from so many.
    answered  draws with an answer that stands. finds, unsure: of these, the target; not to be told.
    gone      unanswered draws whose files are gone.
    at_least  the share found by now of the images that it covers; None unless it is done.
    at_most   images of the target among these, at the most; None unless it is done.
    number    1 for the first that was begun, and so on. joined: images since, which it does not cover.
    """

    share: float
    left: int
    draws: int
    answered: int
    finds: int
    unsure: int
    gone: int
    at_least: float | None
    at_most: int | None
    state: State
    number: int
    joined: int


# before ------------------------------------------------------------------------------------


def price(ws: Workspace, session: Session, share: float, *, with_missed: bool = True) -> Price:
    """Return what it takes to be able to say that at least `share`, in (0, 1), has been found.

    with_missed: also if as many were missed as the estimate says, which takes a while in a large pool.
    Raises NotReady while nothing has been found, or when there is nothing left to draw.
    """
    from active.bound import certificate_price

    answers, pool, absent = _now(ws, session)
    open_items, found, unsure = _parts(answers, pool, absent)
    if found == 0:
        raise NotReady(
            f"Nothing has been found that is {session.target!r}, so there is nothing to certify.",
            "Label some first.",
        )
    if len(open_items) == 0:
        raise NotReady("Every image has been asked, so there is nothing to draw.", "Count the answers.")
    last = ws.store.rounds(session.id, last=1)
    estimate = last[0].estimate if last and session.goal == "find" else None
    missed = None if estimate is None or not with_missed else max(0, round(estimate.total) - found)

    def draws_for(remaining: int) -> int | None:
        return certificate_price(
            len(open_items), found=found, share=share, remaining=remaining, unsure=unsure
        )

    return Price(
        share, len(open_items), found, unsure, draws_for(0), missed,
        None if missed is None else draws_for(missed),
    )  # fmt: skip


def begin(ws: Workspace, session: Session, share: float, cards: int | None = None) -> Certificate:
    """Fix the draws of a certificate: from now on they alone are dealt, until all are answered.

    share  what is hoped for. cards: how many to draw; None: as few as may be enough for `share`.
    Raises Conflict while one is running, NotReady as `price` does, BadInput for a number that can't be.
    """
    with ws.store.transaction():  # nothing is answered and no round stored between counting and drawing
        settle(ws, session)
        before = look(ws, session)
        if before is not None and before.state == "running":
            raise Conflict(
                f"A certificate is running: {before.answered:,} of {before.draws:,} cards are answered.",
                "Answer the rest, or give it up: labeler certificate --cancel.",
            )
        offer = price(ws, session, share, with_missed=False)
        if cards is None and offer.draws is None:
            raise BadInput(
                f"Not even all {offer.left:,} images would do for {100 * share:g} %: "
                f"{offer.unsure:,} could not be told.",
                "Give a lower --share, or look at those again.",
            )
        wanted = offer.draws if cards is None else cards
        assert wanted is not None
        wanted = max(1, wanted)
        if not 1 <= wanted <= offer.left:
            raise BadInput(f"{wanted:,} cards can't be drawn from {offer.left:,}.", "Give fewer.")
        _store(ws, session, share, wanted)
    now = look(ws, session)
    assert now is not None
    return now


def _store(ws: Workspace, session: Session, share: float, cards: int) -> None:
    """Store the certificate, its round and its draws, inside the transaction that counted them."""
    answers, pool, absent = _now(ws, session)
    rounds = ws.store.rounds(session.id, last=1)
    number = rounds[-1].number + 1 if rounds else 1
    open_items, found, _ = _parts(answers, pool, absent)
    made = Round(
        session=session.id, number=number, pool=pool, embedded=False, basis=0,
        last_event=answers.last_event,
        seed=int(np.random.SeedSequence([session.seed, number]).generate_state(1)[0]),
        found=int((answers.labels == TARGET).sum()), shown=ws.journal.count_shown(session.id),
        created_at=datetime.now(UTC), examples=rounds[-1].examples if rounds else 0,
        estimate=rounds[-1].estimate if rounds else None,  # what is known of it does not change
    )  # fmt: skip
    begun = Begun(
        0, session.id, number, pool, share, len(open_items), found, cards, answers.items, absent,
        made.created_at,
    )  # fmt: skip
    if rounds:  # what the last round knew of itself stands meanwhile
        known = load_arrays(ws.round_file(session.id, rounds[-1].number)) or {}
        known = {name: values for name, values in known.items() if name.startswith("estimate_")}
        save_arrays(ws.round_file(session.id, number), **known)
    ws.store.add_round(made, _picks(begun, made.seed), ws.store.quality(session.id))
    draws.add(ws.store.conn, begun)


def _picks(begun: Begun, seed: int) -> list[Pick]:
    """Return the draws in the order of asking: evenly, without replacement, by the round's own seed."""
    is_open = np.ones(begun.pool, bool)
    is_open[np.concatenate([begun.answered, begun.absent])] = False
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.flatnonzero(is_open), begun.draws, replace=False)
    return [Pick(int(i), "audit", begun.draws / begun.left, None) for i in chosen]


def draw_again(ws: Workspace, session: Session, made: Round) -> list[Pick] | None:
    """Return the draws of a certificate's round, computed anew; None for a round that is no certificate's."""
    for begun in draws.all_of(ws.store.conn, session.id):
        if begun.round == made.number:
            return _picks(begun, made.seed)
    return None


# while it runs -----------------------------------------------------------------------------


def look(ws: Workspace, session: Session) -> Certificate | None:
    """Return how the certificate that was begun last stands; None before the first."""
    begun = draws.newest(ws.store.conn, session.id)
    return None if begun is None else _look(ws, session, begun)


def earlier(ws: Workspace, session: Session) -> list[Certificate]:
    """Return how all but the last certificate of a session stand, the first one first."""
    begun = draws.all_of(ws.store.conn, session.id)
    return [replace(_look(ws, session, one), number=i + 1) for i, one in enumerate(begun[:-1])]


def of_round(ws: Workspace, session: Session, number: int) -> Certificate | None:
    """Return how the certificate stands whose draws are this round's picks; None: they are the learner's."""
    begun = draws.newest(ws.store.conn, session.id)
    return None if begun is None or begun.round != number else _look(ws, session, begun)


def settle(ws: Workspace, session: Session, *, now: bool = False) -> bool:
    """Finish a certificate all of whose draws are answered; return whether one still runs.

    now  also one that lacks answers: they count as images of the target that were missed.
    """
    begun = draws.newest(ws.store.conn, session.id)
    if begun is None or begun.finished_at or begun.cancelled_at:
        return False
    if _look(ws, session, begun).state == "running" and not now:
        return True
    draws.end(ws.store.conn, begun.id)
    return False


def finish(ws: Workspace, session: Session) -> Certificate:
    """End a running certificate now; what has no answer counts as missed. Raises NotReady when none runs."""
    _running(ws, session)
    settle(ws, session, now=True)
    ended = look(ws, session)
    assert ended is not None
    return ended


def cancel(ws: Workspace, session: Session) -> Certificate:
    """Give a running certificate up: it will say nothing. Raises NotReady when none runs."""
    begun = _running(ws, session)
    draws.end(ws.store.conn, begun.id, cancelled=True)
    ended = look(ws, session)
    assert ended is not None
    return ended


def _running(ws: Workspace, session: Session) -> Begun:
    begun = draws.newest(ws.store.conn, session.id)
    if begun is None or begun.cancelled_at or _look(ws, session, begun).state != "running":
        raise NotReady("No certificate is running.", "Begin one: labeler certificate --begin.")
    return begun


def _look(ws: Workspace, session: Session, begun: Begun) -> Certificate:
    """Return how a certificate stands, from the answers as they are now.

    What is known since does not hurt it: its draws bound how many images of the target were unasked then,
    and each of these that was found later, in whatever way, is found.
    """
    answers, pool, absent = _now(ws, session)
    state_of = (begun.id, begun.finished_at, begun.cancelled_at, answers.last_event, pool, absent.tobytes())
    held = _newest.get(ws)
    if held is None or held[0] != state_of:
        _newest[ws] = held = state_of, _stands(ws, session, begun, answers, pool)
    return held[1]


_newest: "weakref.WeakKeyDictionary[Workspace, tuple[tuple[object, ...], Certificate]]" = (
    weakref.WeakKeyDictionary()
)


def _stands(ws: Workspace, session: Session, begun: Begun, answers: Answers, pool: int) -> Certificate:
    """Return how a certificate stands by these answers; every deck asks for it every few seconds."""
    drawn = np.array([p.item for p in ws.store.picks(session.id, begun.round)], np.int64)
    said = np.full(pool, NONE, np.int64)
    said[answers.items] = answers.labels
    waiting = drawn[said[drawn] == NONE]
    state: State = "running"
    if begun.cancelled_at:
        state = "cancelled"
    elif begun.finished_at or len(waiting) == 0:
        state = "done"
    at_least, at_most = _bound(begun, said[: begun.pool], drawn) if state == "done" else (None, None)
    return Certificate(
        share=begun.share, left=begun.left, draws=begun.draws, answered=begun.draws - len(waiting),
        finds=int((said[drawn] == TARGET).sum()), unsure=int((said[drawn] == UNSURE).sum()),
        gone=ws.catalog.count_absent(waiting.tolist()), at_least=at_least, at_most=at_most, state=state,
        number=draws.count(ws.store.conn, session.id), joined=pool - begun.pool,
    )  # fmt: skip


def _bound(begun: Begun, said: Ids, drawn: Ids) -> tuple[float | None, int]:
    """Return the share found at the least, and how many images of the target are covered at the most.

    said  (pool,) what each item's label is now.
    Whoever could not tell, and draws and earlier answers that are missing now, count as target missed.
    """
    from active.bound import at_most

    covered = np.ones(len(said), bool)
    covered[begun.absent] = False
    before = said[np.setdiff1d(begun.answered, begun.absent)]
    may_be = (TARGET, UNSURE, NONE)
    hits = int(np.isin(said[drawn], may_be).sum())
    most = int(np.isin(before, may_be).sum()) + at_most(begun.left, draws=begun.draws, hits=hits)
    found = int((said[covered] == TARGET).sum())
    return (min(1.0, found / most) if most else None), most


# counting ----------------------------------------------------------------------------------


def _now(ws: Workspace, session: Session) -> tuple[Answers, int, Ids]:
    """Return the answers, the size of the pool, and the items whose files are gone.

    Of several people what most of them say: a certificate rests on nothing that was learned.
    """
    answers = ws.journal.answers(session.id)
    return answers, ws.catalog.count_items(), np.array(ws.catalog.absent(), np.int64)


def _parts(answers: Answers, pool: int, absent: Ids) -> tuple[Ids, int, int]:
    """Return the items that are unasked and there, and how many that are there were found, or not told."""
    is_there = np.ones(pool, bool)
    is_there[absent] = False
    labels = answers.labels[is_there[answers.items]]
    is_there[answers.items] = False
    return np.flatnonzero(is_there), int((labels == TARGET).sum()), int((labels == UNSURE).sum())


def to_json(found: Certificate | None) -> dict[str, Any] | None:  # Any: JSON
    """Return a certificate as `labeler status --json` has it."""
    return None if found is None else asdict(found)
