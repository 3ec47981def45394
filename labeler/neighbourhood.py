"""The index of a pool too large to rank: when it is made and kept, and who is near to whom."""

import contextlib
import errno
import logging
import os
import sys
import threading
import weakref
from dataclasses import dataclass, field, replace
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
TAIL = 100_000  # once nothing more is to be embedded, so many items may lie behind the index
KEPT = 2  # indexes on disk: the last one, and the one that a round may just be using
REMEMBERED = 250_000  # items whose neighbours are kept in memory, 400 bytes each


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Who is near to whom among the first `step` items.

    rows  the vectors of all items, as the index sees them.
    """

    step: int
    index: "Index"
    rows: Turned
    known: dict[int, Ids] = field(default_factory=dict)

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

    def around(self, vectors: Rows) -> Ids:
        """Return the neighbours of what is no item, by its vectors, all in one array."""
        return self.index.search(turned(self.rows.turn, vectors), NEAR)[0].ravel()


def ready(ws: Workspace, key: str, n: int) -> int:
    """Return for how many of the first n items the last whole index is; 0: there is none, or none is needed.

    A round looks at what lies behind it item by item.
    """
    if n <= max(ws.config.exact_limit, ws.config.sample_size):
        return 0
    return next((step for step in _steps(ws, key) if step <= n and _kept(ws, key, step) is not None), 0)


def due(ws: Workspace) -> int | None:
    """Return for how many items an index is to be made now: all there are, once they are a quarter more.

    When nothing more is to come, TAIL more are enough.
    """
    used = ws.registry.in_use()
    if used is None or used[2] <= max(ws.config.exact_limit, ws.config.sample_size):
        return None
    key, _, n = used
    made = ready(ws, key, n)
    is_over = n >= ws.catalog.count_items()
    return n if made == 0 or n >= made * 5 // 4 or (is_over and n > made + TAIL) else None


def make(ws: Workspace, step: int) -> None:
    """Make the index of the first `step` items and keep it. Rounds can be made meanwhile, in another thread.

    It depends on the vectors, the encoder and the step alone; how many of its lists are read is measured.
    Minutes for some million items; memory: half of what their rows take. Older ones are removed: they can
    be made again.
    """
    used = ws.registry.in_use()
    if used is not None:
        _made(ws, used[0], step)


def neighbourhood(ws: Workspace, key: str, step: int) -> Neighbourhood:
    """Return the neighbourhood that a round has recorded, made again where its index was deleted."""
    return _kept(ws, key, step) or _made(ws, key, step)


_held: "weakref.WeakKeyDictionary[Workspace, tuple[str, Neighbourhood]]" = weakref.WeakKeyDictionary()


def _file(ws: Workspace, key: str, step: int) -> Path:
    return ws.cache / f"index-{key}-{step}.faiss"


def _steps(ws: Workspace, key: str) -> list[int]:
    """Return for how many items there are files, the most first."""
    start = f"index-{key}-"
    names = [path.name[len(start) : -len(".faiss")] for path in ws.cache.glob("index-*.faiss")
             if path.name.startswith(start)]  # fmt: skip
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _rows(ws: Workspace, key: str, step: int) -> Turned:
    """Return the vectors of all items, turned as the first `step` of them say."""
    dim = ws.registry.dim(key)
    return Turned(pca(ws, key, dim, basis_for(step, dim)), _stored(ws, key))


def _stored(ws: Workspace, key: str) -> Rows:
    return ws.vectors(key, ws.registry.dim(key)).rows()


def _kept(ws: Workspace, key: str, step: int) -> Neighbourhood | None:
    """Return the neighbourhood of a step if its index was made before and the file is whole."""
    import faiss

    from active.search import Inverted

    held_key, held = _held.get(ws, ("", None))
    if held is not None and (held_key, held.step) == (key, step):
        stored = _stored(ws, key)
        if len(held.rows) < len(stored):  # more has come: the file is mapped anew
            held = replace(held, rows=Turned(held.rows.turn, stored))
            _held[ws] = key, held
        return held
    path = _file(ws, key, step)
    # lists stay in the file, and are read where they are searched; Windows reads all of it
    how = 0 if sys.platform == "win32" else faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    try:
        index = faiss.read_index(str(path), how)
    except RuntimeError:  # not there, or cut off
        return None
    if not isinstance(index, faiss.IndexIVF) or index.ntotal != step or index.nprobe < 2 <= index.nlist:
        return None  # something else, or of a version that did not measure how many lists it takes
    found = Neighbourhood(step, Inverted.of(index), _rows(ws, key, step))
    _held[ws] = key, found
    return found


def _made(ws: Workspace, key: str, step: int) -> Neighbourhood:
    """Return the neighbourhood of a step, after its index was made and written."""
    from active.search import Inverted

    if _file(ws, key, step).exists() and _kept(ws, key, step) is None:
        log.warning("The index of %d images is cut off or of another version. It is made anew.", step)
    rows = _rows(ws, key, step)
    first = Turned(rows.turn, rows.stored[:step])
    index = Inverted(first, seed=step, is_half=True)
    found = index.tune(first, NEAR, RECALL, np.random.default_rng(step))
    log.info("Index of %d images: %d lists read for %.3f of the nearest.", step, index.made.nprobe, found)
    _save(index, _file(ws, key, step))
    for old in _steps(ws, key)[KEPT:]:
        if old != step:
            _file(ws, key, old).unlink(missing_ok=True)
    kept = _kept(ws, key, step)
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
