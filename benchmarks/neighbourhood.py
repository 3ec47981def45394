"""How much is found where a round looks at the sample and at neighbours only, beside looking at every image.

Every class is looked for in a session of its own, through the loop that people use, from one reference, goal
find, up to 2 K cards; once with every image ranked, once through the index, with a sample of 200, which is to
10,000 images what 100,000 is to five million. K is the number of images of the class.

exact, index    found_1k, found_1_5k, found_2k: means over classes; worst_2k; cards_82: median, in K;
                coverage: share of all rounds whose estimate's interval held the truth
looked_at_mean, looked_at_max  images that a round with a head looked at through the index, every fifth class
looked_at_first, looked_at_last  the same for the first and the last round of a play, means
images          in the pool

--million: the same for three rare kinds of the million rows of `benchmarks.representative`, with the sample
of 100,000; a row for each kind under `kinds`, with processor time.
"""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import representative
from benchmarks.find import TARGETS, VIEWS
from benchmarks.loop import make, prepare, say
from benchmarks.pool import Pool, arguments, open_pool, show
from labeler import loop, simulate
from labeler.bar import Bar
from labeler.outcome import summary
from labeler.truth import Truth, read_truth
from labeler.workspace import Workspace

KEPT = ("found_1k", "found_1_5k", "found_2k", "worst_2k", "cards_82")
EVERY = 5
LARGE, MOST_CARDS = (200, 600, 2000), 700  # images of the kinds that are looked for among a million


def measure(pool: Pool, args: Any) -> dict[str, Any]:  # Any: argparse, JSON
    """Return the object that --json prints."""
    pool.index()
    ws = Workspace.open(pool.workspace)
    truth = read_truth(ws, pool.truth)
    plan = simulate.Plan(seeds=args.seeds, labeled=(), baseline=False)
    targets = TARGETS.get(args.collection) or list(truth.items)
    wanted = simulate.tasks(ws, truth, plan, targets)
    found = {"exact": figures(ws, truth, plan, wanted)}
    ws.config = replace(ws.config, sample_size=args.sample, exact_limit=0)
    prepare(ws)
    found["index"] = figures(ws, truth, plan, wanted)
    looked = [looked_at(ws, task) for task in wanted[::EVERY]]
    ws.close()
    every = np.concatenate(looked)
    return {
        **found,
        "looked_at_mean": float(every.mean()),
        "looked_at_max": int(every.max()),
        "looked_at_first": float(np.mean([one[0] for one in looked])),
        "looked_at_last": float(np.mean([one[-1] for one in looked])),
        "images": len(truth.names),
    }


def million(args: Any) -> dict[str, Any]:  # Any: argparse, JSON
    """Return the object that --million prints."""
    rows_file, kinds_file = representative.make(args.cache, args, "1m")
    rows, kinds = np.load(rows_file, mmap_mode="r"), np.load(kinds_file)
    sizes = np.bincount(kinds)
    order = np.argsort(sizes)
    wanted = [int(order[np.searchsorted(sizes[order], at)]) for at in LARGE]
    with tempfile.TemporaryDirectory() as folder:
        ws = make(Path(folder), rows, len(rows))
        ws.config = replace(ws.config, exact_limit=0)
        began = time.process_time()
        prepare(ws)
        prepare_cpu_s = time.process_time() - began
        found = []
        for kind in wanted:
            members = kinds == kind
            row: dict[str, Any] = {"images": int(members.sum())}
            for name, limit in (("index", 0), ("exact", len(rows))):
                ws.config = replace(ws.config, exact_limit=limit)
                row[name] = one_kind(ws, members)
            print(row, file=sys.stderr, flush=True)
            found.append(row)
        ws.close()
    return {"kinds": found, "prepare_cpu_s": prepare_cpu_s, "images": len(rows)}


def one_kind(ws: Workspace, members: np.ndarray) -> dict[str, float]:
    """Return what is found of a kind after half as many cards as it has images, as many, and at the end."""
    total = int(members.sum())
    session = loop.new_session(ws, "Is it one of them?", ["yes", "no"], "find", seed=1)
    person, hits = loop.owner(ws), [True]
    say(ws, person, int(np.flatnonzero(members)[0]), label="yes")
    looked, cpu = [], []
    while len(hits) < min(2 * total, MOST_CARDS):
        began = time.process_time()
        made = loop.learn(ws, session)
        cpu.append((time.process_time() - began) * 1000)
        assert made is not None
        with np.load(ws.round_file(session.id, made.number)) as arrays:
            looked += [int(arrays["looked_at"])] if "looked_at" in arrays else []
        for card in loop.next_cards(ws, session, person, session.batch_size, have=[]):
            hits.append(bool(members[card.item]))
            say(ws, person, card.item, label="yes" if hits[-1] else "no", card=card.id)
    return {
        "found_half_k": sum(hits[: total // 2]), "found_1k": sum(hits[:total]), "found": sum(hits),
        "cards": len(hits), "looked_at_mean": float(np.mean(looked)), "looked_at_max": max(looked),
        "round_cpu_p50_ms": float(np.median(cpu)),
    }  # fmt: skip


def figures(
    ws: Workspace, truth: Truth, plan: simulate.Plan, wanted: list[simulate.Task]
) -> dict[str, float | None]:
    """Return what plays amount to with the settings of `ws`."""
    bar = Bar(sys.stderr)
    all_of = summary(simulate.play_all(ws, wanted, report=bar.show), truth, plan)
    bar.close()
    estimate = all_of["estimate"]
    return {key: all_of[key] for key in KEPT} | {"coverage": estimate["coverage"] if estimate else None}


def looked_at(ws: Workspace, task: simulate.Task) -> list[int]:
    """Return how many images each round of a play looked at, from its first head on."""
    seen: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = ws.copy_to_play_on(Path(folder) / "copy")

        def look() -> bool:
            session = loop.newest_session(copy)
            for made in copy.store.rounds(session.id, last=1):
                with np.load(copy.round_file(session.id, made.number)) as arrays:
                    seen.extend([int(arrays["looked_at"])] if "looked_at" in arrays else [])
            return False

        simulate.play(copy, task, is_over=look)
        copy.close()
    return seen


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--collection", choices=list(VIEWS), default="aid")
    parser.add_argument("--seeds", type=int, default=1, help="plays per class, each from another reference")
    parser.add_argument("--sample", type=int, default=200, help="size of the representative sample")
    parser.add_argument("--million", action="store_true", help="rare kinds among a million rows instead")
    args = parser.parse_args()
    if args.million:
        show(million(args), as_json=args.json)
        return
    views = 1 if args.images else VIEWS[args.collection]
    if not args.images and os.environ.get("LABELER_TEST_DATA"):
        args.images = str(Path(os.environ["LABELER_TEST_DATA"]) / args.collection)
    show(measure(open_pool(args, views), args), as_json=args.json)


if __name__ == "__main__":
    main()
