"""How much of the target has been found: an estimate with an interval, advice when to stop, a certificate."""

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
"""Standard deviation of the log of what remains, beside the noise of counting: a factor of 2.4 either way."""
HIDDEN, HIDDEN_MOST = 0.1, 0.25
"""The chance that a part of the target lies where no find points to, and the largest share of it there.

The chance is higher while no end is in sight: as high as that of all the next AHEAD cards to be finds, by
the NEWEST ones.
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
CONFIDENCE, POWER = 0.95, 0.8
"""How often a certificate is right at the least, and the chance with which its price is enough."""


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
    next_finds                    expected finds in the next 50 cards.
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
    for a factor that may be SPREAD off; with the chance HIDDEN, and a higher one while nearly every card is a
    find, there is a part that no find points to; and the cards drawn evenly weigh all this by the exact
    probability of their answers.
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
    reached = (beyond, int(finds.sum()), _rate(asked, why, NEWEST) ** AHEAD)
    parts = [_given(asked, reached, n, wrong) for wrong, _ in rates]
    found = np.concatenate([np.full(len(part[1]), part[0]) for part in parts])
    remaining = np.concatenate([part[1] for part in parts])
    log = np.concatenate([part[2] + math.log(p) for part, (_, p) in zip(parts, rates, strict=True)])
    weights = np.exp(log - log.max())
    return _estimate(found, remaining, weights / weights.sum(), next_finds=min(AHEAD, n) * rate)


def _frontier(left: Scores, reach: int, *, others: int) -> float:
    """Return the `reach`-th highest decision; of fewer the lowest, none where there are no others."""
    if len(left) >= reach:
        return float(np.partition(left, -reach)[-reach])
    return float(left.min(initial=np.inf)) if others else -math.inf


def _given(
    asked: Asked, reached: tuple[int, int, float], left: int, wrong: float
) -> tuple[float, Real, Real]:
    """Return the images found, what may remain, and the log of its weight, if this part of answers is wrong.

    reached  how many finds are out of reach, of how many, and the chance that no end is in sight.
    left     items still to be asked.
    """
    beyond, finds, endless = reached
    false = wrong * float((~asked.yes).sum())  # the wrong "yes" look like the rest: they are out of reach
    found = max(float(asked.yes.sum()) - false, 1.0)
    out = max(beyond - false, 0.1 * beyond) + 0.5
    within = max(finds - max(beyond, false), 0.0) + 0.5
    spread = math.sqrt(1 / out + 1 / within + SPREAD**2)
    remaining, log = _nodes(found * out / within, spread, found=found, endless=endless)
    log = log + _audit_likelihood(asked, np.minimum(remaining, left), wrong=wrong)
    missed = wrong * found / (1 - wrong)  # images of the target that were answered otherwise
    remaining, log = _counted(np.minimum(remaining, left) + missed, log)
    return found, np.minimum(remaining, left + 2 * missed), log


def _estimate(found: Real, remaining: Real, weights: Real, *, next_finds: float) -> Estimate:
    """Return the summary of weighed pairs of images found and images that remain."""
    order = np.argsort(found / (found + remaining), kind="stable")
    shares, weights = (found / (found + remaining))[order], weights[order]
    low, share, high = (_quantile(shares, weights, q) for q in (0.025, 0.5, 0.975))
    middle = float(found[0]) if found.min() == found.max() else float(weights @ found[order])
    return Estimate(
        found=middle,
        total=middle / share, total_low=middle / high, total_high=middle / low,
        share=share, low=low, high=high,
        next_finds=next_finds,
        shares=shares, weights=weights,
    )  # fmt: skip


def advise(now: Estimate, target: float, *, cards: int) -> Advice:
    """Return whether this share of the target is found, for a target between 0 and 1, by one round alone.

    cards  how many were answered so far. One round is soon sure by chance: whoever tells people that their
    target is reached waits until AGREE rounds one after the other say so.
    """
    chance = now.chance(target)
    more = now.next_finds * max(1.0, LONGER * cards / AHEAD)
    plain = now.found / (now.found + more) >= target
    return Advice(reached=chance >= SURE and plain, chance=chance, next_finds=now.next_finds)


def cost(now: Estimate, target: float, *, left: int, cards: int) -> Cost:
    """Return how many more cards a target would take. cards: as `advise` wants them.

    left  how many items were still to be asked when `now` was estimated.
    The rate of finds is taken to fall as what remains does: a card finds each image that remains with the
    chance that it has now. More cards than there are left can't be said, nor how many until reached where
    the estimate says so and only the finds of the moment deny it.
    """
    rate = now.next_finds / min(AHEAD, left) if left else 0.0

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
        next_find=within(1 / rate) if rate else None,
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


def _nodes(middle: float, spread: float, *, found: float, endless: float) -> tuple[Real, Real]:
    """Return what may remain and the log of its weight: log-normal, with or without a hidden part.

    endless  the chance that there is no end in sight.
    """
    z = np.linspace(-3.2, 3.2, 33)
    part = (np.arange(8) + 0.5) / 8 * HIDDEN_MOST
    plain = middle * np.exp(spread * z)
    more = np.concatenate([[0.0], part / (1 - part)])
    hidden = HIDDEN + (1 - HIDDEN) * endless
    chance = np.concatenate([[1 - hidden], np.full(8, hidden / 8)])
    remaining = plain[:, None] + more * (found + plain[:, None])
    return remaining.ravel(), ((-z * z / 2)[:, None] + np.log(chance)).ravel()


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
        total += np.where(asked.yes[drawn], np.log(p), np.log1p(-p)).sum(1)
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


# the certificate ---------------------------------------------------------------------------


def certificate(left: int, *, found: int, draws: int, finds: int, unsure: tuple[int, int] = (0, 0)) -> float:
    """Return the share that has been found at the least, from cards drawn evenly alone.

    left    items that were unasked before the draws. found  images of the target found before them.
    draws   cards drawn evenly without replacement from `left`. finds  those that were the target.
    unsure  images that people could not tell, before the draws and among them: all count as target missed.
    It is right in at least CONFIDENCE of all cases, whatever the head, the images or the order of asking, and
    whatever the unsure ones show. It counts the other answers as true, and holds for a number of draws
    fixed beforehand. Raises ValueError for counts that cannot be.
    """
    most = found + unsure[0] + at_most(left, draws=draws, hits=finds + unsure[1])
    return (found + finds) / most if most else 1.0


def at_most(left: int, *, draws: int, hits: int) -> int:
    """Return how many of `left` items can be of a kind, if `hits` of `draws` drawn evenly are.

    The largest number under which so few hits have a chance of more than 1 - CONFIDENCE: the exact
    hypergeometric bound. Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404, for draws without
    replacement. Raises ValueError for counts that cannot be.
    """
    if not 0 <= hits <= draws <= left:
        raise ValueError(f"{hits} hits in {draws} draws of {left} cannot be.")
    low, high = hits, left - (draws - hits)  # the number lies in here
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(hits, left, middle, draws) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle - 1
    return low


def certificate_price(
    left: int, *, found: int, share: float, remaining: float = 0, unsure: int = 0
) -> int | None:
    """Return how many draws it takes until `certificate` says at least `share`; None: not even all would do.

    remaining  images of the target that are taken to be among `left`, rounded up: the draws are enough with
               a chance of POWER. 0 gives the price if nothing was missed, the least there is.
    unsure     images that people could not tell so far.
    Any number of draws may be chosen beforehand without harm to the certificate, this one too.
    """
    wanted = min(math.ceil(remaining), left)

    def draws_for(finds: int) -> int | None:
        draws = _draws_for(left, finds, found=found, share=share, unsure=unsure)
        is_likely = draws is not None and _at_most(finds, left, wanted, draws) >= POWER
        return draws if is_likely else None

    low, high = 0, wanted  # how many finds among the draws may be borne
    if draws_for(high) is None:
        return None
    while low < high:
        middle = (low + high) // 2
        if draws_for(middle) is None:
            low = middle + 1
        else:
            high = middle
    return draws_for(low)


def _draws_for(left: int, finds: int, *, found: int, share: float, unsure: int) -> int | None:
    """Return the fewest draws that say at least `share` with so many finds among them, None: not even all."""
    most = math.floor((found + finds) / share) - found - unsure + 1  # of `left`: what may be there at most
    while most >= 0 and found + finds < share * (found + unsure + most):
        most -= 1
    if most < finds:
        return None
    low, high = finds, left
    while low < high:
        draws = (low + high) // 2
        left_over = left - (draws - finds)
        if most >= left_over or _at_most(finds, left, most + 1, draws) <= 1 - CONFIDENCE:
            high = draws
        else:
            low = draws + 1
    return low


def _at_most(finds: int, left: int, targets: int, draws: int) -> float:
    """Return the probability of at most `finds` targets in `draws` of `left` items with `targets` in all."""
    from scipy.special import gammaln

    def log_choose(n: int, k: Real) -> Real:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    x = np.arange(max(0, draws - (left - targets)), min(finds, targets, draws) + 1, dtype=np.float64)
    log = log_choose(targets, x) + log_choose(left - targets, draws - x)
    return min(float(np.exp(log - log_choose(left, np.array(float(draws)))).sum()), 1.0)
