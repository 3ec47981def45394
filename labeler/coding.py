"""The codes of a large pool, by which a search is quick: when they are made, grown, measured and kept."""

import contextlib
import logging
import os
import time
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows
from labeler import lull, maps, shelves
from labeler.arrays import load_arrays, save_arrays
from labeler.errors import BadInput, Blocked, NotReady, writing
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.codes import Coder, Codes
    from active.search import Index

log = logging.getLogger("labeler.coding")

VERSION = 3  # of the files: others are made anew
EXACT_ROWS = 100_000  # pools of at most so many are always compared whole
ALONE_ROWS = 1_000_000  # and of at most so many, where nobody else searches just now
PATIENCE_S = 0.7  # and that takes no longer than so
FITTED = (20_000, 80_000, 320_000, 1_280_000)  # items after which a turn is learned anew
SLOW_ROWS = 3_000_000  # more than these are never compared whole: a search waits for the codes
LEARNED_AGAIN = 1.25  # times as many items as a turn was learned with, before it is learned anew
TAIL = 5000  # items that may lie behind the codes: a search compares them whole
QUERIES = 64  # items whose neighbours are looked up twice, to measure what codes find
REACHES = (2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 80.0)
CHECKED, ROUNDED = 64, 8  # codes that are made again to see that they fit; bits that rounding may turn
MEASURED = 4_000_000  # items among which that is measured, at most
ALL_APART = 2.0  # a cosine that no query has
MEASURED_AGAIN = 1.1  # times as many items as when it was last measured
MOST_STEPS = 4  # codes, then lists, each of which may have to be made anew once
STRIDE = 65_536  # rows coded between two writes


@dataclass(frozen=True, slots=True)
class Measured:
    """What codes find among `n` items: `recall` of the 100 nearest with this reach.

    least   the smallest cosine between a query and the nearest other item: what is farther lies apart.
    target  the recall that was wanted then.
    """

    n: int
    reach: float
    recall: float
    least: float
    target: float


@dataclass(frozen=True, slots=True)
class Coding:
    """A coder with what was measured of it last, and when its turn was learned: with so many items."""

    basis: int
    coder: "Coder"
    now: Measured
    learned_n: int
    learned_reach: float

    def has_drifted(self, now: Measured) -> bool:
        """Return whether what came since is so unlike the rest that the turn is to be learned anew."""
        grown = now.n >= self.learned_n * LEARNED_AGAIN
        return grown and (now.recall < now.target or now.reach > 2 * self.learned_reach)


class Whole:
    """All items compared, where one search takes no longer than PATIENCE_S; else another index is asked.

    Where it did take longer, no search compares all for a while. was_whole  whether the last answer is exact.
    """

    def __init__(self, rows: Rows, instead: "Index") -> None:
        """rows  (n, d) unit rows, kept by reference. instead  what is asked where that takes too long."""
        self._rows, self._instead = rows, instead
        self._left_s, self.was_whole = PATIENCE_S, False

    def search(self, rows: Rows, k: int) -> "tuple[Ids, Rows]":
        """Return the `k` nearest of each query, as `active.search.Index.search` says."""
        from active.search import Exact

        began, self.was_whole = time.monotonic(), False
        try:
            found = Exact(self._rows, within_s=self._left_s).search(rows, k)
        except TimeoutError:
            if self._left_s == PATIENCE_S:  # not a search that looks again, as files are gone
                lull.here.rest()
            return self._instead.search(rows, k)
        self._left_s -= time.monotonic() - began
        self.was_whole = True
        return found


def index(
    ws: Workspace,
    key: str,
    dim: int,
    n: int,
    *,
    apart: bool = False,
    exact: bool = False,
    is_alone: bool = False,
) -> "Index":
    """Return what finds the nearest of the first n items: exactly, or by their codes if there are some.

    apart     what is searched by lies apart from all items, as words do.
    exact     compare all, codes or not. Raises BadInput where there are too many to.
    is_alone  whether nobody else searches: then of up to a million all are compared, if that is quick.
    Raises NotReady where there are too many to compare all, and no codes yet.
    """
    from active.codes import Coded
    from active.search import Exact

    rows = maps.rows(ws.vectors(key, dim).path, np.float32, dim, most=n)
    if exact and n > SLOW_ROWS:
        raise BadInput(
            f"{n:,} images are too many to compare all of them.",
            f"Search without exact; up to {SLOW_ROWS:,} can be compared.",
        )
    if exact or n <= EXACT_ROWS:
        return Exact(rows)
    found = ready(ws, key)
    path = None if found is None else _file(ws, key, found.basis)
    codes = None if found is None or path is None else _codes(path, found.coder.n_bytes)[:n]
    if n - (0 if codes is None else len(codes)) > SLOW_ROWS:
        raise NotReady(
            f"What searches among {n:,} images go by is not made yet.",
            "It is made while labeler start runs, or by labeler index; try again in some minutes.",
        )
    if found is None or path is None or codes is None or len(codes) == 0:
        return Exact(rows)
    near = shelves.near(codes, path)
    least = ALL_APART if apart else found.now.least
    coded = Coded(found.coder, near, rows, reach=found.now.reach, least=least)
    return Whole(rows, coded) if is_alone and n <= ALONE_ROWS else coded


