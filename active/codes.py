"""Vectors as a few bits each, alike where the vectors are: pools that are too large to compare as numbers.

A learned turn, then the sign of each number (Gong et al. 2013, "Iterative quantization"), with fewer numbers
than bits: the last quarter of the principal components says more about noise than about what a picture shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows
from active.representative import Source

BITS = 512
NUMBERS = 0.75
"""Principal components for each bit."""
FIT_ROWS = 10_000
"""Rows that a turn is fitted on: more take longer and change nothing."""
TURNS = 30
"""Steps of the iterative quantization."""
BLOCK = 4096
"""Rows coded at a time."""

MOST = 0.25
"""Part of the codes that are candidates at most: to compare all rows is no slower then."""
EXACT_ROWS, WIDER = 3_000_000, 20.0
"""So many rows are compared whole for a query that lies apart; of more, how many times as many as usual."""
PICKED = 4096
"""Candidates that are gathered at a time."""

Codes = NDArray[np.uint8]
"""(n, bits / 8): the bits of one row after another, eight to a byte."""


@dataclass(frozen=True, slots=True)
class Coder:
    """What makes codes of rows: bit j is whether (row - mean) · turn[:, j] is above 0.

    mean  (d,). turn  (d, bits).
    """

    mean: NDArray[np.float32]
    turn: NDArray[np.float32]

    @property
    def n_bytes(self) -> int:
        """Return the bytes of a code."""
        return int(self.turn.shape[1]) // 8

    def codes(self, rows: Source) -> Codes:
        """Return the codes of rows, (n, bits / 8), block by block."""
        out = np.empty((len(rows), self.n_bytes), np.uint8)
        for lo in range(0, len(rows), BLOCK):
            block = np.asarray(rows[lo : lo + BLOCK], np.float32) - self.mean
            out[lo : lo + BLOCK] = np.packbits(block @ self.turn > 0, axis=1)
        return out

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays to store."""
        return {"mean": self.mean, "turn": self.turn}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "Coder":
        """Return the coder that `to_arrays` gave. Raises ValueError or KeyError for other arrays."""
        mean, turn = np.asarray(arrays["mean"], np.float32), np.asarray(arrays["turn"], np.float32)
        if turn.ndim != 2 or turn.shape[1] % 8 or mean.shape != turn.shape[:1]:
            raise ValueError("These arrays are no coder.")
        return cls(mean, turn)


def fit_coder(rows: Source, bits: int, rng: np.random.Generator) -> Coder:
    """Return a coder to so many bits, a multiple of 8, learned from rows drawn at random.

    rows  (n, d) unit rows. Time: with 512 bits some ten seconds of one core.
    """
    drawn = np.sort(rng.choice(len(rows), min(len(rows), FIT_ROWS), replace=False))
    x = np.asarray(rows[drawn], np.float32)
    mean = x.mean(0)
    x = x - mean
    k = max(1, min(x.shape[1], int(NUMBERS * bits)))
    _, vectors = np.linalg.eigh((x.T @ x).astype(np.float64))
    components = np.ascontiguousarray(vectors[:, ::-1][:, :k], np.float32)
    x = x @ components
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    turn = np.linalg.qr(rng.standard_normal((bits, bits)))[0][:k].astype(np.float32)
    for _ in range(TURNS):
        signs = np.where(x @ turn > 0, np.float32(1), np.float32(-1))
        u, _, v = np.linalg.svd(x.T @ signs, full_matrices=False)  # Procrustes: the turn nearest to the signs
        turn = u @ v
    return Coder(mean, components @ turn)


def variant(k: int) -> str:
    """Return how FAISS finds the k nearest codes: by counting, which takes 4 KB for each, or by a heap."""
    return "mc" if k <= 10_000 else "hc"


class Near(Protocol):
    """What finds the nearest of many codes: `Flat` compares all, `lists.Lists` some."""

    def __len__(self) -> int:
        """Return the number of codes."""
        ...

    def nearest(self, code: Codes, k: int) -> Ids:
        """Return the places of about the k codes nearest to one, nearest first."""
        ...


