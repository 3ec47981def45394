"""Dawid and Skene's model as it is published: labels and error rates by maximum likelihood, nothing assumed.

The reference that `consensus` is compared with. For a crowd whose people gave few votes each, or for rare
labels, `consensus.fit` is better: it knows what people are like before they have said much.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from active.arrays import Ids
from active.votes import Real, Votes, majority

Coins = Literal["one", "each"]
"""One error rate for each person, or one for each person and true label (with two labels: two rates)."""
LEAST = 1e-10
"""No probability is taken for smaller, so that no logarithm is of zero."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `dawid_skene` found.

    ids        (n,) items with votes, ascending. posterior  (n, c) of each.
    share      (c,) of each label among them.
    rates      (p, c, c) for each person, true label and label given, its probability; rows of people without
               votes hold zeros, as does what somebody never said.
    """

    ids: Ids
    posterior: Real
    share: Real
    rates: Real


def dawid_skene(votes: Votes, coins: Coins = "each", *, most: int = 100, tol: float = 1e-5) -> Fitted:
    """Return the labels and error rates that make these votes likeliest, from the majority's labels on.

    most  rounds of expectation and maximisation at most. tol  it ends when the bound on the log likelihood
    of a vote gains less. Weights of votes are not looked at. Each round costs v · c steps; a million votes
    take less than a tenth of a second.

    Sources: Dawid and Skene 1979, doi:10.2307/2346806; one rate each: Zhang and others 2016, JMLR 17.
    Start, bound and end are those of crowd-kit 1.4, with which it agrees on the same votes. Its bound counts
    the labels' shares once a vote where the model has them once an item, so it does not end at the very top.
    """
    votes = Votes(votes.items, votes.people, votes.labels, votes.n_people, votes.n_labels)
    ids, posterior = majority(votes)
    pos = np.searchsorted(ids, votes.items)
    share = posterior.mean(0) if len(ids) else np.full(votes.n_labels, 1 / votes.n_labels)
    rates = _rates(votes, pos, posterior, coins)
    before = -np.inf
    for _ in range(most if len(votes) else 0):
        posterior = _expect(votes, pos, np.log(np.maximum(share, LEAST)), rates)
        share = np.maximum(posterior.mean(0), LEAST)
        rates = _rates(votes, pos, posterior, coins)
        bound = _bound(votes, pos, posterior, share, rates)
        if bound - before < tol:
            break
        before = bound
    return Fitted(ids, posterior, share, rates)


def weighed(votes: Votes, pos: Ids, log: Real, n: int) -> Real:
    """Return the sums of what the votes on each of n items count for each true label, by weight: (n, c).

    pos  (v,) the row of each vote's item. log  (p, c, c) by person, true label, label given.
    """
    key = votes.people * votes.n_labels + votes.labels
    out = np.empty((n, votes.n_labels))
    for truth in range(votes.n_labels):
        each = log[:, truth].ravel().take(key)
        out[:, truth] = np.bincount(pos, each if votes.weights is None else each * votes.weights, n)
    return out


def counted(votes: Votes, pos: Ids, posterior: Real) -> Real:
    """Return how often each person said each label of each true one, by weight: (p, c, c).

    pos  (v,) the row in `posterior` of each vote's item.
    """
    p, c = votes.n_people, votes.n_labels
    key = votes.people * c + votes.labels
    out = np.empty((p, c, c))
    for truth in range(c):
        each = posterior[:, truth].take(pos)
        each = each if votes.weights is None else each * votes.weights
        out[:, truth] = np.bincount(key, each, p * c).reshape(p, c)
    return out


def _rates(votes: Votes, pos: Ids, posterior: Real, coins: Coins) -> Real:
    counts = counted(votes, pos, posterior)
    gave = counts.sum(1, keepdims=True) > 0  # (p, 1, c)
    if coins == "each":
        rates = np.where(gave, np.maximum(counts, LEAST), 0)
        return np.asarray(rates / np.maximum(rates.sum(2, keepdims=True), LEAST))
    c = votes.n_labels
    skill = np.einsum("pcc->p", counts) / np.maximum(counts.sum((1, 2)), LEAST)
    rates = np.repeat(np.repeat(((1 - skill) / (c - 1))[:, None, None], c, 1), c, 2)
    rates[:, np.arange(c), np.arange(c)] = skill[:, None]
    return np.where(gave, np.clip(rates, LEAST, 1 - LEAST), 0)


def _log(votes: Votes, rates: Real) -> Real:
    """Return the logarithm of each vote's probability under each true label, (v, c)."""
    return np.asarray(np.log(np.maximum(rates, LEAST))[votes.people, :, votes.labels])


def _expect(votes: Votes, pos: Ids, log_share: Real, rates: Real) -> Real:
    log = np.log(np.maximum(rates, LEAST))
    return softmax(log_share + weighed(votes, pos, log, int(pos.max()) + 1))


def _bound(votes: Votes, pos: Ids, posterior: Real, share: Real, rates: Real) -> float:
    """Return crowd-kit's lower bound on the log likelihood, for each vote."""
    joint = (posterior[pos] * (_log(votes, rates) + np.log(share))).sum()
    clipped = np.maximum(posterior, LEAST)
    return float(joint - (clipped * np.log(clipped)).sum()) / len(votes)


def softmax(log: Real) -> Real:
    """Return the probabilities, (n, c), of which `log` are the logarithms but for a constant a row."""
    p = np.exp(log - log.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))
