"""How quick a search is, and how much it finds: among ten thousand, a million, and 48 million images.

The rows are real ones of the three collections, and for larger pools moved as far as real neighbours lie
apart (`benchmarks.larger`). Queries are further rows of the same kind.

10k, 1m   by the program's own search: p50_ms and p95_ms of a search for 100 by one vector, recall_100 (the
          share of the exact 100 nearest); at a million of 60 searches alone, a second after the last one
          (by_codes: the share of these that went by codes all the same), and in `busy` the same of searches
          that follow each other at once, as those of many people do, with recall_unlike_100 (of queries with
          an example that is not wanted) and reach (rows compared, in multiples of 100). rss_gb (of a process
          that opens the workspace and searches), build_s (codes: learning the turn, coding, measuring; one
          thread, as in the background). Ten thousand are always compared whole: nothing is built, and recall
          is 1
48m       by codes of 512 bits in lists alone, no vectors are compared: recall_100 counts any code no farther
          than the true hundredth; build_s and build_rss_gb of putting them into lists. Only with --size 48m
same_class_100  of aid: the share of the nearest 100 of each image that are of its class, by vectors (from
          their mean, as codes are) and by codes; same_class: of two collections, among 10, 50 and 100
scale     found_1k_exact, found_1k_index: of classes of aid hidden among a million others, after as many cards
          as the class has images; every image ranked, and through the sample and the index
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, unit_rows
from active.codes import BITS, Coded, Flat, fit_coder
from active.search import Exact, combine
from benchmarks.larger import BLOCK, KEY, Crowd, workspace
from benchmarks.loop import prepare
from benchmarks.neighbourhood import one_kind
from benchmarks.pool import Pool, arguments, open_pool, show
from labeler import coding, lull, searching, shelves
from labeler.child import ONE_THREAD
from labeler.workspace import Workspace

COLLECTIONS = ("aid", "hirise", "clothing")
WIDTHS = (512, 256, 128, 64)
QUERIES, WARM, ALONE = 200, 20, 60
SIZES = {"10k": 10_000, "1m": 1_000_000, "48m": 48_000_000}
ASKED = 10**6  # the number of the block that queries are drawn from
CLASSES = 10  # of aid, that are looked for among a million


def real(args: argparse.Namespace, name: str) -> tuple[Rows, NDArray[np.str_]]:
    """Return the vectors of a collection, (n, d), and the class of each."""
    given = argparse.Namespace(**vars(args))
    if not args.images and os.environ.get("LABELER_TEST_DATA"):
        given.images = str(Path(os.environ["LABELER_TEST_DATA"]) / name)
    pool: Pool = open_pool(given)
    pool.index()
    ws = Workspace.open(pool.workspace)
    used = ws.registry.in_use()
    assert used is not None
    key, dim, n = used
    rows = np.array(ws.vectors(key, dim).rows(0, n))
    paths = ws.catalog.paths()
    classes = np.array([pool.truth[paths[i][0]] if i in paths else "" for i in range(n)])
    ws.close()
    return rows[classes != ""], classes[classes != ""]


# how quick, how much -----------------------------------------------------------------------


def apart(work: Any, *args: object) -> Any:  # Any: what the work takes and gives
    """Return what work gives in a fresh process, whose memory is its own."""
    before = dict(os.environ)
    os.environ.update(ONE_THREAD)  # as in the process that learns; it counts from the start of a process
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
            return one.submit(work, *args).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def searched(folder: Path, asked: Rows) -> dict[str, Any]:  # Any: figures and found ids
    """Return how long searches through the program took, and what they found; of one person, and of many."""
    ws = Workspace.open(folder)
    used = ws.registry.in_use()
    assert used is not None
    pause = lull.LULL_S if used[2] > coding.EXACT_ROWS else 0.0
    for row in asked[:WARM]:
        searching.neighbours(ws, row[None], k=100)
    took, found = timed(ws, asked[WARM:])
    memory = rss_gb()
    with indexes() as asked_of:
        took_alone, found_alone = timed(ws, asked[WARM : WARM + ALONE], pause)
    by_codes = sum(isinstance(i, Coded) or not getattr(i, "was_whole", True) for i in asked_of)
    memory_alone = rss_gb()
    pairs = [(asked[i, None], asked[i + 1, None]) for i in range(0, len(asked) - 1, 4)]
    without = [[i for i, _ in searching.neighbours(ws, *pair, k=100)] for pair in pairs]
    ws.close()
    return {
        "busy": {"took": took, "found": found, "rss": memory},
        "alone": {"took": took_alone, "found": found_alone, "rss": memory_alone, "by_codes": by_codes},
        "pairs": pairs,
        "found_unlike": without,
    }


@contextlib.contextmanager
def indexes() -> Iterator[list[Any]]:  # Any: indexes
    """Collect what searches are asked of."""
    real, made = coding.index, list[Any]()

    def index(*args: Any, **more: Any) -> Any:  # Any: as those of the real one
        made.append(real(*args, **more))
        return made[-1]

    coding.index = index
    try:
        yield made
    finally:
        coding.index = real


def timed(ws: Workspace, asked: Rows, pause: float = 0.0) -> tuple[list[float], list[list[int]]]:
    """Return how long each search took (ms), and what it found. pause  before each, in seconds."""
    took, found = [], []
    for row in asked:
        time.sleep(pause)
        began = time.perf_counter()
        near = searching.neighbours(ws, row[None], k=100)
        took.append((time.perf_counter() - began) * 1000)
        found.append([i for i, _ in near])
    return took, found


def built(folder: Path) -> dict[str, float]:
    """Return what making codes costs, made anew."""
    ws = Workspace.open(folder)
    for path in ws.cache.glob("codes-*"):
        path.unlink()
    began = time.perf_counter()
    coding.keep(ws)
    made = coding.ready(ws, KEY)
    ws.close()
    return {
        "build_s": time.perf_counter() - began,
        "reach": made.now.reach if made else 0.0,
        "build_rss_gb": rss_gb(),
    }


def rss_gb() -> float:
    """Return the most memory that this process has had, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def rows_figures(ws: Workspace, asked: Rows) -> dict[str, Any]:  # Any: figures
    """Return the figures of a pool of vectors."""
    folder = ws.folder
    rows = ws.vectors(KEY, asked.shape[1]).rows()
    out = apart(built, folder)
    got = apart(searched, folder, asked)
    true = Exact(rows).search(asked[WARM:], 100)[0]
    by = {
        name: {
            **quick(some["took"]),
            "recall_100": share(true[: len(some["found"])], some["found"]),
            "rss_gb": some["rss"],
        }
        for name, some in (("busy", got["busy"]), ("alone", got["alone"]))
    }
    both = Exact(rows).search(np.concatenate([combine(*pair) for pair in got["pairs"]]), 100)[0]
    by["busy"] |= {"recall_unlike_100": share(both, got["found_unlike"]), "reach": out.pop("reach")}
    by["alone"]["by_codes"] = got["alone"]["by_codes"] / len(got["alone"]["took"])
    return {**by["alone"], **out, "busy": by["busy"]}


