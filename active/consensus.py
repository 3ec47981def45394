"""Many people's votes → the probability of each label, and how far to trust each person.

Dawid and Skene's model with what is known beforehand: what kinds of people there are (`skill`), how common
the labels are among items drawn at random, what the model thinks of an item (`voter`), and whose label is
known.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, are_in
from active.dawid_skene import counted, softmax, weighed
from active.skill import Kinds, Skill, evidence, kinds, learned, looks, skill
from active.voter import Voter, learn_voter, logs
from active.votes import Real, Standing, Votes, majority

FEW = 0.5
"""What each label counts beforehand among the items drawn at random (Jeffreys)."""
NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the votes. Ids ascending; any of it may be empty.

    drawn      items drawn evenly at random: they alone tell how common each label is. Others were picked
               because they are likely or doubtful, and among them a rare label is common.
    settled    items whose label is known, as an owner said it. truth  (k,) their labels.
    predicted  items of which the model has said what it thinks without having learned from them (out of
    fold). p          (k, c) the probabilities it gave.
    gold       (p, c, c) how often each person said each label of each true one on gold items; None: no gold.
               Gold answers tell about people only.
    """

    drawn: Ids = field(default_factory=lambda: NONE)
    settled: Ids = field(default_factory=lambda: NONE)
    truth: Ids = field(default_factory=lambda: NONE)
    predicted: Ids = field(default_factory=lambda: NONE)
    p: Real | None = None
    gold: Real | None = None


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the votes say.

    ids        (n,) items with at least one vote, ascending. An item without one has no label, whatever the
    model says. standing   (n,) of them: how each stands.
    share      (c,) how common each label is among items drawn at random.
    counts     (p, c, c) how often each person said each label of each true one, as far as is known, gold
    included. gold       (p, c, c) the same of gold items alone.
    skill      what that says of each person. kinds  how common each kind of person is.
    voter      how far the model is to be believed; None: no predictions.
    rounds     how many rounds it took.
    """

    ids: Ids
    standing: Standing
    share: Real
    counts: Real
    gold: Real
    skill: Skill
    kinds: Kinds
    voter: Voter | None
    rounds: int


def fit(
    votes: Votes, known: Known | None = None, *, start: Real | None = None, most: int = 100, tol: float = 1e-3
) -> Consensus:
    """Return what these votes say, by rounds of expectation and maximisation.

    start  (p, c, c) counts of an earlier fit to go on from; None: those of the majority.
    most   rounds at most. tol  it ends when no item's probability moved by more.
    People judge the model, never the model people: what it says comes in at the end, and how far it is to be
    believed is learned from what people's votes alone say. The votes are not weighed by when they came.
    Costs v · c steps a round, and p · m · c² for the people.
    """
    c, ids = votes.n_labels, np.unique(votes.items)
    votes = votes.only(np.argsort(votes.items, kind="stable"))  # an item's side by side: half the time
    pos = np.searchsorted(ids, votes.items)
    has_voted = np.bincount(votes.people, minlength=votes.n_people) > 0
    beside = _Beside.of(ids, known or Known(), votes)
    posterior = beside.fixed(majority(votes)[1])
    counts = beside.gold + (counted(votes, pos, posterior) if start is None else start)
    share, of = beside.share(posterior), kinds(c)
    people = skill(counts, of)
    likely, rounds = np.zeros((len(ids), c)), 0
    while rounds < most and len(votes):
        rounds += 1
        likely = weighed(votes, pos, evidence(people.rates), len(ids))
        before, posterior = posterior, beside.fixed(softmax(np.log(share) + likely))
        if np.abs(posterior - before).max() < tol:
            break
        share = beside.share(posterior)
        counts = beside.gold + counted(votes, pos, posterior)
        of = learned(of, people.kind[has_voted])
        people = skill(counts, of)
    seen = weighed(votes, pos, looks(people.kind, of)[:, None, None] * np.eye(c), len(ids))
    voter, with_model = beside.with_model(posterior, likely)
    standing = Standing(with_model, posterior, likely, seen, np.bincount(pos, minlength=len(ids)))
    return Consensus(ids, standing, share, counts, beside.gold, people, of, voter, rounds)


def gold_counts(people: Ids, said: Ids, truth: Ids, *, n_people: int, n_labels: int) -> Real:
    """Return how often each person said each label of each true one, (p, c, c), on gold items, (g,)."""
    key = (people * n_labels + truth) * n_labels + said
    return (
        np.bincount(key, minlength=n_people * n_labels**2)
        .reshape(n_people, n_labels, n_labels)
        .astype(np.float64)
    )


@dataclass(frozen=True, slots=True)
class _Beside:
    """`Known` in rows: which were drawn, (n,); which are settled and predicted, what is known of them."""

    drawn: NDArray[np.bool_]
    settled: Ids
    truth: Real
    predicted: Ids
    log_p: Real
    gold: Real
    has_model: bool

    @classmethod
    def of(cls, ids: Ids, known: Known, votes: Votes) -> "_Beside":
        c = votes.n_labels
        _, settled, of_settled = np.intersect1d(ids, known.settled, assume_unique=True, return_indices=True)
        _, predicted, of_predicted = np.intersect1d(
            ids, known.predicted, assume_unique=True, return_indices=True
        )
        return cls(
            are_in(ids, known.drawn),
            settled,
            np.eye(c)[known.truth[of_settled]],
            predicted,
            np.empty((0, c)) if known.p is None else logs(known.p[of_predicted]),
            np.zeros((votes.n_people, c, c)) if known.gold is None else known.gold,
            known.p is not None,
        )

    def fixed(self, posterior: Real) -> Real:
        """Return `posterior` with the known labels put in, in place."""
        posterior[self.settled] = self.truth
        return posterior

    def share(self, posterior: Real) -> Real:
        seen = posterior[self.drawn].sum(0) + FEW
        return np.asarray(seen / seen.sum())

    def with_model(self, posterior: Real, likely: Real) -> tuple[Voter | None, Real]:
        """Return how far the model is to be believed, by `posterior`, and what `likely` comes to with it."""
        if not self.has_model:
            return None, posterior
        voter = learn_voter(self.log_p, posterior[self.predicted])
        out = posterior.copy()
        out[self.predicted] = softmax(voter.log_prior(self.log_p) + likely[self.predicted])
        return voter, self.fixed(out)
