"""The rows that the head sees: the encoder's vectors, turned to fewer numbers."""

import logging
import threading
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, Rows
from labeler import turnfile
from labeler.arrays import load_arrays, save_arrays
from labeler.errors import Blocked
from labeler.vectors import SCATTER_FROM, Vectors
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.representative import Pca

log = logging.getLogger("labeler.space")

LEARN_DIM = 256  # the head sees at most this many numbers per image
BLOCK = 256  # rows that are turned at a time
FILE_FROM = 200_000  # images from which on turned rows, 1 KB each, are kept in a file and not in memory
FIRST_BASIS = 512  # with fewer images the vectors are taken as they are


@dataclass(frozen=True, slots=True)
class Space:
    """The rows that the head sees: unit vectors, turned to at most 256 dimensions by PCA.

    basis  rows[:basis] fitted the PCA, `turn`; 0: the vectors as they are.
    rows   (n, d) of the items with id below n.
    """

    key: str
    basis: int
    rows: Rows
    turn: "Pca | None"


_spaces: "weakref.WeakKeyDictionary[Workspace, Space]" = weakref.WeakKeyDictionary()
_spaces_lock = threading.Lock()


def basis_for(n: int, dim: int) -> int:
    """Return how many of the first n rows fit the PCA: 512, 1024, 2048 …, at most n.

    A plain function of n, so that a recorded round can be drawn again from the vectors alone.
    Items come in random order, so the first ones stand for all.
    """
    if dim <= LEARN_DIM or n < FIRST_BASIS:
        return 0
    return int(FIRST_BASIS * 2 ** int(np.log2(n / FIRST_BASIS)))


def current(ws: Workspace) -> Space | None:
    """Return the rows of all items embedded so far, None before the first. Grows by what is new."""
    used = ws.registry.in_use()
    if used is None or used[2] == 0:
        return None
    key, dim, n = used
    stored = ws.vectors(key, dim)
    n = min(n, len(stored))
    with _spaces_lock:
        held = _spaces.get(ws)
        basis = basis_for(n, dim)
        if held is None or held.key != key or held.basis != basis or len(held.rows) > n:
            width = LEARN_DIM if basis else dim
            held = Space(key, basis, np.empty((0, width), np.float32), pca(ws, key, dim, basis))
        if len(held.rows) < n:
            held = replace(held, rows=_grown(ws, held, stored, n))
        _spaces[ws] = held
        return held


def _grown(ws: Workspace, held: Space, stored: Vectors, n: int) -> Rows:
    """Return the first n turned rows: of a large pool from a file, else in memory."""
    turn = held.turn
    if n >= FILE_FROM and turn is None:
        return np.asarray(stored.rows(0, n))
    if n >= FILE_FROM:
        path = _file(ws, held.key, held.basis)
        try:
            rows = turnfile.kept(
                path, n, held.rows.shape[1], lambda lo, hi: turned(turn, stored.rows(lo, hi))
            )
        except Blocked as e:
            log.warning("Turned rows are kept in memory instead: %s", e)
        else:
            for old in ws.cache.glob(f"turned-{held.key}-[0-9]*.f32"):
                if old != path:
                    turnfile.remove(old)
            return rows
    whole = len(held.rows) // BLOCK * BLOCK
    return np.concatenate([held.rows[:whole], turned(turn, stored.rows(whole, n))])


def _file(ws: Workspace, key: str, basis: int) -> Path:
    return ws.cache / f"turned-{key}-{basis}.f32"


def rows_of(ws: Workspace, key: str, basis: int, n: int) -> "tuple[Rows, Pca | None]":
    """Return the first n rows in the basis that a round has recorded, and the turn to it."""
    now = current(ws)
    if now is not None and (now.key, now.basis) == (key, basis):
        return now.rows[:n], now.turn
    dim = ws.registry.dim(key)
    turn = pca(ws, key, dim, basis)
    return turned(turn, ws.vectors(key, dim).rows(0, n)), turn


def turned(turn: "Pca | None", rows: Rows) -> Rows:
    """Return rows in the basis of `turn` (None: as they are).

    They are turned in blocks of one size, the last one filled up, so that a row comes out the
    same to the last bit whether it came alone or with others.
    """
    if turn is None:
        return np.asarray(rows)
    out = np.empty((len(rows), turn.components.shape[1]), np.float32)
    block = np.zeros((BLOCK, rows.shape[1]), np.float32)
    for lo in range(0, len(rows), BLOCK):
        part = rows[lo : lo + BLOCK]
        block[: len(part)] = part
        out[lo : lo + BLOCK] = turn.apply(block)[: len(part)]
    return out


def pca(ws: Workspace, key: str, dim: int, basis: int) -> "Pca | None":
    """Return the PCA fitted on the first `basis` rows, from the cache when it is there.

    Where it is known how rows move when an image is only turned, such directions count for less.
    """
    if basis == 0:
        return None
    from active.representative import Pca, fit_pca

    path = ws.cache / f"pca-{key}-{basis}.npz"
    kept = load_arrays(path)
    if kept is not None and kept.keys() >= {"mean", "components"}:
        return Pca(mean=kept["mean"], components=kept["components"])
    rows = np.asarray(ws.vectors(key, dim).rows(0, basis))
    made = fit_pca(rows, LEARN_DIM, np.random.default_rng(basis), scatter=_scatter(ws, key, basis))
    save_arrays(path, mean=made.mean, components=made.components)
    return made


def _scatter(ws: Workspace, key: str, basis: int) -> NDArray[np.float32] | None:
    """Return how rows of an encoder move when an image is turned, None where that is not known.

    It is written before the first rows past SCATTER_FROM are, and never again: a plain function of `basis`.
    """
    path = ws.scatter_file(key)
    if basis < SCATTER_FROM or not path.exists():
        return None
    scatter: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return scatter if len(scatter) else None


@dataclass(frozen=True, slots=True)
class Turned:
    """Vectors in a file, turned when they are asked for."""

    turn: "Pca | None"
    stored: Rows

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, which: "slice | Ids") -> Rows:
        return turned(self.turn, self.stored[which])
