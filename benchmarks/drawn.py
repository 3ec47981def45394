"""Pictures drawn by torch, many at a time, from nothing but random numbers: lessons for a network.

None shows anything; together they have what photographs have: relief, cells and fields, things that hide
other things, stripes, spots and grids, streets with houses, smooth and rough, at every size and colour.
Dead leaves and spectra like nature's teach well (Baradad et al. 2021, "Learning to see by looking at noise").
A picture is (3, size, size) in [0, 1]; a field is one number per pixel, (n, size, size).

`python -m benchmarks.drawn FILE` draws a sheet of them.
"""

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


class Pen:
    """Draws n pictures: the random numbers, their device, and the pixels' places in [-1, 1]."""

    def __init__(self, n: int, rng: torch.Generator, size: int) -> None:
        self.n, self.rng, self.size, self.device = n, rng, size, rng.device
        at = (torch.arange(size, device=self.device) + 0.5) * (2 / size) - 1
        self.y, self.x = torch.meshgrid(at, at, indexing="ij")

    def uniform(self, lo: float = 0.0, hi: float = 1.0, *more: int) -> Tensor:
        """Return evenly drawn numbers, (n, 1, 1), or (n, *more)."""
        shape = (self.n, *(more or (1, 1)))
        return torch.rand(shape, generator=self.rng, device=self.device) * (hi - lo) + lo

    def log_uniform(self, lo: float, hi: float, *more: int) -> Tensor:
        """Return numbers whose logarithm is evenly drawn."""
        return self.uniform(math.log(lo), math.log(hi), *more).exp()

    def coin(self, p: float) -> Tensor:
        """Return 1 with probability p, else 0, (n, 1, 1)."""
        return (self.uniform() < p).float()

    def part(self, n: int) -> "Pen":
        """Return a pen for n other pictures, with the same random numbers."""
        return Pen(n, self.rng, self.size)

    def turned(self, spread: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return x and y turned by any angle, moved, and bent by smooth noise of up to `spread`."""
        angle = self.uniform(0, 2 * math.pi)
        x, y = self.x + self.uniform(-1, 1), self.y + self.uniform(-1, 1)
        if spread:
            bend = self.uniform() ** 2 * spread
            x, y = x + bend * noise(self, 2.5, 3.5), y + bend * noise(self, 2.5, 3.5)
        return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


# fields ------------------------------------------------------------------------------------


def noise(pen: Pen, lo: float = 0.6, hi: float = 2.2) -> Tensor:
    """Return noise, mean 0 and deviation 1, whose amplitude falls with frequency f as f**-slope.

    lo, hi  the slope is drawn between them. Sometimes drawn out along one direction.
    Source: spectral synthesis, Saupe 1988.
    """
    size = pen.size
    fy = torch.fft.fftfreq(size, device=pen.device)[:, None]
    fx = torch.fft.rfftfreq(size, device=pen.device)[None, :]
    angle, stretch = pen.uniform(0, math.pi), 1 + 4 * pen.coin(0.25) * pen.uniform() ** 2
    along, across = fx * angle.cos() + fy * angle.sin(), fy * angle.cos() - fx * angle.sin()
    f = torch.hypot(along * stretch, across / stretch).clamp_min(1 / size)
    low = 1 - torch.exp(-((f * size / pen.log_uniform(0.5, 8)) ** 2))  # no wave much longer than this
    shape = (pen.n, size, size // 2 + 1)
    real, imaginary = (torch.randn(shape, generator=pen.rng, device=pen.device) for _ in range(2))
    fall = torch.pow(f, -pen.uniform(lo, hi))
    waves = torch.complex(real, imaginary) * (fall * low)
    out: Tensor = torch.fft.irfft2(waves, s=(size, size))
    out = out - out.mean((1, 2), keepdim=True)
    deviation: Tensor = out.std((1, 2), keepdim=True)
    return out / deviation.clamp_min(1e-6)


def ramp(field: Tensor, lo: Tensor | float, hi: Tensor | float) -> Tensor:
    """Return 0 below lo, 1 above hi, and a smooth step between."""
    t = ((field - lo) / (hi - lo)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def chance(*cells: Tensor, salt: Tensor | float = 0.0) -> Tensor:
    """Return a number in [0, 1) for each pixel that depends on nothing but the cell it lies in."""
    mixed = torch.as_tensor(salt, device=cells[0].device) * 37.719
    for cell, step in zip(cells, (12.9898, 78.233, 45.164), strict=False):
        mixed = mixed + cell * step
    return torch.frac(torch.sin(mixed) * 43758.5453).abs()


def slope_light(pen: Pen, height: Tensor) -> Tensor:
    """Return how brightly a relief is lit from one side, about 1."""
    angle, strength = pen.uniform(0, 2 * math.pi), pen.log_uniform(0.3, 6)
    dy = height - torch.roll(height, 1, 1)
    dx = height - torch.roll(height, 1, 2)
    return (1 + strength * (dx * angle.cos() + dy * angle.sin())).clamp(0.25, 1.8)


def cells(pen: Pen, most: int = 90) -> tuple[Tensor, Tensor]:
    """Return the number of the nearest of some random points, and how far its border is, both fields."""
    x, y = pen.turned(0.15)
    wide = pen.log_uniform(1, 3)
    n = int(pen.log_uniform(6, most).max())
    px, py = pen.uniform(-2.2, 2.2, n), pen.uniform(-2.2, 2.2, n)
    first = torch.full_like(x, 1e9)
    second, which = first.clone(), torch.zeros_like(x)
    for i in range(n):
        far = torch.hypot((x - px[:, i, None, None]) * wide, y - py[:, i, None, None])
        nearer = far < first
        second = torch.where(nearer, first, torch.minimum(second, far))
        which = torch.where(nearer, float(i), which)
        first = torch.minimum(first, far)
    return which, second - first


# colour ------------------------------------------------------------------------------------


def palette(pen: Pen, k: int = 5) -> Tensor:
    """Return k colours that go together for each picture, (n, k, 3): dark to light, or in any order."""
    hue = pen.uniform(0, 1, 1) + pen.uniform(-0.5, 0.5, k) * pen.uniform(0, 1, 1) ** 2
    natural = torch.tensor([0.08, 0.11, 0.25, 0.33, 0.58], device=pen.device)  # soil, sand, grass, wood, sea
    pick = torch.randint(len(natural), (pen.n, k), generator=pen.rng, device=pen.device)
    hue = torch.where(pen.coin(0.6)[:, 0] > 0, natural[pick] + pen.uniform(-0.05, 0.05, k), hue)
    vivid = (pen.uniform(0, 1, 1) ** 1.5 * pen.uniform(0.2, 1, k)) * (1 - pen.coin(0.2)[:, 0])
    light = pen.uniform(0.05, 1, k)
    light = torch.where(pen.coin(0.6)[:, 0] > 0, light.sort(1).values, light)
    angle = torch.stack([hue, hue - 1 / 3, hue - 2 / 3], 2) * (2 * math.pi)
    return (light.unsqueeze(2) * (1 + vivid.unsqueeze(2) * 0.9 * torch.cos(angle))).clamp(0, 1)


def coloured(field: Tensor, colours: Tensor) -> Tensor:
    """Return a picture: a field in [0, 1] looked up in a palette, between two colours their mix."""
    k = colours.shape[1]
    at = field.clamp(0, 1) * (k - 1)
    low = at.floor().clamp(max=k - 2)
    share = (at - low).unsqueeze(3)
    pos = low.long().flatten(1).unsqueeze(2).expand(-1, -1, 3)
    shape = (*field.shape, 3)
    first, second = (colours.gather(1, pos + i).reshape(shape) for i in (0, 1))
    return (first + (second - first) * share).permute(0, 3, 1, 2)


def flat(pen: Pen) -> Tensor:
    """Return one colour for each picture, (n, 3, 1, 1)."""
    return palette(pen, 2)[:, 0].reshape(pen.n, 3, 1, 1)


def mix(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Return picture a where the field `share` is 0, b where it is 1."""
    return a + (b - a) * share.unsqueeze(1)


# kinds of pictures -------------------------------------------------------------------------


def terrain(pen: Pen) -> Tensor:
    """Return hills, dunes, rock or soil under a low sun, some of it under water."""
    height = noise(pen, 1.1, 2.3)
    cover = ramp(height + pen.uniform(0, 1.5) * noise(pen, 0.8, 2.0), -2.2, 2.2)
    picture = coloured(cover, palette(pen)) * slope_light(pen, height).unsqueeze(1)
    level = pen.uniform(-2.5, 0.8) * pen.coin(0.4) - 9 * (1 - pen.coin(0.9))
    water = flat(pen) * (1 + 0.03 * noise(pen, 0.3, 1.5).unsqueeze(1))
    return mix(picture, water, ramp(-height, -level - 0.05, -level + 0.05) * pen.coin(0.5))


def ripples(pen: Pen) -> Tensor:
    """Return stripes, waves, spots or a weave: two gratings, bent, with round or hard edges."""
    x, y = pen.turned(0.3)
    per = pen.log_uniform(6, 110)
    first = torch.sin(per * x + pen.uniform(0, 3) * noise(pen, 1.8, 2.6))
    lean = pen.uniform(0.3, 1.57)
    second = torch.sin(per * pen.log_uniform(0.4, 2) * (x * lean.cos() + y * lean.sin()))
    both = torch.where(pen.coin(0.5) > 0, first * second, torch.maximum(first, second))
    field = torch.where(pen.coin(0.5) > 0, first, both)
    field = torch.tanh(field * pen.log_uniform(0.5, 12))
    shade = pen.uniform(0, 0.4) * noise(pen, 0.8, 2.2)
    return coloured(0.5 + 0.4 * field + 0.3 * shade, palette(pen, 3))


def fields(pen: Pen) -> Tensor:
    """Return cells with a colour and furrows of their own: farmland, tiles, cracked mud, giraffes."""
    which, border = cells(pen)
    salt = pen.uniform(0, 50)
    colour = coloured(chance(which, salt=salt), palette(pen))
    angle = chance(which, salt=salt + 1) * math.pi
    x, y = pen.x, pen.y
    across = (x * angle.cos() + y * angle.sin()) * (20 + 130 * chance(which, salt=salt + 2))
    furrows = torch.sin(across) * 0.18 * chance(which, salt=salt + 3) * pen.coin(0.6)
    rough = pen.uniform(0, 0.15) * noise(pen, 0.2, 1.6)
    picture = colour * (1 + furrows + rough).unsqueeze(1)
    width = pen.uniform(0.005, 0.06)
    return mix(picture, flat(pen).expand_as(picture), ramp(-border, -width, -width / 2) * pen.coin(0.6))


def leaves(pen: Pen, k: int = 70) -> Tensor:
    """Return shapes that hide each other, few large and many small: the dead leaves model.

    Source: Lee, Mumford & Huang 2001, doi:10.1023/A:1011109015675.
    """
    smallest = pen.log_uniform(0.03, 0.2, 1)
    radius = (smallest**-2 * (1 - pen.uniform(0, 1, k)) + 1.2**-2).rsqrt()  # how often: radius ** -3
    radius = radius.sort(1, descending=True).values
    px, py = pen.uniform(-1.1, 1.1, k), pen.uniform(-1.1, 1.1, k)
    angle, long = pen.uniform(0, math.pi, k), pen.log_uniform(1, 3.5, k)
    power = torch.where(pen.uniform(0, 1, k) < 0.5, 2.0, 8.0)  # round ones and boxes
    bend = pen.uniform(0, 0.12) * noise(pen, 2.0, 3.0)
    which, inside = torch.zeros_like(bend), torch.zeros_like(bend)
    for i in range(k):
        dx, dy = pen.x + bend - px[:, i, None, None], pen.y + bend - py[:, i, None, None]
        cos, sin = angle[:, i, None, None].cos(), angle[:, i, None, None].sin()
        along, across = (dx * cos + dy * sin).abs() / long[:, i, None, None], (dy * cos - dx * sin).abs()
        p, r = power[:, i, None, None], radius[:, i, None, None]
        far = ((along / r) ** p + (across / r) ** p).clamp_max(50)
        hit = far < 1
        which, inside = torch.where(hit, float(i + 1), which), torch.where(hit, 1 - far, inside)
    salt = pen.uniform(0, 50)
    colour = coloured(chance(which, salt=salt), palette(pen, 6))
    texture = noise(pen, 0.3, 2.0) * 0.25 * chance(which, salt=salt + 1)
    round_light = (inside - 0.5) * 0.5 * pen.coin(0.5) * pen.uniform()
    return colour * (1 + texture + round_light).clamp(0.2, 1.8).unsqueeze(1)


def town(pen: Pen) -> Tensor:
    """Return streets, houses with shadows, trees and open ground, seen from above."""
    x, y = pen.turned(0.08)
    scale = pen.log_uniform(2, 14)
    u, v = x * scale, y * scale * pen.uniform(0.5, 1.6)
    salt = pen.uniform(0, 50)
    ground = coloured(0.5 + 0.25 * noise(pen, 0.8, 2.0), palette(pen, 4))
    ground = ground * (1 + 0.08 * noise(pen, 0.0, 0.8)).unsqueeze(1)
    roof_colours = palette(pen, 6)
    every = pen.uniform(2, 6).round()  # a street after so many lots
    street = (
        torch.minimum((u / every - (u / every).round()).abs(), (v / every - (v / every).round()).abs())
        * every
    )
    picture = mix(ground, flat(pen).expand_as(ground), ramp(-street, -pen.uniform(0.1, 0.35), -0.08))
    i, j = u.floor(), v.floor()
    built = pen.uniform(0.2, 1.0)
    there = (chance(i, j, salt=salt) < built).float() * (street > 0.12).float()
    half_w, half_h = 0.18 + 0.3 * chance(i, j, salt=salt + 1), 0.18 + 0.3 * chance(i, j, salt=salt + 2)
    lean_x, lean_y = pen.uniform(-0.2, 0.2), pen.uniform(-0.2, 0.2)
    for k in (1, 0):  # the shadow, then the house
        a, b = u - i - 0.5 - lean_x * k, v - j - 0.5 - lean_y * k
        body = ramp(torch.minimum(half_w - a.abs(), half_h - b.abs()), -0.01, 0.03) * there
        roof = coloured(chance(i, j, salt=salt + 3), roof_colours)
        roof = roof * (1 + 0.25 * torch.sign(torch.where(half_w > half_h, b, a)) * pen.coin(0.6)).unsqueeze(1)
        picture = mix(picture, picture * 0.4 if k else roof, body)
    dots = pen.log_uniform(8, 60)
    a, b = x * dots + 0.3 * noise(pen, 1.0, 2.0), y * dots
    p, q = a.floor(), b.floor()
    near = torch.hypot(a - p - 0.5, b - q - 0.5)
    size = 0.1 + 0.38 * chance(p, q, salt=salt + 4)
    tree = ramp(size - near, 0, 0.08) * (chance(p, q, salt=salt + 5) < pen.uniform(0, 0.6)).float()
    return mix(picture, flat(pen) * (0.7 + (near / 0.5 * 0.6).unsqueeze(1)), tree * (street > 0.1).float())


def thing(pen: Pen) -> Tensor:
    """Return one thing on a plain or rough ground: a body, often symmetric, with parts and folds."""
    ground = flat(pen) * (1 + pen.uniform(0, 0.25) * noise(pen, 1.0, 2.6)).unsqueeze(1)
    x, y = pen.turned(0.05)
    x, y = x - x.mean((1, 2), keepdim=True), y - y.mean((1, 2), keepdim=True)
    x = torch.where(pen.coin(0.7) > 0, x.abs(), x)
    inside = torch.full_like(x, -9.0)
    for k in range(5):
        cx, cy = pen.uniform(-0.5, 0.5) * (k > 0), pen.uniform(-0.6, 0.6) * (k > 0)
        turn, p = pen.uniform(0, math.pi), pen.log_uniform(1.2, 9)
        dx, dy = x - cx, y - cy
        along, across = (dx * turn.cos() + dy * turn.sin()).abs(), (dy * turn.cos() - dx * turn.sin()).abs()
        w, h = pen.log_uniform(0.12, 0.65), pen.log_uniform(0.12, 0.65)
        far = ((along / w).clamp_max(6) ** p + (across / h).clamp_max(6) ** p + 1e-9) ** (1 / p)
        part = torch.where(pen.coin(0.75 if k else 1.0) > 0, 1 - far, -9.0)
        cut = (pen.coin(0.2) * (k > 1)) > 0
        inside = torch.where(cut, torch.minimum(inside, -part), torch.maximum(inside, part))
    inside = inside + pen.uniform(0, 0.08) * noise(pen, 1.4, 2.4)
    texture = ripples(pen) if torch.rand((), generator=pen.rng, device=pen.device) < 0.5 else terrain(pen)
    cloth = torch.where(pen.coin(0.5).unsqueeze(1) > 0, texture, flat(pen).expand_as(texture))
    cloth = cloth * slope_light(pen, noise(pen, 1.6, 2.4) * 0.25).unsqueeze(1)
    shift = int(torch.randint(1, 9, (), generator=pen.rng, device=pen.device))
    shadow = torch.roll(ramp(inside, -0.1, 0.05), (shift, shift), (1, 2)) * pen.uniform(0, 0.6)
    return mix(ground * (1 - shadow).unsqueeze(1), cloth, ramp(inside, -0.01, 0.02))


KINDS: tuple[Callable[[Pen], Tensor], ...] = (terrain, ripples, fields, leaves, town, thing, town, terrain)


def joined(pen: Pen, picture: Tensor) -> Tensor:
    """Return the pictures, some parted by a shore from another one, some under rivers, roads or clouds."""
    height = noise(pen, 1.4, 2.6)
    other = picture.roll(1, 0)
    shore = ramp(height, pen.uniform(-1, 1), pen.uniform(-1, 1) + 1.02)
    hard = ramp(height - pen.uniform(-1, 1), -0.02, 0.02)
    picture = mix(picture, other, torch.where(pen.coin(0.8) > 0, hard, shore) * pen.coin(0.35))
    x, _ = pen.turned(0.5)
    width = pen.log_uniform(0.01, 0.15)
    line = ramp(width - x.abs(), 0, 0.015) * pen.coin(0.25)
    picture = mix(picture, flat(pen) * (1 + 0.05 * noise(pen, 0.2, 1.5)).unsqueeze(1), line)
    cloud = ramp(noise(pen, 1.4, 2.0), pen.uniform(0.2, 1.5), 3.0) * pen.coin(0.1)
    return mix(picture, torch.ones_like(picture), cloud)


def draw(n: int, rng: torch.Generator, size: int = 192) -> Tensor:
    """Return n pictures of all kinds, (n, 3, size, size) bytes on the device of `rng`.

    n  the same count of each kind is drawn, in random order; joined ones are of two kinds.
    """
    each = -(-n // len(KINDS))
    pen = Pen(n, rng, size)
    picture = torch.cat([kind(pen.part(each)) for kind in KINDS])
    order = torch.randperm(len(picture), generator=rng, device=rng.device)[:n]
    picture = joined(pen, picture[order])
    grain = torch.randn(picture.shape, generator=rng, device=rng.device) * pen.uniform(0, 0.03).unsqueeze(1)
    soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = torch.lerp(picture, soft, pen.uniform().unsqueeze(1)) + grain * pen.coin(0.5).unsqueeze(1)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def main() -> None:
    """Draw a sheet of pictures to look at."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="a PNG to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pictures = draw(64, torch.Generator().manual_seed(args.seed), 160)
    rows = pictures.reshape(8, 8, 3, 160, 160).permute(0, 3, 1, 4, 2).reshape(1280, 1280, 3)
    Image.fromarray(rows.numpy()).save(args.file)


if __name__ == "__main__":
    main()
