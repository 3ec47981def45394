"""A connection to SQLite that says in two sentences what a person can mend; transactions and times."""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from labeler.errors import Blocked

TRIES = 50  # to begin to write, one a millisecond
LOCKED_S = 5.0  # how long a statement waits for another program; the deck gives a request up after 12 s

WAIT = "Close that program, or wait; then try again."
LOOK = "Check that its folder exists and can be written, and that the disk has room."
HEAL = "Put a backup of the workspace in its place; docs/workspace.md says what else can be done."
TROUBLE = {  # by SQLite's result code: what is wrong, what to do
    sqlite3.SQLITE_BUSY: ("is locked by another program", WAIT),
    sqlite3.SQLITE_LOCKED: ("is locked by another program", WAIT),
    sqlite3.SQLITE_READONLY: (
        "can't be written",
        "Make its folder writable, or copy the workspace to where it is.",
    ),
    sqlite3.SQLITE_CANTOPEN: ("can't be opened", LOOK),
    sqlite3.SQLITE_IOERR: ("can't be read or written: the disk reports an error", LOOK),
    sqlite3.SQLITE_FULL: ("can't be written: the disk is full", "Free some space; then try again."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", HEAL),
    sqlite3.SQLITE_NOTADB: ("is damaged, or no database", HEAL),
}
LEAST_BYTES = 1 << 17  # SQLite needs some room beside a database even to read it
STEP_PAGES = 2560  # 10 MB of a copy at a time
PRIMARY = 0xFF  # the part of a result code that TROUBLE knows

P = ParamSpec("P")
T = TypeVar("T")


def explain(e: sqlite3.Error, path: Path) -> None:
    """Raise Blocked for a disk in trouble, a lock, a damaged file. Any other error is a bug: returns."""
    code = getattr(e, "sqlite_errorcode", 0) & PRIMARY
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        code = _cause(path.parent) or code
    if code in TROUBLE:
        error, do = TROUBLE[code]
        raise Blocked(f"{shown(path)} {error}.", do) from e


def is_lock(e: Blocked) -> bool:
    """Return whether a lock is in the way, and no more than that."""
    code = getattr(e.__cause__, "sqlite_errorcode", 0) & PRIMARY
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _cause(folder: Path) -> int | None:
    """Return the code that says what is wrong with a disk, None when that is not plain."""
    try:
        if not os.access(folder, os.W_OK):
            return sqlite3.SQLITE_READONLY
        return sqlite3.SQLITE_FULL if shutil.disk_usage(folder).free < LEAST_BYTES else None
    except OSError:
        return None


def shown(path: Path) -> str:
    """Return what errors call a database: clients, who see them too, need not know where it is."""
    return f"{path.parent.name}/{path.name}"


def _explained(method: Callable[P, T]) -> Callable[P, T]:
    """Return a method of a cursor whose errors are explained."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except sqlite3.Error as e:
            explain(e, args[0].connection.path)  # type: ignore[attr-defined]  # args[0] is the cursor
            raise

    return run


class Cursor(sqlite3.Cursor):
    """A cursor whose errors are explained. Costs half a microsecond a statement, hardly anything a row."""

    execute = _explained(sqlite3.Cursor.execute)
    executemany = _explained(sqlite3.Cursor.executemany)
    fetchone = _explained(sqlite3.Cursor.fetchone)
    fetchall = _explained(sqlite3.Cursor.fetchall)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # Any: a row; sqlite3's returns itself
        """Give row after row; a wrapper around each would cost as much as the row."""
        try:
            yield from iter(super().fetchone, None)
        except sqlite3.Error as e:
            explain(e, self.connection.path)  # type: ignore[attr-defined]  # it is of our Connection
            raise


class Connection(sqlite3.Connection):
    """A connection whose errors are explained. path: of the database."""

    path = Path()

    def cursor(self, factory: Any = Cursor) -> Any:  # Any: as sqlite3 has it
        """Return a cursor."""
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:  # Any: whatever sqlite3 takes
        """Run a statement; sqlite3's own would make a plain cursor."""
        cursor: Cursor = self.cursor()
        return cursor.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Cursor:  # Any: whatever sqlite3 takes
        """Run a statement once for each of many."""
        cursor: Cursor = self.cursor()
        return cursor.executemany(sql, parameters)


def connect(path: Path) -> Connection:
    """Return an open connection without any settings. The file is made if it is not there."""
    try:
        conn = sqlite3.connect(
            path, timeout=LOCKED_S, isolation_level=None, cached_statements=256, factory=Connection
        )
    except sqlite3.Error as e:
        explain(e, path)
        raise
    conn.path = path
    return conn


def use_wal(conn: Connection) -> None:
    """Switch to the write-ahead log; while another process does so, SQLite says "locked" without waiting."""
    end = time.monotonic() + LOCKED_S
    while conn.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            conn.execute("PRAGMA journal_mode = WAL")
        except Blocked as e:
            if not is_lock(e) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def copy_database(conn: Connection, to: Path) -> None:
    """Copy a database as it is at this moment to a new file, which is whole or not there."""
    half = to.with_name(f"{to.name}.new")
    try:
        copy = connect(half)
        try:
            conn.backup(copy)
        except sqlite3.Error as e:
            explain(e, to)
            raise
        finally:
            copy.close()
        half.replace(to)
    except BaseException:
        with contextlib.suppress(OSError):
            half.unlink()
        raise


def copy_moment(conn: Connection, to: Path, report: Callable[[int, int], None]) -> None:
    """Copy a database as it is at this moment to a new file that needs no log; others go on writing.

    report  told of (bytes done, bytes in all) after each step.
    """
    page = conn.execute("PRAGMA page_size").fetchone()[0]
    with contextlib.closing(connect(to)) as copy, snapshot(conn):
        conn.execute(
            "SELECT 1 FROM sqlite_master"
        ).fetchone()  # the moment: what is written from here on is not seen
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "secure_delete = ON"):
            copy.execute(f"PRAGMA {pragma}")  # a power cut leaves a file that nobody ever looks at
        try:
            conn.backup(
                copy, pages=STEP_PAGES, progress=lambda _, left, n: report((n - left) * page, n * page)
            )
        except sqlite3.Error as e:
            explain(e, to)
            raise
        copy.execute("PRAGMA journal_mode = DELETE")


