"""The turned rows of a large pool, kept in a file that is mapped: what is not read needs no memory."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from active.arrays import Rows
from labeler import places
from labeler.errors import Blocked, writing

STRIDE = 65_536  # rows turned between two writes
CHECKED = 16  # rows that are turned again to see that the file is of these vectors
SPARE_BYTES = 1 << 30  # of the disk, that this leaves to answers

_known: set[Path] = set()  # files that this process has looked at or made


def kept(path: Path, n: int, width: int, turned: Callable[[int, int], Rows]) -> Rows:
    """Return the first n turned rows, (n, width), from a file, after those that it lacks were added.

    turned  returns rows lo to hi, fewer where there are no vectors, the same whatever stands beside them.
            So several processes may write the same file at once: they write the same.
    A file of other rows, or damaged, is deleted and made anew; who has the old one mapped goes on with it.
    Raises Blocked where the disk has no room (nothing is written then), and where another process deletes
    the file meanwhile.
    """
    try:
        have = _count(path, width)
        if path not in _known and have and not _fits(_mapped(path, have, width), turned):
            with writing(f"The file {path.name}"):
                path.unlink()
            have = 0
        _known.add(path)
        if have < n:
            _grow(path, n, width, turned)
        return _mapped(path, n, width)
    except (FileNotFoundError, ValueError) as e:  # gone, or shorter than it was a moment before
        raise Blocked(f"The file {path.name} was changed by another process.", "Try again.") from e


def remove(path: Path) -> None:
    """Delete a file of rows that are of no use any more."""
    with contextlib.suppress(OSError):  # Windows keeps a file that is mapped
        path.unlink(missing_ok=True)


def _grow(path: Path, n: int, width: int, turned: Callable[[int, int], Rows]) -> None:
    """Write the rows that are missing, on disk when this returns."""
    have = _count(path, width)
    if places.free_bytes(path.parent) < (n - have) * width * 4 + SPARE_BYTES:
        raise Blocked(f"There is too little room for {path.name}.", "Free some space; then try again.")
    # never cut off: another process may be at it too
    how = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    with writing(f"The file {path.name}"), open(os.open(path, how, 0o644), "r+b") as f:
        f.seek(have * width * 4)
        for lo in range(have, n, STRIDE):
            f.write(turned(lo, min(n, lo + STRIDE)).tobytes())
        f.flush()
        os.fsync(f.fileno())


def _count(path: Path, width: int) -> int:
    """Return how many whole rows a file has; 0: it is not there."""
    try:
        return path.stat().st_size // (4 * width)
    except OSError:
        return 0


def _mapped(path: Path, n: int, width: int) -> Rows:
    return np.asarray(np.memmap(path, np.float32, mode="r", shape=(n, width)))


def _fits(rows: Rows, turned: Callable[[int, int], Rows]) -> bool:
    """Return whether some rows, the last one among them, are what turning their vectors gives."""
    at = np.unique(np.linspace(0, len(rows) - 1, CHECKED).astype(np.int64)).tolist()
    got = [(rows[i], turned(i, i + 1)) for i in at]
    return all(len(now) == 1 and np.allclose(row, now[0], atol=1e-5) for row, now in got)
