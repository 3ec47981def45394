"""Signs that a person does not look at what they answer: named numbers, each with a sentence.

Nothing is decided here and nothing thrown away. Whoever is not right weighs little by `skill` already, and an
answer faster than anybody can see counts less by `speed_weight`, whoever gives it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from active.consensus import Consensus
from active.dawid_skene import softmax
from active.skill import evidence, looks
from active.votes import Real, Votes

TOO_FAST_MS, SEEN_MS = 200.0, 350.0
"""Nobody sees an image and answers within the first; after the second anybody may have.

People who watch for animals in pictures answer after 400 ms in the middle and hardly ever within 250 (Thorpe,
Fize and Marlot 1996, doi:10.1038/381520a0); a swipe takes longer than the button they had.
"""
LITTLE = 0.1
"""What an answer counts that came too fast: not nothing, for a clock may be wrong."""
ODD = 0.01
"""A number is odd if it comes about with less than this chance in somebody of the crowd."""
ALIKE = 12.0
"""How alike people are: their rates differ as a beta distribution of so many answers does."""
SURE = 0.9
"""What the others are to be sure of before somebody is said to be against them."""
EVEN = 0.1
"""Spread of the times of answers, a standard deviation of logarithms, below which no person answers."""
ENOUGH = 20
"""Answers below which their times tell nothing."""

Name = Literal["looks", "fast", "even", "same", "gold", "others"]


@dataclass(frozen=True, slots=True)
class Sign:
    """One number that is known of a person.

    value  what was counted or measured. of  out of how many. usual  what would be expected of one who answers
    as the crowd does, in the unit of `value`. chance  how often such a one has a number so far off. is_odd
    whether that is seldom enough to be shown. says  the same in words.
    """

    name: Name
    value: float
    of: int
    usual: float
    chance: float
    is_odd: bool
    says: str


def speed_weight(ms: Real) -> Real:
    """Return how much answers count that took so long, (v,), from LITTLE to 1; not known (NaN) counts 1."""
    ramp = (ms - TOO_FAST_MS) / (SEEN_MS - TOO_FAST_MS)
    return np.asarray(np.where(np.isnan(ms), 1, np.clip(ramp, 0, 1) * (1 - LITTLE) + LITTLE))


def by_others(votes: Votes, found: Consensus) -> Real:
    """Return the probability of each label of each vote's item by all that is known but that vote, (v, c)."""
    pos = np.searchsorted(found.ids, votes.items)
    weight = np.ones(len(votes)) if votes.weights is None else votes.weights
    own = weight[:, None] * evidence(found.skill.rates)[votes.people, :, votes.labels]
    with np.errstate(divide="ignore"):
        return softmax(np.log(found.standing.posterior[pos]) - own)


def signs(person: int, votes: Votes, found: Consensus, others: Real, ms: Real) -> list[Sign]:
    """Return what is known of one person, in the order of `Name`; what can't be said yet is left out.

    others  (v, c) as `by_others` gives it. ms  (v,) how long each vote took, NaN where that is not known.
    Costs v steps; the crowd is everybody else, for rates everybody else who looks.
    """
    mine = votes.people == person
    on_gold = found.gold[person]
    if votes.n_people < 2 or not (mine.any() or on_gold.any()):
        return []
    able = looks(found.skill.kind, found.kinds) & (np.arange(votes.n_people) != person)
    crowd = found.counts[able].sum(0) + 1
    rates = crowd / crowd.sum(1, keepdims=True)
    known = _gold(on_gold, rates)
    if not mine.any() or mine.all():  # others have said nothing to compare with
        return known
    out = [*_looks(found, person), *_times(ms[mine], ms[~mine])]
    out += _same(votes.labels[mine], others[mine] @ rates)
    return [*out, *known, *_against(votes.labels, others, mine)]


