"""The built-in network as it is trained: convolutions with batch norms and shortcuts, in stages, then folded.

A layer that keeps its shape adds its input, normalised, to its output. All of it is linear before the ReLU,
so that it folds into one convolution with a bias.
"""

import torch
from torch import Tensor, nn

from active.embedding.network import BLOCKS, Layer, layers

LEADS = {1: (5, 2), 4: (9, 2), 6: (13, 2), 8: (17, 2), 10: (21, 2), 12: (25, 1)}
"""After which of BLOCKS the map is compared with which of the teacher's hidden states, pooled by how much.

Each pair has the same depth, as many channels and, pooled, as many places. Between two of them lies a stage.
"""
EPS = 1e-2  # of the norms: channels that are hardly ever active must not be blown up


class Step(nn.Module):
    """One layer while it learns: ReLU(norm(convolution(x)) + norm(x))."""

    def __init__(self, at: Layer) -> None:
        super().__init__()
        self.at = at
        self.conv = nn.Conv2d(
            at.wide_in, at.wide_out, at.kernel, at.stride, at.kernel // 2, groups=at.groups, bias=False
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(at.wide_out, eps=EPS)
        keeps = at.wide_in == at.wide_out and at.stride == 1
        self.shortcut = nn.BatchNorm2d(at.wide_in, eps=EPS) if keeps else None
        if self.shortcut is not None:
            nn.init.constant_(self.norm.weight, 0.7)
            nn.init.constant_(self.shortcut.weight, 0.7)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        out = self.norm(self.conv(x))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return torch.relu(out)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the one convolution that does the same in evaluation."""
        weight, bias = _scaled(self.conv.weight.detach(), self.norm)
        if self.shortcut is not None:
            more, shift = _scaled(_identity(self.at), self.shortcut)
            weight, bias = weight + more, bias + shift
        return weight, bias


class Student(nn.Module):
    """The network while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(Step(at) for at in layers())

    def forward(self, x: Tensor, apart: bool = False) -> list[Tensor]:
        """Return the maps at the places of LEADS, the last one (n, 1024, 7, 7).

        x      (n, 3, 112, 112) in [-1, 1].
        apart  each stage learns for itself: nothing of a loss goes back beyond it.
        """
        out = []
        x = self.steps[0](x)
        for block in range(len(BLOCKS)):
            x = self.steps[2 * block + 2](self.steps[2 * block + 1](x))
            if block in LEADS:
                out.append(x)
                x = x.detach() if apart else x
        return out

    @torch.no_grad()
    def set_out(self, maps: list[Tensor]) -> None:
        """Begin with maps of about the teacher's size: the mean and deviation of each of its channels."""
        for block, target in zip(LEADS, maps, strict=True):
            step = self.steps[2 * block + 2]
            assert isinstance(step, Step)
            step.norm.weight.copy_(target.std((0, 2, 3)) * (0.7 if step.shortcut is None else 0.5))
            step.norm.bias.copy_(target.mean((0, 2, 3)))
            if step.shortcut is not None:
                nn.init.constant_(step.shortcut.weight, 0.3)

    @torch.no_grad()
    def take(self, weights: dict[str, Tensor], x: Tensor) -> None:
        """Begin with folded weights, such as `weights` returns: norms get what they see of x, and undo it.

        Shortcuts begin at 0: what they added is in the convolutions by now.
        """
        for i, step in enumerate(self.steps):
            assert isinstance(step, Step)
            weight, bias = weights[f"{i}.weight"].float(), weights[f"{i}.bias"].float()
            size = (
                weight.flatten(1).norm(dim=1).clamp_min(1e-6) / 2**0.5
            )  # a filter's at random weights is √2
            step.conv.weight.copy_(weight / size.reshape(-1, 1, 1, 1))
            out, norm = step.conv(x), step.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(out.mean((0, 2, 3)))
            norm.running_var.copy_(out.var((0, 2, 3)))
            norm.weight.copy_(size * (norm.running_var + norm.eps).sqrt())
            norm.bias.copy_(norm.running_mean * size + bias)
            if step.shortcut is not None:
                nn.init.zeros_(step.shortcut.weight)
                assert step.shortcut.running_mean is not None
                assert step.shortcut.running_var is not None
                step.shortcut.running_mean.copy_(x.mean((0, 2, 3)))
                step.shortcut.running_var.copy_(x.var((0, 2, 3)))
            x = torch.relu(step.conv(x) * size.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1))

    def weights(self) -> dict[str, Tensor]:
        """Return the folded weights by the names that active.embedding.network knows, float32, on the CPU."""
        out = {}
        for i, step in enumerate(self.steps):
            assert isinstance(step, Step)
            weight, bias = step.folded()
            out[f"{i}.weight"], out[f"{i}.bias"] = weight.cpu().contiguous(), bias.cpu().contiguous()
        return out


def _identity(at: Layer) -> Tensor:
    """Return the weight of a convolution that changes nothing."""
    per = at.wide_in // at.groups
    weight = torch.zeros(at.wide_out, per, at.kernel, at.kernel)
    for i in range(at.wide_out):
        weight[i, i % per, at.kernel // 2, at.kernel // 2] = 1
    return weight


def _scaled(weight: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of a convolution without bias followed by a batch norm."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias.detach() - norm.running_mean * scale
    return weight.to(scale.device) * scale.reshape(-1, 1, 1, 1), shift
