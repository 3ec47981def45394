"""How right the head is, from cards drawn evenly at random: precision at thresholds, with exact intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.arrays import Scores

THRESHOLDS = (0.5, 0.8, 0.95)


@dataclass(frozen=True, slots=True)
class Precision:
    """What became of the cards to which the head gave at least `threshold`.

    cards      how many there were. right  how many of them people called so.
    precision  right / cards, with its exact 95 % interval from low to high; all three None without a card.
    """

    threshold: float
    cards: int
    right: int
    precision: float | None
    low: float | None
    high: float | None


def precision_at(
    p: Scores, is_one: NDArray[np.bool_], thresholds: Sequence[float] = THRESHOLDS
) -> list[Precision]:
    """Return the precision of one label at each threshold.

    p       (n,) the head's probability of the label for n cards that were drawn evenly at random, of which it
            has learned from none. Cards that were chosen for their score would flatter or blame it.
    is_one  (n,) whether people gave that label.
    """
    out = []
    for threshold in thresholds:
        called = p >= threshold
        cards, right = int(called.sum()), int(is_one[called].sum())
        low, high = clopper_pearson(right, cards) if cards else (None, None)
        out.append(Precision(threshold, cards, right, right / cards if cards else None, low, high))
    return out


def clopper_pearson(right: int, cards: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share of which `right` of `cards` draws were seen; cards ≥ 1.

    It holds the true share in at least `confidence` of all cases, whatever that share is.
    Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404; by quantiles of the beta distribution.
    """
    from scipy.special import betaincinv

    if not 0 <= right <= cards or cards < 1:
        raise ValueError(f"{right} right of {cards} cards cannot be.")
    half = (1 - confidence) / 2
    low = float(betaincinv(right, cards - right + 1, half)) if right else 0.0
    high = float(betaincinv(right + 1, cards - right, 1 - half)) if right < cards else 1.0
    return low, high
