"""Rounds: from answers and vectors to the next cards. With loop.py, the only user of `active`."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Probs, Rows
from labeler import certificate, judging, looking, neighbourhood, samples, space
from labeler.arrays import load_arrays, save_arrays
from labeler.domain import Goal, Pick, Quality, Round, Session
from labeler.errors import NotReady
from labeler.journal import Answers
from labeler.looking import Eye, Labeled, Seen, all_labels, spread_labels
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active import recall
    from active.kriging import Told
    from active.learner import Head
    from active.representative import Pca

PRESENT_S = 600.0  # who answered within this time is taken to go on
RECIPE = "recipe"  # how people's cards are chosen


@dataclass(frozen=True, slots=True)
class Predictions:
    """What the newest head thinks of every item that has a vector.

    probs  (n, c) calibrated, in the order of the session's labels; row = item id.
    rough  True until cards drawn at random can check the calibration.
    """

    probs: Probs
    rough: bool
    round: int


@dataclass(frozen=True, slots=True)
class _Material:
    """What a round is computed from, besides the pool; stored with the round.

    before       the items dealt last, which the first picks shall not resemble.
    sample_step  how many items the sample stood for; see `samples.sample`.
    index_step   how many items are in the index through which the pool was seen; 0: every item was looked at.
    again        answered items that may be asked a second time; repeat_share: the part of cards that are.
    strategy     "recipe", or another one of `active.strategies` that a simulation compares with it.
    """

    left_out: Ids
    examples: Ids
    n: int
    goal: Goal
    batch_size: int
    audit_share: float
    near_cos: float
    before: Ids
    n_labels: int
    sample_size: int
    sample_step: int
    again: Ids
    repeat_share: float
    strategy: str = RECIPE
    index_step: int = 0

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def load(cls, path: Path) -> "_Material":
        """Return what a round's file holds. Raises NotReady when that is gone or damaged."""
        f = load_arrays(path)
        if f is None:
            raise NotReady(f"The round's file {path} is gone or damaged.", "It can't be drawn again.")
        return cls(
                left_out=f["left_out"], examples=f["examples"], n=int(f["n"]),
                goal=cast(Goal, str(f["goal"])), batch_size=int(f["batch_size"]),
                audit_share=float(f["audit_share"]), near_cos=float(f["near_cos"]),
                before=f["before"], n_labels=int(f["n_labels"]), sample_size=int(f["sample_size"]),
                sample_step=int(f.get("sample_step", 0)),
                again=f["again"] if "again" in f else np.empty(0, np.int64),
                repeat_share=float(f["repeat_share"]) if "repeat_share" in f else 0.0,
                strategy=str(f["strategy"]) if "strategy" in f else RECIPE,  # older ones know no other
                index_step=int(f.get("index_step", 0)),
            )  # fmt: skip


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
    answers = journal.answers(session.id)
    session = store.session(session.id)  # a label may have been added since
    sp = space.current(ws)
    pool = len(sp.rows) if sp else catalog.count_items()
    if pool == 0:
        return None
    held = journal.held(session.id, now)
    skipped = journal.skipped(session.id, answers.last_event)
    closed = np.union1d(answers.items, np.array([*catalog.absent(), *hide], np.int64))
    left_out = np.union1d(closed, np.array([*held, *skipped], np.int64))
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
    material = _Material(
        left_out, examples, _how_many(ws, session, len(held)), session.goal, session.batch_size,
        ws.config.audit_share, ws.config.near_duplicate_cos,
        np.array([i for i in journal.last_dealt(session.id) if i < pool], np.int64),
        len(session.labels), ws.config.sample_size,
        samples.ready(ws, sp.key, pool, ws.config.sample_size) if sp else 0,
        _again(ws, session, answers, pool), ws.config.repeat_share, strategy,
        neighbourhood.ready(ws, sp.key, pool) if sp and strategy == RECIPE else 0,
    )  # fmt: skip
    picks, fitted = _draw(ws, session, made, material, answers)
    picks = _with_repeats(picks, material, made.seed)
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
    save_arrays(ws.round_file(session.id, number), **material.to_arrays(), **stored)
    if not store.add_round(made, picks, quality):
        return store.rounds(session.id, last=1)[-1]  # of another process
    return made


