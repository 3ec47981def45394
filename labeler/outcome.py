"""What plays amount to: figures per class and in all."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeler.simulate import Kind, Plan, Played, Task
from labeler.truth import Truth

TIMES = (0.5, 1, 1.5, 2, 3)
SHARES = (82, 90, 95, 99)  # per cent

Row = dict[str, Any]  # Any: JSON


def k_key(times: float) -> str:
    """Return how figures after so many times K cards end: 1.5 → 1_5k."""
    return f"{times:g}k".replace(".", "_")


def found_after(hits: NDArray[np.bool_], total: int, times: float, *, pool: int) -> float | None:
    """Return the share found after `times` × `total` cards, None where the play ended before.

    hits  (n,) card by card. A play that has shown the whole `pool` has nothing left to show.
    """
    cards = max(1, round(times * total))
    if cards > len(hits) and len(hits) < pool:
        return None
    return float(hits[:cards].sum() / total)


def cards_to(hits: NDArray[np.bool_], total: int, share: float) -> float | None:
    """Return after how many cards, in units of `total`, this share was found; None: never."""
    enough = np.flatnonzero(np.cumsum(hits) >= share * total - 1e-9)
    return float((enough[0] + 1) / total) if len(enough) else None


def by_chance(total: int, cards: float, *, pool: int, given: int) -> float:
    """Return the share found after so many cards drawn evenly from the pool, on average.

    given  of the cards are references, and finds. No play is needed for it.
    """
    if cards <= given:
        return float(cards / total)
    drawn = min(cards, pool) - given
    return float((given + drawn * (total - given) / max(1, pool - given)) / total)


def play_row(played: Played, *, pool: int) -> Row:
    """Return the figures of one play."""
    task, hits, total = played.task, played.hits, len(played.task.members)
    row: Row = {
        "class": task.target, "seed": task.seed, "reference": task.reference, "images": total,
        "cards": len(hits), "found": int(hits.sum()),
    }  # fmt: skip
    row |= {f"found_{k_key(t)}": found_after(hits, total, t, pool=pool) for t in TIMES}
    row |= {f"cards_{s}": cards_to(hits, total, s / 100) for s in SHARES}
    row |= round_figures([played])
    return row


def round_figures(plays: Iterable[Played]) -> Row:
    """Return the median and the 95th percentile of the time that rounds took."""
    ms = [r.ms for p in plays for r in p.rounds]
    if not ms:
        return {"round_p50_ms": None, "round_p95_ms": None}
    return {"round_p50_ms": float(np.median(ms)), "round_p95_ms": float(np.quantile(ms, 0.95))}


def rows(plays: Sequence[Played], *, pool: int) -> list[Row]:
    """Return a row per class, run and reference: its play, and how well its head told unseen images apart."""
    judged = {_which(p.task): p for p in plays if p.task.kind == "held out"}
    out = []
    for played in _of(plays, "play"):
        row = play_row(played, pool=pool)
        held = judged.get(_which(played.task))
        if held is not None:
            row |= {f"ap_{n}": value for n, value in held.precision.items()}
        last = played.rounds[-1].estimate if played.rounds else None
        row["estimate"] = last
        row["wall_s"] = round(played.wall_s, 2)
        out.append(row)
    return out


def summary(plays: Sequence[Played], truth: Truth, plan: Plan) -> Row:
    """Return the object that `labeler simulate --json` prints, but for what only the command knows.

    Each figure is the mean over classes of the means of their plays; None where a play had no such figure.
    cards_82 and so on: the median over plays, None where half of them never got there; `missed_82`: how many
    did not. p90_cards_95: what nine of ten classes need at most, as the mean of their plays.
    """
    pool = len(truth.names)
    each = rows(plays, pool=pool)
    found = [f"found_{k_key(t)}" for t in TIMES]
    out: Row = {key: _mean_of_classes(each, key) for key in found}
    out |= {f"worst_{k_key(t)}": _worst(each, f"found_{k_key(t)}") for t in TIMES}
    for share in SHARES:
        key = f"cards_{share}"
        out[key] = _median([row[key] for row in each])
        out[f"missed_{share}"] = sum(row[key] is None for row in each)
        out[f"p90_{key}"] = _ninety(each, key)
    out |= {f"ap_{n}": _mean_of_classes(each, f"ap_{n}") for n in plan.labeled}
    out |= round_figures(_of(plays, "play"))
    out["random"] = {key: _mean_of_classes(_chance_rows(plays, pool), key) for key in found}
    beside = [play_row(p, pool=pool) for p in _of(plays, "baseline")]
    out["neighbours"] = {key: _mean_of_classes(beside, key) for key in found} if beside else None
    out["estimate"] = estimates(plays)
    out["classes"] = each
    return out


def estimates(plays: Sequence[Played]) -> Row | None:
    """Return how often the estimate's interval held the truth and its median half-width; None without one."""
    inside, half = [], []
    for played in _of(plays, "play"):
        for seen in played.rounds:
            if seen.estimate is not None:
                true = seen.found / len(played.task.members)
                inside.append(seen.estimate["low"] <= true <= seen.estimate["high"])
                half.append((seen.estimate["high"] - seen.estimate["low"]) / 2)
    if not inside:
        return None
    return {"rounds": len(inside), "coverage": float(np.mean(inside)), "half_width": float(np.median(half))}


