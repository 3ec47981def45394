"""What a network takes for alike: the nearest neighbours of ten fixed images, before the training and now."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from active.arrays import Ids, Rows, unit_rows
from active.embedding.training.pictures import Pictures

LOOKED_AT, AMONG, NEAR = 10, 1000, 8
BATCH = 64
Network = Callable[[Tensor], Tensor]
"""(n, 3, side, side) in [0, 1] → (n, d)."""


def rows_of(network: Network, pictures: Pictures, at: Ids, *, side_px: int, device: torch.device) -> Rows:
    """Return unit rows of whole pictures, as they are: not turned, not cropped, not recoloured."""
    out = []
    with torch.no_grad():
        for first in range(0, len(at), BATCH):
            x = whole(pictures, at[first : first + BATCH], side_px=side_px, device=device)
            out.append(network(x).float().cpu().numpy())
    return unit_rows(np.concatenate(out))


def whole(pictures: Pictures, at: Ids, *, side_px: int, device: torch.device) -> Tensor:
    """Return these pictures at the network's size, (n, 3, side_px, side_px) in [0, 1]."""
    return resized(torch.from_numpy(pictures.take(at)).to(device), side_px)


def resized(pixels: Tensor, side_px: int) -> Tensor:
    """Return bytes as (n, 3, side_px, side_px) in [0, 1]."""
    x = F.interpolate(pixels.float() / 255, (side_px, side_px), mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)


def neighbours(
    network: Network, pictures: Pictures, *, side_px: int, device: torch.device
) -> tuple[list[int], list[list[int]]]:
    """Return the ids of ten images, and of the nearest of each, among a thousand evenly spaced ones."""
    among = pictures.spaced(AMONG)
    rows = rows_of(network, pictures, among, side_px=side_px, device=device)
    looked_at = np.unique(np.linspace(0, len(among) - 1, min(LOOKED_AT, len(among))).round().astype(int))
    cos = rows[looked_at] @ rows.T
    cos[np.arange(len(looked_at)), looked_at] = -2  # nobody is their own neighbour
    near = np.argsort(-cos, axis=1, kind="stable")[:, : min(NEAR, len(among) - 1)]
    return pictures.ids[among[looked_at]].tolist(), pictures.ids[among[near]].tolist()


def same(before: list[list[int]], now: list[list[int]]) -> float:
    """Return the share of neighbours that are still there; 1 where there are none."""
    common = sum(len(set(a) & set(b)) for a, b in zip(before, now, strict=True))
    total = sum(map(len, before))
    return common / total if total else 1.0
