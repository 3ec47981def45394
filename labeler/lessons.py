"""The pictures of items that a training looks at: read, decoded, squeezed, kept."""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from labeler import files, images
from labeler.domain import Item
from labeler.errors import BadInput, NotReady
from labeler.ingest import count_cores
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from active.arrays import Ids
    from active.embedding.training.pictures import Pictures

ITEMS = 512  # read from the catalog at once
MOST_PICTURES = 100_000  # that a training looks at: 5 GB at 112 px
MOST_MISSING = 0.1  # part of the files that may be gone; more: a disk is not connected

Note = Callable[[int, int], None]
"""Called with how many pictures were read, and of how many."""


def silent(done: int, of: int) -> None:
    """Tell nobody."""


def pictures(
    ws: Workspace, side_px: int, *, stop: threading.Event, reading: Note = silent,
    out: Path | None = None,
) -> "Pictures":  # fmt: skip
    """Return the pictures of items, squeezed to what a network of this size looks at; of many, 100,000.

    Items come in random order, so the first stand for all. The pictures are kept in the cache, and used again
    as long as the items are the same, or for a training in the folder `out` that goes on with them.
    """
    from active.embedding.training.checkpoint import FILE, kept_pictures
    from active.embedding.training.pictures import Pictures

    folder = ws.cache / f"pictures-{side_px}"
    begun = None if out is None else kept_pictures(out / FILE)
    if begun is not None:
        try:
            if (kept := Pictures(folder)).key == begun:
                return kept
        except ValueError:
            pass  # they are read again
    digest, n = blake2b(digest_size=8), 0
    for item in islice(_items(ws), MOST_PICTURES):
        digest.update(item.hash.encode())
        n += 1
    some = islice(_items(ws), MOST_PICTURES)
    return packed(ws, some, n, folder, side_px, f"{n}-{digest.hexdigest()}", stop, reading)


def packed(
    ws: Workspace, items: Iterable[Item], n: int, folder: Path, side_px: int, key: str,
    stop: threading.Event, reading: Note,
) -> "Pictures":  # fmt: skip
    """Return the pictures of n items, kept in a folder under a key.

    Raises BadInput where the disk has no room for them, NotReady where many can't be read or `stop` is set.
    """
    from active.embedding.training.pictures import bytes_of, is_packed, pack

    need, free = n * bytes_of(side_px), shutil.disk_usage(ws.folder).free
    if need > free and not is_packed(folder, side_px, key):
        raise BadInput(
            f"The pictures to learn from take {need / 1e6:,.0f} MB of disk; {free / 1e6:,.0f} MB are free.",
            "Free some space.",
        )
    read = decoded(ws, items, stop, lambda done: reading(done, n))
    return pack(_most_of(read, n), folder, side_px=side_px, key=key)


def _most_of(read: "Iterator[tuple[int, Image]]", n: int) -> "Iterator[tuple[int, Image]]":
    """Yield what is read; raise NotReady at the end where too many of n can't be read."""
    got = 0
    for one in read:
        got += 1
        yield one
    if got < (1 - MOST_MISSING) * n:
        raise NotReady(
            f"{n - got:,} of {n:,} images can't be read any more.",
            "Is their disk connected? If they are gone for good, run labeler index first.",
        )


def _items(ws: Workspace) -> Iterator[Item]:
    n = ws.catalog.count_items()
    for lo in range(0, n, ITEMS):
        yield from (item for item in ws.catalog.items_between(lo, min(lo + ITEMS, n)) if item.present)


def decoded(
    ws: Workspace,
    items: Iterable[Item],
    stop: threading.Event,
    reading: Callable[[int], None] = lambda done: None,
) -> "Iterator[tuple[int, Image]]":
    """Yield items and their upright pictures; those that can't be read any more are left out."""
    cores, done, coming = count_cores(), 0, iter(items)
    with ThreadPoolExecutor(cores, "decode") as pool:
        while some := list(islice(coming, 2 * cores)):  # no more of them are in memory at once
            if stop.is_set():
                raise NotReady("Stopped while the images were read.", "The same command begins that again.")
            for item, picture in zip(some, pool.map(lambda i: _picture(ws, i), some), strict=True):
                if picture is not None:
                    yield item.id, picture
            done += len(some)
            reading(done)


def _picture(ws: Workspace, item: Item) -> "Image | None":
    """Return the picture of an item, None where its file is gone, or another one by now."""
    path, most = os.path.join(ws.images, item.path), ws.config.max_megapixels
    try:
        return images.decode_known(path, item.hash, max_megapixels=most).image
    except files.Unreadable:
        return None


def known(ws: Workspace, items: "Ids") -> Iterator[Item]:
    """Yield the items with these ids, in their order."""
    return (item for i in items.tolist() if (item := ws.catalog.item(i)) is not None)
