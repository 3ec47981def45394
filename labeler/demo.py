"""The demonstration set: 600 drawn tiles of ocean, islands, cloud and coast, and which are islands.

Drawn, not photographed: everything comes from noise and one seed. A tile's kind is decided before
anything is drawn, so the truth can be had without the pictures, and it is nowhere on disk.
"""

import io
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from labeler.errors import BadInput
from labeler.files import save_atomic

TILES, SIDE_PX, SEED = 600, 256, 1
FIRST = 48  # tiles drawn before the first card is asked for; the rest follows while people label
QUESTION = "Is this an island?"

Kind = Literal["ocean", "island", "cloud", "coast"]
Field = NDArray[np.float32]

_SHARES: dict[Kind, float] = {"island": 0.11, "coast": 0.21, "cloud": 0.28, "ocean": 0.40}
_COVER: dict[Kind, tuple[float, float]] = {  # how much of it clouds may hide
    "island": (0.0, 0.3), "coast": (0.0, 0.35), "cloud": (0.3, 0.85), "ocean": (0.0, 0.22),
}  # fmt: skip
_NOISE_PX = 1024
_GRAIN, _ROUGH, _SMOOTH, _SOFT = 0.6, 1.55, 1.95, 2.5  # how fast noise fades towards fine detail


@dataclass(frozen=True, slots=True)
class _Plan:
    """A tile before it is drawn."""

    name: str
    kind: Kind
    seed: int


def demo_truth(seed: int = SEED, n: int = TILES) -> dict[str, bool]:
    """Return for each file name of the demonstration set whether it shows an island."""
    return {p.name: p.kind == "island" for p in _plans(seed, n)}


def is_ours(folder: Path, *, seed: int = SEED, n: int = TILES) -> bool:
    """Return whether a folder is not there, empty, or holds nothing but tiles of this set."""
    if not folder.is_dir():
        return not os.path.lexists(folder)
    names = demo_truth(seed, n).keys()
    return all(name in names or name.startswith(".") for name in os.listdir(folder))


def draw_demo(
    folder: Path,
    *,
    seed: int = SEED,
    n: int = TILES,
    most: int = TILES,
    is_over: Callable[[], bool] = lambda: False,
) -> int:
    """Draw tiles that are not in `folder` yet, and return how many. The same seed, the same tiles.

    n     how many the set has. most  how many of those to draw now: 600 take ten seconds on two cores.
    is_over  asked before each tile; True ends the drawing.
    Raises BadInput for a folder that holds anything else: nothing is drawn among a person's images.
    """
    if not is_ours(folder, seed=seed, n=n):
        raise BadInput(f"{folder} holds other things.", "Give them with --images, or another --workspace.")
    folder.mkdir(parents=True, exist_ok=True)
    plans = [p for p in _plans(seed, n) if not (folder / p.name).exists()][:most]

    def draw(plan: _Plan) -> bool:
        if is_over():
            return False
        save_atomic(folder / plan.name, _draw(plan))
        return True

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return sum(pool.map(draw, plans))


def _plans(seed: int, n: int) -> list[_Plan]:
    rng = np.random.default_rng([seed, n])
    kinds: list[Kind] = []
    for kind, share in _SHARES.items():
        kinds += [kind] * round(share * n)
    kinds = (kinds + ["ocean"] * n)[:n]
    names = rng.choice(16**6, size=n, replace=False)
    order = rng.permutation(n)
    return [_Plan(f"tile_{names[i]:06x}.jpg", kinds[order[i]], int(rng.integers(2**31))) for i in range(n)]


def _draw(plan: _Plan) -> bytes:
    rng = np.random.default_rng([plan.seed, 7])
    ground = _land(rng, plan.kind)
    picture = _surface(rng, ground)
    picture = _clouds(rng, picture, share=float(rng.uniform(*_COVER[plan.kind])))
    picture = picture + 0.006 * rng.standard_normal(picture.shape[1:], np.float32)
    pixels = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.1, 0.5))))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


# noise -------------------------------------------------------------------------------------


