"""How common each label is: among items drawn at random, among those that were picked, in the whole pool.

An item that was picked because it is likely, or doubtful, is positive more often than one of the pool; one
that is drawn at random from what is still unasked is positive less often, once most positives have been
picked. So each of the two has a share of its own, learned from the votes on it, and before its own votes an
item is as likely as others that came as it did. What both say of the pool corrects for what was taken out.
"""

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from active.votes import Real

FEW = 0.5
"""What each label counts beforehand among items that came in one way, times the number of labels."""


def shares(sums: Real, n: Ids) -> Real:
    """Return how common each label is among picked items and among drawn ones, (2, c); rows sum to 1.

    sums  (2, c) the sums of their probabilities. n  (2,) how many there are.
    Where there are few of one way it is near to what all items say; without any item labels are even.
    """
    both = sums.sum(0) + FEW
    few = FEW * sums.shape[1]
    return np.asarray((sums + few * both / both.sum()) / (n[:, None] + few))


def of_pool(found: Real, n: Ids, pool: int | None) -> Real:
    """Return how common each label is in the pool, (c,).

    found  (2, c) `shares`. pool  how many items it has; None: not known, and drawn items alone tell.
    Those that were picked are what they are; all others are taken to be as those drawn from among them.
    """
    if pool is None:
        return np.asarray(found[1])
    out = n[0] * found[0] + max(pool - n[0], n[1]) * found[1]
    return np.asarray(out / out.sum())


def summed(posterior: Real, is_drawn: NDArray[np.bool_]) -> tuple[Real, Ids]:
    """Return the sums of the probabilities, (n, c), of picked items and of drawn ones, and their numbers."""
    drawn = posterior[is_drawn].sum(0)
    n = int(is_drawn.sum())
    return np.stack([posterior.sum(0) - drawn, drawn]), np.array([len(posterior) - n, n])
