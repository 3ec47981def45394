"""Items from all over a pool: what is least like all that was asked, and draws from clusters."""

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, Scores, are_in
from active.representative import clusters

UNLIKE = 0.5
"""So much of `spread` is what is least like all that was asked; docs/decisions/0018 has what it brings."""
AMONG, TO = 2000, 1000
"""That is looked for among so many candidates, and compared with so many that were asked."""


def unlike(rows: Rows, items: Ids, k: int, rng: np.random.Generator, *, asked: Ids) -> tuple[Ids, Scores]:
    """Return `k` of the items, those furthest from the nearest asked one, and how far: (k,), furthest first.

    rows  (n, d) unit rows of all items; the distance is 1 - cosine. items  ascending. asked  any.
    What is taken counts as asked for the next one. They are looked for among some drawn evenly, so that lone
    odd images are not all that is taken and the cost does not grow with the pool. Nothing asked: nothing.
    Source: Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5 (farthest first).
    """
    if len(asked) == 0 or k == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    some = _some(items, max(k, AMONG), rng)
    theirs = rows[some]
    near = (theirs @ rows[_some(asked, TO, rng)].T).max(1)
    at, dist = np.empty(min(k, len(some)), np.int64), np.empty(min(k, len(some)), np.float32)
    for place in range(len(at)):
        at[place] = here = near.argmin()
        dist[place] = max(0, 1 - near[here])
        near = np.maximum(near, theirs @ theirs[here])
        near[here] = np.inf  # taken
    return some[at], dist


def of_each(rows: Rows, items: Ids, k: int, rng: np.random.Generator) -> tuple[Ids, NDArray[np.float64]]:
    """Return one item drawn at random from each of `k` clusters of them, and how probable that was: (k,).

    rows  (n, d) unit rows of all items. items  ascending, at least `k`.
    Where rows repeat so that fewer clusters exist, the rest is drawn evenly from what is left.
    """
    if k == 0:
        return np.empty(0, np.int64), np.empty(0)
    of = clusters(rows[items], k, rng)
    shuffled = rng.permutation(len(of))
    _, first, sizes = np.unique(of[shuffled], return_index=True, return_counts=True)
    at, p = shuffled[first], 1 / sizes
    order = rng.permutation(len(at))
    ids, p = items[at[order]], p[order]
    if len(ids) < k:
        rest = without(items, ids)
        more = rng.choice(rest, k - len(ids), replace=False)
        ids = np.concatenate([ids, more])
        again = len(more) / len(rest)  # whoever was not drawn from its cluster has this second chance
        alone = 1 / np.bincount(of)[of[np.searchsorted(items, ids)]]
        p = alone + (1 - alone) * again
    return ids, p


def without(ids: Ids, out: Ids) -> Ids:
    """Return the ascending `ids` without those of `out`, few."""
    return np.delete(ids, np.searchsorted(ids, out[are_in(out, ids)]))


def _some(ids: Ids, k: int, rng: np.random.Generator) -> Ids:
    """Return at most `k` of the ids, drawn evenly, in their order."""
    return ids if len(ids) <= k else ids[np.sort(rng.choice(len(ids), k, replace=False))]
