"""The HTTP interface: everything on the port that is not Streamlit's. docs/http.md describes every route."""

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from labeler import __version__, reach
from labeler.errors import Blocked, LabelerError, status_of
from labeler.server import cards, light, packing, pool
from labeler.server.boarding import Board
from labeler.server.desk import Desk
from labeler.server.disputing import Disputing
from labeler.server.examples import PROBLEM, content
from labeler.server.front import Front
from labeler.server.guard import LIGHT, Guard, Refusal
from labeler.server.joining import Joining
from labeler.server.oneself import Oneself
from labeler.server.plain import answered, words_for
from labeler.server.screening import Screen
from labeler.server.sharing import Sharing
from labeler.server.swipe import SwipePage
from labeler.server.teaching import Learning
from labeler.server.tiles import Tiles
from labeler.server.turns import Turns

if TYPE_CHECKING:
    from starlette.types import ASGIApp

ABOUT = (
    "Answers are events that are only ever added. Every route takes ?session=ID; left out, the newest session"
    " is meant. Errors are 4xx with one sentence for what is wrong and one for what to do."
)
ROOMS = ("/api", "/tiles", "/deck", "/swipe")  # whatever begins so is ours
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
QUIET: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's telemetry: nothing of it, whatever the environment says."""
PROBLEMS: dict[int | str, dict[str, Any]] = {  # Any: part of an OpenAPI document
    "4XX": {"description": "What is wrong, and what to do.", "content": content(PROBLEM)},
    503: {
        "description": "The disk is in the way; Retry-After says when to try again.",
        "content": content(PROBLEM),
    },
}


def routes(desk: Desk, pages: "ASGIApp") -> list[BaseRoute]:
    """Return all routes of the port; what is not ours goes to `pages`. `guarded` stands in front of them."""
    tiles, joining, screen = Tiles(desk), Joining(desk), Screen(desk)
    return [
        Mount("/api", build(desk)),
        Route("/tiles/{item}", tiles.respond, methods=["GET"]),
        Route("/swipe", SwipePage(desk).respond, methods=["GET"]),
        Route("/join", answered(joining.join), methods=["GET", "POST"]),
        Route("/board", answered(Board(desk).respond), methods=["GET"]),
        Route("/me", answered(Oneself(desk).me), methods=["GET", "POST"]),
        Route("/disputes", answered(Disputing(desk).respond), methods=["GET", "POST"]),
        Route("/screen", answered(screen.page), methods=["GET"]),
        Route("/screen/now", answered(screen.now), methods=["GET"]),
        Route("/share", answered(Sharing(desk).respond), methods=["GET", "POST"]),
        Route("/learn", answered(Learning(desk).respond), methods=["GET"]),
        Route("/deck/{name}", light.deck_file, methods=["GET"]),
        *(Route(room + "{rest:path}", _nowhere, methods=METHODS) for room in ROOMS),
        *(Route(path, _nowhere, methods=METHODS) for path in LIGHT),  # by another method
        Mount("/", pages),
    ]


def guarded(desk: Desk) -> list[Middleware]:
    """Return what stands in front of every route."""
    return [Middleware(Front), Middleware(Turns), Middleware(Guard, desk=desk)]


async def _nowhere(request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        return problem(
            request, 405, "This address takes another method.", "See /api/docs.", {"Allow": "GET, HEAD"}
        )
    return problem(request, 404, "There is no such address.", "See /api/docs.")


def build(desk: Desk) -> FastAPI:
    """Return the interface under /api."""
    app = FastAPI(
        title="labeler", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
        telemetry=QUIET, responses=PROBLEMS, servers=[{"url": reach.at("/api")}], root_path_in_servers=False,
    )  # fmt: skip
    app.state.desk = desk
    app.include_router(cards.router)
    app.include_router(packing.router)
    app.include_router(pool.router)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    app.add_exception_handler(LabelerError, _labeler_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)
    return app


async def _docs(request: Request) -> Response:
    return light.docs_page(request.app.openapi())


def problem(
    request: Request, status: int, error: str, do: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return an error as every client gets it: in the browser's language, where a table has it."""
    words = words_for(request)
    told = {"error": words.said(error), "do": words.said(do)}
    return JSONResponse(told, status, {"Vary": "Accept-Language"} | (headers or {}))


async def _labeler_error(request: Request, e: Exception) -> Response:
    assert isinstance(e, LabelerError)
    status = status_of(e)
    headers = {"Retry-After": str(e.wait_s)} if isinstance(e, Blocked) else None
    return problem(request, status, e.error, e.do, headers)


async def _not_valid(request: Request, e: Exception) -> Response:
    """Return the first thing that is wrong with a request, by name; never what was sent."""
    assert isinstance(e, RequestValidationError)
    first: dict[str, Any] = e.errors()[0]  # Any: as pydantic gives it
    if first["type"] == "json_invalid":
        return problem(request, 400, "The body is not valid JSON.", "See /api/docs.")
    where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
    why = f"The request can't be used: {where[:80]}: {first['msg']}."
    return problem(request, 400, why, "See /api/docs.")


async def _http_error(request: Request, e: Exception) -> Response:
    assert isinstance(e, HTTPException)
    if isinstance(e, Refusal):
        return problem(request, e.status_code, e.error, e.do)
    known = {404: "There is no such address.", 405: "This address takes another method."}
    error = known.get(e.status_code, "The body can't be read.")
    return problem(request, e.status_code, error, "See /api/docs.", dict(e.headers or {}))


async def _gone(request: Request, e: Exception) -> Response:
    """Answer a client that has hung up: nobody hears it, but its traceback would fill the log."""
    return problem(request, 400, "The request did not arrive whole.", "Send it again.")


async def _bug(request: Request, e: Exception) -> Response:
    """Answer for an error that nobody foresaw; its traceback goes to the server's log."""
    return problem(request, 500, "Something went wrong in the server.", "Try again; its log says more.")
