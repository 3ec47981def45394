"""What images really show, read from the folders they lie in, and a place where nothing tells it.

For a simulation every image gets a link in one flat folder, under a name that says nothing. The name is made
from where the image lies, so that images which come later change nobody else's, and their order is random.
"""

import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np

from active.arrays import Ids
from labeler.errors import BadInput, writing
from labeler.scan import walk
from labeler.workspace import Workspace

_OURS = re.compile(r"[0-9a-f]{16}(\.[a-z0-9]+)?(\.part)?")


@dataclass(frozen=True, slots=True)
class Truth:
    """What is in the pool, by class.

    items     {class: (n,) ids of its images, in an order that depends on nothing but the files}.
    names     {item: its name in the flat folder}, of all that may be asked.
    several   images whose byte-identical copies lie in folders of several classes: each counts as all of
              them. aside: {class: images that can't be read}.
    """

    items: dict[str, Ids]
    names: dict[int, str]
    several: int
    aside: dict[str, int]


def hide_names(source: Path, folder: Path) -> dict[str, str]:
    """Link all images below `source` into the flat `folder`; return {name there: class}.

    The class is the name of the folder an image lies in; "" for those that lie in `source` itself: they are
    in the pool and of no class. Links that are there already are kept, those that nothing needs go.
    Symbolic links, else hard links, else copies. Raises BadInput where there is no class, or where `folder`
    holds anything else.
    """
    wanted = {hidden_name(seen.path): seen.path for seen in walk(source, skip=[folder.parent])}
    classes = {name: PurePosixPath(path).parent.name for name, path in wanted.items()}
    if not any(classes.values()):
        raise BadInput(
            f"{source} holds no folder with images in it.",
            "Give a folder that holds a folder of images for each class.",
        )
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        there = set(os.listdir(folder))
        if strange := sorted(name for name in there if not _OURS.fullmatch(name)):
            raise BadInput(
                f"{folder} holds other things, such as {strange[0]}.",
                "Give a new folder, or one of an earlier simulation, to --workspace.",
            )
        for name in there - wanted.keys():
            (folder / name).unlink()
        for name, path in wanted.items():
            _link(Path(os.path.abspath(source), path), folder / name)
    return classes


def hidden_name(path: str) -> str:
    """Return a name for a file that tells nothing but its kind: a hash of where it lies."""
    mark = blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return mark + PurePosixPath(path).suffix.lower()


def _link(source: Path, link: Path) -> None:
    """Let `link` show `source`, by whatever the disk allows."""
    try:
        if link.is_symlink():
            if os.readlink(link) == str(source):
                return
        elif link.exists():
            new, old = source.stat(), link.stat()
            if (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns):
                return
        link.unlink(missing_ok=True)
    except FileNotFoundError:  # a link that leads nowhere, to something that leads nowhere: taken as it is
        link.unlink(missing_ok=True)
    for make in (os.symlink, os.link):
        try:
            make(source, link)
        except (OSError, NotImplementedError):
            continue
        return
    if not source.is_file():
        return
    half = link.with_name(f"{link.name}.part")
    shutil.copy2(source, half)
    os.replace(half, link)


def read_truth(ws: Workspace, classes: dict[str, str]) -> Truth:
    """Return what the items of a workspace show; classes: {name in its flat folder: class}."""
    absent = set(ws.catalog.absent())
    members: dict[str, list[tuple[str, int]]] = {}
    names: dict[int, str] = {}
    several = 0
    for item, paths in ws.catalog.paths().items():
        if item in absent or not (known := sorted(p for p in paths if p in classes)):
            continue
        names[item] = known[0]
        of = {classes[path]: path for path in reversed(known)}
        several += len(of) > 1
        for name, path in of.items():
            members.setdefault(name, []).append((path, item))
    items = {
        name: np.array([item for _, item in sorted(of)], np.int64)
        for name, of in sorted(members.items())
        if name
    }
    aside = Counter(classes[path] for path, _ in ws.catalog.set_aside() if path in classes)
    return Truth(items, names, several, dict(aside))
