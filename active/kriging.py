"""What a linear head gets wrong around what it was told, and what the neighbours of an item say of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.arrays import Probs, Rows, Scores

SCALE = 1.0
"""γ of the kernel exp(-γ |a - b|²) between unit rows: how far a residual is felt."""
NOISE = 1.0
"""Variance of an answer beside that of the residuals: how much one answer alone is believed."""
MOST = 300
"""Examples taken into account, those the head was most wrong about: the cost grows with their square."""
NEIGHBOURS = 10
"""How many neighbours of an item are heard about it."""
SETTLED = 2000
"""The likeliest items of a label, about which neighbours are heard when it is predicted."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered, and what had been expected. All arrays (m,) or (m, d).

    rows      unit rows of the examples.
    yes       whether each is the target.
    expected  P(target) of each by a head that had not learned from it.
    """

    rows: Rows
    yes: NDArray[np.bool_]
    expected: Scores


def krige(rows: Rows, told: Told) -> Scores:
    """Return what to add to the P(target) of `rows`, (n,), from what was wrong with that of the examples.

    A linear head is wrong about whole neighbourhoods. Far from all examples nothing is added.
    Cost: two products of m and n by m rows, and a Cholesky factor of (m × m).
    Source: regression kriging, Hengl, Heuvelink and Rossiter 2007, doi:10.1016/j.cageo.2007.05.001: the mean
    of a Gaussian process, Rasmussen and Williams 2006, equation 2.25.
    """
    from scipy.linalg.lapack import sposv

    if len(told.rows) == 0:
        return np.zeros(len(rows), np.float32)
    wrong = told.yes - told.expected
    keep = np.sort(np.argsort(-np.abs(wrong), kind="stable")[:MOST])
    examples, residual = told.rows[keep], wrong[keep]
    covariance = _kernel(examples, examples)
    covariance[np.diag_indices_from(covariance)] += NOISE
    weights = sposv(covariance, residual, lower=1)[1]
    return np.asarray(_kernel(rows, examples) @ weights, np.float32)


def agree(rows: Rows, n: int, p: Scores) -> Scores:
    """Return the mean of each of the first n items' own probability and that of its ten nearest rows, (n,).

    rows  (m, d) unit rows, m ≥ n, the neighbours to choose from. p  (m,) their probabilities.
    Source: one step of Zhou et al. 2003, "Learning with local and global consistency".
    """
    near = min(NEIGHBOURS, len(rows) - 1)
    if near <= 0:
        return p[:n]
    cos = rows[:n] @ rows.T
    np.fill_diagonal(cos, -np.inf)  # nobody is a neighbour of itself
    nearest = np.argpartition(cos, -near, axis=1)[:, -near:]
    return np.asarray((p[:n] + p[nearest].mean(1)) / 2, np.float32)


def settle(rows: Rows, probs: Probs, told: Told | None = None) -> Probs:
    """Return probabilities, (n, c), where neighbours have been heard about the likeliest items of each label.

    rows  (n, d) unit rows. probs  (n, c), rows add up to 1. told  corrects the first label before.
    The SETTLED likeliest items of a label are touched, no other, so the cost of a label is a product of so
    many rows with each other, whatever n is.
    """
    if probs.shape[1] == 2:
        p = _settled(rows, probs[:, 0], told)
        return np.stack([p, 1 - p], 1)
    out = np.stack([_settled(rows, column, None if i else told) for i, column in enumerate(probs.T)], 1)
    return np.asarray(out / out.sum(1, keepdims=True), np.float32)


def _settled(rows: Rows, p: Scores, told: Told | None = None) -> Scores:
    likely = np.argpartition(-p, SETTLED - 1)[:SETTLED] if len(p) > SETTLED else np.arange(len(p))
    out, near, own = p.copy(), rows[likely], p[likely]
    if told is not None:
        own = np.clip(own + krige(near, told), 0, 1)
    out[likely] = agree(near, len(likely), own)
    return out


def _kernel(a: Rows, b: Rows) -> NDArray[np.float32]:
    """Return exp(-γ |a - b|²) of each pair of unit rows, (len(a), len(b))."""
    cos = np.asarray(a @ b.T, np.float32)
    cos -= 1
    cos *= 2 * SCALE
    return np.exp(cos, out=cos)
