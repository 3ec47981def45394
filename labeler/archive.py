"""The file of a backup: a zip that lists what is in it, each part with its size and checksum.

    labeler-backup.txt   first, so that the first bytes tell what the file is
    labeler.toml, labeler.db, rounds/, examples/, encoders/, vectors/   as they lie in a workspace
    contents.json        last: what is said of the backup, and the name, bytes and SHA-256 of every part

Any program can open it. Nothing in it is ever run or unpickled.
"""

import hashlib
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

from labeler import names
from labeler.errors import BadInput

VERSION = 1  # of this format: a file of a later one is refused
MARK, CONTENTS = "labeler-backup.txt", "contents.json"
GIVE = "Give a file that labeler backup has written."
MARK_TEXT = b"A backup of labeler. To put it back: labeler restore FILE --workspace DIR\n"
BLOCK = 1 << 20
SETTLED_BYTES = 16 << 20
MOST_CONTENTS_BYTES = 256 << 20  # the list of a million parts
MOST_PART_BYTES = 1 << 60
NAME = r"(?!\.+(?:/|\Z))[A-Za-z0-9._-]{1,120}"
PART = re.compile(
    r"labeler\.(?:db|toml)"
    r"|rounds/[1-9]\d{0,17}/[1-9]\d{0,17}\.npz"
    r"|examples/[0-9a-f]{32}"
    rf"|vectors/{NAME}(?:/{NAME})?\.(?:f32|scatter\.npy)"
    rf"|encoders/{NAME}/{NAME}",
    re.ASCII,
)
"""All that a part may be called: no other name is ever written to a disk."""

Stage = Literal["copying", "checking"]
Count = Callable[[int], None]
"""Told of so many more bytes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file in a backup. name: its place in the workspace, / between parts; sha256: in hex."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself, and its parts in the order in which they lie there."""

    about: dict[str, Any]  # Any: JSON
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        """Return how many bytes the parts take unpacked."""
        return sum(p.bytes for p in self.parts)

    def bytes_of(self, start: str) -> int:
        """Return how many of them are in parts whose name begins so."""
        return sum(p.bytes for p in self.parts if p.name.startswith(start))


# writing -----------------------------------------------------------------------------------


class Packer:
    """Writes a backup to an open file, part after part; it is one only after `finish`."""

    def __init__(self, file: IO[bytes], count: Count) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._file, self._settled = file, 0
        self._count = count
        self._parts: list[Part] = []
        self._zip.writestr(_entry(MARK, squeeze=False), MARK_TEXT)

    def __enter__(self) -> "Packer":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what is not finished is thrown away, on a full disk too
            self._zip.close()

    def add(self, name: str, path: Path, size: int, *, squeeze: bool) -> None:
        """Add the first `size` bytes of a file. squeeze: pack them, where that pays.

        Raises EOFError when the file is shorter, ValueError for a name that no part may have.
        """
        if not _is_name(name):
            raise ValueError(name)
        digest, left = hashlib.sha256(), size
        with open(path, "rb") as source, self._zip.open(_entry(name, squeeze), "w", force_zip64=True) as out:
            while left:
                block = source.read(min(BLOCK, left))
                if not block:
                    raise EOFError(f"{path} has {size - left} bytes, not {size}.")
                digest.update(block)
                out.write(block)
                left -= len(block)
                self._count(len(block))
                self._settle()
        self._parts.append(Part(name, size, digest.hexdigest()))

    def _settle(self) -> None:
        """Bring what was written to disk now and then: all at the end would hold up who stores answers."""
        if self._file.tell() - self._settled >= SETTLED_BYTES:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._settled = self._file.tell()

    def finish(self, about: dict[str, Any]) -> Contents:  # Any: JSON
        """Write the list of all parts and the end of the file; `about` is what else it says."""
        said = {"format": VERSION, **about}
        text = json.dumps({**said, "parts": [asdict(p) for p in self._parts]}, ensure_ascii=False, indent=0)
        self._zip.writestr(_entry(CONTENTS, squeeze=True), text.encode())
        self._zip.close()  # before the end of the block, so that its errors are heard
        return Contents(said, tuple(self._parts))


