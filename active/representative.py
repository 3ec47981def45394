"""Few items that stand for many: k-means medoids, clusters, and a smaller space to work in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, unit_rows

Counts = NDArray[np.int64]

CLUSTER_SAMPLE = 50_000
"""Coarse centres are trained on at most this many rows; every row is assigned."""
POINTS_PER_CENTRE = 64
"""More rows per centre than this cost time and don't move it."""
LEVEL_FLOOR = 0.1
"""Part of the mean scatter that is added before it is levelled: what never moves counts no more than that."""
PASSES = 4
"""Rounds of k-means; later ones move little."""
SPARE = 1.5
"""How many times the medoids that are wanted k-means gives, for the best to be kept."""
BLOCK = 1024
"""Rows per matrix product: its result stays in the processor's cache."""
SLAB = 1_000_000
"""Rows that are taken in at a time: a file is read out of order only within them."""
PART = 1 << 18
"""Rows of one coarse cluster that are clustered at a time: bounds memory where a whole pool is alike."""
PCA_SAMPLE = 20_000
"""Rows that the covariance is taken from."""


class Source(Protocol):
    """Unit rows of any float type: an array, a mapped file, or something that makes them when asked."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, which: "slice | Ids", /) -> NDArray[np.floating]:
        """Return rows, (m, d)."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows that stand for all: plain arrays, so that a sample is a plain file and can grow later.

    ids     (m,) the medoids, ascending.
    counts  (m,) how many rows each stands for, itself included; they add up to `n`.
    """

    ids: Ids
    counts: Counts

    @property
    def n(self) -> int:
        """Return how many rows it stands for: the first n."""
        return int(self.counts.sum())

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store."""
        return {"ids": self.ids, "counts": self.counts}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "Sample":
        """Return the sample that `to_arrays` gave."""
        return cls(arrays["ids"].astype(np.int64), arrays["counts"].astype(np.int64))


@dataclass(frozen=True, slots=True)
class Pca:
    """A turn into fewer dimensions. `mean` (d,), `components` (d, dim), orthonormal if nothing was scaled."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def apply(self, rows: Rows) -> Rows:
        """Return the rows centred, turned and scaled back to length 1, (n, dim)."""
        return unit_rows(np.asarray((rows - self.mean) @ self.components, np.float32))


def fit_pca(
    rows: Rows, dim: int, rng: np.random.Generator, *, scatter: NDArray[np.float32] | None = None
) -> Pca:
    """Return the `dim` directions in which `rows` (n, d) vary most; at most d of them.

    scatter  (d, d) covariance of what means nothing, such as how rows move when a picture is turned. The
             space is scaled first so that it is the same in all directions, but for a tenth of its mean.
             Source: Hatch, Kajarekar and Stolcke 2006, "Within-class covariance normalization".
    Signs are fixed (the largest entry of a direction is positive), so the same rows give the same space.
    Raises ValueError without rows.
    """
    if len(rows) == 0:
        raise ValueError("fit_pca needs rows.")
    sample = rows[_draw(len(rows), PCA_SAMPLE, rng)].astype(np.float64)
    mean = sample.mean(0)
    centred = sample - mean
    scale = None if scatter is None else _levelling(scatter)
    if scale is not None:
        centred = centred @ scale
    _, directions = np.linalg.eigh(centred.T @ centred / len(sample))
    components = directions[:, ::-1][:, :dim]
    largest = np.take_along_axis(components, np.abs(components).argmax(0)[None], 0)
    components = components * np.sign(largest)
    if scale is not None:
        components = scale @ components
    return Pca(mean.astype(np.float32), np.ascontiguousarray(components, dtype=np.float32))


def _levelling(scatter: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (d, d) matrix that makes `scatter`, and a tenth of its mean on top, the same everywhere."""
    power, directions = np.linalg.eigh(scatter.astype(np.float64))
    power = np.maximum(power, 0)
    floor = LEVEL_FLOOR * power.mean()
    if floor == 0:
        return np.eye(len(scatter))
    return np.asarray(directions * np.sqrt(power.mean() / (power + floor)), np.float64)


def clusters(rows: Source, k: int, rng: np.random.Generator) -> Ids:
    """Return the cluster of each row, (n,) numbers in [0, k), by spherical k-means.

    Some numbers may go unused where rows repeat. `k` of n or more: every row by itself.
    """
    n = len(rows)
    if k >= n:
        return np.arange(n, dtype=np.int64)
    train = _draw(n, max(min(CLUSTER_SAMPLE, k * POINTS_PER_CENTRE), k), rng)
    return _nearest(rows, _kmeans(_floats(rows, train), k, rng))[0]


