"""A backup back into a workspace: all of it is checked first, and it is there whole or not at all."""

import errno
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from labeler import archive, places
from labeler.backup import MB, Report
from labeler.config import Config, dump_config, load_config
from labeler.database import empty_log
from labeler.domain import Progress
from labeler.drives import is_inside
from labeler.errors import BadInput, Blocked, Conflict, NotReady
from labeler.schema import version
from labeler.steps import STEPS
from labeler.workroom import flush, workroom
from labeler.workspace import DATABASE, SETTINGS, Workspace, held_by

LOOKED_FOR = 20  # files of images, to tell whether they are where the settings say


@dataclass(frozen=True, slots=True)
class Restored:
    """A workspace that was put back.

    events  answers and undos in it. items: distinct images.
    images_found  of the first files that it knows, the share that is in `images`; None: it knows none.
    """

    workspace: Path
    contents: archive.Contents
    events: int
    items: int
    images: str | None
    images_found: float | None


def restore(file: Path, folder: Path, images: Path | None, report: Report) -> Restored:
    """Put a backup into a new or empty folder.

    images  where the images are on this machine; None: where they were.

    Raises BadInput for a file that is damaged or no backup, NotReady for one of a later version, Conflict
    for a folder that is not empty, Blocked for a full disk; nothing is changed then.
    """
    folder = Path(os.path.realpath(folder))
    _check_place(folder)
    place = None if images is None else places.check_images(images)
    if place is not None and is_inside(folder, place):
        raise BadInput(f"{folder} would lie inside the images.", "Give another --workspace.")
    with archive.opened(file) as opened:
        contents = opened.contents
        _check_version(file, contents)
        _check_room(folder, contents.bytes)
        opened.check(_counter("checking", contents.bytes, report))
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with workroom(folder) as room:
                made = room / "workspace"
                _unpack(opened, made, _counter("copying", contents.bytes, report))
                config = _settings(contents, made, folder, place)
                restored = _look(made, folder, config, contents)
                for path in (*(made / p.name for p in contents.parts), *_folders(made)):
                    flush(path)
                if folder.exists():
                    folder.rmdir()  # it is empty
                os.rename(made, folder)
                flush(folder.parent)
        except OSError as e:
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _full(folder, contents.bytes) from e
            raise BadInput(
                f"{folder} can't be written: {e.strerror or e}.", "Give another --workspace."
            ) from e
    return restored


def _check_place(folder: Path) -> None:
    """Raise unless the folder is new or empty."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file.", "Give a new folder to --workspace.")
    if (who := held_by(folder, "server")) is not None:
        raise Conflict(f"Process {who} works on {folder}.", "Stop it, or give a new folder to --workspace.")
    if any(folder.iterdir()):
        what = "holds a workspace already" if places.is_workspace(folder) else "is not empty"
        raise Conflict(
            f"{folder} {what}.",
            "Give a new folder to --workspace, or move this one away first.",
        )


def _check_version(file: Path, contents: archive.Contents) -> None:
    steps = contents.about.get("steps")
    if type(steps) is not int or DATABASE not in {p.name for p in contents.parts}:
        raise BadInput(f"{file} is damaged: it holds no database.", "Take another backup.")
    if steps > len(STEPS):
        raise NotReady(f"{file} was made by a later version of labeler.", "Update labeler first.")


def _check_room(folder: Path, wanted: int) -> None:
    """Raise Blocked where the disk has too little room."""
    if places.free_bytes(folder) < wanted:
        raise _full(folder, wanted)


def _full(folder: Path, wanted: int) -> Blocked:
    need, free = (math.ceil(n / MB) for n in (wanted, places.free_bytes(folder)))
    return Blocked(
        f"The backup takes {need:,} MB in {folder}, and {free:,} MB are free there.",
        "Free some space, or give another --workspace.",
    )


def _counter(stage: "archive.Stage", total: int, report: Report) -> archive.Count:
    done, since = 0, time.monotonic()

    def count(n: int) -> None:
        nonlocal done
        done += n
        if total < MB:
            return
        rate = done / max(1e-3, time.monotonic() - since)
        report(Progress(stage, done // MB, total // MB, rate / MB, (total - done) / rate if rate else None))

    return count


def _unpack(opened: archive.Archive, made: Path, count: archive.Count) -> None:
    made.mkdir()
    for part in opened.contents.parts:
        to = made / part.name
        to.parent.mkdir(parents=True, exist_ok=True)
        opened.unpack(part, to, count)


def _settings(contents: archive.Contents, made: Path, folder: Path, images: Path | None) -> Config:
    """Write the settings as they are to be here: where the images are, and an encoder that came along."""
    config = load_config(made / SETTINGS)
    if images is not None:
        config = replace(config, images=str(images))
    elif contents.about.get("drawn") is True:
        config = replace(config, images=str(folder / "images"))  # drawn anew there
    own = {p.name.split("/")[1] for p in contents.parts if p.name.startswith("encoders/")}
    if own:
        config = replace(config, encoder=str(folder / "encoders" / min(own)))
    (made / SETTINGS).write_text(dump_config(config), "utf-8")
    os.utime(made / SETTINGS, (1, 1))  # nobody has started it: commands that name no workspace mean another
    return config


def _look(made: Path, folder: Path, config: Config, contents: archive.Contents) -> Restored:
    """Open what was unpacked and return what it holds. Raises for a database that can't be used."""
    version(made / DATABASE)
    ws = Workspace.open(made)
    try:
        ws.catalog.refuse_damage()
        known = [i.path for i in ws.catalog.items_between(0, LOOKED_FOR) if i.is_of_folder]
        there = [p for p in known if config.images is not None and (Path(config.images) / p).is_file()]
        events = sum(ws.journal.count_events(s.id) for s in ws.store.sessions())
        items = ws.catalog.count_items()
        empty_log(ws.catalog.conn)
    finally:
        ws.close()
    found = len(there) / len(known) if known else None
    return Restored(folder, contents, events, items, config.images, found)


def _folders(made: Path) -> list[Path]:
    return [Path(base) for base, _, _ in os.walk(made)]
