"""The sample that stands for a pool: how long it takes to draw and to grow, and what it leaves out.

The pool is made of real features (aerial, Mars and clothes, turned to 256 numbers): each of its rows is a
real one moved as far as that one's nearest real neighbour is, in the directions of its ten nearest. The real
rows fall into 100 kinds by k-means; how common a kind is goes from 1 down to 1/10,000 of the commonest. The
kinds that are rarest and hold at most 1 % of the pool together are "the rare ones". A million rows are
float32 in memory, ten million a float16 file that is mapped; both are made once and kept.

sample_s_1m, sample_s_10m    drawing 100,000, as many threads as the machine has; sample_s_1m_one: one thread
peak_gb_1m, peak_gb_10m      most that the process held, its input or what is mapped of it included
ratio_1m, ratio_10m          the time by that of the matrix products alone, at the speed measured beside it
sample_cpu_s_…, grow_cpu_s   processor time of the same, which other work on the machine moves less
grow_s                       growing a sample by 10 % of a million, one thread; grow_ratio: its processor time
                             by that of drawing anew
radius_mean_…, _p99_, _max_  from a row to the nearest of the sample (chord), on 6,000 rows drawn evenly;
                             …_uniform_…: of as many drawn evenly, …_grown_…: of the one that grew
rare_share_…                 part of the sample that is of the rare kinds
rare_near_…                  part of the rare rows that have one of the sample within radius_mean_uniform_…
rare_kinds_…                 part of the rare kinds that have any in the sample
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from active import representative
from active.arrays import Ids, Rows, unit_rows
from active.representative import Sample, clusters, fit_pca, grow
from benchmarks.pool import HOME, Pool, flat_folder, open_pool, show
from labeler.child import ONE_THREAD
from labeler.workspace import Workspace

K, DIM = 100_000, 256
SIZES = {"1m": 1_000_000, "10m": 10_000_000}
COLLECTIONS = ("aid", "hirise", "clothing")
KINDS, SPAN = 100, 1e4  # how many kinds, and how much commoner the commonest is than the rarest
NEIGHBOURS = 10
CHUNK = 1024  # rows that are made at a time
PROBE, RARE_PROBE, RARE = 6000, 2000, 0.01


def real_rows(args: argparse.Namespace) -> Rows:
    """Return the features of all collections, turned to 256 numbers together; kept between runs."""
    kept = args.cache / "representative-real.npy"
    if kept.exists():
        rows: Rows = np.load(kept)
        return rows
    first = open_pool(args)
    folder = Path(os.environ["LABELER_TEST_DATA"])
    parts = []
    for name in COLLECTIONS:
        pool = Pool(*flat_folder(folder / name, args.cache), first.encoder)
        pool.index()
        ws = Workspace.open(pool.workspace)
        used = ws.registry.in_use()
        assert used is not None
        parts.append(unit_rows(np.asarray(ws.vectors(used[0], used[1]).rows())))
        ws.close()
    rows = np.concatenate(parts)
    rows = fit_pca(rows, DIM, np.random.default_rng(0)).apply(rows)
    np.save(kept, rows)
    return rows


def neighbours(rows: Rows) -> tuple[Ids, NDArray[np.float32]]:
    """Return the ten nearest of each row and the distance of the nearest."""
    near, dist = np.empty((len(rows), NEIGHBOURS), np.int64), np.empty(len(rows), np.float32)
    for start in range(0, len(rows), CHUNK):
        cos = rows[start : start + CHUNK] @ rows.T
        here = np.arange(len(cos))
        cos[here, start + here] = -np.inf
        near[start : start + CHUNK] = np.argpartition(-cos, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        dist[start : start + CHUNK] = np.sqrt(np.maximum(2 - 2 * cos.max(1), 0))
    return near, dist


def make(folder: Path, args: argparse.Namespace, name: str) -> tuple[Path, Path]:
    """Return the files of a pool's rows and of their kinds, made where they are not there yet.

    The rows of the smaller pool are the first of the larger one.
    """
    rows_file, kinds_file = folder / f"representative-{name}.npy", folder / f"representative-{name}-kinds.npy"
    if kinds_file.exists():
        return rows_file, kinds_file
    n = SIZES[name]
    real = real_rows(args)
    near, dist = neighbours(real)
    of = clusters(real, KINDS, np.random.default_rng(0))
    common = SPAN ** -(np.random.default_rng(1).permutation(KINDS) / (KINDS - 1))
    each = common[of] / np.bincount(of, minlength=KINDS)[of]
    upto = np.cumsum(each / each.sum())
    away = real[near] - real[:, None]
    dtype = np.float32 if name == "1m" else np.float16
    unfinished = rows_file.with_suffix(".part")
    out = np.lib.format.open_memmap(unfinished, "w+", dtype, (n, DIM))
    kinds = np.empty(n, np.uint8)
    for start in range(0, n, CHUNK):
        end = min(n, start + CHUNK)
        rng = np.random.default_rng([2, start])
        at = np.minimum(np.searchsorted(upto, rng.random(end - start)), len(real) - 1)
        move = np.matmul(rng.normal(size=(end - start, 1, NEIGHBOURS)).astype(np.float32), away[at])[:, 0]
        move *= (dist[at] / np.linalg.norm(move, axis=1))[:, None]
        out[start:end] = unit_rows(real[at] + move)
        kinds[start:end] = of[at]
    out.flush()
    unfinished.rename(rows_file)
    np.save(kinds_file, kinds)
    return rows_file, kinds_file


# in a process of its own --------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A sample, and what it took."""

    sample: Sample
    draw_s: float
    grow_s: float
    draw_cpu_s: float
    grow_cpu_s: float
    peak_gb: float
    product_s: float


