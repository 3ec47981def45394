"""The routes on the pool: items, search, what to ask about, examples, sessions and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse

from active.arrays import Rows
from labeler import loop, searching
from labeler.domain import Goal, Session
from labeler.errors import BadInput
from labeler.server.asking import DeskDep, OwnerDep, ReviewerDep, SessionDep
from labeler.server.desk import Desk
from labeler.server.examples import ITEM, RESULTS, SESSION, gives
from labeler.server.tiles import tile_url
from labeler.server.wire import HIGHEST, Ask, LabelChange, NewSession, Search, Target, finite, item_json
from labeler.workspace import Workspace

MOST_PICTURES = 20
MOST_FIELDS = 1000  # of a form: the items of a search are one each
FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
WHOLES = {"type": "array", "items": {"type": "integer"}}
PICTURES = {
    "type": "object",
    "properties": {
        "image": FILES, "unlike_image": FILES, "like": WHOLES, "unlike": WHOLES, "k": {"type": "integer"},
        "words": {"type": "array", "items": {"type": "string"}}, "about": {"type": "boolean"},
        "exact": {"type": "boolean"},
    },
}  # fmt: skip

Named = tuple[str, bytes]
"""A picture from outside: the name of its file, and its bytes."""
Pictures = tuple[Sequence[Named], Sequence[Named]]
"""What is wanted, and what is not."""
LONGEST_NAME = 80

router = APIRouter()


@router.get("/items/{item}", responses=gives(ITEM))
async def get_item(
    item: Annotated[int, Path(ge=0, le=HIGHEST)], desk: DeskDep, owner: OwnerDep, session: SessionDep
) -> JSONResponse:
    """One item: its file, its size, every answer to it, and how likely the target is. For the owner."""

    def look(ws: Workspace) -> dict[str, object]:
        found = loop.get_item(ws, item)
        asked = loop.get_session(ws, session)
        return item_json(found, loop.item_events(ws, asked, item), loop.target_score(ws, asked, item))

    return JSONResponse(await desk.read(look))


@router.get("/search", responses=gives(RESULTS))
async def get_search(
    desk: DeskDep,
    visitor: ReviewerDep,
    item: Annotated[int, Query(ge=0, le=HIGHEST, description="The item to find others like.")],
    k: Annotated[int, Query(ge=1, le=10_000)] = 50,
    exact: Annotated[bool, Query(description="Compare every item.")] = False,
) -> JSONResponse:
    """The items most like one item, best first."""
    return await _found(desk, None, Search(like=[item], k=k, exact=exact))


@router.post(
    "/search",
    responses=gives(RESULTS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": Search.model_json_schema()},
                "multipart/form-data": {"schema": PICTURES},
            },
        }
    },
)
async def post_search(
    request: Request, desk: DeskDep, visitor: ReviewerDep, session: SessionDep
) -> JSONResponse:
    """The items most like some items, pictures, words or a vector, and unlike others, best first."""
    of = _Of(session) if visitor.owner else None
    if _is_form(request):
        async with request.form(max_files=MOST_PICTURES, max_fields=MOST_FIELDS) as form:
            like, unlike = await _pictures(form, "image"), await _pictures(form, "unlike_image")
            return await _found(desk, of, _form_search(form), (like, unlike))
    try:
        body = Search.model_validate_json(await request.body())
    except ValidationError as e:
        raise _malformed(e) from e
    return await _found(desk, of, body)


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def _form_search(form: FormData) -> Search:
    """Return the plain fields of a form as a search; numbers come as text there."""
    try:
        return Search.model_validate(
            {
                "like": [v for v in form.getlist("like") if isinstance(v, str)],
                "unlike": [v for v in form.getlist("unlike") if isinstance(v, str)],
                "words": [v for v in form.getlist("words") if isinstance(v, str)],
                "k": form.get("k", "50"),
                "about": form.get("about", "false"),
                "exact": form.get("exact", "false"),
            },
            strict=False,
        )
    except ValidationError as e:
        raise _malformed(e) from e


def _malformed(e: ValidationError) -> BadInput:
    first = e.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "The body"
    return BadInput(f"{where[:80]}: {first['msg']}.", "See /api/docs.")


async def _pictures(form: FormData, field: str) -> list[Named]:
    files = [f for f in form.getlist(field) if isinstance(f, UploadFile)]
    return [(_shown(f.filename or "The picture"), await f.read()) for f in files]


def _shown(name: str) -> str:
    """Return the end of a file's name as a message may show it."""
    return "".join(c if c.isprintable() else "?" for c in name[-LONGEST_NAME:])


@dataclass(frozen=True, slots=True)
class _Of:
    """The session whose answers an owner is told; None: the newest."""

    session: int | None


