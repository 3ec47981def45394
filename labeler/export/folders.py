"""`OUT/<label>/<name>`: a folder per label, as image tools like to read it."""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from labeler import names
from labeler.errors import BadInput
from labeler.export.csv import write_table
from labeler.export.records import ExportData, ExportReport, How, LabelRow, Value, shown

INDEX_COLUMNS = ("file", "item", "path", "label", "source", "posterior")
MAX_NAME_BYTES = 200
SPARE_BYTES = 64 << 20  # left free on the disk that a copy goes to


def write_folders(data: ExportData, folder: Path, how: How) -> ExportReport:
    """Copy, link or list the images under a folder per label, and return what was written.

    A person's answers go to `<label>/`, predictions to `predicted/<label>/`; `index.csv` says
    which file came from where. refs: no image is written, only `<label>/refs.csv`.
    Files that are gone, or were changed since they were taken in, are left out and named in the
    report. Holds all rows in memory.
    """
    rows = sorted(data.labels, key=lambda r: (r.item, r.path))
    missing = [r for r in rows if not _is_as_labeled(data, r.path)]
    gone = {r.path for r in missing}
    rows = [r for r in rows if r.path not in gone]
    dirs = _folder_names(data.about.labels, rows)
    if how == "refs":
        files = list(_write_refs(data, folder, rows, dirs))
    else:
        if how == "copy":
            _check_space(data.images, rows, folder)
        files = _place(data.images, folder, rows, dirs, how=how)
    index = ((f, r.item, shown(r.path), *_rest(r)) for f, r in zip(files, rows, strict=True))
    write_table(folder / "index.csv", INDEX_COLUMNS, index)
    person = sum(r.source == "person" for r in rows)
    named = (*dict.fromkeys(files), "index.csv")
    return ExportReport(
        folder, person, len(rows) - person, files=named, missing=tuple(shown(r.path) for r in missing)
    )


def _is_as_labeled(data: ExportData, path: str) -> bool:
    """Return whether a file is there and still the one that was looked at."""
    try:
        found = os.stat(data.images / path)
    except OSError:
        return False
    known = data.stamps.get(path)
    return stat.S_ISREG(found.st_mode) and known in (None, (found.st_size, found.st_mtime_ns))


def _rest(row: LabelRow) -> tuple[Value, ...]:
    posterior = None if row.posterior is None else round(float(row.posterior), 6)
    return row.label, row.source, posterior


def safe_name(label: str) -> str:
    """Return a label as a name that any file system takes; it never leads out of its folder."""
    name = names.portable(label)
    if name.startswith("."):
        name = "_" + name
    if names.twin_key(name) in ("predicted", "index.csv", "export.json"):
        name += "_"
    return name


def _folder_names(labels: tuple[str, ...], rows: list[LabelRow]) -> dict[str, str]:
    """Return {label: its folder's name}; two labels never share one, on any file system."""
    dirs: dict[str, str] = {}
    taken: set[str] = set()
    for label in dict.fromkeys((*labels, *(r.label for r in rows))):
        dirs[label] = _untaken(safe_name(label), taken)
    return dirs


def _untaken(name: str, taken: set[str]) -> str:
    """Return `name`, with ~2, ~3 … before its ending where it is taken, or one that may be taken for it."""
    n, free = 1, name
    while names.twin_key(free) in taken:
        n += 1
        free = names.numbered(name, n)
    taken.add(names.twin_key(free))
    return free


def _under(row: LabelRow, dirs: dict[str, str]) -> str:
    return dirs[row.label] if row.source == "person" else f"predicted/{dirs[row.label]}"


def _file_names(rows: list[LabelRow], dirs: dict[str, str], folder: Path) -> Iterator[str]:
    """Yield where each row's image goes, relative to `folder`.

    A name that is alone in its folder is kept; one that several sub-folders hold carries the
    sub-folder in front (a/1.jpg and b/1.jpg become a__1.jpg and b__1.jpg). A name that the disk
    of `folder` refuses gets _ for what is wrong with it.
    """
    base = [os.path.basename(r.path) for r in rows]
    under = [_under(r, dirs) for r in rows]
    count = Counter((u, names.twin_key(b)) for u, b in zip(under, base, strict=True))
    taken: dict[str, set[str]] = {}
    for row, u, b in zip(rows, under, base, strict=True):
        name = b if count[u, names.twin_key(b)] == 1 else row.path.replace("/", "__")
        while len(os.fsencode(name)) > MAX_NAME_BYTES and len(name) > len(b):
            name = name[1:]
        if not names.is_portable(name) and not _takes(folder, name):
            name = names.portable(name)
        yield f"{u}/{_untaken(name, taken.setdefault(u, set()))}"


def _takes(folder: Path, name: str) -> bool:
    """Return whether a file of this name can be made in a folder."""
    if os.name == "nt":
        return False  # it makes others than it is asked for
    try:
        (folder / name).touch(exist_ok=False)
        (folder / name).unlink()
    except OSError:
        return False
    return True


def _place(images: Path, folder: Path, rows: list[LabelRow], dirs: dict[str, str], *, how: How) -> list[str]:
    files = []
    for row, name in zip(rows, _file_names(rows, dirs, folder), strict=True):
        source, target = images / row.path, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if how == "copy":
            shutil.copyfile(source, target)
        else:
            os.symlink(source.absolute(), target)
        files.append(shown(name))
    return files


def _write_refs(data: ExportData, folder: Path, rows: list[LabelRow], dirs: dict[str, str]) -> Iterator[str]:
    """Write `<label>/refs.csv` for each label and yield, row by row, the list that holds it."""
    lists: dict[str, list[tuple[Value, ...]]] = {}
    for row in rows:
        where = f"{_under(row, dirs)}/refs.csv"
        lists.setdefault(where, []).append((shown(str((data.images / row.path).absolute())), row.item))
    for where, refs in lists.items():
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        write_table(folder / where, ("path", "item"), refs)
    for row in rows:
        yield f"{_under(row, dirs)}/refs.csv"


def _check_space(images: Path, rows: list[LabelRow], folder: Path) -> None:
    """Raise BadInput when the copies would not fit on the disk."""
    need = sum((images / r.path).stat().st_size for r in rows)
    free = shutil.disk_usage(folder).free
    if need + SPARE_BYTES > free:
        raise BadInput(
            f"The copies need {need / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free.",
            "Give --link or --refs, or another --out.",
        )