@cache
def _noise_map(slope: float) -> Field:
    """Return a large square of noise, mean 0 and deviation 1.

    Amplitude falls with frequency f as f**-slope (spectral synthesis, Saupe 1988).
    """
    rng = np.random.default_rng(int(slope * 1000))
    f = np.hypot(np.fft.fftfreq(_NOISE_PX)[:, None], np.fft.rfftfreq(_NOISE_PX)[None, :])
    f[0, 0] = 1
    low = 1 - np.exp(-((f * _NOISE_PX / 5) ** 2))  # no wave longer than a tile: each tile looks different
    waves = (rng.normal(size=f.shape) + 1j * rng.normal(size=f.shape)) * f**-slope * low
    x = np.fft.irfft2(waves, s=(_NOISE_PX, _NOISE_PX))
    return np.asarray((x - x.mean()) / x.std(), np.float32)


def _noise(rng: np.random.Generator, slope: float, step: float = 1.0) -> Field:
    """Return a tile of noise from a random place of the map, mirrored and turned by quarters at random.

    step  pixels of the map per pixel of the tile, from 1 to 4: more is finer.
    """
    field = _noise_map(slope)
    at = (np.arange(SIDE_PX) * step).astype(np.intp)
    y, x = rng.integers(0, _NOISE_PX - at[-1], 2)
    tile = field[(at + y)[:: rng.choice((1, -1)), None], (at + x)[:: rng.choice((1, -1))]]
    return np.asarray(tile.T if rng.random() < 0.5 else tile, np.float32)


def _streaks(rng: np.random.Generator, slope: float, step: float, stretch: float) -> Field:
    """Return noise drawn out along one direction: waves, cirrus. `stretch` times longer than wide."""
    angle, side = rng.uniform(0, 2 * np.pi), SIDE_PX / 2
    cos, sin = math.cos(angle) * step, math.sin(angle) * step
    a, b, d, e = cos / stretch, sin / stretch, -sin, cos
    margin = 1.5 * side * step
    at_x, at_y = (float(v) for v in rng.uniform(margin, _NOISE_PX - margin, 2))
    turned = Image.fromarray(_noise_map(slope)).transform(
        (SIDE_PX, SIDE_PX), Image.Transform.AFFINE,
        (a, b, at_x - (a + b) * side, d, e, at_y - (d + e) * side), Image.Resampling.BILINEAR,
    )  # fmt: skip
    return np.asarray(turned)


