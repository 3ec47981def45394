"""One thread that does all writing for the server, many jobs to a commit."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from labeler.database import empty_log, transaction
from labeler.errors import Blocked, NotReady
from labeler.workspace import Workspace

T = TypeVar("T")
MOST = 16  # jobs that share a commit at most, so that the first need not wait long


class Writer:
    """Runs jobs `fn(workspace)` one after the other; a result is given out after its commit.

    Grouping costs no waiting: whatever has queued up while the last commit went to disk shares
    the next one. A job that raises is rolled back alone and its error given to its caller.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        # Any: jobs return whatever they like
        self._jobs: queue.SimpleQueue[tuple[Callable[[Workspace], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the jobs that are queued, then end."""
        self._closed = True
        self._jobs.put(None)
        self._thread.join(timeout=5)

    def submit(self, fn: Callable[[Workspace], T]) -> "Future[T]":
        """Queue a job and return its future, for callers outside the event loop."""
        future: Future[T] = Future()
        if self._closed:
            future.set_exception(NotReady("The server is stopping.", "Try again in a moment."))
        else:
            self._jobs.put((fn, future))
        return future

    async def run(self, fn: Callable[[Workspace], T]) -> T:
        """Run a job and return its result once it is on disk."""
        return await asyncio.wrap_future(self.submit(fn))

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            group = [job]
            last = False
            while len(group) < MOST and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    last = True
                    break
                group.append(more)
            self._commit(group)
            if last:
                break
        with contextlib.suppress(Blocked):  # the disk is full: all is in the log, and stays there
            empty_log(self._ws.store.conn)
        self._ws.close()

    def _commit(self, group: list[tuple[Callable[[Workspace], Any], "Future[Any]"]]) -> None:  # Any: as above
        done: list[tuple[Future[Any], Any]] = []
        try:
            conn = self._ws.store.conn
            with transaction(conn):
                for fn, future in group:
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
            for _, future in group:
                if not future.done():
                    future.set_exception(said)
            return
        for future, result in done:
            future.set_result(result)
