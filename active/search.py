"""Nearest neighbours by cosine: one protocol, an exact index and an approximate one."""

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, unit_rows
from active.representative import Source

if TYPE_CHECKING:
    import faiss

BLOCK = 65_536
"""Rows per matrix product: bounds memory at 256 KB per query."""
GLANCE_S, GLANCE = 0.05, 8192
"""How long an exact search that may not take long goes on before it counts how long it will take, and after
how many rows each it looks at the clock."""
PROBES, TRAIN_ROWS = 16, 64
"""Lists that `Inverted` reads for a query unless it is tuned, and rows for each of its centres that these are
made of."""
LENGTH, GRAPH = 1024, 2048
"""Rows of a list beyond a million, in the mean, and lists from which on the nearest of them are found through
a graph: comparing the centre of each takes longer."""
LINKS, WIDTH = 32, 64
"""Neighbours of a centre in the graph, and centres that are kept while one looks for the nearest."""
PASSES, AT_ONCE, HEAP = 10, 256, 0.9
"""Rounds of k-means for centres that are found through a graph, how many of them are sought at once, and the
share of all rows in one part from which on the parts tell nothing."""
ASKED = 64
"""Rows whose neighbours are looked up twice, to measure what an index finds."""
UNLIKE_WEIGHT = 0.5
"""How far examples of what is not wanted push a query away (Rocchio's γ/β)."""


class Index(Protocol):
    """Something that finds the rows nearest to a row."""

    def search(self, rows: Rows, k: int) -> tuple[Ids, Rows]:
        """Return the `k` nearest of each query: ids (q, k) and cosines (q, k), best first.

        rows  (q, d) unit rows. Fewer than `k` rows in the index: as many columns as there are rows.
        """
        ...


class Exact:
    """Every row compared, block by block; equal cosines keep the order of the rows. Nothing is copied."""

    def __init__(
        self, rows: Source, ids: Ids | None = None, *, block: int = BLOCK, within_s: float | None = None
    ) -> None:
        """rows  (n, d) unit rows, kept by reference. ids  (n,) their ids; None: 0 … n-1.

        block     how many rows are taken at a time.
        within_s  how long a search may take, in seconds; None: as long as it does.
        """
        self._rows, self._within_s = rows, within_s
        self._block = block if within_s is None else min(block, GLANCE)
        self._ids = np.arange(len(rows), dtype=np.int64) if ids is None else ids

    def search(self, rows: Rows, k: int) -> tuple[Ids, Rows]:
        """Return the `k` nearest of each query, as `Index.search` says. One pass over the rows.

        Raises TimeoutError between two blocks, as soon as it is plain that it takes too long.
        """
        k = max(0, min(k, len(self._rows)))
        began = time.perf_counter()
        best = np.empty((len(rows), 0), np.float32)
        at = np.empty((len(rows), 0), np.int64)
        for start in range(0, len(self._rows) if k else 0, self._block):
            self._look_at_the_clock(time.perf_counter() - began, start)
            block = np.asarray(self._rows[start : start + self._block], np.float32)
            cos = np.hstack([best, rows @ block.T])
            here = np.arange(start, start + len(block), dtype=np.int64)
            where = np.hstack([at, np.broadcast_to(here, (len(rows), len(block)))])
            keep = _top(cos, k)
            best = np.take_along_axis(cos, keep, 1)
            at = np.take_along_axis(where, keep, 1)
        return self._ids[at], best

    def _look_at_the_clock(self, spent_s: float, done: int) -> None:
        if self._within_s is None or done == 0 or spent_s < GLANCE_S:
            return
        if max(spent_s, spent_s / done * len(self._rows)) > self._within_s:
            raise TimeoutError(f"Comparing {len(self._rows):,} rows takes longer than {self._within_s} s.")


