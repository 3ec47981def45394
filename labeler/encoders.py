"""Which encoders there are, how quick each is here, and what each has seen of a workspace."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import numpy as np

from labeler import maps
from labeler.config import Config
from labeler.errors import BadInput, NotReady, writing
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.embedding import Encoder

State = Literal["in use", "coming", "kept", "not used"]
BUILTIN = "builtin"
IMAGES, IMAGE_PX, ROUNDS = 8, 256, 3  # what the speed is measured on; the best of so many rounds
LONG_S = 2.0  # one round is enough where it takes so long


@dataclass(frozen=True, slots=True)
class Found:
    """An encoder. None: not known, or not there.

    name      what to give to --encoder. None: vectors are there, but nobody said of which folder.
    key       what its vectors are filed under.
    views     turned views of each image, part of the key.
    weights_bytes  on disk. ms: an image, prepared and seen by one core of this machine.
    embedded  items that it has seen. disk_bytes: of their vectors.
    problem   why it can't be loaded.
    """

    name: str | None
    key: str | None = None
    views: int | None = None
    dim: int | None = None
    weights_bytes: int | None = None
    ms: float | None = None
    state: State = "not used"
    embedded: int = 0
    disk_bytes: int = 0
    problem: str | None = None


def stored(name: str | None) -> str | None:
    """Return an encoder as a workspace keeps it: "builtin", owner/name, or the absolute path of a folder.

    A network of the hub that is not on this machine is downloaded, with a bar on the terminal.
    Raises BadInput for what can't be one, with what to do.
    """
    from active.embedding import TRAINED, hub

    if name is None or name == BUILTIN:
        return name
    if hub.is_name(name):
        try:
            hub.fetch(name, lambda text: click.echo(text, err=True))
        except ValueError as e:
            raise BadInput(str(e)) from e
        return name
    folder = Path(os.path.abspath(name))
    if not any((folder / part).is_file() for part in ("config.json", TRAINED)):
        raise BadInput(
            f"{folder} holds no image model (no config.json).",
            "Give builtin, a folder saved by transformers, or a name on the hub (owner/name) to --encoder.",
        )
    return str(folder)


def why_no_words(name: str) -> str | None:
    """Return two sentences on why an encoder reads no text, None when it does; loads nothing."""
    from active.embedding import hub
    from active.embedding.text import pictures_only, why_not_by_settings

    folder = hub.cached(name) if hub.is_name(name) else Path(name)
    if name == BUILTIN or folder is None:
        return pictures_only(f"The encoder {name}")
    return why_not_by_settings(folder)


def load(name: str, config: Config) -> "Encoder":
    """Return an encoder, looking as a workspace is set to. Raises BadInput when it can't be loaded."""
    from active.embedding import load_encoder

    try:
        return load_encoder(name, config.views, config.device)
    except ValueError as e:
        raise BadInput(f"The encoder {name} can't be used: {e}", "Give another one.") from e


def listed(ws: Workspace | None, more: tuple[str, ...] = (), *, views: int | None = None) -> list[Found]:
    """Return the built-in encoder, that of the workspace, `more`, and all whose vectors are kept there.

    more   folders or names of pretrained encoders. views: of each image, None as the workspace has it.
    Each one that is there is loaded and measured: seconds for each.
    """
    looks = views or (ws.config.views if ws else 1)
    names = dict.fromkeys([BUILTIN, *([ws.config.encoder] if ws else []), *more])
    device = ws.config.device if ws else "auto"
    out = [_loaded(name, looks, device) for name in names]
    if ws is None:
        return out
    sets = {key: (dim, n) for key, dim, n in ws.registry.all()}
    out = [_with_vectors(ws, found, *sets.pop(found.key or "", (0, 0))) for found in out]
    return out + [_with_vectors(ws, Found(None, key), dim, n) for key, (dim, n) in sets.items() if n]


