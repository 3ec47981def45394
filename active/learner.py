"""The linear head: logistic regression per round, and probabilities that mean what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Probs, Rows, Scores

Real = TypeVar("Real", np.float32, np.float64)

PROVISIONAL = -1
"""The label of a pool row that stands in as "something else" while only one label has been given."""
STRENGTH = 10.0
"""scikit-learn's C on unit rows; docs/decisions says how it was chosen."""
PROVISIONAL_ROWS = 200
"""How many pool rows stand in for "something else"; beside a second label they weigh what its examples do."""
LEFT_OUT_ROWS = 512
"""Examples per matrix product: the library that multiplies keeps a buffer as large as its largest product."""
ROUGH_BELOW = 10
"""Examples of the rarest label below which probabilities are rough, whatever else is known."""


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted head: plain arrays, so that a round is a plain file.

    labels     (c,) the labels seen, ascending; -1 stands for provisional negatives. The columns of `predict`.
    coef       (c, d), intercept (c,): one label against the rest; with two labels one row, for the second.
    platt      (c, 2) slope and offset that turn a decision into a probability; with two labels one row.
    rough      whether the probabilities rest on too little to be taken at their word.
    unseen     (n, c) what `decision` of each example would be had it not been learned from; None: not kept.
    """

    labels: Ids
    coef: NDArray[np.float32]
    intercept: NDArray[np.float32]
    platt: NDArray[np.float32]
    rough: bool
    unseen: NDArray[np.float32] | None = None

    def decision(self, rows: Rows) -> NDArray[np.float32]:
        """Return the signed distances, (n, c), or (n, 1) with two labels. One pass over `rows`."""
        return np.asarray(rows @ self.coef.T + self.intercept, np.float32)

    def predict(self, rows: Rows) -> Probs:
        """Return the calibrated probabilities (n, c), in the order of `labels`."""
        return self.probabilities(self.decision(rows))

    def probabilities(self, decisions: NDArray[np.float32]) -> Probs:
        """Return the calibrated probabilities (n, c) of what `decision` gave."""
        p = _sigmoid(decisions * self.platt[:, 0] + self.platt[:, 1])
        if len(self.labels) <= 2:
            return np.hstack([1 - p, p])[:, -len(self.labels) :]
        return np.asarray(p / p.sum(1, keepdims=True), np.float32)

    def calibrated(self, decisions: Scores, label: int) -> Scores:
        """Return the probability of one of at most two labels, (n,), from what `decision` gave for it."""
        sign = _column(self, label)[1]
        p = _sigmoid(sign * decisions * self.platt[0, 0] + self.platt[0, 1])
        return p if sign > 0 else 1 - p

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store, for `np.savez`."""
        return {
            "labels": self.labels,
            "coef": self.coef,
            "intercept": self.intercept,
            "platt": self.platt,
            "rough": np.array(self.rough),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "Head":
        """Return the head that `to_arrays` took apart."""
        return cls(
            labels=np.asarray(arrays["labels"], np.int64),
            coef=np.asarray(arrays["coef"], np.float32),
            intercept=np.asarray(arrays["intercept"], np.float32),
            platt=np.asarray(arrays["platt"], np.float32),
            rough=bool(arrays["rough"]),
        )


def fit_head(
    rows: Rows,
    labels: Ids,
    *,
    weights: NDArray[np.float32] | None = None,
    pool: Rows | None = None,
    out: Ids | None = None,
    is_rare: bool = False,
    rng: np.random.Generator,
) -> Head:
    """Return the head of these examples.

    rows     (n, d) unit rows, n ≥ 1. labels  (n,) label numbers from 0 up.
    weights  (n,) how much each example counts, above 0; None: all alike. Labels are balanced on top.
    pool     rows of the pool. With one label only, `rng` draws provisional negatives from them, label -1.
    out      rows of it that stand for nothing in it: what is drawn of them is dropped. None: none.
    is_rare  whether the first label is looked for among much else. Given two labels and a pool, provisional
             negatives then stand beside the second one's; calibration leaves them out.
    One label and no pool: a head that answers that label always.
    The same input and `rng` give the same head. Raises ValueError without examples.
    """
    if len(rows) == 0:
        raise ValueError("fit_head needs an example.")
    count = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    seen, counts = np.unique(labels, return_counts=True)
    rough = len(seen) == 1 or int(counts.min()) < ROUGH_BELOW
    given = len(rows)
    alone = len(seen) == 1
    if pool is not None and (alone or (is_rare and len(seen) == 2 and seen[0] == 0)):
        drawn = _provisional(rows, pool, rng, out=out)
        label = PROVISIONAL if alone else int(seen[1])
        each = 1.0 if alone else float(count[labels == label].sum()) / max(1, len(drawn))
        rows = np.vstack([rows, drawn])
        labels = np.concatenate([labels, np.full(len(drawn), label, np.int64)])
        count = np.concatenate([count, np.full(len(drawn), each)])
        calibrated = len(rows) if alone else given
        seen = np.unique(labels)
    else:
        calibrated = given
    if len(seen) == 1:
        return _always(int(seen[0]), rows.shape[1])
    from modAL.models import ActiveLearner

    learner = ActiveLearner(_Heads(), X_training=rows, y_training=labels, weights=count, given=calibrated)
    fits = learner.estimator.fits
    return Head(
        labels=seen.astype(np.int64),
        coef=np.stack([f[0] for f in fits]).astype(np.float32),
        intercept=np.array([f[1] for f in fits], np.float32),
        platt=np.array([f[2] for f in fits], np.float32),
        rough=rough,
        unseen=np.stack([f[3][:given] for f in fits], 1).astype(np.float32),
    )


def decision(head: Head, rows: Rows, label: int) -> Scores:
    """Return the decision of one label against the rest for each row, (n,); larger: more likely."""
    at, sign = _column(head, label)
    return np.asarray(rows @ (sign * head.coef[at]) + sign * head.intercept[at], np.float32)


def left_out(head: Head, label: int) -> Scores:
    """Return what `decision` would be for each example had the head not learned from it, (n,).

    In the order in which the examples were given to `fit_head`, whose head this must be: files don't keep it.
    """
    assert head.unseen is not None
    at, sign = _column(head, label)
    return sign * head.unseen[:, at]


def predict_left_out(head: Head) -> Probs:
    """Return what `predict` would be for each example had the head not learned from it, (n, c).

    As `left_out`; slope and offset of the calibration, two numbers, have seen all examples.
    """
    assert head.unseen is not None
    return head.probabilities(head.unseen)


def _column(head: Head, label: int) -> tuple[int, np.float32]:
    """Return which line of a head tells one label from the rest, and the sign of being that label."""
    at = int(np.flatnonzero(head.labels == label)[0])
    if len(head.labels) > 2:
        return at, np.float32(1)
    return 0, np.float32(1 if at == len(head.labels) - 1 else -1)  # one line, for the last label


def _provisional(rows: Rows, pool: Rows, rng: np.random.Generator, *, out: Ids | None = None) -> Rows:
    """Return rows drawn from `pool`, without those that are `out` or among the examples `rows` already."""
    at = np.sort(rng.choice(len(pool), min(len(pool), PROVISIONAL_ROWS), replace=False))
    drawn = pool[at if out is None else at[~np.isin(at, out)]]
    return np.asarray(drawn[(drawn @ rows.T).max(1, initial=-1) < 1 - 1e-6], np.float32)


def _always(label: int, dim: int) -> Head:
    """Return a head that knows one label only."""
    return Head(
        labels=np.array([label], np.int64),
        coef=np.zeros((1, dim), np.float32),
        intercept=np.zeros(1, np.float32),
        platt=np.array([[0, 50]], np.float32),
        rough=True,
    )


def doubt(p: Probs) -> Scores:
    """Return how close each item is to a toss-up between its two likeliest labels, in [0, 1]; 1 means a tie.

    p  (n, c) probabilities. One label: nothing to doubt, all zeros.
    Source: modAL's margin, turned round.
    """
    from modAL.uncertainty import classifier_margin

    if p.shape[1] < 2:
        return np.zeros(len(p), np.float32)
    return np.asarray(1 - classifier_margin(_Given(), p), np.float32)


class _Given:
    """A classifier, as modAL's measures want one, for probabilities that are known already."""

    def predict_proba(self, p: Probs) -> Probs:
        return p


class _Heads:
    """An estimator, as modAL's ActiveLearner wants one: one label against the rest, for every label."""

    fits: list[tuple[NDArray[np.float64], float, tuple[float, float], NDArray[np.float64]]]

    def fit(self, rows: Rows, labels: Ids, weights: NDArray[np.float64], given: int) -> "_Heads":
        seen = np.unique(labels)
        ones = seen[1:] if len(seen) == 2 else seen
        self.fits = [_one_against_rest(rows, labels == label, weights, given=given) for label in ones]
        return self


def _one_against_rest(
    rows: Rows, is_one: NDArray[np.bool_], weights: NDArray[np.float64], *, given: int
) -> tuple[NDArray[np.float64], float, tuple[float, float], NDArray[np.float64]]:
    """Return coefficients (d,), intercept and Platt's slope and offset of one label against the others.

    Last, what each row's decision would have been had it not been learned from, (n,).

    given  only the first so many rows were labeled by people, and are calibrated on.
    """
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    balanced = _balanced(is_one, weights)
    # rows are checked on their way in
    with config_context(assume_finite=True, skip_parameter_validation=True):
        fitted = LogisticRegression(C=STRENGTH, tol=1e-3, max_iter=200).fit(rows, is_one, balanced)
    coef, intercept = fitted.coef_[0].astype(np.float64), float(fitted.intercept_[0])
    unseen = _left_out(rows, is_one, balanced, coef=coef, intercept=intercept)
    return coef, intercept, _platt(unseen[:given], is_one[:given], weights[:given]), unseen


def _balanced(is_one: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights scaled so that both sides weigh the same, and as much in all as before."""
    side = np.where(is_one, weights[is_one].sum(), weights[~is_one].sum())
    return np.asarray(weights * weights.sum() / (2 * side), np.float64)


def _left_out(
    rows: Rows,
    is_one: NDArray[np.bool_],
    weights: NDArray[np.float64],
    *,
    coef: NDArray[np.float64],
    intercept: float,
) -> NDArray[np.float64]:
    """Return what each example's decision would have been had it not been learned from, (n,).

    One Newton step from the fitted head stands for each of the n heads that would otherwise be fitted.
    Cost: one (d × d) Cholesky factor, and two products of the rows as wide as it.
    Source: Rad and Maleki 2020, arXiv 1801.10243, section 2.
    """
    from scipy.linalg.lapack import dtrtri

    decision = rows @ coef + intercept
    p = _sigmoid(decision)
    curve = weights * p * (1 - p)
    root = np.sqrt(curve).astype(np.float32)[:, None]
    x = np.hstack([rows, np.ones((len(rows), 1), np.float32)])
    parts = [slice(at, at + LEFT_OUT_ROWS) for at in range(0, len(rows), LEFT_OUT_ROWS)]
    hessian = np.zeros((x.shape[1],) * 2)
    for part in parts:
        scaled = x[part] * root[part]
        hessian += scaled.T @ scaled
    hessian[np.diag_indices_from(hessian)] += 1 / STRENGTH
    # the intercept has no penalty; a trace of one keeps the solve stable
    hessian[-1, -1] += 1e-3 - 1 / STRENGTH
    inverse = dtrtri(np.linalg.cholesky(hessian), lower=1)[0].astype(np.float32).T
    reach = np.concatenate([((x[part] @ inverse) ** 2).sum(1) for part in parts]).astype(np.float64)
    pull = weights * (p - is_one)
    return np.asarray(decision + reach * pull / np.maximum(1 - curve * reach, 1e-2), np.float64)


def _platt(
    decision: NDArray[np.float64], is_one: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope (never below 0) and offset of P(one | decision).

    The targets are drawn in towards 1/2 by one example of each kind, and a weak prior holds slope and offset
    near (1, 0): with a handful of examples the answer is the head's own, softened, and never NaN.
    Source: Platt 1999; Lin, Lin and Weng 2007, doi:10.1007/s10994-007-5018-6.
    """
    ones, others = weights[is_one].sum(), weights[~is_one].sum()
    target = np.where(is_one, (ones + 1) / (ones + 2), 1 / (others + 2))
    x = np.stack([decision, np.ones_like(decision)], 1)
    prior = np.array([1.0, 0.0])

    def loss(ab: NDArray[np.float64]) -> float:
        f = x @ ab
        return float(weights @ (np.logaddexp(0, f) - target * f) + ((ab - prior) ** 2).sum() / 2)

    ab, now = prior, loss(prior)
    for _ in range(50):
        p = _sigmoid(x @ ab)
        gradient = x.T @ (weights * (p - target)) + (ab - prior)
        step = np.linalg.solve((x.T * (weights * p * (1 - p))) @ x + np.eye(2), gradient)
        # Newton overshoots where p is flat: halve until the loss falls as a line search asks
        while (new := loss(ab - step)) > now - 1e-4 * float(gradient @ step) and np.abs(step).max() > 1e-6:
            step = step / 2
        ab, now = ab - step, min(now, new)
        if np.abs(step).max() <= 1e-6:
            break
    return max(float(ab[0]), 1e-3), float(ab[1])


def _sigmoid(x: NDArray[Real]) -> NDArray[Real]:
    """Return 1 / (1 + e^-x), in the type of `x`, without overflow."""
    return np.asarray((1 + np.tanh(x / 2)) / 2, x.dtype)
