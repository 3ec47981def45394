"""LARS and AdamW, which numbers decay, and how the rate of learning rises and falls."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

FROZEN = 0.05  # part of a training in which only the projector learns
WARM = (
    0.05  # part after that in which the backbone's rate rises; the projector's rises in the first such part
)
LAST = 0.001  # of the highest rate, at the end
DEFAULT_RATE = {"adamw": 1e-3, "lars": 0.2}


class Rates(NamedTuple):
    """The rate of the projector and of the backbone, 0 where it is frozen."""

    projector: float
    backbone: float


def rates(share: float, rate: float, backbone: float, *, frozen: float = FROZEN) -> Rates:
    """Return the rates after this share of the training: up in a line, then down along a cosine.

    backbone  its part of the rate. It is 0 while the projector, which starts from random numbers, would only
              spoil a trained network.
    """
    share = min(max(share, 0.0), 1.0)
    fall = max((math.cos(math.pi * share) + 1) / 2, LAST)
    up = min(share / WARM, 1.0) if share < WARM else 1.0
    later = min(max((share - frozen) / WARM, 0.0), 1.0) if frozen else up
    return Rates(rate * fall * max(up, LAST), rate * backbone * fall * later)


def groups(module: nn.Module, decay: float) -> list[dict[str, Any]]:  # Any: as torch's optimizers take them
    """Return a module's parameters in two groups: matrices, which decay; biases and norms, which don't."""
    free = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in free if p.ndim > 1], "weight_decay": decay, "adapt": True},
        {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0, "adapt": False},
    ]


def optimizer(name: str, projector: nn.Module, backbone: nn.Module, *, decay: float) -> Optimizer:
    """Return the optimizer of both; groups 0 and 1 are the projector's, 2 and 3 the backbone's."""
    every = groups(projector, decay) + groups(backbone, decay)
    if name == "lars":
        return LARS(every, lr=0.0)
    for group in every:
        del group["adapt"]
    return torch.optim.AdamW(every, lr=0.0, betas=(0.9, 0.98))


class LARS(Optimizer):
    """Steps as long as the weights they change, layer by layer, with momentum; for large batches.

    Source: You et al. 2017, "Large batch training of convolutional networks", arXiv 1708.03888, algorithm 1.
    Groups with adapt=False (biases, norms) get plain steps, as in SimCLR.
    """

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, momentum: float = 0.9, trust: float = 0.001
    ) -> None:  # Any: as torch's optimizers take them
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": 0.0, "adapt": True}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure
        """Change all parameters that have a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                change = p.grad + group["weight_decay"] * p
                if group["adapt"]:
                    length = p.norm()
                    against = p.grad.norm() + group["weight_decay"] * length
                    local = group["trust"] * length / against
                    change = change * torch.where((length > 0) & (against > 0), local, torch.ones_like(local))
                speed = self.state[p].setdefault("momentum", torch.zeros_like(p))
                speed.mul_(group["momentum"]).add_(change, alpha=group["lr"])
                p.sub_(speed)
