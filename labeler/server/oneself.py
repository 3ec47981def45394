"""The page about oneself, /me: nickname, thanks, a goal and a board for who wants them, devices, leaving."""

from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse

from labeler import board, loop, members, people, reach
from labeler.domain import Person
from labeler.errors import BadInput, NotReady
from labeler.server.plain import page, qr, text, whole, words_for
from labeler.server.thanking import thanks

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.roster import Wish
    from labeler.server.desk import Desk
    from labeler.tongue import Words
    from labeler.workspace import Workspace


class Oneself:
    """The route /me."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

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
            goal = whole(str(form.get("goal", ""))[:9])
        if wish == "leave":
            await self._desk.write(lambda ws: ws.roster.end_device(visitor.key))
            await self._desk.refresh()
            left = f"<main><h1>{text(words('me.left'))}</h1><p>{text(words('me.left.do'))}</main>"
            return page(words, words("me.title"), left)
        if wish == "elsewhere":
            code = await self._desk.write(partial(members.link_of, person=person))
            return await self._about(request, words, person, people.join_url(_outside(request), code))
        if wish == "back":
            try:
                await self._desk.write(partial(members.step_back, person=person.id))
            except NotReady as e:
                return await self._about(request, words, person, trouble=words.both(e.error, e.do))
            await self._desk.refresh()
            return _again()
        if wish in ("board", "off"):
            await self._desk.write(partial(board.show_on_board, person=person.id, shown=wish == "board"))
            return _again()
        try:
            if wish == "goal":
                await self._desk.write(partial(board.set_goal, person=person.id, goal=goal or 0))
                return _again()
            await self._desk.write(partial(_rename, person=person, name=name))
            await self._desk.refresh()
        except BadInput as e:
            return await self._about(request, words, person, trouble=words.both(e.error, e.do))
        return _again()

    async def _about(
        self, request: "Request", words: "Words", person: Person, link: str = "", trouble: str = ""
    ) -> "Response":
        count, thanked = await self._desk.read(partial(_thanked, desk=self._desk, person=person, words=words))
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
        playing = await self._desk.read(partial(_playing, person=person, words=words))
        given_up = ""
        if person.role == "own":
            others = await self._desk.read(lambda ws: ws.roster.other_owners(person.id))
            by_link = await self._desk.read(lambda ws: ws.roster.by_owners_link())
            called = [one.name for one in others if one.id not in by_link][:5]
            if len(called) < len(others):
                called.append(words("me.back_out.link"))
            names = ", ".join(called)
            why = words("me.back_out.why", names=names) if others else words("me.back_out.alone")
            given_up = f"<section><h2>{text(words('me.back_out'))}</h2><p>{text(why)}"
            given_up += (_button(here, "back", words("me.back_out")) if others else "") + "</section>"
        leave = f"<h2>{text(words('me.leave'))}</h2><p>{text(words('me.leave.why'))}" + _button(
            here, "leave", words("me.leave")
        )
        return page(
            words, words("me.title"),
            f'<main><h1>{text(person.name)}</h1>{wrong}<p>{text(said)}{thanked}{name}'
            f'<a class="btn" href="{back}">{text(words("me.back"))}</a>{judge}</main>',
            f"<section>{playing}</section><section>{elsewhere}</section>{given_up}<section>{leave}</section>",
            f"<small>{text(words('join.privacy'))}</small>",
            status=400 if trouble else 200,
        )  # fmt: skip


def _thanked(ws: "Workspace", desk: "Desk", person: Person, words: "Words") -> tuple[int, str]:
    """Return how many answers of somebody stand, in all questions, and thanks for those to theirs as HTML."""
    count = ws.journal.count_answers_of(person.id)
    session = loop.get_session(ws, person.session)
    answers, _ = ws.journal.given(session.id, person.id)
    facts = loop.session_status(ws, session)
    finds = desk.credits.of(ws, session.id, person.id, answers)
    said = thanks(words, facts, answers, finds, has_gold=ws.dealing.has_gold(session.id))
    return count, f'<p class="thanks">{text(said)}' if said else ""


def _playing(ws: "Workspace", person: Person, words: "Words") -> str:
    """Return what somebody has chosen of a daily goal and the board, with the way to choose otherwise."""
    wish, today, here = ws.roster.wish_of(person.id), board.day(ws, person.id), reach.at("/me")
    goal = f"<h2>{text(words('me.goal'))}</h2><p>{text(words('me.goal.why'))}"
    if today.goal:
        how = words("me.goal.today", today=f"{today.today:,}", goal=f"{today.goal:,}")
        if today.streak > 1:
            how += " " + words("me.goal.streak", days=today.streak)
        goal = f"<h2>{text(words('me.goal'))}</h2><p>{text(how)}"
        goal += f'<progress max="{today.goal}" value="{min(today.today, today.goal)}"></progress>'
    goal += (
        f'<form method="post" action="{here}" class="row"><label>{text(words("me.goal.number"))}<input'
        f' name="goal" type="number" inputmode="numeric" min="0" max="{board.MOST_GOAL}" value="{wish.goal}">'
        f'</label><button class="soft" name="do" value="goal">{text(words("me.save"))}</button></form>'
    )
    return f"{goal}{_seen(wish, words, here)}"


def _seen(wish: "Wish", words: "Words", here: str) -> str:
    """Return whether somebody is on the board, and the button that changes it."""
    why = words("me.board.on" if wish.on_board else "me.board.off")
    link = f'<p class="aside"><a href="{reach.at("/board")}">{text(words("me.board.look"))}</a>'
    change = (
        _button(here, "off", words("me.board.leave"))
        if wish.on_board
        else _button(here, "board", words("me.board.join"))
    )
    return f"<h2>{text(words('me.board'))}</h2><p>{text(why)}{change}{link}"


def _again() -> "Response":
    return RedirectResponse(reach.at("/me"), 303, headers={"Cache-Control": "no-store"})


def _rename(ws: "Workspace", person: Person, name: str) -> None:
    ws.roster.rename(person.id, people.read_name(name))


def _outside(request: "Request") -> str:
    """Return the address by which the browser calls this server."""
    return str(request.base_url).rstrip("/") + reach.current().base


def _button(action: str, wish: str, label: str) -> str:
    return (
        f'<form method="post" action="{action}"><button class="soft" name="do" value="{wish}">{text(label)}'
        "</button></form>"
    )
