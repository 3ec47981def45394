"""Streamlit's pages as one ASGI app, loaded behind the first cards: those need none of it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import streamlit
    from starlette.types import Receive, Scope, Send

QUIET_S = 1.0  # after the start, for the first cards; whoever opens a page sooner does not wait for its end


class Pages:
    """Passes requests on to the app that `load` returns, once that is there."""

    def __init__(self, load: "Callable[[], streamlit.App]") -> None:
        self._load = load
        self._wanted = asyncio.Event()
        self._over = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Load the pages at the first request or after a quiet second; end them with the block."""
        self._app: asyncio.Future[streamlit.App] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._over.set()
            self._wanted.set()
            await task

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(QUIET_S):
                await self._wanted.wait()
        except TimeoutError:
            pass
        if self._over.is_set():
            return
        try:
            app = await asyncio.to_thread(self._load)
            async with app.lifespan()(app):
                gc.collect()
                gc.freeze()  # else every full collection walks all that was imported (146 ms of 150)
                self._app.set_result(app)
                await self._over.wait()
        except Exception as e:  # each request for a page says it, and its traceback is in the log
            if self._app.done():
                raise
            self._app.set_exception(e)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request for a page."""
        self._wanted.set()
        app = await asyncio.shield(self._app)
        await app(scope, receive, send)
