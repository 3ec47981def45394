"""How right each person is, from what they said about items of known or likely label.

A person is taken to be of one of a few kinds: right with some probability whatever the label is, or answering
without looking. Within a kind each true label has rates of its own near the kind's. So one who is right about
many common items is trusted about the rare ones too before they have met any, unless they never say the rare
label: then they are sooner one who always gives the same answer, and their vote weighs nothing.

Source: a mixture of Dirichlet priors on the rows of Dawid and Skene's confusion matrix; the kinds that don't
look follow Hovy and others 2013 (MACE, NAACL), the spammers of Raykar and Yu 2012 (JMLR 13).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.votes import Real

LEVELS = (0.2, 0.4, 0.55, 0.7, 0.85, 0.95)
"""How much better than chance the kinds of people who look are: with two labels right in 60 to 97.5 %."""
LIKE = 15.0
"""Items of a label that a person must have met for these to weigh as much as their kind does."""
SURE_LIKE = 60.0
"""The same for the kinds that don't look, whose answers have a share of their own whatever is shown."""
CARELESS = 0.1
"""How many of a hundred people are taken not to look before anybody has voted, as a share."""
SLIP = 0.02
"""How often somebody who always says the same says something else."""
WEIGHT = 10.0
"""People that the first guess at how common each kind is weighs as much as."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of people: those who look, one who gives any label, for each label one who always gives it.

    alpha  (m, c, c) Dirichlet counts of each kind, true label and label given.
    share  (m,) how common each is. looks  (m,) which of them look.
    log    (m,) the logarithms of their shares, less those of what their Dirichlet counts are divided by.
    """

    alpha: Real
    share: Real
    looks: NDArray[np.bool_]
    log: Real

    @classmethod
    def of(cls, alpha: Real, share: Real, looks: NDArray[np.bool_]) -> "Kinds":
        """Return them with what of their likelihood does not depend on anybody."""
        from scipy.special import gammaln

        return cls(
            alpha, share, looks, np.log(share) + gammaln(alpha.sum(2)).sum(1) - gammaln(alpha).sum((1, 2))
        )


@dataclass(frozen=True, slots=True)
class Skill:
    """What is known of each person.

    rates  (p, c, c) for each true label the probability of each label given, rows sum to 1.
    kind   (p, m) the probability of each kind.
    """

    rates: Real
    kind: Real


def kinds(n_labels: int) -> Kinds:
    """Return the kinds before anybody has voted; n_labels ≥ 2."""
    c = n_labels
    even, eye = np.full((c, c), 1 / c), np.eye(c)
    able = [LIKE * (q * eye + (1 - q) * even) for q in LEVELS]
    same = [SURE_LIKE * np.tile((1 - SLIP * c / (c - 1)) * eye[k] + SLIP / (c - 1), (c, 1)) for k in range(c)]
    share = [*[(1 - CARELESS) / len(able)] * len(able), *[CARELESS / (c + 1)] * (c + 1)]
    return Kinds.of(
        np.stack([*able, SURE_LIKE * even, *same]), np.array(share), np.arange(len(share)) < len(able)
    )


def skill(counts: Real, of: Kinds) -> Skill:
    """Return what these counts say of each person.

    counts  (p, c, c) how often each person said each label of each true one, as far as is known.
    Costs p · m · c² steps.
    """
    from scipy.special import gammaln

    p, m, c = len(counts), len(of.share), counts.shape[1]
    cells = of.alpha.reshape(1, m, c * c) + counts.reshape(p, 1, c * c)
    rows = cells.reshape(p, m, c, c).sum(3)
    log = of.log + gammaln(cells).sum(2) - gammaln(rows).sum(2)
    kind = np.exp(log - log.max(1, keepdims=True))
    kind /= kind.sum(1, keepdims=True)
    rates = kind[:, None] @ (cells.reshape(p, m, c, c) / rows[..., None]).reshape(p, m, c * c)
    return Skill(rates.reshape(p, c, c), kind)


def learned(of: Kinds, kind: Real) -> Kinds:
    """Return the kinds with the shares that they have among people who voted; kind  (v, m) probabilities."""
    seen = kind.sum(0) + WEIGHT * kinds(of.alpha.shape[1]).share
    return Kinds.of(of.alpha, seen / seen.sum(), of.looks)


def evidence(rates: Real) -> Real:
    """Return the logarithm of what each vote counts for each true label, (p, c, c).

    No vote counts against what it says: somebody who is wrong more often than chance weighs nothing.
    """
    own = np.einsum("pgg->pg", rates)[:, None]  # (p, 1, c)
    return np.asarray(np.log(np.minimum(rates, own)))


def looks(kind: Real, of: Kinds) -> NDArray[np.bool_]:
    """Return who is sooner one who looks than one who does not, (p,); newcomers are."""
    return np.asarray(kind[:, of.looks].sum(1) >= 0.5)


def trust(rates: Real) -> Real:
    """Return how much better than chance each person is, (p,): 0 tells nothing, 1 is always right.

    The mean over labels of how often they are right, scaled; with two labels the sensitivity and specificity
    less 1 (Youden's J). Every label counts alike, however rare.
    """
    c = rates.shape[1]
    right = np.einsum("pcc->p", rates) / c
    return np.asarray(np.clip((right - 1 / c) / (1 - 1 / c), 0, 1))
