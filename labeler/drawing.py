"""The cards of a round, from what is recorded of it and nothing else: one version draws the same again."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, are_in, distinct
from labeler import certificate, crowds, looking, neighbourhood, samples, space
from labeler.arrays import load_arrays
from labeler.domain import Goal, Pick, Round, Session
from labeler.errors import NotReady
from labeler.log import Answers
from labeler.looking import Eye, Labeled, Seen, all_labels
from labeler.neighbourhood import Extent
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.kriging import Told
    from active.learner import Head
    from active.representative import Pca

RECIPE = "recipe"  # how people's cards are chosen


@dataclass(frozen=True, slots=True)
class Material:
    """What a round is computed from, besides the pool; stored with the round.

    before       the items dealt last, which the first picks shall not resemble.
    sample_step  how many items the sample stood for; see `samples.sample`.
    index_step   how many items are in the index through which the pool was seen; 0: every item was looked at.
    index_base   from how many of them its centres were learned.
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
    index_base: int = 0

    @property
    def index(self) -> Extent:
        """Return what the index holds through which the pool was seen."""
        return Extent(self.index_step, self.index_base)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def load(cls, path: Path) -> "Material":
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
                index_base=int(f.get("index_base", f.get("index_step", 0))),  # older ones never grew
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fitted:
    """A round's head, the pool's rows, and the labels y of the examples that the head was fitted on.

    seen  what the round looked at. told: what had been expected of the examples; None: more than two labels.
    """

    head: "Head"
    rows: Rows
    y: NDArray[np.int64]
    seen: Seen
    told: "Told | None"


def draw_again(ws: Workspace, session: Session, made: Round) -> list[Pick]:
    """Return the picks of a recorded round, computed anew from what it recorded."""
    drawn = certificate.draw_again(ws, session, made)
    if drawn is not None:
        return drawn
    material = Material.load(ws.round_file(session.id, made.number))
    picks = draw(ws, session, made, material, crowds.answers(ws, session, made.last_event))[0]
    return with_repeats(picks, material, made.seed)


def draw(
    ws: Workspace, session: Session, made: Round, material: Material, answers: Answers
) -> tuple[list[Pick], Fitted | None]:
    """Return the picks of a round, and what it fitted; a pure function of what is recorded."""
    rng = np.random.default_rng(made.seed)
    if not made.embedded:
        candidates = _open(made.pool, material.left_out)
        chosen = rng.choice(candidates, min(material.n, len(candidates)), replace=False)
        p = len(chosen) / max(1, len(candidates))
        return [Pick(int(i), "spread", p, None) for i in chosen], None
    assert made.encoder is not None
    rows, turn = space.rows_of(ws, made.encoder, made.basis, made.pool)
    labeled = labeled_rows(ws, session, made, material, answers, rows, turn)
    return _choose(ws, made, material, answers, rows, labeled, rng)


def _open(n: int, closed: Ids) -> Ids:
    """Return the items 0 … n-1 but for those that may not be asked."""
    is_open = np.ones(n, bool)
    is_open[closed] = False
    return np.flatnonzero(is_open)


def labeled_rows(
    ws: Workspace,
    session: Session,
    made: Round,
    material: Material,
    answers: Answers,
    rows: Rows,
    turn: "Pca | None",
) -> Labeled:
    """Return the labeled rows and their label numbers, from the pool and outside."""
    known = (answers.labels >= 0) & (answers.items < made.pool)
    items = answers.items[known]
    x, y = rows[items], (answers.labels if answers.taught is None else answers.taught)[known]
    wanted = set(material.examples.tolist())
    given = [(e, v) for e, v in ws.store.example_vectors(session.id, made.encoder or "") if e.id in wanted]
    vectors = np.array([v for _, v in given], np.float32)
    is_words = np.array([e.is_words for e, _ in given], bool)
    words = np.empty((0, rows.shape[1]), np.float32)
    if given:
        seen = space.turned(turn, vectors)
        labels = np.array([e.label for e, _ in given], np.int64)
        x, y = np.concatenate([x, seen[~is_words]]), np.concatenate([y, labels[~is_words]])
        words = seen[is_words]
    sure = None
    if answers.weight is not None:  # pictures that were given as examples are taken at their word
        sure = np.ones(len(y), np.float32)
        sure[: len(items)] = answers.weight[known]
    return Labeled(x, y, items, vectors, words, sure)


def _choose(
    ws: Workspace, made: Round, material: Material, answers: Answers, rows: Rows, labeled: Labeled,
    rng: np.random.Generator,
) -> tuple[list[Pick], Fitted | None]:  # fmt: skip
    """Fit the head when there is something to fit, look at the pool, and let the selection choose."""
    from active.learner import fit_head
    from active.selection import SPARE, Left, Pool, choose
    from active.strategies import HEADLESS, STRATEGIES, audited

    x, y, is_recipe = labeled.x, labeled.y, material.strategy == RECIPE
    head = None
    asks_head = material.strategy not in HEADLESS or material.goal == "classify"
    if asks_head and (len(np.unique(y)) > 1 or (0 in y and len(y) >= material.batch_size)):
        absent = np.setdiff1d(material.left_out, answers.items)  # gone, or known images from outside the pool
        head = fit_head(
            x, y, weights=labeled.sure, pool=rows, out=absent, is_rare=material.goal == "find", rng=rng
        )
    sample = samples.sample(ws, made.encoder or "", material.sample_step, material.sample_size)
    eye = Eye(rows, labeled, head, n_labels=material.n_labels, is_one=is_recipe and material.goal == "find")
    if material.index_step and sample is not None:
        hood = neighbourhood.neighbourhood(ws, made.encoder or "", material.index)
        closed, spare = distinct(material.left_out), material.n + SPARE
        seen = looking.nearby(eye, hood, sample, closed, spare=spare, basis=made.basis)
        assert seen.among is not None  # no list of all that are left is made
        candidates, left = seen.among[~are_in(seen.among, closed)], Left(made.pool, closed)
    else:
        seen = looking.everywhere(eye)
        candidates, left = _open(made.pool, material.left_out), None
    told = None if head is None else _told(head, labeled)
    pool = Pool(
        rows=rows, candidates=candidates, left=left,
        target=seen.target, doubt=seen.doubt, like=labeled.like, sample=sample, among=seen.among,
        before=material.before, labeled=x if len(x) else None,
        probs=None if is_recipe or head is None else all_labels(head, rows, material.n_labels),
        told=told if is_recipe else None,
    )  # fmt: skip
    if is_recipe:
        picks = choose(
            pool, goal=material.goal, n=material.n, batch_size=material.batch_size,
            audit_share=material.audit_share, near_cos=material.near_cos, rng=rng,
        )  # fmt: skip
    else:
        picks = audited(
            STRATEGIES[material.strategy], pool, material.n,
            batch_size=material.batch_size, audit_share=material.audit_share, rng=rng,
        )  # fmt: skip
    return [
        Pick(int(i), r, float(p), None if np.isnan(s) else float(s))
        for i, r, p, s in zip(picks.ids, picks.reasons, picks.p_chosen, picks.scores, strict=True)
    ], None if head is None else Fitted(head, rows, y, seen, told)


def _told(head: "Head", labeled: Labeled) -> "Told | None":
    """Return what people answered and what a head that had not heard it would have expected; two labels."""
    from active.kriging import Told
    from active.learner import left_out

    if len(head.labels) != 2 or head.labels[0] != 0:
        return None
    return Told(labeled.x, labeled.y == 0, head.calibrated(left_out(head, 0), 0))


def with_repeats(picks: list[Pick], material: Material, seed: int) -> list[Pick]:
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
