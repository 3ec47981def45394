"""uvicorn, set up for answering one household quickly and stopping at once."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


Sockets = list[socket.socket] | None
AT_ONCE = 64  # connections taken in one go, before those that are there are heard, or make room
LINE = 2048  # connections that may wait to be taken
LOGS = ("uvicorn", "uvicorn.access", "uvicorn.asgi", "uvicorn.error", "websockets")


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep uvicorn's logs as they are while Streamlit is imported, which would print every request."""
    logs = [logging.getLogger(name) for name in LOGS]
    before = [(log.level, log.propagate, log.handlers[:]) for log in logs]
    yield
    for log, (level, propagate, handlers) in zip(logs, before, strict=True):
        log.setLevel(level)
        log.propagate, log.handlers[:] = propagate, handlers


_listen: list[Callable[[str], Awaitable[None]]] = []
"""How the server of this process listens at one more address; empty: it runs no server, or another one's."""


def may_listen() -> bool:
    """Return whether the server of this process can listen at one more address."""
    return bool(_listen)


async def listen_at(host: str) -> None:
    """Listen at one more address, at the same port, until the server stops. Raises OSError where it can't."""
    await _listen[-1](host)


def run(
    app: "ASGIApp",
    *,
    host: str,
    port: int,
    on_stop: Callable[[], None],
    sockets: Sockets = None,
) -> None:
    """Serve `app` until a signal to stop; `on_stop` is called at the first, before anything is closed.

    sockets  that listen there already; None: it begins to.
    """
    import uvicorn

    from labeler import reach
    from labeler.server.connection import Connection
    from labeler.server.crowding import most_open
    from labeler.server.secure import Secure

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            on_stop()
            super().handle_exit(sig, frame)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for server in self.servers:
                _lengthen(server)
            _listen[:] = [self.listen_at]

        async def listen_at(self, host: str) -> None:
            def connected() -> asyncio.Protocol:
                return kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)

            loop = asyncio.get_running_loop()
            made = await loop.create_server(connected, host, port, backlog=AT_ONCE)
            _lengthen(made)
            self.servers.append(made)  # which ends with the others

    kind = Secure if reach.current().identity else Connection
    config = uvicorn.Config(
        app, host=host, port=port, http=kind, ws="websockets-sansio", log_level="warning",
        access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
        backlog=AT_ONCE,
    )  # fmt: skip
    _listen.clear()
    most_open()  # lets this process open more files, before the first connection
    Server(config).run(sockets)


def _lengthen(server: asyncio.Server) -> None:
    """Let more connections wait than are taken in one go."""
    for listening in server.sockets:
        with socket.fromfd(listening.fileno(), listening.family, listening.type) as twin:
            twin.listen(LINE)  # asyncio has one number for both
