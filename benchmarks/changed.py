"""Pictures turned, cropped, recoloured and mixed at random, many at a time: what a network learns from.

Aggressive, and many: a student copies what its teacher makes of a picture, so no view has to show anything
(Beyer et al. 2022, "Knowledge distillation: a good teacher is patient and consistent").
Pictures are (n, 3, h, w) in [0, 1].
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.drawn import Pen, coloured, noise, palette

LIGHT = (0.299, 0.587, 0.114)


def views(pictures: Tensor, rng: torch.Generator, size: int, *, whole: float = 0.0) -> Tensor:
    """Return one view of each picture, (n, 3, size, size) in [0, 1].

    pictures  (n, 3, h, w) bytes on the device of `rng`.
    whole     the share of views that are only resized, as the product will see them.
    """
    pen = Pen(len(pictures), rng, size)
    out = cropped(pen, pictures.float() / 255)
    out = recoloured(pen, out)
    out = blurred(pen, out)
    out = mixed(pen, out)
    at = torch.randperm(pen.n, generator=rng, device=rng.device)[: pen.n // 7]
    grain = torch.randn((len(at), *out.shape[1:]), generator=rng, device=rng.device)
    out = out.index_add(0, at, grain * pen.uniform(0, 0.06)[at].unsqueeze(1)).clamp_(0, 1)
    plain = (torch.rand(pen.n, generator=rng, device=rng.device) < whole).nonzero()[:, 0]
    if len(plain) == 0:
        return out
    small = F.interpolate(
        pictures[plain].float() / 255, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return out.index_copy(0, plain, small)


def cropped(pen: Pen, pictures: Tensor) -> Tensor:
    """Return a part of 0.1 to 1.1 of each picture's area, turned by any angle or by quarters, mirrored."""
    angle = pen.uniform(0, 2 * math.pi, 1)[:, 0]
    quarters = (angle / (math.pi / 2)).round() * (math.pi / 2)
    angle = torch.where(pen.uniform(0, 1, 1)[:, 0] < 0.4, quarters, angle)
    side = pen.uniform(0.1, 1.1, 1)[:, 0].sqrt()
    long = pen.log_uniform(0.8, 1.25, 1)[:, 0]
    mirrored = torch.where(pen.uniform(0, 1, 1)[:, 0] < 0.5, -1.0, 1.0)
    move = pen.uniform(-1, 1, 2) * (1 - side).clamp_min(0).unsqueeze(1)
    cos, sin = angle.cos() * side, angle.sin() * side
    first = torch.stack([cos * long * mirrored, -sin / long, move[:, 0]], 1)
    second = torch.stack([sin * long * mirrored, cos / long, move[:, 1]], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), [pen.n, 3, pen.size, pen.size], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def recoloured(pen: Pen, pictures: Tensor) -> Tensor:
    """Return other brightness, contrast, saturation and hue; some pictures grey, some grey ones coloured."""
    small = F.avg_pool2d(pictures, 8)
    is_grey = (small - small.mean(1, keepdim=True)).abs().mean((1, 2, 3)) < 0.01
    tinted = pen.uniform(0, 1, 1)[:, 0] < torch.where(is_grey, 0.35, 0.04)
    pictures, small = _tinted(pen, pictures, tinted), small.mean((1, 2, 3)).reshape(-1, 1, 1)
    weight = torch.tensor(LIGHT, device=pen.device).expand(3, 3)
    saturation = torch.where(pen.coin(0.7) > 0, pen.uniform(0.4, 1.5), 1.0) * (1 - pen.coin(0.1))
    tone = weight + (torch.eye(3, device=pen.device) - weight) * saturation
    contrast = torch.where(pen.coin(0.7) > 0, pen.log_uniform(0.45, 1.6), 1.0)
    brightness = torch.where(pen.coin(0.7) > 0, pen.log_uniform(0.5, 1.5), 1.0)
    all_of = (_hue(pen) @ tone) * (contrast * brightness)
    shift = small * (1 - contrast) * brightness
    out = torch.baddbmm(shift.expand(-1, 3, 1), all_of, pictures.flatten(2))
    return out.clamp_(0, 1).reshape(pictures.shape)


def _tinted(pen: Pen, pictures: Tensor, which: Tensor) -> Tensor:
    """Return the pictures, those of `which` in colours looked up by their light."""
    at = which.nonzero()[:, 0]
    if len(at) == 0:
        return pictures
    weight = torch.tensor(LIGHT, device=pen.device).reshape(1, 3, 1, 1)
    grey = (pictures[at] * weight).sum(1, keepdim=True)
    toned = coloured(grey[:, 0], palette(pen.part(len(at)), 3))
    return pictures.index_copy(0, at, 0.5 * toned + 0.5 * grey)


def _hue(pen: Pen) -> Tensor:
    """Return matrices that turn the colours of 30 % of the pictures around the grey axis, (n, 3, 3)."""
    angle = pen.uniform(-math.pi, math.pi) * pen.coin(0.3) * pen.uniform()
    cos, sin = angle.cos(), angle.sin()
    one = torch.full((3, 3), 1 / 3, device=pen.device)
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=pen.device) / math.sqrt(3)
    return cos * torch.eye(3, device=pen.device) + (1 - cos) * one + sin * across


def blurred(pen: Pen, pictures: Tensor) -> Tensor:
    """Return a quarter of the pictures out of focus, by up to 3 px."""
    sigma = pen.log_uniform(0.5, 3, 1)
    at = torch.arange(-6, 7, device=pen.device).float()
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    kernel = torch.where(pen.coin(0.25)[:, 0] > 0, kernel, (at == 0).float())
    kernel = kernel.repeat_interleave(3, 0)
    flat = pictures.reshape(1, -1, *pictures.shape[2:])
    flat = F.conv2d(F.pad(flat, (6, 6, 0, 0), mode="replicate"), kernel[:, None, None], groups=len(kernel))
    flat = F.conv2d(F.pad(flat, (0, 0, 6, 6), mode="replicate"), kernel[:, None, :, None], groups=len(kernel))
    return flat.reshape(pictures.shape)


def mixed(pen: Pen, pictures: Tensor) -> Tensor:
    """Return a quarter of the pictures faded into another one, a sixth with a part of another one set in."""
    order = torch.randperm(pen.n, generator=pen.rng, device=pen.device)
    other = pictures[order]
    fade = pen.uniform() * pen.coin(0.25)
    width, height = pen.uniform(0.2, 1.2), pen.uniform(0.2, 1.2)
    box = ((pen.x - pen.uniform(-1, 1)).abs() < width) & ((pen.y - pen.uniform(-1, 1)).abs() < height)
    patch = torch.where(pen.coin(0.5) > 0, box.float(), (noise(pen, 1.6, 2.6) > pen.uniform(-1, 1)).float())
    share = torch.maximum(fade.expand_as(patch), patch * pen.coin(1 / 6))
    return torch.lerp(pictures, other, share.unsqueeze(1))
