"""How much is found, when to stop and how right the head is, in words: for the commands and the pages.

What comes in is JSON as `loop.session_status` and `judging.quality_json` give it.
"""

import math
from typing import Any

Json = dict[str, Any]  # Any: JSON
NOT_YET = "not enough is known yet"
OFTEN = 10  # finds in the next 50 cards: as long as so many come, the estimate says too much as a rule
SURE = 0.9  # active.recall.SURE, at which a target is called reached


def percent(share: float) -> str:
    """Return a share as a percentage: as many digits as it needs, but nothing is quite all or nothing."""
    whole = f"{100 * share:.1f}".removesuffix(".0")
    return f"{whole} %"


def at_least(share: float) -> str:
    """Return a share as a percentage rounded down, for it must not be less; with a decimal from 99 on."""
    at = math.floor(share * 1000 + 1e-9) / 10
    return f"{at:g} %" if at >= 99 else f"{math.floor(at)} %"


def rounded(share: float) -> int:
    """Return a share as a whole percentage."""
    return round(100 * share)


def found(n: int, estimate: Json | None) -> str:
    """Return how many were found, and what share that is as far as it is known."""
    if estimate is None:
        return f"{n:,}; {NOT_YET} to say of how many"
    share, low, high = (rounded(estimate[name]) for name in ("share", "low", "high"))
    total, most = round(estimate["total"]), round(estimate["total_high"])
    said = f"{n:,}, about {share} % of {total:,} (95 % sure: {low} to {high} %, at most {most:,} in all)"
    return f"{said}; finds still come often, so it may be less" if estimate["next_finds"] >= OFTEN else said


def target(share: float, advice: Json | None) -> str:
    """Return whether a target is reached, and what going on would bring or take."""
    wanted = percent(share)
    if advice is None:
        return f"{wanted}; {NOT_YET}"
    chance = f"chance {advice['chance']:.2f}"
    if advice["reached"]:
        return f"{wanted}, probably found ({chance}); going on {brings(advice)}"
    if advice["chance"] < SURE:
        chance += f", asked: {SURE:g} twice"
    return f"{wanted}, not yet ({chance}); {takes(advice)}"


def brings(known: Json) -> str:
    """Return what the next cards would bring, as the estimate or the advice has it."""
    return f"would bring {about(known['next_finds'])} in the next 50 cards"


def takes(advice: Json) -> str:
    """Return how many cards it takes until a target can be called reached, or that this can't be said."""
    least, most = advice["cards_to_target"], advice["cards_to_sure"]
    if most is None:
        return "how many more cards it takes can't be said"
    if least is None or round(least) < 10 or tidy(least) == tidy(most):
        return f"roughly {tidy(most):,} more cards until that can be said"
    return f"roughly {tidy(least):,} to {tidy(most):,} more cards until that can be said"


def about(n: float) -> str:
    """Return an expected number as people say one."""
    if n < 0.5:
        return "hardly any"
    return "about 1" if n < 1.5 else f"about {round(n):,}"


def tidy(cards: float) -> int:
    """Return a rough number of cards without digits that it does not have."""
    step = 10 if cards < 200 else 50 if cards < 1000 else 100
    return max(1, round(cards / step)) * step


def precision(quality: Json | None, label: str) -> list[tuple[str, str]]:
    """Return (threshold, what became of the random cards above it) for one label; empty: nothing is known."""
    if quality is None or label not in quality["labels"]:
        return []
    return [(f"{row['threshold']:g}", _of_cards(row)) for row in quality["labels"][label]]


def _of_cards(row: Json) -> str:
    if row["precision"] is None:
        return "no card yet"
    cards = f"{row['right']:,} of {row['cards']:,} right"
    return f"{cards} (95 % sure: {rounded(row['low'])} to {rounded(row['high'])} %)"


def judged_by(quality: Json | None) -> str:
    """Return what the precision rests on, and what it does not say."""
    if quality is None or not quality["audit"]:
        return "No card that was drawn at random has been answered yet, so nothing can be said."
    drawn = f"{quality['audit']:,} card{'' if quality['audit'] == 1 else 's'}"
    return (
        f"By {drawn} drawn evenly at random, each judged by a classifier that has not learned from it. No"
        " other card counts. Each was drawn from what was unanswered at the time: of what is left once the"
        " likeliest have been asked, less may be right."
    )


def caveat(quality: Json | None, label: str, *, rough: bool) -> str:
    """Return how far predictions can be trusted: what random cards say of them, and no more."""
    said = "Predicted by the program; nobody has looked at these."
    if rough:
        said += (
            " The probabilities are rough: too few cards drawn at random have been answered to check them."
        )
    known = [(threshold, text) for threshold, text in precision(quality, label) if "right" in text]
    if not known:
        return said
    threshold, text = known[-1]
    return f"{said} Of the random cards that it would call “{label}” with {threshold} or more: {text}."


def price(cards: int | None, share: float) -> str:
    """Return what a certificate would take."""
    sure = f"to be able to say at least {percent(share)}"
    if cards is None:
        return f"{sure}, not even all cards would do".capitalize() + "."
    return f"{sure}, about {tidy(cards):,} more cards, drawn evenly from what is left".capitalize() + "."


def certificate(found: Json, target: str) -> str:
    """Return how a certificate stands. Shares are rounded down: it says "at least"."""
    n, of = found["draws"], found["left"]
    if found["state"] == "cancelled":
        return f"over {n:,} cards was given up, so it says nothing"
    if found["state"] == "running":
        gone = f"; {found['gone']:,} of them have no file any more" if found["gone"] else ""
        return f"running, {found['answered']:,} of {n:,} cards answered{gone}; it says nothing before the end"
    least = "nothing of it is found any more"
    if found["at_least"] is not None:
        least = f"at least {at_least(found['at_least'])} found (95 % sure)"
    said = f"{least}, from {n:,} cards drawn evenly out of {of:,}"
    missing = n - found["answered"]
    more = [
        f"{found['finds']:,} of them {target}",
        f"{found['unsure']:,} could not be told and count as missed" if found["unsure"] else "",
        f"{missing:,} have no answer and count as missed" if missing else "",
        f"{found['joined']:,} images came later and are not covered" if found["joined"] else "",
        f"it is number {found['number']} of this question: whoever quotes it names all"
        if found["number"] > 1
        else "",
    ]
    return "; ".join([said, *(part for part in more if part)])


def share(estimate: Json, label: str) -> str:
    """Return the estimate in sentences, for Markdown; label: made safe for it."""
    found, low, high = (rounded(estimate[name]) for name in ("share", "low", "high"))
    return (
        f"**About {found} % of all “{label}” have been found**, 95 % sure: {low} to {high} %. So there are"
        f" about {estimate['total']:,.0f} in all, at most {estimate['total_high']:,.0f}."
        f" Going on {brings(estimate)}." + (STILL if estimate["next_finds"] >= OFTEN else "")
    )


STILL = " Finds still come often. As long as they do, less has been found than this says, as a rule."
WHAT_IT_IS = """
- It is the share of what **people would call so**, not of what really is.
- Of each find it asks: had it not been found, would the cards to come have brought it? If many would have
  been missed, many others may be missing. The cards drawn at random weigh in by their exact probability.
- It is **a model, no promise**. On three collections its band held the truth in more than nine of ten
  cases once 70 % were found; before, it says too much. A group that looks like no find can hide from it.
- It begins with about ten finds, and takes answers to be right until cards that were asked again say other.
"""
