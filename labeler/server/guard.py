"""The guard in front of every request and WebSocket: access, origin, size, and headers of answers."""

import json
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from starlette.exceptions import HTTPException

from labeler.people import COOKIE, Visitor, client_cookie, is_direct
from labeler.server.desk import Desk

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OURS = ("/api/", "/deck/", "/tiles/")  # with /swipe; the rest is Streamlit's
CACHED = ("/tiles/", "/deck/", "/static/", "/media/", "/component/")  # no cookie is set with these
PICTURE_ROUTES = ("/api/search", "/api/examples")
MOST_BYTES = 1 << 20
MOST_PICTURE_BYTES = 64 << 20
COOKIE_S = 400 * 86_400  # the longest that browsers keep one
WRONG_LINKS, WRONG_S = 10, 60  # wrong tokens from one address before it is told to wait

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STREAMLIT = "base-uri 'self'; object-src 'none'; form-action 'self'; frame-ancestors 'self'"
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
ORIGIN = re.compile(r"(https?)://([^/\s]+)\Z", re.IGNORECASE)
PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>labeler</title>'
PORTS = {"http": ":80", "https": ":443"}


class Refusal(HTTPException):
    """A request that is turned away: its status and the two sentences of every error.

    An HTTPException, because FastAPI passes those on when reading the body raises one.
    """

    def __init__(self, status: int, error: str, do: str, wait_s: int | None = None) -> None:
        super().__init__(status, error)
        self.error, self.do, self.wait_s = error, do, wait_s


class Guard:
    """ASGI middleware. Lets a request through with its visitor in `scope["labeler.visitor"]`."""

    def __init__(self, app: "ASGIApp", desk: Desk) -> None:
        self.app = app
        self._desk = desk
        self._wrong: dict[str, tuple[int, float]] = {}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reply = _Reply(scope, receive, send)
        try:
            headers = _headers(scope)
            _check_origin(scope, headers)
            visitor = await self._visitor(scope, headers)
            reply.cookie = visitor.cookie
            scope["labeler.visitor"] = visitor
            if not visitor.owner and not _is_ours(scope):
                raise Refusal(403, "Only the owner may open this page.", "Open /swipe instead.")
            if scope["type"] == "websocket":
                await self.app(scope, receive, send)
                return
            if (target := _without_token(scope, headers)) is not None:
                await reply.redirect(target)
                return
            reply.limit(headers)
            await self.app(scope, reply.receive, reply.send)
        except Refusal as refusal:
            await reply.refuse(refusal)

    async def _visitor(self, scope: "Scope", headers: dict[str, str]) -> Visitor:
        """Return who is asking. Raises Refusal for those without access."""
        desk, peer = self._desk, (scope.get("client") or (None,))[0]
        direct = is_direct(headers, peer)
        cookie = client_cookie(headers.get("cookie", ""))
        token = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))).get("token")
        if token is not None and await desk.read(lambda _: desk.door.opens(token)):
            visitor = await desk.read(lambda _: desk.door.admit(cookie))
            if visitor.person is None:
                await desk.enter(visitor)
            return visitor
        found = None
        if cookie is not None:
            found = desk.door.known(cookie, direct=direct)
            found = found or await desk.read(lambda _: desk.door.look_up(cookie, direct=direct))
        found = found or desk.door.welcome(direct=direct)
        if found is None:
            raise self._no_access(peer or "", wrong=token is not None)
        return found

    def _no_access(self, peer: str, *, wrong: bool) -> Refusal:
        """Return the refusal of somebody unknown; whoever keeps guessing tokens is told to wait."""
        if not wrong:
            return Refusal(401, "This server needs its link.", "Open the link that labeler start printed.")
        now = time.monotonic()
        count, since = self._wrong.get(peer, (0, now))
        if now - since > WRONG_S:
            count, since = 0, now
        if len(self._wrong) > 10_000:
            self._wrong.clear()
        self._wrong[peer] = (count + 1, since)
        if count >= WRONG_LINKS:
            wait_s = max(1, round(WRONG_S - (now - since)))
            return Refusal(429, "Too many wrong links came from here.", f"Wait {wait_s} s.", wait_s)
        return Refusal(401, "This link is not valid.", "Open the link that labeler start printed.")


def _headers(scope: "Scope") -> dict[str, str]:
    """Return the headers of a request, cookies joined. Raises Refusal for a second Host or Origin."""
    out: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in ("host", "origin") and name in out:
            raise Refusal(400, f"The request has two {name} headers.", "Send one.")
        text = value.decode("latin-1")
        out[name] = f"{out[name]}; {text}" if name == "cookie" and name in out else text
    return out