def share(true: Ids, found: list[list[int]]) -> float:
    """Return which share of what is true was found, in the mean."""
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]))


def quick(took: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile of milliseconds."""
    return {"p50_ms": float(np.median(took)), "p95_ms": float(np.quantile(took, 0.95))}


def rows_of(crowd: Crowd, args: argparse.Namespace, name: str, n: int) -> dict[str, Any]:  # Any: figures
    """Return the figures of so many rows; the workspace is kept for the next time."""
    asked = unit_rows(crowd.block(ASKED, QUERIES + WARM))
    parts = (crowd.block(lo // BLOCK, min(BLOCK, n - lo)) for lo in range(0, n, BLOCK))
    some = iter([crowd.real[:n]]) if n <= len(crowd.real) else parts
    return rows_figures(workspace(args.cache / f"search-{name}-{n}-{crowd.mark()}", some), asked)


def codes_of(crowd: Crowd, args: argparse.Namespace, name: str, n: int) -> dict[str, float]:
    """Return the figures of so many codes, in lists; both are kept for the next time."""
    folder = args.cache / f"search-{name}-{n}-{crowd.mark()}"
    folder.mkdir(parents=True, exist_ok=True)
    path, about = folder / "codes.bin", folder / "built.json"
    coder = fit_coder(crowd.real, BITS, np.random.default_rng(0))
    moved = crowd.turned(coder.mean, coder.turn)
    if not path.exists() or path.stat().st_size != n * coder.n_bytes:
        write_codes(moved, path, n)
        about.unlink(missing_ok=True)
    if not about.exists():
        about.write_text(json.dumps(apart(shelved, path, n, coder.n_bytes)))
    asked = np.packbits(moved.block(ASKED, QUERIES + WARM) > 0, axis=1)
    got = apart(listed, path, n, asked)
    return {
        **quick(got["took"]),
        "recall_100": got["recall"],
        "rss_gb": got["rss"],
        **json.loads(about.read_text()),
    }


def write_codes(moved: Crowd, path: Path, n: int) -> None:
    """Write the codes of n rows of a crowd that was turned."""
    part = path.with_suffix(".part")
    with open(part, "wb") as f:
        for lo in range(0, n, BLOCK):
            f.write(np.packbits(moved.block(lo // BLOCK, min(BLOCK, n - lo)) > 0, axis=1).tobytes())
    part.replace(path)


def shelved(path: Path, n: int, n_bytes: int) -> dict[str, float]:
    """Return what putting codes into lists costs."""
    codes = np.memmap(path, np.uint8, mode="r", shape=(n, n_bytes))
    began = time.perf_counter()
    shelves.make(codes, path)
    return {"build_s": time.perf_counter() - began, "build_rss_gb": rss_gb()}


def listed(path: Path, n: int, asked: NDArray[np.uint8]) -> dict[str, Any]:  # Any: figures
    """Return how long searches in lists take, what share they find, and the memory of the searches alone."""
    codes = np.memmap(path, np.uint8, mode="r", shape=(n, asked.shape[1]))
    near = shelves.near(codes, path)
    assert not isinstance(near, Flat), "the lists were made before"
    for code in asked[:WARM]:
        near.nearest(code, 100)
    took, found = [], []
    for code in asked[WARM:]:
        began = time.perf_counter()
        found.append(near.nearest(code, 100))
        took.append((time.perf_counter() - began) * 1000)
    memory, hits = rss_gb(), []
    for code, at in zip(asked[WARM:], found, strict=True):
        far = distance(code, codes[Flat(codes).nearest(code, 100)]).max()
        hits.append((distance(code, codes[at]) <= far).sum() / 100)
    return {"took": took, "recall": float(np.mean(hits)), "rss": memory}


def distance(code: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return in how many bits each of some codes differs from one."""
    out: NDArray[np.int64] = np.unpackbits(others ^ code, axis=1).sum(1, dtype=np.int64)
    return out


# how good ----------------------------------------------------------------------------------


def same_class(rows: Rows, classes: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """Return which share of each image's nearest 10, 50 and 100 is of its class, by vectors and by codes."""
    centred = unit_rows(rows - rows.mean(0))
    out = {"cosine": shares(rows, classes), "float": shares(centred, classes)}
    for bits in WIDTHS:
        codes = fit_coder(rows, bits, np.random.default_rng(0)).codes(rows)
        signs = np.where(np.unpackbits(codes, axis=1) > 0, 1, -1).astype(np.float32)
        out[str(bits)] = shares(signs, classes)
    return out


def shares(rows: Rows, classes: NDArray[np.str_]) -> dict[str, float]:
    """Return the means over all images; an image is not its own neighbour."""
    exact, right = Exact(rows), np.zeros(3)
    for lo in range(0, len(rows), 1000):
        ids = exact.search(rows[lo : lo + 1000], 101)[0]
        for i, row in enumerate(ids, lo):
            same = classes[row[row != i][:100]] == classes[i]
            right += [same[:k].mean() for k in (10, 50, 100)]
    return dict(zip(("10", "50", "100"), (right / len(rows)).tolist(), strict=True))


# what the learner reaches ------------------------------------------------------------------


def scale(args: argparse.Namespace, rows: Rows, classes: NDArray[np.str_], others: Crowd) -> dict[str, float]:
    """Return what is found of classes hidden among a million others, exactly and through the index."""
    n = args.rows or SIZES["1m"]
    order = np.random.default_rng(0).permutation(n)  # items come in random order
    place = np.argsort(order)
    ws = workspace(args.cache / f"search-scale-{n}-{others.mark()}", mixed(rows, others, order))
    names = np.unique(classes)
    wanted = names[np.linspace(0, len(names) - 1, CLASSES).round().astype(int)]
    ws.config = replace(ws.config, exact_limit=0)
    prepare(ws)
    out = {}
    for key, limit in (("exact", n), ("index", 0)):
        ws.config = replace(ws.config, exact_limit=limit)
        found, cpu = [], []
        for name in wanted:
            members = np.zeros(n, bool)
            members[place[: len(rows)][classes == name]] = True
            got = one_kind(ws, members)
            found.append(got["found_1k"] / members.sum())
            cpu.append(got["round_cpu_p50_ms"])
            print(key, name, got, file=sys.stderr, flush=True)
        out[f"found_1k_{key}"] = float(np.mean(found))
        out[f"round_cpu_p50_ms_{key}"] = float(np.median(cpu))
    ws.close()
    return out


def mixed(rows: Rows, others: Crowd, order: NDArray[np.int64]) -> Iterator[Rows]:
    """Yield the rows, and others behind them, in this order."""
    n = len(order)
    pool = np.empty((n, rows.shape[1]), np.float32)
    pool[: len(rows)] = rows
    for lo in range(len(rows), n, BLOCK):
        pool[lo : lo + BLOCK] = unit_rows(others.block(lo // BLOCK, min(BLOCK, n - lo)))
    for lo in range(0, n, BLOCK):
        yield pool[order[lo : lo + BLOCK]]


def measure(args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    sets = {name: real(args, name) for name in (COLLECTIONS if not args.images else ("aid",))}
    every = np.concatenate([rows for rows, _ in sets.values()])
    out: dict[str, Any] = {}
    for name in args.size:
        if name == "classes":
            out["same_class"] = {key: same_class(*sets[key]) for key in ("aid", "hirise") if key in sets}
            out["same_class_100"] = {key: one["100"] for key, one in out["same_class"]["aid"].items()}
        elif name == "scale":
            others = np.concatenate([rows for key, (rows, _) in sets.items() if key != "aid"])
            out["scale"] = scale(args, *sets["aid"], Crowd(others, seed=1))
        else:
            work = codes_of if name == "48m" else rows_of
            out[name] = work(Crowd(every), args, name, args.rows or SIZES[name])
        print(name, out, file=sys.stderr, flush=True)
    return out


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--size", type=lambda text: text.split(","), default=["classes", "10k", "1m", "scale"],
        metavar="classes,10k,1m,48m,scale",
    )  # fmt: skip
    parser.add_argument("--rows", type=int, help="another number of rows for the size that is given")
    args = parser.parse_args()
    unknown = set(args.size) - {"classes", "scale", *SIZES}
    if unknown:
        parser.error(f"there is no size {', '.join(sorted(unknown))}")
    show(measure(args), as_json=args.json)


if __name__ == "__main__":
    main()
