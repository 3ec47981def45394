"""Whether "found about 90 % (78 to 97)" is right: the estimate against the truth, round by round.

Every class of three collections is the target of a play with each of three references, by the oracle of
`labeler simulate`, up to 3 K cards; K is the number of its images. The person wants 95 % of it found, so
some cards are asked again. Each round's estimate is compared with the truth; its constants are the same
everywhere.

coverage                at 80, 90 and 95 % found and at the moment of stopping, in each collection by itself:
                        how often the interval held the truth; the worst of these twelve
half_width, …_p90       of the interval at 90 % found: median and 90th percentile, the worst collection
extra_cards             part of the cards that the estimate alone asks for: those asked again
stop_true, stop_cost    "reached": how often it was true; cards by those that hindsight would have needed
never, cannot           plays that never stop; those that do not find so much within their cards
coverage_noisy          of plays with 5 % wrong answers; the truth is then the share of the class's images
                        that stand answered so
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.find import TARGETS, VIEWS
from benchmarks.pool import HOME, Pool, flat_folder, show
from labeler import simulate
from labeler.bar import Bar
from labeler.truth import read_truth
from labeler.workspace import Workspace

CHECKPOINTS, EARLY = (0.8, 0.9, 0.95), (0.5, 0.7)
TIMES, NOISE = 3.0, 0.05


@dataclass(frozen=True)
class Moment:
    """What was true and what was said in a round. share: of the class; low, high: None while silent."""

    cards: int
    share: float
    low: float | None
    high: float | None
    reached: bool


@dataclass(frozen=True)
class Play:
    """One target with one reference, from the first round to the last. extra: part of the cards."""

    collection: str
    moments: list[Moment]
    extra: float


def watched(collection: str, played: simulate.Played) -> Play:
    """Return what a play's rounds said beside what was true."""
    total = len(played.task.members)
    moments = []
    for seen in played.rounds:
        low, high = (seen.estimate["low"], seen.estimate["high"]) if seen.estimate else (None, None)
        reached = bool(seen.advice and seen.advice["reached"])
        moments.append(Moment(seen.shown, seen.kept / total, low, high, reached))
    last = played.rounds[-1]
    return Play(collection, moments, last.again / last.shown)


def figures(plays: Sequence[Play], *, target: float) -> dict[str, Any]:  # Any: JSON
    """Return how right the estimate was for the plays of one collection.

    Silence at a checkpoint is counted by itself, not as coverage. A stop is the first "reached".
    """
    out: dict[str, Any] = {}
    for level in (*EARLY, *CHECKPOINTS):
        there = [m for p in plays if (m := _first(p, level)) is not None]
        spoken = [m for m in there if m.low is not None and m.high is not None]
        half = [(m.high - m.low) / 2 for m in spoken if m.low is not None and m.high is not None]
        out[f"at_{level}"] = {
            "plays": len(there),
            "silent": len(there) - len(spoken),
            "coverage": _mean([_covers(m) for m in spoken]),
            "half_width": float(np.median(half)) if half else None,
            "half_width_p90": float(np.quantile(half, 0.9)) if half else None,
        }
    stops = [(p, m) for p in plays if (m := next((m for m in p.moments if m.reached), None)) is not None]
    best = [(m.cards, first.cards) for p, m in stops if (first := _first(p, target)) is not None]
    cost = [cards / hindsight for cards, hindsight in best]
    out["stop"] = {
        "plays": len(plays),
        "stops": len(stops),
        "true": _mean([m.share >= target for _, m in stops]),
        "coverage": _mean([_covers(m) for _, m in stops]),
        "cost_median": float(np.median(cost)) if cost else None,
        "cost_mean": _mean(cost),
        "never": 1 - len(stops) / len(plays),
        "cannot": _mean([_first(p, target) is None for p in plays]),
    }
    return out


def _first(play: Play, level: float) -> Moment | None:
    return next((m for m in play.moments if m.share >= level), None)


