"""Pools of any size that are like real ones: real vectors, moved as far as real neighbours lie apart.

A row is that of a real image plus the difference between another image and one of its ten nearest, both drawn
at random, by 1/√2: so two rows of one image lie about as far apart as neighbours do. With random numbers in
their place there would be no neighbours to find.
"""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from active.arrays import Rows, unit_rows
from active.search import Exact
from labeler.catalog import Decoded, SeenFile
from labeler.config import Config
from labeler.workspace import Workspace

NEAR = 10
BLOCK = 65_536  # rows that are made at a time: a block depends on its number and the seed alone
CHUNK = 100_000
KEY = "crowd"


class Crowd:
    """Rows without end, made of real ones."""

    def __init__(self, real: Rows, seed: int = 0) -> None:
        """real  (n, d) vectors of images, or of anything that moves with them in a line."""
        self.real = np.ascontiguousarray(real, np.float32)
        self._seed = seed
        self._near = _neighbours(self.real)

    def turned(self, mean: Rows, turn: Rows) -> "Crowd":
        """Return the same crowd in other numbers, (row - mean) · turn."""
        other = Crowd.__new__(Crowd)
        other.real, other._seed = np.asarray((self.real - mean) @ turn, np.float32), self._seed
        other._near = self._near
        return other

    def mark(self) -> str:
        """Return what names the rows it is made of."""
        return hashlib.blake2b(self.real.tobytes(), digest_size=4).hexdigest()

    def block(self, number: int, n: int = BLOCK) -> Rows:
        """Return the first n rows of a block, (n, d), not scaled to length 1."""
        of, other, near = self._drawn(number, n)
        out = self.real[other]
        out -= self.real[near]
        out *= np.float32(-(0.5**0.5))
        out += self.real[of]
        return out

    def images(self, number: int, n: int = BLOCK) -> NDArray[np.int64]:
        """Return of which real row each row of a block is."""
        return self._drawn(number, n)[0]

    def _drawn(self, number: int, n: int) -> tuple[NDArray[np.int64], ...]:
        rng = np.random.default_rng([self._seed, number])
        of, other = rng.integers(len(self.real), size=(2, BLOCK))
        near = self._near[other, rng.integers(self._near.shape[1], size=BLOCK)]
        return of[:n], other[:n], near[:n]


def _neighbours(rows: Rows) -> NDArray[np.int64]:
    """Return the ten nearest of each row but itself, (n, 10)."""
    unit, out = unit_rows(rows.copy()), np.empty((len(rows), NEAR), np.int64)
    for lo in range(0, len(rows), 1000):
        ids = Exact(unit).search(unit[lo : lo + 1000], NEAR + 1)[0]
        for i, row in enumerate(ids):
            out[lo + i] = row[row != lo + i][:NEAR]
    return out


def made_up(item: int) -> SeenFile:
    """Return a file that is nowhere, for an item whose picture nobody looks at."""
    return SeenFile(f"{item:08}.jpg", 1, 1)


def workspace(
    folder: Path, parts: Iterable[Rows], *, key: str = KEY, encoder: str = "builtin",
    file_of: Callable[[int], SeenFile] = made_up,
) -> Workspace:  # fmt: skip
    """Return a workspace whose items have these vectors, part by part; kept where it was made before.

    Its images are those in `folder`/images, as `file_of` says of each item. key, encoder  whose vectors.
    """
    done = folder / "done"
    if done.exists():
        return Workspace.open(folder / "ws")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    ws = Workspace.open(folder / "ws", Config(images=str((folder / "images").resolve()), encoder=encoder))
    n = dim = 0
    for part in parts:
        dim, n = part.shape[1], n + len(part)
        vectors = ws.vectors(key, dim)
        vectors.cut(n - len(part))  # of a run that was stopped
        vectors.append(unit_rows(part.copy()))
    scan = ws.catalog.begin_scan()
    for lo in range(0, n, CHUNK):
        ws.catalog.note_files(scan, [file_of(i) for i in range(lo, min(n, lo + CHUNK))])
    ws.catalog.end_scan(scan)
    at = 0
    while new := ws.catalog.new_files(CHUNK):
        ws.catalog.add_decoded([Decoded(f.id, f"{at + i}", 64, 64) for i, f in enumerate(new)])
        at += len(new)
    ws.registry.use(key, dim)
    ws.registry.set_embedded(key, dim, n)
    done.touch()
    return ws
