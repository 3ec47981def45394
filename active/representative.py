"""Few items that stand for many: k-means medoids, clusters, and a smaller space to work in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, unit_rows

CLUSTER_SAMPLE = 50_000
"""Centres are trained on at most this many rows; every row is assigned."""
POINTS_PER_CENTRE = 64
"""More rows per centre than this cost time and don't move it."""
LEVEL_FLOOR = 0.1
"""Part of the mean scatter that is added before it is levelled: what never moves counts no more than that."""
PCA_SAMPLE = 20_000
"""Rows that the covariance is taken from."""


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


def clusters(rows: Rows, k: int, rng: np.random.Generator) -> Ids:
    """Return the cluster of each row, (n,) numbers in [0, k): spherical k-means by FAISS.

    Some numbers may go unused where rows repeat. `k` of n or more: every row by itself.
    """
    if k >= len(rows):
        return np.arange(len(rows), dtype=np.int64)
    return _kmeans(rows, k, rng)[0]


def representative(rows: Rows, k: int, rng: np.random.Generator) -> tuple[Ids, NDArray[np.int64]]:
    """Return at most `k` rows that stand for all: (medoids, ascending; how many rows each stands for).

    rows  (n, d) unit rows. `k` of n or more: every row, each for itself.
    The counts add up to n. Every one of about √k coarse clusters gets an equal share of the medoids (less
    where it is smaller than that), so that rare kinds are in it; fewer than `k` come back where rows repeat.
    """
    n = len(rows)
    if k >= n:
        return np.arange(n, dtype=np.int64), np.ones(n, np.int64)
    coarse = clusters(rows, max(1, round(np.sqrt(k))), rng)
    order = np.argsort(coarse, kind="stable")
    sizes = np.bincount(coarse)
    medoids: list[Ids] = []
    counts: list[NDArray[np.int64]] = []
    for members, share in zip(np.split(order, np.cumsum(sizes)[:-1]), _shares(sizes, k), strict=True):
        if share == 0:
            continue
        at, count = _medoids(rows[members], int(share), rng)
        medoids.append(members[at])
        counts.append(count)
    ids, stand = np.concatenate(medoids), np.concatenate(counts)
    ascending = np.argsort(ids)
    return ids[ascending], stand[ascending]


def _medoids(rows: Rows, k: int, rng: np.random.Generator) -> tuple[Ids, NDArray[np.int64]]:
    """Return the place of the row nearest to the middle of each of `k` clusters, and the clusters' sizes."""
    if k >= len(rows):
        return np.arange(len(rows), dtype=np.int64), np.ones(len(rows), np.int64)
    assigned, cos = _kmeans(rows, k, rng)
    order = np.lexsort((-cos, assigned))
    first = np.flatnonzero(np.diff(assigned[order], prepend=-1))
    return order[first], np.diff(first, append=len(rows))


def _kmeans(rows: Rows, k: int, rng: np.random.Generator) -> tuple[Ids, NDArray[np.float32]]:
    """Return each row's centre and its cosine with it."""
    import faiss

    train = rows[_draw(len(rows), max(min(CLUSTER_SAMPLE, k * POINTS_PER_CENTRE), k), rng)]
    means = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=10,
        spherical=True,
        seed=int(rng.integers(2**31)),
        min_points_per_centroid=1,
        max_points_per_centroid=len(train),
    )
    means.train(np.ascontiguousarray(train, dtype=np.float32))
    cos, assigned = means.index.search(np.ascontiguousarray(rows, dtype=np.float32), 1)
    return assigned[:, 0].astype(np.int64), cos[:, 0]


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