def _covers(moment: Moment) -> bool:
    return moment.low is not None and moment.high is not None and moment.low <= moment.share <= moment.high


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def summary(clean: Sequence[Play], noisy: Sequence[Play], *, target: float) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints: the worst collection; all plays for stops."""
    names = list(dict.fromkeys(p.collection for p in clean))
    each = {name: figures([p for p in clean if p.collection == name], target=target) for name in names}
    rough = {
        name: figures([p for p in noisy if p.collection == name], target=target) for name in names if noisy
    }
    together = figures(clean, target=target)["stop"]

    def coverage(by: dict[str, Any]) -> float | None:  # Any: JSON
        judged = [of[key] for of in by.values() for key in (*(f"at_{c}" for c in CHECKPOINTS), "stop")]
        return min((part["coverage"] for part in judged if part["coverage"] is not None), default=None)

    nine = [of["at_0.9"] for of in each.values() if of["at_0.9"]["half_width"] is not None]
    return {
        "coverage": coverage(each),
        "half_width": max((part["half_width"] for part in nine), default=None),
        "half_width_p90": max((part["half_width_p90"] for part in nine), default=None),
        "extra_cards": _mean([p.extra for p in clean]),
        "stop_true": together["true"],
        "stop_cost": together["cost_mean"],
        "stop_cost_median": together["cost_median"],
        "never": together["never"],
        "cannot": together["cannot"],
        "coverage_noisy": coverage(rough),
        "collections": each,
        "collections_noisy": rough,
    }


def play(name: str, args: argparse.Namespace) -> tuple[list[Play], list[Play]]:
    """Return the plays of one collection, with true answers and with wrong ones; embeds it first."""
    folder, shown = flat_folder(Path(os.environ["LABELER_TEST_DATA"]) / name, args.cache)
    encoder = args.encoder or str(Path(os.environ["LABELER_TEST_WEIGHTS"]) / "mobilenet_v1_1.0_224")
    pool = Pool(folder, shown, encoder, VIEWS[name])
    pool.index()
    ws = Workspace.open(pool.workspace)
    truth = read_truth(ws, pool.truth)
    plan = simulate.Plan(
        times=TIMES, seeds=args.references, labeled=(), baseline=False, target_share=args.target
    )
    rough = replace(plan, noise=NOISE, seeds=args.noisy_references)
    wanted = TARGETS.get(name) or list(truth.items)
    judged = [task for each in (plan, rough) for task in simulate.tasks(ws, truth, each, wanted)]
    judged.sort(key=lambda task: -len(task.members))  # the long ones first
    bar = Bar(sys.stderr)
    print(f"{name}: {len(judged)} plays", file=sys.stderr, flush=True)
    played = simulate.play_all(ws, judged, report=bar.show)
    bar.close()
    ws.close()
    both = [[watched(name, p) for p in played if bool(p.task.noise) == noisy] for noisy in (False, True)]
    return both[0], both[1]


def measure(args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Play everything and return the object that --json prints."""
    clean: list[Play] = []
    noisy: list[Play] = []
    for name in args.collections:
        true, rough = play(name, args)
        clean += true
        noisy += rough
    return summary(clean, noisy, target=args.target)


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--collections", nargs="+", default=list(VIEWS), choices=list(VIEWS), help="in LABELER_TEST_DATA"
    )
    parser.add_argument("--encoder", help="default: mobilenet_v1_1.0_224 in LABELER_TEST_WEIGHTS")
    parser.add_argument("--cache", type=Path, default=HOME, help="where links and vectors are kept")
    parser.add_argument("--references", type=int, default=3, help="plays of each class")
    parser.add_argument("--noisy-references", type=int, default=3, help="the same with 5 %% wrong answers")
    parser.add_argument("--target", type=float, default=0.95, help="the share to stop at")
    parser.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    args = parser.parse_args()
    for name in ("LABELER_TEST_DATA", "LABELER_TEST_WEIGHTS"):
        if name not in os.environ:
            sys.exit(f"Set {name}.")
    show(measure(args), as_json=args.json)


if __name__ == "__main__":
    main()
