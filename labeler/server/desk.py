"""What the server holds open while it runs: the workspace, its writer, its readers, its worker."""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from labeler import heap, loop
from labeler.domain import Person, Session
from labeler.door import Door, Visitor
from labeler.errors import LabelerError, TooMany
from labeler.links import Link
from labeler.retiring import Retiring
from labeler.server.guesses import Guesses
from labeler.server.rates import Rates
from labeler.server.recent import Recent
from labeler.server.thanking import Credits
from labeler.worker import Worker
from labeler.workspace import Workspace
from labeler.writer import Writer

log = logging.getLogger("labeler.desk")
RESTS, MOST_REST_S = 4, 1.0  # between two looks at what is done: times as long as one takes, and at most
AT_ONCE, PER_S = 300, 3.0  # people who join from one address: a lecture hall, then 180 a minute
T = TypeVar("T")
READERS, PONDERERS = 4, 2  # threads, each with its own connection
PONDER_NICE = 1  # how far, on Linux, threads that compute leave the cores to those that answer; rounds: 5
SWITCH_S = 0.001  # how long a thread that computes may keep those that answer waiting; Python's own is 5 ms


class Desk:
    """The parts that all routes share; they are there once `serving` has been entered."""

    def __init__(self) -> None:
        self.guesses = Guesses()
        self.credits = Credits()
        self._joins = Rates(AT_ONCE, PER_S)
        self._retiring = Retiring()
        self._settle_lock = threading.Lock()
        self._newest = 0, 0.0  # session, and until when that is taken to be true
        self._settling: set[int] = set()  # sessions that are being looked at
        self._again: set[int] = set()  # sessions with answers that came while it was being looked

    ws: Workspace
    door: Door
    writer: Writer
    worker: Worker
    waiting: int
    recent: Recent
    stamp: str
    """Short random word of this workspace, in tile addresses: a browser keeps tiles for good, and the
    next workspace on the same port has other ones."""

    @asynccontextmanager
    async def serving(self, ws: Workspace, *, shared: bool) -> AsyncIterator[None]:
        """Open everything, and close it within two seconds.

        shared  the server listens to other machines too, so that nobody comes in without the link.
        """
        self.ws = ws
        self._loop = asyncio.get_running_loop()
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        self.waiting = 0  # requests that wait for a round
        self.recent = Recent()
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._ponderers = ThreadPoolExecutor(PONDERERS, "ponderer", _stand_back)
        self.writer = Writer(ws)
        self.writer.start()
        try:
            self.door = await self.read(lambda ws: Door(ws, shared=shared))
            self.stamp = await self.writer.run(_stamp)
            self.worker = Worker(ws)
            self.worker.start()
            for session in await self.read(lambda ws: ws.store.sessions()):
                self.settle(session)  # what was answered or taken back while nobody looked
            tidying = asyncio.create_task(heap.keep_small())
            try:
                yield
            finally:
                tidying.cancel()
                await asyncio.to_thread(self.worker.stop)
        finally:
            await asyncio.to_thread(self.writer.stop)
            for pool in (self._readers, self._ponderers):
                pool.shutdown(wait=False, cancel_futures=True)
            sys.setswitchinterval(switch_s)

    async def read(self, fn: Callable[[Workspace], T]) -> T:
        """Return what fn(workspace) returns, run in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, fn, self.ws)

    async def ponder(self, fn: Callable[[Workspace], T]) -> T:
        """As `read`, for what computes for long: so that cards and tiles always find a thread and a core."""
        return await asyncio.get_running_loop().run_in_executor(self._ponderers, fn, self.ws)

    async def write(self, fn: Callable[[Workspace], T], *, later: bool = False) -> T:
        """Return what fn(workspace) returns, once it is on disk; later: answers go first."""
        # shielded: a caller who hangs up must not pull the job from under the writer
        return await asyncio.shield(self.writer.run(fn, later=later))

    async def enter(self, visitor: Visitor) -> Person:
        """Return the person of a visitor, stored now if they did nothing before."""
        if visitor.person is not None:
            return visitor.person
        return await self.write(lambda ws: self.door.enter(ws, visitor))

    async def refresh(self) -> None:
        """See who was sent away or may do something else now; what owners have said ends images, or not."""
        if await self.read(lambda _: self.door.refresh()):
            for session in await self.read(lambda ws: ws.store.sessions()):
                self.settle(session)

    def settle(self, session: Session) -> None:
        """See soon which images of a session need no more answers, where that goes by what was answered."""
        if not session.is_open:
            return
        with self._settle_lock:
            is_running = session.id in self._settling
            (self._again if is_running else self._settling).add(session.id)
        if not is_running:
            self._readers.submit(self._settle, session.id)

    def _settle(self, session: int) -> None:
        """Note what is done, and look again if answers came meanwhile. In a thread: nobody waits for it.

        Between two looks it rests, so that people who answer all the time are not kept waiting by it.
        """
        began = time.monotonic()
        with self._settle_lock:
            self._again.discard(session)
        try:
            done, open_ = self._retired(self.ws, session)
            if done or open_:
                self.writer.submit(
                    partial(_set_done, session=session, done=done, open_=open_), later=True
                ).result()
        except LabelerError as e:  # a full disk: it is seen to with the next answer
            log.warning("Which images are done can't be noted: %s", e)
        except Exception:
            log.exception("which images of session %s are done can't be seen", session)
        rest_s = min(MOST_REST_S, RESTS * (time.monotonic() - began))
        with self._settle_lock:
            if session in self._again:
                self._loop.call_soon_threadsafe(self._loop.call_later, rest_s, self._settle_again, session)
            else:
                self._settling.discard(session)

    def _settle_again(self, session: int) -> None:
        try:
            self._readers.submit(self._settle, session)
        except RuntimeError:  # the server is stopping: the next start sees to it
            with self._settle_lock:
                self._settling.discard(session)

    def _retired(self, ws: Workspace, session: int) -> tuple[list[int], list[int]]:
        return self._retiring.catch_up(ws, loop.get_session(ws, session))

    async def newest_session(self) -> int:
        """Return the newest session, as of a second ago: what a hint is about, never what is stored."""
        number, until = self._newest
        if time.monotonic() < until:
            return number
        if number:  # who asks meanwhile gets the one that was known
            self._newest = number, time.monotonic() + 1
        number = (await self.read(loop.newest_session)).id
        self._newest = number, time.monotonic() + 1
        return number

    async def join(self, code: str, name: str, peer: str) -> tuple[Visitor, Link]:
        """Let somebody in by a link, on disk when it returns; as `Door.join`.

        Raises TooMany where too many came from that address at once, and says when to come back. A code
        that lets nobody in takes no turn: else who guesses would keep a class behind one address out.
        """
        await self.read(lambda _: self.door.check_code(code))
        wait_s = self._joins.wait_s(peer)
        if wait_s is not None:
            raise TooMany("Too many people joined from here at once.", f"Wait {wait_s} s.", wait_s)
        visitor, link, changed = await self.write(
            lambda ws: (*self.door.join(ws, code, name), ws.roster.changed()), later=True
        )
        self.door.remember(visitor, changed)  # unless they were sent away meanwhile
        return visitor, link


def _stand_back() -> None:
    """Let this thread leave the cores to others; only on Linux does niceness count for a thread alone."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it
            os.nice(PONDER_NICE)


def _set_done(ws: Workspace, *, session: int, done: list[int], open_: list[int]) -> None:
    ws.journal.set_done(session, done, open_)


def _stamp(ws: Workspace) -> str:
    stamp = ws.store.fact("stamp")
    if stamp is None:
        stamp = secrets.token_hex(4)
        ws.store.set_fact("stamp", stamp)
    return stamp
