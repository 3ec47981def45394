"""A hidden folder beside a place that is to be filled: it counts for nothing until its content is renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labeler import names
from labeler.errors import Conflict, writing
from labeler.workspace import lock_file

ENDING = ".labeler-part"
LOCK = "lock"
ROOMY_BYTES = 200


@contextmanager
def workroom(place: Path) -> Iterator[Path]:
    """Make a folder beside `place` for this process alone, and remove it with the block.

    What a killed process left in it is removed first; its lock ended with it. Raises Conflict while another
    process works there, Blocked where nothing can be written.
    """
    room = place.with_name("." + names.shortened(place.name, ROOMY_BYTES) + ENDING)
    with writing(str(place)):
        room.mkdir(parents=True, exist_ok=True)
        fd = os.open(room / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    with open(fd, "r+b", buffering=0):
        try:
            lock_file(fd)
            is_ours = os.path.samestat(os.fstat(fd), os.stat(room / LOCK))
        except OSError:
            is_ours = False  # held, or removed by whoever held it until now
        if not is_ours:
            raise Conflict(f"Another labeler is writing {place}.", "Wait for it, then try again.")
        try:
            with writing(str(place)):
                _clear(room)
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)
    if os.name == "nt":
        shutil.rmtree(room, ignore_errors=True)  # not while the lock was open


def _clear(room: Path) -> None:
    for left in room.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()


def flush(path: Path) -> None:
    """Return once a file, or what a folder lists, is on the disk itself."""
    if os.name == "nt" and path.is_dir():
        return  # can't be opened there
    fd = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