@cache
def _grid() -> tuple[Field, Field]:
    """Return the x and the y of each pixel."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)
    return x, y


def _ramp(x: NDArray[np.floating[Any]], lo: float, hi: float) -> Field:
    """Return 0 below lo, 1 above hi, and a smooth step between."""
    t = np.clip((x - lo) / (hi - lo), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


# the ground --------------------------------------------------------------------------------


def _land(rng: np.random.Generator, kind: Kind) -> Field:
    """Return heights: above 0 land, 0 the shore, down to -1 the deep sea."""
    if kind == "island":
        return _islands(rng)
    if kind == "coast" or (kind == "cloud" and rng.random() < 0.3):
        return _coast(rng)
    if rng.random() < 0.18:  # a shoal that nowhere reaches the surface
        depth = _blob(rng, float(rng.uniform(35, 90))) + 0.3 * _noise(rng, _SMOOTH)
        return np.minimum(0.5 * depth - 0.5, -0.12)
    return np.full((SIDE_PX, SIDE_PX), -1, np.float32) + 0.03 * _noise(rng, _SOFT)


def _blob(rng: np.random.Generator, radius: float, at: tuple[float, float] = (128, 128)) -> Field:
    """Return 1 in the middle of an ellipse with a wavy edge, 0 at its edge, below 0 outside."""
    x, y = _grid()
    angle, long = rng.uniform(0, np.pi), rng.uniform(1, 1.7)
    dx, dy = x - at[0] + 9 * _noise(rng, _SMOOTH), y - at[1] + 9 * _noise(rng, _SMOOTH)
    along = (math.cos(angle) * dx + math.sin(angle) * dy) / long**0.5
    across = (math.cos(angle) * dy - math.sin(angle) * dx) * long**0.5
    return np.asarray(1 - np.hypot(along, across) / radius, np.float32)


def _islands(rng: np.random.Generator) -> Field:
    """Return one island in the open sea, or a few: green and hilly, a low sandy cay, or a ring of reef."""
    style = rng.choice(["high", "cay", "ring"], p=[0.55, 0.25, 0.2])
    radius = float(rng.uniform(*{"high": (34, 78), "cay": (20, 40), "ring": (48, 80)}[style]))
    at = (float(rng.uniform(100, 156)), float(rng.uniform(100, 156)))
    body = _blob(rng, radius, at)
    if style == "ring":  # an atoll: the rim stands above the water here and there
        rim = 0.22 - np.abs(body - 0.18) * 2.2
        height = rim + 0.1 * _noise(rng, _ROUGH, 1.5)
        inside = _ramp(body, 0.18, 0.4)
        height = np.where(body > 0.18, np.maximum(height, -0.12 - 0.1 * inside), height)
    else:
        tall = 1.0 if style == "high" else 0.35
        height = tall * np.clip(body, -9, 0.8) + (0.24 if style == "high" else 0.1) * _noise(rng, _ROUGH)
        height = np.where(body > 0.12, np.maximum(height, 0.05), height)  # its heart is never drowned
        for _ in range(rng.integers(0, 3)):  # islets beside it
            turn, far = rng.uniform(0, 2 * np.pi), radius * rng.uniform(1.2, 1.7)
            side = (at[0] + far * math.cos(turn), at[1] + far * math.sin(turn))
            islet = 0.6 * _blob(rng, radius * float(rng.uniform(0.2, 0.4)), side) + 0.12 * _noise(rng, _ROUGH)
            height = np.maximum(height, islet)
    return np.asarray(np.maximum(height - _border(), -1), np.float32)


@cache
def _border() -> Field:
    """Return how much to lower the ground near the tile's border, so that no land reaches it."""
    x, y = _grid()
    edge = np.minimum(np.minimum(x, SIDE_PX - 1 - x), np.minimum(y, SIDE_PX - 1 - y))
    return 1.5 * (1 - _ramp(edge, 4, 40))


def _coast(rng: np.random.Generator) -> Field:
    """Return a mainland that fills one side of the tile, with bays and capes."""
    x, y = _grid()
    angle = rng.uniform(0, 2 * np.pi)
    inland = ((x - 128) * math.cos(angle) + (y - 128) * math.sin(angle)) / 110 + rng.uniform(-0.45, 0.55)
    bays = 0.3 * _noise(rng, _SMOOTH) + 0.1 * _noise(rng, _ROUGH)
    height = 0.55 * inland + 0.55 * bays * (1 - 0.6 * _ramp(np.abs(inland), 0.2, 0.9))
    far = _ramp(inland, -0.75, -0.3)  # out at sea nothing stands above the water
    height = np.where(inland < -0.3, np.minimum(height, far * 0.5 - 0.3), height)
    return np.asarray(np.maximum(height, -1), np.float32)


# colour ------------------------------------------------------------------------------------


def _colour(*rgb: int) -> Field:
    """Return a colour as (3, 1, 1) numbers from 0 to 1."""
    return (np.array(rgb) / 255).reshape(3, 1, 1).astype(np.float32)


def _mix(a: Field, b: Field, share: Field | float) -> Field:
    """Return a where share is 0, b where it is 1; pictures are (3, h, w)."""
    return np.asarray(a + (b - a) * share, np.float32)


def _surface(rng: np.random.Generator, height: Field) -> Field:
    """Return the picture (3, h, w) of a ground, in [0, 1]: sea by depth, surf, sand, green and rock."""
    sea = _sea(rng, height)
    if height.max() < -0.1:
        return sea
    land = _soil(rng, height)
    shore = _ramp(height, -0.004, 0.012)
    picture = _mix(sea, land, shore)
    line = np.exp(-(((height + 0.012) / 0.012) ** 2)) * _ramp(_noise(rng, _ROUGH, 2.0), -0.9, 0.9)
    return _mix(picture, _colour(240, 246, 246), 0.75 * line)


