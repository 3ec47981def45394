"""The codes of a large pool, by which a search is quick: when they are made, grown, measured and kept."""

import contextlib
import logging
import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from active.arrays import Rows
from labeler import shelves
from labeler.arrays import load_arrays, save_arrays
from labeler.errors import writing
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.codes import Coder, Codes
    from active.search import Index

log = logging.getLogger("labeler.coding")

VERSION = 2  # of the files: others are made anew
EXACT_ROWS = 20_000  # pools of at most so many are compared whole
FITTED = (20_000, 80_000, 320_000, 1_280_000)  # items after which a turn is learned anew
TAIL = 5000  # items that may lie behind the codes: a search compares them whole
QUERIES = 64  # items whose neighbours are looked up twice, to measure what codes find
REACHES = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 80.0)
CHECKED, ROUNDED = 64, 8  # codes that are made again to see that they fit; bits that rounding may turn
MEASURED = 4_000_000  # items among which that is measured, at most
STRIDE = 65_536  # rows coded between two writes


@dataclass(frozen=True, slots=True)
class Coding:
    """A coder with what was measured of it: `recall` of the 100 nearest with this reach, among `n` items.

    target  the recall that was wanted then.
    """

    basis: int
    coder: "Coder"
    reach: float
    recall: float
    n: int
    target: float


def index(ws: Workspace, key: str, dim: int, n: int) -> "Index":
    """Return what finds the nearest of the first n items: by their codes if there are some, else exactly."""
    from active.codes import Coded
    from active.search import Exact

    rows = ws.vectors(key, dim).rows(0, n)
    found = None if n <= EXACT_ROWS else ready(ws, key)
    if found is None:
        return Exact(rows)
    path = _file(ws, key, found.basis)
    codes = _codes(path, found.coder.n_bytes)[:n]
    if len(codes) == 0:
        return Exact(rows)
    return Coded(found.coder, shelves.near(codes, path), rows, reach=found.reach)


_held: "weakref.WeakKeyDictionary[Workspace, tuple[tuple[Path, int], Coding]]" = weakref.WeakKeyDictionary()


def ready(ws: Workspace, key: str) -> Coding | None:
    """Return the newest coder of an encoder whose codes are there; None: there is none yet."""
    from active.codes import Coder

    for basis in reversed(FITTED):
        path = _file(ws, key, basis).with_suffix(".npz")
        try:
            mark = path, path.stat().st_mtime_ns
        except OSError:
            continue
        held = _held.get(ws)
        if held is not None and held[0] == mark:
            return held[1]
        arrays = load_arrays(path)
        try:
            if arrays is None or int(arrays["version"]) != VERSION:
                continue
            reach, recall, target = (float(arrays[name]) for name in ("reach", "recall", "target"))
            found = Coding(basis, Coder.from_arrays(arrays), reach, recall, int(arrays["n"]), target)
        except (KeyError, TypeError, ValueError):
            continue
        _held[ws] = mark, found
        return found
    return None


def due(ws: Workspace) -> bool:
    """Return whether codes are to be made or grown now."""
    used = ws.registry.in_use()
    if used is None or used[2] <= EXACT_ROWS:
        return False
    key, _, n = used
    found = ready(ws, key)
    if found is None or found.basis < _basis(n) or found.target != ws.config.search_recall:
        return True
    path = _file(ws, key, found.basis)
    codes = _codes(path, found.coder.n_bytes)
    behind, is_over = n - len(codes), n >= ws.catalog.count_items()
    return behind < 0 or behind > TAIL or (behind > 0 and is_over) or shelves.due(codes, path)


def make(ws: Workspace) -> None:
    """Make or grow the codes of the encoder in use, in the background: seconds, a minute for some millions.

    Codes that are not those of the vectors (which were cut back, say, and came anew) are made anew.
    Raises Blocked when the disk is full, Conflict while another process is at it; what is there stays in use.
    """
    used = ws.registry.in_use()
    if used is None or used[2] <= EXACT_ROWS:
        return
    key, dim, n = used
    with ws.lock("codes"):
        rows, found = ws.vectors(key, dim).rows(0, n), ready(ws, key)
        fault = _fault(ws, key, found, rows)
        if fault:
            log.warning("The codes that searches go by %s. They are made anew.", fault)
        if found is None or fault or found.basis < _basis(n):
            _begin(ws, key, rows)
            return
        path = _file(ws, key, found.basis)
        _grow(path, found.coder, rows)
        if n >= 2 * found.n or found.target != ws.config.search_recall:
            _measure(ws, key, found.basis, found.coder, rows)
        codes = _codes(path, found.coder.n_bytes)
        if shelves.due(codes, path):
            shelves.make(codes, path)


def _fault(ws: Workspace, key: str, found: Coding | None, rows: Rows) -> str | None:
    """Return what is wrong with the codes on disk; None: nothing, or there are none."""
    if found is None:
        there = any(ws.cache.glob(f"codes-{key}-*.npz"))
        return "are cut off, damaged or of another version" if there else None
    return None if _fits(ws, key, found, rows) else "are not those of the vectors"


