"""Names of files and folders that every file system takes and tells apart: Windows', a Mac's, a stick's."""

import os
import re
import unicodedata

MOST_BYTES = 255  # of one name, on nearly all of them
_NOWHERE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')  # some of it is bytes that are no text
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\..*)?")


def portable(name: str) -> str:
    """Return `name` with _ for what some file system refuses: one part of a path that leads nowhere else.

    Windows also keeps names such as CON for itself, whatever their ending, and drops dots and
    spaces at the end.
    """
    name = _NOWHERE.sub("_", name).rstrip(". ")
    if _RESERVED.fullmatch(name):
        stem, dot, ending = name.partition(".")
        name = stem.rstrip() + "_" + dot + ending
    return name or "_"


def is_portable(name: str) -> bool:
    """Return whether every file system takes this name."""
    return portable(name) == name


def twin_key(name: str) -> str:
    """Return what two names have in common that some file system takes for one.

    Capitals are one thing on Windows and most Macs, é and e with an accent on every Mac.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def numbered(name: str, n: int) -> str:
    """Return `name` with ~n before its ending, shortened where it would be too long."""
    stem, ending = os.path.splitext(name)
    while len(os.fsencode(f"{stem}~{n}{ending}")) > MOST_BYTES and stem:
        stem = stem[:-1]
    return f"{stem}~{n}{ending}"


def shortened(name: str, most_bytes: int) -> str:
    """Return the beginning of `name` that takes at most so many bytes, whole letters."""
    while len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name
