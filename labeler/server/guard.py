"""The guard in front of every request and WebSocket: access, origin, size, and headers of answers."""

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from starlette.exceptions import HTTPException

from labeler.addresses import is_direct
from labeler.door import COOKIE, GUEST, Visitor, client_cookies
from labeler.errors import Blocked, Missing, TooMany
from labeler.nicknames import offered_name
from labeler.people import read_code
from labeler.server.desk import Desk
from labeler.server.sockets import Watched
from labeler.tongue import Words

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OFF = (  # Streamlit's, and nothing here uses them: each is one way in less
    "/_stcore/agent/", "/_stcore/metrics", "/_stcore/script-health-check", "/auth/", "/oauth2callback",
    "/component/", "/app/static/",
)  # fmt: skip
OURS = ("/api/", "/deck/", "/tiles/")  # with the light pages; the rest is Streamlit's
JOIN = "/join"
LIGHT = ("/swipe", JOIN, "/me", "/disputes", "/screen", "/screen/now", "/share", "/learn", "/board")
CACHED = ("/tiles/", "/deck/", "/static/", "/media/", "/component/")  # no cookie is set with these
PICTURE_ROUTES = ("/api/search", "/api/examples")
MOST_BYTES = 1 << 20
MOST_PICTURE_BYTES = 64 << 20
MOST_SOCKETS = 256  # pages of Streamlit that are open at a time
COOKIE_S = 400 * 86_400  # the longest that browsers keep one

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
PAGE = (
    '<!doctype html><html lang="{language}"><meta charset="utf-8"><title>labeler</title>'
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
)
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
        self._guesses = desk.guesses
        self._sockets = 0  # WebSockets that are open

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reply = _Reply(scope, receive, send)
        try:
            headers = _headers(scope)
            _check_origin(scope, headers)
            visitor = await self._visitor(scope, headers)
            reply.keep(visitor, beside(headers.get("cookie", ""), self._desk.stamp))
            scope["labeler.visitor"] = visitor
            if scope["path"].startswith(OFF) or "\n" in scope["path"]:  # which no route matches
                raise Refusal(404, "There is no such address.", "Open the first page.")
            if visitor.guest and scope["path"] != JOIN:
                await reply.redirect(f"{JOIN}?{urlencode({'token': read_code(_token(scope) or '') or ''})}")
                return
            if not visitor.owner and not _is_ours(scope):
                raise Refusal(403, "Only the owner may open this page.", "Open /swipe instead.")
            if scope["type"] == "websocket":
                await self._open(scope, receive, send)
                return
            if visitor.guest or scope["path"] == JOIN:  # whose page needs the code
                reply.limit(headers)
                await self.app(scope, reply.receive, reply.send)
                return
            if (target := _without_token(scope, headers)) is not None:
                await reply.redirect(target)
                return
            reply.limit(headers)
            await self.app(scope, reply.receive, reply.send)
        except Refusal as refusal:
            await reply.refuse(refusal)
        except Blocked as e:
            await reply.refuse(Refusal(503, e.error, e.do, e.wait_s))

    async def _open(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a WebSocket on. Raises Refusal where too many are open: each holds a page's state."""
        if self._sockets >= MOST_SOCKETS:
            raise Refusal(503, "Too many pages are open.", "Close some, then reload this one.")
        self._sockets += 1
        watched = Watched(receive, send, lambda: self._still_owns(scope))
        try:
            await self.app(scope, watched.receive, watched.send)
        finally:
            self._sockets -= 1

    async def _still_owns(self, scope: "Scope") -> bool:
        """Return whether a WebSocket's visitor is an owner still: it may have been opened hours ago."""
        door, headers = self._desk.door, _headers(scope)
        if door.is_stale():
            await self._desk.refresh()
        direct = _is_direct(scope, headers)
        cookies = client_cookies(headers.get("cookie", ""), self._desk.stamp)
        found = door.known(cookies, direct=direct)
        if found is None and door.may_know(cookies, direct=direct):
            found = await self._desk.read(lambda _: door.look_up(cookies, direct=direct))
        return door.is_owner(direct) if found is None else found.owner

    async def _visitor(self, scope: "Scope", headers: dict[str, str]) -> Visitor:
        """Return who is asking. Raises Refusal for those without access."""
        desk, peer = self._desk, (scope.get("client") or ("",))[0]
        direct = _is_direct(scope, headers)
        cookies = client_cookies(headers.get("cookie", ""), desk.stamp)
        token = _token(scope)
        comes_by = None if token is None else await desk.read(lambda _: desk.door.look_at(token))
        if comes_by == "owner":
            visitor = await desk.read(lambda _: desk.door.admit(cookies))
            if visitor.person is None:
                await desk.enter(visitor)
            return visitor
        if desk.door.is_stale():
            await desk.refresh()
        found = desk.door.known(cookies, direct=direct)
        may_know = found is None and desk.door.may_know(cookies, direct=direct)
        if may_know:
            found = await desk.read(lambda _: desk.door.look_up(cookies, direct=direct))
        found = found or desk.door.welcome(direct=direct)
        if scope["path"] == JOIN and scope["type"] == "http":
            return found or GUEST  # the page itself counts guesses
        code = None if token is None else read_code(token)
        if code is not None and comes_by is not None:
            if found is not None and not await desk.read(lambda _: desk.door.lets_anew(found, code)):
                return found
            return await self._come_in(scope, headers, code)
        had_access = found is None and token is None and may_know
        if had_access and await desk.read(lambda _: desk.door.has_ended(cookies)):
            raise Refusal(401, "Your access has ended.", "Ask whoever invited you.")
        self._check_guess(peer, token, found, cookies)
        if found is not None:
            return found
        error = "This server needs its link." if token is None else "This link is not valid."
        raise Refusal(401, error, "Open the link that you were given, or the one that labeler start printed.")

    async def _come_in(self, scope: "Scope", headers: dict[str, str], code: str) -> Visitor:
        """Return the visitor who comes with a link: a guest who opens a page, and is asked for a name there.

        A program is let in at once, by a name that is offered. Raises Refusal for a link that is shut.
        """
        if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            return GUEST
        words = Words(headers.get("accept-language", ""))
        try:
            peer = (scope.get("client") or ("",))[0]
            return (await self._desk.join(code, offered_name(words), peer))[0]
        except Missing as e:
            raise Refusal(401, e.error, e.do) from e
        except TooMany as e:
            raise Refusal(429, e.error, e.do, e.wait_s) from e

    def _check_guess(self, peer: str, token: str | None, found: Visitor | None, cookies: list[str]) -> None:
        """Raise Refusal for somebody who has sent too many wrong links or cookies."""
        wait_s = None
        if token is not None and (found is None or not found.owner):
            wait_s = self._guesses.wrong(peer, token, again=True)
        elif found is None and cookies:
            wait_s = self._guesses.wrong(peer, cookies[0], again=False)
        if wait_s is not None:
            raise Refusal(429, "Too many wrong links came from here.", f"Wait {wait_s} s.", wait_s)


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


def _is_direct(scope: "Scope", headers: dict[str, str]) -> bool:
    """Return whether a request comes straight from this machine."""
    # HTTP/1.0 is how nginx passes on what it is sent when nobody tells it to name the sender
    return (
        is_direct(headers, (scope.get("client") or ("",))[0] or None) and scope.get("http_version") != "1.0"
    )


def _token(scope: "Scope") -> str | None:
    return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))).get("token")