def _entry(name: str, squeeze: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # of no time and no owner: those are nobody's business
    entry.compress_type = zipfile.ZIP_DEFLATED if squeeze else zipfile.ZIP_STORED
    entry._compresslevel = 1  # type: ignore[attr-defined]  # public only from Python 3.13 on
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry


def _is_name(name: str) -> bool:
    return PART.fullmatch(name) is not None and all(map(names.is_portable, name.split("/")))


# reading -----------------------------------------------------------------------------------


def is_backup(path: Path) -> bool:
    """Return whether a file begins as a backup does; it may be damaged further on."""
    try:
        with open(path, "rb") as f:
            head = f.read(30 + len(MARK))
    except OSError:
        return False
    return head.startswith(b"PK\x03\x04") and head.endswith(MARK.encode())


class Archive:
    """An open backup. Every fault in it is a BadInput that names the file."""

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        self.path = path
        self._zip = opened
        self.contents = self._read_contents()

    def check(self, count: Count) -> None:
        """Read all parts and compare them with their checksums; nothing is written."""
        for part in self.contents.parts:
            for block in self._blocks(part):
                count(len(block))

    def unpack(self, part: Part, to: Path, count: Count) -> None:
        """Write a part to a new file, whose folder is there; its checksum is compared once more."""
        with open(to, "xb") as out:
            for block in self._blocks(part):
                out.write(block)
                count(len(block))

    def _blocks(self, part: Part) -> Iterator[bytes]:
        digest, left = hashlib.sha256(), part.bytes
        with self._damage(part.name), self._zip.open(part.name) as source:
            while block := source.read(min(BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    break
                digest.update(block)
                yield block
        if left or digest.hexdigest() != part.sha256:
            raise self._damaged(f"{part.name} is not as it was written")

    def _read_contents(self) -> Contents:
        with self._damage(CONTENTS):
            entry = self._zip.getinfo(CONTENTS)
            if entry.file_size > MOST_CONTENTS_BYTES:
                raise self._damaged(f"{CONTENTS} is too large")
            said = json.loads(self._zip.read(entry))
            if not isinstance(said, dict) or type(said.get("format")) is not int:
                raise self._damaged(f"{CONTENTS} is not as it was written")
            if said["format"] > VERSION:
                raise BadInput(f"{self.path} was written by a later version of labeler.", "Update labeler.")
            parts = tuple(Part(**part) for part in said.pop("parts"))
        self._check_names(parts)
        return Contents(said, parts)

    def _check_names(self, parts: tuple[Part, ...]) -> None:
        """Raise BadInput unless the file holds just the parts that it lists, under their own names."""
        for part in parts:
            if not (isinstance(part.name, str) and _is_name(part.name)):
                raise BadInput(
                    f"{self.path} holds {part.name!r}, which no backup of labeler does.",
                    "Nothing was written; don't use this file.",
                )
            if type(part.bytes) is not int or not 0 <= part.bytes <= MOST_PART_BYTES:
                raise self._damaged(f"{part.name} has no size")
        listed = [MARK, *(p.name for p in parts), CONTENTS]
        entries = self._zip.infolist()
        if [e.filename for e in entries] != listed or len({names.twin_key(n) for n in listed}) < len(listed):
            raise self._damaged("it does not hold just what it lists")
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or entry.flag_bits & 1:
                raise BadInput(
                    f"{self.path} holds {entry.filename!r} as something else than a file.",
                    "Nothing was written; don't use this file.",
                )

    def _damaged(self, why: str) -> BadInput:
        return _damaged(self.path, why)

    @contextmanager
    def _damage(self, name: str) -> Iterator[None]:
        try:
            yield
        except FAULTS as e:
            raise self._damaged(f"{name} can't be read ({e or type(e).__name__})") from e


FAULTS = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, AttributeError, OverflowError,
    RuntimeError, NotImplementedError, struct.error, RecursionError,
)  # fmt: skip
"""What zipfile and json raise for bytes that nobody has written on purpose."""


def _damaged(path: Path, why: str) -> BadInput:
    return BadInput(f"{path} is damaged: {why}.", "Take another backup; nothing was written.")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a backup, its list read and checked. Raises BadInput for any other file, and for a damaged one."""
    try:
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not there"
            raise BadInput(f"{path} is {what}.", GIVE)
        with open(path, "rb") as f:
            if not is_backup(path):
                raise BadInput(f"{path} is no backup of labeler.", GIVE)
            try:
                archive = Archive(path, zipfile.ZipFile(f))
            except FAULTS as e:
                raise _damaged(path, f"its end is missing or broken ({e})") from e
            yield archive
    except OSError as e:
        raise BadInput(f"{path} can't be read: {e.strerror or e}.", "Check the disk it is on.") from e
