"""The model as one more voter: how far its out-of-fold predictions are to be believed."""

from dataclasses import dataclass

import numpy as np

from active.votes import Real

LEAST = 1e-4
"""No prediction is taken for surer: what the model thinks impossible it has merely not seen."""
DOUBT = 2.0
"""Standard deviation of each offset beforehand, in log odds."""
STEPS = 25
"""Steps of Newton's method; five are enough as a rule, more where the slope ends at 0 or 1."""
SLOPE_DOUBT = 0.5
"""Standard deviation of the slope beforehand, around 1."""


@dataclass(frozen=True, slots=True)
class Voter:
    """The model's error rates: its log odds times `slope`, plus an `offset` for each label.

    slope 1 and offsets of 0 take it at its word, slope 0 not at all; never more than at its word. Such a
    regression on the score holds for items that were picked by that very score, which counts of right and
    wrong would not.
    """

    slope: float
    offset: Real

    @classmethod
    def first(cls, n_labels: int) -> "Voter":
        """Return one that is taken at its word."""
        return cls(1.0, np.zeros(n_labels))

    def log_prior(self, log_p: Real) -> Real:
        """Return the log probability of each label before any vote, (n, c); log_p  (n, c) the model's."""
        z = self.slope * log_p + self.offset
        z = z - z.max(1, keepdims=True)
        return np.asarray(z - np.log(np.exp(z).sum(1, keepdims=True)))


def logs(p: Real) -> Real:
    """Return the logarithms of predictions, (n, c), none taken for surer than 1 - LEAST."""
    p = np.maximum(np.asarray(p, np.float64), LEAST)
    return np.asarray(np.log(p / p.sum(1, keepdims=True)))


def learn_voter(log_p: Real, posterior: Real) -> Voter:
    """Return the voter that items make likeliest, by Newton's method; taken at its word where there are none.

    log_p      (n, c) what the model said of items. posterior  (n, c) what people say of them.
    """
    c = log_p.shape[1]
    voter = Voter.first(c)
    for _ in range(STEPS):
        q = np.exp(voter.log_prior(log_p))
        mean = (q * log_p).sum(1)
        gradient = np.concatenate([[((posterior - q) * log_p).sum()], (posterior - q).sum(0)])
        gradient -= np.concatenate([[(voter.slope - 1) / SLOPE_DOUBT**2], voter.offset / DOUBT**2])
        curve = np.zeros((c + 1, c + 1))
        curve[0, 0] = (q * log_p**2).sum() - (mean**2).sum() + 1 / SLOPE_DOUBT**2
        curve[0, 1:] = curve[1:, 0] = (q * (log_p - mean[:, None])).sum(0)
        curve[1:, 1:] = np.diag(q.sum(0)) - q.T @ q + np.eye(c) / DOUBT**2
        step = np.linalg.solve(curve, gradient)
        if not 0 < voter.slope + step[0] < 1:  # it ends there; the offsets have to fit that slope
            step[0] = np.clip(step[0], -voter.slope, 1 - voter.slope)
            step[1:] = np.linalg.solve(curve[1:, 1:], gradient[1:] - curve[1:, 0] * step[0])
        step = np.clip(step, -1, 1)
        voter = Voter(float(voter.slope + step[0]), voter.offset + step[1:])
    return voter
