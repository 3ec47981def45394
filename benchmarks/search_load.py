"""Searches of 20 people among a million images, while images are embedded and people swipe.

A real `labeler start` on a workspace of a million images: links to real ones, with vectors like real ones
(`benchmarks.larger`) that the encoder is said to have made, and 7,601 new ones, which it really embeds
meanwhile. 20 clients search (by an item, by two, by one and one that is not wanted) and 40 swipe, one answer
a second each; each crowd is a process of its own on the same cores.

search_p50_ms, search_p95_ms, search_p99_ms  of a thousand searches, 20 a second; search_worst_ms the slowest
flat_p50_ms, flat_p99_ms, flat_per_s         of searches as fast as 20 clients can
deck_p99_ms, deck_p50_ms    of answering meanwhile; deck_alone_… before, without searches
cards_p99_ms                of fetching ten cards meanwhile; cards_alone_p99_ms before
embedded, rounds            meanwhile; refused  requests that were not answered as they should
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.api import load, ms
from benchmarks.larger import BLOCK, Crowd, workspace
from benchmarks.loop import prepare
from benchmarks.pool import Pool, arguments, open_pool, show
from benchmarks.server import Client, Server, first_cards, running
from labeler import coding
from labeler.catalog import SeenFile
from labeler.workspace import Workspace

IMAGES, PER_FOLDER = 1_000_000, 10_000
SEARCHERS, SEARCHES_PER_S = 20, 20
SWIPERS, ANSWERS_PER_S = 40, 40
NEW = ("hirise", "clothing")  # collections whose images are taken in meanwhile
WARM_S = 10.0


class Linked:
    """The folder of images: links to real files, in folders of ten thousand."""

    def __init__(self, folder: Path, pool: Pool, n: int) -> None:
        self._folder, self._n = folder, n
        self._targets = [(pool.folder / name).resolve() for name in sorted(pool.truth)]
        self._stats = [path.stat() for path in self._targets]

    def make(self, new: list[Path]) -> None:
        """Make the links, and those to `new` files, which nobody knows yet."""
        for i in range(self._n):
            if i % PER_FOLDER == 0:
                (self._folder / f"{i // PER_FOLDER:04}").mkdir(parents=True, exist_ok=True)
            path = self._folder / self.name(i)
            if not path.is_symlink():
                path.symlink_to(self._targets[i % len(self._targets)])
        (self._folder / "new").mkdir(exist_ok=True)
        for i, target in enumerate(new):
            path = self._folder / "new" / f"{i:06}{target.suffix}"
            if not path.is_symlink():
                path.symlink_to(target.resolve())

    @staticmethod
    def mark(pool: Pool) -> str:
        """Return what tells these files from the same ones laid down anew, which would all be read again."""
        stats = [(pool.folder / name).stat() for name in sorted(pool.truth)]
        return blake2b(repr([(s.st_size, s.st_mtime_ns) for s in stats]).encode(), digest_size=4).hexdigest()

    def name(self, i: int) -> str:
        """Return the path of a link in the folder."""
        return f"{i // PER_FOLDER:04}/{i:08}.jpg"

    def seen(self, i: int) -> SeenFile:
        """Return a link as a scan of the folder meets it."""
        stat = self._stats[i % len(self._stats)]
        return SeenFile(self.name(i), stat.st_size, stat.st_mtime_ns)


def made(pool: Pool, cache: Path, n: int) -> Path:
    """Return the folder of a workspace of n images with all that is made in the background; kept."""
    pool.index()
    ws = Workspace.open(pool.workspace)
    used = ws.registry.in_use()
    assert used is not None
    key, dim, known = used
    crowd = Crowd(ws.vectors(key, dim).rows(0, known))
    ws.close()
    folder = cache / f"search-load-{n}-{crowd.mark()}-{Linked.mark(pool)}"
    if not (folder / "ready").exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        links = Linked(folder / "images", pool, n)
        home = Path(os.environ["LABELER_TEST_DATA"])
        links.make(sorted(p for name in NEW for p in (home / name).glob("*/*.jpg")))
        parts: Iterator[Any] = (crowd.block(lo // BLOCK, min(BLOCK, n - lo)) for lo in range(0, n, BLOCK))
        ws = workspace(folder, parts, key=key, encoder=pool.encoder, file_of=links.seen)
        coding.keep(ws)
        prepare(ws)
        ws.close()
        (folder / "ready").touch()
    return folder


def loaded(server: Server, n: int, seconds: float) -> dict[str, Any]:  # Any: JSON
    """Return what a running server of n images did with swipes, with searches beside them, and flat out."""
    first_cards(server)
    client = Client(server.url)
    while client.get("/api/session")["embedded"] < n + 64:  # it has walked the folder, and embeds
        time.sleep(0.5)
    before = client.get("/api/session")
    swipes = ("--clients", str(SWIPERS), "--rate", str(ANSWERS_PER_S), "--items", str(n))
    searches = ("--search", "--clients", str(SEARCHERS), "--items", str(n))
    alone = load(server.url, *swipes, "--seconds", str(seconds / 2))
    load(
        server.url, *searches, "--rate", str(SEARCHES_PER_S), "--seconds", "3", "--seed", "9"
    )  # what is read once
    with ThreadPoolExecutor(2) as pool:
        swiped = pool.submit(load, server.url, *swipes, "--seconds", str(seconds), "--seed", "1")
        time.sleep(WARM_S)  # the swipers come
        paced = load(server.url, *searches, "--rate", str(SEARCHES_PER_S), "--seconds", str(seconds))
        together = swiped.result()
    flat = load(server.url, *searches, "--rate", "0", "--seconds", str(seconds / 5), "--seed", "2")
    after = client.get("/api/session")
    return {
        "search_p50_ms": ms(paced["searches"], 0.5),
        "search_p95_ms": ms(paced["searches"], 0.95),
        "search_p99_ms": ms(paced["searches"], 0.99),
        "search_worst_ms": ms(paced["searches"], 1.0),
        "searches": len(paced["searches"]),
        "flat_p50_ms": ms(flat["searches"], 0.5),
        "flat_p99_ms": ms(flat["searches"], 0.99),
        "flat_per_s": len(flat["searches"]) / flat["seconds"],
        "deck_p50_ms": ms(together["answers"], 0.5),
        "deck_p99_ms": ms(together["answers"], 0.99),
        "deck_alone_p50_ms": ms(alone["answers"], 0.5),
        "deck_alone_p99_ms": ms(alone["answers"], 0.99),
        "cards_p99_ms": ms(together["cards"], 0.99),
        "cards_alone_p99_ms": ms(alone["cards"], 0.99),
        "embedded": after["embedded"] - before["embedded"],
        "worker": after["worker"],
        "rounds": after["round"] - before["round"],
        "refused": sum(part["refused"] for part in (alone, together, paced, flat)),
        "images": n,
        "cores": os.cpu_count(),
    }


def measure(pool: Pool, cache: Path, n: int, seconds: float) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    kept = made(pool, cache, n)
    print("made", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=cache) as fresh:
        copy = Path(fresh) / "ws"
        shutil.copytree(kept / "ws", copy)
        options = ["--images", str((kept / "images").resolve()), "--encoder", pool.encoder]
        with running(*options, "--workspace", str(copy), "--port", "8670") as server:
            return loaded(server, n, seconds)


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=IMAGES, help="another number of images")
    parser.add_argument("--seconds", type=float, default=50.0, help="of searches, 20 a second")
    args = parser.parse_args()
    show(measure(open_pool(args), args.cache, args.rows, args.seconds), as_json=args.json)


if __name__ == "__main__":
    main()