def representative(rows: Source, k: int, rng: np.random.Generator) -> Sample:
    """Return at most `k` rows that stand for all. `k` of n or more: every row, each for itself.

    Every one of about √k coarse clusters gets an equal share of the medoids (less where it is smaller than
    that), so that rare kinds are in it; fewer than `k` come back where rows repeat.
    Memory: the rows of `PART`, the sample's, and 16 bytes for each of `SLAB`; the rows are read in place.
    """
    return grow(Sample(np.empty(0, np.int64), np.empty(0, np.int64)), rows, k, rng)


def grow(sample: Sample, rows: Source, k: int, rng: np.random.Generator) -> Sample:
    """Return a sample of all `rows`, from one of the first `sample.n`: at most `k` medoids.

    rows  what `sample` was made of, by now perhaps in another basis, and what came since.
    The cost is that of the new rows and of `k` old ones: many new rows at once cost less than few again and
    again. An old row stays with its medoid, and goes where that one goes; no old row but medoids is read.
    Source: Guha et al. 2003, "Clustering data streams" (medoids with weights are clustered again).
    """
    n = len(rows)
    slabs = -(-(n - sample.n) // SLAB)
    for upto in np.linspace(sample.n, n, slabs + 1).astype(int)[1:].tolist():
        sample = _take_in(sample, rows, upto, k, rng)
    return sample


def _take_in(sample: Sample, rows: Source, upto: int, k: int, rng: np.random.Generator) -> Sample:
    """Return the sample of the first `upto` rows, from one of fewer."""
    seen = sample.n
    if len(sample.ids) + upto - seen <= k:
        fresh = np.arange(seen, upto, dtype=np.int64)
        return Sample(
            np.concatenate([sample.ids, fresh]), np.concatenate([sample.counts, np.ones_like(fresh)])
        )
    had = _Medoids(_floats(rows, sample.ids), sample.ids, sample.counts)
    centres = _coarse(had, rows, upto, max(1, round(np.sqrt(k))), rng)
    before = _groups(_nearest(had.rows, centres)[0], len(centres))
    new = _groups(_nearest(rows, centres, seen, upto)[0], len(centres))
    sizes = np.array([len(a) + len(b) for a, b in zip(before, new, strict=True)])
    made = []
    for at, fresh, share in zip(before, new, _shares(sizes, k).tolist(), strict=True):
        kept = _reduced(_Medoids(had.rows[at], had.ids[at], had.counts[at]), share)
        for start in range(0, len(fresh), PART):
            part = fresh[start : start + PART] + seen
            more = _condensed(_floats(rows, part), part, round(SPARE * share), rng)
            kept = _reduced(_joined(kept, more), share)
        made.append((kept.ids, kept.counts))
    ids, counts = (np.concatenate(parts) for parts in zip(*made, strict=True))
    ascending = np.argsort(ids)
    return Sample(ids[ascending], counts[ascending])


def _coarse(had: "_Medoids", rows: Source, upto: int, c: int, rng: np.random.Generator) -> Rows:
    """Return the centres of coarse clusters, as all of the first `upto` rows make them.

    Medoids stand in, as often as they count, for the rows that they stand for.
    """
    seen = int(had.counts.sum())
    wanted = min(CLUSTER_SAMPLE, c * POINTS_PER_CENTRE, upto)
    old = round(wanted * seen / upto)
    train = _floats(rows, seen + _draw(upto - seen, wanted - old, rng))
    if old:
        train = np.concatenate([had.rows[rng.choice(len(had.ids), old, p=had.counts / seen)], train])
    return _kmeans(train, c, rng)


@dataclass(frozen=True, slots=True)
class _Medoids:
    """Medoids with what they are: `rows` (m, d), `ids` (m,), `counts` (m,)."""

    rows: Rows
    ids: Ids
    counts: Counts


def _joined(a: _Medoids, b: _Medoids) -> _Medoids:
    return _Medoids(
        np.concatenate([a.rows, b.rows]),
        np.concatenate([a.ids, b.ids]),
        np.concatenate([a.counts, b.counts]),
    )


def _condensed(rows: Rows, ids: Ids, k: int, rng: np.random.Generator) -> _Medoids:
    """Return the row nearest to the middle of each of `k` clusters, and the clusters' sizes."""
    if k >= len(rows):
        return _Medoids(rows, ids, np.ones(len(rows), np.int64))
    centres = _kmeans(rows[_draw(len(rows), k * POINTS_PER_CENTRE, rng)], k, rng)
    of, cos = _nearest(rows, centres)
    order = np.lexsort((-cos, of))
    first = np.flatnonzero(np.diff(of[order], prepend=-1))
    at = order[first]
    return _Medoids(rows[at], ids[at], np.diff(first, append=len(rows)))


def _reduced(medoids: _Medoids, k: int) -> _Medoids:
    """Return `k` of the medoids: whichever costs least is dropped, and its rows go to the nearest left.

    The cost of dropping one is the square root of its count times the squared distance to the nearest. So one
    that stands for few goes before one that stands for many, and one that is far from all others stays. With
    the count itself it would be what the sum of k-means grows by; its root leaves more to rare kinds.
    """
    m = len(medoids.ids)
    if m <= k:
        return medoids
    counts = medoids.counts.copy()
    dist = 2 - 2 * (medoids.rows @ medoids.rows.T)
    np.fill_diagonal(dist, np.inf)
    near = dist.argmin(1)
    far = np.maximum(dist[np.arange(m), near], 0)
    cost = np.sqrt(counts) * far
    for _ in range(m - k):
        gone = cost.argmin()
        heir = near[gone]
        counts[heir] += counts[gone]
        counts[gone], cost[gone], near[gone], dist[:, gone] = 0, np.inf, -1, np.inf
        orphans = np.flatnonzero(near == gone)
        if len(orphans):
            near[orphans] = dist[orphans].argmin(1)
            far[orphans] = dist[orphans, near[orphans]]
            cost[orphans] = np.sqrt(counts[orphans]) * far[orphans]
        cost[heir] = np.sqrt(counts[heir]) * far[heir]
    kept = np.flatnonzero(counts)
    return _Medoids(medoids.rows[kept], medoids.ids[kept], counts[kept])


def _kmeans(rows: Rows, k: int, rng: np.random.Generator) -> Rows:
    """Return at most `k` unit centres of spherical k-means; no more than there are rows.

    A centre that nothing is near starts anew at one of the rows that are furthest from theirs.
    Written out here: for a few hundred centres FAISS takes several times as long (docs/decisions/0008).
    """
    from scipy.sparse import csr_matrix

    k = min(k, len(rows))
    centres = rows[np.sort(rng.choice(len(rows), k, replace=False))]
    one = np.ones(len(rows), np.float32)
    for _ in range(PASSES):
        of, cos = _nearest(rows, centres)
        sizes = np.bincount(of, minlength=k)
        ends = np.append(0, np.cumsum(sizes))
        centres = unit_rows(csr_matrix((one, np.argsort(of, kind="stable"), ends), (k, len(rows))) @ rows)
        empty = np.flatnonzero(sizes == 0)
        if len(empty):
            centres[empty] = rows[np.argsort(cos, kind="stable")[: len(empty)]]
    return centres


def _nearest(
    rows: Source, centres: Rows, lo: int = 0, hi: int | None = None
) -> tuple[Ids, NDArray[np.float32]]:
    """Return the nearest centre of each of rows lo to hi (None: all), and the cosine with it."""
    hi = len(rows) if hi is None else hi
    of, best = np.empty(hi - lo, np.int64), np.empty(hi - lo, np.float32)
    columns = np.ascontiguousarray(centres.T)
    space = np.empty((BLOCK, len(centres)), np.float32)
    for start in range(lo, hi, BLOCK):
        end = min(start + BLOCK, hi)
        cos = np.matmul(_floats(rows, slice(start, end)), columns, out=space[: end - start])
        of[start - lo : end - lo] = here = cos.argmax(1)
        best[start - lo : end - lo] = cos[np.arange(end - start), here]
    return of, best


def _groups(of: Ids, k: int) -> list[Ids]:
    """Return the members of each of `k` clusters, ascending."""
    return np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of, minlength=k))[:-1])


def _floats(rows: Source, which: "slice | Ids") -> Rows:
    """Return some of the rows as float32, in memory."""
    return np.ascontiguousarray(rows[which], dtype=np.float32)


def _shares(sizes: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return how many of `k` each cluster gets: equal shares, none above its size, adding up to `k`.

    `k` is at most the sum of `sizes`.
    """
    shares = np.zeros(len(sizes), np.int64)
    left = k
    while left:
        open_ = np.flatnonzero(shares < sizes)
        each = max(1, left // len(open_))
        # fewer left than clusters: the largest first
        open_ = open_[np.argsort(-sizes[open_], kind="stable")][:left]
        more = np.minimum(each, sizes[open_] - shares[open_])
        shares[open_] += more
        left -= int(more.sum())
    return shares


def _draw(n: int, k: int, rng: np.random.Generator) -> Ids:
    """Return at most `k` of n positions, ascending, drawn uniformly."""
    if n <= k:
        return np.arange(n, dtype=np.int64)
    return np.sort(rng.choice(n, k, replace=False)).astype(np.int64)