def beside(cookies: str, stamp: str) -> str:
    """Return a word for the name of a new cookie where another server has set one already, else nothing."""
    return stamp if client_cookies(cookies, "") else ""


def _is_ours(scope: "Scope") -> bool:
    path: str = scope["path"]
    return path in LIGHT or path.startswith(OURS)


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


def cookie_text(visitor: Visitor, beside: str, scope: "Scope") -> bytes:
    """Return the header that sets a visitor's new cookie.

    beside  empty, or a word for the cookie's name: then it stands beside the one that another
            server on this machine has set. Ports don't keep cookies apart.
    """
    name = f"{COOKIE}_{beside}" if beside else COOKIE
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    # Lax, not Strict: a link in a message must still bring the cookie along
    return f"{name}={visitor.cookie}; Path=/; Max-Age={COOKIE_S}; HttpOnly; SameSite=Lax{secure}".encode()


class _Reply:
    """The way back of one request: adds headers, counts the body, refuses."""

    def __init__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._left = -1  # bytes that the body may still have; below 0: any number
        self._started = False
        self._most = 0
        self._cookie = b""

    def keep(self, visitor: Visitor, beside: str) -> None:
        """Set the visitor's new cookie, if they have one, with the answer; beside: as `cookie_text`."""
        if visitor.cookie is not None:
            self._cookie = cookie_text(visitor, beside, self._scope)

    def limit(self, headers: dict[str, str]) -> None:
        """Raise Refusal for a body that says it is too large; watch one that does not say."""
        if not _is_ours(self._scope):
            return
        form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        pictures = form and self._scope["path"].startswith(PICTURE_ROUTES)
        self._left = self._most = MOST_PICTURE_BYTES if pictures else MOST_BYTES
        said = headers.get("content-length", "0")
        if said.isdecimal() and int(said[:20]) > self._most:
            raise _too_large(self._most)

    async def receive(self) -> "Message":
        message = await self._receive()
        if message["type"] == "http.request" and self._left >= 0:
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(self._most)
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
        if self._cookie and b"set-cookie" not in given and not self._scope["path"].startswith(CACHED):
            extra.append((b"set-cookie", self._cookie))
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
        headers = [(b"cache-control", b"no-store"), (b"vary", b"Accept-Language")]
        if refusal.wait_s is not None:
            headers.append((b"retry-after", str(refusal.wait_s).encode()))
        sent = dict(self._scope["headers"])
        if b"expect" in sent:
            headers.append((b"connection", b"close"))  # the body may come now or never
        accept = sent.get(b"accept", b"")
        words = Words(sent.get(b"accept-language", b"").decode("latin-1"))
        error, do = words.said(refusal.error), words.said(refusal.do)
        if b"text/html" in accept and not self._scope["path"].startswith("/api/"):
            headers.append((b"content-type", b"text/html; charset=utf-8"))
            body = f"{PAGE.format(language=words.language)}<p>{error}<p>{do}".encode()
        else:
            headers.append((b"content-type", b"application/json"))
            body = json.dumps({"error": error, "do": do}).encode()
        await self._answer(refusal.status_code, body, headers)

    async def _answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> Refusal:
    return Refusal(413, "The request is too large.", f"Send at most {most >> 20} MB at a time.")
