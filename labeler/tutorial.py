"""Examples for whoever joins: a few settled images with the right answer, and why, kept with the question."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np

from labeler import crowds
from labeler.domain import SKIP, Session
from labeler.errors import BadInput, NotReady
from labeler.workspace import Workspace

LEAST, MOST = 3, 5  # cards
LONGEST = 200  # letters of an explanation
RARE, ENOUGH = 0.2, 20  # below this share of so many answered images, newcomers are told that it is rare
SURE = 0.9  # from where on an image that several people answered is taken to be settled


@dataclass(frozen=True, slots=True)
class Lesson:
    """One example: an item, the number of its right answer, and a sentence on why; empty: nothing is said."""

    item: int
    label: int
    why: str = ""


def load(ws: Workspace, session: Session) -> list[Lesson]:
    """Return the examples of a question, in the order in which they are shown; empty: it has none."""
    kept = ws.store.fact(_fact(session))
    return [Lesson(**one) for one in json.loads(kept)] if kept else []


def make(ws: Workspace, session: Session) -> list[Lesson]:
    """Choose examples among settled images, at random, each answer in turn; return them, kept from now on.

    Settled is what an owner has answered, then what several people are sure of; with one answer for each
    image, what was answered. Raises NotReady where there are too few, or all have the same answer.
    """
    known = crowds.answers(ws, session)
    ids = known.items
    settled = known.owned.copy()
    if session.votes == 1:
        settled[:] = True
    elif known.sure is not None:
        done = ws.journal.votes_of(session.id, ids.tolist())
        finished = np.fromiter((done.get(i, (0, False))[1] for i in ids.tolist()), np.bool_, len(ids))
        settled |= finished & (known.sure >= SURE)
    kept = np.flatnonzero(settled & (known.labels >= 0))
    order = np.random.default_rng().permutation(kept)
    order = order[np.argsort(~known.owned[order], kind="stable")]  # what owners have said comes first
    per_label = [
        [i for i in order.tolist() if known.labels[i] == number] for number in range(len(session.labels))
    ]
    chosen: list[int] = []
    for turn in range(MOST):
        for pile in per_label:
            if turn < len(pile) and len(chosen) < MOST and _is_there(ws, int(ids[pile[turn]])):
                chosen.append(pile[turn])
    if len(chosen) < LEAST or len({int(known.labels[i]) for i in chosen}) < 2:
        error = f"Only {len(chosen)} images can be examples: settled, and not all with the same answer."
        raise NotReady(error, f"Answer some more: it takes {LEAST}, and two answers.")
    lessons = [Lesson(int(ids[i]), int(known.labels[i])) for i in chosen]
    _save(ws, session, lessons)
    return lessons


def is_rare(ws: Workspace, session: Session) -> bool:
    """Return whether what is looked for is on few of the images answered so far; examples show it oftener."""
    counts = ws.journal.counts(session)
    answered = sum(n for name, n in counts.items() if name != SKIP)
    return session.goal == "find" and answered >= ENOUGH and counts[session.target] < RARE * answered


def explain(ws: Workspace, session: Session, whys: list[str]) -> None:
    """Say why each example has its answer, in order. Raises BadInput for what is too long."""
    for why in whys:
        if len(why) > LONGEST or any("\ud800" <= c <= "\udfff" for c in why):
            raise BadInput("The explanation is too long.", f"Use at most {LONGEST} plain characters.")
    lessons = load(ws, session)
    _save(ws, session, [replace(a, why=why.strip()) for a, why in zip(lessons, whys, strict=True)])


def clear(ws: Workspace, session: Session) -> None:
    """Show no examples any more."""
    _save(ws, session, [])


def _is_there(ws: Workspace, item: int) -> bool:
    known = ws.catalog.item(item)
    return known is not None and known.present


def _save(ws: Workspace, session: Session, lessons: list[Lesson]) -> None:
    ws.store.set_fact(_fact(session), json.dumps([asdict(one) for one in lessons]))


def _fact(session: Session) -> str:
    return f"tutorial.{session.id}"
