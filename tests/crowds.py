"""Crowds that vote: people who are right with a probability of their own, on items of known labels."""

import numpy as np

from active.votes import Votes


def voted(
    rng: np.random.Generator,
    *,
    truth: np.ndarray,
    rates: np.ndarray,
    each: int,
    ids: np.ndarray | None = None,
) -> Votes:
    """Return `each` votes of different people on each item; rates  (p, c, c) of label given by true label."""
    n, (p, c, _) = len(truth), rates.shape
    items = np.repeat(np.arange(n), each)
    people = np.argsort(rng.random((n, p)), 1)[:, :each].ravel()
    below = rates[people, truth[items]].cumsum(1)
    labels = np.minimum((rng.random(len(items))[:, None] >= below).sum(1), c - 1)
    return Votes((np.arange(n) if ids is None else ids)[items], people, labels, p, c)


def even_rates(right: np.ndarray, c: int = 2) -> np.ndarray:
    """Return the rates, (p, c, c), of people who are right so often whatever the label is."""
    out = np.repeat(np.repeat(((1 - right) / (c - 1))[:, None, None], c, 1), c, 2)
    out[:, np.arange(c), np.arange(c)] = right[:, None]
    return out
