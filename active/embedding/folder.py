"""The folder of a pretrained network: checked, then read by transformers.

Nothing is fetched, no code from the folder is run, and only safetensors are read.
"""

import json
import re
from collections.abc import Callable
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

SETTINGS = ("config.json", "preprocessor_config.json")
NO_TIMM = (
    "{} is a network of timm, which isn't installed here. Install timm and torchvision, "
    "or choose a network of transformers."
)
_VERSION = 1  # raised when our own preprocessing changes, so that old vectors are not mixed with new


def check_folder(path: Path) -> None:
    """Raise ValueError for a folder that can't be a network, in words a person understands."""
    if not path.is_dir():
        raise ValueError(f"There is no folder {path}.")
    config = _setting(path / SETTINGS[0])
    if _is_timm(config):
        if not has_timm():
            raise ValueError(NO_TIMM.format(path))
    else:
        _setting(path / SETTINGS[1])
        _check_known(path, config)
    _check_weights(path)


def has_timm() -> bool:
    """Return whether networks of timm can be used: with timm and torchvision installed."""
    return all(find_spec(name) is not None for name in ("timm", "torchvision"))


def _is_timm(config: dict[str, Any]) -> bool:  # Any: JSON
    kind = config.get("model_type")
    own = (
        kind is None and "architecture" in config and ("pretrained_cfg" in config or "num_classes" in config)
    )
    return own or kind in ("timm_wrapper", "timm_backbone")


def _setting(file: Path) -> dict[str, Any]:  # Any: JSON
    """Return what a file of settings says. Raises ValueError with one sentence."""
    try:
        said = json.loads(file.read_text("utf-8"))
        if isinstance(said, dict):
            return said
        raise ValueError
    except FileNotFoundError as e:
        raise ValueError(
            f"{file.parent} holds no {file.name}, so it is no image network of transformers."
        ) from e
    except (OSError, ValueError) as e:
        raise ValueError(f"{file} can't be read as JSON.") from e


def _check_known(path: Path, config: dict[str, Any]) -> None:  # Any: JSON
    """Raise ValueError for a network that only code from elsewhere can make."""
    if not config.get("auto_map"):
        return
    from transformers import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        raise ValueError(
            f"The network in {path} needs code of its own, which is never run here. "
            "Choose one that transformers knows."
        )


def _check_weights(path: Path) -> None:
    """Raise ValueError unless the weights are whole safetensors."""
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        others = sorted(f.name for kind in ("*.bin", "*.pt", "*.pth") for f in path.glob(kind))
        but = f", only {others[0]}, which may run code when it is read" if others else ""
        raise ValueError(f"{path} holds no weights in the safetensors format{but}.")
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


def load_model(path: Path, side: Literal["image", "text"] = "image") -> "tuple[torch.nn.Module, list[str]]":
    """Return the network in evaluation mode, and the names of weights that the folder lacks.

    side  of a network for images and text, the one that is kept in memory.
    """
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
    other = "text_model" if side == "image" else "vision_model"
    if hasattr(model, "get_image_features") and hasattr(model, other):
        setattr(model, other, None)
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


def load_tokenizer(path: Path) -> Any:  # Any: transformers has no types
    """Return what makes numbers of words for the network. Raises ValueError with one sentence."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kinds: list[Any] = [AutoTokenizer]  # Any: transformers has no types
    if (path / "tokenizer.json").exists():  # it says all; the network's own class may want a package more
        kinds.append(PreTrainedTokenizerFast)

    def load() -> Any:  # Any: transformers has no types
        for kind in kinds:
            try:
                tokenizer = kind.from_pretrained(path, local_files_only=True, trust_remote_code=False)
                break
            except (ImportError, OSError, ValueError, TypeError, AttributeError, RuntimeError):
                if kind is kinds[-1]:
                    raise
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        return tokenizer

    return _guarded(load, path)


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
    settings = [path / name for name in SETTINGS if (path / name).exists()]  # timm has one file
    for file in sorted([*path.glob("*.safetensors"), *settings]):
        digest.update(file.name.encode())
        with open(file, "rb") as f:
            while part := f.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()


def label(path: Path) -> str:
    """Return what a network is called in its key: its folder's name, or owner-name in the hub's cache."""
    cached = re.search(r"models--([^/\\]+)[/\\]snapshots[/\\][^/\\]+$", str(path))
    name = cached[1].replace("--", "-") if cached else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60]
