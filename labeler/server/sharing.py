"""The page /share: lets others reach a server that was started for this computer alone, while it runs.

The guard is strict first, and only then does the server listen to the network: at no moment does anybody come
in from there, or by being on this machine, without a link.
"""

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from labeler import addresses, members, people, places, reach
from labeler.errors import Blocked, Conflict, LabelerError
from labeler.server import running
from labeler.server.guard import Refusal, beside, cookie_text
from labeler.server.plain import page, text, words_for

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.domain import Person
    from labeler.door import Door, Visitor
    from labeler.server.desk import Desk
    from labeler.tongue import Words
    from labeler.workspace import Workspace

LASTS_S = 7 * 86_400.0  # of the link for others


class Sharing:
    """The route /share, for owners alone."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def respond(self, request: "Request") -> "Response":
        """Say what sharing does, or do it: then this browser has a cookie, and sees the owner's link once."""
        words, visitor = words_for(request), request.scope["labeler.visitor"]
        if not visitor.owner:
            raise Refusal(403, "Only the owner may open this page.", "Open /swipe instead.")
        if reach.current().shared:
            return _said(words, words("share.is"), words("share.is.do"))
        if not running.may_listen():
            return _said(words, words("share.cannot"), words("share.cannot.do"))
        if request.method == "GET":
            return _asked(words)
        person = await self._desk.enter(visitor)
        owner = await self._desk.write(lambda ws: _device(ws, person, self._desk.door))
        try:
            await self._share()
        except LabelerError:
            await self._desk.write(lambda ws: ws.roster.end_device(owner.key))
            raise
        await self._desk.write(_make_link)
        link = await self._desk.read(lambda ws: people.owner_link(ws, reach.current().url))
        answer = _done(words, link)
        answer.raw_headers.append((b"set-cookie", self._cookie(owner, request)))
        return answer

    async def _share(self) -> None:
        """Let everybody need a link, then listen. Raises Blocked where that fails: all is as before."""
        door, before, host = self._desk.door, reach.current(), _network_address()
        door.shared = True
        reach.use(replace(before, host=host))
        try:
            await running.listen_at(host)
        except OSError as e:
            reach.use(before)
            door.shared = False
            error = f"The server can't listen at {host}: {e.strerror or e}."
            raise Blocked(error, "Stop it, then start it with: labeler start --share.") from e

    def _cookie(self, owner: "Visitor", request: "Request") -> bytes:
        word = beside(request.headers.get("cookie", ""), self._desk.stamp)
        return cookie_text(owner, word, request.scope)


def _network_address() -> str:
    """Return this computer's address in its network. Raises Conflict where it is in none."""
    try:
        host = socket.gethostbyname(places.reachable("0.0.0.0"))
    except OSError:
        host = "127.0.0.1"
    if addresses.is_loopback(host):
        raise Conflict("This computer is in no network.", "Connect it to one, such as the Wi-Fi of the room.")
    return host


def _device(ws: "Workspace", person: "Person", door: "Door") -> "Visitor":
    """Return the same owner with a cookie that opens a shared server, which the one they have does not."""
    return door.join(ws, members.link_of(ws, person), person.name)[0]


def _make_link(ws: "Workspace") -> None:
    people.make_link(ws, "swipe", lasts_s=LASTS_S, made_with="share")
    ws.serves_at(reach.current().url)


def _asked(words: "Words") -> "Response":
    form = (
        f'<form method="post" action="{reach.at("/share")}"><button>{text(words("share.go"))}</button></form>'
    )
    body = f"<h1>{text(words('share.title'))}</h1><p>{text(words('share.why'))}{form}"
    plain = "" if reach.current().identity else f"{words('share.plain')} "
    small = f"<small>{text(plain + words('share.lasts'))}</small>"
    return page(words, words("share.title"), f"<main>{body}</main>", small)


def _done(words: "Words", link: str) -> "Response":
    body = (
        f"<h1>{text(words('share.done'))}</h1><p>{text(words('share.link'))}<code>{text(link)}</code>"
        f'<p><p><a class="btn" href="{reach.at("/team")}">{text(words("share.team"))}</a>'
    )
    return page(words, words("share.done"), f"<main>{body}</main>")


def _said(words: "Words", title: str, what: str) -> "Response":
    back = f'<a class="btn" href="{reach.at("/team")}">{text(words("share.team"))}</a>'
    return page(words, title, f"<main><h1>{text(title)}</h1><p>{text(what)}{back}</main>")