class Inverted:
    """FAISS lists around centres, of which a search reads a few: for pools too large for `Exact`.

    There are √n lists, and beyond a million rows one for each LENGTH of them: as many lists then hold as
    much, however many rows there are.
    made  the FAISS index, for whoever keeps it in a file.
    Source: Jégou et al. 2011 (inverted lists), Malkov and Yashunin 2018 (the graph over their centres).
    """

    def __init__(self, rows: Source, ids: Ids | None = None, *, seed: int = 0, is_half: bool = False) -> None:
        """rows  (n, d) unit rows, copied. ids  (n,) their ids; None: 0 … n-1.

        is_half  whether the copy has half the precision: half the memory, cosines right to about 0.001.
        The same rows and seed give the same index. Cost: n^1.5 · d operations up to GRAPH lists, then n · d.
        """
        import faiss

        self._ids = ids
        lists = lists_for(len(rows))
        dim = np.shape(rows[:1])[1]
        inner = faiss.METRIC_INNER_PRODUCT
        graph = faiss.IndexHNSWFlat(dim, LINKS, inner) if lists >= GRAPH else None
        centres = faiss.IndexFlatIP(dim) if graph is None else graph
        kind = faiss.ScalarQuantizer.QT_fp16
        self.made: faiss.IndexIVF = (
            faiss.IndexIVFScalarQuantizer(centres, dim, lists, kind, inner, False)
            if is_half
            else faiss.IndexIVFFlat(centres, dim, lists, inner)
        )
        self.made.nprobe = min(PROBES, lists)
        self.made.cp.seed = seed
        self.made.cp.min_points_per_centroid = 1
        if len(rows):
            k = min(len(rows), lists * TRAIN_ROWS)
            drawn = np.random.default_rng(seed).choice(len(rows), k, replace=False)
            drawn.sort()
            some = _floats(rows[drawn])
            if graph is not None:
                _link(graph, _centres(some, lists, seed))
            self.made.train(some)  # of a graph that is there nothing is learned
            del some
        self.add(rows, 0)

    @classmethod
    def of(cls, made: "faiss.IndexIVF") -> "Inverted":
        """Return the index of items 0 … n-1 around a FAISS index that was kept."""
        index = cls.__new__(cls)
        index._ids, index.made = None, made
        return index

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.made.ntotal)

    def add(self, rows: Source, first: int) -> None:
        """Add the rows from the one numbered `first` on, as further ones; the centres stay where they are.

        What is added at once or in parts makes the same index, but for rows just between two centres.
        """
        for start in range(first, len(rows), BLOCK):
            self.made.add(_floats(rows[start : start + BLOCK]))

    def search(self, rows: Rows, k: int) -> tuple[Ids, Rows]:
        """Return the `k` nearest of each query, nearly always; reads all lists where too few were found.

        What a query finds does not depend on the queries beside it.
        """
        k = max(0, min(k, len(self)))
        if k == 0 or len(rows) == 0:
            return np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
        cos, at = self._read(rows, k, self.made.nprobe)
        few = np.flatnonzero((at < 0).any(1))
        if len(few):
            cos[few], at[few] = self._read(rows[few], k, self.made.nlist)
        return at if self._ids is None else self._ids[at], cos

    def tune(self, rows: Source, k: int, recall: float, rng: np.random.Generator) -> dict[int, float]:
        """Let a query read as many lists as it takes to find enough of its neighbours.

        Returns what is found by how many lists, ascending; the last ones are those that are read from now on.

        rows    (n, d) the unit rows that are in the index. One pass over them.
        recall  the share of the `k` nearest that is wanted, for queries that are rows of the index; these
                are not counted as their own neighbours. The lists read are at least 2, and a power of two.
        """
        if self.made.nlist < 2:
            return {1: 1.0}
        own = np.sort(rng.choice(len(self), min(ASKED, len(self)), replace=False))
        asked = _floats(rows[own])
        true = Exact(rows).search(asked, k + 1)[0]
        probes, found = 1, dict[int, float]()
        while found.get(probes, 0.0) < recall and probes < self.made.nlist:
            probes = min(2 * probes, self.made.nlist)
            near = self._read(asked, min(k + 1, len(self)), probes)[1]
            found[probes] = float(np.mean([
                np.isin(a[a != one], b).mean() for a, b, one in zip(true, near, own, strict=True)
            ]))  # fmt: skip
        self.made.nprobe = probes
        return found

    def _read(self, rows: Rows, k: int, probes: int) -> tuple[Rows, Ids]:
        """Return the cosines and places of the nearest in so many lists; -1 where there are fewer than k."""
        import faiss

        if probes == self.made.nlist:
            return self._read_all(rows, k)
        how = faiss.SearchParametersIVF()
        how.nprobe = probes
        cos, at = self.made.search(rows, k, params=how)
        return cos, at

    def _read_all(self, rows: Rows, k: int) -> tuple[Rows, Ids]:
        """Return the cosines and places of the nearest in all lists, also in those that no graph leads to."""
        import faiss

        lists = np.tile(np.arange(self.made.nlist), (len(rows), 1))
        far = np.zeros(lists.shape, np.float32)  # read by indexes of other kinds
        cos, at = np.empty((len(rows), k), np.float32), np.empty((len(rows), k), np.int64)
        how = faiss.SearchParametersIVF()
        how.nprobe = self.made.nlist
        rows = _floats(rows)
        where = [faiss.swig_ptr(a) for a in (rows, lists, far, cos, at)]
        self.made.search_preassigned_c(  # type: ignore[attr-defined]  # what FAISS's wrapper, with no parameters, calls
            len(rows), where[0], k, *where[1:], False, how
        )
        return cos, at


