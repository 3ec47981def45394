"""A pretrained network from a local folder, loaded by transformers: `Pretrained`."""

import re
import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from active.arrays import Rows, unit_rows
from active.embedding.crop import crop_plan, samples
from active.embedding.device import Cpu, Gpu, ShortOfMemory, is_short_of_memory
from active.embedding.encoder import Prepared
from active.embedding.folder import (
    check_folder,
    fingerprint,
    first_line,
    label,
    load_model,
    load_processor,
    silence,
)
from active.embedding.quick import Quick, quickest
from active.embedding.text import TextSide, why_not

if TYPE_CHECKING:
    import torch

_CLASS_TOKEN = re.compile(r"(cls_token|class_embedding)$")


def load_pretrained(folder: str, on: Cpu | Gpu | None = None) -> "Pretrained":
    """Return the encoder in a folder of weights, computing on a device; None: the CPU.

    Raises ValueError with one or two sentences when there is none.
    """
    path = Path(folder)
    check_folder(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of what it will drop one day
        silence()
        model, absent = load_model(path)
        processor = load_processor(path)
        pooled = not any("pooler" in name for name in absent)
        return Pretrained(path, model, processor, pooled=pooled, on=on or Cpu())


class Pretrained:
    """An image network of transformers as an Encoder.

    A row is the network's pooled output; of networks that pool nothing, or whose pooler has no
    trained weights, the class token or else the mean of the last layer. Of networks that read text
    too (CLIP, SigLIP), the image's side. The device changes rows by no more than rounding, and
    the key not at all.
    """

    def __init__(
        self, path: Path, model: "torch.nn.Module", processor: Any, *, pooled: bool, on: Cpu | Gpu
    ) -> None:
        # Any: transformers has no types
        import torch

        self.key = f"{label(path.resolve())}-{fingerprint(path)}"
        self._on = on
        self.uses_cores = not isinstance(on, Gpu)
        self._deaf = why_not(path, model)
        self._text = TextSide(path)
        self._quick = Quick(_moved(model, on), torch.float32)
        self._pooled = pooled
        self._has_class_token = any(_CLASS_TOKEN.search(name) for name, _ in model.named_parameters())
        self._processor = processor
        self._crop = crop_plan(processor)
        self.size_px = self._crop.size_px if self._crop else 512
        if self._crop:
            self._scale, self._shift = self._crop.scale.to(on.device), self._crop.shift.to(on.device)
        try:
            sample = [self.prepare(image) for image in samples()[:2]]
            rows = self.forward(sample)
        except ShortOfMemory:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as e:
            raise ValueError(
                f"The network in {path} makes no vectors of RGB images ({first_line(e)})."
            ) from e
        self.dim = rows.shape[1]
        if isinstance(on, Gpu):
            on.use_half(lambda: self.forward(sample), rows)
        else:
            self._quick = quickest(model, lambda form: self._rows(form, sample))

    def _rows(self, form: Quick, sample: Sequence[Prepared]) -> Rows:
        self._quick = form
        return self.forward(sample)

    @property
    def reads_text(self) -> bool:
        """Whether the network has a side for text, and the folder a tokenizer."""
        return self._deaf is None

    def read(self, texts: Sequence[str]) -> Rows:
        """Return one unit row per text, comparable with rows of images.

        The text's side is loaded with the first text, onto the CPU. Raises ValueError with one or
        two sentences for a network that reads no text.
        """
        if self._deaf is not None:
            raise ValueError(self._deaf)
        if not texts:
            return np.empty((0, self.dim), np.float32)
        rows = self._text.rows(texts)
        if rows.shape[1] != self.dim:
            raise ValueError(
                f"The rows of text have {rows.shape[1]} numbers and those of images {self.dim}. "
                "Choose another network to search by words."
            )
        return rows

    def prepare(self, image: Image.Image) -> Prepared:
        """Return an upright image of any mode as the network wants it.

        (h, w, 3) uint8; (3, h, w) float32 where the network's own processor does more than crop.
        """
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        if self._crop is not None:
            return self._crop(rgb)
        out = self._processor(rgb, return_tensors="pt")["pixel_values"]  # all that timm's gives
        return np.asarray(out[0], np.float32)

    def forward(self, prepared: Sequence[Prepared]) -> Rows:
        """Return one unit row per prepared image.

        On a CPU one core; call it from several threads. On a GPU they wait for each other.
        """
        runs = (list(same) for _, same in groupby(prepared, key=lambda p: (p.dtype, p.shape)))
        rows = [self._on.rows(self._see, run) for run in runs]
        return unit_rows(np.concatenate(rows)) if rows else np.empty((0, self.dim), np.float32)

    def encode(self, images: Sequence[Image.Image]) -> Rows:
        """Return one unit row per RGB image."""
        return self.forward([self.prepare(i) for i in images])

    def _see(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return numbers (n, dim) of prepared images, (n, …) on the device."""
        import torch

        if x.dtype == torch.uint8:
            x = x.permute(0, 3, 1, 2).float().mul_(self._scale).sub_(self._shift)
        x = x.to(self._quick.dtype)
        return self._pool(self._run(x.contiguous(memory_format=torch.channels_last)))

    def _run(self, x: "torch.Tensor") -> Any:  # Any: an output class of transformers, or a tensor
        model = self._quick.model
        features = getattr(model, "get_image_features", None)
        return model(pixel_values=x) if features is None else features(pixel_values=x)

    def _pool(self, out: Any) -> "torch.Tensor":
        if not hasattr(out, "last_hidden_state"):
            return out if hasattr(out, "flatten") else out[0].flatten(1)  # type: ignore[no-any-return]
        pooled = getattr(out, "pooler_output", None)
        if pooled is not None and self._pooled:
            return pooled.flatten(1)  # type: ignore[no-any-return]
        last = out.last_hidden_state
        if last.ndim == 4:
            return last.mean((2, 3))  # type: ignore[no-any-return]
        return last[:, 0] if self._has_class_token else last.mean(1)  # type: ignore[no-any-return]


def _moved(model: "torch.nn.Module", on: Cpu | Gpu) -> "torch.nn.Module":
    """Return the network on its device. Raises ShortOfMemory where there is no room."""
    try:
        return model.to(on.device)
    except RuntimeError as e:
        if is_short_of_memory(e):
            raise ShortOfMemory(on.device) from e
        raise
