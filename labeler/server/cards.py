"""The routes of the deck: where the session stands, cards, answers, undo."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from labeler import loop
from labeler.domain import SKIP, Card, LabelEvent, Person, Recorded, Session
from labeler.door import Visitor
from labeler.errors import BadInput, Conflict
from labeler.journal import Undone
from labeler.server import turns
from labeler.server.asking import DeskDep, NamedDep, SessionDep, VisitorDep
from labeler.server.desk import Desk
from labeler.server.examples import CARD, NOW, RECORDED, SESSION, UNDONE, gives
from labeler.server.plain import words_for
from labeler.server.thanking import thanks
from labeler.server.wire import Events, Undo, card_json, event_id, read_event
from labeler.tongue import Words
from labeler.workspace import Workspace

ROUND_WAIT_S = 0.25  # how long a request for cards waits for a round that is being learned
MOST_WAIT = 4  # requests that wait at once: more would all come back in the same moment
POLL_S = 0.01
MOST_HAVE = 1000
MOST_SAID = 20  # answers that are turned away in the reader's language; a deck sends none

router = APIRouter()


@router.get("/session", responses=gives(SESSION | NOW))
async def get_session(
    request: Request, desk: DeskDep, visitor: VisitorDep, session: SessionDep
) -> JSONResponse:
    """Where a session stands: its question and labels, what was answered and found, what the worker does."""
    words = words_for(request)
    return JSONResponse(await desk.read(lambda ws: session_json(desk, ws, visitor, session, words)))


def session_json(
    desk: Desk, ws: Workspace, visitor: Visitor, session: int | None, words: Words
) -> dict[str, Any]:  # Any: JSON
    """Return where a session stands, as its visitor may know it, in their language. Raises Missing."""
    asked = loop.get_session(ws, session)
    person = visitor.person or ws.roster.person_by_token(visitor.key)
    images, embedded, items = loop.pool_counts(ws)
    answers, finds = (0, 0) if person is None else ws.journal.given(asked.id, person.id)
    first = 0 if person is None else desk.credits.of(ws, asked.id, person.id, answers)
    progress = desk.worker.progress()
    looks = None if visitor.owner or person is None else person.id
    facts = loop.session_status(ws, asked, looks)
    return facts | {
        "question": words.question(asked.question),
        "embedded": embedded,
        "images": images,
        "items": items,
        "workspace": desk.stamp,
        "drawn": loop.is_drawn(ws),
        "can_undo": person is not None and ws.journal.can_undo(asked.id, person.id),
        "worker": desk.worker.state(),
        "problem": words.said(desk.worker.problem() or "") or None
        if visitor.owner
        else None,  # it may name files
        "owner": visitor.owner,
        "mine": {
            "answers": answers,
            "found": finds,
            "first": first,
            "person": None if person is None else person.id,
            "name": None if person is None else person.name,
        },
        "thanks": ""
        if visitor.owner
        else thanks(words, facts, answers, first, has_gold=ws.dealing.has_gold(asked.id)),
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

    def deal(ws: Workspace) -> tuple[int, list[Card], list[int]]:
        asked, who = loop.get_session(ws, session), person_of(desk, ws, visitor)
        if asked.state != "open" and not visitor.owner:
            return asked.id, [], []  # what they hold may still be answered
        cards = loop.next_cards(ws, asked, who.id, n, have=held, device=who.device)
        return asked.id, cards, loop.gone_cards(ws, asked, who.id, held or (), who.device)

    number, cards, gone = await desk.write(deal, later=True)
    if len(cards) < n:
        desk.worker.poke(number)
    sent = [card_json(card, desk.stamp, owner=visitor.owner) for card in cards]
    return JSONResponse({"cards": sent, "gone": gone})


def person_of(desk: Desk, ws: Workspace, visitor: Visitor) -> Person:
    """Return who a visitor is, stored now if they did nothing before. To be run by the writer.

    Only what has to be signed asks for this: a request without a cookie that leaves nothing leaves nobody.
    """
    return visitor.person or desk.door.enter(ws, visitor)


async def await_round(desk: Desk, session: int | None) -> None:
    """Wait a moment for a round that is being learned: its cards are better than those left over.

    Of many people who answer at once only a few wait: another round is never far for them.
    """
    number = session or await desk.newest_session()
    if desk.waiting >= MOST_WAIT or not desk.worker.is_busy(number):
        return
    desk.waiting += 1
    try:
        turns.leave()
        for _ in range(round(ROUND_WAIT_S / POLL_S)):
            await asyncio.sleep(POLL_S)
            if not desk.worker.is_busy(number):
                return
    finally:
        desk.waiting -= 1


@router.post("/labels", responses=gives(RECORDED))
async def post_labels(
    request: Request, body: Events, desk: DeskDep, visitor: VisitorDep, session: NamedDep
) -> JSONResponse:
    """Store answers. "Accepted" is said when they are on disk; a repeated event id changes nothing.

    Where the owner wants it, `feedback` says of images whose answer was known whether the one given agrees.

    409 when they were given in another workspace, or by another person: a browser keeps what it could not
    send, by address, and others may join in it.
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

    def record(ws: Workspace) -> list[tuple[Session, Recorded]]:
        if session is not None:
            groups = [(loop.get_session(ws, session), events)]
        else:  # each to its card's question
            groups = loop.by_session(ws, events, visitor.session)
        if not events:
            loop.get_session(ws, session or visitor.session)
            return []
        who = person_of(desk, ws, visitor)
        if body.person is not None and body.person != who.id:
            raise Conflict(
                "These answers were given by somebody else in this browser.",
                "Reload the page; they are kept, and go out when that person is back here.",
            )
        return [(asked, loop.record(ws, asked, who.id, some, who.device)) for asked, some in groups]

    words, accepted, duplicates = words_for(request), 0, 0
    told: dict[str, Any] = {}  # Any: JSON
    said = {event.id: event.answer for event in events}
    for asked, done in await desk.write(record):
        accepted, duplicates = accepted + done.accepted, duplicates + done.duplicates
        if done.accepted:
            desk.worker.poke(asked.id)
            desk.settle(asked)
        for uid, why in done.rejected:  # of many, the first ones are said in the reader's language
            is_many = len(rejected) >= MOST_SAID
            rejected.append({"id": sent[uid], "why": why if is_many else words.said(why)})
        if asked.gold_feedback and not visitor.owner:
            told.setdefault("feedback", []).extend(
                {"id": sent[uid], "label": asked.labels[label], "right": said[uid] == asked.labels[label]}
                for uid, label in done.known
                if 0 <= label < len(asked.labels) and said[uid] != SKIP
            )
    return JSONResponse({"accepted": accepted, "duplicates": duplicates, "rejected": rejected} | told)


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
