"""Streamlit's pages as one ASGI app, loaded behind the first cards: those need none of it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from labeler.tongue import DEFAULT, choose

if TYPE_CHECKING:
    import streamlit
    from starlette.types import Message, Receive, Scope, Send

ASKED = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")  # what changes a file's answer
KNOWN = (b"etag", b"last-modified", b"accept-ranges", b"content-length")
LANGUAGE = b'<html lang="%s"'
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
        headers = dict(scope["headers"])
        is_page = scope["type"] == "http" and scope["method"] == "GET"
        if not is_page or b"text/html" not in headers.get(b"accept", b""):
            await app(scope, receive, send)
            return
        spoken = _Spoken(choose(headers.get(b"accept-language", b"").decode("latin-1")), send)
        await app(spoken.asked(scope), receive, spoken.send)


class _Spoken:
    """Sends Streamlit's one page, which calls itself English, with the language in which it will be drawn.

    Screen readers go by that. The page is then no file that a browser knows by its date.
    """

    def __init__(self, language: str, send: "Send") -> None:
        self._language, self._send = language, send
        self._start: Message | None = None
        self._body = b""

    def asked(self, scope: "Scope") -> "Scope":
        """Return the request, for another language as one for the whole page, plain."""
        if self._language == DEFAULT:
            return scope
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in ASKED]
        return {**scope, "headers": kept}

    async def send(self, message: "Message") -> None:
        """Send a part of the answer; of a page in another language nothing before it is whole."""
        if message["type"] == "http.response.start":
            headers = message.get("headers", [])
            if not dict(headers).get(b"content-type", b"").startswith(b"text/html"):
                await self._send(message)
                return
            message = {**message, "headers": [*headers, (b"vary", b"Accept-Language")]}
            if self._language == DEFAULT:
                await self._send(message)
            else:
                self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._whole(self._start)

    async def _whole(self, start: "Message") -> None:
        old, new = LANGUAGE % DEFAULT.encode(), LANGUAGE % self._language.encode()
        body = self._body.replace(old, new, 1)
        headers = [one for one in start["headers"] if one[0].lower() not in KNOWN]
        headers += [
            (b"content-length", str(len(body)).encode()),
            (b"content-language", self._language.encode()),
        ]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})
