"""What may be wrong with this machine or this installation, each finding in a line."""

import io
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from labeler import __version__, drives, places
from labeler.errors import BadInput

PACKAGES = (
    *("streamlit", "torch", "faiss-cpu", "scikit-learn", "modAL-python", "sqlite-utils", "pillow", "numpy"),
    *("transformers", "safetensors", "click", "fastapi", "uvicorn", "httptools", "python-multipart"),
)
# what a folder of images may hold: (name, Pillow's name, mode, how to save one)
FORMATS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (  # Any: Pillow's own options
    ("JPEG", "JPEG", "RGB", {}),
    ("JPEG, CMYK", "JPEG", "CMYK", {}),
    ("PNG", "PNG", "RGBA", {}),
    ("WebP", "WEBP", "RGB", {}),
    ("TIFF", "TIFF", "RGB", {}),
    ("TIFF, 16 bit", "TIFF", "I;16", {}),
    ("TIFF, LZW", "TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF, JPEG", "TIFF", "RGB", {"compression": "jpeg"}),
    ("BMP", "BMP", "RGB", {}),
    ("GIF", "GIF", "P", {}),
    ("AVIF", "AVIF", "RGB", {}),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. note: worth knowing. bad: labeler can't work like this."""

    what: str
    state: Literal["ok", "note", "bad"]
    text: str


def examine(workspace: Path | None, host: str, port: int) -> list[Finding]:
    """Return what was found. workspace None: the one started last, or the place where one would land."""
    found = [Finding("labeler", "ok", __version__), _python()]
    found += [_package(name) for name in PACKAGES]
    found.append(_modal())
    found += [_decoder(*entry) for entry in FORMATS]
    folder = workspace or next(iter(places.workspaces()), places.DATA)
    found += [_disk(folder), _drive(folder), _folder(folder), *_long_paths(), _port(host, port)]
    return found


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok" if sys.version_info >= (3, 11) else "bad", text)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "bad", "missing. Run: pip install -r requirements.txt")


def _modal() -> Finding:
    """Return whether the import name modAL belongs to the right library."""
    owners = metadata.packages_distributions()
    if any(name.lower() == "modal" for name in owners.get("modal", [])):
        return Finding(
            "modal", "note", "another product, also installed; labeler uses modAL-python, imported as modAL"
        )
    return Finding(
        "import modAL", "ok", "comes from " + ", ".join(sorted(set(owners.get("modAL", ["nowhere"]))))
    )


def _decoder(
    what: str, kind: str, mode: str, options: dict[str, Any]
) -> Finding:  # Any: Pillow's own options
    """Return whether a small picture of this format can be written and read back."""
    try:
        from PIL import Image, UnidentifiedImageError

        data = io.BytesIO()
        Image.new(mode, (16, 16)).save(data, kind, **options)
        with Image.open(io.BytesIO(data.getvalue())) as picture:
            picture.load()
    except (ImportError, OSError, KeyError, ValueError, UnidentifiedImageError) as e:
        return Finding(what, "note", f"can't be decoded here ({e})")
    return Finding(what, "ok", "can be decoded")


def _disk(folder: Path) -> Finding:
    free = places.free_bytes(folder)
    state: Literal["ok", "note"] = "ok" if free >= places.LOW_DISK_BYTES else "note"
    return Finding("disk", state, f"{free / 1e9:,.1f} GB free for {folder}")


def _drive(folder: Path) -> Finding:
    text = drives.warning(folder)
    return Finding("drive", "note" if text else "ok", text or f"{folder} is on a disk of this computer")


def _long_paths() -> list[Finding]:
    """Return whether Windows lets programs use long paths; nothing elsewhere."""
    if sys.platform != "win32":
        return []
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            allowed = bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
    except OSError:
        allowed = False
    if allowed:
        return [Finding("long paths", "ok", "allowed")]
    text = "paths of more than 260 letters are not found; an administrator can turn on LongPathsEnabled"
    return [Finding("long paths", "note", text)]


def _folder(folder: Path) -> Finding:
    if not places.is_workspace(folder):
        return Finding("workspace", "note", "none yet; labeler start makes one")
    return Finding("workspace", "ok", str(folder))


def _port(host: str, port: int) -> Finding:
    try:
        if places.is_free(host, port):
            return Finding("port", "ok", f"{port} on {host} is free")
        other = places.free_port(host, port)
    except BadInput as e:
        return Finding("port", "bad", str(e))
    return Finding("port", "note", f"{port} on {host} is taken; labeler start would use {other}")
