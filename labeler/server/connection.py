"""One connection: how long a request may take to arrive, how much may come, how many there may be at a time.

uvicorn leaves all of this open; without limits whoever reaches the port could fill memory with one endless
header, or hold every connection that the process can have by sending nothing.
"""

import asyncio
import json
from collections.abc import Collection
from functools import cache
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from labeler import reach
from labeler.people import is_loopback, neighbourhood

HEAD_S = 10.0  # for a request's head, and for a new connection to begin one
BODY_S = 20.0  # without one more byte of a body that is waited for
MOST_BODY_S = 900.0  # for a whole body: 64 MB over a slow line
WRITE_S = 20.0  # without taking one more byte of an answer
REST_S, MOST_REST_BYTES = 10.0, 256 << 20  # of a body whose request is answered already, such as with 413
LOOK_S = 1.0  # how often a connection is looked at
MOST_HEAD_BYTES = 64 << 10
MOST_WAITING = 16  # requests sent ahead, before earlier ones are answered
MOST_OPEN = 1000
MOST_FROM_ONE = 128  # from one address: a household, or a class behind one router
FULL = "The server has all the connections that it can hold."


@cache
def most_open() -> int:
    """Return how many there may be: half of the files that this process may open, at most 1000."""
    try:
        import resource
    except ImportError:  # Windows sets no such limit
        return MOST_OPEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * MOST_OPEN:  # 256 on macOS: a dozen phones
        wanted = 2 * MOST_OPEN if hard == resource.RLIM_INFINITY else min(2 * MOST_OPEN, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass  # then with as many as there are
    return min(MOST_OPEN, max(16, soft // 2))


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits. A WebSocket leaves it once its request has come."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: as uvicorn has it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False  # Streamlit turns it on when it is imported; addresses may hold a token
        self.peer: str | None = None  # None: this machine or a trusted proxy, which are not counted
        self._stage = ""  # which part of a request is arriving: head, body, or none
        self._since = self._body_since = self._sent_at = self.loop.time()
        self._unsent = 0
        self._head_bytes = self._raw_bytes = self._rest_bytes = 0
        self._refusal: tuple[int, str, str] | None = None

    # what uvicorn calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        self.peer = None if is_loopback(host) or reach.current().trusts(host) else neighbourhood(host)
        self._timer = self.loop.call_later(LOOK_S, self._look)
        if len(self.connections) > most_open():
            self._make_room(self.connections)
        if self.peer is not None:
            # getattr: WebSockets are among them
            near = {c for c in self.connections if getattr(c, "peer", None) == self.peer}
            if len(near) > MOST_FROM_ONE:
                self._make_room(near)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._timer.cancel()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        if self._stage != "body":
            self._raw_bytes += len(data)
        super().data_received(data)
        if self._stage == "head" and self._raw_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(*_too_long())  # the parser keeps an unfinished header to itself

    def send_400_response(self, msg: str) -> None:
        what = "This is no HTTP request that can be read.", "Send one request after the other, as HTTP says."
        self._refuse(*(self._refusal or (400, *what)))

    # what the parser calls ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_WAITING:
            self._refusal = 400, "Too many requests were sent ahead.", "Wait for answers."
            raise ValueError(self._refusal[1])  # ends the parser, which calls send_400_response
        self._stage, self._since, self._head_bytes = "head", self.loop.time(), 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._stage, self._raw_bytes, self._rest_bytes = "body", 0, 0
        self._since = self._body_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        self._since = self.loop.time()
        if self.cycle is not None and self.cycle.response_complete:
            self._rest_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stage, self._since = "", self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._since = self._body_since = self.loop.time()
        super().on_response_complete()

    # limits ------------------------------------------------------------------------------------

    def _make_room(self, among: Collection[object]) -> None:
        """Close the one of `among` that was idle, or slow with its request, for longest; else this one."""
        idle = [c for c in among if isinstance(c, Connection) and c is not self and c.is_idle()]
        if idle:
            min(idle, key=lambda c: c._since).transport.abort()
        else:
            self._refuse(503, FULL, "Try again in a moment.")

    def is_idle(self) -> bool:
        """Return whether nobody waits for an answer here, and no request has come in whole."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self._stage != "body" and not self.transport.is_closing()

    def _count(self, size: int) -> None:
        """Count part of a head, or of the trailer of a body. Raises ValueError, which ends the parser."""
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refusal = _too_long()
            raise ValueError(self._refusal[1])

    def _look(self) -> None:
        """Close the connection if its other end keeps it waiting; else look again in a moment."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._sent_at = unsent, now
        if unsent and now - self._sent_at > WRITE_S:
            self.transport.abort()  # close() would wait for what is unsent
        elif not self.transport.is_closing() and self._is_late(now):
            self._refuse(408, "The request took too long to arrive.", "Send it again.")
        self._timer = self.loop.call_later(LOOK_S, self._look)

    def _is_late(self, now: float) -> bool:
        """Return whether the rest of a request is overdue."""
        cycle = self.cycle
        answered = cycle is None or cycle.response_complete
        if self._stage != "body":
            return answered and now - self._since > HEAD_S
        if answered:
            return now - self._body_since > REST_S or self._rest_bytes > MOST_REST_BYTES
        if self.flow.read_paused or cycle.waiting_for_100_continue:  # it waits for us
            self._since = now
        return now - self._since > BODY_S or now - self._body_since > MOST_BODY_S

    def _refuse(self, status: int, error: str, do: str) -> None:
        """Answer in place of the app, unless it has begun to, and close."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            answers = self._stage == "head" or status == 503  # some are opened in advance and never used
        else:
            answers = not cycle.response_started and not self.pipeline
            cycle.disconnected = True  # the app hears of it, and what it still says is dropped
            cycle.message_event.set()
        if answers:
            body = json.dumps({"error": error, "do": do}).encode()
            lines = [
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "content-type: application/json",
                f"content-length: {len(body)}", "cache-control: no-store", "connection: close",
                *(["retry-after: 10"] if status == 503 else []), "", "",
            ]  # fmt: skip
            self.transport.write("\r\n".join(lines).encode("ascii") + body)
        self.transport.close()


def _too_long() -> tuple[int, str, str]:
    return (
        431,
        "The address and the headers are too long.",
        f"Send at most {MOST_HEAD_BYTES >> 10} KB of them.",
    )
