"""The page /board: nicknames and points of those who want to be seen."""

from typing import TYPE_CHECKING

from labeler import board, loop, reach
from labeler.server.plain import page, text, whole, words_for

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from labeler.domain import Session
    from labeler.server.desk import Desk
    from labeler.workspace import Workspace


class Board:
    """The route /board, for everybody who has access."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk

    async def respond(self, request: "Request") -> "Response":
        """Return the board of a question, and the rule by which points are given."""
        words, number = words_for(request), whole(request.query_params.get("session"))
        number = number or request.scope["labeler.visitor"].session
        session, rows = await self._desk.read(lambda ws: _look(ws, number))
        listed = "".join(f"<li><span>{text(name)}</span><b>{points:,}</b>" for name, points in rows)
        nobody = f"<p>{text(words('board.none'))}"
        back = f'<a class="btn" href="{reach.at("/swipe")}">{text(words("me.back"))}</a>'
        body = (
            f'<p class="lead">{text(words.question(session.question))}<h1>{text(words("board.title"))}</h1>'
            f"{f'<ol class=board>{listed}</ol>' if rows else nobody}{back}"
        )
        join = f'<p class="aside"><a href="{reach.at("/me")}">{text(words("board.join"))}</a>'
        return page(
            words,
            words("board.title"),
            f"<main>{body}</main>",
            f"<small>{text(words('board.rule'))}</small>{join}",
        )


def _look(ws: "Workspace", number: int | None) -> tuple["Session", list[tuple[str, int]]]:
    session = loop.get_session(ws, number)
    return session, board.board(ws, session)
