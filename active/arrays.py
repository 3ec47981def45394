"""The array types that every part shares, and the one check where data enters."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
"""(n,) item ids: dense from 0, never reused, the row of that item in every array."""
Rows = NDArray[np.float32]
"""(n, d) one unit vector per row."""
Probs = NDArray[np.float32]
"""(n, c) class probabilities, rows sum to 1."""
Scores = NDArray[np.float32]
"""(n,) higher = ask sooner."""


def unit_rows(x: NDArray[np.float32]) -> Rows:
    """Return `x` with every row scaled to length 1, as float32.

    x  (n, d) finite numbers. A row of zeros, which has no direction, becomes the
       diagonal (1, …, 1)/√d, so that no later product meets a NaN.
    Raises ValueError for another shape or for NaN and infinity.
    """
    rows = np.asarray(x, np.float32)
    if rows.ndim != 2:
        raise ValueError(f"rows have shape {rows.shape}; give (n, d).")
    if not np.isfinite(rows).all():
        raise ValueError("rows hold NaN or infinity.")
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = norm[:, 0] == 0
    out = rows / np.where(norm == 0, 1, norm)
    out[flat] = 1 / np.sqrt(rows.shape[1])
    return out.astype(np.float32, copy=False)


def are_in(ids: Ids, others: Ids) -> NDArray[np.bool_]:
    """Return whether each of `ids` is among `others`, which are ascending. (m,), in m · log n steps."""
    if len(others) == 0:
        return np.zeros(len(ids), bool)
    return np.asarray(others[np.minimum(np.searchsorted(others, ids), len(others) - 1)] == ids)
