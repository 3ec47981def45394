"""Ways to choose cards that others use, to compare with `selection.choose`: each ranks or draws, and no more.

All are plain functions (pool, k, rng) → picks: at most `k` distinct candidates, the same for the same `rng`.
None keeps look-alikes apart; only the recipe does. Draws at random are added by `audited`, as many as the
recipe has. Before there is a head, those that ask a head do what `neighbours` does: they look around the
examples, or draw at random where there are none.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Probs, Rows, Scores
from active.search import combine
from active.selection import Picks, Pool, Selector, Why, _best, _nothing, _picks, audit, joined, rounded

SIGMA = 0.2
"""How far around 0.5 `gaussian` draws."""
RANKED_AMONG = 200
"""`ranked` ranks this many of the most doubtful candidates: modAL's cost is this times labels times cards."""


def random(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return `k` candidates drawn evenly: what somebody without any tool looks at."""
    k = min(k, len(pool.candidates))
    ids = rng.choice(pool.candidates, k, replace=False) if k else _nothing()
    return _picks(ids, "audit", p_chosen=np.full(k, k / max(1, len(pool.candidates))))


def neighbours(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` candidates nearest to the mean of the examples and all that was found since.

    What a search by example gives to somebody who adds each find to the examples; "no" teaches it nothing.
    No example: drawn evenly.
    Source: Rocchio 1971, relevance feedback, positive examples only.
    """
    if pool.like is None or len(pool.like) == 0:
        return random(pool, k, rng)
    cos = (pool.rows @ combine(pool.like)[0])[pool.candidates]
    return _ranked(pool, cos, k, "find")


def likely(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` candidates with the largest P(target) by the head.

    Source: Lewis and Gale 1994, arXiv cmp-lg/9407020 (relevance sampling).
    """
    if pool.target is None:
        return neighbours(pool, k, rng)
    return _ranked(pool, pool.target[pool.candidates], k, "find")


def uncertainty(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` candidates whose likeliest label is least likely.

    Source: Lewis and Gale 1994, arXiv cmp-lg/9407020; modAL's `classifier_uncertainty`.
    """
    from modAL.uncertainty import classifier_uncertainty

    return _by_doubt(pool, k, rng, lambda p: classifier_uncertainty(_Given(), p))


def margin(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` candidates whose two likeliest labels are nearest to each other.

    Source: Scheffer, Decomain and Wrobel 2001, doi:10.1007/3-540-44816-0_31; modAL's `classifier_margin`.
    """
    from modAL.uncertainty import classifier_margin

    return _by_doubt(pool, k, rng, lambda p: 1 - classifier_margin(_Given(), p))


def entropy(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` candidates whose labels' probabilities have the largest entropy.

    Source: Shannon 1948, in Settles 2009, "Active learning literature survey"; modAL's `classifier_entropy`.
    """
    from modAL.uncertainty import classifier_entropy

    return _by_doubt(pool, k, rng, lambda p: classifier_entropy(_Given(), p))


def ranked(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return `k` candidates, one by one the most doubtful that is unlike what was asked and picked before.

    modAL compares every candidate with every label for each pick. So only the `RANKED_AMONG` most doubtful
    candidates take part (more where `k` is larger), which also gives doubt more weight against unlikeness
    than the whole pool would: their share is |unlabeled| / (|unlabeled| + |labeled|).
    Source: Cardoso et al. 2017, doi:10.1016/j.ins.2016.10.037; modAL's `ranked_batch`.
    """
    if pool.probs is None or pool.labeled is None:
        return neighbours(pool, k, rng)
    from modAL.batch import ranked_batch
    from modAL.uncertainty import classifier_uncertainty

    doubt = classifier_uncertainty(_Given(), pool.probs[pool.candidates])
    among = pool.candidates[_best(doubt, max(k, RANKED_AMONG))]
    scores = classifier_uncertainty(_Given(), pool.probs[among])
    order, _ = (
        ranked_batch(
            _Given(pool.labeled),
            pool.rows[among],
            scores,
            min(k, len(among)),
            metric="euclidean",
            n_jobs=None,
        )
        if k and len(among)
        else (_nothing(), None)
    )
    return _picks(among[order], "uncertain", scores=scores[order])


def gaussian(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return `k` candidates drawn with weights: the normal density of P(target) around 0.5, σ 0.2.

    Drawn systematically along a random order, so that each card carries the exact probability of its draw.
    Source: SpaceML's Active-Labeler (strategy "gaussian"); for the draw, Madow 1949,
    doi:10.1214/aoms/1177729988.
    """
    if pool.target is None:
        return neighbours(pool, k, rng)
    p = pool.target[pool.candidates].astype(np.float64)
    density = np.exp(-(((p - 0.5) / SIGMA) ** 2) / 2)
    chance = _inclusion(density, min(k, len(p)))
    at = _systematic(chance, rng)
    return _picks(pool.candidates[at], "uncertain", p_chosen=chance[at], scores=density[at])


def balanced(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return `k` candidates with P(target) nearest to 0.5, half of them from each side, in turn.

    A side that has too few leaves its places to the other.
    Source: SpaceML's Active-Labeler (strategy "uncertainty_balanced").
    """
    if pool.target is None:
        return neighbours(pool, k, rng)
    away = pool.target[pool.candidates] - np.float32(0.5)
    above, below = (np.flatnonzero(side) for side in (away >= 0, away < 0))
    turn = np.empty(len(away), np.float64)  # each side in its own order, 0 1 2 …, the upper one first
    for side, first in ((above, 0.0), (below, 0.5)):
        turn[side[np.argsort(np.abs(away[side]), kind="stable")]] = np.arange(len(side)) + first
    at = np.argsort(turn)[: max(0, k)]
    return _picks(pool.candidates[at], "uncertain", scores=1 - 2 * np.abs(away[at]))


STRATEGIES: dict[str, Selector] = {
    "random": random,
    "neighbours": neighbours,
    "likely": likely,
    "uncertainty": uncertainty,
    "margin": margin,
    "entropy": entropy,
    "ranked": ranked,
    "gaussian": gaussian,
    "balanced": balanced,
}
"""By name; `recipe`, the default, is `selection.choose`."""
RECIPE = "recipe"
NAMES = (*STRATEGIES, RECIPE)
HEADLESS = frozenset({"random", "neighbours"})
"""These ask no head."""


class _Given:
    """A classifier, as modAL wants one, for probabilities that are known already.

    labeled  (m, d) the rows learned from, where a measure compares with them.
    """

    on_transformed = False

    def __init__(self, labeled: Rows | None = None) -> None:
        self.X_training = labeled

    def predict_proba(self, p: Probs) -> Probs:
        return p


def audited(
    strategy: Selector, pool: Pool, n: int, *, batch_size: int, audit_share: float, rng: np.random.Generator
) -> Picks:
    """Return `n` cards: of each `batch_size`, `audit_share` are drawn evenly and `strategy` chooses the rest.

    People who label need these draws whatever chooses the others, and they cost finds: a comparison is only
    fair where all have them. They are drawn at once, so p_chosen is their number by that of all candidates.
    """
    is_audit = np.concatenate(
        [
            rng.permutation(np.arange(size) < rounded(size * audit_share, rng))
            for size in (min(batch_size, n - start) for start in range(0, n, batch_size))
        ]
        or [np.empty(0, bool)]
    )
    drawn = audit(pool, int(is_audit.sum()), rng)
    rest = replace(pool, candidates=np.setdiff1d(pool.candidates, drawn.ids))
    chosen = strategy(rest, n - len(drawn.ids), rng)
    nth_drawn, nth_chosen = np.cumsum(is_audit) - 1, np.cumsum(~is_audit) - 1
    is_there = np.where(is_audit, nth_drawn < len(drawn.ids), nth_chosen < len(chosen.ids))
    order = np.where(is_audit, nth_drawn, len(drawn.ids) + nth_chosen)[is_there]
    both = joined([drawn, chosen])
    return Picks(both.ids[order], [both.reasons[i] for i in order], both.p_chosen[order], both.scores[order])


def _by_doubt(
    pool: Pool, k: int, rng: np.random.Generator, measure: Callable[[Probs], NDArray[np.float64]]
) -> Picks:
    if pool.probs is None:
        return neighbours(pool, k, rng)
    return _ranked(pool, measure(pool.probs[pool.candidates]), k, "uncertain")


def _ranked(pool: Pool, scores: Scores | NDArray[np.float64], k: int, why: Why) -> Picks:
    """Return the `k` candidates with the largest scores, (n,) in the order of the candidates; ties by id."""
    best = _best(np.asarray(scores, np.float32), max(0, k))
    return _picks(pool.candidates[best], why, scores=np.asarray(scores, np.float32)[best])


def _inclusion(weights: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the chance of each to be among `k` drawn by these weights, (n,), adding up to `k`; none above 1.

    weights  (n,) above 0. `k` at most n.
    """
    chance = np.zeros(len(weights))
    open_ = np.ones(len(weights), bool)
    while open_.any() and (left := k - chance[~open_].sum()) > 0:
        chance[open_] = left * weights[open_] / weights[open_].sum()
        over = open_ & (chance >= 1)
        if not over.any():
            break
        chance[over], open_[over] = 1, False
    return chance


def _systematic(chance: NDArray[np.float64], rng: np.random.Generator) -> Ids:
    """Return places drawn without replacement, each with its own chance, in random order."""
    k = round(float(chance.sum()))
    order = rng.permutation(len(chance))
    ends = np.cumsum(chance[order])
    drawn = np.searchsorted(ends, np.arange(k) + rng.random(), side="right")
    return order[np.unique(np.minimum(drawn, len(chance) - 1))] if k else _nothing()
