"""A workspace in one file, written while people go on answering.

The database is copied first, as it is at one moment. What it mentions was on disk before: vectors and the
files of rounds are written before the rows that mention them. So what is read afterwards is never too short,
and of a file that has grown since only as much is taken as the copy knows of.
"""

import errno
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labeler import __version__, archive, encoders, people
from labeler.catalog import Catalog
from labeler.database import Connection, connect, copy_moment, timestamp
from labeler.domain import Progress
from labeler.drives import is_inside
from labeler.errors import BadInput, Blocked, Conflict
from labeler.journal import Journal
from labeler.overview import is_drawn
from labeler.registry import Registry
from labeler.standing import Standings
from labeler.steps import STEPS
from labeler.store import Store
from labeler.workroom import flush, workroom
from labeler.workspace import DATABASE, SETTINGS, Workspace

SECRETS = (people.TOKEN_FACT,)
"""Facts that no backup holds. Links and cookies are hashes in the database, but whoever restores a backup
elsewhere is another owner, whose server the link from here must not open. The key that cookies are signed
with comes along: it opens nothing, and people's cookies are good there."""
MB = 1_000_000

Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Written:
    """A backup that is on disk.

    events  stored in it. items: distinct images; embedded of them have vectors.
    """

    file: Path
    bytes: int
    contents: archive.Contents
    events: int
    items: int
    embedded: int


def write(ws: Workspace, file: Path, *, vectors: bool, report: Report) -> Written:
    """Write a backup, which holds every answer that was acknowledged before this call.

    vectors  False leaves them out; they can be computed again from the images.

    It is written beside `file`, checked, brought to disk and renamed, so an earlier backup stays until then.
    Raises BadInput or Conflict for a place that can't be written to, Blocked for a full disk, with how much
    it takes, and for a damaged database.
    """
    file = Path(os.path.realpath(file))
    _check_place(ws, file)
    try:
        return _write(ws, file, vectors=vectors, report=report)
    finally:
        ws.close()  # the connection of this thread


def _write(ws: Workspace, file: Path, *, vectors: bool, report: Report) -> Written:
    with ws.lock("backup"), _room(file, _estimate(ws, vectors=vectors)) as room:
        meter, copy, done = _Meter(report), room / DATABASE, room / "backup"
        copy_moment(ws.catalog.conn, copy, meter.copied)
        with closing(connect(copy)) as conn:
            facts = _prepare(conn, vectors=vectors)
            todo = [_Todo(DATABASE, copy, _size(copy), squeeze=True), *_beside(ws, conn, vectors=vectors)]
        meter.begin(sum(t.size for t in todo))
        contents = _pack(todo, done, facts | {"vectors": vectors, "drawn": is_drawn(ws)}, meter)
        size = _size(done)
        os.replace(done, file)
        flush(file.parent)
    return Written(file, size, contents, facts["events"], facts["items"], facts["embedded"])


def _check_place(ws: Workspace, file: Path) -> None:
    """Raise BadInput or Conflict for a place where no backup may go."""
    if file.is_dir():
        raise BadInput(f"{file} is a folder.", "Give the name of a file, such as backup.zip in it.")
    if not file.parent.is_dir():
        raise BadInput(f"There is no folder {file.parent}.", "Make it first, or give another place.")
    if ws.config.images is not None and is_inside(file, ws.images):
        raise BadInput(f"{file} lies inside the images, where nothing is written.", "Give another place.")
    if os.path.lexists(file) and not archive.is_backup(file):
        raise Conflict(f"{file} is there already and is no backup of labeler.", "Give another name.")


def _estimate(ws: Workspace, *, vectors: bool) -> int:
    """Return how many bytes a backup takes at most, the copy of the database meanwhile included."""
    log = ws.folder / f"{DATABASE}-wal"
    database = _size(ws.folder / DATABASE) + _size(log)
    return 2 * database + sum(t.size for t in _beside(ws, ws.catalog.conn, vectors=vectors))


@contextmanager
def _room(file: Path, needed: int) -> Iterator[Path]:
    """Make a folder beside the backup. Raises Blocked, with how much room is needed, where the disk has less,
    before the block or in its middle.
    """
    try:
        with workroom(file) as room:
            if shutil.disk_usage(room).free < needed:
                raise OSError(errno.ENOSPC, "No space left")
            yield room
    except (OSError, Blocked) as e:
        cause = e.__cause__ if isinstance(e, Blocked) else e
        is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_full or (isinstance(e, Blocked) and "the disk is full" in e.error):
            need, free = (math.ceil(n / MB) for n in (needed, shutil.disk_usage(file.parent).free))
            raise Blocked(
                f"{file} can't be written: it takes up to {need:,} MB, and {free:,} MB are free there.",
                "Free some space, give another place, or leave the vectors out: --without-vectors.",
            ) from e
        if isinstance(e, OSError):
            do = "Check its folder, or give another place."
            raise BadInput(f"{file} can't be written: {e.strerror or e}.", do) from e
        raise


