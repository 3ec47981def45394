"""Labels out of a workspace: one file per format family, an export is there whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from labeler.drives import is_inside
from labeler.errors import BadInput, Conflict, writing
from labeler.export.csv import write_csv
from labeler.export.folders import write_folders
from labeler.export.jsonl import write_jsonl
from labeler.export.records import (
    About,
    EventRow,
    ExportData,
    ExportReport,
    Format,
    How,
    LabelRow,
    iso,
    shown,
)

__all__ = [
    "About",
    "EventRow",
    "ExportData",
    "ExportReport",
    "Format",
    "How",
    "LabelRow",
    "check_out",
    "write",
]

ABOUT = "export.json"
ROOMY_BYTES = 200
LINKS_HAVE_TIMES = os.utime in os.supports_follow_symlinks


def write(format: Format, data: ExportData, out: Path, how: How = "copy") -> ExportReport:
    """Write an export to the folder `out` and return what it holds.

    how  only for folders: copy the images, link to them, or list them.
    Everything is written to a hidden folder beside `out` and renamed at the end, so a half
    export never looks whole. An earlier export of the same workspace, session and format is
    replaced if nothing in it was added or changed; any other folder that is not empty is refused.
    Raises BadInput or Conflict, and then leaves `out` as it was.
    """
    out = Path(os.path.abspath(out))
    part, old = (out.parent / f".{_short(out.name)}.labeler-{word}" for word in ("part", "old"))
    if old.exists() and not out.exists():  # killed while it was being replaced
        with writing(str(out)):
            os.rename(old, out)
    earlier = check_out(format, data, out)
    try:
        for left in (part, old):  # by an export that was killed
            if left.exists():
                shutil.rmtree(left)
        part.mkdir(parents=True)
        if format == "csv":
            report = write_csv(data, part)
        elif format == "jsonl":
            report = write_jsonl(data, part)
        else:
            report = write_folders(data, part, how)
        _write_about(part, format, data.about, report)
        _set_times(part)
        if earlier:
            os.rename(out, old)
        elif out.exists():
            out.rmdir()  # it is empty
        os.rename(part, out)
        if earlier:
            shutil.rmtree(old)
    except OSError as e:
        shutil.rmtree(part, ignore_errors=True)
        raise BadInput(
            f"{out} can't be written: {_why(e)}.", _what_to_do(how if format == "folders" else None)
        ) from e
    except Exception:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return replace(report, out=out)


def check_out(format: Format, data: ExportData, out: Path) -> bool:
    """Return whether `out` holds an earlier export that may be replaced; False: it is new or empty.

    Raises BadInput or Conflict for a place that an export must not go to.
    """
    if is_inside(out, data.images):
        raise BadInput(
            f"{out} lies inside the folder of images.", "Give an --out elsewhere; images are only read."
        )
    try:
        if not out.exists():
            return False
    except OSError as e:  # a name that is too long
        raise BadInput(f"{out} can't be used: {_why(e)}.", "Give another --out.") from e
    if not out.is_dir():
        raise BadInput(f"{out} is a file.", "Give a folder as --out.")
    there = _walk(out)
    if not there:
        return False
    about = _read_about(out)
    ours = set(about.get("files", ())) | {ABOUT}
    same = (about.get("workspace"), about.get("session"), about.get("format")) == (
        data.about.workspace,
        data.about.session,
        format,
    )
    if same:
        _check_untouched(out, there, ours)
        return True
    raise Conflict(f"{out} is not empty.", "Give a new folder as --out, or empty it first.")


def _short(name: str) -> str:
    """Return a name that leaves room for more behind it."""
    if len(os.fsencode(name)) <= ROOMY_BYTES:
        return name
    return blake2b(os.fsencode(name), digest_size=8).hexdigest()


def _check_untouched(out: Path, there: set[str], ours: set[str]) -> None:
    """Raise Conflict when a person added or changed something in an earlier export."""
    if there - ours:
        raise Conflict(f"{out} holds more than an earlier export: {min(there - ours)}.", "Give a new --out.")
    made = (out / ABOUT).stat().st_mtime_ns
    for path in sorted(_dated(out)):
        if path.lstat().st_mtime_ns != made:
            raise Conflict(f"{shown(str(path))} was changed since it was exported.", "Give a new --out.")


def _set_times(part: Path) -> None:
    """Give all files of an export one time: one with another is a person's, whatever the clock said."""
    made = (part / ABOUT).stat().st_mtime_ns
    for path in _dated(part):
        os.utime(path, ns=(made, made), follow_symlinks=not LINKS_HAVE_TIMES)


def _dated(folder: Path) -> Iterator[Path]:
    """Yield the files of an export whose times can be set; links too where they have some of their own."""
    for base, _, files in os.walk(folder):
        for path in (Path(base, f) for f in files):
            if LINKS_HAVE_TIMES or not path.is_symlink():
                yield path


def _walk(folder: Path) -> set[str]:
    """Return the files under a folder, as index.csv names them; stops at links to folders."""
    found: set[str] = set()
    for base, dirs, files in os.walk(folder):
        links = [d for d in dirs if os.path.islink(os.path.join(base, d))]
        found.update(
            os.path.relpath(os.path.join(base, f), folder).replace(os.sep, "/") for f in files + links
        )
    return {f.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for f in found}


def _read_about(out: Path) -> dict[str, Any]:  # Any: JSON
    try:
        about = json.loads((out / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _write_about(part: Path, format: Format, about: About, report: ExportReport) -> None:
    facts = {
        "made_at": iso(datetime.now(UTC)),
        "format": format,
        **{name: value for name, value in asdict(about).items() if name != "told"},
        **about.told,
        "person": report.person,
        "predicted": report.predicted,
        "events": report.events,
        "missing": report.missing,
        "files": report.files,
    }
    (part / ABOUT).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _why(e: OSError) -> str:
    return (e.strerror or str(e)) + (f" ({e.filename})" if e.filename else "")


def _what_to_do(how: How | None) -> str:
    if how == "link":
        return "Give --copy or --refs, or another --out."
    return "Check that the folder is writable and the disk has room, or give another --out."
