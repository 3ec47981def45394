"""An answer of every route, for the description of the interface; tests compare them with real ones."""

from typing import Any

CARD = {
    "card": 48, "item": 7031, "url": "/tiles/7031?w=512&v=1f2e3d4c", "width": 600, "height": 600, "round": 3,
    "reason": "find", "p_chosen": 1.0, "score": 0.93,
}  # fmt: skip
SESSION = {
    "id": 1, "question": "Is this an island?", "labels": ["yes", "no"], "goal": "find", "round": 3,
    "events": 47, "cards_shown": 46, "counts": {"yes": 9, "no": 35, "unsure": 1, "skip": 1}, "found": 9,
    "estimate": None, "batch_size": 20, "round_answered": 7, "per_minute": 31,
    "rounds": [{"round": 1, "shown": 0, "found": 0}, {"round": 2, "shown": 20, "found": 2}],
}  # fmt: skip
NOW = {
    "embedded": 5120, "images": 10000, "items": 9987, "workspace": "1f2e3d4c", "drawn": False,
    "can_undo": True, "worker": "embedding", "owner": True, "stage": "embedding", "total": 10000,
    "left_s": 41.5,
}  # fmt: skip
EVENT = {
    "id": "0b0e7e58-9d2c-4f6e-8f0e-2a54a3c3a8a1", "label": "yes", "at": "2026-11-20T12:00:00Z", "person": 2,
    "card": 48, "ms": 812, "reason": "find", "p_chosen": 1.0, "round": 3,
}  # fmt: skip
ITEM = {
    "item": 7031, "path": "beach/beach_17.jpg", "width": 600, "height": 600, "labels": [EVENT], "score": 0.93,
}  # fmt: skip
RESULTS = {"results": [{"item": 7031, "cos": 1.0, "url": "/tiles/7031?w=256&v=1f2e3d4c"}]}
RECORDED = {"accepted": 1, "duplicates": 0, "rejected": []}
UNDONE = {"item": 7031, "label": "yes", "card": CARD}


def gives(example: object) -> dict[int | str, dict[str, Any]]:  # Any: part of an OpenAPI document
    """Return what a route's description says of its answer."""
    return {200: {"description": "For example:", "content": {"application/json": {"example": example}}}}