def _asked(
    ws: Workspace, session: Session, answers: Answers, fitted: "_Fitted"
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


def _quality(session: Session, fitted: "_Fitted", asked: tuple[Ids, NDArray[np.str_]]) -> Quality | None:
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
    fitted: "_Fitted",
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
    is_left = np.ones(len(rows), bool)
    is_left[closed[closed < len(rows)]] = False
    lines = fitted.seen.decision
    if lines is None:
        lines = decision(head, rows if among is None else rows[among], 0)
    left = lines[is_left if among is None else is_left[among]]
    now = estimate(known, left, repeats=ws.journal.repeats(session.id), others=int(is_left.sum()) - len(left))
    return None if now is None else (now, int(is_left.sum()))


def _again(ws: Workspace, session: Session, answers: Answers, pool: int) -> Ids:
    """Return the answered items that may be asked again; none unless a person has set a share to find.

    Only then does it pay to know how often answers are wrong.
    """
    if session.target_share is None or session.goal != "find" or ws.config.repeat_share == 0:
        return np.empty(0, np.int64)
    items = answers.items[(answers.labels >= 0) & (answers.items < pool)]
    items = np.intersect1d(items, ws.journal.repeatable(session.id, answers.last_event))
    return np.setdiff1d(items, np.array(ws.catalog.absent(), np.int64))


def _with_repeats(picks: list[Pick], material: _Material, seed: int) -> list[Pick]:
    """Return the picks with others put in between that were answered before, drawn evenly from these.

    Chance of its own, so that the picks are the same with and without.
    """
    share = material.repeat_share
    if len(material.again) == 0 or share == 0:
        return picks
    rng = np.random.default_rng([seed, 1])
    before = rng.random(len(picks)) < share / (1 - share)
    items = iter(rng.permutation(material.again)[: before.sum()].tolist())
    out: list[Pick] = []
    for pick, is_after in zip(picks, before.tolist(), strict=True):
        item = next(items, None) if is_after else None
        out += [pick] if item is None else [Pick(item, "repeat", None, None), pick]
    return out


def _how_many(ws: Workspace, session: Session, held: int) -> int:
    """Return how many cards a round is made for: a batch for everybody who answers, and as many to spare.

    What people hold is no measure of what they need: a crowd that waits holds nothing.
    """
    people = max(1, ws.journal.count_people(session.id, PRESENT_S))
    return session.batch_size * (2 + people) + 2 * held


def draw_again(ws: Workspace, session: Session, made: Round) -> list[Pick]:
    """Return the picks of a recorded round, computed anew from what it recorded."""
    drawn = certificate.draw_again(ws, session, made)
    if drawn is not None:
        return drawn
    material = _Material.load(ws.round_file(session.id, made.number))
    picks = _draw(ws, session, made, material, ws.journal.answers(session.id, made.last_event))[0]
    return _with_repeats(picks, material, made.seed)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A round's head, the pool's rows, and the labels y of the examples that the head was fitted on.

    seen  what the round looked at. told: what had been expected of the examples; None: more than two labels.
    """

    head: "Head"
    rows: Rows
    y: NDArray[np.int64]
    seen: Seen
    told: "Told | None"


def _draw(
    ws: Workspace, session: Session, made: Round, material: _Material, answers: Answers
) -> tuple[list[Pick], _Fitted | None]:
    """Return the picks of a round, and what it fitted; a pure function of what is recorded."""
    rng = np.random.default_rng(made.seed)
    is_open = np.ones(made.pool, bool)
    is_open[material.left_out] = False
    candidates = np.flatnonzero(is_open)
    if not made.embedded:
        chosen = rng.choice(candidates, min(material.n, len(candidates)), replace=False)
        p = len(chosen) / max(1, len(candidates))
        return [Pick(int(i), "spread", p, None) for i in chosen], None
    assert made.encoder is not None
    rows, turn = space.rows_of(ws, made.encoder, made.basis, made.pool)
    labeled = _labeled(ws, session, made, material, answers, rows, turn)
    return _choose(ws, made, material, candidates, rows, labeled, rng)


def _labeled(
    ws: Workspace,
    session: Session,
    made: Round,
    material: _Material,
    answers: Answers,
    rows: Rows,
    turn: "Pca | None",
) -> Labeled:
    """Return the labeled rows and their label numbers, from the pool and outside."""
    known = (answers.labels >= 0) & (answers.items < made.pool)
    items = answers.items[known]
    x, y = rows[items], answers.labels[known]
    wanted = set(material.examples.tolist())
    outside = [
        (e.label, v) for e, v in ws.store.example_vectors(session.id, made.encoder or "") if e.id in wanted
    ]
    vectors = np.array([v for _, v in outside], np.float32)
    if outside:
        x = np.concatenate([x, space.turned(turn, vectors)])
        y = np.concatenate([y, np.array([label for label, _ in outside], np.int64)])
    return Labeled(x, y, items, vectors)


def _choose(
    ws: Workspace, made: Round, material: _Material, candidates: Ids, rows: Rows, labeled: Labeled,
    rng: np.random.Generator,
) -> tuple[list[Pick], _Fitted | None]:  # fmt: skip
    """Fit the head when there is something to fit, look at the pool, and let the selection choose."""
    from active.learner import fit_head
    from active.selection import SPARE, Pool, choose
    from active.strategies import HEADLESS, STRATEGIES

    x, y, is_recipe = labeled.x, labeled.y, material.strategy == RECIPE
    head = None
    asks_head = material.strategy not in HEADLESS or material.goal == "classify"
    if asks_head and (len(np.unique(y)) > 1 or (0 in y and len(y) >= material.batch_size)):
        head = fit_head(x, y, pool=rows, is_rare=material.goal == "find", rng=rng)
    sample = samples.sample(ws, made.encoder or "", material.sample_step, material.sample_size)
    eye = Eye(rows, labeled, head, n_labels=material.n_labels, is_one=is_recipe and material.goal == "find")
    if material.index_step and sample is not None:
        hood = neighbourhood.neighbourhood(ws, made.encoder or "", material.index_step)
        seen = looking.nearby(eye, hood, sample, candidates, spare=material.n + SPARE)
    else:
        seen = looking.everywhere(eye)
    told = None if head is None else _told(head, labeled)
    pool = Pool(
        rows=rows, candidates=candidates, target=seen.target, doubt=seen.doubt, like=labeled.like,
        sample=sample, among=seen.among, before=material.before, labeled=x if len(x) else None,
        probs=None if is_recipe or head is None else all_labels(head, rows, material.n_labels),
        told=told if is_recipe else None,
    )  # fmt: skip
    if is_recipe:
        picks = choose(
            pool, goal=material.goal, n=material.n, batch_size=material.batch_size,
            audit_share=material.audit_share, near_cos=material.near_cos, rng=rng,
        )  # fmt: skip
    else:
        picks = STRATEGIES[material.strategy](pool, material.n, rng)
    return [
        Pick(int(i), r, float(p), None if np.isnan(s) else float(s))
        for i, r, p, s in zip(picks.ids, picks.reasons, picks.p_chosen, picks.scores, strict=True)
    ], None if head is None else _Fitted(head, rows, y, seen, told)


def _told(head: "Head", labeled: Labeled) -> "Told | None":
    """Return what people answered and what a head that had not heard it would have expected; two labels."""
    from active.kriging import Told
    from active.learner import left_out

    if len(head.labels) != 2 or head.labels[0] != 0:
        return None
    return Told(labeled.x, labeled.y == 0, head.calibrated(left_out(head, 0), 0))


def needs_round(ws: Workspace, session: Session, *, now: float) -> bool:
    """Return whether a new round would know more, or the deck would run short without one."""
    store, journal = ws.store, ws.journal
    rounds = store.rounds(session.id, last=1)
    used = ws.catalog.encoder()
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
    if fresh >= session.batch_size or _count_examples(ws, session, used[0] if used else "") > last.examples:
        return True
    waiting = journal.count_waiting(session.id, now, session.batch_size)
    return waiting < session.batch_size and _count_candidates(ws, session, pool, now) > waiting


def _count_candidates(ws: Workspace, session: Session, pool: int, now: float) -> int:
    """Return how many items of the pool a round made now could ask about."""
    journal = ws.journal
    more = [*journal.held(session.id, now), *journal.skipped(session.id), *ws.catalog.absent()]
    out = np.union1d(journal.answers(session.id).items, np.array(more, np.int64))
    return pool - int((out < pool).sum())


def _count_examples(ws: Workspace, session: Session, key: str) -> int:
    """Return how many reference pictures can be learned from: items of the pool, or seen by the encoder."""
    seen = {e.id for e, _ in ws.store.example_vectors(session.id, key)}
    return sum(e.item is not None or e.id in seen for e in ws.store.examples(session.id))


def predict(ws: Workspace, session: Session, items: Ids | None = None) -> Predictions | None:
    """Return the newest head's probabilities, None before the first head.

    Neighbours have been heard about the likeliest items of each label: what a linear head says of one item
    alone ranks worse. items  only these, a row each; None: every embedded item.
    """
    sp = space.current(ws)
    for made in reversed(ws.store.rounds(session.id, last=20)):
        if sp is None or made.encoder != sp.key:
            continue
        which = (session.id, made.number, len(session.labels), sp.key, sp.basis, len(sp.rows))
        held = _newest.get(ws)
        if held is None or held[0] != which:
            found = _predict(ws, session, made, sp)
            if found is None:
                continue
            _newest[ws] = held = which, found
        probs, rough = held[1].probs, held[1].rough or _is_rough(ws, session)
        return Predictions(probs if items is None else probs[items], rough, made.number)
    return None


_newest: "weakref.WeakKeyDictionary[Workspace, tuple[tuple[int | str, ...], Predictions]]" = (
    weakref.WeakKeyDictionary()
)


def _predict(ws: Workspace, session: Session, made: Round, sp: space.Space) -> Predictions | None:
    """Return what a round's head thinks of the rows of `sp`, None where the round has none."""
    from active.kriging import Told, settle
    from active.learner import Head

    stored = load_arrays(ws.round_file(session.id, made.number)) or {}
    arrays = {k[5:]: v for k, v in stored.items() if k.startswith("head_")}
    if not arrays:
        return None
    rows, turn = sp.rows, sp.turn
    if made.basis != sp.basis:
        rows, turn = space.rows_of(ws, sp.key, made.basis, len(sp.rows))
    told = None
    if "expected" in stored:
        material = _Material.load(ws.round_file(session.id, made.number))
        answers = ws.journal.answers(session.id, made.last_event)
        labeled = _labeled(ws, session, made, material, answers, rows, turn)
        if len(labeled.x) == len(stored["expected"]):  # an example may have been withdrawn since
            told = Told(labeled.x, labeled.y == 0, stored["expected"])
    head = Head.from_arrays(arrays)
    probs = all_labels(head, rows, len(session.labels))
    return Predictions(settle(rows, probs, told), head.rough, made.number)


AUDITS_FOR_TRUST = 30


def _is_rough(ws: Workspace, session: Session) -> bool:
    """Return True until at least 30 cards drawn uniformly at random have been answered."""
    return ws.journal.count_reason(session.id, "audit") < AUDITS_FOR_TRUST
