"""The page where one joins by a link: /join."""

import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import RedirectResponse

from labeler import loop, people, reach, tutorial
from labeler.domain import Person, Role
from labeler.errors import BadInput, LabelerError, Missing, TooMany
from labeler.links import Link
from labeler.nicknames import offered_name
from labeler.server.guard import Refusal, beside, cookie_text
from labeler.server.plain import page, text, words_for

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.door import Visitor
    from labeler.server.desk import Desk
    from labeler.tongue import Words
    from labeler.workspace import Workspace

FIRST_PAGE: dict[Role, str] = {"own": "/", "review": "/swipe", "swipe": "/swipe"}


class Joining:
    """The route /join."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def join(self, request: "Request") -> "Response":
        """Show the question and ask for a nickname; let whoever sends one in, and lead them to the cards."""
        words, visitor = words_for(request), request.scope["labeler.visitor"]
        if request.method == "POST":
            return await self._come_in(request, words)
        typed = request.query_params.get("token", "")
        code = people.read_code(typed)
        if visitor.person is not None and not await self._comes_anew(visitor, code):
            return self._is_in(request, words, visitor.person, None)
        if code is None:
            if typed:
                self._count_guess(request, typed)
            return _ask_code(request, words, "" if not typed else words("join.wrong"))
        return await self._ask_name(request, words, code, offered_name(words))

    async def _ask_name(
        self, request: "Request", words: "Words", code: str, name: str, trouble: LabelerError | None = None
    ) -> "Response":
        found = await self._desk.read(lambda ws: _look(ws, code))
        if found is None:
            self._count_guess(request, code)
            return _ask_code(request, words, words("join.wrong"))
        link, question, person = found
        if (shut := link.shut(time.time())) is not None:
            return _ask_code(request, words, words(f"join.{shut}"), status=410)
        parts = [f'<p class="lead">{text(words("join.invited"))}<h1>{text(words.question(question))}</h1>']
        if trouble is not None:
            parts.append(f'<p class="trouble" role="alert">{text(words.both(trouble.error, trouble.do))}')
        if link.role != "swipe":
            parts.append(f"<p>{text(words(f'join.{link.role}'))}")
        parts.append(f"<p>{text(words('join.device', name=person.name) if person else words('join.why'))}")
        field = (
            ""
            if person
            else f'<label>{text(words("join.nickname"))}<input name="name" required autocomplete="nickname"'
            f' maxlength="{people.LONGEST_NAME}" autocapitalize="words" value="{text(name)}"></label>'
        )
        parts.append(
            f'<form method="post" action="{reach.at("/join")}">'
            f'<input type="hidden" name="token" value="{text(code)}">{field}'
            f"<button>{text(words('join.go'))}</button></form>"
        )
        parts.append(f"<small>{text(words('join.privacy'))}</small>")
        status = 200 if trouble is None else 400
        return page(words, words("join.title"), f"<main>{''.join(parts)}</main>", status=status)

    async def _come_in(self, request: "Request", words: "Words") -> "Response":
        visitor: Visitor = request.scope["labeler.visitor"]
        async with request.form(max_files=0, max_fields=10) as form:
            typed, name = str(form.get("token", "")), str(form.get("name", ""))
        code = people.read_code(typed)
        if code is None:
            self._count_guess(request, typed)
            return _ask_code(request, words, words("join.wrong"), status=400)
        if visitor.person is not None and not await self._comes_anew(visitor, code):  # a second press
            return self._is_in(request, words, visitor.person, code)
        try:
            joined, link = await self._desk.join(code, name or offered_name(words), _peer(request))
        except TooMany as e:
            wait = words("join.wait", seconds=e.wait_s)
            raise Refusal(429, words("join.many"), wait, e.wait_s) from e
        except Missing as e:
            found = await self._desk.read(lambda ws: _look(ws, code))
            if found is None:
                self._count_guess(request, code)
            shut = found and found[0].shut(time.time())
            return _ask_code(
                request, words, words(f"join.{shut}") if shut else words.said(e.error), status=410
            )
        except BadInput as e:
            return await self._ask_name(request, words, code, name[: people.LONGEST_NAME], e)
        target = await self._desk.read(partial(_first_page, link=link, role=joined.role))
        answer = RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
        word = beside(request.headers.get("cookie", ""), self._desk.stamp)
        answer.raw_headers.append((b"set-cookie", cookie_text(joined, word, request.scope)))
        return answer

    async def _comes_anew(self, visitor: "Visitor", code: str | None) -> bool:
        """Return whether a code lets somebody in as somebody whom they are not yet: see `Door.lets_anew`."""
        return code is not None and await self._desk.read(lambda _: self._desk.door.lets_anew(visitor, code))

    def _is_in(self, request: "Request", words: "Words", person: Person, code: str | None) -> "Response":
        target = reach.at(FIRST_PAGE[person.role])
        if code is not None:
            return RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
        body = f"<h1>{text(words('join.in', name=person.name))}</h1>"
        body += f'<a class="btn" href="{target}">{text(words("join.on"))}</a>'
        return page(words, words("join.title"), f"<main>{body}</main>")

    def _count_guess(self, request: "Request", typed: str) -> None:
        """Raise Refusal for an address from which too many wrong codes came."""
        wait_s = self._desk.guesses.wrong(_peer(request), typed, again=True)
        if wait_s is not None:
            raise Refusal(429, "Too many wrong links came from here.", f"Wait {wait_s} s.", wait_s)


def _look(ws: "Workspace", code: str) -> tuple[Link, str, Person | None] | None:
    """Return a link, the question it leads to and whose other device it is for; None: no such link."""
    link = ws.roster.link(people.hash_token(code))
    if link is None:
        return None
    person = None if link.person is None else ws.roster.person(link.person)
    return link, ws.store.session(link.session).question, person


def _first_page(ws: "Workspace", link: Link, role: Role) -> str:
    """Return where somebody begins who has just come: with the examples, if they are new and it has some."""
    query = "" if link.session is None else f"?{urlencode({'session': link.session})}"
    is_new = link.person is None and role != "own"
    if is_new and tutorial.load(ws, loop.get_session(ws, link.session)):
        return reach.at(f"/learn{query}")
    return reach.at(FIRST_PAGE[role] + query)


def _peer(request: "Request") -> str:
    return request.client.host if request.client else ""


def _ask_code(request: "Request", words: "Words", trouble: str, status: int = 200) -> "Response":
    """Return the page on which a code is typed."""
    wrong = f'<p class="trouble" role="alert">{text(trouble)}' if trouble else ""
    body = (
        f"<h1>{text(words('join.title'))}</h1>{wrong}<p>{text(words('join.code.ask'))}"
        f'<form method="get" action="{reach.at("/join")}"><label>{text(words("join.code"))}'
        '<input name="token" required autocomplete="off" autocapitalize="none" spellcheck="false"'
        f' placeholder="abcdef-ghjkmn-pqrstv"></label>'
        f"<button>{text(words('join.code.go'))}</button></form>"
    )
    return page(words, words("join.title"), f"<main>{body}</main>", status=status)
