"""Whether "found about 90 % (78 to 97)" is right: the estimate against the truth, card by card.

Every class of three collections is the target of a play with each of three references; after each batch the
estimate is made from what a session knows then, and compared with the truth. Its constants are the same
everywhere, but were set while looking at these collections (docs/decisions/0009). With wrong answers, one
card in twenty is asked again, and the truth is the share of the class's images that were answered so. --again
asks a part of the cards again where no answer is wrong: what it costs to make sure of that.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from active.arrays import Rows

COLLECTIONS: dict[str, tuple[str, ...] | None] = {
    "aid": None,
    "hirise": ("crater", "dark_dune", "bright_dune", "streak"),
    "clothing": None,
}
"""What is judged on, and the classes of it that are looked for; None: all."""
CHECKPOINTS = (0.8, 0.9, 0.95)
BATCH, AUDIT, NEAR_COS, AGAIN = 20, 0.05, 0.98, 0.05
PREFIX = "estimate-"


@dataclass(frozen=True)
class Moment:
    """What was true and what was said after a batch. said, low, high: None while nothing is said.

    to_sure  how many more cards it said until "reached"; None: that can't be said.
    """

    cards: int
    share: float
    said: float | None
    low: float | None
    high: float | None
    reached: bool
    to_sure: float | None = None


@dataclass(frozen=True)
class Play:
    """One target with one reference, from the first card to the last. total: images of the class."""

    collection: str
    target: str
    reference: int
    total: int
    moments: list[Moment]


def moments(
    rows: Rows,
    is_target: NDArray[np.bool_],
    *,
    target: float,
    times: float,
    noise: float,
    again_share: float,
    seed: Sequence[int],
) -> Iterator[Moment]:
    """Yield a moment per batch of a play with the recipe, up to `times` cards per image of the class.

    noise, again_share  parts of the answers that are wrong, and of the cards that are asked again.
    """
    from active import learner, recall
    from active.selection import Pool, choose

    rng = np.random.default_rng(seed)
    total, n = int(is_target.sum()), len(rows)
    first = int(rng.choice(np.flatnonzero(is_target)))
    ids, yes, why, unasked = [first], [True], ["asked"], [n]
    again = other = 0
    head = None
    while len(ids) < min(times * total, n):
        free = np.setdiff1d(np.arange(n), ids)
        chance = None if head is None else head.predict(rows)[:, list(head.labels).index(0)]
        pool = Pool(rows, free, chance, like=rows[[first]])
        picks = choose(
            pool, goal="find", n=BATCH, batch_size=BATCH, audit_share=AUDIT, near_cos=NEAR_COS, rng=rng
        )
        truth = is_target[picks.ids]
        said = truth ^ (rng.random(len(truth)) < noise)
        twice = rng.random(len(truth)) < again_share
        other += int((twice & (said != (truth ^ (rng.random(len(truth)) < noise)))).sum())
        again += int(twice.sum())
        ids += picks.ids.tolist()
        yes += said.tolist()
        why += picks.reasons
        unasked += [len(free)] * len(said)
        labels = np.where(yes, 0, 1)
        left = np.setdiff1d(np.arange(n), ids)
        head = learner.fit_head(rows[ids], labels, pool=rows[left], rng=rng)
        share = float((is_target[ids] & np.array(yes)).sum()) / total
        now = None
        if not all(yes) and len(left):
            decision = learner.decision(head, rows[left], 0)
            score = learner.left_out(head, 0)
            asked = recall.Asked(np.array(yes), why, np.array(unasked), score.astype(np.float32))
            now = recall.estimate(asked, decision, repeats=(again, other))
        if now is None:
            yield Moment(len(ids), share, None, None, None, False)
        else:
            reached = recall.advise(now, target).reached
            more = recall.cost(now, target, left=len(left)).to_sure
            yield Moment(len(ids), share, now.share, now.low, now.high, reached, more)


def figures(plays: Sequence[Play], *, target: float) -> dict[str, Any]:  # Any: JSON
    """Return how right the estimate was for the plays of one collection.

    Silence at a checkpoint is counted by itself, not as coverage. A stop is the first "reached".
    """
    out: dict[str, Any] = {}
    for level in CHECKPOINTS:
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
        "more": {f"{a}-{b}": _more(plays, a, b) for a, b in itertools.pairwise((0.5, 0.8, 0.9, 1.0))},
    }
    return out


def _more(plays: Sequence[Play], least: float, most: float) -> dict[str, Any]:  # Any: JSON
    """Return how many more cards it said until "reached", by how many it took, while so much was found."""
    stops = [(p, next((m.cards for m in p.moments if m.reached), 0)) for p in plays]
    said = [
        (m.to_sure + BATCH / 2) / (stop - m.cards + BATCH / 2)
        for play, stop in stops
        for m in play.moments
        if least <= m.share < most and m.cards < stop and m.to_sure is not None
    ]
    ends = np.quantile(said, [0.1, 0.5, 0.9]).tolist() if said else None
    return {"moments": len(said), "low_middle_high": ends}


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

    def coverages(by: dict[str, Any]) -> list[float]:  # Any: JSON
        return [
            part["coverage"] for of in by.values() for part in of.values() if part["coverage"] is not None
        ]

    nine = [of["at_0.9"] for of in each.values() if of["at_0.9"]["half_width"] is not None]
    return {
        "coverage": min(coverages(each), default=None),
        "half_width": max((part["half_width"] for part in nine), default=None),
        "half_width_p90": max((part["half_width_p90"] for part in nine), default=None),
        "extra_cards": 0.0,
        "stop_true": together["true"],
        "stop_cost": together["cost_mean"],
        "stop_cost_median": together["cost_median"],
        "never": together["never"],
        "cannot": together["cannot"],
        "coverage_noisy": min(coverages(rough), default=None),
        "collections": each,
        "collections_noisy": rough,
    }


def collection(name: str, args: argparse.Namespace) -> tuple[Rows, NDArray[np.str_]]:
    """Return the rows that heads learn from and the class of each item; embeds where that was not done."""
    from benchmarks.pool import Pool, flat_folder
    from labeler import space
    from labeler.workspace import Workspace

    folder, truth = flat_folder(Path(os.environ["LABELER_TEST_DATA"]) / name, args.cache)
    encoder = args.encoder or str(Path(os.environ["LABELER_TEST_WEIGHTS"]) / "mobilenet_v1_1.0_224")
    pool = Pool(folder, truth, encoder)
    pool.index()
    ws = Workspace.open(pool.workspace)
    seen = space.current(ws)
    assert seen is not None
    # each image is a link into the folder of its class
    names = {item: (folder / paths[0]).resolve().parent.name for item, paths in ws.catalog.paths().items()}
    ws.close()
    return seen.rows, np.array([names.get(item, "") for item in range(len(seen.rows))])


def _play(task: tuple[Path, str, NDArray[np.bool_], int, tuple[float, float], float]) -> Play:
    file, target, is_target, reference, (noise, again), share = task
    rows = np.load(file)
    seed = [reference, *target.encode()]
    seen = list(moments(rows, is_target, target=share, times=3, noise=noise, again_share=again, seed=seed))
    return Play(file.stem.removeprefix(PREFIX), target, reference, int(is_target.sum()), seen)


def measure(args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Play everything and return the object that --json prints."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # read by the processes started below: one thread each
    clean: list[Play] = []
    noisy: list[Play] = []
    for name in args.collections:
        rows, classes = collection(name, args)
        wanted = COLLECTIONS.get(name) or tuple(sorted(set(classes) - {""}))
        file = args.cache / f"{PREFIX}{name}.npy"
        np.save(file, rows)
        tasks = [
            (file, target, classes == target, reference, noise, args.target)
            for noise, references in (
                ((0.0, args.again), args.references),
                ((0.05, AGAIN), args.noisy_references),
            )
            for target in wanted
            for reference in range(references)
        ]
        tasks.sort(key=lambda task: -int(task[2].sum()))  # the long ones first
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            for task, play in zip(tasks, pool.map(_play, tasks), strict=True):
                (noisy if task[4][0] else clean).append(play)
        print(json.dumps({"collection": name, "plays": len(tasks)}), file=sys.stderr, flush=True)
    return summary(clean, noisy, target=args.target)


def main() -> None:
    """Run the benchmark and print what it found."""
    from benchmarks.pool import HOME, show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", nargs="+", default=list(COLLECTIONS), help="in LABELER_TEST_DATA")
    parser.add_argument("--encoder", help="default: mobilenet_v1_1.0_224 in LABELER_TEST_WEIGHTS")
    parser.add_argument("--cache", type=Path, default=HOME, help="where links and vectors are kept")
    parser.add_argument("--references", type=int, default=3, help="plays of each class")
    parser.add_argument("--noisy-references", type=int, default=1, help="the same with 5 %% wrong answers")
    parser.add_argument(
        "--again", type=float, default=0.0, help="part of the cards asked again in the others"
    )
    parser.add_argument("--target", type=float, default=0.95, help="the share to stop at")
    parser.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    args = parser.parse_args()
    for name in ("LABELER_TEST_DATA", "LABELER_TEST_WEIGHTS"):
        if name not in os.environ:
            sys.exit(f"Set {name}.")
    show(measure(args), as_json=args.json)


if __name__ == "__main__":
    main()
