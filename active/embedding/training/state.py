"""All that has learned in a training, written to one file and read again; and the watch for a collapse."""

import copy
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from active.embedding.training.backbones import Backbone
from active.embedding.training.checkpoint import load_tensors, save_tensors
from active.embedding.training.objective import Objective

SHARES_LEFT = (0.1, 0.02)  # of the widest spreads so far, of features and projector: less is a collapse
PATIENCE = 20  # steps
SMOOTH = 0.8


@dataclass(slots=True)
class Collapse:
    """The watch: rows that all become alike tell nothing apart, whatever the loss says."""

    now: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    low: int = 0

    def see(self, loss: float, spreads: list[float]) -> str | None:
        """Take a step's loss and the spreads of features and projector; return what is wrong, if any."""
        if not all(math.isfinite(x) for x in (loss, *spreads)):
            return "The loss is no longer a number. Try a smaller --rate."
        before = self.now or spreads
        self.now = [SMOOTH * a + (1 - SMOOTH) * b for a, b in zip(before, spreads, strict=True)]
        self.best = [max(a, b) for a, b in zip(self.now, self.best or self.now, strict=True)]
        least = [max(part * b, 1e-4) for part, b in zip(SHARES_LEFT, self.best, strict=True)]
        gone = any(a <= b for a, b in zip(self.now, least, strict=True))
        self.low = self.low + 1 if gone else 0
        if self.low < PATIENCE:
            return None
        return (
            "The features have collapsed: all images became alike. Try a larger --batch or another --method."
        )


@dataclass(slots=True)
class Learner:
    """The networks of a training, and how far it is.

    slow      follows the backbone, for methods that learn from a slow copy; then it is the result.
    anchored  from the features to those of the start; None without an anchor.
    """

    backbone: Backbone
    objective: Objective
    slow: Backbone | None
    anchored: nn.Linear | None
    optimizer: Optimizer
    step: int = 0
    spent_s: float = 0.0
    collapse: Collapse = field(default_factory=Collapse)

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        every: dict[str, nn.Module | None] = {"backbone": self.backbone, "objective": self.objective}
        every |= {"slow": self.slow, "anchored": self.anchored}
        return {name: m for name, m in every.items() if m is not None}

    @property
    def result(self) -> Backbone:
        """The network that is the outcome."""
        return self.slow or self.backbone


def slow_copy(backbone: Backbone) -> Backbone:
    """Return a copy that doesn't learn."""
    return copy.deepcopy(backbone).requires_grad_(False).eval()


def identity(width: int) -> nn.Linear:
    """Return a linear layer that changes nothing yet."""
    out = nn.Linear(width, width, bias=False)
    nn.init.eye_(out.weight)
    return out


def save(learner: Learner, path: Path, about: dict[str, Any]) -> None:  # Any: JSON
    """Write the checkpoint, whole or not at all, with `about` in it."""
    tensors: dict[str, Tensor] = {}
    for name, module in learner.modules().items():
        tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    for i, state in learner.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    at = {"step": learner.step, "spent_s": learner.spent_s, "collapse": asdict(learner.collapse)}
    save_tensors(path, tensors, about | at)


def load(learner: Learner, path: Path, same: dict[str, Any]) -> dict[str, Any] | None:  # Any: JSON
    """Set a learner to where a checkpoint was left, and return what is about it; None where there is none.

    same  what must be as it was. Raises ValueError with one sentence where it isn't.
    """
    if not path.exists():
        return None
    tensors, about = load_tensors(path)
    # earlier versions took all images to have no up
    was = {"has_up": False} | about.get("same", {}) if isinstance(about, dict) else {}
    for name, value in same.items():
        if was.get(name) != value:
            what = f"with {name} {was.get(name)}, not {value}"
            if name == "has_up":
                what = "of images that have no up (--no-up)" if value else "of images that have an up (--up)"
            raise ValueError(
                f"{path.parent} holds a training {what}. "
                "Give another folder, or go on with what it began with."
            )
    try:
        _set(learner, tensors, about)
        return {"start": about["start"]}
    except (LookupError, TypeError, AttributeError, RuntimeError, ValueError) as e:
        raise ValueError(
            f"The checkpoint {path} is damaged or of another version. Delete it to start the training anew."
        ) from e


def _set(learner: Learner, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:  # Any: JSON
    for name, module in learner.modules().items():
        start = f"{name}."
        module.load_state_dict({k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            states.setdefault(int(i), {})[name] = value
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": states, "param_groups": groups})
    learner.step, learner.spent_s = about["step"], about["spent_s"]
    learner.collapse = Collapse(**about["collapse"])


def tensors_to_share(learner: Learner) -> list[Tensor]:
    """Return what processes average after a step: gradients, and the statistics of batch norms."""
    out = []
    for module in (learner.backbone, learner.objective, learner.anchored):
        if module is not None:
            out += [p.grad for p in module.parameters() if p.grad is not None]
            out += [b for b in module.buffers() if torch.is_floating_point(b)]
    return out
