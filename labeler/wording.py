"""How much is found, when to stop and how right the head is, in words: for the commands and the pages.

What comes in is JSON as `loop.session_status` and `judging.quality_json` give it. Commands speak English,
pages the language of `words`.
"""

import math
from typing import Any

from labeler.tongue import ENGLISH, Words

Json = dict[str, Any]  # Any: JSON
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


def found(n: int, estimate: Json | None, words: Words = ENGLISH) -> str:
    """Return how many were found, and what share that is as far as it is known."""
    if estimate is None:
        return words("wording.found.early", n=f"{n:,}")
    total, most = round(estimate["total"]), round(estimate["total_high"])
    if n > most:  # single votes, most of which others will not confirm, or what came since the last round
        return words("wording.found.beyond", n=f"{n:,}", total=f"{total:,}", most=f"{most:,}")
    total = max(n, total)
    said = words("wording.found", n=f"{n:,}", total=f"{total:,}", most=f"{most:,}", **_band(estimate))
    return words("wording.found.often", said=said) if estimate["next_finds"] >= OFTEN else said


def _band(estimate: Json) -> dict[str, int]:
    return {name: rounded(estimate[name]) for name in ("share", "low", "high")}


def target(share: float, advice: Json | None, words: Words = ENGLISH) -> str:
    """Return whether a target is reached, and what going on would bring or take."""
    wanted = percent(share)
    if advice is None:
        return words("wording.target.early", share=wanted)
    p = f"{advice['chance']:.2f}"
    chance = words("wording.target.chance", p=p)
    if advice["reached"]:
        more = brings(advice, words)
        return words("wording.target.reached", share=wanted, chance=chance, brings=more)
    if advice["chance"] < SURE:
        chance = words("wording.target.chance.asked", p=p, sure=f"{SURE:g}")
    return words("wording.target.not", share=wanted, chance=chance, takes=takes(advice, words))


def brings(known: Json, words: Words = ENGLISH) -> str:
    """Return what the next cards would bring, as the estimate or the advice has it."""
    return words("wording.brings", n=about(known["next_finds"], words))


def takes(advice: Json, words: Words = ENGLISH) -> str:
    """Return how many cards it takes until a target can be called reached, or that this can't be said."""
    least, most = advice["cards_to_target"], advice["cards_to_sure"]
    if most is None:
        return words("wording.takes.unknown")
    if least is None or round(least) < 10 or tidy(least) == tidy(most):
        return words("wording.takes", most=f"{tidy(most):,}")
    return words("wording.takes.range", least=f"{tidy(least):,}", most=f"{tidy(most):,}")


def about(n: float, words: Words = ENGLISH) -> str:
    """Return an expected number as people say one."""
    if n < 0.5:
        return words("wording.brings.none")
    return words("wording.brings.about", n=f"{max(1, round(n)):,}")


def tidy(cards: float) -> int:
    """Return a rough number of cards without digits that it does not have."""
    step = 10 if cards < 200 else 50 if cards < 1000 else 100
    return max(1, round(cards / step)) * step


def is_judged(quality: Json | None, label: str) -> bool:
    """Return whether there is a threshold above which some random card was called by this label."""
    if quality is None:
        return False
    return any(row["precision"] is not None for row in quality["labels"].get(label, []))


def precision(quality: Json | None, label: str, words: Words = ENGLISH) -> list[tuple[str, str]]:
    """Return (threshold, what became of the random cards above it) for one label; empty: nothing is known."""
    if quality is None or label not in quality["labels"]:
        return []
    return [(f"{row['threshold']:g}", _of_cards(row, words)) for row in quality["labels"][label]]


def _of_cards(row: Json, words: Words) -> str:
    if row["precision"] is None:
        return words("wording.precision.none")
    cards = {"right": f"{row['right']:,}", "cards": f"{row['cards']:,}"}
    return words("wording.precision", **cards, low=rounded(row["low"]), high=rounded(row["high"]))


def judged_by(quality: Json | None, words: Words = ENGLISH) -> str:
    """Return what the precision rests on, and what it does not say."""
    if quality is None or not quality["audit"]:
        return words("wording.judged.none")
    return words("wording.judged", cards=words.count("wording.judged.cards", quality["audit"]))


def caveat(quality: Json | None, label: str, *, rough: bool, words: Words = ENGLISH) -> str:
    """Return how far predictions can be trusted: what random cards say of them, and no more."""
    said = words("wording.caveat") + (words("wording.caveat.rough") if rough else "")
    if quality is None or not is_judged(quality, label):
        return said
    row = [row for row in quality["labels"][label] if row["precision"] is not None][-1]
    threshold, text = f"{row['threshold']:g}", _of_cards(row, words)
    name = words.answer(label)
    return words("wording.caveat.of", said=said, label=name, threshold=threshold, text=text)


def price(cards: int | None, share: float, words: Words = ENGLISH) -> str:
    """Return what a certificate would take."""
    if cards is None:
        return words("wording.price.none", share=percent(share))
    return words("wording.price", share=percent(share), n=f"{tidy(cards):,}")


def certificate(found: Json, target: str, words: Words = ENGLISH) -> str:
    """Return how a certificate stands. Shares are rounded down: it says "at least"."""
    n = f"{found['draws']:,}"
    if found["state"] == "cancelled":
        return words("wording.certificate.cancelled", n=n)
    if found["state"] == "running":
        gone = words("wording.certificate.gone", n=f"{found['gone']:,}") if found["gone"] else ""
        return words("wording.certificate.running", answered=f"{found['answered']:,}", n=n, gone=gone)
    least = words("wording.certificate.nothing")
    if found["at_least"] is not None:
        least = words("wording.certificate.least", share=at_least(found["at_least"]))
    said = words("wording.certificate", least=least, n=n, of=f"{found['left']:,}")
    finds = words("wording.certificate.finds", n=f"{found['finds']:,}", label=target)
    number = found["number"] if found["number"] > 1 else 0
    others = {"unsure": found["unsure"], "missing": found["draws"] - found["answered"]}
    others |= {"joined": found["joined"], "number": number}
    more = [words(f"wording.certificate.{name}", n=f"{count:,}") for name, count in others.items() if count]
    return "; ".join([said, finds, *more])


def share(estimate: Json, label: str, words: Words = ENGLISH) -> str:
    """Return the estimate in sentences, for Markdown; label: made safe for it."""
    band = {name: rounded(estimate[name]) for name in ("low", "high")}
    totals = {"total": f"{estimate['total']:,.0f}", "most": f"{estimate['total_high']:,.0f}"}
    more, found = brings(estimate, words), rounded(estimate["share"])
    said = words("wording.share", found=found, label=label, brings=more, **band, **totals)
    return said + (words("wording.share.often") if estimate["next_finds"] >= OFTEN else "")


def lacking(lack: str, n: int, label: str, words: Words) -> str:
    """Return why no share can be said yet: what `judging.lacking` gives, in words. label: made safe."""
    return words("found.early", lack=words(f"found.early.{lack}", n=f"{n:,}", label=label))


def what_it_is(words: Words) -> str:
    """Return what the estimate is and what it is not, as a list in Markdown."""
    return "".join(f"- {words(f'wording.what.{name}')}\n" for name in ("people", "asks", "model", "begins"))
