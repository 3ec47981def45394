"""One thread that does all writing for the server, many jobs to a commit."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from labeler.database import empty_log, transaction
from labeler.errors import Blocked, NotReady
from labeler.workspace import Workspace

T = TypeVar("T")
_Job = tuple[Callable[[Workspace], Any], "Future[Any]"]  # Any: jobs return whatever they like
MOST = 16  # jobs that share a commit at most, so that the first need not wait long
LATER = 2  # of them, those that can wait: two hundred people may ask for cards within the same moment
ALONE = 6  # the same where nothing else waits


class Writer:
    """Runs jobs `fn(workspace)` one after the other; a result is given out after its commit.

    Grouping costs no waiting: whatever has queued up while the last commit went to disk shares
    the next one. A job that raises is rolled back alone and its error given to its caller.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._soon: deque[_Job] = deque()
        self._later: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the jobs that are queued, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=5)

    def submit(self, fn: Callable[[Workspace], T], *, later: bool = False) -> "Future[T]":
        """Queue a job and return its future, for callers outside the event loop.

        later  it can wait for those that can't: an answer is not kept waiting by requests for cards. Some of
               these are done beside every group of the others, so that they get on.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                future.set_exception(NotReady("The server is stopping.", "Try again in a moment."))
            else:
                (self._later if later else self._soon).append((fn, future))
                self._changed.notify()
        return future

    async def run(self, fn: Callable[[Workspace], T], *, later: bool = False) -> T:
        """Run a job and return its result once it is on disk; as `submit`."""
        return await asyncio.wrap_future(self.submit(fn, later=later))

    def _is_there(self) -> bool:
        """Wait for jobs; return whether there are any, else the writer is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._soon or self._later or self._closed)
            return bool(self._soon or self._later)

    def _group(self) -> "Iterator[_Job]":
        """Yield the jobs that share a commit. An answer that comes meanwhile goes before what can wait."""
        soon = late = 0
        while True:
            with self._changed:
                if self._soon and soon < MOST - max(LATER, late):
                    job, soon = self._soon.popleft(), soon + 1
                elif self._later and late < (LATER if soon or self._soon else ALONE):
                    job, late = self._later.popleft(), late + 1
                else:
                    return
            yield job

    def _serve(self) -> None:
        while self._is_there():
            self._commit()
        with contextlib.suppress(Blocked):  # the disk is full: all is in the log, and stays there
            empty_log(self._ws.store.conn)
        self._ws.close()

    def _commit(self) -> None:
        taken: list[Future[Any]] = []  # Any: as above
        done: list[tuple[Future[Any], Any]] = []
        try:
            conn = self._ws.store.conn
            with transaction(conn):
                for fn, future in self._group():
                    taken.append(future)
                    if not future.set_running_or_notify_cancel():
                        continue  # nobody waits for it any more
                    try:
                        with transaction(conn):
                            done.append((future, fn(self._ws)))
                    except Exception as e:  # handed to the caller, who knows what it means
                        if not conn.in_transaction:
                            raise  # a full disk took the others' work along
                        self._ws.dealing.forget()
                        future.set_exception(e)
        except Exception as e:  # the commit itself failed: nobody is told "stored"
            self._ws.dealing.forget()
            said = Blocked(f"Nothing could be stored: {e.error}", e.do) if isinstance(e, Blocked) else e
            if not taken:  # the file is locked: who waits hears of it
                taken = [future for _, future in self._group() if future.set_running_or_notify_cancel()]
            for future in taken:  # what was not begun is the next commit's
                if not future.done():
                    future.set_exception(said)
            return
        for future, result in done:
            future.set_result(result)
