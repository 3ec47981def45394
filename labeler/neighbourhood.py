"""The index of a pool too large to rank: when it is made and kept, and who is near to whom."""

import contextlib
import errno
import logging
import os
import re
import sys
import threading
import weakref
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from active.arrays import Ids, Rows
from labeler.errors import writing
from labeler.space import Turned, basis_for, pca, turned
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.search import Index, Inverted

log = logging.getLogger("labeler.neighbourhood")

NEAR = 100  # neighbours of an item that are looked at; as many as in Coleman et al. 2022
RECALL = 0.95  # share of them that a search in the index is to find
DRIFTED = 0.9  # share that it finds, reading as many lists as before, below which it is made anew
GROWN = 10  # when a tenth more items are there than in the index, they are added to it
ANEW = 2  # times as many items as its centres were learned from, before it is made anew
TAIL = 100_000  # once nothing more is to be embedded, so many items may lie behind the index
KEPT = 2  # indexes on disk: the last one, and the one that a round may just be using
REMEMBERED = 250_000  # items whose neighbours are kept in memory, 400 bytes each


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """What an index holds: the first `step` items, in lists around centres learned from the first `base`."""

    step: int
    base: int


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Who is near to whom among the first `step` items.

    rows  the vectors of all items, as the index sees them.
    seen  rows as rounds see them of a sample that they look at again and again, by basis and sample.
    """

    step: int
    index: "Index"
    rows: Turned
    known: dict[int, Ids] = field(default_factory=dict)
    seen: dict[tuple[int, bytes], Rows] = field(default_factory=dict)

    def of(self, ids: Ids) -> Ids:
        """Return the neighbours of some items, all in one array; an item may come twice.

        They are asked of the index once and then remembered.
        """
        asked = np.array([i for i in ids.tolist() if i not in self.known], np.int64)
        if len(asked):
            if len(self.known) + len(asked) > REMEMBERED:
                self.known.clear()
                asked = np.asarray(ids, np.int64)
            near = self.index.search(self.rows[asked], NEAR)[0].astype(np.int32)
            self.known.update(zip(asked.tolist(), near, strict=True))
        return np.concatenate([np.empty(0, np.int64), *(self.known[i] for i in ids.tolist())])

    def sample_rows(self, rows: Rows, basis: int, sample: Ids) -> Rows:
        """Return these rows side by side in memory, a kilobyte each.

        Where they lie far apart, reading them takes the longer the larger the pool is.
        """
        key = basis, blake2b(sample.tobytes(), digest_size=16).digest()
        if key not in self.seen:
            self.seen.clear()
            self.seen[key] = np.ascontiguousarray(rows[sample])
        return self.seen[key]

    def around(self, vectors: Rows) -> Ids:
        """Return the neighbours of what is no item, by its vectors, all in one array."""
        return self.index.search(turned(self.rows.turn, vectors), NEAR)[0].ravel()


def ready(ws: Workspace, key: str, n: int) -> Extent | None:
    """Return what the last whole index of at most n items holds; None: there is none, or none is needed.

    A round looks at what lies behind it item by item.
    """
    if n <= max(ws.config.exact_limit, ws.config.sample_size):
        return None
    return next((e for e in _extents(ws, key) if e.step <= n and _kept(ws, key, e) is not None), None)


def due(ws: Workspace) -> int | None:
    """Return how many items an index is to hold now: all there are, once they are a tenth more.

    When nothing more is to come, TAIL more are enough.
    """
    used = ws.registry.in_use()
    if used is None or used[2] <= max(ws.config.exact_limit, ws.config.sample_size):
        return None
    key, _, n = used
    made = ready(ws, key, n)
    if made is None:
        return n
    is_over = n >= ws.catalog.count_items()
    most = min(made.step // GROWN - 1, TAIL if is_over else n)
    return n if n - made.step > most else None


def make(ws: Workspace, step: int) -> None:
    """Let an index hold the first `step` items, and keep it. Rounds can be made meanwhile, in another thread.

    What came is added to the last index. It is made anew, with centres learned from all items, once they are
    twice as many as it was made from, or when as many lists as before find less than DRIFTED: then what came
    is unlike the rest. It depends on the vectors, the encoder and what it holds alone; how many lists are
    read is measured. Minutes for some million items; memory: half of what their rows take, and an eighth more
    while it is made. Older ones are removed: they can be made again.
    """
    used = ws.registry.in_use()
    if used is None:
        return
    key = used[0]
    last = ready(ws, key, step)
    if last is not None and step < ANEW * last.base:
        index = _read(_file(ws, key, last), last, mapped=True)
        before = 0 if index is None else index.made.nprobe
        del index
        grown, found = _grown(ws, key, Extent(step, last.base))
        if found.get(before, 1.0) >= DRIFTED:
            _keep(ws, key, Extent(step, last.base), grown)
            return
        log.info("What came since is unlike the rest: the index that rounds go by is made anew.")
        del grown
    _made(ws, key, Extent(step, step))


def neighbourhood(ws: Workspace, key: str, extent: Extent) -> Neighbourhood:
    """Return the neighbourhood that a round has recorded, made again where its index was deleted."""
    return _kept(ws, key, extent) or _made(ws, key, extent)


_held: "weakref.WeakKeyDictionary[Workspace, tuple[str, Extent, Neighbourhood]]" = weakref.WeakKeyDictionary()


def _file(ws: Workspace, key: str, extent: Extent) -> Path:
    more = f"+{extent.step - extent.base}" if extent.step > extent.base else ""
    return ws.cache / f"index-{key}-{extent.base}{more}.faiss"


def _extents(ws: Workspace, key: str) -> list[Extent]:
    """Return what the files hold by their names, the most first; of as many, first what was made anew."""
    start = f"index-{key}-"
    names = [path.name[len(start) : -len(".faiss")] for path in ws.cache.glob("index-*.faiss")
             if path.name.startswith(start)]  # fmt: skip
    found = [m for name in names if (m := re.fullmatch(r"(\d+)(?:\+(\d+))?", name, re.ASCII))]
    return sorted((Extent(int(m[1]) + int(m[2] or 0), int(m[1])) for m in found), reverse=True)


def _rows(ws: Workspace, key: str, base: int) -> Turned:
    """Return the vectors of all items, turned as the first `base` of them say."""
    dim = ws.registry.dim(key)
    return Turned(pca(ws, key, dim, basis_for(base, dim)), _stored(ws, key))


def _stored(ws: Workspace, key: str) -> Rows:
    return ws.vectors(key, ws.registry.dim(key)).rows()


def _read(path: Path, extent: Extent, *, mapped: bool) -> "Inverted | None":
    """Return the index in a file; None where it is not there, not whole, or of another version."""
    import faiss

    from active.search import Inverted, lists_for

    # lists stay in the file, and are read where they are searched; Windows reads all of it
    how = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY if mapped and sys.platform != "win32" else 0
    try:
        index = faiss.read_index(str(path), how)
    except RuntimeError:  # not there, or cut off
        return None
    if not isinstance(index, faiss.IndexIVF) or index.ntotal != extent.step:
        return None  # something else
    # versions before did not measure how many lists it takes, and had fewer of them
    is_old = index.nprobe < 2 <= index.nlist or index.nlist != lists_for(extent.base)
    return None if is_old else Inverted.of(index)


def _kept(ws: Workspace, key: str, extent: Extent) -> Neighbourhood | None:
    """Return a neighbourhood if its index was made before and the file is whole."""
    held_key, held_extent, held = _held.get(ws, ("", None, None))
    if held is not None and (held_key, held_extent) == (key, extent):
        stored = _stored(ws, key)
        if len(held.rows) < len(stored):  # more has come: the file is mapped anew
            held = replace(held, rows=Turned(held.rows.turn, stored))
            _held[ws] = key, extent, held
        return held
    index = _read(_file(ws, key, extent), extent, mapped=True)
    if index is None:
        return None
    found = Neighbourhood(extent.step, index, _rows(ws, key, extent.base))
    _held[ws] = key, extent, found
    return found


def _made(ws: Workspace, key: str, extent: Extent) -> Neighbourhood:
    """Return a neighbourhood, after its index was made and written."""
    if _file(ws, key, extent).exists() and _kept(ws, key, extent) is None:
        log.warning("The index of %d images is cut off or of another version. It is made anew.", extent.step)
    return _keep(ws, key, extent, _grown(ws, key, extent)[0])


def _grown(ws: Workspace, key: str, extent: Extent) -> "tuple[Inverted, dict[int, float]]":
    """Return an index in memory: what a file holds of it already, and the items behind that.

    And what it finds of the nearest by how many lists are read.
    """
    from active.search import Inverted

    rows = _rows(ws, key, extent.base)
    olds = [e for e in _extents(ws, key) if e.base == extent.base and e.step < extent.step]
    index = next((i for e in olds if (i := _read(_file(ws, key, e), e, mapped=False)) is not None), None)
    if index is None:
        index = Inverted(Turned(rows.turn, rows.stored[: extent.base]), seed=extent.base, is_half=True)
    whole = Turned(rows.turn, rows.stored[: extent.step])
    index.add(whole, len(index))
    found = index.tune(whole, NEAR, RECALL, np.random.default_rng(extent.step))
    n, lists = extent.step, index.made.nprobe
    log.info("Index of %d images: %d lists read for %.3f of the nearest.", n, lists, found.get(lists, 1.0))
    return index, found


def _keep(ws: Workspace, key: str, extent: Extent, index: "Inverted") -> Neighbourhood:
    """Write an index, remove those that are too old, and return what it is the neighbourhood of."""
    _save(index, _file(ws, key, extent))
    for old in _extents(ws, key)[KEPT:]:
        if old != extent:
            _file(ws, key, old).unlink(missing_ok=True)
    kept = _kept(ws, key, extent)
    assert kept is not None, "what was just written can be read"
    return kept


def _save(index: "Inverted", path: Path) -> None:
    """Write an index: readers meet a whole file or none. Raises Blocked when the disk is full."""
    import faiss

    for left in path.parent.glob(".index-*.part"):  # of a process that was killed; it may be large
        left.unlink(missing_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with writing(f"The file {path.name}"):
            try:
                faiss.write_index(index.made, str(half))
            except RuntimeError as e:  # FAISS names the reason in its text only
                code = next((c for c in errno.errorcode if os.strerror(c) in str(e)), errno.EIO)
                raise OSError(code, os.strerror(code)) from e
            with open(half, "rb+") as f:
                os.fsync(f.fileno())
            os.replace(half, path)
    finally:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