def _looks(found: Consensus, person: int) -> list[Sign]:
    kind, n = found.skill.kind, round(float(found.counts[person].sum()))
    able = kind[:, found.kinds.looks].sum(1)
    chance, usual = float(able[person]), float(np.delete(1 - able, person).mean())
    is_odd = not looks(kind[[person]], found.kinds)[0]
    says = f"By all {n} answers together, {100 * (1 - chance):.0f} in 100 that they don't look at the images."
    return [Sign("looks", 1 - chance, n, usual, chance, is_odd, says)]


def _times(mine: Real, crowd: Real) -> list[Sign]:
    mine, crowd = mine[~np.isnan(mine)], crowd[~np.isnan(crowd)]
    if len(mine) < ENOUGH or len(crowd) < ENOUGH:
        return []
    fast, usual = int((mine < TOO_FAST_MS).sum()), (float((crowd < TOO_FAST_MS).sum()) + 1) / (len(crowd) + 2)
    chance = _at_least(fast, len(mine), usual * len(mine))
    middle = float(np.median(mine))
    out = [
        Sign("fast", fast, len(mine), usual * len(mine), chance, chance < ODD, (
            f"{fast} of {len(mine)} answers came within {TOO_FAST_MS:.0f} ms, faster than anybody sees; "
            f"of others {usual * len(mine):.1f} would. Half of them took less than {middle:.0f} ms, "
            f"of others {float(np.median(crowd)):.0f} ms."
        ))
    ]  # fmt: skip
    spread = float(np.log(np.maximum(mine, 1)).std())
    usual = float(np.log(np.maximum(crowd, 1)).std())
    says = f"Times of answers differ by {100 * spread:.0f} %, those of others by {100 * usual:.0f} %."
    return [*out, Sign("even", spread, len(mine), usual, float("nan"), spread < EVEN, says)]


def _same(said: Ids, p: Real) -> list[Sign]:
    """p  (k, c) how probable one who answers as the crowd does is to give each label to these very items."""
    counts, n = np.bincount(said, minlength=p.shape[1]), len(said)
    label = int(np.argmax(counts - p.sum(0)))
    usual = float(p[:, label].sum())
    chance = _at_least(int(counts[label]), n, usual)
    says = (
        f"Gave label {label} {counts[label]} times of {n}; to the same images others would {usual:.1f} times."
    )
    return [Sign("same", float(counts[label]), n, usual, chance, chance < ODD, says)]


def _gold(counts: Real, rates: Real) -> list[Sign]:
    """counts  (c, c) what was said of gold items of each label."""
    n = round(float(counts.sum()))
    if not n:
        return []
    right = round(float(counts.trace()))
    usual = float(counts.sum(1) @ rates.diagonal())
    chance = _at_least(n - right, n, n - usual)
    says = f"Right about {right} of {n} images of known label; others would be about {usual:.1f}."
    return [Sign("gold", right, n, usual, chance, chance < ODD, says)]


def _against(labels: Ids, others: Real, mine: NDArray[np.bool_]) -> list[Sign]:
    sure, top = others.max(1) >= SURE, others.argmax(1)
    me, crowd = sure & mine, sure & ~mine
    if not me.any() or not crowd.any():
        return []
    n, against = int(me.sum()), int((labels[me] != top[me]).sum())
    usual = (float((labels[crowd] != top[crowd]).sum()) + 1) / (float(crowd.sum()) + 2)
    chance = _at_least(against, n, usual * n)
    says = f"Differs in {against} of {n} cases that others are sure of; others do in {usual * n:.1f}."
    return [Sign("others", against, n, usual * n, chance, chance < ODD, says)]


def _at_least(hits: int, n: int, usual: float) -> float:
    """Return the chance of so many hits or more among n in one of a crowd that has `usual` of them.

    People differ: each has a rate of their own, from a beta distribution as wide as ALIKE answers leave it.
    """
    from scipy.special import betaln

    p = min(max(usual / n, 1e-6), 1 - 1e-6)
    a, b, k = ALIKE * p, ALIKE * (1 - p), np.arange(hits, n + 1)
    log = betaln(k + a, n - k + b) - betaln(a, b) - betaln(k + 1, n - k + 1) - np.log(n + 1)
    return min(1.0, float(np.exp(log).sum()))
