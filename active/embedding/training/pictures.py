"""The pictures that a training looks at, all squeezed to one size in one file, read as they are needed."""

import json
import os
import shutil
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from active.arrays import Ids
from active.embedding.training.checkpoint import write_error
from active.embedding.training.processes import rank, wait

ROOM = 1.15  # of the network's side: a part of the picture is cut out, and still fills the side
Pixels = NDArray[np.uint8]
"""(n, 3, side, side) bytes."""


def bytes_of(side_px: int) -> int:
    """Return what a picture takes on disk, for a network of this size."""
    return 3 * round(side_px * ROOM) ** 2


class Pictures:
    """Pictures in a file on disk: `pixels` and `ids`, row for row. Grey ones have three equal channels.

    key  names the collection, so that a training that goes on can tell that it is the same.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ValueError with one sentence where `pack` has not ended."""
        try:
            about = json.loads((folder / "pictures.json").read_text("utf-8"))
            self.ids: Ids = np.fromfile(folder / "pictures.ids", np.int64)
            self.side_px, self.key = int(about["side_px"]), str(about["key"])
            shape = (len(self.ids), self.side_px, self.side_px, 3)
            if len(self.ids) != about["n"]:
                raise ValueError
            self._file = np.memmap(folder / "pictures.bin", np.uint8, "r", shape=shape)
        except (OSError, ValueError, LookupError, TypeError) as e:
            raise ValueError(f"{folder} holds no pictures for a training. Delete it and start again.") from e

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Ids) -> Pixels:
        """Return the pixels of these rows, in memory."""
        order = np.argsort(rows)  # a disk likes to be read forwards
        out = np.empty((len(rows), *self._file.shape[1:]), np.uint8)
        out[order] = self._file[rows[order]]
        return out.transpose(0, 3, 1, 2)

    def spaced(self, n: int) -> Ids:
        """Return up to n rows evenly spaced over the collection."""
        return np.unique(np.linspace(0, len(self) - 1, min(n, len(self))).round().astype(np.int64))


def pack(images: Iterable[tuple[int, Image.Image]], folder: Path, *, side_px: int, key: str = "") -> Pictures:
    """Return the pictures, after writing them to the folder; those of an earlier call are used again.

    images   (item id, upright image) one after another, decoded by the caller, who skips what can't be.
             Not looked at where the folder holds pictures of this key and size.
    side_px  the network's. Takes 50 KB of disk per image at 112 px, whatever their shape, and little memory.
    Of several processes the first writes. Raises ValueError with one sentence for a full disk or no images.
    """
    if rank() == 0 and not is_packed(folder, side_px, key):
        _pack(images, folder, side=round(side_px * ROOM), key=key)
    wait()
    return Pictures(folder)


def is_packed(folder: Path, side_px: int, key: str) -> bool:
    """Return whether a folder holds pictures of this key, for a network of this size."""
    try:
        there = Pictures(folder)
    except ValueError:
        return False
    return (there.side_px, there.key) == (round(side_px * ROOM), key)


def _pack(images: Iterable[tuple[int, Image.Image]], folder: Path, *, side: int, key: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pictures.json").unlink(missing_ok=True)
        part = folder / "pictures.part"
        n = _write(images, part, folder / "pictures.ids", side)
        if n:
            os.replace(part, folder / "pictures.bin")  # who still reads the earlier ones keeps them
            about = folder / "about.part"
            about.write_text(json.dumps({"n": n, "side_px": side, "key": key}), "utf-8")
            os.replace(about, folder / "pictures.json")
    except OSError as e:
        shutil.rmtree(folder, ignore_errors=True)
        raise write_error(e, folder) from e
    if n == 0:
        raise ValueError("There are no images to learn from. Give a folder that holds some.")


def _write(images: Iterable[tuple[int, Image.Image]], to: Path, ids_to: Path, side: int) -> int:
    """Write pixels and ids, and return how many."""
    n = 0
    with open(to, "wb") as pixels, open(ids_to, "wb") as ids:
        for item_id, image in images:
            rgb = image if image.mode == "RGB" else image.convert("RGB")
            small = rgb.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)
            pixels.write(small.tobytes())
            ids.write(np.int64(item_id).tobytes())
            n += 1
    return n


class Batches:
    """Which rows are looked at in which step: every epoch all of them once, in an order of its own.

    A function of seed and step alone, so that a training goes on exactly where it stopped. Rows left over at
    the end of an epoch, fewer than all processes together want, are dropped.
    """

    def __init__(self, n: int, *, batch: int, processes: int, seed: int) -> None:
        """Raises ValueError for fewer than two pictures per process; of few pictures the batch is smaller."""
        if n < 2 * processes:
            raise ValueError(
                f"There are {n} images to learn from. Give at least {2 * processes}; thousands are better."
            )
        self.batch = min(batch, n // processes)
        self.per_epoch = n // (self.batch * processes)
        self._n, self._processes, self._seed = n, processes, seed
        self._order = lru_cache(2)(self._shuffled)

    def rows(self, step: int, process: int) -> Ids:
        """Return the rows of one process in one step."""
        epoch, at = divmod(step, self.per_epoch)
        first = (at * self._processes + process) * self.batch
        return self._order(epoch)[first : first + self.batch]

    def _shuffled(self, epoch: int) -> Ids:
        return np.random.default_rng([self._seed, epoch]).permutation(self._n).astype(np.int64)
