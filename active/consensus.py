"""Many people's votes → the probability of each label, and how far to trust each person.

Dawid and Skene's model with what is known beforehand: what kinds of people there are (`skill`), how common
the labels are among items that came in the same way (`common`), what the model thinks of an item (`voter`),
and whose label is known.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, are_in, distinct
from active.common import of_pool, shares, summed
from active.dawid_skene import counted, softmax, weighed
from active.skill import Kinds, Skill, evidence, kinds, learned, looks, skill
from active.voter import Voter, learn_voter, logs
from active.votes import Real, Standing, Votes, majority

NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the votes. Ids ascending; any of it may be empty.

    drawn      items drawn evenly at random. Others were picked because they are likely or doubtful, and
               among them a rare label is common (`common`).
    settled    items whose label is known, as an owner said it. truth  (k,) their labels.
    predicted  items of which the model has said what it thinks without having learned from them (out of
    fold). p          (k, c) the probabilities it gave.
    gold       (p, c, c) how often each person said each label of each true one on gold items; None: no gold.
               Gold answers tell about people only.
    pool       how many items there are; None: not known. It tells how common labels are in it, nothing else.
    """

    drawn: Ids = field(default_factory=lambda: NONE)
    settled: Ids = field(default_factory=lambda: NONE)
    truth: Ids = field(default_factory=lambda: NONE)
    predicted: Ids = field(default_factory=lambda: NONE)
    p: Real | None = None
    gold: Real | None = None
    pool: int | None = None


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the votes say.

    ids        (n,) items with at least one vote, ascending. An item without one has no label, whatever the
    model says. standing   (n,) of them: how each stands.
    share      (c,) how common each label is in the pool; where its size is not known among items drawn at
               random. among  (2, c) among those that were picked and those that were drawn.
    counts     (p, c, c) how often each person said each label of each true one, as far as is known, gold
    included. gold       (p, c, c) the same of gold items alone.
    skill      what that says of each person. kinds  how common each kind of person is.
    voter      how far the model is to be believed; None: no predictions.
    rounds     how many rounds it took.
    """

    ids: Ids
    standing: Standing
    share: Real
    among: Real
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

    start  (p, c, c) counts of an earlier fit to go on from; None: everybody is new. From the shares of votes
           people who are right seem to miss what nobody but one has seen, and the fit may turn over.
    most   rounds at most. tol  it ends when no item's probability moved by more.
    People judge the model, never the model people: what it says comes in at the end, and how far it is to be
    believed is learned from what people's votes alone say. The votes are not weighed by when they came.
    Costs v · c steps a round, and p · m · c² for the people.
    """
    c, ids = votes.n_labels, distinct(votes.items)
    votes = votes.only(np.argsort(votes.items, kind="stable"))  # an item's side by side: half the time
    pos = np.searchsorted(ids, votes.items)
    has_voted = np.bincount(votes.people, minlength=votes.n_people) > 0
    beside = _Beside.of(ids, known or Known(), votes)
    posterior = beside.fixed(majority(votes)[1])
    counts = beside.gold if start is None else beside.gold + start
    among, of = beside.among(posterior), kinds(c)
    people = skill(counts, of)
    likely, rounds = np.zeros((len(ids), c)), 0
    while rounds < most and len(votes):
        rounds += 1
        likely = weighed(votes, pos, evidence(people.rates), len(ids))
        before, posterior = posterior, beside.fixed(softmax(beside.prior(among) + likely))
        if rounds > 1 and np.abs(posterior - before).max() < tol:  # the first knows nobody yet
            break
        among = beside.among(posterior)
        counts = beside.gold + counted(votes, pos, posterior)
        of = learned(of, people.kind[has_voted])
        people = skill(counts, of)
    seen = weighed(votes, pos, looks(people.kind, of)[:, None, None] * np.eye(c), len(ids))
    voter, with_model = beside.with_model(posterior, likely)
    standing = Standing(with_model, posterior, likely, seen, np.bincount(pos, minlength=len(ids)))
    share = of_pool(among, beside.n, beside.pool)
    return Consensus(ids, standing, share, among, counts, beside.gold, people, of, voter, rounds)


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
    pool: int | None

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
            known.pool,
        )

    def fixed(self, posterior: Real) -> Real:
        """Return `posterior` with the known labels put in, in place."""
        posterior[self.settled] = self.truth
        return posterior

    @property
    def n(self) -> Ids:
        """How many were picked, and how many drawn."""
        return np.bincount(self.drawn, minlength=2)

    def among(self, posterior: Real) -> Real:
        return shares(*summed(posterior, self.drawn))

    def prior(self, among: Real) -> Real:
        """Return the logarithm of how likely each label is before the votes on an item, (n, c)."""
        return np.asarray(np.log(among)[self.drawn.astype(np.int64)])

    def with_model(self, posterior: Real, likely: Real) -> tuple[Voter | None, Real]:
        """Return how far the model is to be believed, by `posterior`, and what `likely` comes to with it."""
        if not self.has_model:
            return None, posterior
        voter = learn_voter(self.log_p, posterior[self.predicted])
        out = posterior.copy()
        out[self.predicted] = softmax(voter.log_prior(self.log_p) + likely[self.predicted])
        return voter, self.fixed(out)