def _sea(rng: np.random.Generator, height: Field) -> Field:
    tint = rng.normal(0, 0.02, (3, 1, 1)).astype(np.float32)
    deep = _mix(_colour(6, 32, 66), _colour(14, 62, 98), rng.random()) + tint
    middle, shallow = _colour(18, 104, 138) + tint, _colour(104, 198, 190) + tint
    murk = rng.random() ** 2  # some waters are green and dull
    middle, shallow = (c * (1 - 0.5 * murk) + _colour(70, 96, 82) * 0.5 * murk for c in (middle, shallow))
    depth = -height + 0.05 * _noise(rng, _ROUGH)
    picture = _mix(deep, middle, _ramp(-depth, -0.75, -0.12))
    picture = _mix(picture, shallow, _ramp(-depth, -0.26, -0.01))
    waves = 0.010 * _streaks(rng, _GRAIN, step=1.0, stretch=3.0) + 0.020 * _noise(rng, _SOFT)
    glint = np.zeros_like(height)
    if rng.random() < 0.3:  # the sun's reflection on one side
        x, y = _grid()
        angle = rng.uniform(0, 2 * np.pi)
        across = (x / 128 - 1) * math.cos(angle) + (y / 128 - 1) * math.sin(angle)
        glint = 0.13 * _ramp(across, -0.6, 1.4)
        waves = waves * 1.6
    return np.asarray(picture + (waves + glint), np.float32)


def _soil(rng: np.random.Generator, height: Field) -> Field:
    palettes = (
        ((92, 122, 62), (36, 72, 38), (104, 96, 82)),  # humid
        ((150, 146, 92), (84, 98, 56), (128, 112, 94)),  # scrub
        ((196, 170, 122), (158, 124, 84), (122, 96, 78)),  # dry
    )
    grass, forest, rock = (_colour(*c) for c in palettes[rng.choice(3, p=[0.55, 0.3, 0.15])])
    rough = _noise(rng, _ROUGH, 2.0)
    picture = _mix(_colour(226, 210, 170), grass, _ramp(height + 0.02 * rough, 0.03, 0.08))
    woods = _ramp(_noise(rng, _SMOOTH, 2.0) + 1.2 * height, -0.3, 0.9) * _ramp(height, 0.05, 0.12)
    picture = _mix(picture, forest, woods)
    picture = _mix(picture, rock, 0.85 * _ramp(height + 0.06 * rough, 0.5, 0.75))
    relief = np.maximum(height, 0) * 60 + 1.6 * _ramp(height, 0.04, 0.3) * _noise(rng, _ROUGH, 1.3)
    slope_y, slope_x = np.gradient(relief)
    shade = np.clip(1 + 0.22 * (slope_x + slope_y), 0.55, 1.4)
    return np.asarray(picture * (shade + 0.02 * rough), np.float32)


def _clouds(rng: np.random.Generator, picture: Field, share: float) -> Field:
    """Return the picture under clouds that cover about `share` of it, with their shadows."""
    if share < 0.03:
        return picture
    style = rng.choice(["cumulus", "sheet", "streaks"], p=[0.55, 0.3, 0.15])
    if style == "cumulus":
        base = _noise(rng, _ROUGH, float(rng.uniform(1.0, 2.4))) + 0.12 * _noise(rng, _GRAIN)
        width = 1.2
    elif style == "sheet":
        base, width = _noise(rng, _SMOOTH) + 0.3 * _noise(rng, _ROUGH, 1.5), 1.6
    else:
        base, width = _streaks(rng, _ROUGH, step=2.0, stretch=6.0) + 0.4 * _noise(rng, _SMOOTH), 2.2
    edge = float(np.quantile(base, 1 - share))
    cover = _ramp(base, edge - 0.25 * width, edge + 0.75 * width)
    if style != "streaks":
        shift = int(rng.integers(4, 12))
        shadow = np.pad(cover, ((shift, 0), (shift, 0)), mode="edge")[:SIDE_PX, :SIDE_PX]
        picture = picture * (1 - 0.4 * shadow)
    lit = 0.9 + 0.05 * np.tanh(base - edge) + 0.03 * _noise(rng, _ROUGH, 2.0)
    white = lit * np.array([0.985, 1.0, 1.02], np.float32).reshape(3, 1, 1)
    return np.asarray(picture + (white - picture) * (0.97 * cover), np.float32)
