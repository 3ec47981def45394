"""The text's side of networks that learned pictures and words together (CLIP, SigLIP): words in, rows out."""

import inspect
import json
import threading
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from active.arrays import Rows, unit_rows
from active.embedding.folder import first_line, load_model, load_tokenizer

BATCH = 32  # texts per forward pass


def why_not(path: Path, model: Any) -> str | None:  # Any: transformers has no types
    """Return one or two sentences on why a network reads no text; None when it does."""
    if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
        return pictures_only(f"The network in {path}")
    return _no_tokenizer(path)


def why_not_by_settings(path: Path) -> str | None:
    """Return the same from the settings in a folder alone, quickly, before anything is loaded."""
    try:
        settings = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        settings = {}
    return _no_tokenizer(path) if "text_config" in settings else pictures_only(f"The network in {path}")


def pictures_only(what: str) -> str:
    """Return two sentences: an encoder reads no text, and which do."""
    return f"{what} knows pictures only. Choose one that reads text too, like CLIP or SigLIP."


def _no_tokenizer(path: Path) -> str | None:
    there = {f.name for f in path.iterdir()}
    if "tokenizer.json" in there or {"vocab.json", "merges.txt"} <= there:
        return None
    if "spiece.model" not in there:
        return (
            f"{path} holds no tokenizer. Copy tokenizer.json and tokenizer_config.json of the network there."
        )
    if find_spec("sentencepiece") is None:
        return f"The tokenizer in {path} needs sentencepiece. Install that, or copy a tokenizer.json there."
    return None


class TextSide:
    """The text's side of the network in a folder, on the CPU; in memory from the first text on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None  # Any: transformers has no types

    def rows(self, texts: Sequence[str]) -> Rows:
        """Return one unit row per text, at least one. Raises ValueError with one sentence when it can't."""
        import torch

        model, tokenizer = self._load()
        try:
            with torch.inference_mode():
                batches = (list(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH))
                return unit_rows(np.concatenate([_features(model, tokenizer, b) for b in batches]))
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as e:
            raise ValueError(
                f"The network in {self._path} makes no vectors of text ({first_line(e)})."
            ) from e

    def _load(self) -> tuple[Any, Any]:  # Any: transformers has no types
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # transformers warns of what it will drop one day
            if self._loaded is None:
                tokenizer = load_tokenizer(self._path)
                self._loaded = load_model(self._path, side="text")[0], tokenizer
        return self._loaded


def _features(model: Any, tokenizer: Any, texts: list[str]) -> Rows:  # Any: transformers has no types
    """Return the numbers of some texts, (n, dim), prepared as the network learned them."""
    most = min(model.config.get_text_config().max_position_embeddings, tokenizer.model_max_length)
    is_siglip = "siglip" in model.config.model_type  # taught lower case, all of one length, without a mask
    words = tokenizer(
        [t.lower() for t in texts] if is_siglip else texts,
        padding="max_length" if is_siglip else True,
        truncation=True,
        max_length=most,
        return_tensors="pt",
    )
    takes = {"input_ids"} if is_siglip else set(inspect.signature(model.get_text_features).parameters)
    out = model.get_text_features(**{k: v for k, v in words.items() if k in takes})
    features = getattr(out, "pooler_output", out)
    return np.asarray(features.float().numpy(), np.float32)
