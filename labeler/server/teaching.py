"""The page /learn: examples with their right answers, before the first card.

What is said there is kept nowhere: it stands in the address, and is only looked at.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import RedirectResponse

from labeler import loop, reach, tutorial
from labeler.server.plain import page, text, whole, words_for
from labeler.server.tiles import tile_url

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.domain import Session
    from labeler.server.desk import Desk
    from labeler.tongue import Words
    from labeler.tutorial import Lesson


class Learning:
    """The route /learn: `?card=` says which example, `&said=` what somebody took it to be, by number."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def respond(self, request: "Request") -> "Response":
        """Show an example with the answers as buttons; then its right answer. Without examples: the cards."""
        words, query = words_for(request), request.query_params
        number, at = whole(query.get("session")), whole(query.get("card")) or 1
        number = number or request.scope["labeler.visitor"].session
        said = whole(query.get("said"))
        session = await self._desk.read(lambda ws: loop.get_session(ws, number))
        lessons = await self._desk.read(lambda ws: tutorial.load(ws, session))
        if not 1 <= at <= len(lessons):
            target = reach.at(f"/swipe?{urlencode({'session': session.id})}")
            return RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
        lesson, last = lessons[at - 1], at == len(lessons)
        picture = (
            f'<img class="tile" alt="" src="{reach.at(tile_url(self._desk.stamp, lesson.item, "512"))}">'
        )
        count = text(words("learn.count", card=at, cards=len(lessons)))
        if said is None or said >= len(session.labels):
            asked = text(words.question(session.question))
            body = f'<p class="lead">{count}<h1>{asked}</h1>{picture}{_choices(words, session, at)}'
            return page(words, words("learn.title"), f"<main>{body}</main>", _skip(words, session))
        told = _told(words, session, lesson, said)
        next_ = words("learn.begin") if last else words("learn.next")
        on = f'<a class="btn" href="{_at(session, card=at + 1)}">{text(next_)}</a>'
        rare = last and await self._desk.read(lambda ws: tutorial.is_rare(ws, session))
        note = f"<p>{text(words('learn.rare'))}" if rare else ""
        body = f'<p class="lead">{count}{told}{picture}{note}{on}'
        skip = "" if last else _skip(words, session)
        return page(words, words("learn.title"), f"<main>{body}</main>", skip)


def _at(session: "Session", **query: int) -> str:
    return text(reach.at(f"/learn?{urlencode({'session': session.id, **query})}"))


def _choices(words: "Words", session: "Session", at: int) -> str:
    """Return a button for each answer, of two the first one on the right as in the deck.

    They are links, for nothing is sent that could be stored.
    """
    numbered = list(enumerate(session.labels))
    shown = numbered[::-1] if len(numbered) == 2 else numbered
    return '<div class="choices">' + "".join(
        f'<a class="btn" href="{_at(session, card=at, said=number)}">{text(words.answer(name))}</a>'
        for number, name in shown
    ) + "</div>"  # fmt: skip


def _told(words: "Words", session: "Session", lesson: "Lesson", said: int) -> str:
    label = words.answer(session.labels[lesson.label])
    right = words("learn.right" if said == lesson.label else "learn.wrong", label=label)
    why = f"<p>{text(lesson.why)}</p>" if lesson.why else ""
    return f"<h1>{text(right)}</h1>{why}"


def _skip(words: "Words", session: "Session") -> str:
    target = text(reach.at(f"/swipe?{urlencode({'session': session.id})}"))
    return (
        f'<p class="aside">{text(words("learn.counts"))} <a href="{target}">{text(words("learn.skip"))}</a>'
    )
