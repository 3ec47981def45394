"""Files, read with care and written whole: they come from anywhere, and others may use them meanwhile."""

import errno
import io
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_FILE_BYTES = 512 * 2**20

_OPEN_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))


class Unreadable(Exception):
    """A file that can't be used as an image; `reason` is one sentence for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_file(path: Path | str) -> bytes:
    """Return the bytes of a regular file. A pipe or device is never opened.

    Raises Unreadable for anything else, for no permission, and for a file that changes
    its size while it is read.
    """
    try:
        _check_regular(os.stat(path), path)
        fd = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
        with open(fd, "rb", buffering=0) as f:
            before = os.fstat(fd)
            _check_regular(before, path)  # it may have been exchanged since
            data = _read_exactly(f, before.st_size)
            if os.fstat(fd).st_size != before.st_size or len(data) != before.st_size:
                raise Unreadable("The file is still being written.")
            return data
    except OSError as e:
        raise Unreadable(_why_not_opened(e, path)) from e
    except ValueError as e:  # a name with a zero byte
        raise Unreadable("The name of the file can't be used.") from e


def _read_exactly(f: io.FileIO, size: int) -> bytes:
    """Return the next `size` bytes, fewer at the end: a file that grows must not be read for ever."""
    parts = []
    while size > 0 and (part := f.read(size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check_regular(found: os.stat_result, path: Path | str) -> None:
    if stat.S_ISDIR(found.st_mode):
        if not os.access(path, os.R_OK | os.X_OK):
            raise Unreadable("There is no permission to read this folder.")
        raise Unreadable("This is a folder, not a file.")
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable("This is a pipe or a device, not a file.")
    if found.st_size == 0:
        raise Unreadable("The file is empty.")
    if found.st_size > MAX_FILE_BYTES:
        mb, most = found.st_size >> 20, MAX_FILE_BYTES >> 20
        raise Unreadable(f"The file has {mb:,} MB; at most {most:,} MB are read.")


def _why_not_opened(e: OSError, path: Path | str) -> str:
    if e.errno in (errno.EACCES, errno.EPERM):
        return "There is no permission to read it."
    if e.errno == errno.ELOOP:
        return "This link leads round in a circle."
    if e.errno == errno.ENOENT:
        return "This link leads nowhere." if os.path.islink(path) else "The file is gone."
    return f"The disk did not give it: {e.strerror or type(e).__name__}."


def save_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or none: readers meet the old one or the new one, never a part."""
    with saving(path, data) as put:
        put()


@contextmanager
def saving(path: Path, data: bytes) -> Iterator[Callable[[], None]]:
    """Write a file beside its place; what is given to the block puts it there. Else nothing is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        half.write_bytes(data)
        yield lambda: _replace(half, path)
    finally:
        half.unlink(missing_ok=True)


def _replace(new: Path, path: Path) -> None:
    """Put a file in the place of another one; on Windows somebody may just be reading that."""
    for wait_s in (0.01, 0.05, 0.2):
        try:
            os.replace(new, path)
        except PermissionError:
            time.sleep(wait_s)
        else:
            return
    os.replace(new, path)