class _Meter:
    """Tells how far a backup is."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = self._total = 0
        self._since = time.monotonic()

    def begin(self, total: int) -> None:
        self._done, self._total, self._since = 0, total, time.monotonic()

    def copied(self, done: int, total: int) -> None:
        if total >= MB:
            self._report(Progress("copying", done // MB, total // MB))

    def count(self, n: int) -> None:
        self._done += n
        if self._total < MB:
            return
        rate = self._done / max(1e-3, time.monotonic() - self._since)
        left_s = (self._total - self._done) / rate if rate else None
        self._report(Progress("copying", self._done // MB, self._total // MB, rate / MB, left_s))


@dataclass(frozen=True, slots=True)
class _Todo:
    """A file to be packed: its name in the backup, where it is, how many of its bytes, whether that pays."""

    name: str
    path: Path
    size: int
    squeeze: bool


def _prepare(conn: Connection, *, vectors: bool) -> dict[str, Any]:  # Any: JSON
    """Take secrets out of the copy of the database, check it, and return what it holds.

    vectors  False: let it know of none.

    Raises Blocked for damage: a broken backup must not take the place of a good one.
    """
    store, catalog, registry = Store(conn), Catalog(conn), Registry(conn)
    for name in SECRETS:
        store.forget_fact(name)
    catalog.refuse_damage()
    for key, dim, _ in () if vectors else registry.all():
        registry.set_embedded(key, dim, 0)
    journal, used = Journal(conn, Standings()), registry.in_use()
    return {
        "labeler": __version__,
        "steps": len(STEPS),
        "made_at": timestamp(),
        "events": sum(journal.count_events(s.id) for s in store.sessions()),
        "items": catalog.count_items(),
        "embedded": used[2] if used else 0,
    }


def _beside(ws: Workspace, conn: Connection, *, vectors: bool) -> list[_Todo]:
    """Return what a database mentions, and the settings."""
    return [*_small(ws, conn), *(_vectors(ws, conn) if vectors else ())]


def _small(ws: Workspace, conn: Connection) -> list[_Todo]:
    """Return the settings, what each round has learned, pictures that were given, and an own encoder."""
    store = Store(conn)
    todo = [_Todo(SETTINGS, ws.folder / SETTINGS, _size(ws.folder / SETTINGS), squeeze=True)]
    for session, number in store.round_numbers():
        path = ws.round_file(session, number)
        todo.append(_Todo(f"rounds/{session}/{number}.npz", path, _size(path), squeeze=True))
    for name in sorted({e.hash for e in store.examples() if not e.is_words}):
        path = ws.example_file(name)
        todo.append(_Todo(f"examples/{name}", path, _size(path), squeeze=False))
    if (own := encoders.own(ws.config.encoder)) is not None:
        folder, files = own
        todo += [
            _Todo(f"encoders/{folder}/{f.name}", f, _size(f), squeeze=f.suffix != ".safetensors")
            for f in files
        ]
    return [t for t in todo if t.path.is_file()]  # one that is gone is missed here as it is there


def _vectors(ws: Workspace, conn: Connection) -> list[_Todo]:
    """Return the vectors of every encoder, as many as the database knows of: old rounds rest on old ones."""
    todo = []
    for key, dim, n in Registry(conn).all():
        path, scatter = ws.vectors(key, dim).path, ws.scatter_file(key)
        rows = min(n, len(ws.vectors(key, dim)))
        if rows:
            todo.append(_Todo(f"vectors/{key}.f32", path, rows * dim * 4, squeeze=False))
        if scatter.is_file():
            todo.append(_Todo(f"vectors/{key}.scatter.npy", scatter, _size(scatter), squeeze=False))
    return todo


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _pack(todo: list[_Todo], to: Path, about: dict[str, Any], meter: _Meter) -> archive.Contents:  # Any: JSON
    """Write the parts to a file, on disk when this returns."""
    with open(to, "xb") as out, archive.Packer(out, meter.count) as packer:
        for t in todo:
            try:
                packer.add(t.name, t.path, t.size, squeeze=t.squeeze)
            except (EOFError, FileNotFoundError) as e:  # labeler encoders --remove, in this very moment
                raise Conflict(f"{t.path.name} changed while it was copied.", "Try again.") from e
        contents = packer.finish(about)
        out.flush()
        os.fsync(out.fileno())
    return contents
