"""Networks that can be trained: the built-in one, unfolded, and any image network of transformers.

Both take (n, 3, side_px, side_px) in [0, 1], give (n, dim) pooled features, and are written as the encoder
that `Builtin` or `load_pretrained` reads.
"""

import copy
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn

from active.embedding import BUILTIN, TRAINED, builtin, hub
from active.embedding.network import DIM, SIDE_PX, Layer, layers
from active.embedding.training.checkpoint import save_tensors, write_error, write_json

ABOUT = "encoder.json"


class Backbone(nn.Module):
    """A network that can be trained.

    side_px, dim  what it takes and gives.
    kind, key     "builtin" or "transformers", and the name of the weights it started from.
    is_fresh      whether it starts from random numbers: there is nothing to keep.
    wants_calibration  whether it came without the statistics of its batch norms.
    """

    side_px: int
    dim: int
    kind: str
    key: str
    is_fresh = False
    wants_calibration = False

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, dim) of pictures (n, 3, side_px, side_px) in [0, 1]."""
        raise NotImplementedError

    def calibrate(self, x: Tensor) -> None:
        """Fit batch norms to pictures, where the network came without; its features stay the same."""

    @torch.no_grad()
    def between(self, start: "Backbone", share: float) -> "Backbone":
        """Return a network whose weights lie this share of the way from those of `start` to its own.

        Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903.
        """
        out, its = copy.deepcopy(self), start.state_dict()
        for name, mine in out.state_dict().items():
            if mine.is_floating_point():
                mine.copy_(torch.lerp(its[name].to(mine), mine, share))
        return out

    def save(self, folder: Path) -> None:
        """Write the network. Raises ValueError with one sentence for a full disk; the earlier one stays."""
        raise NotImplementedError


def load_backbone(name: str) -> Backbone:
    """Return the network called `name`: "builtin", a folder of an earlier training, or one of transformers.

    Raises ValueError as `load_encoder` does.
    """
    if name == BUILTIN:
        return Unfolded(builtin.WEIGHTS)
    path = Path(name)
    if path.suffix == ".safetensors":
        return Unfolded(path)
    if (path / TRAINED).exists():
        return Unfolded(path / TRAINED)
    return Transformers(path)


# the built-in network ----------------------------------------------------------------------


class _Step(nn.Module):
    """One layer: ReLU(norm(convolution(x))). From folded weights, the norm first only adds the bias."""

    def __init__(self, at: Layer) -> None:
        super().__init__()
        pad = at.kernel // 2
        self.conv = nn.Conv2d(
            at.wide_in, at.wide_out, at.kernel, at.stride, pad, groups=at.groups, bias=False
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(at.wide_out, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def take(self, weight: Tensor, bias: Tensor) -> None:
        """Compute what the folded convolution does: gamma = std, beta = mean + bias, whatever these are."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())
            norm.bias.copy_(norm.running_mean + bias)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the one convolution that does the same in evaluation."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        weight = self.conv.weight.detach() * scale.reshape(-1, 1, 1, 1)
        return weight, norm.bias.detach() - norm.running_mean * scale


