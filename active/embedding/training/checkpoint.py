"""Files written whole or not at all, and the one file that holds all of a training."""

import errno
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FILE = "checkpoint.bin"  # in the format of safetensors; that suffix would make it a part of the encoder
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_error(e: Exception, path: Path) -> ValueError:
    """Return what to tell a person about a file that couldn't be written."""
    number = getattr(e, "errno", None)
    if number in _FULL or any(f"os error {n})" in str(e) for n in _FULL):  # safetensors only has words
        return ValueError(f"The disk is full: {path} could not be written. Free some space and start again.")
    return ValueError(f"{path} could not be written ({e}). Give another folder.")


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have a file written beside its place, then put it there; what was there stays until then.

    Raises ValueError with one sentence, nothing changed, where it can't be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with open(part, "rb") as f:
            os.fsync(f.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as e:
        part.unlink(missing_ok=True)
        raise write_error(e, path) from e


def write_json(path: Path, what: Any) -> None:  # Any: JSON
    """Write JSON, whole or not at all."""

    def write(part: Path) -> None:
        part.write_text(json.dumps(what), "utf-8")

    write_whole(path, write)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Any = None) -> None:  # Any: JSON
    """Write tensors with a bit of JSON in the file's header, whole or not at all."""
    whole = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    metadata = {"format": "pt", "about": json.dumps(about)}
    write_whole(path, lambda part: save_file(whole, part, metadata=metadata))


def kept_pictures(path: Path) -> str | None:
    """Return the key of the pictures that a checkpoint learned from, None where there is none that tells."""
    try:
        with safe_open(path, framework="pt") as f:
            return str(json.loads(f.metadata()["about"])["same"]["pictures"])
    except (SafetensorError, OSError, LookupError, TypeError, ValueError):
        return None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:  # Any: JSON
    """Return what `save_tensors` wrote. Raises ValueError with one sentence for a file that is not whole."""
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, json.loads(f.metadata()["about"])  # noqa: SIM118
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as e:
        raise ValueError(f"The checkpoint {path} is damaged. Delete it to start the training anew.") from e
