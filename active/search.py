"""Nearest neighbours by cosine: one protocol, an exact index and an approximate one."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows, unit_rows
from active.representative import Source

if TYPE_CHECKING:
    import faiss

BLOCK = 65_536
"""Rows per matrix product: bounds memory at 256 KB per query."""
PROBES, TRAIN_ROWS = 16, 64
"""Lists that `Inverted` reads for a query unless it is tuned, and rows for each of its centres that these are
made of."""
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

    def __init__(self, rows: Source, ids: Ids | None = None, *, block: int = BLOCK) -> None:
        """rows  (n, d) unit rows, kept by reference. ids  (n,) their ids; None: 0 … n-1.

        block  how many rows are taken at a time.
        """
        self._rows, self._block = rows, block
        self._ids = np.arange(len(rows), dtype=np.int64) if ids is None else ids

    def search(self, rows: Rows, k: int) -> tuple[Ids, Rows]:
        """Return the `k` nearest of each query, as `Index.search` says. One pass over the rows."""
        k = max(0, min(k, len(self._rows)))
        best = np.empty((len(rows), 0), np.float32)
        at = np.empty((len(rows), 0), np.int64)
        for start in range(0, len(self._rows) if k else 0, self._block):
            block = np.asarray(self._rows[start : start + self._block], np.float32)
            cos = np.hstack([best, rows @ block.T])
            here = np.arange(start, start + len(block), dtype=np.int64)
            where = np.hstack([at, np.broadcast_to(here, (len(rows), len(block)))])
            keep = _top(cos, k)
            best = np.take_along_axis(cos, keep, 1)
            at = np.take_along_axis(where, keep, 1)
        return self._ids[at], best


class Inverted:
    """FAISS lists around √n centres, of which a search reads a few: for pools too large for `Exact`.

    made  the FAISS index, for whoever keeps it in a file.
    """

    def __init__(self, rows: Source, ids: Ids | None = None, *, seed: int = 0, is_half: bool = False) -> None:
        """rows  (n, d) unit rows, copied. ids  (n,) their ids; None: 0 … n-1.

        is_half  whether the copy has half the precision: half the memory, cosines right to about 0.001.
        The same rows and seed give the same index. Cost: n^1.5 · d operations.
        """
        import faiss

        self._ids = ids
        lists = max(1, int(np.sqrt(len(rows))))
        dim = np.shape(rows[:1])[1]
        kind = faiss.ScalarQuantizer.QT_fp16
        self.made: faiss.IndexIVF = (
            faiss.IndexIVFScalarQuantizer(
                faiss.IndexFlatIP(dim), dim, lists, kind, faiss.METRIC_INNER_PRODUCT, False
            )
            if is_half
            else faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        )
        self.made.nprobe = min(PROBES, lists)
        self.made.cp.seed = seed
        self.made.cp.min_points_per_centroid = 1
        if len(rows):
            k = min(len(rows), lists * TRAIN_ROWS)
            drawn = np.random.default_rng(seed).choice(len(rows), k, replace=False)
            self.made.train(_floats(rows[np.sort(drawn)]))
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

        how = faiss.SearchParametersIVF()
        how.nprobe = probes
        cos, at = self.made.search(rows, k, params=how)
        return cos, at


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
