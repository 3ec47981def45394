"""The lists in which the codes of a very large pool are kept on disk, beside the codes themselves."""

import contextlib
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from labeler.arrays import load_arrays, save_arrays
from labeler.errors import writing

if TYPE_CHECKING:
    from active.codes import Codes, Flat
    from active.lists import Layout, Lists

log = logging.getLogger("labeler.shelves")

VERSION = 1  # of the files: others are made anew
KINDS = ("npz", "lists", "order")  # of files: the first is written last
FLAT_MOST = 8_000_000  # so many codes are compared all, in 16 ms of one core
QUERIES, NEAREST = 64, 1000  # codes whose nearest are looked up twice, to choose how many lists are read
RECALL = 0.99  # share of the nearest codes that these lists are to hold


def near(codes: "Codes", path: Path) -> "Flat | Lists":
    """Return what finds the nearest of codes that are kept at `path`: by lists, where these were made."""
    from active.codes import Flat
    from active.lists import Lists

    if len(codes) <= FLAT_MOST or (n := _newest(path, len(codes))) == 0:
        return Flat(codes)
    try:
        files = [_file(path, n, kind) for kind in KINDS]
        mark = tuple(file.stat().st_mtime_ns for file in files)
        layout, moved, probes = _opened(files[0], files[1], files[2], mark)
    except (OSError, KeyError, TypeError, ValueError):  # gone, cut off, or of another version: made anew
        return Flat(codes)
    return Lists(layout, moved, codes[n:], probes)


@lru_cache(2)
def _opened(about: Path, lists: Path, order: Path, mark: tuple[int, ...]) -> "tuple[Layout, Codes, int]":
    """Return the layout, the codes and the probes of lists on disk; `mark` says when these were written."""
    from active.lists import Layout

    arrays = load_arrays(about)
    if arrays is None or int(arrays["version"]) != VERSION:
        raise ValueError(about.name)
    n, wide = int(arrays["n"]), arrays["centres"].shape[1]
    layout = Layout(arrays["centres"], arrays["starts"], np.memmap(order, np.uint32, mode="r", shape=(n,)))
    return layout, np.memmap(lists, np.uint8, mode="r", shape=(n, wide)), int(arrays["probes"])


def due(codes: "Codes", path: Path) -> bool:
    """Return whether lists are to be made now: for the first time, or for a quarter more codes."""
    if len(codes) <= FLAT_MOST:
        return False
    from active.codes import Flat

    return isinstance(near(codes, path), Flat) or len(codes) >= _newest(path, len(codes)) * 5 // 4


def make(codes: "Codes", path: Path, *, nearest: int = NEAREST) -> None:
    """Put codes into lists and keep these beside `path`: a minute for eight million, in the background.

    nearest  how many codes a search looks for: of that many the lists are to hold RECALL.

    Memory: twelve bytes a code. Raises Blocked when the disk is full; nothing new is left there then.
    """
    from active.codes import Flat
    from active.lists import Lists, lay_out, lists_for, moved, tune

    n, rng = len(codes), np.random.default_rng(len(codes))
    if (there := _newest(path, n)) and isinstance(near(codes, path), Flat):
        log.warning("The lists of %d codes are cut off or of another version. They are made anew.", there)
    layout = lay_out(codes, lists_for(n), rng)
    _sweep(path, keep=_newest(path, n) if _newest(path, n) != n else 0)  # of a process that was killed
    order, lists = _file(path, n, "order"), _file(path, n, "lists")
    with writing(f"The file {lists.name}"):
        try:
            with open(order, "wb") as f:
                f.write(layout.order.tobytes())
                _end(f)
            with open(lists, "wb") as f:
                moved(codes, layout, lambda block: f.write(block.tobytes()))
                _end(f)
        except OSError:
            remove(path, n)
            raise
    laid = np.memmap(lists, np.uint8, mode="r", shape=codes.shape)
    asked = np.asarray(codes[np.sort(rng.choice(n, min(n, QUERIES), replace=False))])
    probes, recall = tune(Lists(layout, laid, codes[n:], 1), codes, asked, nearest, RECALL)
    about: dict[str, float] = {"version": VERSION, "probes": probes, "recall": recall, "n": n}
    arrays: dict[str, NDArray[np.generic]] = {"centres": layout.centres, "starts": layout.starts}
    arrays |= {name: np.array(value) for name, value in about.items()}
    save_arrays(_file(path, n, "npz"), **arrays)
    _sweep(path, keep=n)


def remove(path: Path, n: int) -> None:
    """Delete the lists of the first n codes."""
    for kind in KINDS:
        with contextlib.suppress(OSError):  # Windows keeps a file that is being searched
            _file(path, n, kind).unlink(missing_ok=True)


def _sweep(path: Path, keep: int) -> None:
    """Delete all lists but those of the first `keep` codes, half-made ones too."""
    start = f"{path.stem}-"
    numbers = {file.stem[len(start) :] for kind in KINDS for file in path.parent.glob(f"{start}*.{kind}")}
    for number in numbers:
        if number.isdecimal() and int(number) != keep:
            remove(path, int(number))


def _file(path: Path, n: int, kind: str) -> Path:
    return path.with_name(f"{path.stem}-{n}.{kind}")


def _made(path: Path) -> list[int]:
    """Return for how many codes there are lists, ascending."""
    start = f"{path.stem}-"
    ends = [p.stem[len(start) :] for p in path.parent.glob("*.npz") if p.stem.startswith(start)]
    return sorted(int(end) for end in ends if end.isdecimal())


def _newest(path: Path, n: int) -> int:
    """Return for how many of n codes the newest lists are; 0: there are none."""
    return max((made for made in _made(path) if made <= n), default=0)


def _end(f: BinaryIO) -> None:
    f.flush()
    os.fsync(f.fileno())