def _fits(ws: Workspace, key: str, found: Coding, rows: Rows) -> bool:
    """Return whether some codes, the last one among them, are those of their rows, and no more than these."""
    codes = _codes(_file(ws, key, found.basis), found.coder.n_bytes)
    if len(codes) > len(rows):
        return False
    at = np.unique(np.linspace(0, len(codes) - 1, CHECKED).astype(np.int64)) if len(codes) else ()
    return all(_bits_apart(found.coder.codes(rows[i : i + 1])[0], codes[i]) <= ROUNDED for i in at)


def _bits_apart(one: "Codes", other: "Codes") -> int:
    return int(np.unpackbits(one ^ other).sum())


def _file(ws: Workspace, key: str, basis: int) -> Path:
    return ws.cache / f"codes-{key}-{basis}.bin"


def _basis(n: int) -> int:
    """Return on how many items the turn of a pool of n is learned; they come in random order."""
    return next(basis for basis in reversed(FITTED) if basis <= n)


def _codes(path: Path, n_bytes: int) -> "Codes":
    """Return the whole codes in a file, mapped into memory; none where it is not there."""
    try:
        n = path.stat().st_size // n_bytes
        return np.memmap(path, np.uint8, mode="r", shape=(n, n_bytes)) if n else _no_codes(n_bytes)
    except OSError:
        return _no_codes(n_bytes)


def _no_codes(n_bytes: int) -> "Codes":
    return np.empty((0, n_bytes), np.uint8)


def _begin(ws: Workspace, key: str, rows: Rows) -> None:
    """Learn a turn, code all rows by it, and forget the turns before."""
    from active.codes import BITS, fit_coder

    basis = _basis(len(rows))
    path = _file(ws, key, basis)
    coder = fit_coder(rows[:basis], BITS, np.random.default_rng(basis))
    _remove(ws, key, basis)  # of another turn, or of other vectors
    _grow(path, coder, rows)
    _measure(ws, key, basis, coder, rows)
    for old in FITTED:
        if old != basis:
            _remove(ws, key, old)


def _remove(ws: Workspace, key: str, basis: int) -> None:
    """Delete the codes of a turn, and the lists they are in."""
    files = sorted(ws.cache.glob(f"codes-{key}-{basis}[.-]*"), key=lambda file: file.suffix != ".npz")
    for file in files:  # what says that the others are there goes first
        with contextlib.suppress(OSError):  # Windows keeps a file that is being searched
            file.unlink(missing_ok=True)


def _grow(path: Path, coder: "Coder", rows: Rows) -> None:
    """Write the codes of rows that have none yet behind those that do, on disk when this returns.

    Where the disk is full, what was written of them is taken back: its last room is for answers.
    """
    done = len(_codes(path, coder.n_bytes))
    with writing(f"The file {path.name}"), open(path, "ab") as f:
        f.truncate(done * coder.n_bytes)
        try:
            for lo in range(done, len(rows), STRIDE):
                f.write(coder.codes(rows[lo : lo + STRIDE]).tobytes())
            f.flush()
            os.fsync(f.fileno())
        except OSError:
            os.truncate(path, done * coder.n_bytes)
            raise


def _queries(rows: Rows, rng: np.random.Generator) -> tuple[Rows, NDArray[np.int64]]:
    """Return what people search by, (q, d), and of which items: one, several, and one that is not wanted.

    An item that is searched by is its own nearest, which says nothing: it is left out where it is counted.
    """
    from active.search import combine

    at = np.sort(rng.choice(len(rows), 4 * QUERIES, replace=False)).reshape(QUERIES, 4)
    kinds = [(at[i, :1], at[i, 1:1]) if i % 3 == 0 else (at[i, :2], at[i, 2:2]) if i % 3 == 1
             else (at[i, :1], at[i, 1:2]) for i in range(QUERIES)]  # fmt: skip
    asked = [combine(np.asarray(rows[like]), np.asarray(rows[unlike])) for like, unlike in kinds]
    return np.concatenate(asked), at[:, 0]


def _measure(ws: Workspace, key: str, basis: int, coder: "Coder", rows: Rows) -> None:
    """Look neighbours up by codes and exactly, and note the least reach that finds enough of them."""
    from active.codes import Coded, Flat
    from active.search import Exact

    path, some, target = _file(ws, key, basis), rows[:MEASURED], ws.config.search_recall
    codes = _codes(path, coder.n_bytes)[: len(some)]
    query, own = _queries(some, np.random.default_rng(len(rows)))
    true = Exact(some).search(query, 101)[0]
    reach, recall = REACHES[0], 0.0
    for reach in REACHES:
        near = Coded(coder, Flat(codes), some, reach=reach).search(query, 101)[0]
        recall = float(np.mean([
            np.isin(a[a != one], b).mean() for a, b, one in zip(true, near, own, strict=True)
        ]))  # fmt: skip
        if recall >= target:
            break
    else:
        log.warning("Searches by codes find %.3f of the 100 nearest; %.3f are wanted.", recall, target)
    about = {"version": VERSION, "reach": reach, "recall": recall, "n": len(rows), "target": target}
    arrays = coder.to_arrays() | {name: np.array(value) for name, value in about.items()}
    save_arrays(path.with_suffix(".npz"), **arrays)
