"""Which labeled images are learned from, say when to stop, or judge: near-duplicates stay together."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows

ALIKE = 0.98  # cosine above which two images are taken for one
STOPPING, JUDGING = 0.2, 0.2  # parts of the labels
_BLOCK = 256
Labels = NDArray[np.int64]
"""(n,) classes, small integers."""


class Split(NamedTuple):
    """Positions in the labels."""

    learn: Ids
    stop: Ids
    judge: Ids


def duplicates(rows: Rows, *, alike: float = ALIKE) -> Ids:
    """Return a group for each unit row: chains of rows with a cosine above `alike` are one. Costs n²."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(rows)
    groups = np.arange(n, dtype=np.int64)
    for at in range(0, n, _BLOCK):
        near, other = np.nonzero(rows[at : at + _BLOCK] @ rows.T > alike)
        joined = coo_array((np.ones(len(near), bool), (groups[near + at], groups[other])), (n, n))
        groups = connected_components(joined, directed=False)[1][groups].astype(np.int64)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def split(labels: Labels, groups: Ids, *, rng: np.random.Generator) -> Split:
    """Return about 60, 20 and 20 % of each class, no group in two parts.

    A group counts for the class that most of it has. Raises ValueError with one sentence where a class has
    fewer than three groups: each part needs one.
    """
    part = np.zeros(len(labels), np.int64)
    main = np.array([np.bincount(labels[groups == g]).argmax() for g in range(groups.max() + 1)])
    for label in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(main == label))
        if len(mine) < 3:
            raise ValueError(
                f"Class {label} has {len(mine)} labeled images that differ from each other. "
                "Label at least 3 of each class; dozens are better."
            )
        stop, judge = (max(1, round(share * len(mine))) for share in (STOPPING, JUDGING))
        part[np.isin(groups, mine[:stop])] = 1
        part[np.isin(groups, mine[stop : stop + judge])] = 2
    return Split(*(np.flatnonzero(part == i).astype(np.int64) for i in range(3)))
