"""What goes over the wire: the bodies that clients send, checked, and the objects they get."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from labeler.domain import LEAST_TARGET, MOST_TARGET, Card, Item, LabelEvent, StoredEvent
from labeler.items import shown_path
from labeler.server.tiles import tile_url

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
HIGHEST = 2**53  # what a browser can still count exactly
DAY_MS = 86_400_000

Whole = Annotated[int, Field(ge=0, le=HIGHEST)]
Name = Annotated[str, Field(min_length=1, max_length=60)]
EVENT = {
    "type": "object",
    "required": ["id", "item", "label"],
    "properties": {
        "id": {"type": "string", "format": "uuid", "description": "made by the client; repeats are harmless"},
        "card": {"type": ["integer", "null"]},
        "item": {"type": "integer"},
        "label": {"type": ["string", "null"], "description": "a label, unsure, skip, or null: taken back"},
        "ms": {"type": ["number", "null"], "description": "how long the card was looked at"},
        "at": {"type": "string", "format": "date-time", "description": "by the client's clock"},
    },
}


class Body(BaseModel):
    """A JSON body: types as they are, unknown fields ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Events(Body):
    """A group of answers. Each is judged alone, so one malformed event does not hold back the rest."""

    # Any: checked one by one in read_event
    events: list[Annotated[Any, Field(json_schema_extra=EVENT)]] = Field(max_length=500)
    workspace: str | None = Field(
        default=None, max_length=64, description="of GET /api/session; another one's answers are refused"
    )
    person: int | None = Field(
        default=None, ge=0, le=HIGHEST, description="mine.person of GET /api/session; as workspace"
    )


class Undo(Body):
    """The id of the new event that takes the last answer back."""

    id: str = Field(pattern=UUID.pattern.removesuffix(r"\Z") + "$", max_length=36)


class Ask(Body):
    """Items to be asked about next."""

    items: list[Whole] = Field(min_length=1, max_length=1000)


class NewSession(Body):
    """A question with its labels; the first one is searched for."""

    question: str = Field(min_length=1, max_length=300)
    labels: list[Name] = Field(default=["yes", "no"], min_length=2, max_length=9)
    goal: str = Field(default="find", pattern="^(find|classify)$")


class Target(Body):
    """What share of the target is wanted found; null: nobody says."""

    share: float | None = Field(ge=LEAST_TARGET, le=MOST_TARGET)


class LabelChange(Body):
    """A label to add, or one to rename."""

    add: Name | None = None
    rename: Name | None = None
    to: Name | None = None


class Search(Body):
    """What the wanted images are like and unlike: items, words, or a vector of the encoder in use."""

    like: list[Whole] = Field(default=[], max_length=1000)
    unlike: list[Whole] = Field(default=[], max_length=1000)
    words: list[Annotated[str, Field(max_length=200)]] = Field(default=[], max_length=5)
    embedding: list[float] | None = Field(default=None, max_length=65_536)
    k: int = Field(default=50, ge=1, le=10_000)
    about: bool = Field(default=False, description="For the owner: each one's file and answer too.")
    exact: bool = Field(default=False, description="Compare every item: slower, up to three million.")


def read_event(raw: object) -> LabelEvent:
    """Return an answer as a client sent it. Raises ValueError with what is malformed.

    A time without zone is taken as UTC, a missing one as now; clocks may be wrong, so any time goes.
    """
    if not isinstance(raw, dict):
        raise ValueError("An event must be an object.")
    uid, answer = raw.get("id"), raw.get("label", False)
    if not (isinstance(uid, str) and UUID.match(uid)):
        raise ValueError("The id must be a UUID.")
    if not (answer is None or (isinstance(answer, str) and len(answer) <= 60)):
        raise ValueError("The label must be a name or null.")
    item, card = _whole(raw.get("item")), _whole(raw.get("card"))
    if item is None:
        raise ValueError("The item must be a whole number.")
    if card is None and raw.get("card") is not None:
        raise ValueError("The card must be a whole number.")
    return LabelEvent(uid.lower(), item, answer, _time(raw.get("at")), card, _ms(raw.get("ms")))


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= HIGHEST else None


def _time(value: object) -> datetime:
    if value is None:
        return datetime.now(UTC)
    try:
        if isinstance(value, str) and len(value) <= 40:
            at = datetime.fromisoformat(value)
            return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("The time must be like 2026-11-20T12:00:00.000Z.")


def _ms(value: object) -> int | None:
    """Return a duration within a day, None when it was not measured."""
    if value is None:
        return None
    if type(value) not in (int, float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("The duration ms must be a number.")
    assert isinstance(value, int | float)
    return int(min(max(value, 0), DAY_MS))


def event_id(raw: object) -> str | None:
    """Return the id of a malformed event as far as it has one, to name it in the answer."""
    uid = raw.get("id") if isinstance(raw, dict) else None
    return uid[:64].encode("utf-8", "replace").decode() if isinstance(uid, str) else None


def finite(number: float | None) -> float | None:
    """Return a number as JSON can carry it."""
    return None if number is None or not math.isfinite(number) else float(number)


def card_json(card: Card, stamp: str, *, owner: bool) -> dict[str, object]:
    """Return a card as the deck gets it. Why it was chosen would bias whoever answers: owners only."""
    out: dict[str, object] = {
        "card": card.id, "item": card.item, "url": tile_url(stamp, card.item),
        "width": card.width, "height": card.height, "round": card.round,
    }  # fmt: skip
    if owner:
        out |= {"reason": card.reason, "p_chosen": finite(card.p_chosen), "score": finite(card.score)}
    return out


def item_json(item: Item, events: Sequence[StoredEvent], score: float | None) -> dict[str, object]:
    """Return an item with everything that was said about it."""
    labels = [
        {
            "id": e.id, "label": e.answer, "at": e.at.isoformat().replace("+00:00", "Z"), "person": e.person,
            "card": e.card, "ms": e.ms, "reason": e.reason, "p_chosen": finite(e.p_chosen), "round": e.round,
        }
        for e in events
    ]  # fmt: skip
    return {
        "item": item.id, "path": shown_path(item.path)[0], "width": item.width, "height": item.height,
        "labels": labels, "score": finite(score),
    }  # fmt: skip
