"""The folder of a pretrained network: checked, then read by transformers.

Nothing is fetched, no code from the folder is run, and only safetensors are read.
"""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SETTINGS = ("config.json", "preprocessor_config.json")
_VERSION = 1  # raised when our own preprocessing changes, so that old vectors are not mixed with new


def check_folder(path: Path) -> None:
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


def silence() -> None:
    """Keep transformers quiet, and torch to one core in each thread."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)  # several threads of ours with one core each waste less than one with all


def load_model(path: Path) -> "tuple[torch.nn.Module, list[str]]":
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


def load_processor(path: Path) -> Any:  # Any: transformers has no types
    """Return what makes pictures ready for the network. Raises ValueError with one sentence."""
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
        raise ValueError(f"transformers can't load {path} ({first_line(e)}).") from e
    except SafetensorError as e:
        raise ValueError(f"transformers can't load {path} ({first_line(e)}).") from e


def first_line(e: BaseException) -> str:
    """Return what an error says, shortened to go into a sentence of ours."""
    line = (str(e).strip().splitlines() or [""])[0].strip().rstrip(".")
    return (line if len(line) <= 160 else line[:157] + "…") or type(e).__name__


def fingerprint(path: Path) -> str:
    """Return eight hex digits that name the weights, the settings and our preprocessing."""
    digest = blake2b(str(_VERSION).encode(), digest_size=4)
    for file in sorted([*path.glob("*.safetensors"), *(path / name for name in SETTINGS)]):
        digest.update(file.name.encode())
        with open(file, "rb") as f:
            while part := f.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()
