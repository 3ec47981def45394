"""What the built-in network learns from: real pictures as bytes in memory, and drawn ones, always new.

A pack is one .npz with both collections as small JPEG files, to carry to another machine.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from active.embedding import network
from benchmarks.drawn import draw
from benchmarks.student import LEADS

SIDE_PX = 192
COLLECTIONS = ("hirise", "clothing")  # never aid: it is what the network is judged on
HELD = 10  # one source image in so many is held out


def pack(data: Path, file: Path, quality: int = 75) -> int:
    """Write both collections as JPEG files of 192 px in one .npz, and return how many bytes it has."""
    parts, names = [], []
    for path in sorted(p for name in COLLECTIONS for p in (data / name).glob("*/*.jpg")):
        with Image.open(path) as image:
            small = image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        out = io.BytesIO()
        small.save(out, "JPEG", quality=quality)
        parts.append(np.frombuffer(out.getvalue(), np.uint8))
        names.append(f"{path.parent.parent.name}/{path.name}")
    ends = np.cumsum([len(p) for p in parts])
    np.savez(file, jpeg=np.concatenate(parts), ends=ends, names=np.array(names))
    return file.stat().st_size


def read(file: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the pictures of a pack, (n, 3, 192, 192), and "collection/name" of each."""
    with np.load(file, allow_pickle=False) as z:
        jpeg, ends, names = z["jpeg"], z["ends"], [str(n) for n in z["names"]]
    out = np.empty((len(names), 3, SIDE_PX, SIDE_PX), np.uint8)
    for i, (start, end) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
        with Image.open(io.BytesIO(jpeg[start:end].tobytes())) as image:
            out[i] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    return out, names


def source(name: str) -> str:
    """Return what a picture was cut from: of hirise the source image, of clothing the picture itself."""
    collection, file = name.split("/")
    return f"{collection}/{'_'.join(file.split('_')[:2])}" if collection == "hirise" else name


def is_held(name: str) -> bool:
    """Return whether a picture is held out; all pictures of one source are, or none."""
    from zlib import crc32

    return crc32(source(name).encode()) % HELD == 0


class Drawn:
    """Drawn pictures on a device, the oldest replaced by new ones; the same for a seed and a step."""

    def __init__(self, room: int, fresh: int, *, seed: int, device: torch.device, step: int = 0) -> None:
        """room  how many are kept, a multiple of `fresh`: how many are new at each step."""
        self._fresh, self._seed, self._slots = fresh, seed, room // fresh
        self.pictures = torch.empty(
            (self._slots * fresh, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8, device=device
        )
        for batch in range(step, step + self._slots):
            self._put(batch)

    def renew(self, step: int) -> None:
        """Draw the pictures that are new at this step, counted from 0."""
        self._put(step + self._slots)

    def _put(self, batch: int) -> None:
        slot = batch % self._slots * self._fresh
        rng = torch.Generator(self.pictures.device).manual_seed(self._seed * 1_000_003 + batch)
        self.pictures[slot : slot + self._fresh] = draw(self._fresh, rng, SIDE_PX)


class Kept:
    """Views with what the teacher made of them, in one file that is mapped into memory; the oldest make room.

    A view is looked at by the teacher once and learned from several times: on two cores the teacher costs
    as much as the learning. Maps are kept as bytes: a ReLU6's 0 to 6 in 256 steps.
    """

    TOP = 6.0  # of a ReLU6

    def __init__(self, file: Path, room: int) -> None:
        """room  how many views are kept: 314 KB each."""
        self.room = room
        shapes = [(3, network.SIDE_PX, network.SIDE_PX), *map_shapes()]
        sizes = [room * math.prod(shape) for shape in shapes]
        whole = torch.from_file(str(file), shared=True, size=sum(sizes), dtype=torch.uint8)
        parts = torch.split(whole, sizes)
        self._parts = [p.view(room, *shape) for p, shape in zip(parts, shapes, strict=True)]

    def put(self, first: int, view: Tensor, maps: Sequence[Tensor]) -> None:
        """Keep views, (n, 3, 112, 112) in [-1, 1], as those of number `first` and on."""
        at = torch.arange(first, first + len(view)) % self.room
        small = ((view + 1) * 127.5, *(m * (255 / self.TOP) for m in maps))
        for part, values in zip(self._parts, small, strict=True):
            part[at] = values.round().clamp(0, 255).to(torch.uint8).cpu()

    def take(self, at: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the views of these numbers and their maps, as they were put in but for the rounding."""
        view, *maps = (part[at % self.room].float() for part in self._parts)
        return view / 127.5 - 1, [m * (self.TOP / 255) for m in maps]


def map_shapes() -> list[tuple[int, int, int]]:
    """Return the channels and places of the maps at LEADS."""
    out, side = [], network.SIDE_PX // network.layers()[0].stride
    for block, (wide, stride) in enumerate(network.BLOCKS):
        side //= stride
        if block in LEADS:
            out.append((wide, side, side))
    return out


def batch(pools: Sequence[tuple[Tensor, float]], n: int, rng: torch.Generator) -> Tensor:
    """Return n pictures at random, of each pool as large a share as is given with it."""
    kind = torch.multinomial(torch.tensor([share for _, share in pools]), n, replacement=True, generator=rng)
    parts = []
    for i, (pictures, _) in enumerate(pools):
        at = torch.randint(len(pictures), (int((kind == i).sum()),), generator=rng, device=rng.device)
        parts.append(pictures[at.to(pictures.device)].to(rng.device))
    return torch.cat(parts)
