"""The routes of packs: cards taken along for a day, and given back."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import JSONResponse

from labeler import loop, packs
from labeler.domain import Card
from labeler.files import Unreadable
from labeler.server.asking import DeskDep, SessionDep, VisitorDep
from labeler.server.cards import await_round, person_of
from labeler.server.examples import CARD, gives
from labeler.server.tiles import make_tile
from labeler.server.wire import Body, Whole, card_json
from labeler.workspace import Workspace

ENOUGH = 12  # tiles that say what one weighs
Cards = Annotated[list[Whole], Field(max_length=1000)]

ABOUT = {"most": packs.MOST, "lease_s": packs.PACK_S, "tile_bytes": 24_310, "held": 120}
PACK = {"cards": [CARD | {"bytes": 23_876}], "gone": [46], "coming": False, "lease_s": packs.PACK_S}
BACK = {"back": 57}

router = APIRouter()


class Take(Body):
    """How many more cards are wanted, and which ones of its own the deck takes along too."""

    n: int = Field(ge=0, le=packs.MOST, description="0: only say which of `have` are gone")
    have: Cards = Field(default=[])


class Back(Body):
    """The cards to give back; null or left out: all that were taken along."""

    cards: Cards | None = None


@router.get("/pack", responses=gives(ABOUT))
async def get_pack(desk: DeskDep, visitor: VisitorDep, session: SessionDep) -> JSONResponse:
    """What a pack weighs, how many cards one may have along, and how many this client has.

    `tile_bytes` is the mean size of a picture, null where none can be made.
    """

    def look(ws: Workspace) -> dict[str, Any]:  # Any: JSON
        asked = loop.get_session(ws, session)
        person = visitor.person or ws.roster.person_by_token(visitor.key)
        held = len(packs.held(ws, asked, person.id)) if person else 0
        return {"most": packs.MOST, "lease_s": packs.PACK_S, "tile_bytes": tile_bytes(ws), "held": held}

    return JSONResponse(await desk.ponder(look))


def tile_bytes(ws: Workspace) -> int | None:
    """Return how many bytes a tile has, the mean of some; made for that where too few were made before.

    None where none can be.
    """
    items = packs.sample(ws)
    sizes = [size for item in items if (size := packs.size_of(ws, item)) is not None]
    for item in items[: max(0, ENOUGH - len(sizes))]:
        try:
            sizes.append(len(make_tile(ws, item, "512").data))
        except Unreadable:
            pass  # another one says it
    return round(sum(sizes) / len(sizes)) if sizes else None


@router.post("/pack", responses=gives(PACK))
async def post_pack(body: Take, desk: DeskDep, visitor: VisitorDep, session: SessionDep) -> JSONResponse:
    """More cards, held for this client for a day. Fewer than asked for, or none, are no error: ask again.

    A round has only so many cards, and the next one is made when they run short: `coming` says that it was
    on its way already. `gone` are those of `have` that need no answer any more. 409 for who has 500 cards
    along already.
    """
    await await_round(desk, session)

    def deal(ws: Workspace) -> tuple[int, list[Card], list[int | None], list[int]]:
        asked, who = loop.get_session(ws, session), person_of(desk, ws, visitor)
        cards = packs.take(ws, asked, who, body.n, body.have)
        sizes = [packs.size_of(ws, card.item) for card in cards]
        return asked.id, cards, sizes, loop.gone_cards(ws, asked, who.id, body.have, who.device)

    number, cards, sizes, gone = await desk.write(deal, later=True)
    is_short = len(cards) < body.n
    coming = is_short and desk.worker.is_wanted(number)
    if is_short and not coming:
        desk.worker.poke(number)
    sent = [
        card_json(card, desk.stamp, owner=visitor.owner) | {"bytes": size}
        for card, size in zip(cards, sizes, strict=True)
    ]
    return JSONResponse({"cards": sent, "gone": gone, "coming": coming, "lease_s": packs.PACK_S})


@router.post("/pack/back", responses=gives(BACK))
async def post_back(body: Back, desk: DeskDep, visitor: VisitorDep, session: SessionDep) -> JSONResponse:
    """Give cards back that were taken along, so that others get them. Answered ones are left as they are."""

    def give(ws: Workspace) -> int:
        asked = loop.get_session(ws, session)
        person = visitor.person or ws.roster.person_by_token(visitor.key)
        return packs.give_back(ws, asked, person.id, body.cards) if person else 0

    return JSONResponse({"back": await desk.write(give)})
