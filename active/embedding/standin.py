"""The encoder that needs nothing: colour, edge and texture statistics at 64 px. A stand-in.

It tells sea from sand and stripes from spots, not a church from a school: nothing in it was
trained. The trained network of active.embedding.builtin takes its place once its weights are good.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from active.arrays import Rows, unit_rows
from active.embedding.encoder import Prepared

if TYPE_CHECKING:
    from torch import Tensor

_SIDE_PX = 64
_DIRECTIONS = 8
_LEVELS = 4
_GRID = 4
_BINS = 8


class Standin:
    """Statistics of an image squeezed to 64 × 64 px, as one unit row; see `_groups` for which."""

    key, size_px = "builtin-stats-1", _SIDE_PX

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)
        self.dim = self._rows(np.zeros((1, _SIDE_PX, _SIDE_PX, 3), np.uint8)).shape[1]

    def prepare(self, image: Image.Image) -> Prepared:
        """Return the image as (64, 64, 3) uint8, its proportions not kept."""
        return np.asarray(image.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=2.0))

    def forward(self, prepared: Sequence[Prepared]) -> Rows:
        """Return one unit row per prepared image. One core; call it from several threads."""
        return self._rows(np.stack(prepared)) if len(prepared) else np.empty((0, self.dim), np.float32)

    def encode(self, images: Sequence[Image.Image]) -> Rows:
        """Return one unit row per RGB image."""
        return self.forward([self.prepare(i) for i in images])

    def _rows(self, pixels: Prepared) -> Rows:
        import torch

        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            parts = [g.flatten(1) * weight for g, weight in _groups(x)]
            return unit_rows(torch.cat(parts, 1).numpy())


def _groups(x: "Tensor") -> "list[tuple[Tensor, float]]":
    """Return groups of statistics of (n, 3, 64, 64) images in [0, 1], each with its weight.

    Every number is taken relative to that of a dull picture, so that two rows point the same way
    only when two images differ from dullness alike. The weights bring the groups to a similar size.
    """
    import torch
    from torch.nn import functional as F

    red, green, blue = x.unbind(1)
    light = (red + green + blue) / 3
    opponents = torch.stack([light - 0.5, (red - green) / 2, (red + green) / 4 - blue / 2], 1)
    scale = torch.tensor([1.0, 3.0, 2.0]).reshape(1, 3, 1, 1)
    colours = opponents * scale

    groups = [
        (F.adaptive_avg_pool2d(colours, _GRID), 0.6),  # where which colour is
        (torch.cat([colours.mean((2, 3)), colours.std((2, 3)) - 0.15], 1), 2.5),
        (_histogram(colours), 1.5),
    ]
    level = colours
    for _ in range(_LEVELS):
        groups.append((_edges(level[:, :1]), 1.0))
        smaller = F.avg_pool2d(level, 2)
        detail = level - F.interpolate(smaller, scale_factor=2.0, mode="nearest")
        strength = detail.abs()
        spread = torch.stack([strength.mean((2, 3)), strength.std((2, 3))], 1)
        groups.append((torch.log2(spread.flatten(1) + 0.004) + 5, 0.12))
        uneven = F.adaptive_avg_pool2d(strength[:, :1], _GRID).flatten(1)
        groups.append((torch.log2(uneven.sort(1).values[:, :: _GRID - 1] + 0.004) + 5, 0.1))
        level = smaller
    return groups


def _histogram(colours: "Tensor") -> "Tensor":
    """Return soft histograms of each channel, square roots (Hellinger), less those of even spread."""
    import torch

    at = torch.linspace(-0.7, 0.7, _BINS).reshape(1, 1, _BINS, 1)
    near = torch.exp(-(((colours.flatten(2).unsqueeze(2) - at) / 0.1) ** 2))
    share = near.sum(3) / near.sum((2, 3)).clamp_min(1e-6).unsqueeze(2)
    out: Tensor = (share.sqrt() - _BINS**-0.5) / 3
    return out


def _edges(light: "Tensor") -> "Tensor":
    """Return how much of the edges runs in each direction, and how strong they are."""
    import math

    import torch
    from torch.nn import functional as F

    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    g = F.conv2d(light, torch.stack([sobel, sobel.T]).unsqueeze(1))
    size = g.square().sum(1).sqrt()
    angle = torch.atan2(g[:, 1], g[:, 0]) * 2  # an edge and its opposite are one direction
    steps = torch.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
    lean = torch.exp(2 * (torch.cos(angle.unsqueeze(1) - steps.reshape(1, -1, 1, 1)) - 1)) * size.unsqueeze(1)
    share = lean.sum((2, 3)) / lean.sum((1, 2, 3)).clamp_min(1e-6).unsqueeze(1)
    strong = torch.stack([size.mean((1, 2)), size.std((1, 2)), size.amax((1, 2)) / 4], 1)
    out: Tensor = torch.cat([share - 1 / _DIRECTIONS, torch.log2(strong + 0.004) / 12 + 0.45], 1)
    return out
