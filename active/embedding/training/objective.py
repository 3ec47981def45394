"""What a method is: a projector on the network's features, and a loss of two views of the same pictures."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Seen(NamedTuple):
    """What a method makes of two views: the loss, and the projector's rows of the first."""

    loss: Tensor
    rows: Tensor


class Objective(nn.Module):
    """A projector and a loss. Called with two views' features, (n, width) each, it returns `Seen`.

    Row i of both is the same picture. A method with a `momentum` is also given what a slowly following copy
    of the network makes of both views, and moves its own slow parts in `follow`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, one: Tensor, two: Tensor, slow: tuple[Tensor, Tensor] | None = None) -> Seen:
        """Return the loss of these features."""
        raise NotImplementedError

    def momentum(self, share: float) -> float | None:
        """Return what the slow copy keeps of itself after this share of the training; None: there is none."""
        return None

    def follow(self, keep: float) -> None:
        """Move slow parts of the method itself after a step."""


def mlp(*widths: int, norm: bool = False) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them, and batch norms before it if wanted."""
    out = nn.Sequential()
    for i, (a, b) in enumerate(pairwise(widths[:-1])):
        out.add_module(f"linear{i}", nn.Linear(a, b, bias=not norm))
        if norm:
            out.add_module(f"norm{i}", nn.BatchNorm1d(b))
        out.add_module(f"relu{i}", nn.ReLU(inplace=True))
    out.add_module("last", nn.Linear(widths[-2], widths[-1]))
    return out


def spread(rows: Tensor) -> Tensor:
    """Return the standard deviation of unit rows, mean over their numbers, times √d.

    About 1 if they are spread evenly, 0 if they are alike.

    Source: Chen and He 2020, arXiv 2011.10566, section 4.1.
    """
    unit = F.normalize(rows.detach().float(), dim=1)
    out: Tensor = unit.std(0, correction=0).mean() * unit.shape[1] ** 0.5
    return out


def follow(slow: nn.Module, fast: nn.Module, keep: float) -> None:
    """Move all numbers of one module towards those of another of the same shape."""
    with torch.no_grad():
        for a, b in zip(
            [*slow.parameters(), *slow.buffers()], [*fast.parameters(), *fast.buffers()], strict=True
        ):
            if a.is_floating_point():
                a.lerp_(b, 1 - keep)
            else:
                a.copy_(b)
