"""The votes of many people about items, and the simplest of all labels from them: the majority's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids

Real = NDArray[np.float64]
"""Numbers between which differences as small as one in 10¹² count, as with posteriors of rare labels."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Who said what about which item. All arrays (v,), in any order.

    items     item ids. people  numbers of people, from 0 to n_people - 1. labels  from 0 to n_labels - 1.
    One person has at most one vote on an item: the latest answer, as everywhere. It is not checked; a second
    vote would count as another person's. Answers of "can't tell" are no votes.
    weights   how much each vote counts, from 0 to 1, as one given faster than anybody can see does not; None:
    all 1. Raises ValueError for arrays of different lengths and numbers out of range.
    """

    items: Ids
    people: Ids
    labels: Ids
    n_people: int
    n_labels: int
    weights: Real | None = None

    def __post_init__(self) -> None:
        columns = [self.items, self.people, self.labels, *([] if self.weights is None else [self.weights])]
        if len({len(x) for x in columns}) > 1:
            raise ValueError(
                f"columns of {', '.join(str(len(x)) for x in columns)} votes; give one entry each a vote."
            )
        if self.n_labels < 2:
            raise ValueError(f"{self.n_labels} labels; votes are about two or more.")
        for name, x, n in (("person", self.people, self.n_people), ("label", self.labels, self.n_labels)):
            if len(x) and not 0 <= x.min() <= x.max() < n:
                raise ValueError(f"a {name} has a number out of 0 to {n - 1}: {x.min()} or {x.max()}.")

    def __len__(self) -> int:
        return len(self.items)

    def only(self, keep: NDArray[np.bool_] | Ids) -> "Votes":
        """Return the votes where `keep` is true, (v,), or those at its places, in its order."""
        weights = None if self.weights is None else self.weights[keep]
        return Votes(
            self.items[keep], self.people[keep], self.labels[keep], self.n_people, self.n_labels, weights
        )


def tally(votes: Votes) -> tuple[Ids, Ids]:
    """Return the items that have votes, (n,) ascending, and how many each label got, (n, c), unweighted."""
    ids, pos = np.unique(votes.items, return_inverse=True)
    c = votes.n_labels
    return ids, np.bincount(pos * c + votes.labels, minlength=len(ids) * c).reshape(len(ids), c)


def majority(votes: Votes) -> tuple[Ids, Real]:
    """Return the items that have votes, (n,) ascending, and the share of them that each label got, (n, c)."""
    ids, counts = tally(votes)
    return ids, counts / counts.sum(1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Standing:
    """How n items stand.

    posterior  (n, c) probability of each label, by all that is known.
    by_people  (n, c) the same without what the model says: what a model may learn from.
    evidence   (n, c) log likelihood of their votes alone under each label.
    votes      (n, c) votes that each label got of people who are taken to look, by weight.
    asked      (n,) how many people have voted, whoever they are.
    """

    posterior: Real
    by_people: Real
    evidence: Real
    votes: Real
    asked: Ids
