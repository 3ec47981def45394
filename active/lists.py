"""Codes in lists around centres, of which a search reads a few: where comparing all codes takes too long.

The lists lie one after another in one array, which may be a mapped file: only what is read is in memory.
Comparing is FAISS's; the lists are ours, because its binary lists are built in memory.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from active.codes import Codes, Flat, variant

TRAIN_CODES = 24
"""Codes for each centre that these are made of."""
PASSES = 5
"""Rounds of k-means; later ones move little."""
BLOCK = 65_536
"""Codes assigned or moved at a time."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which codes lie in which list.

    centres  (l, bytes). starts  (l + 1,) where each list begins, and the end of the last.
    order    (n,) the places that codes had before they were put into lists.
    """

    centres: Codes
    starts: Ids
    order: NDArray[np.uint32]


def lists_for(n: int) -> int:
    """Return how many lists n codes are put into: a power of two near their root."""
    return 1 << round(math.log2(max(1, n)) / 2)


def lay_out(codes: Codes, lists: int, rng: np.random.Generator) -> Layout:
    """Return which codes belong into which list: to which of the centres they are nearest.

    Time: n · lists comparisons, a billion a second and core.
    """
    centres = _centres(codes, lists, rng)
    at = np.empty(len(codes), np.uint16 if len(centres) <= 1 << 16 else np.uint32)
    for lo in range(0, len(codes), BLOCK):
        at[lo : lo + BLOCK] = _assign(np.asarray(codes[lo : lo + BLOCK]), centres)
    sizes = np.bincount(at, minlength=len(centres))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Layout(centres, starts, np.argsort(at, kind="stable").astype(np.uint32))


def moved(codes: Codes, layout: Layout, write: Callable[[Codes], object]) -> None:
    """Hand the codes to `write`, block by block, in the order of their lists."""
    for lo in range(0, len(codes), BLOCK):
        write(codes[layout.order[lo : lo + BLOCK]])


@dataclass(frozen=True, slots=True)
class Lists:
    """Codes in lists, and those that came later.

    codes   (n, bytes) in the order of `layout`. tail  (m, bytes) codes of the places from n on.
    probes  how many lists a search reads.
    """

    layout: Layout
    codes: Codes
    tail: Codes
    probes: int
    _centres: Flat = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_centres", Flat(self.layout.centres))

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.codes) + len(self.tail)

    def nearest(self, code: Codes, k: int) -> Ids:
        """Return the places of about the k codes nearest to one, (k,), nearest first: those in lists read.

        Where the nearest lists hold fewer than k, more of them are read.
        """
        if k <= 0:
            return np.empty(0, np.int64)
        starts = self.layout.starts
        apart, at = [], []
        for i in self._nearest_lists(code, k - len(self.tail)):
            part = self.codes[starts[i] : starts[i + 1]]
            if len(part):
                d, near = _nearest(code, part, k)
                apart.append(d)
                at.append(near + starts[i])
        if len(self.tail):
            d, near = _nearest(code, self.tail, k)
            apart.append(d)
            at.append(near + len(self.codes))
        if not at:
            return np.empty(0, np.int64)
        best = np.argsort(np.concatenate(apart), kind="stable")[:k]
        found: Ids = np.concatenate(at)[best]
        in_lists = found < len(self.codes)
        found[in_lists] = self.layout.order[found[in_lists]]
        return found

    def _nearest_lists(self, code: Codes, k: int) -> Ids:
        """Return the lists that are read, nearest first: `probes`, or as many as it takes to hold k codes."""
        sizes = np.diff(self.layout.starts)
        near = self._centres.nearest(code, self.probes)
        if sizes[near].sum() >= k:
            return near
        near = self._centres.nearest(code, len(sizes))
        return near[: int(np.searchsorted(np.cumsum(sizes[near]), k)) + 1]


def _nearest(code: Codes, part: Codes, k: int) -> tuple[Ids, Ids]:
    """Return the distances and places of the k codes of a list that are nearest to one."""
    import faiss

    k = min(k, len(part))
    d, near = faiss.knn_hamming(code[None], part, k, variant=variant(k))
    return d[0], near[0].astype(np.int64)


def tune(lists: Lists, codes: Codes, asked: Codes, k: int, recall: float) -> tuple[int, float]:
    """Return the least number of probes, a power of two, that finds enough of the nearest, and what it finds.

    codes   (n, bytes) all codes, to compare with. asked  (q, bytes) what is looked for.
    recall  share of the k nearest; codes as far as the last of them are as good as it.
    """
    flat = Flat(codes)
    farthest = [_apart(code, codes[flat.nearest(code, k)]).max() for code in asked]
    probes, found = 1, 0.0
    while True:
        trial = Lists(lists.layout, lists.codes, lists.tail, probes)
        near = [trial.nearest(code, k) for code in asked]
        hits = [(_apart(c, codes[at]) <= far).sum() for c, at, far in zip(asked, near, farthest, strict=True)]
        found = float(np.mean(hits)) / min(k, len(codes))
        if found >= recall or probes >= len(lists.layout.centres):
            return probes, found
        probes *= 2


def _apart(code: Codes, others: Codes) -> NDArray[np.int64]:
    """Return in how many bits each of some codes differs from one."""
    bits: NDArray[np.uint8] = np.unpackbits(np.bitwise_xor(others, code), axis=1)
    counts: NDArray[np.int64] = bits.sum(1, dtype=np.int64)
    return counts


def _centres(codes: Codes, lists: int, rng: np.random.Generator) -> Codes:
    """Return centres of codes by k-means: each bit of a centre is what most of its codes have."""
    drawn = np.sort(rng.choice(len(codes), min(len(codes), lists * TRAIN_CODES), replace=False))
    some = np.asarray(codes[drawn])
    centres = some[rng.choice(len(some), min(lists, len(some)), replace=False)]
    for _ in range(PASSES):
        at = _assign(some, centres)
        order = np.argsort(at, kind="stable")
        sizes = np.bincount(at, minlength=len(centres))
        full = np.flatnonzero(sizes)
        first = np.searchsorted(at[order], full)
        for lo in range(0, len(full), 256):  # of so many lists the bits are apart at a time
            here = full[lo : lo + 256]
            begin, end = first[lo], first[lo] + sizes[here].sum()
            bits = np.unpackbits(some[order[begin:end]], axis=1)
            sums = np.add.reduceat(bits, first[lo : lo + 256] - begin, axis=0, dtype=np.int64)
            centres[here] = np.packbits(2 * sums > sizes[here][:, None], axis=1)
    return centres


def _assign(codes: Codes, centres: Codes) -> Ids:
    """Return the centre nearest to each code."""
    import faiss

    nearest: Ids = faiss.knn_hamming(np.ascontiguousarray(codes), centres, 1, variant="hc")[1][:, 0]
    return nearest.astype(np.int64)
