"""Networks by their name on the hub, owner/name: found where they were downloaded to, or downloaded once.

Only settings, safetensors and tokenizers are fetched: nothing that could run.
"""

import errno
import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from active.embedding.folder import NO_TIMM, SETTINGS, has_timm

CONFIG = "config.json"
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    "spiece.model",
)  # fmt: skip
WEIGHTS = "model.safetensors"
INDEX = WEIGHTS + ".index.json"
_PART = r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?"
_NAME = re.compile(f"{_PART}/{_PART}")
_WAIT_S = 20

Say = Callable[[str], None]


def is_name(text: str) -> bool:
    """Return whether this is the shape of a name on the hub, owner/name, and no folder that exists."""
    named = _NAME.fullmatch(text) is not None and len(text) <= 96 and "--" not in text and ".." not in text
    return named and not Path(text).is_dir()


def cached(name: str) -> Path | None:
    """Return the folder that a network was downloaded to; None where it isn't, or not to the end.

    Asks nobody. The cache is the one that all programs of the hub share.
    """
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, CONFIG)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if _is_whole(folder) else None


def fetch(name: str, say: Say | None = None) -> Path:
    """Return the folder of the network called `name`, downloading it first where it isn't on this machine.

    name  owner/name, for which `is_name` is true.
    say   is told what is downloaded, how large, and where to; a bar then runs on the terminal.
    A network that is on this machine costs no request. Raises ValueError with one or two sentences:
    no network connection, no such name, not given out to everybody, no safetensors, a full disk.
    """
    folder = cached(name)
    if folder is not None:
        return folder
    with _said_plainly(name):
        return _download(name, say or (lambda text: None), shown=say is not None)


def absent(name: str, why: str) -> str:
    """Return two sentences: a network isn't on this machine, why it doesn't come, and what to copy where."""
    folder = name.partition("/")[2]
    return (
        f"{name} is neither a folder nor downloaded, and {why}. Copy its files config.json, "
        f"preprocessor_config.json and {WEIGHTS} (to search by words also {TOKENIZER[0]} and {TOKENIZER[1]}) "
        f"into a folder {folder}, and give the path of that folder instead."
    )


@contextmanager
def _said_plainly(name: str) -> Iterator[None]:
    """Turn what the hub's library raises into ValueError with one or two sentences."""
    from huggingface_hub import errors

    broken = (OSError, RuntimeError, errors.HTTPError, errors.XetDownloadError)  # type: ignore[attr-defined]  # httpx's
    try:
        yield
    except errors.GatedRepoError as e:
        raise ValueError(
            f"{name} is given out only to those who agreed to its terms. Agree on its page on the hub, "
            "run: hf auth login, and try again."
        ) from e
    except errors.RepositoryNotFoundError as e:
        raise ValueError(
            f"The hub has no network called {name}, or a private one. Check the name; for a private one, "
            "run: hf auth login."
        ) from e
    except errors.HfHubHTTPError as e:
        raise ValueError(
            f"The hub answers with the status {e.response.status_code} for {name}. Try again later."
        ) from e
    except errors.LocalEntryNotFoundError as e:
        raise ValueError(absent(name, "the hub can't be reached")) from e
    except broken as e:
        raise ValueError(_fault(name, e)) from e


def _listed(name: str) -> Any:  # Any: a record of the hub's library
    """Return what the hub knows of a network: its files and their sizes."""
    from huggingface_hub import HfApi, errors

    try:
        return HfApi().model_info(name, files_metadata=True, timeout=_WAIT_S)
    except errors.HfHubHTTPError:
        raise  # an answer, if not a good one
    except (ConnectionError, errors.HTTPError) as e:  # type: ignore[attr-defined]  # httpx's
        raise ValueError(absent(name, "the hub can't be reached")) from e
    except (ValueError, LookupError, TypeError) as e:  # a network that first wants one to log in answers so
        raise ValueError(absent(name, "what answers is not the hub")) from e


def _download(name: str, say: Say, *, shown: bool) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # what matters is said in our own words
    info = _listed(name)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    wanted = _wanted(name, set(sizes), timm=info.library_name == "timm")
    total = sum(sizes[file] for file in wanted)
    into = Path(constants.HF_HUB_CACHE)
    _check_room(name, into, total)
    say(f"Downloading {name} ({_size(total)}) into {into}.")
    for file in wanted:  # the weights come last: where they are, everything is
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of links that this disk can't make, and of what we say ourselves
            is_long = shown and file.endswith(".safetensors")
            hf_hub_download(name, file, tqdm_class=_bar(is_long), endpoint=constants.ENDPOINT)
    folder = cached(name)
    if folder is None:
        raise ValueError(f"The weights of {name} are not all there. Choose another network.")
    return folder


def _wanted(name: str, there: set[str], *, timm: bool) -> list[str]:
    """Return the files to fetch, weights last. Raises ValueError where they can't make a network."""
    if CONFIG not in there:
        raise ValueError(f"{name} is no network of transformers: it has no {CONFIG}. Choose another one.")
    if timm and not has_timm():
        raise ValueError(NO_TIMM.format(name))
    if not timm and not there.issuperset(SETTINGS):
        raise ValueError(f"{name} is no network for images: it has no {SETTINGS[1]}. Choose another one.")
    if WEIGHTS in there:
        weights = [WEIGHTS]
    else:
        parts = sorted(f for f in there if f.endswith(".safetensors") and "/" not in f)
        weights = [INDEX, *parts] if INDEX in there else []
    if weights in ([], [INDEX]):
        raise ValueError(
            f"{name} has no weights in the safetensors format; others may run code. Choose another network."
        )
    return [f for f in (*SETTINGS, *TOKENIZER) if f in there] + weights


def _is_whole(folder: Path) -> bool:
    """Return whether everything is there that the network needs to look at images."""
    if (folder / WEIGHTS).exists():
        return True  # they come last
    try:
        names = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()
        return all((folder / str(part)).exists() for part in names)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _check_room(name: str, into: Path, total: int) -> None:
    disk = next((p for p in (into, *into.parents) if p.exists()), None)
    if disk is not None and (free := shutil.disk_usage(disk).free) < total:
        raise ValueError(_no_room(name, f" ({_size(total)}; {_size(free)} are free)"))


def _no_room(name: str, sizes: str = "") -> str:
    from huggingface_hub import constants

    where = f"{constants.HF_HUB_CACHE}{sizes}"
    return f"There is no room for {name} in {where}. Free some, or set HF_HOME to a folder on another disk."


def _fault(name: str, e: Exception) -> str:
    """Return one or two sentences for a download that broke off on this machine."""
    if getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(e):
        return _no_room(name)
    if isinstance(e, PermissionError):
        from huggingface_hub import constants

        return (
            f"{e.filename or constants.HF_HUB_CACHE} can't be written to. Set HF_HOME to a folder that can."
        )
    line = (str(e).strip().splitlines() or [type(e).__name__])[0].rstrip(".")
    return f"The download of {name} broke off ({line}). Try again."


def _size(n: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{max(1, round(n / 1e6))} MB"


def _bar(shown: bool) -> Any:  # Any: tqdm has no types
    """Return the class of the bar that runs on a terminal, or of one that never shows."""
    from huggingface_hub.utils.tqdm import tqdm

    class Hidden(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: whatever tqdm takes
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]  # tqdm's

    return tqdm if shown else Hidden
