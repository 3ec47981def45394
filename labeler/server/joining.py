"""The page where one joins by a link, and the page about oneself: /join and /me."""

import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import RedirectResponse

from labeler import people, reach
from labeler.domain import Person, Role
from labeler.errors import BadInput, LabelerError, Missing, TooMany
from labeler.nicknames import offered_name
from labeler.roster import Link
from labeler.server.guard import Refusal, beside, cookie_text
from labeler.server.plain import page, qr, text, words_for

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.people import Visitor
    from labeler.server.desk import Desk
    from labeler.tongue import Words
    from labeler.workspace import Workspace

ELSEWHERE_S = 86_400.0  # how long the link for another device of one's own works
FIRST_PAGE: dict[Role, str] = {"own": "/", "review": "/swipe", "swipe": "/swipe"}


class Joining:
    """The routes /join and /me."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def join(self, request: "Request") -> "Response":
        """Show the question and ask for a nickname; let whoever sends one in, and lead them to the cards."""
        words, visitor = words_for(request), request.scope["labeler.visitor"]
        if request.method == "POST":
            return await self._come_in(request, words)
        typed = request.query_params.get("token", "")
        if visitor.person is not None and not visitor.guest:
            return self._is_in(request, words, visitor.person, None)
        code = people.read_code(typed)
        if code is None:
            if typed:
                self._count_guess(request, typed)
            return _ask_code(request, words, "" if not typed else words("join.wrong"))
        return await self._ask_name(request, words, code, offered_name())

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
        parts = [f'<p class="lead">{text(words("join.invited"))}<h1>{text(question)}</h1>']
        if trouble is not None:
            parts.append(f'<p class="trouble" role="alert">{text(str(trouble))}')
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
        if visitor.person is not None and not visitor.guest:  # a second press of the button
            return self._is_in(request, words, visitor.person, code)
        try:
            joined, link = await self._desk.join(code, name or offered_name(), _peer(request))
        except TooMany as e:
            wait = words("join.wait", seconds=e.wait_s)
            raise Refusal(429, words("join.many"), wait, e.wait_s) from e
        except Missing as e:
            found = await self._desk.read(lambda ws: _look(ws, code))
            if found is None:
                self._count_guess(request, code)
            shut = found and found[0].shut(time.time())
            return _ask_code(request, words, words(f"join.{shut}") if shut else e.error, status=410)
        except BadInput as e:
            return await self._ask_name(request, words, code, name[: people.LONGEST_NAME], e)
        query = "" if link.session is None else f"?{urlencode({'session': link.session})}"
        target = reach.at(FIRST_PAGE[joined.role] + query)
        answer = RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
        word = beside(request.headers.get("cookie", ""), self._desk.stamp)
        answer.raw_headers.append((b"set-cookie", cookie_text(joined, word, request.scope)))
        return answer

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

    # oneself -------------------------------------------------------------------------------

    async def me(self, request: "Request") -> "Response":
        """Show somebody's nickname and answers; change the name, make a link for another device, leave."""
        words, visitor = words_for(request), request.scope["labeler.visitor"]
        person: Person | None = visitor.person
        if person is None:
            back = f'<a class="btn" href="{reach.at("/swipe")}">{text(words("me.back"))}</a>'
            return page(words, words("me.title"), f"<main><p>{text(words('me.nobody'))}{back}</main>")
        if request.method == "GET":
            return await self._about(request, words, person)
        async with request.form(max_files=0, max_fields=10) as form:
            wish, name = str(form.get("do", "")), str(form.get("name", ""))
        if wish == "leave":
            await self._desk.write(lambda ws: ws.roster.end_device(visitor.key))
            await self._desk.read(lambda _: self._desk.door.refresh())
            left = f"<main><h1>{text(words('me.left'))}</h1><p>{text(words('me.left.do'))}</main>"
            return page(words, words("me.title"), left)
        if wish == "elsewhere":
            code = await self._desk.write(partial(_link_of, person=person))
            return await self._about(request, words, person, people.join_url(_outside(request), code))
        try:
            await self._desk.write(partial(_rename, person=person, name=name))
            await self._desk.read(lambda _: self._desk.door.refresh())
        except BadInput as e:
            return await self._about(request, words, person, trouble=str(e))
        return RedirectResponse(reach.at("/me"), 303, headers={"Cache-Control": "no-store"})

    async def _about(
        self, request: "Request", words: "Words", person: Person, link: str = "", trouble: str = ""
    ) -> "Response":
        count = await self._desk.read(lambda ws: ws.journal.count_answers_of(person.id))
        said = words(
            "me.answers" if count > 1 else "me.answers.one" if count else "me.answers.none",
            count=f"{count:,}",
        )
        here, back = reach.at("/me"), reach.at("/swipe")
        wrong = f'<p class="trouble" role="alert">{text(trouble)}' if trouble else ""
        name = (
            f'<form method="post" action="{here}"><label>{text(words("me.name"))}<input name="name" required'
            f' maxlength="{people.LONGEST_NAME}" value="{text(person.name)}"></label>'
            f'<button class="soft" name="do" value="name">{text(words("me.save"))}</button></form>'
        )
        judge = ""
        if person.role != "swipe":
            at = reach.at("/disputes")
            judge = f'<p><p><a class="btn" href="{at}">{text(words("me.disputes"))}</a>'
        elsewhere = f"<h2>{text(words('me.elsewhere'))}</h2><p>{text(words('me.elsewhere.why'))}"
        if link:
            elsewhere += f"{qr(link)}<code>{text(link)}</code>"
        else:
            elsewhere += _button(here, "elsewhere", words("me.elsewhere.go"))
        leave = f"<h2>{text(words('me.leave'))}</h2><p>{text(words('me.leave.why'))}" + _button(
            here, "leave", words("me.leave")
        )
        return page(
            words, words("me.title"),
            f'<main><h1>{text(person.name)}</h1>{wrong}<p>{text(said)}{name}'
            f'<a class="btn" href="{back}">{text(words("me.back"))}</a>{judge}</main>',
            f"<section>{elsewhere}</section><section>{leave}</section>",
            f"<small>{text(words('join.privacy'))}</small>",
            status=400 if trouble else 200,
        )  # fmt: skip


def _look(ws: "Workspace", code: str) -> tuple[Link, str, Person | None] | None:
    """Return a link, the question it leads to and whose other device it is for; None: no such link."""
    link = ws.roster.link(people.hash_token(code))
    if link is None:
        return None
    person = None if link.person is None else ws.roster.person(link.person)
    return link, ws.store.session(link.session).question, person


def _link_of(ws: "Workspace", person: Person) -> str:
    return people.make_link(
        ws, person.role, lasts_s=ELSEWHERE_S, most=1, person=person.id, made_by=person.id
    )[0]


def _rename(ws: "Workspace", person: Person, name: str) -> None:
    ws.roster.rename(person.id, people.read_name(name))


def _outside(request: "Request") -> str:
    """Return the address by which the browser calls this server."""
    return str(request.base_url).rstrip("/") + reach.current().base


def _peer(request: "Request") -> str:
    return request.client.host if request.client else ""


def _button(action: str, wish: str, label: str) -> str:
    return (
        f'<form method="post" action="{action}"><button class="soft" name="do" value="{wish}">{text(label)}'
        "</button></form>"
    )


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
