"""The page /screen: a question for a whole room, with the code to join, read from ten meters."""

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse

from labeler import board, disputes, loop, people, reach, wording
from labeler.domain import SKIP, Session
from labeler.server import light
from labeler.server.guard import Refusal
from labeler.server.plain import text, whole, words_for
from labeler.server.thanking import together
from labeler.server.tiles import tile_url

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.links import Link
    from labeler.server.desk import Desk
    from labeler.tongue import Words
    from labeler.workspace import Workspace

Json = dict[str, Any]  # Any: JSON
PRESENT_S = 120.0  # whose last answer came within it is on
FINDS = 8
ON_SCREEN = 5  # of the board


class Screen:
    """The routes /screen and /screen/now, for owners alone: the code on it lets people in."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def page(self, request: "Request") -> "Response":
        """Return the page. It holds no figures: its script asks for them again and again."""
        _refuse_others(request)
        words = words_for(request)
        head = (
            f'<!doctype html><html lang="{words.language}"><meta charset="utf-8">'
            f"<title>{text(words('screen.title'))}</title>"
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            '<meta name="color-scheme" content="dark"><meta name="robots" content="noindex">'
            '<link rel="icon" href="deck/icon.svg">'
            f'<link rel="stylesheet" href="{light.address("screen.css")}">'
            f'<script type="module" src="{light.address("screen.js")}"></script>'
        )
        body = f'<main id="screen" data-away="{text(words("screen.away"))}"></main>'
        return HTMLResponse(head + body, headers={"Cache-Control": "no-store"})

    async def now(self, request: "Request") -> "Response":
        """Return what the screen shows, in words, as JSON."""
        _refuse_others(request)
        words, number = words_for(request), whole(request.query_params.get("session"))
        facts = await self._desk.read(lambda ws: _facts(ws, number, self._desk.stamp, words))
        session: Session = facts.pop("session")
        if session.votes > 1:
            known = (await self._desk.ponder(lambda ws: disputes.lately(ws, session))).whole
            if known is not None and known.alpha is not None:
                agreed = {"value": f"{known.alpha:.2f}", "word": words("screen.agreement")}
                facts["figures"].append(agreed)
        return JSONResponse(facts, headers={"Vary": "Accept-Language"})


def _refuse_others(request: "Request") -> None:
    if not request.scope["labeler.visitor"].owner:
        raise Refusal(403, "Only the owner may open this page.", "Open /swipe instead.")


def _facts(ws: "Workspace", number: int | None, stamp: str, words: "Words") -> Json:
    session = loop.get_session(ws, number)
    facts = loop.session_status(ws, session)
    images = loop.pool_counts(ws)[2]
    answered = sum(n for name, n in facts["counts"].items() if name != SKIP)
    figures = [
        (f"{ws.journal.count_people(session.id, PRESENT_S):,}", "screen.on"),
        (f"{facts['per_minute']:,}", "screen.pace"),
        (f"{answered:,}", "screen.answered")
        if session.goal != "find"
        else (f"{facts['found']:,}", "screen.found"),
        (wording.at_least(answered / images) if images else "—", "screen.seen"),
    ]
    return {
        "session": session,
        "question": words.question(session.question),
        "notice": session.notice,
        "state": "" if session.state == "open" else words(f"screen.{session.state}"),
        "figures": [{"value": value, "word": words(key)} for value, key in figures],
        "together": "" if facts["estimate"] is None else together(words, facts),
        "band": _band(facts["estimate"]),
        "finds": [reach.at(tile_url(stamp, i, "256")) for i in ws.journal.newest_finds(session.id, FINDS)],
        "newest": words("screen.newest"),
        "board": [{"name": name, "points": f"{n:,}"} for name, n in board.board(ws, session)[:ON_SCREEN]],
        **_join(ws, session, words),
    }


def _band(estimate: Json | None) -> list[float | None] | None:
    """Return the low end, the middle (None: there is none) and the high end of the share found."""
    if estimate is None:
        return None
    middle = None if estimate["next_finds"] >= wording.OFTEN else estimate["share"]
    return [estimate["low"], middle, estimate["high"]]


def _join(ws: "Workspace", session: Session, words: "Words") -> Json:
    """Return how one joins, or what the owner has to do so that the screen can say it."""
    if not reach.current().shared:
        return {"join": None, "hint": words("screen.alone")}
    link = next((link for link in ws.roster.links() if _may_show(link, session)), None)
    code = None if link is None else people.code_of(link.id)
    if code is None:
        return {"join": None, "hint": words("screen.no_code")}
    url = reach.current().url
    join = {
        "code": code,
        "address": f"{url.removeprefix('http://')}/join",
        "picture": _picture(people.join_url(url, code)),
    }
    return {"join": join, "hint": words("screen.join")}


def _may_show(link: "Link", session: Session) -> bool:
    """Return whether a link may hang on a wall: it lets people answer, and no more, and its code is known."""
    fits = link.role == "swipe" and link.session in (None, session.id)
    return fits and link.shut(time.time()) is None and people.code_of(link.id) is not None


@lru_cache(8)
def _picture(url: str) -> str:
    import segno

    return str(segno.make(url, error="m").svg_data_uri(scale=8, border=3, omitsize=True))