_looked_at: "weakref.WeakKeyDictionary[Workspace, set[Path]]" = weakref.WeakKeyDictionary()
"""Files whose codes this process has compared with the vectors."""
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
            reach, recall, least, target = (float(arrays[x]) for x in ("reach", "recall", "least", "target"))
            now = Measured(int(arrays["n"]), reach, recall, least, target)
            learned = int(arrays["learned_n"]), float(arrays["learned_reach"])
            found = Coding(basis, Coder.from_arrays(arrays), now, *learned)
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
    key, dim, n = used
    found = ready(ws, key)
    if found is None or found.basis < _basis(n) or found.now.target != ws.config.search_recall:
        return True
    path = _file(ws, key, found.basis)
    if path not in _looked_at.setdefault(ws, set()) and not _fits(
        ws, key, found, ws.vectors(key, dim).rows(0, n)
    ):
        return True
    _looked_at[ws].add(path)
    codes = _codes(path, found.coder.n_bytes)
    behind, is_over = n - len(codes), n >= ws.catalog.count_items()
    return behind < 0 or behind > TAIL or (behind > 0 and is_over) or shelves.due(codes, path)


def make(ws: Workspace) -> None:
    """Make or grow the codes of the encoder in use, in the background: seconds, a minute for some millions.

    Codes that are not those of the vectors (which were cut back, say, and came anew) are made anew.
    Raises Blocked when the disk is full, Conflict while another process is at it; what is there stays in use,
    unless a turn is learned anew: until its codes are there, searches compare all.
    """
    used = ws.registry.in_use()
    from active.codes import candidates

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
        now = found.now
        if n >= now.n * MEASURED_AGAIN or now.target != ws.config.search_recall:
            now = _measure(path, found.coder, rows, ws.config.search_recall)
            if found.has_drifted(now):
                log.info("What came since is unlike the rest: the codes that searches go by are made anew.")
                _begin(ws, key, rows, of_all=True)
                return
            _save(path, replace(found, now=now))
        codes = _codes(path, found.coder.n_bytes)
        if shelves.due(codes, path):
            shelves.make(codes, path, nearest=candidates(now.reach, 101))


def keep(ws: Workspace) -> None:
    """Make all that is due, one after another. Raises as `make`."""
    for _ in range(MOST_STEPS):
        if not due(ws):
            return
        make(ws)


def keep_if_needed(ws: Workspace) -> None:
    """Make what is due where a search would have to wait for it: for whoever works without a server."""
    used = ws.registry.in_use()
    if used is not None and used[2] > SLOW_ROWS:
        keep(ws)


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
    return maps.rows(path, np.uint8, n_bytes)


def _begin(ws: Workspace, key: str, rows: Rows, *, of_all: bool = False) -> None:
    """Learn a turn, code all rows by it, and forget the turns before.

    of_all  learn from any rows, not from the first ones alone, which do for a pool that came in random order.
    """
    from active.codes import BITS, fit_coder

    basis = _basis(len(rows))
    path = _file(ws, key, basis)
    coder = fit_coder(rows if of_all else rows[:basis], BITS, np.random.default_rng(basis))
    _remove(ws, key, basis)  # of another turn, or of other vectors
    if path.exists():  # Windows keeps a file that is being searched
        raise Blocked(f"The file {path.name} is in use.", "It is made anew when the server starts again.")
    _grow(path, coder, rows)
    now = _measure(path, coder, rows, ws.config.search_recall)
    _save(path, Coding(basis, coder, now, learned_n=len(rows), learned_reach=now.reach))
    for old in FITTED:
        if old != basis:
            _remove(ws, key, old)


def _save(path: Path, found: Coding) -> None:
    """Write a coder and what is known of it beside its codes: readers meet both or none."""
    now, names = found.now, ("n", "reach", "recall", "least", "target")
    about = {name: np.array(getattr(now, name)) for name in names} | {
        "version": np.array(VERSION),
        "learned_n": np.array(found.learned_n),
        "learned_reach": np.array(found.learned_reach),
    }
    save_arrays(path.with_suffix(".npz"), **found.coder.to_arrays(), **about)


def _remove(ws: Workspace, key: str, basis: int) -> None:
    """Delete the codes of a turn, and the lists they are in."""
    files = sorted(ws.cache.glob(f"codes-{key}-{basis}[.-]*"), key=lambda file: file.suffix != ".npz")
    for file in files:  # what says that the others are there goes first
        maps.forget(file)
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

    The second half is of the last tenth of the rows: what comes later may be of another kind.
    An item that is searched by is its own nearest, which says nothing: it is left out where it is counted.
    """
    from active.search import combine

    n, half = len(rows), QUERIES // 2
    new = max(n // 10, min(n, 4 * half))
    at = np.concatenate([
        np.sort(rng.choice(n, 4 * half, replace=False)).reshape(half, 4),
        np.sort(n - new + rng.choice(new, 4 * half, replace=False)).reshape(half, 4),
    ])  # fmt: skip
    kinds = [(at[i, :1], at[i, 1:1]) if i % 3 == 0 else (at[i, :2], at[i, 2:2]) if i % 3 == 1
             else (at[i, :1], at[i, 1:2]) for i in range(QUERIES)]  # fmt: skip
    asked = [combine(np.asarray(rows[like]), np.asarray(rows[unlike])) for like, unlike in kinds]
    return np.concatenate(asked), at[:, 0]


def _measure(path: Path, coder: "Coder", rows: Rows, target: float) -> Measured:
    """Look neighbours up by codes and exactly, and return the least reach that finds enough of them.

    Half of what is looked up is of the newest items.
    """
    from active.codes import Coded, Flat
    from active.search import Exact

    first = max(0, len(rows) - MEASURED)
    some, codes = rows[first:], _codes(path, coder.n_bytes)[first : len(rows)]
    query, own = _queries(some, np.random.default_rng(len(rows)))
    true, cos = Exact(some).search(query, 101)
    least = min(float(c[a != one].max()) for a, c, one in zip(true, cos, own, strict=True))
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
    return Measured(len(rows), reach, recall, least, target)
