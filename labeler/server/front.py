"""In front of the guard: what a proxy says of a request, and the path below which all lies for browsers.

Behind it everything is as if there were neither: addresses begin at /, and the sender, the host and the
scheme are the browser's. Addresses in answers get the path back.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

from labeler import reach
from labeler.addresses import is_direct

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

SECURE = ("https", "wss")
SOCKETS = {"http": "ws", "https": "wss"}


class Front:
    """ASGI middleware that translates between a browser's view of the addresses and the server's own."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        here = reach.current()
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        peer = (scope.get("client") or ("",))[0]
        if here.trusts(peer) and not _is_direct(scope, peer):
            scope = _passed_on(scope, here)
        is_secure = scope["scheme"] in SECURE
        if not here.base and not is_secure:
            await self.app(scope, receive, send)
            return
        if here.base and scope["path"] == here.base and scope["type"] == "http":
            await _to_slash(scope, here.base, send)
            return

        async def answer(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = _outward(message.get("headers", []), scope, here.base, is_secure)
                message = {**message, "headers": headers}
            await send(message)

        await self.app(_below(scope, here.base), receive, answer)


def _is_direct(scope: "Scope", peer: str) -> bool:
    """Return whether a browser on this machine asks by itself, past the proxy."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return is_direct(headers, peer) and scope.get("http_version") != "1.0"


def _passed_on(scope: "Scope", here: reach.Reach) -> "Scope":
    """Return a request as the browser has sent it to the proxy, by what a trusted proxy says."""
    said = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    sender = reach.first_stranger(said.decode("latin-1"), here)
    scheme = here.public.partition("://")[0] or _said_scheme(scope["headers"])
    scope = dict(scope)
    if sender is not None:
        scope["client"] = (sender, 0)
    if scheme:
        scope["scheme"] = SOCKETS[scheme] if scope["type"] == "websocket" else scheme
    if here.public:
        host = here.public.partition("://")[2].encode()
        scope["headers"] = [
            *((name, value) for name, value in scope["headers"] if name != b"host"), (b"host", host)
        ]  # fmt: skip
    return scope


def _said_scheme(headers: Headers) -> str:
    """Return the last scheme that X-Forwarded-Proto names: that of the nearest proxy; "" for none."""
    said = [value for name, value in headers if name == b"x-forwarded-proto"]
    last = said[-1].rpartition(b",")[2].strip().lower() if said else b""
    return {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}.get(last, "")


def _below(scope: "Scope", base: str) -> "Scope":
    """Return a request without the base path, which some proxies pass on and others take off."""
    path: str = scope["path"]
    if not base or not path.startswith(f"{base}/"):
        return scope
    rest, raw = path[len(base) :], scope.get("raw_path") or b""
    raw = raw[len(base) :] if raw.startswith(f"{base}/".encode()) else quote(rest).encode()
    return {**scope, "path": rest, "raw_path": raw}


async def _to_slash(scope: "Scope", base: str, send: "Send") -> None:
    """Send the browser from /labels to /labels/, against which the pages' own addresses are read."""
    query = scope.get("query_string", b"")
    headers = [
        (b"location", f"{base}/".encode() + (b"?" + query if query else b"")),
        (b"content-length", b"0"), (b"cache-control", b"no-store"), (b"referrer-policy", b"same-origin"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _outward(headers: Headers, scope: "Scope", base: str, is_secure: bool) -> Headers:
    """Return the headers of an answer as the browser needs them: the base path in redirects and cookies,
    and cookies for encrypted connections only where this one is."""
    out = []
    for name, value in headers:
        lower = name.lower()
        if lower == b"location" and base:
            value = _moved(value, scope, base.encode())
        elif lower == b"set-cookie":
            value = _cookie(value, base.encode(), is_secure)
        out.append((name, value))
    return out


def _moved(location: bytes, scope: "Scope", base: bytes) -> bytes:
    """Return where a redirect leads, below the base path if it leads to this server."""
    own = b""
    if not location.startswith(b"/"):
        own = scope["scheme"].encode() + b"://" + dict(scope["headers"]).get(b"host", b"")
    path = location.removeprefix(own)
    if path.startswith(b"//") or not path.startswith(b"/") or not location.startswith(own):
        return location
    return location if path.startswith(base + b"/") else own + base + path


def _cookie(cookie: bytes, base: bytes, is_secure: bool) -> bytes:
    parts = [part.strip() for part in cookie.split(b";")]
    if base:
        parts = [b"Path=" + base if part.lower() == b"path=/" else part for part in parts]
    if is_secure and b"secure" not in [part.lower() for part in parts]:
        parts.append(b"Secure")
    return b"; ".join(parts)
