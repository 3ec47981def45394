"""How much of the target has been found: an estimate with an interval, and advice when to stop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.arrays import Scores

Real = NDArray[np.float64]
Cards = Sequence[str] | NDArray[np.str_]

ENOUGH = 10
"""Finds that nobody gave as examples; with fewer, nothing is said."""
RECENT, NEWEST, AHEAD = 60, 20, 50
"""How many of the last cards tell the rate of finds, and whether it has begun to fall; cards looked ahead."""
REACH = 5.0
"""A find is within reach of the others when it would be among the next cards that bring so many finds."""
SPREAD = 0.45
"""Standard deviation of the log of what remains, beside the noise of counting: a factor of 2.4 either way.

The factor is 1 in the mean: what the finds out of reach tell is an expectation, so its middle is lower.
"""
ONWARD, ONWARD_MOST = 0.1, 2.0
"""The chance that finds go on as they come now, and for how many times AHEAD cards at most.

While they do, each find leaves others within reach, and nothing else tells how many others there are.
"""
HIDDEN, HIDDEN_MOST = 0.1, 0.2
"""The chance that a part of the target lies where no find points to, and the largest share of it there.

The chance is higher while no end is in sight: as high as that of all the next AHEAD cards to be finds, by
the NEWEST ones. It falls as the pool is used up: where in the order of asking such a part comes, nobody
knows, so each place is as likely.
"""
SURE, AGREE = 0.9, 2
"""How probable a target must be before it is called reached, and in how many rounds one after the other."""
LONGER = 0.5
"""Going on this much longer, by the cards so far and at the present rate, must not deny it either."""
FAULTLESS = 0.5
"""The chance that nobody ever errs, before any card was asked again."""
REPEATS = 30
"""Cards asked again, all answers agreeing, before they tell how seldom one is wrong."""
BLOCK = 1024
"""Evenly drawn cards that are weighed at a time: bounds memory."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The t items that were asked, in that order, and what was answered. All arrays (t,).

    yes       whether the answer was the target.
    why       the reason of each card; "asked" marks an example that a person gave, "audit" one drawn evenly.
    unasked   how many items of the pool were unasked when the card was drawn, itself included.
    score     the decision of the newest head, had it not learned from this very item: `learner.left_out`.
    """

    yes: NDArray[np.bool_]
    why: Cards
    unasked: NDArray[np.int64]
    score: Scores


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much of the target has been found. Shares are of what people would call the target.

    found                         images answered so that are the target; fewer than answers where some err.
    total, total_low, total_high  images of the target in the pool, found ones included.
    share, low, high              share found: the middle of the 95 % interval is no better than its ends.
    next_finds                    expected finds in the next 50 cards: no more than there may be.
    pace                          finds in the next 50 cards if they come as they did in the last 60.
    shares, weights               (m,) the whole distribution of the share, ascending, weights add up to 1.
    """

    found: float
    total: float
    total_low: float
    total_high: float
    share: float
    low: float
    high: float
    next_finds: float
    pace: float
    shares: Real
    weights: Real

    def chance(self, target: float) -> float:
        """Return the probability that at least this share has been found."""
        return float(self.weights[self.shares >= target].sum())


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether a target is reached, and what going on would bring.

    reached     it is SURE that this share has been found, and what going on would find does not deny it.
    chance      the probability that this share has been found.
    next_finds  expected finds in the next 50 cards.
    """

    reached: bool
    chance: float
    next_finds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What going on would take, in cards; None: it can't be said.

    next_find  expected cards until the next find.
    to_target  until the target is found if the pool holds no more than the middle of the estimate: too few as
               a rule, because the likeliest come first.
    to_sure    the same if it holds as many as in all but 1 - SURE of the cases: about when it can be called
               reached. docs/decisions/0009 tells how rough it is.
    """

    next_find: float | None
    to_target: float | None
    to_sure: float | None


def estimate(
    asked: Asked, left: Scores, *, repeats: tuple[int, int] = (0, 0), others: int = 0
) -> Estimate | None:
    """Return how much has been found; None: not enough is known yet.

    left     (m,) decisions of the newest head for the items that are still to be asked.
    repeats  cards asked again, and how many of them got another answer: they tell how often answers are
             wrong. Without any, answers are taken to be true.
    others   items that are still to be asked and not among `left`: their decisions, which nobody has looked
             at, are taken to be lower than all of `left`.

    A find is out of reach when, had it not been found, it would not be among the next cards: those that bring
    REACH finds at the present rate. The share of such finds stands for the share of the target that no card
    has reached, as the share of words seen once stands for words not seen. What remains follows from it, but
    for a factor that may be SPREAD off. With the chance ONWARD, finds go on as they come now. With the chance
    HIDDEN there is a part that no find points to: a higher one while nearly every card is a find, a lower one
    the more of the pool was asked. The cards drawn evenly weigh all this by the exact probability of their
    answers.
    Nothing is random: the same input gives the same estimate. Cost: a pass over `left` and some milliseconds.
    Source: Good 1953, doi:10.1093/biomet/40.3-4.237 (what was not seen, by leaving one out); docs/decisions
    tells how well it does, and what else was tried.
    """
    why = np.asarray(asked.why)
    finds = asked.yes & (why != "asked")
    if finds.sum() < ENOUGH or asked.yes.all():
        return None
    rate = _rate(asked, why, RECENT)
    frontier = _frontier(left, math.ceil(REACH / rate), others=others)
    beyond = int((asked.score[finds] < frontier).sum())
    n = len(left) + others
    rates = error_rates(repeats)
    hidden = HIDDEN + (1 - HIDDEN) * _rate(asked, why, NEWEST) ** AHEAD
    soon = min(AHEAD, n) * min(rate, _rate(asked, why, NEWEST))
    reached = _Reached(beyond, int(finds.sum()), soon, _unmet(hidden, n / (n + len(why))))
    parts = [_given(asked, reached, n, wrong) for wrong, _ in rates]
    found = np.concatenate([np.full(len(part[1]), part[0]) for part in parts])
    remaining = np.concatenate([part[1] for part in parts])
    log = np.concatenate([part[2] + math.log(p) for part, (_, p) in zip(parts, rates, strict=True)])
    weights = np.exp(log - log.max())
    return _estimate(found, remaining, weights / weights.sum(), soon=soon, pace=min(AHEAD, n) * rate)