def peak_gb() -> float:
    """Return the most that this process has held, in 10⁹ bytes. Linux only."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in status.splitlines() if line.startswith("VmHWM"))


def product_s(n: int) -> float:
    """Return how long the matrix products of a sample take on this machine, all else left out."""
    share = round(K**0.5)
    wide = round(share * representative.SPARE)
    rng = np.random.default_rng(0)
    a = rng.normal(size=(representative.BLOCK, DIM)).astype(np.float32)
    b = rng.normal(size=(DIM, wide)).astype(np.float32)
    each = []
    for _ in range(300):
        began = time.perf_counter()
        a @ b
        each.append(time.perf_counter() - began)
    per_row = float(np.median(each)) / representative.BLOCK  # with a share's centres
    slab = min(n, representative.SLAB)
    trained = min(1.0, wide * representative.POINTS_PER_CENTRE * share / slab)
    return float(n * per_row * (share / wide + 1 + representative.PASSES * trained))


def draw(file: Path, *, mapped: bool, first: int) -> Drawn:
    """Return how drawing went: of the first rows (0: all), and of growing by the others.

    mapped  read the file in place; False: into memory before.
    """
    rows = np.load(file, mmap_mode="r" if mapped else None)
    rng = np.random.default_rng(0)
    began, cpu = time.perf_counter(), time.process_time()
    sample = representative.representative(rows[: first or len(rows)], K, rng)
    draw_s, draw_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    sample = grow(sample, rows, K, rng)
    grow_s, grow_cpu_s = time.perf_counter() - began - draw_s, time.process_time() - cpu - draw_cpu_s
    return Drawn(sample, draw_s, grow_s, draw_cpu_s, grow_cpu_s, peak_gb(), product_s(len(rows)))


def apart(file: Path, *, mapped: bool = False, first: int = 0, one_thread: bool = False) -> Drawn:
    """Return what `draw` returns in a new process, whose memory is its own."""
    before = dict(os.environ)
    os.environ.update(ONE_THREAD if one_thread else {})
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(draw, file, mapped=mapped, first=first).result()
    finally:
        for name in ONE_THREAD:
            os.environ.pop(name, None)
        os.environ.update(before)


# what it is worth ---------------------------------------------------------------------------


def radius(rows: Rows, sample: Ids, probe: Ids) -> NDArray[np.float32]:
    """Return the distance from each row of `probe` to the nearest of the sample."""
    asked = np.asarray(rows[probe], np.float32)
    best = np.full(len(probe), -1, np.float32)
    for start in range(0, len(sample), CHUNK):
        some = np.asarray(rows[sample[start : start + CHUNK]], np.float32)
        np.maximum(best, (asked @ some.T).max(1), out=best)
    return np.sqrt(np.maximum(2 - 2 * best, 0))


def worth(rows: Rows, kinds: NDArray[np.uint8], samples: dict[str, Ids], name: str) -> dict[str, float]:
    """Return the radii and what there is of the rare kinds, of each sample; "_uniform" is the measure."""
    rng = np.random.default_rng(3)
    sizes = np.bincount(kinds, minlength=KINDS)
    order = np.argsort(sizes)
    rare = order[np.cumsum(sizes[order]) <= RARE * len(kinds)]
    is_rare = np.isin(kinds, rare)
    probe = rng.choice(len(kinds), PROBE, replace=False)
    rare_probe = rng.choice(np.flatnonzero(is_rare), RARE_PROBE, replace=False)
    near = radius(rows, samples["_uniform"], probe).mean()
    out: dict[str, float] = {}
    for which, ids in samples.items():
        dist = radius(rows, ids, probe)
        out |= {
            f"radius_mean{which}_{name}": float(dist.mean()),
            f"radius_p99{which}_{name}": float(np.quantile(dist, 0.99)),
            f"radius_max{which}_{name}": float(dist.max()),
            f"rare_share{which}_{name}": float(is_rare[ids].mean()),
            f"rare_near{which}_{name}": float((radius(rows, ids, rare_probe) <= near).mean()),
            f"rare_kinds{which}_{name}": float(np.isin(rare, kinds[ids]).mean()),
        }
    return out


def measure(args: argparse.Namespace, name: str) -> dict[str, float]:
    """Return the figures of one pool size."""
    rows_file, kinds_file = make(args.cache, args, name)
    n, mapped = SIZES[name], name != "1m"
    drawn = apart(rows_file, mapped=mapped)
    out = {
        f"sample_s_{name}": drawn.draw_s,
        f"sample_cpu_s_{name}": drawn.draw_cpu_s,
        f"peak_gb_{name}": drawn.peak_gb,
        f"ratio_{name}": drawn.draw_s / drawn.product_s,
    }
    samples = {"": drawn.sample.ids}
    if name == "1m":
        alone = apart(rows_file, one_thread=True)
        grown = apart(rows_file, first=round(n / 1.1), one_thread=True)
        out |= {
            "sample_s_1m_one": alone.draw_s,
            "ratio_1m_one": alone.draw_s / alone.product_s,
            "sample_cpu_s_1m_one": alone.draw_cpu_s,
            "grow_s": grown.grow_s,
            "grow_cpu_s": grown.grow_cpu_s,
            "grow_ratio": grown.grow_cpu_s / alone.draw_cpu_s,
        }
        samples["_grown"] = grown.sample.ids
    samples["_uniform"] = np.random.default_rng(4).choice(n, len(samples[""]), replace=False)
    return out | worth(np.load(rows_file, mmap_mode="r"), np.load(kinds_file), samples, name)


def sizes(text: str) -> list[str]:
    """Return the names of pool sizes."""
    names = text.split(",")
    if not set(names) <= SIZES.keys():
        raise argparse.ArgumentTypeError(f"choose from {', '.join(SIZES)}")
    return names


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--encoder", help="default: mobilenet_v1_1.0_224 in LABELER_TEST_WEIGHTS")
    parser.add_argument("--cache", type=Path, default=HOME, help="where the pools are kept between runs")
    parser.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    parser.add_argument("--sizes", type=sizes, default=list(SIZES), metavar="1m,10m")
    parser.set_defaults(images=None)
    args = parser.parse_args()
    found: dict[str, float] = {}
    for name in args.sizes:
        found |= measure(args, name)
    show(found, as_json=args.json)


if __name__ == "__main__":
    main()