def _is_ours(scope: "Scope") -> bool:
    path: str = scope["path"]
    return path == "/swipe" or path.startswith(OURS)


def _check_origin(scope: "Scope", headers: dict[str, str]) -> None:
    """Raise Refusal when a browser says that another site made this request."""
    host, origin = headers.get("host", "").lower(), headers.get("origin")
    if origin is not None:
        match = ORIGIN.match(origin.lower())
        default = PORTS[match[1]] if match else ""
        if match is None or match[2].removesuffix(default) != host.removesuffix(default):
            raise _foreign()
    site = headers.get("sec-fetch-site", "none")
    navigates = (
        scope.get("method") == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
    if site not in ("same-origin", "none") and not navigates:
        raise _foreign()


def _foreign() -> Refusal:
    return Refusal(403, "The request comes from another site.", "Open this server's own pages instead.")


def _without_token(scope: "Scope", headers: dict[str, str]) -> str | None:
    """Return the address without its token, for a page that was opened by a link; else None."""
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    rest = [(name, value) for name, value in query if name != "token"]
    page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
    if len(rest) == len(query) or not page or scope["path"].startswith("/api/"):
        return None
    path = "/" + quote(scope["path"].lstrip("/\\"))  # one slash: "//name" would be another host
    return path + ("?" + urlencode(rest) if rest else "")


class _Reply:
    """The way back of one request: adds headers, counts the body, refuses."""

    def __init__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._left = -1  # bytes that the body may still have; below 0: any number
        self._started = False
        self.cookie: str | None = None

    def limit(self, headers: dict[str, str]) -> None:
        """Raise Refusal for a body that says it is too large; watch one that does not say."""
        path = self._scope["path"]
        if not _is_ours(self._scope):
            return
        self._left = MOST_PICTURE_BYTES if path.startswith(PICTURE_ROUTES) else MOST_BYTES
        said = headers.get("content-length", "0")
        if said.isdecimal() and int(said[:20]) > self._left:
            raise _too_large(self._left)

    async def receive(self) -> "Message":
        message = await self._receive()
        if message["type"] == "http.request" and self._left >= 0:
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(MOST_BYTES)
        return message

    async def send(self, message: "Message") -> None:
        if message["type"] == "http.response.start":
            self._started = True
            ours = _is_ours(self._scope)
            message = {**message, "headers": [*message.get("headers", []), *self._extra(message, ours)]}
        await self._send(message)

    def _extra(self, message: "Message", ours: bool) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in message.get("headers", [])}
        extra = [h for h in HEADERS if h[0] not in given]
        if b"content-security-policy" not in given:
            extra.append((b"content-security-policy", (STRICT if ours else STREAMLIT).encode()))
        if b"cache-control" not in given and ours:
            extra.append((b"cache-control", b"no-store"))
        if self.cookie and not self._scope["path"].startswith(CACHED):
            secure = "; Secure" if self._scope.get("scheme") == "https" else ""
            # Lax, not Strict: a link in a message must still bring the cookie along
            text = f"{COOKIE}={self.cookie}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}"
            extra.append((b"set-cookie", text.encode()))
        return extra

    async def redirect(self, target: str) -> None:
        await self._answer(303, b"", [(b"location", target.encode("ascii")), (b"cache-control", b"no-store")])

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, as JSON or, to somebody who opens a page, as a page."""
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": 1008, "reason": refusal.error})
            return
        if self._started:
            raise refusal
        headers = [(b"cache-control", b"no-store")]
        if refusal.wait_s is not None:
            headers.append((b"retry-after", str(refusal.wait_s).encode()))
        if refusal.status_code == 413:
            headers.append((b"connection", b"close"))
        accept = dict(self._scope["headers"]).get(b"accept", b"")
        if b"text/html" in accept and not self._scope["path"].startswith("/api/"):
            headers.append((b"content-type", b"text/html; charset=utf-8"))
            body = f"{PAGE}<p>{refusal.error}<p>{refusal.do}".encode()
        else:
            headers.append((b"content-type", b"application/json"))
            body = json.dumps({"error": refusal.error, "do": refusal.do}).encode()
        await self._answer(refusal.status_code, body, headers)

    async def _answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> Refusal:
    return Refusal(413, "The request is too large.", f"Send at most {most >> 20} MB at a time.")
