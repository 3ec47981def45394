"""Rounds: from answers and vectors to the next cards. With loop.py, the only user of `active`."""

import io
import threading
import weakref
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Probs, Rows, Scores
from labeler import images
from labeler.domain import Estimate, Goal, Pick, Round, Session
from labeler.errors import NotReady, writing
from labeler.journal import Answers
from labeler.vectors import SCATTER_FROM
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.learner import Head
    from active.representative import Pca, Sample

LEARN_DIM = 256  # the head sees at most this many numbers per image
BLOCK = 256  # rows that are turned at a time
PRESENT_S = 600.0  # who answered within this time is taken to go on
RECIPE = "recipe"  # how people's cards are chosen
FIRST_BASIS = 512  # with fewer images the vectors are taken as they are


@dataclass(frozen=True, slots=True)
class Space:
    """The rows that the head sees: unit vectors, turned to at most 256 dimensions by PCA.

    basis  rows[:basis] fitted the PCA, `turn`; 0: the vectors as they are.
    rows   (n, d) of the items with id below n.
    """

    key: str
    basis: int
    rows: Rows
    turn: "Pca | None"


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
    sample_step  how many items the sample stood for; see `sample_of`.
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
    strategy: str = RECIPE

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
                strategy=str(f["strategy"]) if "strategy" in f else RECIPE,  # older ones know no other
            )  # fmt: skip


_spaces: "weakref.WeakKeyDictionary[Workspace, Space]" = weakref.WeakKeyDictionary()
_spaces_lock = threading.Lock()


def basis_for(n: int, dim: int) -> int:
    """Return how many of the first n rows fit the PCA: 512, 1024, 2048 …, at most n.

    A plain function of n, so that a recorded round can be drawn again from the vectors alone.
    Items come in random order, so the first ones stand for all.
    """
    if dim <= LEARN_DIM or n < FIRST_BASIS:
        return 0
    return int(FIRST_BASIS * 2 ** int(np.log2(n / FIRST_BASIS)))


def space(ws: Workspace) -> Space | None:
    """Return the rows of all items embedded so far, None before the first. Grows by what is new."""
    used = ws.catalog.encoder()
    if used is None or used[2] == 0:
        return None
    key, dim, n = used
    stored = ws.vectors(key, dim)
    n = min(n, len(stored))
    with _spaces_lock:
        held = _spaces.get(ws)
        basis = basis_for(n, dim)
        if held is None or held.key != key or held.basis != basis or len(held.rows) > n:
            width = LEARN_DIM if basis else dim
            held = Space(key, basis, np.empty((0, width), np.float32), _pca(ws, key, dim, basis))
        if len(held.rows) < n:
            whole = len(held.rows) // BLOCK * BLOCK
            rows = np.concatenate([held.rows[:whole], _turned(held.turn, stored.rows(whole, n))])
            held = Space(key, basis, rows, held.turn)
        _spaces[ws] = held
        return held


def _turned(turn: "Pca | None", rows: Rows) -> Rows:
    """Return rows in the basis of `turn` (None: as they are).

    They are turned in blocks of one size, the last one filled up, so that a row comes out the
    same to the last bit whether it came alone or with others.
    """
    if turn is None:
        return np.asarray(rows)
    out = np.empty((len(rows), turn.components.shape[1]), np.float32)
    block = np.zeros((BLOCK, rows.shape[1]), np.float32)
    for lo in range(0, len(rows), BLOCK):
        part = rows[lo : lo + BLOCK]
        block[: len(part)] = part
        out[lo : lo + BLOCK] = turn.apply(block)[: len(part)]
    return out


def _pca(ws: Workspace, key: str, dim: int, basis: int) -> "Pca | None":
    """Return the PCA fitted on the first `basis` rows, from the cache when it is there.

    Where it is known how rows move when an image is only turned, such directions count for less.
    """
    if basis == 0:
        return None
    from active.representative import Pca, fit_pca

    path = ws.cache / f"pca-{key}-{basis}.npz"
    kept = load_arrays(path)
    if kept is not None and kept.keys() >= {"mean", "components"}:
        return Pca(mean=kept["mean"], components=kept["components"])
    rows = np.asarray(ws.vectors(key, dim).rows(0, basis))
    made = fit_pca(rows, LEARN_DIM, np.random.default_rng(basis), scatter=_scatter(ws, key, basis))
    save_arrays(path, mean=made.mean, components=made.components)
    return made


