"""The routes of the deck: where the session stands, cards, answers, undo."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from labeler import loop
from labeler.domain import Card, LabelEvent, Person, Recorded, Session
from labeler.errors import BadInput, Conflict
from labeler.journal import Undone
from labeler.people import Visitor
from labeler.server.asking import DeskDep, SessionDep, VisitorDep
from labeler.server.desk import Desk
from labeler.server.examples import CARD, NOW, RECORDED, SESSION, UNDONE, gives
from labeler.server.wire import Events, Undo, card_json, event_id, read_event
from labeler.workspace import Workspace

ROUND_WAIT_S = 0.25  # how long a request for cards waits for a round that is being learned
MOST_WAIT = 4  # requests that wait at once: more would all come back in the same moment
POLL_S = 0.01
MOST_HAVE = 1000

router = APIRouter()


@router.get("/session", responses=gives(SESSION | NOW))
async def get_session(desk: DeskDep, visitor: VisitorDep, session: SessionDep) -> JSONResponse:
    """Where a session stands: its question and labels, what was answered and found, what the worker does."""
    return JSONResponse(await desk.read(lambda ws: session_json(desk, ws, visitor, session)))


def session_json(
    desk: Desk, ws: Workspace, visitor: Visitor, session: int | None
) -> dict[str, Any]:  # Any: JSON
    """Return where a session stands, as its visitor may know it. Raises Missing."""
    asked = loop.get_session(ws, session)
    person = visitor.person or ws.roster.person_by_token(visitor.key)
    images, embedded, items = loop.pool_counts(ws)
    answers, finds = (0, 0) if person is None else ws.journal.given(asked.id, person.id)
    progress = desk.worker.progress()
    return loop.session_status(ws, asked) | {
        "embedded": embedded,
        "images": images,
        "items": items,
        "workspace": desk.stamp,
        "drawn": loop.is_drawn(ws),
        "can_undo": person is not None and ws.journal.can_undo(asked.id, person.id),
        "worker": desk.worker.state(),
        "problem": desk.worker.problem() if visitor.owner else None,  # it may name files
        "owner": visitor.owner,
        "mine": {"answers": answers, "found": finds},
        "stage": progress.stage if progress else None,
        "total": progress.total if progress else None,
        "left_s": progress.left_s if progress else None,
    }


@router.get("/cards", responses=gives({"cards": [CARD], "gone": [46]}))
async def get_cards(
    desk: DeskDep,
    visitor: VisitorDep,
    session: SessionDep,
    n: Annotated[int, Query(ge=1, le=200, description="How many cards at most.")] = 20,
    have: Annotated[
        str | None,
        Query(
            max_length=20_000,
            pattern=r"^([0-9]{1,15}(,[0-9]{1,15})*)?$",
            description="Cards that the deck still holds, such as 4,5,9: kept for it, not sent again."
            " Left out or empty: its own unanswered cards come first.",
        ),
    ] = None,
) -> JSONResponse:
    """The next cards, held for this client for five minutes. None at all when nothing is left to ask.

    None, too, for others than the owner while the session's `state` is paused or closed.
    """
    held = [int(part) for part in have.split(",")] if have else None
    if held and len(held) > MOST_HAVE:
        raise BadInput(f"The deck says that it holds {len(held)} cards.", f"Name at most {MOST_HAVE}.")
    await await_round(desk, session)

    def deal(ws: Workspace) -> tuple[list[Card], list[int]]:
        asked, who = loop.get_session(ws, session), person_of(desk, ws, visitor)
        if asked.state != "open" and not visitor.owner:
            return [], []  # what they hold may still be answered
        cards = loop.next_cards(ws, asked, who.id, n, have=held, device=who.device)
        return cards, loop.gone_cards(ws, asked, who.id, held or (), who.device)

    cards, gone = await desk.write(deal)
    if len(cards) < n:
        desk.worker.poke(await _number(desk, session))
    sent = [card_json(card, desk.stamp, owner=visitor.owner) for card in cards]
    return JSONResponse({"cards": sent, "gone": gone})


def person_of(desk: Desk, ws: Workspace, visitor: Visitor) -> Person:
    """Return who a visitor is, stored now if they did nothing before. To be run by the writer.

    Only what has to be signed asks for this: a request without a cookie that leaves nothing leaves nobody.
    """
    return visitor.person or desk.door.enter(ws, visitor)


async def _number(desk: Desk, session: int | None) -> int:
    """Return the session that is meant."""
    return session or (await desk.read(loop.newest_session)).id


async def await_round(desk: Desk, session: int | None) -> None:
    """Wait a moment for a round that is being learned: its cards are better than those left over.

    Of many people who answer at once only a few wait: another round is never far for them.
    """
    number = await _number(desk, session)
    if desk.waiting >= MOST_WAIT:
        return
    desk.waiting += 1
    try:
        for _ in range(round(ROUND_WAIT_S / POLL_S)):
            if not desk.worker.is_busy(number):
                return
            await asyncio.sleep(POLL_S)
    finally:
        desk.waiting -= 1


@router.post("/labels", responses=gives(RECORDED))
async def post_labels(body: Events, desk: DeskDep, visitor: VisitorDep, session: SessionDep) -> JSONResponse:
    """Store answers. "Accepted" is said when they are on disk; a repeated event id changes nothing.

    409 when they were given in another workspace: a browser keeps what it could not send, by address.
    """
    if body.workspace is not None and body.workspace != desk.stamp:
        raise Conflict(
            "These answers belong to other images than the ones served here.",
            "Reload the page; they are kept, and go to their own images when those are served again.",
        )
    events: list[LabelEvent] = []
    rejected: list[dict[str, str | None]] = []
    sent: dict[str, str] = {}
    for raw in body.events:
        try:
            event = read_event(raw)
        except ValueError as e:
            rejected.append({"id": event_id(raw), "why": str(e)})
        else:
            events.append(event)
            sent[event.id] = raw["id"]

    def record(ws: Workspace) -> tuple[Session, Recorded]:
        asked = loop.card_session(ws, events) if session is None else loop.get_session(ws, session)
        if not events:
            return asked, Recorded(0, 0)
        who = person_of(desk, ws, visitor)
        return asked, loop.record(ws, asked, who.id, events, who.device)

    asked, done = await desk.write(record)
    if done.accepted:
        desk.worker.poke(asked.id)
        desk.settle(asked)
    rejected += [{"id": sent[uid], "why": why} for uid, why in done.rejected]
    return JSONResponse({"accepted": done.accepted, "duplicates": done.duplicates, "rejected": rejected})


@router.post("/undo", responses=gives(UNDONE))
async def post_undo(body: Undo, desk: DeskDep, visitor: VisitorDep, session: SessionDep) -> JSONResponse:
    """Take this client's last answer back and give its card again. 409 when there is nothing to undo."""

    def take_back(ws: Workspace) -> tuple[Session, Undone]:
        asked = loop.get_session(ws, session)
        person = visitor.person or ws.roster.person_by_token(visitor.key)
        if person is None:
            raise Conflict("There is nothing to undo.", "Answer a card first.")
        return asked, loop.undo(ws, asked, person.id, body.id.lower(), person.device)

    asked, undone = await desk.write(take_back)
    desk.settle(asked)
    card = card_json(undone.card, desk.stamp, owner=visitor.owner)
    return JSONResponse({"item": undone.item, "label": undone.label, "card": card})
