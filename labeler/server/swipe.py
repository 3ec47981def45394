"""The light page at /swipe, with its first card inside: its picture is on the way with the first bytes."""

import json
import secrets
from typing import TYPE_CHECKING, Any

from labeler import loop, packs
from labeler.domain import Card
from labeler.errors import LabelerError
from labeler.server import light
from labeler.server.cards import person_of, session_json
from labeler.server.desk import Desk
from labeler.server.plain import words_for
from labeler.server.wire import card_json
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.door import Visitor

AHEAD = ("sec-purpose", "purpose", "x-purpose", "x-moz")  # say that nobody looks yet: prefetch, preview


class SwipePage:
    """The route /swipe."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def respond(self, request: "Request") -> "Response":
        """Return the light page, with a card for somebody who opens it; without for whoever only looks ahead.

        `?shell` asks for the page alone: that is what a browser keeps for times without a network.
        """
        start = await self._start(request) if is_opened(request) else None
        if start is None:
            return light.page(request)
        picture = start["card"] and start["card"]["url"]
        told = json.dumps(start, separators=(",", ":")).replace("<", "\\u003c")
        held = f'<script type="application/json" id="labeler-start">{told}</script>'
        return light.page(request, picture, held)

    async def _start(self, request: "Request") -> dict[str, Any] | None:  # Any: JSON
        """Return where the session stands and a card, leased; None: the deck asks, and hears what is wrong.

        `page` is another word each time: a page that a browser kept, and shows again, gives no card.
        """
        desk, visitor, words = self._desk, request.scope["labeler.visitor"], words_for(request)
        named = request.query_params.get("session", "")
        if named and not (named.isascii() and named.isdecimal() and 0 < len(named) <= 15 and int(named)):
            return None
        session = int(named) if named else visitor.session
        try:
            card = await desk.write(lambda ws: _deal(desk, ws, visitor, session))
            told = await desk.read(lambda ws: session_json(desk, ws, visitor, session, words))
        except LabelerError:
            return None
        sent = None if card is None else card_json(card, desk.stamp, owner=visitor.owner)
        return {"page": secrets.token_hex(6), "session": told, "card": sent}


def is_opened(request: "Request") -> bool:
    """Return whether somebody is opening the page: who is known, or a browser that asks for a page.

    Not a look ahead of a browser or a messenger, and not a request without a cookie by something else:
    for that one nobody is stored.
    """
    if request.method != "GET" or "shell" in request.query_params:
        return False
    if any(request.headers.get(name) for name in AHEAD):
        return False
    visitor: Visitor = request.scope["labeler.visitor"]
    return visitor.person is not None or "text/html" in request.headers.get("accept", "")


def _deal(desk: Desk, ws: Workspace, visitor: "Visitor", session: int | None) -> Card | None:
    """Return a card; None for somebody who has cards along, most likely here: these are to be shown."""
    asked, who = loop.get_session(ws, session), person_of(desk, ws, visitor)
    if packs.held(ws, asked, who.id) or (asked.state != "open" and not visitor.owner):
        return None
    cards = loop.next_cards(ws, asked, who.id, 1, device=who.device)
    return cards[0] if cards else None
