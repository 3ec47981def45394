"""A pretrained network from a local folder, loaded by transformers: `Pretrained`.

Nothing is fetched, no code from the folder is run, and only safetensors are read.
"""

import copy
import json
import re
import warnings
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from active.arrays import Rows, unit_rows
from active.embedding.encoder import Prepared

if TYPE_CHECKING:
    import torch

SETTINGS = ("config.json", "preprocessor_config.json")
BATCH = 8  # images per forward pass; more fit the processor's cache worse
_CLASS_TOKEN = re.compile(r"(cls_token|class_embedding)$")
_VERSION = 1  # raised when our own preprocessing changes, so that old vectors are not mixed with new


def load_pretrained(folder: str) -> "Pretrained":
    """Return the encoder in a folder of weights. Raises ValueError with one sentence when there is none."""
    path = Path(folder)
    _check_folder(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of what it will drop one day
        _silence()
        model, absent = _load_model(path)
        processor = _load_processor(path)
        return Pretrained(path, model, processor, pooled=not any("pooler" in name for name in absent))


class Pretrained:
    """An image network of transformers as an Encoder.

    A row is the network's pooled output; of networks that pool nothing, or whose pooler has no
    trained weights, the class token or else the mean of the last layer. Of networks that read text
    too (CLIP, SigLIP), the image's side.
    """

    def __init__(self, path: Path, model: "torch.nn.Module", processor: Any, *, pooled: bool) -> None:
        # Any: transformers has no types
        self.key = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', path.resolve().name)[:60]}-{_fingerprint(path)}"
        self._model = model
        self._pooled = pooled
        self._has_class_token = any(_CLASS_TOKEN.search(name) for name, _ in model.named_parameters())
        self._processor = processor
        self._crop = _crop_plan(processor)
        self.size_px = self._crop.size_px if self._crop else 512
        try:
            sample = [self.prepare(image) for image in _samples()[:2]]
            rows = self.forward(sample)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as e:
            raise ValueError(
                f"The network in {path} makes no vectors of RGB images ({_first_line(e)})."
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


class _Crop:
    """Resize and crop in one step of PIL: the pixels that the processor of transformers would give.

    scale, shift  (3, 1, 1): pixel * scale - shift is the network's input.
    """

    def __init__(self, processor: Any) -> None:  # Any: transformers has no types
        import torch

        self.size, self.crop = processor.size, processor.crop_size if processor.do_center_crop else None
        self.resample = Image.Resampling(int(processor.resample))
        factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
        mean = torch.tensor(processor.image_mean if processor.do_normalize else [0.0]).reshape(-1, 1, 1)
        std = torch.tensor(processor.image_std if processor.do_normalize else [1.0]).reshape(-1, 1, 1)
        self.scale, self.shift = factor / std, mean / std
        self.size_px = int(self.size.shortest_edge or min(self.size.height, self.size.width))

    def __call__(self, image: Image.Image) -> Prepared:
        width, height = image.size
        if self.size.shortest_edge:
            w = self.size.shortest_edge if width <= height else int(self.size.shortest_edge * width / height)
            h = self.size.shortest_edge if height < width else int(self.size.shortest_edge * height / width)
        else:
            w, h = self.size.width, self.size.height
        to_w, to_h = (self.crop.width, self.crop.height) if self.crop else (w, h)
        left, top = (w - to_w) // 2, (h - to_h) // 2
        box = (left * width / w, top * height / h, (left + to_w) * width / w, (top + to_h) * height / h)
        return np.asarray(image.resize((to_w, to_h), self.resample, box=box))


def _crop_plan(processor: Any) -> _Crop | None:  # Any: transformers has no types
    """Return a _Crop that gives the processor's pixels, None when the processor does more than that."""
    try:
        plan = _Crop(processor)
        for image in _samples():
            given = np.asarray(processor(image, return_tensors="np")["pixel_values"][0])
            mine = plan(image).transpose(2, 0, 1) * plan.scale.numpy() - plan.shift.numpy()
            step = float(plan.scale.abs().max())  # of one grey level
            if mine.shape != given.shape or np.abs(mine - given).max() > 1.5 * step:
                return None
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None
    return plan


def _samples() -> list[Image.Image]:
    """Return noise in three shapes, to compare two ways of computing the same."""
    rng = np.random.default_rng(0)
    shapes = ((150, 150), (97, 131), (300, 211))
    return [Image.fromarray(rng.integers(0, 256, (*s, 3), np.uint8)) for s in shapes]


# reading the folder ------------------------------------------------------------------------


def _check_folder(path: Path) -> None:
    """Raise ValueError for a folder that can't be a network, in words a person understands."""
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}.")
    for name in SETTINGS:
        try:
            if not isinstance(json.loads((path / name).read_text("utf-8")), dict):
                raise ValueError
        except FileNotFoundError as e:
            raise ValueError(f"{path} holds no {name}, so it is no image network of transformers.") from e
        except (OSError, ValueError) as e:
            raise ValueError(f"{path / name} can't be read as JSON.") from e
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{path} holds no weights in the safetensors format.")
    for index in path.glob("*.safetensors.index.json"):
        _check_index(index)
    from safetensors import SafetensorError, safe_open

    for file in weights:
        try:
            with safe_open(file, framework="numpy"):
                pass
        except (SafetensorError, OSError) as e:
            raise ValueError(f"The weights {file} are cut off or damaged.") from e


def _check_index(index: Path) -> None:
    """Raise ValueError unless an index of weights names safetensors beside it: what it names is opened."""
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        plain = all(Path(name).name == name and name.endswith(".safetensors") for name in names)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise ValueError(f"{index} can't be read as an index of weights.") from e
    if not plain:
        raise ValueError(f"{index} names weights that are not in the safetensors format, in this folder.")


def _silence() -> None:
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # several threads of ours with one core each waste less than one with all


def _load_model(path: Path) -> "tuple[torch.nn.Module, list[str]]":
    """Return the network in evaluation mode, and the names of weights that the folder lacks."""
    import torch
    from transformers import AutoModel

    def load() -> Any:  # Any: transformers has no types
        return AutoModel.from_pretrained(
            path, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True,
        )  # fmt: skip

    model, info = _guarded(load, path)
    absent = sorted(info["missing_keys"])
    if not hasattr(model, "get_image_features") and getattr(model, "main_input_name", "") != "pixel_values":
        raise ValueError(f"The network in {path} takes no images.")
    broken = [n for n in absent if "pooler" not in n] + sorted(str(n) for n in info["mismatched_keys"])
    if broken:
        raise ValueError(f"The weights in {path} don't fit its config.json ({broken[0]} is missing).")
    if hasattr(model, "get_image_features") and hasattr(model, "text_model"):
        model.text_model = None  # never used here
    model.eval().requires_grad_(False)
    return model.to(memory_format=torch.channels_last), absent


def _load_processor(path: Path) -> Any:  # Any: transformers has no types
    from transformers import AutoImageProcessor

    return _guarded(
        lambda: AutoImageProcessor.from_pretrained(
            path, backend="pil", local_files_only=True, trust_remote_code=False
        ),
        path,
    )


def _guarded(load: Callable[[], Any], path: Path) -> Any:  # Any: transformers has no types
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError) as e:
        raise ValueError(f"transformers can't load {path} ({_first_line(e)}).") from e
    except SafetensorError as e:
        raise ValueError(f"transformers can't load {path} ({_first_line(e)}).") from e


def _first_line(e: BaseException) -> str:
    line = (str(e).strip().splitlines() or [""])[0].strip().rstrip(".")
    return (line if len(line) <= 160 else line[:157] + "…") or type(e).__name__


def _fingerprint(path: Path) -> str:
    """Return eight hex digits that name the weights, the settings and our preprocessing."""
    digest = blake2b(str(_VERSION).encode(), digest_size=4)
    for file in sorted([*path.glob("*.safetensors"), *(path / name for name in SETTINGS)]):
        digest.update(file.name.encode())
        with open(file, "rb") as f:
            while part := f.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()