async def _found(desk: Desk, of: _Of | None, asked: Search, pictures: Pictures = ((), ())) -> JSONResponse:
    """Return the answer of a search; `of` is None for a swiper.

    What is not in the pool is embedded first. Nobody who searches by something else waits for that.
    """
    like, unlike = pictures
    if not (asked.like or asked.words or like or asked.embedding is not None):
        raise BadInput("There is nothing to search for.", "Give an item, a picture, words or an embedding.")
    more, less = await _embedded(desk, like), await _embedded(desk, unlike)
    more += await _read(desk, [searching.clean_words(text) for text in asked.words])
    if asked.embedding is not None:
        with np.errstate(over="ignore"):
            row = np.asarray([asked.embedding], np.float32)
        if not np.isfinite(row).all() or not row.any():
            raise BadInput("The embedding has no direction.", "Give finite numbers, not all of them zero.")
        more.append(row)

    def look(ws: Workspace) -> list[dict[str, object]]:
        near = searching.stacked(more + ([loop.item_rows(ws, asked.like)] if asked.like else []))
        far = searching.stacked(less + ([loop.item_rows(ws, asked.unlike)] if asked.unlike else []))
        assert near is not None
        found = loop.neighbours(
            ws, near, far, asked.k, apart=bool(asked.words), exact=asked.exact, by=asked.like
        )
        results: list[dict[str, object]] = [
            {"item": i, "cos": finite(cos), "url": tile_url(desk.stamp, i, "256")} for i, cos in found
        ]
        if asked.about and of is not None:
            said = searching.described(ws, of.session, [i for i, _ in found])
            for result, (name, answer) in zip(results, said, strict=True):
                result |= {"name": name, "answer": answer}
        return results

    return JSONResponse({"results": await desk.ponder(look)})


async def _embedded(desk: Desk, pictures: Sequence[Named]) -> list[Rows]:
    """Return the vectors of pictures: kept ones of those in the pool, others from the encoder.

    Raises BadInput, naming the file, for one that can't be used.
    """
    if not pictures:
        return []
    known = await desk.ponder(lambda ws: [searching.known_row(ws, data) for _, data in pictures])
    key, embed, rows = partial(desk.read, searching.encoder_key), desk.worker.embed, []
    for (name, data), row in zip(pictures, known, strict=True):
        try:
            more = await desk.recent.row(key, "picture", data, partial(embed, data)) if row is None else row
        except BadInput as e:
            raise BadInput(f"{name}: {e.error}", e.do) from e
        rows.append(more)
    return rows


async def _read(desk: Desk, words: Sequence[str]) -> list[Rows]:
    """Return the vectors of words."""
    key, read = partial(desk.read, searching.encoder_key), desk.worker.read
    return [await desk.recent.row(key, "words", text.encode(), partial(read, text)) for text in words]


@router.post("/ask", responses=gives({"asked": 2}))
async def post_ask(body: Ask, desk: DeskDep, owner: OwnerDep, session: SessionDep) -> JSONResponse:
    """Put items at the front of the deck. For the owner."""
    added = await desk.write(lambda ws: loop.ask_about(ws, loop.get_session(ws, session), body.items))
    return JSONResponse({"asked": added})


@router.post("/sessions", responses=gives(SESSION))
async def post_session(body: NewSession, desk: DeskDep, owner: OwnerDep) -> JSONResponse:
    """Start a session. For the owner."""
    goal = cast(Goal, body.goal)  # the pattern allows nothing else
    made = await desk.write(lambda ws: loop.new_session(ws, body.question, body.labels, goal))
    desk.worker.poke(made.id)
    return await _session_json(desk, made)


async def _session_json(desk: Desk, session: Session) -> JSONResponse:
    return JSONResponse(await desk.read(lambda ws: loop.session_status(ws, session)))


@router.post("/session/labels", responses=gives(SESSION))
async def post_session_labels(
    body: LabelChange, desk: DeskDep, owner: OwnerDep, session: SessionDep
) -> JSONResponse:
    """Add a label to a session, or rename one; answers keep counting. For the owner."""

    def change(ws: Workspace) -> Session:
        asked = loop.get_session(ws, session)
        if body.add is not None and body.rename is None:
            return loop.add_label(ws, asked, body.add)
        if body.rename is not None and body.to is not None and body.add is None:
            return loop.rename_label(ws, asked, body.rename, body.to)
        raise BadInput("It is not clear what to change.", 'Send {"add": name} or {"rename": old, "to": new}.')

    return await _session_json(desk, await desk.write(change))


@router.post("/target", responses=gives(SESSION))
async def post_target(body: Target, desk: DeskDep, owner: OwnerDep, session: SessionDep) -> JSONResponse:
    """Say what share of the target is wanted found, or null: then nobody is told when. For the owner."""

    def change(ws: Workspace) -> Session:
        return loop.set_target(ws, loop.get_session(ws, session), body.share)

    return await _session_json(desk, await desk.write(change))


@router.post(
    "/examples",
    responses=gives({"items": [7031, None]}),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {
                            "image": FILES,
                            "label": {"type": "string", "description": "The target when left out."},
                        },
                    }
                }
            },
        }
    },
)
async def post_examples(
    request: Request, desk: DeskDep, owner: OwnerDep, session: SessionDep
) -> JSONResponse:
    """Take reference pictures. One that is in the pool becomes an answer, others teach. For the owner."""
    files: list[tuple[str, bytes]] = []
    if _is_form(request):
        async with request.form(max_files=MOST_PICTURES, max_fields=10) as form:
            sent = [f for f in form.getlist("image") if isinstance(f, UploadFile)]
            files = [(f.filename or "picture", await f.read()) for f in sent]
            label = form.get("label")
    if not files:
        raise BadInput("The pictures are missing.", "Send multipart/form-data, in fields named image.")
    name = label if isinstance(label, str) else None

    def take(ws: Workspace) -> tuple[int, list[int | None]]:
        asked = loop.get_session(ws, session)
        return asked.id, [loop.add_example(ws, asked, path, data, name) for path, data in files]

    # not in the writer's thread: decoding a large picture would hold up everybody's answers
    number, items = await desk.ponder(take)
    desk.worker.poke(number)
    return JSONResponse({"items": items})
