"""One folder on disk, opened and checked together: configuration, database, vectors."""

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from labeler.catalog import Catalog
from labeler.config import Config, dump_config, load_config
from labeler.database import Connection, check_copy, copy_database
from labeler.dealing import Dealing
from labeler.errors import BadInput, Blocked, Conflict, NotReady, writing
from labeler.journal import Journal
from labeler.registry import Registry
from labeler.roster import Roster
from labeler.schema import Sync, is_old, kept_copy, open_db, version
from labeler.standing import Standings
from labeler.store import Store
from labeler.vectors import Vectors

ENV = "LABELER_WORKSPACE"
DATABASE, SETTINGS = "labeler.db", "labeler.toml"
SERVER_LOCK, ADDRESS = "server.lock", "server.address"


class _Parts(NamedTuple):
    """What one thread has of the database."""

    conn: Connection
    store: Store
    journal: Journal
    catalog: Catalog
    registry: Registry
    roster: Roster


class Workspace:
    """A workspace folder. What is in the database belongs to the thread that asks for it: `store`,
    `journal`, `dealing`, `catalog`, `registry`, `roster`.

    kept  the database as an earlier version of labeler left it, when `open` has just changed that.
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        self.kept: Path | None = None
        self._shared = folder  # where vectors and what is computed from them lie
        self._sync: Sync = "FULL"
        self._local = threading.local()
        self._standings = Standings()

    @classmethod
    def open(cls, folder: Path, config: Config | None = None) -> "Workspace":
        """Return the workspace in `folder`, created when it is not there yet.

        config  written to `labeler.toml`; None: read from there.
        Raises BadInput for a folder that holds something else or can't be written, Blocked for a
        database in trouble, NotReady for one of a later version (nothing is changed then), Conflict
        for one of an earlier version that another process is using.
        """
        folder = Path(folder).absolute()
        before = version(folder / DATABASE)
        ws = cls(folder, load_config(folder / SETTINGS) if config is None else config)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ws._open_first(before)  # makes it a workspace: a kill from here on leaves one
            for part in ("vectors", "rounds", "examples", "cache"):
                (folder / part).mkdir(exist_ok=True)
            if config is not None:
                ws._save_settings()
        except OSError as e:
            raise BadInput(
                f"The workspace {folder} can't be written: {e.strerror}.",
                "Give another folder with --workspace, or free some space.",
            ) from e
        return ws

    def _open_first(self, before: int) -> None:
        """Open the database, brought up to date from version `before` while nobody else is at it."""
        with contextlib.ExitStack() as held:
            if is_old(before):
                for name in ("server", "index"):
                    held.enter_context(self.lock(name))
                self.kept = kept_copy(self.folder / DATABASE, before)
            self._open()
        try:
            check_copy(self._parts.conn)
        except Blocked:
            self.close()
            raise

    def _save_settings(self) -> None:
        path, text = self.folder / SETTINGS, dump_config(self.config)
        there = path.read_text("utf-8") if path.exists() else None
        if there == text:
            return
        with contextlib.ExitStack() as held:
            if there is not None:
                held.enter_context(self.lock("server"))  # a running server keeps its settings
            half = path.with_name(f"{path.name}.new")
            half.write_text(text, "utf-8")
            os.replace(half, path)

    @property
    def images(self) -> Path:
        """Return the folder of images."""
        if self.config.images is None:
            raise NotReady(
                f"{self.folder} names no folder of images.", "Give one: labeler start --images DIR."
            )
        return Path(self.config.images)

    def copy_to_play_on(self, folder: Path) -> "Workspace":
        """Return a workspace in a new `folder` with the same images and vectors, to be thrown away.

        The database is copied; vectors are read where they are, so nobody may change them meanwhile.
        It is quick, and a power cut may leave it torn.
        """
        folder.mkdir(parents=True)
        copy_database(self.catalog.conn, folder / DATABASE)
        copy = Workspace(folder, self.config)
        copy._shared, copy._sync = self._shared, "OFF"
        return copy

    def _open(self, sync: Sync | None = None) -> "_Parts":
        conn = open_db(self.folder / DATABASE, sync=sync or self._sync)
        journal = Journal(conn, self._standings)
        parts = _Parts(conn, Store(conn), journal, Catalog(conn), Registry(conn), Roster(conn))
        self._local.parts = parts
        return parts

    @property
    def _parts(self) -> "_Parts":
        """Return what this thread has of the database, opened where it has nothing yet."""
        parts: _Parts | None = getattr(self._local, "parts", None)
        return self._open() if parts is None else parts

    @property
    def store(self) -> Store:
        """Return this thread's own store of sessions, people and rounds."""
        return self._parts.store

    @property
    def journal(self) -> Journal:
        """Return this thread's own journal of answers."""
        return self._parts.journal

    @property
    def dealing(self) -> Dealing:
        """Return this thread's own way to the cards."""
        return self.journal.dealing

    @property
    def catalog(self) -> Catalog:
        """Return this thread's own catalog of files and items."""
        return self._parts.catalog

    @property
    def registry(self) -> Registry:
        """Return this thread's own registry of encoders."""
        return self._parts.registry

    @property
    def roster(self) -> Roster:
        """Return this thread's own roster of people, devices and links."""
        return self._parts.roster

    def relax(self) -> None:
        """Let this thread's commits survive a crash but not a power cut: for taking images in."""
        self.close()
        self._open("NORMAL")

    def close(self) -> None:
        """Close this thread's connection."""
        parts: _Parts | None = getattr(self._local, "parts", None)
        if parts is not None:
            parts.conn.close()
            del self._local.parts

    def vectors(self, key: str, dim: int) -> Vectors:
        """Return the vectors of an encoder."""
        return Vectors(self._shared / "vectors" / f"{key}.f32", dim)

    @property
    def cache(self) -> Path:
        """Return the folder of what can be made again from the vectors."""
        return self._shared / "cache"

    def scatter_file(self, key: str) -> Path:
        """Return where it is kept how vectors of an encoder move when an image is turned."""
        return self._shared / "vectors" / f"{key}.scatter.npy"

    def tile(self, item: int, width: int) -> Path:
        """Return where the tile of an item at this width is kept; it may not be there."""
        return self.folder / "cache" / "tiles" / str(width) / str(item // 1000) / f"{item}.webp"

    def round_file(self, session: int, number: int) -> Path:
        """Return where the arrays of a round are kept."""
        return self.folder / "rounds" / str(session) / f"{number}.npz"

    def example_file(self, content_hash: str) -> Path:
        """Return where the bytes of a reference picture are kept."""
        return self.folder / "examples" / content_hash

    @property
    def problem_file(self) -> Path:
        """Return where a server leaves word of what is wrong in its background."""
        return self.folder / "cache" / "problem.txt"

    def serves_at(self, url: str) -> None:
        """Note the address at which this process serves the workspace, for whoever starts another one."""
        with contextlib.suppress(OSError):  # the disk is full: the address is a help, no more
            (self.folder / ADDRESS).write_text(url, "utf-8")

    @property
    def address(self) -> str:
        """Return the address at which the workspace is served, or was last; empty: nobody knows."""
        try:
            return (self.folder / ADDRESS).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock of this workspace while the block runs; it ends with the process.

        Raises Conflict, naming the process, when another one holds it.
        """
        path = self.folder / f"{name}.lock"
        with writing(str(self.folder)):
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with open(fd, "r+b", buffering=0) as f:
            try:
                lock_file(f.fileno())
            except OSError as e:
                who = f.read().decode("ascii", "replace").strip() or "another one"
                url = self.address if name == "server" else ""
                raise Conflict(
                    f"Process {who} works on {self.folder} already ({name}{url and f' at {url}'}).",
                    "Open it there (by its link, if it has one), or stop it first."
                    if url
                    else "Stop it first, or wait for it.",
                ) from e
            with contextlib.suppress(OSError):  # the disk is full: the lock holds without its number
                if name == "server":
                    (self.folder / ADDRESS).unlink(missing_ok=True)  # of one that ended
                f.truncate(0)
                f.write(str(os.getpid()).encode())
            yield


def held_by(folder: Path, name: str) -> str | None:
    """Return which process holds a lock of the workspace in a folder, None for none. Changes nothing."""
    try:
        with open(folder / f"{name}.lock", "r+b", buffering=0) as f:
            try:
                lock_file(f.fileno())
            except OSError:
                return f.read().decode("ascii", "replace").strip() or "another one"
    except OSError:
        pass  # no such lock was ever held
    return None


def lock_file(fd: int) -> None:
    """Lock an open file for this process, or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        os.lseek(fd, 1 << 30, os.SEEK_SET)  # a locked byte can't be read by others; the number is before it
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
        return
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@cache
def _opened(folder: str) -> Workspace:
    return Workspace.open(Path(folder))


def current() -> Workspace:
    """Return the workspace that LABELER_WORKSPACE names, opened once per process."""
    folder = os.environ.get(ENV)
    if not folder:
        raise NotReady(f"{ENV} is not set.", "Start with: labeler start --images DIR.")
    return _opened(str(Path(folder).absolute()))
