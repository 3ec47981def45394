"""What a round looks at where a pool is too large to rank: a walk from neighbour to neighbour."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, are_in, distinct

STEPS, SEEDS = 8, 32
"""The most steps of a walk, and how many items each of them looks around for each thing that is sought."""


def nearby(
    start: Ids, *, near: Callable[[Ids], Ids], score: Callable[[Ids], Rows], closed: Ids
) -> tuple[Ids, Rows]:
    """Return the items that are looked at, ascending, and what `score` says of each.

    start    where the walk begins, looked at in any case: the sample, what was answered and its neighbours.
    near     returns the neighbours of some items, of all in one array; an item may be in it more than once.
    score    returns (m, c): for each item how much it is what is sought, in c respects; larger: more so.
             c may be 0: nothing is sought, and no step is taken.
    closed   the items that may not be asked any more, ascending: they are looked at, but not around.
    Each step looks around the SEEDS items that are sought most, in each respect, unless that was done before;
    it ends when all of them were looked around, or after STEPS steps. No chance is involved.
    Cost: besides `near` and `score`, which see every item once, a pass over what is looked at for each step;
    nothing grows with the pool.
    Source: Coleman et al. 2022, arXiv 2007.00077 (neighbours of what is labeled instead of the pool); here
    the neighbours of what is likely too, and theirs.
    """
    ids = distinct(start)
    seen, done = [ids], ids[:0]  # what was looked at in each step, each ascending
    scores, is_open = score(ids), ~are_in(ids, closed)
    for _ in range(STEPS):
        asked = np.flatnonzero(is_open)
        best = [ids[asked[_largest(column, SEEDS)]] for column in scores[asked].T]
        seeds = distinct(np.concatenate([ids[:0], *best]))
        seeds = seeds[~are_in(seeds, done)]
        if len(seeds) == 0:
            break
        done = distinct(np.concatenate([done, seeds]))
        fresh = distinct(near(seeds))
        for some in seen:
            fresh = fresh[~are_in(fresh, some)]
        seen.append(fresh)
        ids, scores = np.concatenate([ids, fresh]), np.concatenate([scores, score(fresh)])
        is_open = np.concatenate([is_open, ~are_in(fresh, closed)])
    order = np.argsort(ids, kind="stable")  # of stretches that are ascending
    return ids[order], scores[order]


def _largest(scores: NDArray[np.float32], k: int) -> Ids:
    """Return the places of the `k` largest, in no order."""
    return np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(len(scores))
