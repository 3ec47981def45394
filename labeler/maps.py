"""Files that stay mapped into memory from one look to the next.

A new mapping costs a page fault, about a microsecond, for each page that is touched: a search among a million
codes and some thousand vectors took 26 ms that way, and 8 ms where the mappings were there.
"""

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 8  # files that stay mapped: vectors and codes of a workspace, while its encoder is being changed too

_Mark = tuple[int, int, int]
_held: "OrderedDict[Path, tuple[_Mark, NDArray[Any]]]" = OrderedDict()  # Any: whatever is in them
_lock = threading.Lock()


def rows(
    path: Path, kind: "type[np.generic]", width: int, most: int | None = None
) -> "NDArray[Any]":  # Any: of that kind
    """Return the whole rows of a file, (n, width), read-only; none where it is not there.

    most  so many at most: what comes behind them may be cut off, which Windows refuses where it is mapped.
    Mapped anew when the file is another one or has another length.
    """
    nothing = np.empty((0, width), kind)
    try:
        found = os.stat(path)
        n = found.st_size // (nothing.itemsize * width)
        n = n if most is None else min(n, most)
        if n == 0:
            return nothing
        mark = found.st_dev, found.st_ino, n
        with _lock:
            held = _held.pop(path, None)
            if held is None or held[0] != mark:
                held = mark, np.asarray(np.memmap(path, kind, mode="r", shape=(n, width)))
            _held[path] = held
            while len(_held) > MOST:
                _held.popitem(last=False)
            return held[1]
    except (OSError, ValueError):  # gone, or cut off since it was looked at
        return nothing


def forget(path: Path) -> None:
    """Let go of a file that is about to be deleted: Windows keeps one that is mapped."""
    with _lock:
        _held.pop(path, None)
