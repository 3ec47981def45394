"""How a database is opened, and its tables brought up to date by the steps that it lacks."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from labeler.database import Connection, connect, copy_database, empty_log, shown, transaction, use_wal
from labeler.errors import NotReady
from labeler.steps import STEPS

if TYPE_CHECKING:
    from sqlite_utils.migrations import Migrations

Sync = Literal["FULL", "NORMAL", "OFF"]
LOG_PAGES = 4000  # 16 MB; a copy made while the log is being emptied is broken, so that happens seldom


def _import_sqlite_utils() -> None:
    """Import sqlite-utils without pandas, which it would load (0.3 s) only to recognise its types."""
    if "sqlite_utils" in sys.modules or "pandas" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # None: "import pandas" raises ImportError
    try:
        import sqlite_utils.db  # noqa: F401
    finally:
        del sys.modules["pandas"]


def migrations() -> "Migrations":
    """Return every change of the tables, as sqlite-utils applies and records them."""
    from sqlite_utils.migrations import Migrations

    steps = Migrations("labeler")
    for step in STEPS:
        steps()(step)
    return steps


def version(path: Path) -> int:
    """Return how many STEPS the tables of a database have seen; 0: it is not there, or empty.

    Changes nothing. Raises NotReady for a database of a later version, or of another program.
    """
    if not path.exists():
        return 0
    with closing(connect(path)) as conn:
        return _version(conn)


def _version(conn: Connection) -> int:
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "_sqlite_migrations" not in tables:
        if tables:
            raise NotReady(f"{shown(conn.path)} is another program's.", "Give another --workspace.")
        return 0
    done = conn.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'labeler'").fetchall()
    later = {name for (name,) in done} - {step.__name__ for step in STEPS}
    if later:
        raise NotReady(
            f"{shown(conn.path)} was made by a later version of labeler ({max(later)}).",
            "Update labeler; nothing was changed.",
        )
    return len(done)


def is_old(version: int) -> bool:
    """Return whether a database of this version is there and has steps before it."""
    return 0 < version < len(STEPS)


def kept_copy(path: Path, before: int) -> Path:
    """Return where a database is kept as it was in version `before`, when it is brought up to date."""
    return path.with_name(f"{path.name}.v{before}.bak")


def open_db(path: Path, *, sync: Sync = "FULL") -> Connection:
    """Return an open connection in WAL mode, with the tables brought up to date.

    sync  FULL: a commit is on disk when it returns (answers). NORMAL: it may be lost in a
          power cut, never torn (images taken in, which can be taken in again). OFF: may be torn by one
          (a copy to play on, which is thrown away).
    Tables of an earlier version are changed all together or not at all, and `kept_copy` is made first.
    Raises NotReady for a later version, Blocked for a database that is locked, damaged or can't be written.
    """
    conn = connect(path)
    try:
        before = _version(conn)
        use_wal(conn)
        conn.execute(f"PRAGMA synchronous = {sync}")
        conn.execute("PRAGMA fullfsync = ON")  # on a Mac, where fsync alone leaves it to the drive
        conn.execute("PRAGMA temp_store = MEMORY")
        conn.execute("PRAGMA cache_size = -1024")  # KiB, for each of a dozen threads; the system caches too
        conn.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if is_old(before):
            copy_database(conn, kept_copy(path, before))
        if before < len(STEPS):
            _migrate(conn)
        conn.execute("PRAGMA foreign_keys = ON")  # only now: a step may have to make a table anew
    except BaseException:
        conn.close()
        raise
    return conn


def _migrate(conn: Connection) -> None:
    """Apply what is pending, all of it or nothing."""
    _import_sqlite_utils()
    import sqlite_utils

    with transaction(conn):  # of two processes that start at once, one waits and finds it done
        migrations().apply(sqlite_utils.Database(conn))
    empty_log(conn)  # the file itself has all tables: a copy without the log is not taken for a new one
