"""How much of a class is found after as many cards as it has images, by the oracle of `labeler simulate`.

One flat folder of links with random names, one workspace, every class looked for in a session of its own,
from three reference images in turn, 5 % of the cards drawn at random. K is the number of its images.

found_1k, found_1_5k, found_2k, found_3k  goal find: mean over classes of the means of their plays
worst_2k                        the worst class after 2 K cards, mean of its plays
median_cards_82, p90_cards_95   in K: median over plays; what 9 of 10 classes need at most, null: over 3 K
ap_200                          goal classify: average precision on a held-out third after 200 labels
round_p95_ms                    learn, rank and choose, while two plays run side by side
play_s                          median of a whole play of goal find (3 K cards), the oracle included
first_card_s, first_card_again_s  through the real server: on a new workspace, and started again

--strategy all: a row for each strategy under `strategies`, both goals (ap_200 with the strategy's own cards).
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool import Pool, arguments, open_pool, show
from benchmarks.server import first_cards, running
from labeler import simulate
from labeler.bar import Bar
from labeler.outcome import summary
from labeler.truth import Truth, read_truth
from labeler.trying import STRATEGIES
from labeler.workspace import Workspace

TIMES, LABELED = 3.0, (50, 100, 200)
VIEWS = {"aid": 4, "hirise": 4, "clothing": 1}  # clothes have an up
TARGETS = {"hirise": ["crater", "dark_dune", "bright_dune", "streak"]}  # its other folders are no classes
KEPT = ("found_1k", "found_1_5k", "found_2k", "found_3k", "worst_2k", "missed_95")


def measure(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Index once, then play every class; return the object that --json prints."""
    with (
        tempfile.TemporaryDirectory() as fresh,
        running(*pool.options(Path(fresh) / "w"), "--port", "8640") as server,
    ):
        first_card_s = first_cards(server)[0]
    started = time.perf_counter()
    pool.index()
    index_s = time.perf_counter() - started
    ws = Workspace.open(pool.workspace)
    truth = read_truth(ws, pool.truth)
    names = args.strategy
    found = {name: strategy_figures(ws, truth, name, args) for name in names}
    ws.close()
    with running(*pool.options(), "--port", "8642") as server:
        again_s = first_cards(server)[0]
    return {
        **found[names[0]],
        "strategy": names[0],
        "first_card_s": first_card_s,
        "first_card_again_s": again_s,
        "index_s": index_s,
        "images": len(truth.names),
        "encoder": Path(pool.encoder).name,
        "views": pool.views,
        **({"strategies": found} if len(names) > 1 else {}),
    }


def strategy_figures(
    ws: Workspace, truth: Truth, strategy: str, args: argparse.Namespace
) -> dict[str, Any]:  # Any: JSON
    """Return the figures of one strategy: goal find on the whole pool, goal classify on two thirds of it."""
    find = simulate.Plan(strategy=strategy, times=TIMES, seeds=args.seeds, labeled=(), baseline=False)
    classify = replace(find, goal="classify", labeled=LABELED)
    targets = TARGETS.get(args.collection) or list(truth.items)
    wanted = simulate.tasks(ws, truth, find, targets)
    judged = [t for t in simulate.tasks(ws, truth, classify, targets) if t.kind == "held out"]
    bar = Bar(sys.stderr)
    print(f"{strategy}: {len(wanted)} plays to find, {len(judged)} to classify", file=sys.stderr, flush=True)
    plays = simulate.play_all(ws, [*wanted, *judged], report=bar.show)
    bar.close()
    all_of = summary(plays, truth, classify)
    return {
        **{key: all_of[key] for key in KEPT},
        "median_cards_82": all_of["cards_82"],
        "p90_cards_95": all_of["p90_cards_95"],
        **{f"ap_{n}": all_of[f"ap_{n}"] for n in LABELED},
        "round_p50_ms": all_of["round_p50_ms"],
        "round_p95_ms": all_of["round_p95_ms"],
        "play_s": float(np.median([p.wall_s for p in plays if p.task.kind == "play"])),
        "classes": all_of["classes"],
    }


def plays_on(parser: argparse.ArgumentParser, *, seeds: int = 3) -> None:
    """Add the options that name a collection and how it is played, for `collection`."""
    parser.add_argument("--collection", choices=["aid", "hirise", "clothing"], default="aid")
    parser.add_argument("--views", type=int, choices=[1, 4, 8], help="default: 4 for images without an up")
    parser.add_argument(
        "--seeds", type=int, default=seeds, help="plays per class, each from another reference"
    )


def collection(args: argparse.Namespace) -> Pool:
    """Return the pool of the collection that the arguments name; --images names another one."""
    views = args.views or (1 if args.images else VIEWS[args.collection])
    if not args.images and os.environ.get("LABELER_TEST_DATA"):
        args.images = str(Path(os.environ["LABELER_TEST_DATA"]) / args.collection)
    return open_pool(args, views)


def found_1k(pool: Pool, args: argparse.Namespace) -> float | None:
    """Return found_1k of the recipe on a pool, and nothing else: a third of the cards of `measure`.

    The images are taken in where need be. args: `seeds` and `collection`.
    """
    pool.index()
    ws = Workspace.open(pool.workspace)
    try:
        truth = read_truth(ws, pool.truth)
        plan = simulate.Plan(times=1.0, seeds=args.seeds, labeled=(), baseline=False)
        wanted = simulate.tasks(ws, truth, plan, TARGETS.get(args.collection) or list(truth.items))
        bar = Bar(sys.stderr)
        plays = simulate.play_all(ws, wanted, report=bar.show)
        bar.close()
    finally:
        ws.close()
    value: float | None = summary(plays, truth, plan)["found_1k"]
    return value


def strategies(text: str) -> list[str]:
    """Return the names of strategies, recipe first for "all"."""
    names = list(STRATEGIES) if text == "all" else text.split(",")
    if not set(names) <= set(STRATEGIES):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(STRATEGIES)}, all")
    return names


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--strategy", type=strategies, default=["recipe"], metavar="NAME,…|all")
    plays_on(parser)
    args = parser.parse_args()
    result = measure(collection(args), args)
    if not args.json:
        for row in (result, *result.get("strategies", {}).values()):
            row.pop("classes", None)
    show(result, as_json=args.json)


if __name__ == "__main__":
    main()
