"""A pretrained network from a local folder, loaded by transformers: `Pretrained`."""

import copy
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
from active.embedding.encoder import Prepared
from active.embedding.folder import check_folder, fingerprint, first_line, load_model, load_processor, silence

if TYPE_CHECKING:
    import torch

BATCH = 8  # images per forward pass; more fit the processor's cache worse
_CLASS_TOKEN = re.compile(r"(cls_token|class_embedding)$")


def load_pretrained(folder: str) -> "Pretrained":
    """Return the encoder in a folder of weights. Raises ValueError with one sentence when there is none."""
    path = Path(folder)
    check_folder(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of what it will drop one day
        silence()
        model, absent = load_model(path)
        processor = load_processor(path)
        return Pretrained(path, model, processor, pooled=not any("pooler" in name for name in absent))


class Pretrained:
    """An image network of transformers as an Encoder.

    A row is the network's pooled output; of networks that pool nothing, or whose pooler has no
    trained weights, the class token or else the mean of the last layer. Of networks that read text
    too (CLIP, SigLIP), the image's side.
    """

    def __init__(self, path: Path, model: "torch.nn.Module", processor: Any, *, pooled: bool) -> None:
        # Any: transformers has no types
        self.key = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', path.resolve().name)[:60]}-{fingerprint(path)}"
        self._model = model
        self._pooled = pooled
        self._has_class_token = any(_CLASS_TOKEN.search(name) for name, _ in model.named_parameters())
        self._processor = processor
        self._crop = crop_plan(processor)
        self.size_px = self._crop.size_px if self._crop else 512
        try:
            sample = [self.prepare(image) for image in samples()[:2]]
            rows = self.forward(sample)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as e:
            raise ValueError(
                f"The network in {path} makes no vectors of RGB images ({first_line(e)})."
            ) from e
        self.dim = rows.shape[1]
        self._speed_up(sample, rows)

    def _speed_up(self, sample: Sequence[Prepared], rows: Rows) -> None:
        """Use the fused network if there is anything to fuse and the rows stay the same."""
        from active.embedding.fused import fuse

        plain = self._model
        self._model = copy.deepcopy(plain)
        try:
            if fuse(self._model) and np.allclose(self.forward(sample), rows, atol=1e-4):
                return
        except (RuntimeError, AttributeError, NotImplementedError):
            pass  # this build of torch or this processor can't; the plain network can
        self._model = plain

    def prepare(self, image: Image.Image) -> Prepared:
        """Return the image as the network wants it: (h, w, 3) uint8, or (3, h, w) float32 normalised."""
        if self._crop is not None:
            return self._crop(image)
        out = self._processor(image, return_tensors="np")["pixel_values"]
        return np.asarray(out[0], np.float32)

    def forward(self, prepared: Sequence[Prepared]) -> Rows:
        """Return one unit row per prepared image. One core; call it from several threads."""
        import torch

        rows = []
        with torch.inference_mode():
            for _, same in groupby(prepared, key=lambda p: (p.dtype, p.shape)):
                run = list(same)
                batches = (run[at : at + BATCH] for at in range(0, len(run), BATCH))
                rows += [self._pool(self._run(self._batch(b))).float().numpy() for b in batches]
        return unit_rows(np.concatenate(rows)) if rows else np.empty((0, self.dim), np.float32)

    def encode(self, images: Sequence[Image.Image]) -> Rows:
        """Return one unit row per RGB image."""
        return self.forward([self.prepare(i) for i in images])

    def _batch(self, run: Sequence[Prepared]) -> "torch.Tensor":
        import torch

        x = torch.from_numpy(np.stack(run))
        if x.dtype != torch.uint8:
            return x.contiguous(memory_format=torch.channels_last)
        assert self._crop is not None
        return x.permute(0, 3, 1, 2).float().mul_(self._crop.scale).sub_(self._crop.shift)

    def _run(self, x: "torch.Tensor") -> Any:  # Any: an output class of transformers, or a tensor
        features = getattr(self._model, "get_image_features", None)
        return self._model(pixel_values=x) if features is None else features(pixel_values=x)

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
