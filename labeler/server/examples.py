"""An answer of every route, for the description of the interface; tests compare them with real ones.

Schemas are read off the examples, so that there is one place to say what an answer looks like.
"""

from typing import Any

MAY_BE_NULL = frozenset(
    {
        "at_least",
        "at_most",
        "bytes",
        "card",
        "cards_to_next",
        "cards_to_sure",
        "cards_to_target",
        "label",
        "left_s",
        "mine.name",
        "mine.person",
        "ms",
        "p_chosen",
        "problem",
        "reason",
        "rejected.id",
        "round",
        "score",
        "stage",
        "target_share",
        "tile_bytes",
        "total",
    }
)
OBJECTS_OR_NULL = frozenset({"advice", "certificate", "estimate"})
FOR_OWNERS = frozenset({"reason", "p_chosen", "score"})  # left out for people who swipe
FOR_OTHERS = frozenset({"feedback"})  # left out for owners, and where people are told nothing
BY_LABEL = frozenset({"counts"})  # its keys are the labels of the session

CARD = {
    "card": 48, "item": 7031, "url": "/tiles/7031?w=512&v=1f2e3d4c", "width": 600, "height": 600, "round": 3,
    "reason": "find", "p_chosen": 1.0, "score": 0.93,
}  # fmt: skip
CERTIFICATE = {
    "share": 0.9, "left": 9500, "draws": 668, "answered": 668, "finds": 0, "unsure": 0, "gone": 0,
    "at_least": 0.9, "at_most": 408, "state": "done", "number": 1, "joined": 0,
}  # fmt: skip
ESTIMATE = {
    "share": 0.72, "low": 0.45, "high": 0.93, "total": 12.5, "total_low": 9.7, "total_high": 20.0,
    "next_finds": 6.1,
}  # fmt: skip
ADVICE = {
    "target": 0.95, "reached": False, "chance": 0.02, "next_finds": 6.1, "cards_to_next": 8.2,
    "cards_to_target": 41.0, "cards_to_sure": 118.0,
}  # fmt: skip
SESSION = {
    "id": 1, "question": "Is this an island?", "labels": ["yes", "no"], "goal": "find", "round": 3,
    "events": 47, "cards_shown": 46, "counts": {"yes": 9, "no": 35, "unsure": 1, "skip": 1}, "found": 9,
    "estimate": ESTIMATE, "target_share": 0.95, "advice": ADVICE, "certificate": CERTIFICATE,
    "state": "open", "notice": "Thank you!",
    "votes": 3, "unfinished": 12, "finished": 34, "batch_size": 20, "round_answered": 7, "per_minute": 31,
    "rounds": [{"round": 1, "shown": 0, "found": 0}, {"round": 2, "shown": 20, "found": 2}],
}  # fmt: skip
NOW = {
    "embedded": 5120, "images": 10000, "items": 9987, "workspace": "1f2e3d4c", "drawn": False,
    "can_undo": True, "worker": "embedding", "owner": True,
    "mine": {"answers": 40, "found": 3, "first": 2, "person": 7, "name": "Calm Heron"}, "thanks": "",
    "stage": "embedding", "total": 10000,
    "left_s": 41.5, "problem": "The disk is full.",
}  # fmt: skip
EVENT = {
    "id": "0b0e7e58-9d2c-4f6e-8f0e-2a54a3c3a8a1", "label": "yes", "at": "2026-11-20T12:00:00Z", "person": 2,
    "card": 48, "ms": 812, "reason": "find", "p_chosen": 1.0, "round": 3,
}  # fmt: skip
ITEM = {
    "item": 7031, "path": "beach/beach_17.jpg", "width": 600, "height": 600, "labels": [EVENT], "score": 0.93,
}  # fmt: skip
RESULTS = {"results": [{"item": 7031, "cos": 1.0, "url": "/tiles/7031?w=256&v=1f2e3d4c"}]}
RECORDED = {
    "accepted": 1, "duplicates": 0,
    "rejected": [{"id": "5a0c8f3e-77b1-4a53-9f4d-0d7f3b0f6f11", "why": "There is no item 99999."}],
    "feedback": [{"id": "0b0e7e58-9d2c-4f6e-8f0e-2a54a3c3a8a1", "label": "yes", "right": True}],
}  # fmt: skip
UNDONE = {"item": 7031, "label": "yes", "card": CARD}


PROBLEM = {"error": "There is no item 7.", "do": "Name another one."}


def gives(example: object) -> dict[int | str, dict[str, Any]]:  # Any: part of an OpenAPI document
    """Return what a route's description says of its answer."""
    return {200: {"description": "For example:", "content": content(example)}}


def content(example: object) -> dict[str, Any]:  # Any: as above
    """Return how an answer that looks like `example` is described."""
    return {"application/json": {"example": example, "schema": schema(example)}}


def schema(value: object, name: str = "", within: str = "") -> dict[str, Any]:  # Any: a JSON schema
    """Return the schema of a value like this one. `name`: of the field that holds it, `within`: of the one
    around that."""
    if isinstance(value, dict):
        if name in BY_LABEL:
            return {"type": "object", "additionalProperties": {"type": "integer"}}
        known = {
            "type": "object",
            "properties": {key: schema(part, key, name) for key, part in value.items()},
            "required": [key for key in value if key not in FOR_OWNERS | FOR_OTHERS],
        }
        return _may_be_null(known, name in OBJECTS_OR_NULL)
    if isinstance(value, list):
        return {"type": "array", "items": _may_be_null(schema(value[0], name), None in value)}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    known = {"type": kinds[type(value)]} if value is not None else {}  # null: nothing gives it yet
    return _may_be_null(known, name in MAY_BE_NULL or f"{within}.{name}" in MAY_BE_NULL)


def _may_be_null(known: dict[str, Any], may_be: bool) -> dict[str, Any]:  # Any: a JSON schema
    return known | {"type": [known["type"], "null"]} if may_be and "type" in known else known
