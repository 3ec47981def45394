"""uvicorn, set up for answering one household quickly and stopping at once."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


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


def run(app: "ASGIApp", *, host: str, port: int, on_stop: Callable[[], None]) -> None:
    """Serve `app` until a signal to stop; `on_stop` is called at the first, before anything is closed."""
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
            for listening in [s for server in self.servers for s in server.sockets]:
                with socket.fromfd(listening.fileno(), listening.family, listening.type) as twin:
                    twin.listen(LINE)  # asyncio has one number for both

    kind = Secure if reach.current().identity else Connection
    config = uvicorn.Config(
        app, host=host, port=port, http=kind, ws="websockets-sansio", log_level="warning",
        access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
        backlog=AT_ONCE,
    )  # fmt: skip
    most_open()  # lets this process open more files, before the first connection
    Server(config).run()
