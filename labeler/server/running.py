"""uvicorn, set up for answering one household quickly and stopping at once."""

from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def run(app: "ASGIApp", *, host: str, port: int, on_stop: Callable[[], None]) -> None:
    """Serve `app` until a signal to stop; `on_stop` is called at the first, before anything is closed."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            on_stop()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app, host=host, port=port, http="httptools", ws="websockets-sansio", log_level="warning",
        access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    Server(config).run()
