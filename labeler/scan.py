"""Walking a folder of images: what is there, without holding a listing of it."""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from labeler.catalog import SeenFile
from labeler.errors import NotReady
from labeler.images import SUFFIXES

_NOT_OURS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})


def is_image_name(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def walk(
    root: Path, *, skip: Sequence[Path] = (), is_over: Callable[[], bool] = lambda: False
) -> Iterator[SeenFile]:
    """Yield every file under `root` that has an image's name, links followed, each folder once.

    Hidden files and folders, and the folders in `skip`, are left out. Also yielded, so that
    reading them gives a reason: pipes, links that lead nowhere, and folders that may not be read.
    is_over  asked at each folder; True ends the walk early.
    Raises NotReady when `root` itself can't be read.
    """
    visited = {at for folder in skip if (at := _place(folder)) is not None}
    waiting = deque([""])  # linked folders come last: what is inside anyway is met under its own name
    while waiting and not is_over():
        inside = waiting.pop()
        try:
            place = _place(Path(root, inside))
            if place in visited:
                continue
            if place is not None:
                visited.add(place)
            entries = os.scandir(os.path.join(root, inside))
        except OSError as e:
            if not inside:
                why = f"The folder {root} can't be read: {e.strerror}."
                raise NotReady(why, "Is its disk connected?") from e
            yield SeenFile(inside, 0, 0)
            continue
        with entries:
            for entry in _each(entries):
                if entry is None:
                    yield SeenFile(inside, 0, 0)
                    continue
                if entry.name.startswith(".") or entry.name in _NOT_OURS:
                    continue
                path = f"{inside}/{entry.name}" if inside else entry.name
                if _is_folder(entry) and _place(entry.path) not in visited:
                    (waiting.appendleft if entry.is_symlink() else waiting.append)(path)
                elif is_image_name(entry.name):
                    yield _seen(path, entry)


def _each(entries: "Iterator[os.DirEntry[str]]") -> "Iterator[os.DirEntry[str] | None]":
    """Yield the entries of a folder; None, and no more, where its disk stops giving them."""
    while True:
        try:
            yield next(entries)
        except StopIteration:
            return
        except OSError:
            yield None
            return


def _place(folder: Path | str) -> tuple[int, int | str] | None:
    """Return what identifies a folder however it was reached, None when it is not there."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino or os.path.realpath(folder)  # some network drives number nothing


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def _seen(path: str, entry: "os.DirEntry[str]") -> SeenFile:
    try:
        found = entry.stat()
    except OSError:
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            return SeenFile(path, 0, 0)
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    return SeenFile(path, size, found.st_mtime_ns)