def _loaded(name: str, views: int, device: str) -> Found:
    from active.embedding import load_encoder

    try:
        encoder = load_encoder(name, views, device)
        ms = _ms(encoder)
    except ValueError as e:
        return Found(name, views=views, problem=str(e))
    return Found(name, encoder.key, views, encoder.dim, _weights_bytes(name), ms)


def _ms(encoder: "Encoder") -> float:
    """Return how long one image takes, in milliseconds of one core."""
    from PIL import Image

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (IMAGES, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]
    encoder.encode(images[:1])  # the first call also lays out the weights
    took = []
    for _ in range(ROUNDS):
        before = time.thread_time()
        encoder.encode(images)
        took.append(time.thread_time() - before)
        if took[-1] > LONG_S:
            break
    return min(took) / IMAGES * 1000


def parts(name: str) -> list[Path]:
    """Return the files that make an encoder, as `stored` names it: those that are there. Loads nothing."""
    import active.embedding
    from active.embedding import TRAINED, hub

    if name == BUILTIN:
        files = [Path(active.embedding.__file__).with_name(TRAINED)]
    else:
        folder = hub.cached(name) if hub.is_name(name) else Path(name)
        files = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
    return [file for file in files if file.is_file()]


def own(name: str) -> "tuple[str, list[Path]] | None":
    """Return what the folder of an encoder has to be called for its vectors to stay valid, and the files
    that it is loaded from; None for one that needs no folder of its own: the built-in one, one of the hub.
    """
    from active.embedding import hub
    from active.embedding.folder import SETTINGS, label

    if name == BUILTIN or hub.is_name(name):
        return None
    wanted = {*SETTINGS, *hub.TOKENIZER}
    kept = [f for f in parts(name) if f.name in wanted or f.name.endswith((".safetensors", hub.INDEX))]
    return label(Path(name).resolve()), kept


def _weights_bytes(name: str) -> int | None:
    sizes = [file.stat().st_size for file in parts(name) if file.suffix == ".safetensors"]
    return sum(sizes) if sizes else None


def _with_vectors(ws: Workspace, found: Found, dim: int, n: int) -> Found:
    """Return the encoder with what the workspace holds of it."""
    from dataclasses import replace

    if found.key is None:
        return found
    used, coming = ws.registry.in_use(), ws.registry.coming()
    state: State = "kept" if n else "not used"
    if used is not None and used[0] == found.key:
        state = "in use"
    if coming is not None and coming[0] == found.key:
        state = "coming"
    path = ws.vectors(found.key, dim).path
    size = path.stat().st_size if path.exists() else 0
    return replace(found, dim=found.dim or dim, state=state, embedded=n, disk_bytes=size)


def remove(ws: Workspace, key: str) -> int:
    """Delete the vectors of an encoder that is not in use, and what was made of them; return the bytes freed.

    Rounds that were learned with it stay on record, but their cards can't be drawn again from it.
    Raises BadInput for an unknown key, NotReady for the encoder in use or coming, Conflict while images are
    being taken in.
    """
    known = {k: dim for k, dim, _ in ws.registry.all()}
    if key not in known:
        raise BadInput(f"{key} is no encoder of this workspace.", "labeler encoders lists them.")
    with ws.lock("index"):
        try:
            ws.registry.drop(key)  # first: vectors that nothing mentions are only room that is lost
        except ValueError as e:
            raise NotReady(f"{key} is in use.", "Start with another --encoder first.") from e
        return sum(_unlink(path) for path in _files(ws, key, known[key]))


def _files(ws: Workspace, key: str, dim: int) -> list[Path]:
    kinds = ("pca", "turned", "sample", "index", "codes")
    made = [p for kind in kinds for p in ws.cache.glob(f"{kind}-{key}-[0-9]*")]
    return [ws.vectors(key, dim).path, ws.scatter_file(key), *made]


def _unlink(path: Path) -> int:
    maps.forget(path)
    try:
        size = path.stat().st_size
        with writing(path.name):
            path.unlink()
    except FileNotFoundError:
        return 0
    return size
