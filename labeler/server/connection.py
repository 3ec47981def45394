"""One connection: how long a request may take to arrive, how much may come, how many there may be at a time.

uvicorn leaves all of this open; without limits whoever reaches the port could fill memory with one endless
header, or hold every connection that the process can have by sending nothing.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from labeler import reach
from labeler.addresses import is_loopback, neighbourhood
from labeler.server.crowding import LEAST_OPEN, MOST_FROM_ONE, Places, most_open

HEAD_S = 10.0  # for a request's head, and for a new connection to begin one
BODY_S = 20.0  # without one more byte of a body that is waited for
MOST_BODY_S = 900.0  # for a whole body: 64 MB over a slow line
WRITE_S = 20.0  # without taking one more byte of an answer
REST_S, MOST_REST_BYTES = 10.0, 256 << 20  # of a body whose request is answered already, such as with 413
LOOK_S = 1.0  # how often connections are looked at
MOST_HEAD_BYTES = 64 << 10
MOST_WAITING = 16  # requests sent ahead, before earlier ones are answered
FULL = "The server has all the connections that it can hold."


class _Watch:
    """Looks at the connections of one server, one timer for all."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.places: Places[Connection] = Places()
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Look in a moment, and then again and again as long as there is anybody."""
        at = self._loop.time() + LOOK_S
        if self._timer is None or self._timer.when() > at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.places.look(self._loop.time()):
            self.wake()


_watches: "WeakKeyDictionary[ServerState, _Watch]" = WeakKeyDictionary()


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
        if server_state not in _watches:
            _watches[server_state] = _Watch(self.loop)
        self._watch = _watches[server_state]
        self._places = self._watch.places
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
        self._places.came(self)
        self._watch.wake()
        most = most_open()
        if len(self.connections) > most:  # WebSockets are among them
            self._make_room(None)
        if self.peer is not None and self._places.count_from(self.peer) > most_from_one(most):
            self._make_room(self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._places.left(self)
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._places.left(self)
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
        self._rest()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._places.work(self)
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
        self._rest()

    def on_response_complete(self) -> None:
        self._since = self._body_since = self.loop.time()
        super().on_response_complete()
        self._rest()

    # limits ------------------------------------------------------------------------------------

    def _make_room(self, peer: str | None) -> None:
        """Close the connection that was idle, or slow with its request, for longest; else this one.

        peer  of one address; None: of all.
        """
        while (other := self._places.longest_resting(peer)) is not None and other is not self:
            self._places.work(other)
            if other.is_idle():
                other.transport.abort()
                return
        self._refuse(503, FULL, "Try again in a moment.")

    def is_idle(self) -> bool:
        """Return whether nobody waits for an answer, or the rest of one, and no request has come in whole."""
        answered = self.cycle is None or self.cycle.response_complete
        sent = not self.transport.is_closing() and not self.transport.get_write_buffer_size()
        return answered and sent and self._stage != "body"

    def _rest(self) -> None:
        """Say that this one is idle from now on, if it is."""
        if self.is_idle():
            self._places.rest(self)

    def _count(self, size: int) -> None:
        """Count part of a head, or of the trailer of a body. Raises ValueError, which ends the parser."""
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refusal = _too_long()
            raise ValueError(self._refusal[1])

    def look(self, now: float) -> bool:
        """End the connection if its other end keeps it waiting; return whether it was left as it is."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._sent_at = unsent, now
        if unsent and now - self._sent_at > WRITE_S:
            self.transport.abort()  # close() would wait for what is unsent
            return False
        if self.transport.is_closing():
            return True
        if self._is_late(now):
            self._refuse(408, "The request took too long to arrive.", "Send it again.")
            return False
        if self._places.is_working(self) and self.is_idle():  # the last of an answer has just gone
            self._since = now
            self._places.rest(self)
        return True

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
        self._places.work(self)
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


def most_from_one(most: int) -> int:
    """Return how many connections one address may have, where there may be so many in all."""
    return min(MOST_FROM_ONE, max(LEAST_OPEN, most // 4))


def _too_long() -> tuple[int, str, str]:
    return (
        431,
        "The address and the headers are too long.",
        f"Send at most {MOST_HEAD_BYTES >> 10} KB of them.",
    )
