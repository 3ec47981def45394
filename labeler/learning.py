"""Rounds: when a new one is worth it, and what is stored of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, are_in, distinct, union
from labeler import certificate, crowds, drawing, judging, neighbourhood, retiring, samples, space
from labeler.arrays import saving_arrays
from labeler.domain import Quality, Round, Session
from labeler.drawing import RECIPE, Fitted, Material
from labeler.log import Answers
from labeler.looking import spread_labels
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active import recall

CLASS = 60  # people who may come at once
A_ROUND = 10  # people who answer: what they say fills one batch before a round is made of it
PRESENT_S = 600.0  # who answered within this time is taken to go on


def learn(
    ws: Workspace, session: Session, *, now: float, hide: Sequence[int] = (), strategy: str = RECIPE
) -> Round | None:
    """Retrain on all current labels, rank the whole pool, record the round; None while there are no items.

    While a certificate runs, its round is the newest, and no other one is made.
    now       unix time: what people hold now is left out.
    hide      items that are never asked. strategy: a name of `active.strategies`.
    """
    store, journal, catalog = ws.store, ws.journal, ws.catalog
    if certificate.settle(ws, session):
        return store.rounds(session.id, last=1)[-1]
    answers = crowds.answers(ws, session)
    session = store.session(session.id)  # a label may have been added since
    sp = space.current(ws)
    pool = len(sp.rows) if sp else catalog.count_items()
    if pool == 0:
        return None
    if session.is_open and len(answers.items):
        retiring.keep(ws, session, crowds.opinion(ws, session, answers.last_event))
    held = ws.dealing.held(session.id, now)
    skipped = journal.skipped(session.id, answers.last_event)
    closed = union(answers.items, np.array([*catalog.absent(), *hide], np.int64))
    left_out = union(closed, np.array([*held, *skipped], np.int64))
    left_out = left_out[left_out < pool]
    vectors = store.example_vectors(session.id, sp.key) if sp else []
    examples = np.array([e.id for e, _ in vectors if e.item is None], np.int64)
    rounds = store.rounds(session.id, last=1)
    number = rounds[-1].number + 1 if rounds else 1
    made = Round(
        session=session.id, number=number, pool=pool, embedded=sp is not None, basis=sp.basis if sp else 0,
        last_event=answers.last_event,
        seed=int(np.random.SeedSequence([session.seed, number]).generate_state(1)[0]),
        found=int((answers.labels == 0).sum()), shown=journal.count_shown(session.id),
        created_at=datetime.now(UTC), encoder=sp.key if sp else None,
        examples=_count_examples(ws, session, sp.key if sp else ""),
    )  # fmt: skip
    material = Material(
        left_out, examples, _how_many(ws, session, now), session.goal, session.batch_size,
        ws.config.audit_share, ws.config.near_duplicate_cos,
        np.array([i for i in ws.dealing.last_dealt(session.id) if i < pool], np.int64),
        len(session.labels), ws.config.sample_size,
        samples.ready(ws, sp.key, pool, ws.config.sample_size) if sp else 0,
        _again(ws, session, answers, pool), ws.config.repeat_share, strategy,
    )  # fmt: skip
    if (index := neighbourhood.ready(ws, sp.key, pool) if sp and strategy == RECIPE else None) is not None:
        material = replace(material, index_step=index.step, index_base=index.base)
    picks, fitted = drawing.draw(ws, session, made, material, answers)
    picks = drawing.with_repeats(picks, material, made.seed)
    stored = {} if fitted is None else {f"head_{k}": v for k, v in fitted.head.to_arrays().items()}
    if fitted is not None:
        among = fitted.seen.among
        stored["looked_at"] = np.asarray(pool if among is None else len(among))
        if fitted.told is not None:
            stored["expected"] = fitted.told.expected
    quality = None
    asked = None if fitted is None else _asked(ws, session, answers, fitted)
    if fitted is not None and asked is not None:
        quality = _quality(session, fitted, asked)
        if session.goal == "find" and strategy == RECIPE:
            said = _estimate(ws, session, fitted, asked, closed=closed)
            if said is not None:
                made = replace(made, estimate=judging.short(said[0]))
                stored |= judging.arrays(*said)
    file = ws.round_file(session.id, number)
    # a round that is refused leaves no file, a file that can't be written no round
    with saving_arrays(file, **material.to_arrays(), **stored) as put, store.transaction():
        if not store.add_round(made, picks, quality):
            return store.rounds(session.id, last=1)[-1]  # of another process
        put()
    return made


def _asked(
    ws: Workspace, session: Session, answers: Answers, fitted: Fitted
) -> tuple[Ids, NDArray[np.str_]] | None:
    """Return places among the head's examples and why each was asked, in the order of asking.

    None when an answer has been taken back since.
    """
    items = answers.items[(answers.labels >= 0) & (answers.items < len(fitted.rows))]
    said, why = ws.journal.reasons(session.id)
    known = np.isin(said, items)
    if known.sum() < len(items):
        return None
    return np.searchsorted(items, said[known]), why[known]


def _quality(session: Session, fitted: Fitted, asked: tuple[Ids, NDArray[np.str_]]) -> Quality | None:
    """Return how right the head is by the audit cards; None while it knows one label alone."""
    from active.learner import predict_left_out

    head, (order, why) = fitted.head, asked
    if head.unseen is None:
        return None
    probs = spread_labels(head, predict_left_out(head), len(session.labels))
    return judging.quality(probs[order], fitted.y[order], why == "audit")


def _estimate(
    ws: Workspace,
    session: Session,
    fitted: Fitted,
    asked: tuple[Ids, NDArray[np.str_]],
    *,
    closed: Ids,
) -> "tuple[recall.Estimate, int] | None":
    """Return how much of the target had been found by this round, and how many items are left to ask.

    None while that can't be said. closed  items that will not be asked any more.
    """
    from active.learner import decision, left_out
    from active.recall import Asked, estimate

    head, rows, y, among = fitted.head, fitted.rows, fitted.y, fitted.seen.among
    if not {0} < set(y.tolist()) or -1 in head.labels:
        return None
    order, why = asked
    score = left_out(head, 0)[order]
    unasked = len(rows) - np.arange(len(order))
    known = Asked(yes=y[order] == 0, why=why, unasked=unasked, score=score)
    closed = distinct(closed[closed < len(rows)])
    n_left = len(rows) - len(closed)
    lines = fitted.seen.decision
    if lines is None:
        lines = decision(head, rows if among is None else rows[among], 0)
    left = np.delete(lines, closed) if among is None else lines[~are_in(among, closed)]
    now = estimate(known, left, repeats=ws.journal.repeats(session.id), others=n_left - len(left))
    return None if now is None else (now, n_left)


def _again(ws: Workspace, session: Session, answers: Answers, pool: int) -> Ids:
    """Return the answered items that may be asked again; none unless a person has set a share to find.

    Only then does it pay to know how often answers are wrong.
    """
    if session.target_share is None or session.goal != "find" or ws.config.repeat_share == 0:
        return np.empty(0, np.int64)
    if session.votes > 1:  # other people's answers tell it
        return np.empty(0, np.int64)
    items = answers.items[(answers.labels >= 0) & (answers.items < pool)]
    items = np.intersect1d(items, ws.journal.repeatable(session.id, answers.last_event))
    return np.setdiff1d(items, np.array(ws.catalog.absent(), np.int64))


def _how_many(ws: Workspace, session: Session, now: float) -> int:
    """Return how many cards a round is made for: a batch for everybody who answers, and as many to spare.

    What people hold is no measure of what they need: a crowd that waits holds nothing. Of a class that comes
    at once nobody has answered yet: where a link lets people in, as many as a class are taken to be about to.
    Packs that were taken along count for as long as others of their kind may be asked for.
    """
    people = ws.journal.count_people(session.id, PRESENT_S) + ws.dealing.count_wanting(session.id, now)
    if people <= 1 and any(link.person is None and not link.shut(now) for link in ws.roster.links()):
        people = CLASS
    leased = ws.dealing.count_leased(session.id, now - PRESENT_S, now)
    return session.batch_size * (2 + max(1, people)) + 2 * leased


def needs_round(ws: Workspace, session: Session, *, now: float) -> bool:
    """Return whether a new round would know more, or the deck would run short without one."""
    store, journal = ws.store, ws.journal
    rounds = store.rounds(session.id, last=1)
    used = ws.registry.in_use()
    embedded = used[2] if used else 0
    if not rounds:
        return embedded > 0 or ws.catalog.count_items() > 0
    last = rounds[-1]
    drawing = certificate.of_round(ws, session, last.number)
    if drawing is not None:
        return drawing.state != "running"
    if not last.embedded and embedded > 0:
        return True
    if used and last.embedded and last.encoder != used[0] and embedded * 2 >= last.pool:
        return True  # another encoder was chosen, and it has seen enough
    pool = embedded if last.embedded else ws.catalog.count_items()
    if used and last.embedded and last.encoder == used[0] and pool >= last.pool * 1.5:
        return True
    fresh = journal.count_after(session.id, last.last_event)
    if _is_much(ws, session, fresh) or _count_examples(ws, session, used[0] if used else "") > last.examples:
        return True
    waiting = ws.dealing.count_waiting(session.id, now, session.batch_size)
    if waiting >= session.batch_size:
        return False
    # all is asked and nobody holds a card: the last round knows it
    left = _count_candidates(ws, session, pool, now)
    return left > waiting or (fresh > 0 and left == 0 and not ws.dealing.held(session.id, now))


def _is_much(ws: Workspace, session: Session, fresh: int) -> bool:
    """Return whether so many new answers are worth a round: a batch, or one for each ten people who answer.

    A round is made for all who answer: were a batch enough, hundreds would have one every tenth of a second,
    of which most is never dealt. So what is kept of rounds grows with the answers, however many give them.
    """
    if fresh < session.batch_size:
        return False
    people = ws.journal.count_people(session.id, PRESENT_S)
    return fresh * A_ROUND >= session.batch_size * max(A_ROUND, people)


def _count_candidates(ws: Workspace, session: Session, pool: int, now: float) -> int:
    """Return how many items of the pool a round made now could ask about."""
    journal = ws.journal
    more = [*ws.dealing.held(session.id, now), *journal.skipped(session.id), *ws.catalog.absent()]
    out = union(journal.answers(session.id).items, np.array(more, np.int64))
    return pool - int((out < pool).sum())


def _count_examples(ws: Workspace, session: Session, key: str) -> int:
    """Return how many reference pictures can be learned from: items of the pool, or seen by the encoder."""
    seen = {e.id for e, _ in ws.store.example_vectors(session.id, key)}
    return sum(e.item is not None or e.id in seen for e in ws.store.examples(session.id))
