"""What taking images in costs, stage by stage and as a whole, and how soon labeling begins meanwhile.

decode_ms, thumbnail_ms, forward_ms   each stage alone on all cores, milliseconds of wall time an image (a
                   thumbnail only where it is smaller than the image)
…_cpu_ms                              the same in processor time
index_ms, index_cpu_ms                `labeler index` as a whole, start and end included
index_ratio        (decode + thumbnail + forward) / index, by wall time: 1 would be no cost beside the stages
index_ratio_cpu    the same by processor time, which other work on the machine disturbs less
first_card_100k_s  from `labeler start` to the first card while 100,000 links are still being scanned
scanned_then       files known at that moment
"""

import itertools
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.pool import HOME, Pool, arguments, open_pool, show
from benchmarks.server import Client, first_cards, running

BATCH = 64
LINKS = 100_000


def timed(work: Callable[[], object], n: int) -> tuple[float, float]:
    """Return (wall, processor) milliseconds an image of work on n images."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - wall) * 1000 / n, (time.process_time() - cpu) * 1000 / n


def in_threads(
    fn: Callable[[Any], object], over: Iterable[object]
) -> list[Any]:  # Any: what fn takes and gives
    """Return fn of each, computed on all cores."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(fn, over))


def stages(files: list[Path], encoder_name: str) -> dict[str, object]:
    """Return what each stage costs alone."""
    from active.embedding import load_encoder
    from labeler import images
    from labeler.files import read_file

    def decode(path: Path) -> images.Picture:
        return images.decode(read_file(path))

    def thumbnail(picture: images.Picture) -> bytes | None:
        return images.thumbnail(picture.image) if images.wants_thumbnail(picture) else None

    encoder = load_encoder(encoder_name)
    decoded = in_threads(decode, files)
    shown = [picture.image for picture in decoded]
    encoder.encode(shown[:BATCH])  # the first batch also loads and compares

    batches = [shown[start : start + BATCH] for start in range(0, len(shown), BATCH)]
    found: dict[str, object] = {}
    for name, work in (
        ("decode", lambda: in_threads(decode, files)),
        ("thumbnail", lambda: in_threads(thumbnail, decoded)),
        ("forward", lambda: in_threads(encoder.encode, batches)),
    ):
        found[f"{name}_ms"], found[f"{name}_cpu_ms"] = timed(work, len(files))
    return found


def whole(pool: Pool, files: list[Path]) -> dict[str, object]:
    """Return what `labeler index` costs on these files."""
    with tempfile.TemporaryDirectory() as folder:
        links = Path(folder) / "images"
        links.mkdir()
        for path in files:
            (links / path.name).symlink_to(path.resolve())
        options = ["--images", str(links), "--encoder", pool.encoder, "--workspace", folder + "/ws"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall, _ = timed(
            lambda: subprocess.run(
                [sys.executable, "-m", "labeler.cli", "index", "--json", *options],
                check=True, stdout=subprocess.DEVNULL, cwd=HOME.parent.parent,
            ),
            len(files),
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"index_ms": wall, "index_cpu_ms": cpu * 1000 / len(files)}


def first_card(pool: Pool) -> dict[str, object]:
    """Return how soon a card comes when 100,000 files are still being scanned."""
    folder = pool.folder.with_name(f"{pool.folder.name}-{LINKS}")
    if not folder.exists():
        half = folder.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        targets = [(pool.folder / name).resolve() for name in sorted(pool.truth)]
        for i, target in enumerate(itertools.islice(itertools.cycle(targets), LINKS)):
            (half / f"{i * 7919 % LINKS:06}{target.suffix}").symlink_to(target)
        half.rename(folder)
    with tempfile.TemporaryDirectory() as fresh:
        options = ["--images", str(folder), "--encoder", pool.encoder, "--workspace", fresh + "/w"]
        with running(*options, "--port", "8660") as server:
            took = first_cards(server)[0]
            known = Client(server.url).get("/api/session")["images"]
    return {"first_card_100k_s": took, "scanned_then": known}


def measure(pool: Pool, n: int) -> dict[str, object]:
    """Return the object that --json prints."""
    card = first_card(pool)
    files = [pool.folder / name for name in sorted(pool.truth)]
    some = stages(files[: min(n, 1000)], pool.encoder)
    out = some | whole(pool, files[:n])
    for kind in ("", "_cpu"):
        parts = sum(float(str(out[f"{name}{kind}_ms"])) for name in ("decode", "thumbnail", "forward"))
        out[f"index_ratio{kind}"] = parts / float(str(out[f"index{kind}_ms"]))
    return out | card | {"images": len(files[:n])}


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--n", type=int, default=5000, help="images that are taken in")
    args = parser.parse_args()
    show(measure(open_pool(args), args.n), as_json=args.json)


if __name__ == "__main__":
    main()
