"""The built-in network as it is trained: convolutions with batch norms and shortcuts, then folded.

A layer that keeps its shape adds its input, normalised, to its output. All of it is linear before the ReLU,
so that it folds into one convolution with a bias.
"""

import torch
from torch import Tensor, nn

from active.embedding.network import Layer, layers


class Step(nn.Module):
    """One layer while it learns: ReLU(norm(convolution(x)) + norm(x))."""

    def __init__(self, at: Layer) -> None:
        super().__init__()
        self.at = at
        self.conv = nn.Conv2d(
            at.wide_in, at.wide_out, at.kernel, at.stride, at.kernel // 2, groups=at.groups, bias=False
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(at.wide_out)
        keeps = at.wide_in == at.wide_out and at.stride == 1
        self.shortcut = nn.BatchNorm2d(at.wide_in) if keeps else None
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
        self.halving = max(i for i, at in enumerate(layers()) if at.stride == 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map before the last halving (n, 256, 14, 14), and the last map (n, 1024, 7, 7).

        x  (n, 3, 112, 112) in [-1, 1].
        """
        middle = x
        for i, step in enumerate(self.steps):
            middle = x if i == self.halving else middle
            x = step(x)
        return middle, x

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
