"""How many cards it takes to find the first images of a target when no example is given.

The loop's selection and head outside the server: rounds of three batches of which one is shown, as for one
person. Every class is looked for: `whole`, as it is in its collection, and `rare`, where in each pool a third
of the classes is cut to 0.15 % of the images of the collection, at least five, drawn evenly. Until something
is found the answers are the same for all classes: one row of cards of "no" serves every class of a pool.

first_median, first_mean, first_p90   cards up to and with the first image, over classes and seeds
third_median                          the same to the third
over                                  part of them that did not come within --cards; counted as that many
even_mean                             (N + 1) / (K + 1): the mean of the first where cards are drawn evenly
round_ms                              choose, median of the rounds before the first find
Each for the recipe, for `clusters` (all of `spread` drawn from clusters: before 0018) and for `even`.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

from active import scatter
from active.arrays import Ids, Rows
from active.kriging import Told
from active.learner import fit_head, left_out
from active.selection import Pool, choose
from benchmarks.find import TARGETS, collection, plays_on
from benchmarks.pool import arguments, show
from labeler import space
from labeler.bar import Bar
from labeler.child import ONE_THREAD
from labeler.config import Config
from labeler.domain import Progress
from labeler.ingest import count_cores
from labeler.looking import Eye, Labeled, everywhere
from labeler.truth import read_truth
from labeler.workspace import Workspace

UNLIKE = scatter.UNLIKE
WAYS = ("recipe", "clusters", "even")
RARE, AT_LEAST, PART = 0.0015, 5, 3
FINDS = (1, 3)
MORE = 50  # batches after the first find within which the third is to come


@dataclass(frozen=True)
class Case:
    """Rows of a pool, and what is looked for in it: {class: its items}."""

    rows: Rows
    targets: dict[str, Ids]


@dataclass(frozen=True)
class Shown:
    """The cards of a play in order, and the milliseconds of each round."""

    cards: list[int]
    round_ms: list[float]


def rare(whole: Case, rng: np.random.Generator) -> Case:
    """Return the pool with a third of the classes cut to few images, which are then what is looked for."""
    keep = np.ones(len(whole.rows), bool)
    few = max(AT_LEAST, round(RARE * len(whole.rows)))
    names = rng.permutation(sorted(whole.targets))[: -(-len(whole.targets) // PART)].tolist()
    for name in names:
        keep[rng.permutation(whole.targets[name])[few:]] = False
    place = np.cumsum(keep) - 1
    left = {name: place[of[keep[of]]] for name in names for of in [whole.targets[name]]}
    return Case(np.ascontiguousarray(whole.rows[keep]), left)


def batch(rows: Rows, way: str, seed: int, *, cards: list[int], target: Ids) -> list[int]:
    """Return the next batch, from a round made as the loop makes it.

    cards  those shown before. target: the items that are answered "yes".
    """
    config, asked = Config(), np.array(cards, np.int64)
    rng = np.random.default_rng([seed, len(cards)])
    is_open = np.ones(len(rows), bool)
    is_open[asked] = False
    pool = Pool(rows=rows, candidates=np.flatnonzero(is_open), before=asked[-2:])
    y = np.where(np.isin(asked, target), 0, 1)
    if 0 in y:
        none = np.empty((0, rows.shape[1]), np.float32)
        x = rows[asked]
        head = fit_head(x, y, pool=rows, is_rare=True, rng=rng)
        eye = Eye(rows, Labeled(x, y, asked, none, none), head, n_labels=2, is_one=True)
        told = Told(x, y == 0, head.calibrated(left_out(head, 0), 0))
        pool = Pool(rows, pool.candidates, everywhere(eye).target, before=pool.before, told=told)
    elif way == "even":
        return list(rng.permutation(pool.candidates)[: config.batch_size].tolist())
    picks = choose(
        pool, goal="find", n=3 * config.batch_size, batch_size=config.batch_size,
        audit_share=config.audit_share, near_cos=config.near_duplicate_cos, rng=rng,
    )  # fmt: skip
    return list(picks.ids[: config.batch_size].tolist())


def cold(case: Case, way: str, seed: int, most: int) -> Shown:
    """Return the cards where every answer is "no", until each class has been met or `most` were shown."""
    shown = Shown([], [])
    none = np.empty(0, np.int64)
    while len(shown.cards) < most and not all(np.isin(of, shown.cards).any() for of in case.targets.values()):
        started = time.perf_counter()
        cards = batch(case.rows, way, seed, cards=shown.cards, target=none)
        shown.round_ms.append(1000 * (time.perf_counter() - started))
        shown.cards.extend(cards)
    return shown


def to_find(case: Case, name: str, way: str, seed: int, cold_cards: list[int]) -> list[int | None]:
    """Return how many cards it takes to the first and the third image of a class; None: more than there are.

    cold_cards  those of `cold` for the same case, way and seed.
    """
    target = case.targets[name]
    hits = np.flatnonzero(np.isin(cold_cards, target))
    if len(hits) == 0:
        return [None for _ in FINDS]
    size = Config().batch_size
    cards = cold_cards[: (int(hits[0]) // size + 1) * size]  # with the rest of its batch
    for _ in range(MORE):
        if np.isin(cards, target).sum() >= max(FINDS):
            break
        cards = [*cards, *batch(case.rows, way, seed, cards=cards, target=target)]
    hits = np.flatnonzero(np.isin(cards, target)) + 1
    return [int(hits[n - 1]) if len(hits) >= n else None for n in FINDS]


@dataclass(frozen=True)
class Job:
    """All targets of a case, found in one of the ways. most: nobody looks at more before a first find."""

    case: Case
    way: str
    seed: int
    most: int


def play(job: Job) -> tuple[list[list[int | None]], list[float]]:
    """Return what `to_find` says of each target, and the milliseconds of the rounds before a first find."""
    scatter.UNLIKE = 0.0 if job.way == "clusters" else UNLIKE
    shown = cold(job.case, job.way, job.seed, job.most)
    found = [to_find(job.case, name, job.way, job.seed, shown.cards) for name in job.case.targets]
    return found, shown.round_ms


def figures(cases: list[Case], most: int) -> dict[str, Any]:  # Any: JSON
    """Return the figures of every way, the same cases for each; a process for each core, one thread each."""
    os.environ.update(ONE_THREAD)  # as in the process that learns
    out: dict[str, Any] = {}
    bar = Bar(sys.stderr)
    with ProcessPoolExecutor(count_cores(), mp_context=get_context("spawn")) as processes:
        for way in WAYS:
            jobs = [Job(case, way, seed, most) for seed, case in enumerate(cases)]
            needed: list[list[int | None]] = []
            round_ms: list[float] = []
            for found, ms in processes.map(play, jobs):
                needed += found
                round_ms += ms
                bar.show(Progress("playing", len(needed), sum(len(c.targets) for c in cases)))
            first, third = np.array([[min(n or most, most) for n in both] for both in needed]).T
            out[way] = {
                "first_median": float(np.median(first)),
                "first_mean": float(first.mean()),
                "first_p90": float(np.percentile(first, 90)),
                "third_median": float(np.median(third)),
                "over": float((first >= most).mean()),
                "round_ms": float(np.median(round_ms)),
            }
    bar.close()
    even = [(len(c.rows) + 1) / (len(of) + 1) for c in cases for of in c.targets.values()]
    return {**out, "even_mean": float(np.mean(even)), "plays": len(even)}


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    plays_on(parser, seeds=10)
    parser.add_argument("--cards", type=int, default=1000, help="nobody looks at more before a first find")
    args = parser.parse_args()
    whole = whole_case(args)
    cut = [rare(whole, np.random.default_rng([seed, 1])) for seed in range(args.seeds)]
    result = {
        "whole": figures([whole] * args.seeds, args.cards),
        "rare": figures(cut, args.cards),
        "images": len(whole.rows),
    }
    show(result, as_json=args.json)


def whole_case(args: argparse.Namespace) -> Case:
    """Return the collection that the arguments name, indexed, with all classes that are looked for."""
    pool = collection(args)
    pool.index()
    ws = Workspace.open(pool.workspace)
    try:
        truth = read_truth(ws, pool.truth)
        now = space.current(ws)
        assert now is not None
        names = TARGETS.get(args.collection) or list(truth.items)
        return Case(np.asarray(now.rows), {name: truth.items[name] for name in names})
    finally:
        ws.close()


if __name__ == "__main__":
    main()
