"""Whether `labeler train` pays: found after K cards by `builtin`, and by what it learned from the images.

found_1k_before, found_1k_after  mean over the classes, from three references each: benchmarks.find
minutes                          of training, on all cores of this machine
images_per_s, epochs, same_neighbours  of the training

--from starts elsewhere than at builtin. What was trained is kept beside the vectors, and gone on with.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.find import collection, found_1k, plays_on
from benchmarks.pool import HOME, Pool, arguments, show


def train(pool: Pool, out: Path, args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Run `labeler train` on a pool, and return what it prints."""
    command = [
        *(sys.executable, "-m", "labeler.cli", "train", "--images", str(pool.folder)),
        *("--workspace", str(pool.workspace), "--method", args.method, "--from", pool.encoder),
        *("--minutes", str(args.minutes), "--out", str(out), "--json"),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=HOME.parent.parent)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(pool: Pool, args: argparse.Namespace) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    before = found_1k(pool, args)
    out = pool.workspace.with_name(f"{pool.workspace.name}-{args.method}-{args.minutes:g}")
    if args.anew:
        shutil.rmtree(out, ignore_errors=True)
    trained = train(pool, out, args)
    after = found_1k(replace(pool, encoder=str(out)), args)
    last = trained["last"] or {}
    return {
        "found_1k_before": before,
        "found_1k_after": after,
        "minutes": trained["minutes"],
        "images_per_s": last.get("images_per_s"),
        "epochs": last.get("epoch"),
        "same_neighbours": trained["same_neighbours"],
        "method": args.method,
        "collection": args.collection,
        "images": trained["images"],
        "cores": os.cpu_count(),
        "views": pool.views,
    }


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.set_defaults(encoder="builtin")
    parser.add_argument("--from", dest="encoder", metavar="builtin|DIR", help="as --encoder")
    plays_on(parser)
    parser.add_argument("--method", choices=["simclr", "simsiam", "vicreg", "dino"], default="simclr")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--anew", action="store_true", help="don't go on with an earlier training")
    args = parser.parse_args()
    show(measure(collection(args), args), as_json=args.json)


if __name__ == "__main__":
    main()
