"""What a round looks at where a pool is too large to rank: a walk from neighbour to neighbour."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows

STEPS, SEEDS = 8, 32
"""The most steps of a walk, and how many items each of them looks around for each thing that is sought."""


def nearby(
    start: Ids, *, near: Callable[[Ids], Ids], score: Callable[[Ids], Rows], is_open: NDArray[np.bool_]
) -> tuple[Ids, Rows]:
    """Return the items that are looked at, ascending, and what `score` says of each.

    start    where the walk begins, looked at in any case: the sample, what was answered and its neighbours.
    near     returns the neighbours of some items, of all in one array; an item may be in it more than once.
    score    returns (m, c): for each item how much it is what is sought, in c respects; larger: more so.
             c may be 0: nothing is sought, and no step is taken.
    is_open  (n,) whether an item may still be asked; others are looked at, but not around.
    Each step looks around the SEEDS items that are sought most, in each respect, unless that was done before;
    it ends when all of them were looked around, or after STEPS steps. No chance is involved.
    Cost: besides `near` and `score`, which see every item once, a pass over what is looked at for each step.
    Source: Coleman et al. 2022, arXiv 2007.00077 (neighbours of what is labeled instead of the pool); here
    the neighbours of what is likely too, and theirs.
    """
    is_seen, is_done = np.zeros(len(is_open), bool), np.zeros(len(is_open), bool)
    ids = np.unique(start)
    is_seen[ids] = True
    scores = score(ids)
    for _ in range(STEPS):
        asked = np.flatnonzero(is_open[ids])
        best = [ids[asked[_largest(column, SEEDS)]] for column in scores[asked].T]
        seeds = np.unique(np.concatenate([ids[:0], *best]))
        seeds = seeds[~is_done[seeds]]
        if len(seeds) == 0:
            break
        is_done[seeds] = True
        fresh = np.unique(near(seeds))
        fresh = fresh[~is_seen[fresh]]
        is_seen[fresh] = True
        ids, scores = np.concatenate([ids, fresh]), np.concatenate([scores, score(fresh)])
    order = np.argsort(ids)
    return ids[order], scores[order]


def _largest(scores: NDArray[np.float32], k: int) -> Ids:
    """Return the places of the `k` largest, in no order."""
    return np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))
