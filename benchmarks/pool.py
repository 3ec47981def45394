"""The images that benchmarks run on: one flat folder of links with random names, and its workspace."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labeler.truth import hide_names

HOME = Path(__file__).resolve().parent.parent / "data" / "benchmarks"


@dataclass(frozen=True)
class Pool:
    """A flat folder, what each file shows, and the encoder to look at it with."""

    folder: Path
    truth: dict[str, str]
    encoder: str
    views: int = 1

    @property
    def workspace(self) -> Path:
        """Return where the workspace of this folder and encoder is kept between runs."""
        mark = hashlib.blake2b(str(Path(self.encoder).resolve()).encode(), digest_size=4).hexdigest()
        views = f"-v{self.views}" if self.views > 1 else ""
        return self.folder.with_name(f"{self.folder.name}-{Path(self.encoder).name}-{mark}{views}")

    def options(self, workspace: Path | None = None) -> list[str]:
        """Return the options of `labeler start` and `labeler index` for this pool."""
        where = self.workspace if workspace is None else workspace
        look = ["--encoder", self.encoder, "--views", str(self.views)]
        return ["--images", str(self.folder), *look, "--workspace", str(where)]

    def index(self, workspace: Path | None = None) -> None:
        """Take all images in with `labeler index`; at once where that was done before."""
        command = [sys.executable, "-m", "labeler.cli", "index", *self.options(workspace)]
        subprocess.run(command, check=True, stdout=sys.stderr, cwd=HOME.parent.parent)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks on a pool share."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--images", help="a folder of folders; default: aid in LABELER_TEST_DATA")
    parser.add_argument("--encoder", help="default: mobilenet_v1_1.0_224 in LABELER_TEST_WEIGHTS")
    parser.add_argument(
        "--cache", type=Path, default=HOME, help="where links and vectors are kept between runs"
    )
    parser.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    return parser


def open_pool(args: argparse.Namespace, views: int = 1) -> Pool:
    """Return the pool that the arguments name, seen in so many views; ends the program if one is missing."""
    if not (args.images or os.environ.get("LABELER_TEST_DATA")):
        sys.exit("Give --images DIR, or set LABELER_TEST_DATA.")
    if not (args.encoder or os.environ.get("LABELER_TEST_WEIGHTS")):
        sys.exit("Give --encoder builtin or a folder, or set LABELER_TEST_WEIGHTS.")
    source = Path(args.images or Path(os.environ["LABELER_TEST_DATA"]) / "aid")
    encoder = args.encoder or str(Path(os.environ["LABELER_TEST_WEIGHTS"]) / "mobilenet_v1_1.0_224")
    folder, truth = flat_folder(source, args.cache)
    return Pool(folder, truth, encoder, views)


def flat_folder(source: Path, home: Path) -> tuple[Path, dict[str, str]]:
    """Return a flat folder of links to all images of `source`, and {name there: class}."""
    if not source.is_dir():
        sys.exit(f"There is no folder {source}.")
    files = sorted(p for p in source.glob("*/*") if p.is_file())
    mark = hashlib.blake2b("\n".join(map(str, files)).encode(), digest_size=6).hexdigest()
    folder = home / f"{source.name}-{mark}"
    return folder, hide_names(source, folder)


def growing(pool: Pool, share: float = 0.7) -> Pool:
    """Return a pool whose kept workspace knows only a share of its images: a copy has the rest to take in."""
    folder = pool.folder.with_name(f"{pool.folder.name}-growing")
    grown = Pool(folder, pool.truth, pool.encoder)
    done = grown.workspace.with_suffix(".done")
    if done.exists():
        return grown
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(grown.workspace, ignore_errors=True)
    folder.mkdir()
    names = sorted(pool.truth)
    known = round(len(names) * share)
    for part in (names[:known], names[known:]):
        for name in part:
            (folder / name).symlink_to((pool.folder / name).resolve())
        if part[0] == names[0]:
            grown.index()
    done.touch()
    return grown


def show(result: Mapping[str, object], *, as_json: bool) -> None:
    """Print what was measured, as one JSON object or a line per figure."""
    if as_json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:24} {value:.3f}" if isinstance(value, float) else f"{key:24} {value}")