class Flat:
    """Every code compared: a million in 2 ms of one core, as fast as memory gives them."""

    def __init__(self, codes: Codes) -> None:
        """codes  (n, bytes), kept by reference; a mapped file is read where it lies."""
        self._codes = codes

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._codes)

    def nearest(self, code: Codes, k: int) -> Ids:
        """Return the places of the k codes nearest to one, (k,), nearest first; of equal ones any."""
        import faiss

        k = min(k, len(self._codes))
        if k <= 0:
            return np.empty(0, np.int64)
        _, at = faiss.knn_hamming(code[None], self._codes, k, variant=variant(k))
        near: Ids = at[0].astype(np.int64)
        return near


class Coded:
    """Nearest rows in two steps: by codes, which are short, then by the rows of the best of these.

    As `search.Index`: ids 0 … n-1. Rows behind the codes are all compared. The code of what lies apart from
    all rows, such as words, says little: for that, many more are compared.
    """

    def __init__(self, coder: Coder, near: Near, rows: Source, *, reach: float, least: float = -1.0) -> None:
        """near   finds codes of the first rows. rows  (n, d) unit rows, kept by reference.
        reach  how many rows are compared, as a multiple of those that are wanted: see `candidates`.
        least  a query whose nearest found has a smaller cosine lies apart: EXACT_ROWS or fewer are compared
               whole then, of more WIDER times as many.
        """
        self._coder, self._near, self._rows = coder, near, rows
        self._reach, self._least = reach, least

    def search(self, rows: Rows, k: int) -> tuple[Ids, Rows]:
        """Return the `k` nearest of each query, as `search.Index.search` says."""
        from active.search import Exact

        n, coded = len(self._rows), len(self._near)
        k = max(0, min(k, n))
        if candidates(self._reach, k) > coded * MOST:
            return Exact(self._rows).search(rows, k)
        ids, cos = Exact(self._rows[coded:], np.arange(coded, n, dtype=np.int64)).search(rows, k)
        out_ids, out_cos = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
        for i, code in enumerate(self._coder.codes(rows)):
            row = rows[i : i + 1]
            found = self._best(code, row, candidates(self._reach, k), k)
            if len(found[1]) and found[1][0] < self._least:
                wide = candidates(self._reach * WIDER, k)
                is_small = n <= EXACT_ROWS or wide > coded * MOST
                found = _exactly(self._rows[:coded], row, k) if is_small else self._best(code, row, wide, k)
            every_cos = np.concatenate([found[1], cos[i]])
            order = np.argsort(-every_cos, kind="stable")[:k]
            out_ids[i] = np.concatenate([found[0], ids[i]])[order]
            out_cos[i] = every_cos[order]
        return out_ids, out_cos

    def _best(self, code: Codes, row: Rows, wanted: int, k: int) -> tuple[Ids, Rows]:
        """Return the k nearest of those whose codes are nearest: ids (k,) and cosines (k,)."""
        from active.search import Exact

        some = np.sort(self._near.nearest(code, wanted))
        ids, cos = Exact(_Picked(self._rows, some), some, block=PICKED).search(row, k)
        return ids[0], cos[0]


def _exactly(rows: Source, row: Rows, k: int) -> tuple[Ids, Rows]:
    from active.search import Exact

    ids, cos = Exact(rows).search(row, k)
    return ids[0], cos[0]


def candidates(reach: float, k: int) -> int:
    """Return how many rows are compared for the k nearest: `reach` times as many, of 100 at least.

    Of more than 1,000 that are wanted, three for each further one: the last of many are as good as the next.
    """
    return int(reach * min(max(k, 100), 1000)) + 3 * max(0, k - 1000)


class _Picked:
    """Some rows of many, gathered when they are asked for."""

    def __init__(self, rows: Source, which: Ids) -> None:
        self._rows, self._which = rows, which

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, part: "slice | Ids") -> NDArray[np.floating]:
        return self._rows[self._which[part]]