def curve_rows(plays: Sequence[Played]) -> list[Row]:
    """Return a row per round of every play on the whole pool."""
    fields = ("share", "low", "high", "total", "total_low", "total_high")
    out = []
    for played in plays:
        task, total = played.task, len(played.task.members)
        if task.kind == "held out":
            continue
        for seen in played.rounds:
            row = {
                "class": task.target, "seed": task.seed, "reference": task.reference,
                "strategy": task.strategy, "round": seen.number, "cards": seen.shown, "found": seen.found,
                "images": total, "share": seen.found / total, "ms": round(seen.ms, 2),
            }  # fmt: skip
            estimate = seen.estimate or {}
            out.append(row | {f"estimate_{f}": estimate.get(f) for f in fields})
    return out


def _which(task: Task) -> tuple[str, int, int]:
    return task.target, task.seed, task.reference


def _of(plays: Sequence[Played], kind: Kind) -> list[Played]:
    return [p for p in plays if p.task.kind == kind]


def _chance_rows(plays: Sequence[Played], pool: int) -> list[Row]:
    out = []
    for p in _of(plays, "play"):
        total = len(p.task.members)
        given = p.rounds[0].found
        row: Row = {"class": p.task.target}
        for t in TIMES:
            reached = found_after(p.hits, total, t, pool=pool) is not None
            row[f"found_{k_key(t)}"] = (
                by_chance(total, t * total, pool=pool, given=given) if reached else None
            )
        out.append(row)
    return out


def _by_class(each: Sequence[Row], key: str) -> dict[str, float | None]:
    """Return {class: mean of its plays}, None where one of them has no figure."""
    values: dict[str, list[float | None]] = {}
    for row in each:
        values.setdefault(row["class"], []).append(row.get(key))
    out: dict[str, float | None] = {}
    for name, some in values.items():
        known = [v for v in some if v is not None]
        out[name] = float(np.mean(known)) if len(known) == len(some) else None
    return out


def _mean_of_classes(each: Sequence[Row], key: str) -> float | None:
    values = list(_by_class(each, key).values())
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _worst(each: Sequence[Row], key: str) -> float | None:
    values = list(_by_class(each, key).values())
    known = [v for v in values if v is not None]
    return min(known) if known and len(known) == len(values) else None


def _median(values: Sequence[float | None]) -> float | None:
    middle = np.median([np.inf if v is None else v for v in values]) if values else np.inf
    return float(middle) if np.isfinite(middle) else None


def _ninety(each: Sequence[Row], key: str) -> float | None:
    """Return the least that is enough for nine of ten classes, None where that many never got there."""
    values = sorted(np.inf if v is None else v for v in _by_class(each, key).values())
    if not values:
        return None
    enough = values[max(0, int(np.ceil(0.9 * len(values))) - 1)]
    return float(enough) if np.isfinite(enough) else None