def lists_for(n: int) -> int:
    """Return how many lists `Inverted` puts n rows into."""
    return max(1, int(np.sqrt(n)), n // LENGTH)


def _centres(rows: Rows, lists: int, seed: int) -> Rows:
    """Return (lists, d) unit centres of rows: those of parts of them, more for a part with more rows.

    So k-means costs n · √lists and not n · lists comparisons a round. Where nearly all rows are in one part,
    they hardly differ, and some of them are the centres.
    """
    if lists <= AT_ONCE:
        return _kmeans(rows, lists, seed)[0]
    first, part = _kmeans(rows, int(np.sqrt(lists)), seed)
    sizes = np.bincount(part, minlength=len(first))
    if sizes.max() > HEAP * len(rows):
        return rows[np.linspace(0, len(rows) - 1, lists).astype(np.int64)]
    # a centre for each part that has rows, the others to where they are missed most
    exact = sizes * (lists / len(rows))
    share = np.where(sizes > 0, np.maximum(1, exact.astype(np.int64)), 0)
    share = np.minimum(share, sizes)
    while (missing := lists - int(share.sum())) != 0:
        room = sizes > share if missing > 0 else share > 1
        most = np.argsort(np.where(room, (share - exact) * np.sign(missing), np.inf), kind="stable")
        at = most[: min(abs(missing), int(room.sum()))]
        share[at] += np.sign(missing)
    found = [_centres(rows[part == i], n, seed) for i, n in enumerate(share.tolist()) if n]
    return np.concatenate(found)


def _kmeans(rows: Rows, k: int, seed: int) -> tuple[Rows, Ids]:
    """Return k unit centres of unit rows, and to which of them each is nearest."""
    import faiss

    if k == 1:
        return unit_rows(rows.mean(0, keepdims=True)), np.zeros(len(rows), np.int64)
    made = faiss.Kmeans(
        rows.shape[1], k, niter=PASSES, seed=seed, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )  # fmt: skip
    made.train(rows)
    part: Ids = made.index.search(rows, 1)[1].ravel()
    assert made.centroids is not None
    return made.centroids, part


def _link(graph: "faiss.IndexHNSWFlat", centres: Rows) -> None:
    """Add the centres to a graph; by one thread, as several make another graph each time."""
    import faiss

    graph.hnsw.efConstruction = 2 * WIDTH
    graph.hnsw.efSearch = WIDTH
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        graph.add(centres)
    finally:
        faiss.omp_set_num_threads(threads)


def combine(like: Rows, unlike: Rows | None = None) -> Rows:
    """Return one unit query (1, d): the mean of `like`, pushed away from the mean of `unlike`.

    Only `unlike` given: straight away from it. Examples that cancel out: the first of `like`.
    Raises ValueError with no example at all.
    Source: Rocchio 1971, relevance feedback.
    """
    away = None if unlike is None or len(unlike) == 0 else unlike.mean(0, keepdims=True)
    if len(like) == 0:
        if away is None:
            raise ValueError("combine needs an example.")
        return unit_rows(-away)
    query = like.mean(0, keepdims=True)
    if away is not None:
        query = query - UNLIKE_WEIGHT * away
    if np.linalg.norm(query) < 1e-6:
        query = like[:1]
    return unit_rows(query)


def _floats(rows: NDArray[np.floating]) -> Rows:
    return np.ascontiguousarray(rows, dtype=np.float32)


def _top(cos: Rows, k: int) -> Ids:
    """Return the columns of the `k` largest in each row, largest first; ties by column."""
    if k < cos.shape[1]:
        cut = -np.partition(-cos, k - 1, axis=1)[:, k - 1 : k]
        # all above the cut, then the earliest of those equal to it: argpartition alone takes any of them
        rank = np.where(cos > cut, 2, np.where(cos == cut, 1, 0)).astype(np.int8)
        near = np.argsort(-rank, axis=1, kind="stable")[:, :k]
    else:
        near = np.broadcast_to(np.arange(cos.shape[1]), cos.shape)
    order = np.argsort(-np.take_along_axis(cos, near, 1), axis=1, kind="stable")
    return np.take_along_axis(near, order, 1)
