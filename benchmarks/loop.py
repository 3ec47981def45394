"""How long a round takes: retrain on all labels, rank the whole pool, choose and record the next cards.

The worker's own code in one process, with one thread as there, on vectors of the pool turned to 256
numbers; larger pools are copies of them with noise. An oracle answers what each round asks for, looking for
one class, 20 answers a round.

round_p50_ms_10k, round_p95_ms_10k    at 10,000 images: all rounds up to 600 answers
round_p50_ms_100k, round_p95_ms_100k  at 100,000; first_s_…: the first round, in seconds
round_p50_ms_1m, round_p95_ms_1m      at 1,000,000
and the same at 30k, 300k, 3m and 10m, for the plot of how it grows (--plot FILE.svg)
index_p50_ms_…, index_p95_ms_…        with --index: through the sample and the index, as beyond `exact_limit`;
                                      index_s_…: the seconds that making both takes, in the background;
                                      hardly any where an earlier run with --keep made them
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import numpy as np

from active.arrays import Rows
from benchmarks.plot import log_plot
from benchmarks.pool import Pool, arguments, open_pool, show
from labeler import loop, neighbourhood, samples, space
from labeler.catalog import Decoded, SeenFile
from labeler.child import ONE_THREAD
from labeler.config import Config
from labeler.domain import LabelEvent
from labeler.workspace import Workspace

DIM, NOISE = 256, 0.02
SIZES = {  # images, rounds
    "10k": (10_000, 30),
    "30k": (30_000, 20),
    "100k": (100_000, 12),
    "300k": (300_000, 8),
    "1m": (1_000_000, 6),
    "3m": (3_000_000, 6),
    "10m": (10_000_000, 6),
}
USUAL = ("10k", "30k", "100k", "300k", "1m")  # the others take some ten minutes and as many GB
CHUNK = 100_000


def base_rows(pool: Pool) -> tuple[Rows, np.ndarray]:
    """Return the pool's vectors at 256 numbers, (n, 256), and whether each is of the class looked for."""
    pool.index()
    ws = Workspace.open(pool.workspace)
    seen = space.current(ws)
    assert seen is not None
    classes = [pool.truth[paths[0]] for _, paths in sorted(ws.catalog.paths().items())]
    ws.close()
    names, counts = np.unique(classes, return_counts=True)
    wanted = names[np.argsort(counts)[len(names) // 2]]
    return seen.rows, np.array([c == wanted for c in classes])[: len(seen.rows)]


@contextmanager
def workspace(rows: Rows, n: int, kept: Path | None) -> Iterator[Workspace]:
    """Give the workspace of `make`. kept: a folder where it stays, and is found again."""
    mark = blake2b(rows.tobytes(), digest_size=4).hexdigest()
    with tempfile.TemporaryDirectory() as fresh:
        folder = Path(fresh) if kept is None else kept / f"rounds-{n}-{mark}"
        if (folder / "ready").exists():
            ws = Workspace.open(folder / "ws")
        else:
            shutil.rmtree(folder / "ws", ignore_errors=True)
            ws = make(folder, rows, n)
            (folder / "ready").touch()
        try:
            yield ws
        finally:
            ws.close()


def make(folder: Path, rows: Rows, n: int) -> Workspace:
    """Return a workspace of n items: `rows` again and again, with noise from the second time on."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    ws = Workspace.open(folder / "ws", Config(images=str(folder / "images")))
    vectors = ws.vectors("copies", rows.shape[1])
    scan = ws.catalog.begin_scan()
    for start in range(0, n, CHUNK):
        ids = np.arange(start, min(n, start + CHUNK))
        part = rows[ids % len(rows)]
        again = (ids >= len(rows))[:, None]
        part = part + again * rng.normal(0, NOISE, part.shape).astype(np.float32)
        vectors.append((part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32))
        ws.catalog.note_files(scan, [SeenFile(f"{i:07}.jpg", 1, 1) for i in ids.tolist()])
    ws.catalog.end_scan(scan)
    at = 0
    while files := ws.catalog.new_files(CHUNK):
        ws.catalog.add_decoded([Decoded(f.id, f"{at + i}", 64, 64) for i, f in enumerate(files)])
        at += len(files)
    ws.registry.use("copies", rows.shape[1])
    ws.registry.set_embedded("copies", rows.shape[1], n)
    return ws


def rounds(ws: Workspace, wanted: np.ndarray, n: int) -> tuple[list[float], float]:
    """Return the milliseconds of n rounds with a head, and the seconds of what is done once before."""
    session = loop.new_session(ws, "Is it one of them?", ["yes", "no"], "find")
    person = loop.owner(ws)
    began = time.perf_counter()
    loop.learn(ws, session)
    once_s = time.perf_counter() - began
    say(ws, loop.owner(ws), int(np.flatnonzero(wanted)[0]), label="yes")
    took = []
    for _ in range(n):
        for card in loop.next_cards(ws, session, person, 20, have=[]):
            say(ws, person, card.item, label="yes" if wanted[card.item % len(wanted)] else "no", card=card.id)
        began = time.perf_counter()
        loop.learn(ws, session)
        took.append((time.perf_counter() - began) * 1000)
    return took[2:], once_s  # the first ones import and warm up


def say(ws: Workspace, person: int, item: int, *, label: str, card: int | None = None) -> None:
    """Store an answer of the newest session."""
    event = LabelEvent(str(uuid.uuid4()), item, label, datetime.now(UTC), card, 500)
    loop.record(ws, loop.newest_session(ws), person, [event])


def measure(
    pool: Pool, sizes: list[str], *, index: bool = False, kept: Path | None = None
) -> dict[str, float]:
    """Return the object that --json prints."""
    rows, wanted = base_rows(pool)
    out: dict[str, float] = {}
    for name in sizes:
        n, times = SIZES[name]
        with workspace(rows, n, kept) as ws:
            ws.config = replace(ws.config, exact_limit=n)
            took, once_s = rounds(ws, wanted, times)
            out |= quantiles("round", name, took) | {f"first_s_{name}": once_s}
            if index and n > ws.config.sample_size:
                ws.config = replace(ws.config, exact_limit=0)
                began = time.perf_counter()
                prepare(ws)
                out[f"index_s_{name}"] = time.perf_counter() - began
                out |= quantiles("index", name, rounds(ws, wanted, times)[0])
        print({key: value for key, value in out.items() if key.endswith(name)}, file=sys.stderr, flush=True)
    return out


def quantiles(way: str, name: str, took: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile of rounds, in milliseconds."""
    return {
        f"{way}_p50_ms_{name}": float(np.median(took)),
        f"{way}_p95_ms_{name}": float(np.quantile(took, 0.95)),
    }


def prepare(ws: Workspace) -> None:
    """Make what the trainer makes in the background: the sample and the index."""
    while (step := samples.due(ws)) is not None:
        samples.make(ws, step)
    if (items := neighbourhood.due(ws)) is not None:
        neighbourhood.make(ws, items)


def growth(found: dict[str, float], names: list[str]) -> str:
    """Return the plot of a round's time against the number of images, as SVG."""
    ways = {"round_p95": "p95", "round_p50": "p50", "index_p50": "p50, through the index"}
    lines = {
        word: [(SIZES[name][0], found[f"{way}_ms_{name}"]) for name in names if f"{way}_ms_{name}" in found]
        for way, word in ways.items()
    }
    lines = {word: line for word, line in lines.items() if line}
    return log_plot("One round: retrain, rank, choose", "images", "ms", lines)


def sizes(text: str) -> list[str]:
    """Return the names of pool sizes."""
    names = text.split(",")
    if not set(names) <= SIZES.keys():
        raise argparse.ArgumentTypeError(f"choose from {', '.join(SIZES)}")
    return names


def main() -> None:
    """Run the benchmark and print what it found."""
    if not ONE_THREAD.items() <= os.environ.items():  # it counts from the start of a process
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.loop", *sys.argv[1:]], os.environ | ONE_THREAD
        )
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=sizes, default=list(USUAL), metavar="10k,100k,1m")
    parser.add_argument("--index", action="store_true", help="also through the sample and the index")
    parser.add_argument("--keep", action="store_true", help="keep the pools for another run")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw how a round's time grows")
    args = parser.parse_args()
    kept = args.cache if args.keep else None
    found = measure(open_pool(args), args.sizes, index=args.index, kept=kept)
    if args.plot:
        args.plot.write_text(growth(found, args.sizes), encoding="utf-8")
    show(found, as_json=args.json)


if __name__ == "__main__":
    main()