def _frontier(left: Scores, reach: int, *, others: int) -> float:
    """Return the `reach`-th highest decision; of fewer the lowest, none where there are no others."""
    if len(left) >= reach:
        return float(np.partition(left, -reach)[-reach])
    return float(left.min(initial=np.inf)) if others else -math.inf


@dataclass(frozen=True, slots=True)
class _Reached:
    """How many finds are out of reach, of how many; the finds to come soon; the chance of a hidden part."""

    beyond: int
    finds: int
    soon: float
    hidden: float


def _given(asked: Asked, reached: _Reached, left: int, wrong: float) -> tuple[float, Real, Real]:
    """Return the images found, what may remain, and the log of its weight, if this part of answers is wrong.

    left  items still to be asked.
    """
    beyond, finds = reached.beyond, reached.finds
    false = wrong * float((~asked.yes).sum())  # the wrong "yes" look like the rest: they are out of reach
    found = max(float(asked.yes.sum()) - false, 1.0)
    out = max(beyond - false, 0.1 * beyond) + 0.5
    within = max(finds - max(beyond, false), 0.0) + 0.5
    noise = 1 / out + 1 / within
    remaining, log = _nodes(
        found * out / within, noise, found=found, soon=reached.soon, hidden=reached.hidden
    )
    log = log + _audit_likelihood(asked, np.minimum(remaining, left), wrong=wrong)
    missed = wrong * found / (1 - wrong)  # images of the target that were answered otherwise
    remaining, log = _counted(np.minimum(remaining, left) + missed, log)
    return found, np.minimum(remaining, left + 2 * missed), log


def _estimate(found: Real, remaining: Real, weights: Real, *, soon: float, pace: float) -> Estimate:
    """Return the summary of weighed pairs of images found and images that remain."""
    shares = found / (found + remaining)
    order = np.argsort(shares)
    shares, weights = shares[order], weights[order]
    low, share, high = (_quantile(shares, weights, q) for q in (0.025, 0.5, 0.975))
    middle = float(found[0]) if found.min() == found.max() else float(weights @ found[order])
    return Estimate(
        found=middle,
        total=middle / share, total_low=middle / high, total_high=middle / low,
        share=share, low=low, high=high,
        next_finds=min(soon, middle / low - middle), pace=pace,
        shares=shares, weights=weights,
    )  # fmt: skip


def advise(now: Estimate, target: float, *, cards: int) -> Advice:
    """Return whether this share of the target is found, for a target between 0 and 1, by one round alone.

    cards  how many were answered so far. One round is soon sure by chance: whoever tells people that their
    target is reached waits until AGREE rounds one after the other say so.
    """
    chance = now.chance(target)
    more = now.pace * max(1.0, LONGER * cards / AHEAD)
    plain = now.found / (now.found + more) >= target
    return Advice(reached=chance >= SURE and plain, chance=chance, next_finds=now.next_finds)


def cost(now: Estimate, target: float, *, left: int, cards: int) -> Cost:
    """Return how many more cards a target would take. cards: as `advise` wants them.

    left  how many items were still to be asked when `now` was estimated.
    The rate of finds is taken to fall as what remains does: a card finds each image that remains with the
    chance that it has now. More cards than there are left can't be said, nor how many until reached where
    the estimate says so and only the finds of the moment deny it.
    """
    rate, soon = (x / min(AHEAD, left) if left else 0.0 for x in (now.pace, now.next_finds))

    def until(share: float) -> float | None:
        if share >= target:
            return 0.0
        remaining = now.found / share - now.found
        wanted = now.found / share * target - now.found
        return within(-remaining / rate * math.log1p(-wanted / remaining) if rate else math.inf)

    def within(more: float) -> float | None:
        return more if more <= left else None

    said = advise(now, target, cards=cards)
    denied = said.chance >= SURE and not said.reached
    return Cost(
        next_find=within(1 / soon) if soon else None,
        to_target=until(now.share),
        to_sure=None if denied else until(_quantile(now.shares, now.weights, 1 - SURE)),
    )


