"""Two looks at the same picture: turned, cropped, recoloured and blurred at random, many at a time.

Of images that have no up any angle is as good as any other. Of those that have one, photographs, a network
that is to see past any turn loses much of what it saw. Whatever is not drawn here (what is in the
picture, its texture, roughly its scale) is what two views have in common, and so what is learned.
The hue is turned by a matrix: kornia's way over HSV takes 2.5 ms per image of 112 px on one core, this 0.07.
"""

import math

import torch
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import warp_affine
from torch import Tensor

AREA = (0.5, 1.0)  # part of the picture that a view shows
FACTOR = (0.4, 1.5)  # of brightness, contrast and saturation; hue turns by (factor - 1) half turns
RECOLOURED, BLURRED = 0.8, 0.5  # parts of the views
LIGHT = (0.299, 0.587, 0.114)
ANY_ANGLE, UPRIGHT = math.pi, math.radians(10)  # how far a view is turned at most, to either side
_DRAWS = 12  # random numbers per view


def views(pictures: Tensor, rng: torch.Generator, side_px: int, *, has_up: bool = False) -> Tensor:
    """Return one view of each picture, (n, c, side_px, side_px) in [0, 1], on the pictures' device.

    pictures  (n, c, h, w) bytes. Three channels are colours. Three equal ones are a grey picture, which stays
              grey exactly; of any other number of channels all are made brighter or darker alike.
    rng       on the CPU, so that a view is the same whatever the device.
    has_up    whether the pictures have an up, and are hardly turned. All may be mirrored, left for right.
    """
    n, c = pictures.shape[:2]
    u = torch.rand((n, _DRAWS), generator=rng).to(pictures.device)
    coloured = (pictures[:, 1:] != pictures[:, :1]).flatten(1).any(1) if c == 3 else u.new_zeros(n).bool()
    out = _warped(pictures.float().div_(255), u[:, :5], side_px, UPRIGHT if has_up else ANY_ANGLE)
    out = _recoloured(out, u[:, 5:10], coloured)
    out = _blurred(out, u[:, 10:12])
    if c == 3 and not coloured.all():
        out[~coloured] = out[~coloured, :1]
    return out


def _warped(x: Tensor, u: Tensor, side_px: int, turn: float) -> Tensor:
    """Return a square part of each picture, turned by up to `turn`, half of them mirrored: one resampling.

    u  (n, 5) uniform. Corners that a turn leaves empty are filled with the picture's reflection.
    """
    high, wide = x.shape[2:]
    angle = (2 * u[:, 0] - 1) * turn
    side = (AREA[0] + u[:, 1] * (AREA[1] - AREA[0])).sqrt()
    mirror = torch.where(u[:, 2] < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.stack([torch.stack([cos * mirror, -sin * mirror], 1), torch.stack([sin, cos], 1)], 1)
    per_px = x.new_tensor([(side_px - 1) / (wide - 1), (side_px - 1) / (high - 1)]) / side[:, None]
    linear = turned * per_px[:, None, :]
    middle = x.new_tensor([wide - 1, high - 1]) / 2
    at = middle * (1 + (2 * u[:, 3:5] - 1) * (1 - side[:, None]))
    shift = (side_px - 1) / 2 - (linear @ at[:, :, None])
    to_view = torch.cat([linear, shift], 2)
    return warp_affine(x, to_view, (side_px, side_px), padding_mode="reflection")


def _recoloured(x: Tensor, u: Tensor, coloured: Tensor) -> Tensor:
    """Return other brightness and contrast, and of coloured pictures other saturation and hue.

    u  (n, 5) uniform. One product of matrices: each is a line through the picture's own mean light.
    """
    n, c = x.shape[:2]
    factor = FACTOR[0] + u[:, :4] * (FACTOR[1] - FACTOR[0])
    factor = torch.where(u[:, 4:] < RECOLOURED, factor, 1.0)
    bright, contrast, saturation, hue = factor.T[:, :, None, None]
    tone = torch.eye(c, device=x.device).expand(n, c, c)
    mean = x.mean((2, 3))
    if c == 3:
        light = x.new_tensor(LIGHT)
        mean = mean @ light[:, None]
        grey = light.expand(3, 3)
        turned = _turn((hue - 1) * math.pi) @ (grey + saturation * (tone - grey))
        tone = torch.where(coloured[:, None, None], turned, tone)
    shift = (bright * (1 - contrast)) * mean[:, :, None]
    out = torch.baddbmm(shift.expand(n, c, 1), tone * (bright * contrast), x.flatten(2))
    return out.clamp_(0, 1).reshape(x.shape)


def _turn(angle: Tensor) -> Tensor:
    """Return the matrices that turn colours around the grey axis, (n, 3, 3), for angles (n, 1, 1)."""
    cos, sin = angle.cos(), angle.sin()
    across = angle.new_tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return cos * torch.eye(3, device=angle.device) + (1 - cos) / 3 + sin * across


def _blurred(x: Tensor, u: Tensor) -> Tensor:
    """Return half of the pictures out of focus, by up to 1.5 px in 112. u  (n, 2) uniform."""
    at = (u[:, 0] < BLURRED).nonzero()[:, 0]
    reach = round(x.shape[-1] / 28)
    if len(at) == 0 or reach == 0:
        return x
    sigma = 0.1 + u[at, 1:] * (x.shape[-1] / 75)
    x[at] = gaussian_blur2d(x[at], 2 * reach + 1, sigma.expand(-1, 2), border_type="reflect")
    return x