def _scatter(ws: Workspace, key: str, basis: int) -> NDArray[np.float32] | None:
    """Return how rows of an encoder move when an image is turned, None where that is not known.

    It is written before the first rows past SCATTER_FROM are, and never again: a plain function of `basis`.
    """
    path = ws.scatter_file(key)
    if basis < SCATTER_FROM or not path.exists():
        return None
    scatter: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return scatter if len(scatter) else None


def save_arrays(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write arrays to one file that is either whole or not there."""
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for options
    with writing(f"The file {path.name}"):
        images.save_atomic(path, data.getvalue())


def load_arrays(path: Path) -> "dict[str, NDArray[Any]] | None":  # Any: whatever dtype was saved
    """Return the arrays of a file, None when it is not there or damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as f:
            return {name: f[name] for name in f.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


# rounds ------------------------------------------------------------------------------------


def learn(
    ws: Workspace, session: Session, *, now: float, hide: Sequence[int] = (), strategy: str = RECIPE
) -> Round | None:
    """Retrain on all current labels, rank the whole pool, record the round; None while there are no items.

    now       unix time: what people hold now is left out.
    hide      items that are never asked. strategy: a name of `active.strategies`.
    """
    store, journal, catalog = ws.store, ws.journal, ws.catalog
    answers = journal.answers(session.id)
    session = store.session(session.id)  # a label may have been added since
    sp = space(ws)
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
        sample_ready(ws, sp.key, pool, ws.config.sample_size) if sp else 0,
        strategy,
    )  # fmt: skip
    picks, fitted = _draw(ws, session, made, material, answers)
    head = {} if fitted is None else {f"head_{k}": v for k, v in fitted.head.to_arrays().items()}
    if fitted is not None and session.goal == "find" and strategy == RECIPE:
        made = replace(made, estimate=_estimate(ws, session, answers, fitted, closed=closed))
    save_arrays(ws.round_file(session.id, number), **material.to_arrays(), **head)
    store.add_round(made, picks)
    return made


def _estimate(
    ws: Workspace, session: Session, answers: Answers, fitted: "_Fitted", *, closed: Ids
) -> Estimate | None:
    """Return how much of the target had been found by this round; None while that can't be said.

    closed  items that will not be asked any more.
    """
    from active.learner import decision, left_out
    from active.recall import Asked, estimate

    head, rows, y = fitted.head, fitted.rows, fitted.y
    if not {0} < set(y.tolist()) or -1 in head.labels:
        return None
    items = answers.items[(answers.labels >= 0) & (answers.items < len(rows))]
    said, why = ws.journal.reasons(session.id)  # in the order of asking
    known = np.isin(said, items)
    if known.sum() < len(items):
        return None  # an answer has been taken back since
    order = np.searchsorted(items, said[known])
    score = left_out(head, 0)[order]
    unasked = len(rows) - np.arange(len(order))
    asked = Asked(yes=y[order] == 0, why=why[known], unasked=unasked, score=score)
    is_left = np.ones(len(rows), bool)
    is_left[closed[closed < len(rows)]] = False
    all_of = decision(head, rows, 0) if fitted.decision is None else fitted.decision
    now = estimate(asked, all_of[is_left])
    if now is None:
        return None
    return Estimate(
        share=now.share, low=now.low, high=now.high, total=now.total, total_low=now.total_low,
        total_high=now.total_high, next_finds=now.next_finds,
    )  # fmt: skip


def _how_many(ws: Workspace, session: Session, held: int) -> int:
    """Return how many cards a round is made for: a batch for everybody who answers, and as many to spare.

    What people hold is no measure of what they need: a crowd that waits holds nothing.
    """
    people = max(1, ws.journal.count_people(session.id, PRESENT_S))
    return session.batch_size * (2 + people) + 2 * held


def draw_again(ws: Workspace, session: Session, made: Round) -> list[Pick]:
    """Return the picks of a recorded round, computed anew from what it recorded."""
    material = _Material.load(ws.round_file(session.id, made.number))
    return _draw(ws, session, made, material, ws.journal.answers(session.id, made.last_event))[0]


def _rows_then(ws: Workspace, made: Round) -> "tuple[Rows, Pca | None]":
    """Return the pool's rows as a round saw them, and the turn into its basis."""
    sp = space(ws)
    if sp is not None and sp.key == made.encoder and sp.basis == made.basis:
        return sp.rows[: made.pool], sp.turn
    assert made.encoder is not None
    dim = ws.catalog.encoder_dim(made.encoder)
    turn = _pca(ws, made.encoder, dim, made.basis)
    return _turned(turn, ws.vectors(made.encoder, dim).rows(0, made.pool)), turn


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A round's head, the pool's rows, and the labels y of the examples that the head was fitted on.

    decision  (n,) the target's decisions for the pool, where they were computed.
    """

    head: "Head"
    rows: Rows
    y: NDArray[np.int64]
    decision: Scores | None


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
    rows, turn = _rows_then(ws, made)
    x, y, like = _labeled(ws, session, made, material, answers, rows, turn)
    return _choose(ws, session, made, material, candidates, (rows, x, y, like), rng)


def _labeled(
    ws: Workspace,
    session: Session,
    made: Round,
    material: _Material,
    answers: Answers,
    rows: Rows,
    turn: "Pca | None",
) -> tuple[Rows, NDArray[np.int64], Rows]:
    """Return the labeled rows, their label numbers, and the target's examples, from the pool and outside."""
    known = (answers.labels >= 0) & (answers.items < made.pool)
    x, y = rows[answers.items[known]], answers.labels[known]
    wanted = set(material.examples.tolist())
    outside = [
        (e.label, v) for e, v in ws.store.example_vectors(session.id, made.encoder or "") if e.id in wanted
    ]
    if outside:
        x = np.concatenate([x, _turned(turn, np.stack([v for _, v in outside]))])
        y = np.concatenate([y, np.array([label for label, _ in outside], np.int64)])
    return x, y, x[y == 0]


def _choose(
    ws: Workspace, session: Session, made: Round, material: _Material, candidates: Ids,
    labeled: tuple[Rows, Rows, NDArray[np.int64], Rows], rng: np.random.Generator,
) -> tuple[list[Pick], _Fitted | None]:  # fmt: skip
    """Fit the head when there is something to fit, and let the selection choose."""
    from active.selection import Pool, choose
    from active.strategies import HEADLESS, STRATEGIES

    rows, x, y, like = labeled
    fitted = target = doubts = probs = lines = None
    asks_head = material.strategy not in HEADLESS or material.goal == "classify"
    if asks_head and (len(np.unique(y)) > 1 or (0 in y and len(y) >= material.batch_size)):
        from active.learner import decision, doubt, fit_head

        head = fit_head(x, y, pool=rows, is_rare=material.goal == "find", rng=rng)
        if material.strategy == RECIPE and material.goal == "find" and 0 in y and len(head.labels) == 2:
            lines = decision(head, rows, 0)  # nothing else is asked of the whole pool
            target = head.calibrated(lines, 0)
        else:
            probs = all_labels(head, rows, material.n_labels)
            target, doubts = probs[:, 0] if 0 in y else None, doubt(probs)
        fitted = _Fitted(head, rows, y, lines)
    pool = Pool(
        rows=rows, candidates=candidates, target=target, doubt=doubts, like=like if len(like) else None,
        sample=sample_of(ws, made, material), before=material.before, probs=probs,
        labeled=x if len(x) else None,
    )  # fmt: skip
    if material.strategy == RECIPE:
        picks = choose(
            pool, goal=material.goal, n=material.n, batch_size=material.batch_size,
            audit_share=material.audit_share, near_cos=material.near_cos, rng=rng,
        )  # fmt: skip
    else:
        picks = STRATEGIES[material.strategy](pool, material.n, rng)
    return [
        Pick(int(i), r, float(p), None if np.isnan(s) else float(s))
        for i, r, p, s in zip(picks.ids, picks.reasons, picks.p_chosen, picks.scores, strict=True)
    ], fitted


def all_labels(head: "Head", rows: Rows, n_labels: int) -> Probs:
    """Return probabilities of every label of the session, (n, n_labels).

    A label that nobody has given yet gets 0. What provisional negatives took goes to the
    labels that are not the target, in equal parts.
    """
    out = np.zeros((len(rows), n_labels), np.float32)
    for column, label in zip(head.predict(rows).T, head.labels.tolist(), strict=True):
        if label < 0:
            out[:, 1:] += column[:, None] / (n_labels - 1)
        else:
            out[:, label] += column
    return out


# the sample that stands for a large pool -----------------------------------------------------


def sample_steps(n: int, k: int) -> list[int]:
    """Return for how many items samples of `k` are made on the way to a pool of n: k, 1.25 k, 1.56 k …

    The sample of a step is grown from the one of the step before, the first being the first k items
    themselves. So it depends on the vectors alone, not on when or in which strides the pool came.
    """
    steps = [k] if n >= k else []
    while steps and steps[-1] * 5 // 4 <= n:
        steps.append(steps[-1] * 5 // 4)
    return steps


def sample_ready(ws: Workspace, key: str, n: int, k: int) -> int:
    """Return the last step for a pool of n whose sample is there, so that a round need not wait for it.

    A pool that is no larger than its sample has none: 0.
    """
    if n <= k:
        return 0
    made = (step for step in reversed(sample_steps(n, k)) if _kept_sample(ws, key, step, k) is not None)
    return next(made, k)


def sample_of(ws: Workspace, made: Round, material: _Material) -> Ids | None:
    """Return the items on which doubt is scored, None: all of them.

    It is the sample of the step that the round has recorded, made again where it was deleted.
    """
    if material.sample_step == 0 or made.encoder is None:
        return None
    return _sample(ws, made.encoder, material.sample_step, material.sample_size).ids


def sample_due(ws: Workspace) -> int | None:
    """Return the next step that the pool is large enough for and whose sample is still to be made."""
    used, k = ws.catalog.encoder(), ws.config.sample_size
    if used is None or used[2] <= k:
        return None
    ready = sample_ready(ws, used[0], used[2], k)
    return next((step for step in sample_steps(used[2], k) if step > ready), None)


def make_sample(ws: Workspace, step: int) -> None:
    """Make the sample of a step and keep it. Rounds can be made meanwhile, in another thread.

    Seconds for a step, a minute or two for all up to a million items.
    """
    used = ws.catalog.encoder()
    if used is not None:
        _sample(ws, used[0], step, ws.config.sample_size)


def _sample_file(ws: Workspace, key: str, step: int, k: int) -> Path:
    return ws.cache / f"sample-{key}-{k}-{step}.npz"


_samples: "weakref.WeakKeyDictionary[Workspace, tuple[Path, Sample]]" = weakref.WeakKeyDictionary()


def _kept_sample(ws: Workspace, key: str, step: int, k: int) -> "Sample | None":
    """Return the sample of a step if it was made before and its file is whole."""
    from active.representative import Sample

    path = _sample_file(ws, key, step, k)
    held = _samples.get(ws)
    if held is not None and held[0] == path:
        return held[1]
    arrays = load_arrays(path)
    if arrays is None or not {"ids", "counts"} <= arrays.keys():
        return None
    sample = Sample.from_arrays(arrays)
    _samples[ws] = path, sample
    return sample


def _sample(ws: Workspace, key: str, step: int, k: int) -> "Sample":
    """Return the sample of a step, grown from the last one before it that is there."""
    from active.representative import Sample, grow

    dim = ws.catalog.encoder_dim(key)
    steps = sample_steps(step, k)
    ready = max(sample_ready(ws, key, step, k), k)
    first = np.arange(k, dtype=np.int64)
    sample = _kept_sample(ws, key, ready, k) or Sample(first, np.ones_like(first))
    for one in steps[steps.index(ready) + 1 :]:
        basis = basis_for(one, dim)
        rows = _Turned(_pca(ws, key, dim, basis), ws.vectors(key, dim).rows(0, one))
        sample = grow(sample, rows, k, np.random.default_rng(one))
        save_arrays(_sample_file(ws, key, one, k), **sample.to_arrays())
    return sample


@dataclass(frozen=True, slots=True)
class _Turned:
    """Vectors in a file, turned when they are asked for."""

    turn: "Pca | None"
    stored: Rows

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, which: "slice | Ids") -> Rows:
        return _turned(self.turn, self.stored[which])


def needs_round(ws: Workspace, session: Session, *, now: float) -> bool:
    """Return whether a new round would know more, or the deck would run short without one."""
    store, journal = ws.store, ws.journal
    rounds = store.rounds(session.id, last=1)
    used = ws.catalog.encoder()
    embedded = used[2] if used else 0
    if not rounds:
        return embedded > 0 or ws.catalog.count_items() > 0
    last = rounds[-1]
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

    items  only these, a row each; None: every embedded item.
    """
    from active.learner import Head

    sp = space(ws)
    for made in reversed(ws.store.rounds(session.id, last=20)):
        if sp is None or made.encoder != sp.key:
            continue
        stored = load_arrays(ws.round_file(session.id, made.number)) or {}
        arrays = {k[5:]: v for k, v in stored.items() if k.startswith("head_")}
        if arrays:
            rows = sp.rows if made.basis == sp.basis else _rows_then(ws, made)[0]
            head = Head.from_arrays(arrays)
            probs = all_labels(head, rows if items is None else rows[items], len(session.labels))
            return Predictions(probs, head.rough or _is_rough(ws, session), made.number)
    return None


AUDITS_FOR_TRUST = 30


def _is_rough(ws: Workspace, session: Session) -> bool:
    """Return True until at least 30 cards drawn uniformly at random have been answered."""
    return ws.journal.count_reason(session.id, "audit") < AUDITS_FOR_TRUST