def error_rates(repeats: tuple[int, int]) -> list[tuple[float, float]]:
    """Return how often an answer may be wrong, and the chance of each rate; 0 alone while little is known.

    repeats  cards asked again, and how many got another answer. Fewer than REPEATS that all agree tell too
             little: the wrong answers that they don't exclude would, among many "no", be more images than
             a rare target has. Two answers of which each is wrong with probability e differ with
             d = 2 e (1 - e); d has the prior (1 - d)^8 / √d, as people err seldom; e is below 1/4. With the
             chance FAULTLESS nobody errs, until a first answer differs.
    """
    again, other = repeats
    if again < REPEATS and other == 0:
        return [(0.0, 1.0)]
    d = (np.arange(96) + 0.5) / 256
    prior = 8 * np.log1p(-d) - np.log(d) / 2
    log = prior + other * np.log(d) + (again - other) * np.log1p(-d)
    up = np.cumsum(np.exp(log - log.max()))
    at = np.searchsorted(up / up[-1], (np.arange(7) + 0.5) / 7)
    rates = [(1 - math.sqrt(1 - 2 * float(x))) / 2 for x in d[at]]
    if other:
        return [(rate, 1 / 7) for rate in rates]
    agree = float(np.exp(log).sum() / np.exp(prior).sum())  # the chance of no other answer where some err
    none = FAULTLESS / (FAULTLESS + (1 - FAULTLESS) * agree)
    return [(0.0, none), *((rate, (1 - none) / 7) for rate in rates)]


def _unmet(chance: float, left: float) -> float:
    """Return the chance of a hidden part, `chance` before, not met while `left` of the pool is unasked."""
    return chance * left / (1 - chance + chance * left)


def _nodes(middle: float, noise: float, *, found: float, soon: float, hidden: float) -> tuple[Real, Real]:
    """Return what may remain and the log of its weight: log-normal, for each way of going on and hidden part.

    middle  what the finds out of reach tell to remain, with the variance `noise` of its log.
    soon    finds in the next AHEAD cards at the present rate. hidden  the chance of a hidden part.
    """
    z = np.linspace(-3.2, 3.2, 33)
    onward = np.concatenate([[0.0], (np.arange(6) + 0.5) / 6 * ONWARD_MOST])
    part = np.concatenate([[0.0], (np.arange(6) + 0.5) / 6 * HIDDEN_MOST])
    mean = (middle + soon * onward)[:, None]
    spread = np.sqrt(noise * (middle / mean) ** 2 + SPREAD**2)
    plain = (mean * np.exp(spread * z - SPREAD**2 / 2))[..., None]
    remaining = plain + part / (1 - part) * (found + plain)
    chance = np.outer(_parts(ONWARD), _parts(hidden))[:, None]
    log = -(z[None, :, None] ** 2) / 2 + np.log(np.maximum(chance, 1e-12))
    return remaining.ravel(), log.ravel()


def _parts(chance: float) -> Real:
    """Return the chances of none and of six parts that are as likely as each other."""
    return np.array([1 - chance, *[chance / 6] * 6])


def _audit_likelihood(asked: Asked, remaining: Real, *, wrong: float) -> Real:
    """Return the log of the probability of the evenly drawn cards' answers, for each of `remaining`.

    When such a card was drawn, what remains now and what was found since was unasked.
    """
    total = np.zeros(len(remaining))
    every = np.flatnonzero(np.asarray(asked.why) == "audit")
    found = np.cumsum(asked.yes)
    for start in range(0, len(every), BLOCK):  # a certificate's draws may be many
        drawn = every[start : start + BLOCK]
        later = asked.yes.sum() - found[drawn] + asked.yes[drawn]
        p = (remaining[:, None] + later) / np.maximum(asked.unasked[drawn], 1)
        p = np.clip(wrong + (1 - 2 * wrong) * p, 1e-9, 1 - 1e-9)
        total += np.log(np.where(asked.yes[drawn], p, 1 - p)).sum(1)
    return total


def _counted(expected: Real, log: Real) -> tuple[Real, Real]:
    """Return whole numbers that scatter around each expected one as counts do, and the log of their weights.

    The root of a count is nearly normal around the root of its mean, with deviation 1/2 (Anscombe 1948).
    """
    z = np.linspace(-2.4, 2.4, 7)
    root = np.maximum(np.sqrt(expected)[:, None] + z / 2, 0)
    return np.round(root**2).ravel(), (log[:, None] - z * z / 2).ravel()


def _quantile(values: Real, weights: Real, q: float) -> float:
    """Return the smallest of the ascending `values` up to which the weights add up to `q`."""
    return float(values[min(int(np.searchsorted(np.cumsum(weights), q)), len(values) - 1)])


def _rate(asked: Asked, why: NDArray[np.str_], last: int) -> float:
    """Return the share of finds among the last cards that were neither drawn evenly nor given."""
    ranked = asked.yes[(why != "audit") & (why != "asked")][-last:]
    return float((ranked.sum() + 0.5) / (len(ranked) + 1))
