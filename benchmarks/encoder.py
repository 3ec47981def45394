"""How good and how quick the built-in encoder is, beside the pretrained reference at 224 px.

found_1k_builtin, found_1k_reference  found after as many cards as a class has images: benchmarks.find
speed_ratio    images a second, prepared and seen by one core: the built-in's over the reference's
forward_ratio  the same, of images prepared before
index_ratio    of `labeler index` with it: benchmarks.index, in processor time; median of three
files_per_s    of `labeler index`, on all cores; of its stages the medians of …_ms and …_cpu_ms
weights_mb     of the file in the package

--no-found and --no-index leave those out: they take some minutes each, the rest seconds.
--weights FILE measures the speed of another file's network, such as a run of benchmarks.train_builtin left.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from active.embedding import Encoder, load_encoder
from active.embedding.builtin import WEIGHTS, Builtin
from benchmarks.find import collection, found_1k, plays_on
from benchmarks.index import stages, whole
from benchmarks.pool import Pool, arguments, show

IMAGES, ROUNDS = 32, 25
TIMES = 3  # of taking images in: one run differs from the next by a tenth


def speeds(encoders: dict[str, Encoder], images: list[Image.Image]) -> dict[str, float]:
    """Return processor milliseconds an image, NAME_ms and NAME_forward_ms: medians, taken in turns."""
    work: dict[str, Callable[[], object]] = {}
    for name, encoder in encoders.items():
        prepared = [encoder.prepare(i) for i in images]
        work[f"{name}_ms"] = lambda e=encoder: e.encode(images)  # type: ignore[misc]
        work[f"{name}_forward_ms"] = lambda e=encoder, p=prepared: e.forward(p)  # type: ignore[misc]
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS + 1):
        for name, run in work.items():
            before = time.thread_time()
            run()
            took[name].append((time.thread_time() - before) * 1000 / len(images))
    return {name: float(np.median(t[1:])) for name, t in took.items()}  # the first also lays out weights


def ratio(cost: dict[str, object]) -> float:
    """Return the stages by the whole of taking images in, in processor time."""
    parts = sum(float(str(cost[f"{stage}_cpu_ms"])) for stage in ("decode", "thumbnail", "forward"))
    return parts / float(str(cost["index_cpu_ms"]))


def measure(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints. The pool's encoder is the reference."""
    mine = replace(pool, encoder="builtin")
    files = [pool.folder / name for name in sorted(pool.truth)]
    images = [Image.open(path).convert("RGB") for path in files[:IMAGES]]
    builtin = Builtin(args.weights) if args.weights else load_encoder("builtin")
    ms = speeds({"builtin": builtin, "reference": load_encoder(pool.encoder)}, images)
    out: dict[str, Any] = {
        "encoder": builtin.key,
        "weights_mb": WEIGHTS.stat().st_size / 1e6,
        "speed_ratio": ms["reference_ms"] / ms["builtin_ms"],
        "forward_ratio": ms["reference_forward_ms"] / ms["builtin_forward_ms"],
        **ms,
    }
    if args.index:
        costs = [
            stages(files[: min(args.n, 1000)], "builtin") | whole(mine, files[: args.n]) for _ in range(TIMES)
        ]
        out |= {name: float(np.median([float(str(c[name])) for c in costs])) for name in costs[0]}
        out["index_ratio"] = float(np.median([ratio(cost) for cost in costs]))
        out["files_per_s"] = 1000 / out["index_ms"]
    if args.found:
        out["found_1k_builtin"] = found_1k(mine, args)
        out["found_1k_reference"] = found_1k(pool, args)
    return out | {"images": len(files), "collection": args.collection, "views": pool.views}


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    plays_on(parser)
    parser.add_argument("--n", type=int, default=10_000, help="images that are taken in for index_ratio")
    parser.add_argument("--weights", type=Path, help="a network whose speed is measured instead")
    parser.add_argument("--found", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--index", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    show(measure(collection(args), args), as_json=args.json)


if __name__ == "__main__":
    main()
