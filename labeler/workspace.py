"""One folder on disk, opened and checked together: configuration, database, vectors."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from labeler.catalog import Catalog
from labeler.config import Config, dump_config, load_config
from labeler.errors import BadInput, Conflict, NotReady
from labeler.journal import Journal
from labeler.schema import open_db
from labeler.store import Store
from labeler.vectors import Vectors

ENV = "LABELER_WORKSPACE"


class Workspace:
    """A workspace folder. `store`, `journal` and `catalog` belong to the thread that asks for them."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        self._local = threading.local()

    @classmethod
    def open(cls, folder: Path, config: Config | None = None) -> "Workspace":
        """Return the workspace in `folder`, created when it is not there yet.

        config  written to `labeler.toml`; None: read from there.
        Raises BadInput for a folder that holds something else or can't be written.
        """
        folder = Path(folder).absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in ("vectors", "rounds", "examples", "cache"):
                (folder / part).mkdir(exist_ok=True)
            toml = folder / "labeler.toml"
            if config is None:
                config = load_config(toml)
            elif not toml.exists() or toml.read_text("utf-8") != dump_config(config):
                half = toml.with_suffix(".toml.new")
                half.write_text(dump_config(config), "utf-8")
                os.replace(half, toml)
        except OSError as e:
            raise BadInput(
                f"The workspace {folder} can't be written: {e.strerror}.",
                "Give another folder with --workspace, or free some space.",
            ) from e
        ws = cls(folder, config)
        ws.store  # noqa: B018  # opens the database now, so that a broken one is said at once
        return ws

    @property
    def images(self) -> Path:
        """Return the folder of images."""
        if self.config.images is None:
            raise NotReady(
                f"{self.folder} names no folder of images.", "Give one: labeler start --images DIR."
            )
        return Path(self.config.images)

    def _open(self, sync: Literal["FULL", "NORMAL"] = "FULL") -> None:
        db = open_db(self.folder / "labeler.db", sync=sync)
        self._local.db = db
        self._local.store = Store(db.conn)
        self._local.journal = Journal(db.conn)
        self._local.catalog = Catalog(db.conn)

    @property
    def store(self) -> Store:
        """Return this thread's own store of sessions, people and rounds."""
        if not hasattr(self._local, "store"):
            self._open()
        store: Store = self._local.store
        return store

    @property
    def journal(self) -> Journal:
        """Return this thread's own journal of cards and answers."""
        if not hasattr(self._local, "journal"):
            self._open()
        journal: Journal = self._local.journal
        return journal

    @property
    def catalog(self) -> Catalog:
        """Return this thread's own catalog of files and items."""
        if not hasattr(self._local, "catalog"):
            self._open()
        catalog: Catalog = self._local.catalog
        return catalog

    def relax(self) -> None:
        """Let this thread's commits survive a crash but not a power cut: for taking images in."""
        self.close()
        self._open("NORMAL")

    def close(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "db"):
            self._local.db.conn.close()
            del self._local.db, self._local.store, self._local.journal, self._local.catalog

    def vectors(self, key: str, dim: int) -> Vectors:
        """Return the vectors of an encoder."""
        return Vectors(self.folder / "vectors" / f"{key}.f32", dim)

    def tile(self, item: int, width: int) -> Path:
        """Return where the tile of an item at this width is kept; it may not be there."""
        return self.folder / "cache" / "tiles" / str(width) / str(item // 1000) / f"{item}.webp"

    def round_file(self, session: int, number: int) -> Path:
        """Return where the arrays of a round are kept."""
        return self.folder / "rounds" / str(session) / f"{number}.npz"

    def example_file(self, content_hash: str) -> Path:
        """Return where the bytes of a reference picture are kept."""
        return self.folder / "examples" / content_hash

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock of this workspace while the block runs; it ends with the process.

        Raises Conflict, naming the process, when another one holds it.
        """
        path = self.folder / f"{name}.lock"
        with open(path, "a+b") as f:
            try:
                _lock(f.fileno())
            except OSError as e:
                f.seek(0)
                who = f.read().decode("ascii", "replace").strip() or "another one"
                raise Conflict(
                    f"Process {who} works on {self.folder} already ({name}).",
                    "Stop it first, or wait for it.",
                ) from e
            f.truncate(0)
            f.write(str(os.getpid()).encode())
            f.flush()
            yield


def _lock(fd: int) -> None:
    """Lock an open file for this process, or raise OSError at once."""
    if os.name == "nt":
        import msvcrt

        os.lseek(fd, 1 << 30, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
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
