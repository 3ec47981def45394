"""Append-only arrays of unit rows: row = item id, one file per encoder."""

import os
from pathlib import Path

import numpy as np

from active.arrays import Rows
from labeler.errors import writing

SCATTER_FROM = 2048
"""Before so many rows are there, it is noted how rows move when an image is turned, if that is known."""


class Vectors:
    """The float32 rows of one encoder. One process appends; any may read what is committed."""

    def __init__(self, path: Path, dim: int) -> None:
        self.path = path
        self.dim = dim

    def __len__(self) -> int:
        """Return the number of whole rows in the file."""
        return self.path.stat().st_size // (4 * self.dim) if self.path.exists() else 0

    def append(self, rows: Rows) -> None:
        """Write rows behind the last whole one, on disk when this returns.

        rows  (n, dim) unit rows. Raises ValueError for another size or length, Blocked for a full
              disk: what was written then counts for nothing, and the next call writes over it.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"rows have shape {rows.shape}; this file takes (n, {self.dim}).")
        if len(rows) and not np.allclose(np.einsum("ij,ij->i", rows, rows), 1, atol=1e-3):
            raise ValueError("rows must have length 1.")
        with writing(f"The file {self.path.name}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as f:
                f.truncate(len(self) * 4 * self.dim)
                f.seek(0, os.SEEK_END)
                f.write(rows.tobytes())
                f.flush()
                os.fsync(f.fileno())

    def rows(self, lo: int = 0, hi: int | None = None) -> Rows:
        """Return rows lo to hi (None: all) as a read-only memory map; fewer if the file is shorter."""
        n = len(self)
        hi = n if hi is None else min(hi, n)
        if hi <= lo:
            return np.empty((0, self.dim), np.float32)
        return np.memmap(self.path, np.float32, mode="r", offset=lo * 4 * self.dim, shape=(hi - lo, self.dim))

    def cut(self, n: int) -> None:
        """Cut the file back to n rows: what came after was never committed."""
        if len(self) > n or (self.path.exists() and self.path.stat().st_size % (4 * self.dim)):
            os.truncate(self.path, min(n, len(self)) * 4 * self.dim)
