"""Packs: many cards taken along at once and held for a day, for where there is no network."""

import time
from collections.abc import Sequence

from labeler.dealing import MOST_HELD
from labeler.domain import Card, Person, Session
from labeler.errors import Conflict
from labeler.workspace import Workspace

PACK_S = 86_400  # how long the cards of a pack belong to one person
MOST = 500  # cards that one person may have along
LOOKED_AT = 64  # items whose tiles are looked at to say what a pack weighs


def take(ws: Workspace, session: Session, person: Person, n: int, have: Sequence[int]) -> list[Card]:
    """Return up to n more cards, held for this device for a day, as are those of `have` from now on.

    n  0: nothing more; `have` is then held on as usual. Fewer come when the newest round has no more:
       the next one is made for that. Raises Conflict for somebody who has all along that one may have.
    """
    now = time.time()
    lease_s = max(PACK_S, ws.config.lease_s) if n else ws.config.lease_s
    free = MOST - len(set(held(ws, session, person.id)) | set(have)) if n else 0
    if n and free <= 0:
        raise Conflict(
            f"You have {MOST} cards along already, which is the most.",
            "Answer some of them, or give them back.",
        )
    if session.state != "open" and person.role != "own":
        return []
    return ws.dealing.lease_cards(
        session.id, person.id, min(n, free), have=have, now=now, lease_s=lease_s, device=person.device,
        most=MOST + MOST_HELD,
    )  # fmt: skip


def held(ws: Workspace, session: Session, person: int) -> list[int]:
    """Return the unanswered cards of a person's packs, on whatever device, in order."""
    now = time.time()
    return ws.dealing.packed(session.id, person, now=now, beyond=now + ws.config.lease_s)


def give_back(ws: Workspace, session: Session, person: int, cards: Sequence[int] | None) -> int:
    """Let others have these cards of a person, None: of all their packs; return how many there were."""
    wanted = held(ws, session, person) if cards is None else cards
    return ws.dealing.give_back(session.id, person, wanted)


def sample(ws: Workspace) -> list[int]:
    """Return some items from all over the pool, in order: their tiles say what a pack weighs."""
    items = ws.catalog.count_items()
    return list(range(0, items, max(1, items // LOOKED_AT)))[:LOOKED_AT]


def size_of(ws: Workspace, item: int, width: int = 512) -> int | None:
    """Return how many bytes the tile of an item has; None where it is not made yet."""
    try:
        return ws.tile(item, width).stat().st_size
    except OSError:
        return None
