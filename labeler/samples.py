"""The sample that stands for a large pool: when it is made, grown and kept."""

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from active.arrays import Ids
from labeler.arrays import load_arrays, save_arrays
from labeler.space import Turned, basis_for, pca
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.representative import Sample


def steps(n: int, k: int) -> list[int]:
    """Return for how many items samples of `k` are made on the way to a pool of n: k, 1.25 k, 1.56 k …

    The sample of a step is grown from the one of the step before, the first being the first k items
    themselves. So it depends on the vectors alone, not on when or in which strides the pool came.
    """
    out = [k] if n >= k else []
    while out and out[-1] * 5 // 4 <= n:
        out.append(out[-1] * 5 // 4)
    return out


def ready(ws: Workspace, key: str, n: int, k: int) -> int:
    """Return the last step for a pool of n whose sample is there, so that a round need not wait for it.

    A pool that is no larger than its sample has none: 0.
    """
    if n <= k:
        return 0
    made = (step for step in reversed(steps(n, k)) if _kept(ws, key, step, k) is not None)
    return next(made, k)


def sample(ws: Workspace, key: str, step: int, k: int) -> Ids | None:
    """Return the items on which doubt is scored, None at step 0: all of them.

    It is the sample of a step that a round has recorded, made again where it was deleted.
    """
    return None if step == 0 else _grown(ws, key, step, k).ids


def due(ws: Workspace) -> int | None:
    """Return the next step that the pool is large enough for and whose sample is still to be made."""
    used, k = ws.registry.in_use(), ws.config.sample_size
    if used is None or used[2] <= k:
        return None
    made = ready(ws, used[0], used[2], k)
    return next((step for step in steps(used[2], k) if step > made), None)


def make(ws: Workspace, step: int) -> None:
    """Make the sample of a step and keep it. Rounds can be made meanwhile, in another thread.

    Seconds for a step, a minute or two for all up to a million items.
    """
    used = ws.registry.in_use()
    if used is not None:
        _grown(ws, used[0], step, ws.config.sample_size)


def _file(ws: Workspace, key: str, step: int, k: int) -> Path:
    return ws.cache / f"sample-{key}-{k}-{step}.npz"


_samples: "weakref.WeakKeyDictionary[Workspace, tuple[Path, Sample]]" = weakref.WeakKeyDictionary()


def _kept(ws: Workspace, key: str, step: int, k: int) -> "Sample | None":
    """Return the sample of a step if it was made before and its file is whole."""
    from active.representative import Sample

    path = _file(ws, key, step, k)
    held = _samples.get(ws)
    if held is not None and held[0] == path:
        return held[1]
    arrays = load_arrays(path)
    if arrays is None or not {"ids", "counts"} <= arrays.keys():
        return None
    kept = Sample.from_arrays(arrays)
    _samples[ws] = path, kept
    return kept


def _grown(ws: Workspace, key: str, step: int, k: int) -> "Sample":
    """Return the sample of a step, grown from the last one before it that is there."""
    from active.representative import Sample, grow

    dim = ws.registry.dim(key)
    ladder = steps(step, k)
    last = max(ready(ws, key, step, k), k)
    first = np.arange(k, dtype=np.int64)
    grown = _kept(ws, key, last, k) or Sample(first, np.ones_like(first))
    for one in ladder[ladder.index(last) + 1 :]:
        basis = basis_for(one, dim)
        rows = Turned(pca(ws, key, dim, basis), ws.vectors(key, dim).rows(0, one))
        grown = grow(grown, rows, k, np.random.default_rng(one))
        save_arrays(_file(ws, key, one, k), **grown.to_arrays())
    return grown