def check_copy(conn: Connection) -> None:
    """Raise Blocked for what is left of a copy whose log was emptied between its two halves.

    SQLite notices that here, or leaves a file with pages that the database knows nothing of; it
    would call both whole, and write over them. Empties the log as far as nobody reads it now.
    """
    empty_log(conn)
    size = conn.path.stat().st_size  # asked first: a database only grows
    pages, page_size = (conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if size > pages * page_size:
        raise Blocked(f"{shown(conn.path)} is damaged: it was copied while labeler was running.", HEAL)


# working -----------------------------------------------------------------------------------


@contextmanager
def snapshot(conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Let everything that the block reads be of one moment; others go on writing."""
    conn.execute("BEGIN")
    try:
        yield conn
    finally:
        conn.execute("COMMIT")


def empty_log(conn: sqlite3.Connection) -> None:
    """Move what the write-ahead log holds into the database file, as far as nobody reads it now."""
    conn.execute("PRAGMA wal_checkpoint").fetchone()


def timestamp() -> str:
    """Return the time now, as it is stored: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """Return a stored time."""
    return datetime.fromisoformat(text)


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run the block as one transaction; inside another one, as a savepoint of it."""
    if conn.in_transaction:
        conn.execute("SAVEPOINT part")
        try:
            yield conn
        except BaseException:
            if conn.in_transaction:  # a full disk ends the whole transaction
                conn.execute("ROLLBACK TO part")
                conn.execute("RELEASE part")
            raise
        conn.execute("RELEASE part")
        return
    _begin(conn)
    try:
        yield conn
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:  # SQLite ends it itself when the disk is full
            conn.execute("ROLLBACK")
        raise


def _begin(conn: sqlite3.Connection) -> None:
    """Begin to write. Where another process writes for 2 ms, SQLite's own way to wait sleeps for up to 20."""
    conn.execute("PRAGMA busy_timeout = 0")
    try:
        for _ in range(TRIES):
            try:
                conn.execute("BEGIN IMMEDIATE")
            except (Blocked, sqlite3.Error):  # what is wrong for longer is said below
                time.sleep(0.001)
            else:
                return
    finally:
        conn.execute(f"PRAGMA busy_timeout = {LOCKED_S * 1000:.0f}")
    conn.execute("BEGIN IMMEDIATE")
