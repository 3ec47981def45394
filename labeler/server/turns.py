"""Answers go first: of the requests that can wait a moment only a few are worked on at a time.

When a class comes in by one scan, hundreds of requests arrive within a second. All at once they would each
take small steps in turn, and an answer, which takes some ten such steps, would wait for hundreds of others
at each. A few after the other they are done as soon, and the first of them sooner.
"""

import asyncio
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

AT_ONCE = 6  # as many requests for cards as share a commit
LONGEST_S = 0.25  # a turn; what takes longer waits for a thread or a disk, and others may as well wait there
OPEN_S = 1.0  # how long after such a turn nobody waits for one
PATHS = frozenset(("/api/cards", "/api/session", "/join", "/swipe"))

_own: "ContextVar[_Turn | None]" = ContextVar("turn", default=None)


def leave() -> None:
    """Let the next request begin; called by one that has a turn, and will wait for something, or has none."""
    if turn := _own.get():
        turn.leave()


class _Turn:
    """The turn of one request. It ends when its answer begins, when it stands aside, or by the clock."""

    def __init__(self, turns: "Turns") -> None:
        self._turns = turns
        self._ends = asyncio.get_running_loop().call_later(LONGEST_S, self.leave, True)
        self._is_over = False

    def leave(self, late: bool = False) -> None:
        """End it, if that has not been done; late: by the clock."""
        if not self._is_over:
            self._is_over = True
            self._ends.cancel()
            self._turns.end(late=late)


class Turns:
    """ASGI middleware that lets requests for `PATHS` wait for each other, in the order in which they came."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app
        self._free = AT_ONCE
        self._waiting: deque[asyncio.Future[bool]] = deque()  # each hears whether it has a turn or needs none
        self._open_until = 0.0  # by the loop's clock

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        can_wait = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in PATHS
        if not (can_wait and await self._take()):
            await self.app(scope, receive, send)
            return
        turn = _Turn(self)

        async def answer(message: "Message") -> None:
            turn.leave()  # who reads slowly keeps nobody waiting
            await send(message)

        token = _own.set(turn)
        try:
            await self.app(scope, receive, answer)
        finally:
            _own.reset(token)
            turn.leave()

    async def _take(self) -> bool:
        """Wait for those who came before; return whether this is a turn, which must be ended."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._open_until:
            return False
        if self._free:
            self._free -= 1
            return True
        place: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.result():  # it was given a turn in the same moment
                self.end(late=False)
            raise

    def end(self, *, late: bool) -> None:
        """Give a turn to whoever has waited longest; where it came late, let all begin."""
        if late:
            self._open_until = asyncio.get_running_loop().time() + OPEN_S
        self._free += 1
        while self._waiting and (late or self._free):
            place = self._waiting.popleft()
            if not place.done():  # else its request was given up
                self._free -= not late
                place.set_result(not late)