class Unfolded(Backbone):
    """The built-in network with a batch norm after each convolution."""

    side_px, dim, kind = SIDE_PX, DIM, BUILTIN

    def __init__(self, weights: Path | None, *, seed: int = 0) -> None:
        """weights  a file that `Builtin` reads; None: random numbers from the seed."""
        super().__init__()
        self.is_fresh = weights is None
        self.wants_calibration = weights is not None
        self.key = "random" if weights is None else builtin.key_of(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.steps = nn.ModuleList(_Step(at) for at in layers())
        if weights is not None:
            self._take(builtin.load_weights(weights))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub leaves it out

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the last map."""
        x = x * 2 - 1
        for step in self.steps:
            x = step(x)
        return x.mean((2, 3))

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set each norm's statistics to those of its input, and its weight and bias to undo them."""
        if self.is_fresh:
            return
        weights = self.folded()
        x = x * 2 - 1
        for i, step in enumerate(self.steps):
            assert isinstance(step, _Step)
            weight, bias = weights[f"{i}.weight"], weights[f"{i}.bias"]
            step.take(weight, bias)
            out = step.conv(x)
            norm = step.norm
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(out.mean((0, 2, 3)))
            norm.running_var.copy_(out.var((0, 2, 3)))
            step.take(weight, bias)
            x = torch.relu(out + bias.reshape(1, -1, 1, 1))

    def folded(self) -> dict[str, Tensor]:
        """Return the weights by the names that active.embedding.network knows."""
        out = {}
        for i, step in enumerate(self.steps):
            assert isinstance(step, _Step)
            out[f"{i}.weight"], out[f"{i}.bias"] = step.folded()
        return out

    @torch.no_grad()
    def between(self, start: Backbone, share: float) -> Backbone:
        """As `Backbone.between`, of the folded weights: norms mean little without their convolutions."""
        assert isinstance(start, Unfolded)
        out, its = copy.deepcopy(self), start.folded()
        out._take({name: torch.lerp(its[name].to(mine), mine, share) for name, mine in self.folded().items()})
        return out

    def save(self, folder: Path) -> None:
        """Write builtin.safetensors, float16."""
        save_tensors(folder / TRAINED, {k: v.half() for k, v in self.folded().items()})

    def _take(self, weights: dict[str, Tensor]) -> None:
        for i, step in enumerate(self.steps):
            assert isinstance(step, _Step)
            step.take(weights[f"{i}.weight"].float(), weights[f"{i}.bias"].float())


# networks of transformers ------------------------------------------------------------------


class Transformers(Backbone):
    """An image network of transformers, pooled exactly as `Pretrained` pools it."""

    kind = "transformers"
    scale: Tensor
    shift: Tensor

    def __init__(self, path: Path) -> None:
        super().__init__()
        # What checks the folder, and pools, is the encoder that will use the result; its network stays out.
        from active.embedding import folder, pretrained

        encoder = pretrained.load_pretrained(str(path))
        self._path, self.key, self.dim = path, encoder.key, encoder.dim
        self._has_class_token, self._pooled = encoder._has_class_token, encoder._pooled
        square = encoder.prepare(Image.new("RGB", (512, 512)))
        crop = encoder._crop
        if crop is None or square.shape[0] != square.shape[1]:
            raise ValueError(f"The images that {path} takes are prepared in a way that can't be trained on.")
        self.side_px = square.shape[0]
        self.register_buffer("scale", (255 * crop.scale).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", crop.shift.reshape(1, 3, 1, 1), persistent=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transformers warns of what it will drop one day
            self.model, self._absent = folder.load_model(path)
        self.model.requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled features."""
        from active.embedding.pretrained import Pretrained

        features = getattr(self.model, "get_image_features", None)
        x = x * self.scale - self.shift
        out = self.model(pixel_values=x) if features is None else features(pixel_values=x)
        return Pretrained._pool(self, out)  # type: ignore[arg-type]  # it asks for nothing but how to pool

    def save(self, folder: Path) -> None:
        """Write what transformers writes, and the settings of the pictures' preparation."""
        part = folder / "network.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            self._write(part)
            for file in sorted(part.iterdir()):
                os.replace(file, folder / file.name)
        except (OSError, SafetensorError) as e:
            raise write_error(e, folder) from e
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _write(self, part: Path) -> None:
        """Write the folder's files, without weights that it never had: an untrained pooler would be used."""
        from active.embedding import folder

        model: Any = self.model  # Any: transformers has no types
        trained = self.model.state_dict()
        if getattr(model, "text_model", self) is None:  # it came with a side that reads text, and keeps it
            from transformers import AutoModel

            model = AutoModel.from_pretrained(
                self._path,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
            trained = model.state_dict() | trained
        kept = {k: v.detach().cpu().contiguous() for k, v in trained.items() if k not in self._absent}
        model.save_pretrained(part, state_dict=kept)
        for name in {*folder.SETTINGS, *hub.TOKENIZER, "processor_config.json"} - {"config.json"}:
            if (self._path / name).exists():
                shutil.copyfile(self._path / name, part / name)


def write_about(folder: Path, backbone: Backbone, *, method: str, images: int) -> None:
    """Write encoder.json: what the network in this folder is and what it learned from."""
    about = {"kind": backbone.kind, "trained_from": backbone.key, "method": method, "images": images}
    write_json(folder / ABOUT, about)
