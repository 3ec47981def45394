"""The built-in network's shape, and the fast form of it: convolutions with bias and ReLU, one after another.

Depthwise and pointwise layers in turn (Howard et al. 2017, "MobileNets"), but three halvings come first,
so that the late, wide layers see a 7 × 7 grid of a 112-px image: as many places as a 224-px network has.
Training gives each layer batch norms and shortcuts, and folds them into these weights (Ding et al. 2021,
"RepVGG"): nothing of them is left here.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE_PX = 112
DIM = 1024


class Layer(NamedTuple):
    """One convolution: channels in and out, the side of its kernel, its stride, its groups."""

    wide_in: int
    wide_out: int
    kernel: int
    stride: int
    groups: int


STEM = 32
BLOCKS = (
    (64, 2), (128, 1),
    (256, 2), (256, 1), (256, 1),
    (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (DIM, 1),
)  # fmt: skip
"""Channels and stride of each depthwise layer with the pointwise layer after it."""


def layers() -> list[Layer]:
    """Return all convolutions, in order."""
    out = [Layer(3, STEM, 3, 2, 1)]
    for wide_out, stride in BLOCKS:
        wide = out[-1].wide_out
        out.append(Layer(wide, wide, 3, stride, wide))
        out.append(Layer(wide, wide_out, 1, 1, 1))
    return out


def fitting(weights: "Mapping[str, Tensor]") -> bool:
    """Return whether these are this network's numbers: "0.weight", "0.bias", "1.weight", …"""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, at in enumerate(layers()):
        shapes[f"{i}.weight"] = (at.wide_out, at.wide_in // at.groups, at.kernel, at.kernel)
        shapes[f"{i}.bias"] = (at.wide_out,)
    return {name: tuple(w.shape) for name, w in weights.items()} == shapes


def network(weights: "Mapping[str, Tensor]") -> "nn.Sequential":
    """Return the network with these weights, as plain layers of torch; `fuse` makes it fast.

    It takes (n, 3, 112, 112) in [-1, 1] and gives maps (n, 1024, 7, 7): their mean is the row.
    """
    from torch import nn

    out = nn.Sequential()
    for i, at in enumerate(layers()):
        conv = nn.Conv2d(
            at.wide_in, at.wide_out, at.kernel, at.stride, at.kernel // 2, groups=at.groups
        )  # fmt: skip
        conv.weight = nn.Parameter(weights[f"{i}.weight"].float(), requires_grad=False)
        conv.bias = nn.Parameter(weights[f"{i}.bias"].float(), requires_grad=False)
        step = nn.Sequential()
        step.add_module("convolution", conv)
        step.add_module("activation", nn.ReLU())
        out.append(step)
    return out.eval()
