"""How much has been found at the least: what a certificate says, by even draws and counting alone."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONFIDENCE, POWER = 0.95, 0.8
"""How often a certificate is right at the least, and the chance with which its price is enough."""


def certificate(left: int, *, found: int, draws: int, finds: int, unsure: tuple[int, int] = (0, 0)) -> float:
    """Return the share that has been found at the least, from cards drawn evenly alone.

    left    items that were unasked before the draws. found  images of the target found before them.
    draws   cards drawn evenly without replacement from `left`. finds  those that were the target.
    unsure  images that people could not tell, before the draws and among them: all count as target missed.
    It is right in at least CONFIDENCE of all cases, whatever the head, the images or the order of asking, and
    whatever the unsure ones show. It counts the other answers as true, and holds for a number of draws
    fixed beforehand. Raises ValueError for counts that cannot be.
    """
    most = found + unsure[0] + at_most(left, draws=draws, hits=finds + unsure[1])
    return (found + finds) / most if most else 1.0


def at_most(left: int, *, draws: int, hits: int) -> int:
    """Return how many of `left` items can be of a kind, if `hits` of `draws` drawn evenly are.

    The largest number under which so few hits have a chance of more than 1 - CONFIDENCE: the exact
    hypergeometric bound. Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404, for draws without
    replacement. Raises ValueError for counts that cannot be.
    """
    if not 0 <= hits <= draws <= left:
        raise ValueError(f"{hits} hits in {draws} draws of {left} cannot be.")
    low, high = hits, left - (draws - hits)  # the number lies in here
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(hits, left, middle, draws) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle - 1
    return low


@lru_cache(64)  # a page asks again whenever it is drawn
def certificate_price(
    left: int, *, found: int, share: float, remaining: float = 0, unsure: int = 0
) -> int | None:
    """Return how many draws it takes until `certificate` says at least `share`; None: not even all would do.

    remaining  images of the target that are taken to be among `left`, rounded up: the draws are enough with
               a chance of POWER. 0 gives the price if nothing was missed, the least there is.
    unsure     images that people could not tell so far.
    Any number of draws may be chosen beforehand without harm to the certificate, this one too.
    """
    wanted = min(math.ceil(remaining), left)

    def draws_for(finds: int) -> int | None:
        draws = _draws_for(left, finds, found=found, share=share, unsure=unsure)
        is_likely = draws is not None and _at_most(finds, left, wanted, draws) >= POWER
        return draws if is_likely else None

    low, high = 0, wanted  # how many finds among the draws may be borne
    if draws_for(high) is None:
        return None
    while low < high:
        middle = (low + high) // 2
        if draws_for(middle) is None:
            low = middle + 1
        else:
            high = middle
    return draws_for(low)


def _draws_for(left: int, finds: int, *, found: int, share: float, unsure: int) -> int | None:
    """Return the fewest draws that say at least `share` with so many finds among them, None: not even all."""
    most = math.floor((found + finds) / share) - found - unsure + 1  # of `left`: what may be there at most
    while most >= 0 and found + finds < share * (found + unsure + most):
        most -= 1
    if most < finds:
        return None
    low, high = finds, left
    while low < high:
        draws = (low + high) // 2
        left_over = left - (draws - finds)
        if most >= left_over or _at_most(finds, left, most + 1, draws) <= 1 - CONFIDENCE:
            high = draws
        else:
            low = draws + 1
    return low


def _at_most(finds: int, left: int, targets: int, draws: int) -> float:
    """Return the probability of at most `finds` targets in `draws` of `left` items with `targets` in all."""
    from scipy.special import gammaln

    def log_choose(n: int, k: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    x = np.arange(max(0, draws - (left - targets)), min(finds, targets, draws) + 1, dtype=np.float64)
    log = log_choose(targets, x) + log_choose(left - targets, draws - x)
    return min(float(np.exp(log - log_choose(left, np.array(float(draws)))).sum()), 1.0)
