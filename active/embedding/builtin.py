"""The built-in encoder: a small trained network at 112 px, read from one safetensors file in the package.

docs/builtin.md says what it saw and how good it is. benchmarks/train_builtin.py makes the file.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from active.arrays import Rows, unit_rows
from active.embedding.encoder import Prepared
from active.embedding.network import DIM, SIDE_PX, fitting, network
from active.embedding.quick import Quick, quickest

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).with_name("builtin.safetensors")
BATCH = 8  # images per forward pass; more fit the processor's cache worse
_VERSION = 1  # raised when the preprocessing changes, so that old vectors are not mixed with new
_SAMPLE_SEED = 0


class Builtin:
    """What the network makes of an image squeezed to 112 × 112 px: the mean of its last map, as one unit row.

    Squeezed, so that every part of an image counts and every pixel carries something: bars beside a tall
    image would be seen as things, and a crop would lose its ends. It has learned from squeezed images.
    """

    dim, size_px = DIM, SIDE_PX

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """Raises ValueError with one sentence for a file that is missing, damaged, or another network's."""
        import torch

        torch.set_num_threads(1)
        self.key = key_of(weights)
        sample = _samples()
        self._quick = quickest(network(load_weights(weights)), lambda form: _rows(form, sample))

    def prepare(self, image: Image.Image) -> Prepared:
        """Return an upright image of any shape as (112, 112, 3) uint8, its proportions not kept."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return np.asarray(rgb.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=3.0))

    def forward(self, prepared: Sequence[Prepared]) -> Rows:
        """Return one unit row per prepared image. One core; call it from several threads."""
        import torch

        rows = []
        with torch.inference_mode():
            for at in range(0, len(prepared), BATCH):
                pixels = torch.from_numpy(np.stack(prepared[at : at + BATCH]))
                rows.append(_rows(self._quick, pixels.permute(0, 3, 1, 2).float().mul_(1 / 127.5).sub_(1)))
        return np.concatenate(rows) if rows else np.empty((0, DIM), np.float32)

    def encode(self, images: Sequence[Image.Image]) -> Rows:
        """Return one unit row per RGB image."""
        return self.forward([self.prepare(i) for i in images])


def key_of(weights: Path) -> str:
    """Return what names the weights and the preprocessing."""
    return f"builtin-{_VERSION}-{_fingerprint(weights)}"


def load_weights(path: Path) -> "dict[str, Tensor]":
    """Return the numbers in a file of weights, after checking that they are this network's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except FileNotFoundError as e:
        raise ValueError(f"There is no file {path}.") from e
    except (SafetensorError, OSError) as e:
        raise ValueError(f"The weights {path} are cut off or damaged.") from e
    if not fitting(weights):
        raise ValueError(f"The weights {path} are not those of the built-in network.")
    return weights


def _rows(form: Quick, pictures: "Tensor") -> Rows:
    """Return the unit rows of pictures, (n, 3, 112, 112) in [-1, 1]."""
    import torch

    with torch.inference_mode():
        maps: Tensor = form.model(pictures.to(form.dtype))
        return unit_rows(maps.mean((2, 3), dtype=torch.float32).numpy())


def _samples() -> "Tensor":
    """Return two pictures of noise as the network takes them in, to compare two forms of it."""
    import torch

    rng = torch.Generator().manual_seed(_SAMPLE_SEED)
    noise = torch.rand((2, 3, SIDE_PX, SIDE_PX), generator=rng) * 2 - 1
    return noise.contiguous(memory_format=torch.channels_last)


def _fingerprint(path: Path) -> str:
    """Return eight hex digits that name the weights."""
    try:
        return blake2b(path.read_bytes(), digest_size=4).hexdigest()
    except OSError as e:
        raise ValueError(f"There is no file {path}.") from e
