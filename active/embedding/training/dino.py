"""DINO: a network says which of many made-up classes a slow copy of it sees in the other view.

Source: Caron et al. 2021, "Emerging properties in self-supervised vision transformers", arXiv 2104.14294.
Two large views; the paper's many small crops are left out, as half of the picture is the least a view shows.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from active.embedding.training.objective import Objective, Seen, follow
from active.embedding.training.processes import mean_of_all

HIDDEN, NARROW, CLASSES = 1024, 256, 2048  # the paper has 65,536 classes for a million pictures
SHARP, SOFT = 0.04, 0.1  # temperatures of the slow copy and of the network
CENTRE_KEEPS = 0.9
KEEPS = 0.99  # at the start; 1 at the end. The paper's 0.996 is for longer trainings


class Head(nn.Module):
    """Three layers, a unit row, and its cosines to CLASSES directions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, NARROW),
        )
        self.classes = nn.Parameter(torch.randn(CLASSES, NARROW))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, CLASSES) cosines."""
        unit = F.normalize(self.layers(x).float(), dim=1)
        return unit @ F.normalize(self.classes.float(), dim=1).T


class DINO(Objective):
    """Two heads, one following the other, and the centre of what the slow one says."""

    centre: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.head = Head(width)
        self.slow_head = copy.deepcopy(self.head).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(CLASSES))

    def forward(self, one: Tensor, two: Tensor, slow: tuple[Tensor, Tensor] | None = None) -> Seen:
        """Return the loss; slow  what the slow copy of the network makes of both views."""
        assert slow is not None
        with torch.no_grad():
            first, second = self.slow_head(slow[0]), self.slow_head(slow[1])
        a, b = self.head(one), self.head(two)
        loss = (surprise(a, second, self.centre) + surprise(b, first, self.centre)) / 2
        if self.training:
            seen = mean_of_all(torch.cat([first, second]).mean(0))
            self.centre.lerp_(seen, 1 - CENTRE_KEEPS)
        return Seen(loss, a - self.centre)

    def momentum(self, share: float) -> float:
        """Return KEEPS, rising to 1 along a cosine."""
        return 1 - (1 - KEEPS) * (math.cos(math.pi * min(share, 1)) + 1) / 2

    def follow(self, keep: float) -> None:
        """Move the slow head."""
        follow(self.slow_head, self.head, keep)


def surprise(said: Tensor, slow: Tensor, centre: Tensor) -> Tensor:
    """Return the cross entropy of the slow copy's centred, sharp classes and the network's, algorithm 1."""
    target = F.softmax((slow - centre).float() / SHARP, dim=1)
    return -(target.detach() * F.log_softmax(said.float() / SOFT, dim=1)).sum(1).mean()
