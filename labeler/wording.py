"""How much is found, when to stop and how right the head is, in words: for the commands and the pages.

What comes in is JSON as `loop.session_status` and `loop.quality` give it.
"""

from typing import Any

Json = dict[str, Any]  # Any: JSON
NOT_YET = "not enough is known yet"


def percent(share: float) -> str:
    """Return a share as a percentage: as many digits as it needs, but nothing is quite all or nothing."""
    whole = f"{100 * share:.1f}".removesuffix(".0")
    return f"{whole} %"


def rounded(share: float) -> int:
    """Return a share as a whole percentage."""
    return round(100 * share)


def found(n: int, estimate: Json | None) -> str:
    """Return how many were found, and what share that is as far as it is known."""
    if estimate is None:
        return f"{n:,}; {NOT_YET} to say of how many"
    share, low, high = (rounded(estimate[name]) for name in ("share", "low", "high"))
    total, most = round(estimate["total"]), round(estimate["total_high"])
    return f"{n:,}, about {share} % of {total:,} (95 % sure: {low} to {high} %, at most {most:,} in all)"


def target(share: float, advice: Json | None) -> str:
    """Return whether a target is reached, and what going on would bring or take."""
    wanted = percent(share)
    if advice is None:
        return f"{wanted}; {NOT_YET}"
    chance = f"chance {advice['chance']:.2f}"
    if advice["reached"]:
        return f"{wanted}, probably found ({chance}); going on {brings(advice)}"
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
