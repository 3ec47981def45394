"""The page /disputes: what people differ about most, one image at a time, for reviewers and owners.

What others said is shown after one's own answer alone, so that it does not decide it.
"""

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse

from labeler import disputes, loop, reach
from labeler.domain import UNSURE, LabelEvent, Session
from labeler.server.guard import Refusal
from labeler.server.plain import page, text, whole, words_for
from labeler.server.tiles import tile_url
from labeler.tongue import Words

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.door import Visitor
    from labeler.server.desk import Desk
    from labeler.workspace import Workspace


class Disputing:
    """The route /disputes."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def respond(self, request: "Request") -> "Response":
        """Show the most disputed image that this person has not answered; take an answer, show the votes."""
        words, visitor = words_for(request), request.scope["labeler.visitor"]
        if visitor.role == "swipe":
            raise Refusal(403, "Only the owner and reviewers may do this.", "Ask whoever gave you the link.")
        number = whole(request.query_params.get("session")) or visitor.session
        if request.method == "POST":
            async with request.form(max_files=0, max_fields=10) as form:
                item, label = whole(str(form.get("item", ""))), str(form.get("label", ""))[:60]
            if item is None:
                raise Refusal(400, "The item must be a whole number.", "Go back to /disputes.")
            session = await self._desk.write(lambda ws: _answer(self._desk, ws, visitor, number, item, label))
            self._desk.worker.poke(session.id)
            self._desk.settle(session)
            target = reach.at(f"/disputes?session={session.id}&seen={item}")
            return RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
        seen = whole(request.query_params.get("seen"))
        return await self._desk.ponder(lambda ws: self._page(ws, words, visitor, number, seen))

    def _page(
        self, ws: "Workspace", words: Words, visitor: "Visitor", number: int | None, seen: int | None
    ) -> "Response":
        session = loop.get_session(ws, number)
        person = None if visitor.person is None else visitor.person.id
        waiting = disputes.queue(ws, session, but=person)
        before = "" if seen is None or person is None else _said(ws, words, session, person, seen)
        if not waiting:
            body = f"<h1>{text(words('disputes.none'))}</h1><p>{text(words('disputes.none.why'))}"
            back = f'<a class="btn" href="{reach.at("/swipe")}">{text(words("me.back"))}</a>'
            return page(words, words("disputes.title"), before, f"<main>{body}{back}</main>")
        item = waiting[0].item
        left = (
            words("disputes.left.one")
            if len(waiting) == 1
            else words("disputes.left", count=f"{len(waiting):,}")
        )
        two = len(session.labels) == 2
        named = {
            UNSURE: words("disputes.unsure"),
            "yes": words("deck.answer.yes"),
            "no": words("deck.answer.no"),
        }
        press = {
            name: f'<button name="label" value="{text(name)}"{" class=soft" if name == UNSURE else ""}>'
            f"<span>{text(named.get(name, name))}</span></button>"
            for name in (*session.labels, UNSURE)
        }
        # as on the deck: the first of two to the right
        answers = "".join(press[name] for name in (session.labels[::-1] if two else session.labels))
        buttons = f'<div class="{"two" if two else "choices"}">{answers}</div>{press[UNSURE]}'
        picture = f'<img class="tile" alt="" src="{reach.at(tile_url(self._desk.stamp, item, "1024"))}">'
        form = (
            f'<form method="post" action="{reach.at("/disputes")}?session={session.id}">'
            f'<input type="hidden" name="item" value="{item}">{buttons}</form>'
        )
        body = f"<h1>{text(words.question(session.question))}</h1><p>{text(left)}{picture}{form}"
        return page(words, words("disputes.title"), before, f"<main>{body}</main>")


def _said(ws: "Workspace", words: Words, session: Session, person: int, item: int) -> str:
    """Return what was said about an image that this person has answered, as HTML; nothing for any other."""
    if not disputes.has_judged(ws, session, item, person):
        return ""
    votes = disputes.votes_on(ws, session, item)
    said = ", ".join(f"{n:,} × {_named(words, name)}" for name, n in votes.items() if n)
    return f"<section><h2>{text(words('disputes.before'))}</h2><p>{text(said)}</section>"


def _named(words: Words, answer: str) -> str:
    return words("disputes.unsure") if answer == UNSURE else words.answer(answer)


def _answer(
    desk: "Desk", ws: "Workspace", visitor: "Visitor", number: int | None, item: int, label: str
) -> Session:
    """Store an answer and return its session. To be run by the writer."""
    session = loop.get_session(ws, number)
    person = visitor.person or desk.door.enter(ws, visitor)
    event = LabelEvent(str(uuid.uuid4()), item, label, datetime.now(UTC))
    for _, why in ws.journal.add_events(session, person.id, [event]).rejected:
        raise Refusal(400, why, "Go back to /disputes.")
    return session
