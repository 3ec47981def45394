"""What the built-in network copies, how far it is from it, and how well it has learned it."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from active.embedding.network import SIDE_PX
from benchmarks.student import LEADS

TEACHER_PX = 224
WARMTH = 0.07  # of the similarities in a batch
NEAR = 10  # neighbours that are compared
Maps = list[Tensor]
"""A map for each of LEADS, the last one (n, 1024, 7, 7)."""


class Teacher(nn.Module):
    """The pretrained MobileNet v1 that is copied: (n, 3, 224, 224) in [-1, 1] → the maps of LEADS."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__()
        from transformers import AutoModel

        from active.embedding.fused import fuse

        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        model.eval().requires_grad_(False)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        if device.type == "cpu":
            fuse(self.model)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Maps:
        """Return its maps at LEADS, pooled to the student's places."""
        maps = self.model(pixel_values=x, output_hidden_states=True).hidden_states
        return [F.avg_pool2d(maps[i], by).float() for i, by in LEADS.values()]


def resized(x: Tensor, side: int) -> Tensor:
    """Return pictures squeezed to side × side px as PIL's bilinear filter does it: as the product will."""
    return F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)


def unexplained(student: Tensor, teacher: Tensor, dims: tuple[int, ...] = (0,)) -> Tensor:
    """Return the share of the teacher's variance that the student misses; 1: it knows the mean alone."""
    spread = (teacher - teacher.mean(dims, keepdim=True)).square().mean()
    return (student - teacher).square().mean() / spread.clamp_min(1e-8)


def neighbourhoods(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how differently two sets of rows say who is near whom (Kullback-Leibler, in nats).

    Each row's similarities to the others, less the batch's mean, become shares that sum to 1.
    """
    same = torch.eye(len(student), dtype=torch.bool, device=student.device)
    p, q = (
        ((r := F.normalize(rows - rows.mean(0), dim=1)) @ r.T / WARMTH).masked_fill(same, -1e4)
        for rows in (teacher, student)
    )
    return F.kl_div(q.log_softmax(1), p.log_softmax(1), reduction="batchmean", log_target=True)


def losses(student: Maps, teacher: Maps) -> dict[str, Tensor]:
    """Return the parts of the loss: row, near, and map1 … map6, one for each stage."""
    mine, its = (F.normalize(maps[-1].float().mean((2, 3)), dim=1) for maps in (student, teacher))
    return {"row": unexplained(mine, its), "near": neighbourhoods(mine, its)} | {
        f"map{i + 1}": unexplained(s.float(), t, (0, 2, 3))
        for i, (s, t) in enumerate(zip(student, teacher, strict=True))
    }


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Return which share of each picture's 10 nearest by the teacher are among the student's 10 nearest."""
    tops = []
    for rows in (student, teacher):
        cos = F.normalize(rows, dim=1) @ F.normalize(rows, dim=1).T
        tops.append(cos.fill_diagonal_(-9).topk(min(NEAR, len(rows) - 1), 1).indices)
    return float((tops[0].unsqueeze(2) == tops[1].unsqueeze(1)).any(2).float().mean())


class Exam:
    """Pictures that are never learned from: of other sources, or drawn from another seed; seen whole."""

    def __init__(self, sets: dict[str, Tensor], teacher: nn.Module, device: torch.device) -> None:
        self._device = device
        self._sets = {name: p.cpu() for name, p in sets.items() if len(p) > 1}
        self._rows = {
            name: self._look(lambda x: teacher(x)[-1], p, TEACHER_PX) for name, p in self._sets.items()
        }

    def marks(self, student: nn.Module) -> dict[str, float]:
        """Return, of each set, the share of neighbours in common and the share of variance missed."""
        student.eval()
        out = {}
        for name, pictures in self._sets.items():
            rows = self._look(lambda x: student(x)[-1], pictures, SIDE_PX)
            out[f"near_{name}"] = agreement(rows, self._rows[name])
            mine, its = F.normalize(rows, dim=1), F.normalize(self._rows[name], dim=1)
            out[f"missed_{name}"] = float(unexplained(mine, its))
        return out

    @torch.no_grad()
    def _look(self, last: Callable[[Tensor], Tensor], pictures: Tensor, side: int) -> Tensor:
        rows = []
        for part in torch.split(pictures, 64):
            x = part.to(self._device).float() / 127.5 - 1
            x = resized(x, side)
            rows.append(last(x.contiguous(memory_format=torch.channels_last)).float().mean((2, 3)))
        return torch.cat(rows)
