"""What people disagree about: how much they agree, the images least settled, and who may not be looking."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from active.agreement import Agreement, agreement, by_label, disputed
from active.agreement import over_time as agreement_over_time
from active.arrays import Ids
from active.spoilers import by_others, signs
from active.votes import tally
from labeler import crowds
from labeler.domain import Session
from labeler.lately import Kept
from labeler.standing import UNSURE_NUMBER
from labeler.workspace import Workspace

SHOWN = 200  # disputes that are looked through at most
MOST_JUDGED = 500  # people whose answers are looked at for signs
LATELY_S = 10.0  # how old what `lately` returns may be
REST = 20.0  # and how many times as old as it takes to find out: a million votes take seconds
SPANS, LEAST_IN = 5, 20  # parts of a session, over which agreement is followed, and images in each at least
ALONE = ("fast", "even", "gold")  # signs that need nobody else to have answered the same images


@dataclass(frozen=True, slots=True)
class Dispute:
    """An image that people differ about. votes: {label: how many gave it}; unsettled: from 0 to 1."""

    item: int
    unsettled: float
    votes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why somebody's answers may be worth a look: a sentence for each sign."""

    person: int
    name: str
    answers: int
    says: list[str]


@dataclass(frozen=True, slots=True)
class Span:
    """How much people agreed on a part of the images. until: when the last of these was answered twice."""

    until: datetime
    known: Agreement


@dataclass(frozen=True, slots=True)
class Lately:
    """How people agreed a moment ago: as `agree` has it (None: nobody was asked twice), and what beside.

    spans  how that went over time, oldest first; none where there are too few images for two.
    """

    whole: Agreement | None
    labels: list[Agreement]
    spans: list[Span]
    disputed: int
    doubts: list[Doubt]


_lately: Kept[Lately] = Kept(LATELY_S, REST)


def lately(ws: Workspace, session: Session) -> Lately:
    """Return how people agree, at most some seconds old: for pages that ask again and again, however many."""
    return _lately.get(ws, session.id, lambda: _found_out(ws, session))


def _found_out(ws: Workspace, session: Session) -> Lately:
    whole, labels = agree(ws, session) or (None, [])
    spans = over_time(ws, session)
    return Lately(whole, labels, spans, len(queue(ws, session)), doubts(ws, session))


def agree(ws: Workspace, session: Session) -> tuple[Agreement, list[Agreement]] | None:
    """Return how much people agree, and on each label against the others; None: nobody was asked twice.

    Of each image as many answers count as are asked of all, the first ones: else images that people differ
    about, which more are asked about, would weigh more. The interval is drawn with the session's seed.
    """
    votes = crowds.opinion(ws, session).votes
    if not len(votes):
        return None
    first = _counted(session)
    whole = agreement(votes, np.random.default_rng(session.seed), first=first)
    if whole.items == 0:
        return None
    return whole, by_label(votes, np.random.default_rng(session.seed), first=first)


def over_time(ws: Workspace, session: Session) -> list[Span]:
    """Return how much people agreed on the images that several answered first, on the next, and so on."""
    held = crowds.opinion(ws, session)
    parts = min(SPANS, int((tally(held.votes)[1].sum(1) > 1).sum()) // LEAST_IN) if len(held.votes) else 0
    if parts < 2:
        return []
    rng = np.random.default_rng(session.seed)
    found = agreement_over_time(held.votes, parts, rng, first=_counted(session))
    times = ws.journal.received(held.said["seq"][[at for at, _ in found]].tolist())
    return [Span(time, known) for time, (_, known) in zip(times, found, strict=True)]


def _counted(session: Session) -> int | None:
    """Return how many answers to an image count for agreement; None: all."""
    return session.least if session.is_open else None


def queue(ws: Workspace, session: Session, most: int = SHOWN, *, but: int | None = None) -> list[Dispute]:
    """Return the images that people differ about, least settled first.

    Those that an owner has answered are settled. but  a person: what they have answered is left out.
    """
    held = crowds.opinion(ws, session)
    if not len(held.votes):
        return []
    ids, counts = tally(held.votes)
    items, unsettled = disputed(ids, held.found.standing.posterior, counts)
    plain = ws.journal.answers(session.id)
    out = set(plain.items[plain.owned].tolist())
    if but is not None:
        at = np.flatnonzero(held.people == but)
        out |= set(held.votes.items[np.isin(held.votes.people, at)].tolist())
    kept = [i for i, item in enumerate(items.tolist()) if item not in out][:most]
    return [
        Dispute(int(items[i]), float(unsettled[i]), _named(session, counts[np.searchsorted(ids, items[i])]))
        for i in kept
    ]


def votes_on(ws: Workspace, session: Session, item: int) -> dict[str, int]:
    """Return {label: how many people gave it} of one image, also "unsure", as answers stand."""
    said = ws.journal.cast(session.id, items=[item])
    numbers = said["number"][said["number"] >= UNSURE_NUMBER]
    out = {name: int((numbers == i).sum()) for i, name in enumerate(session.labels)}
    return out | {"unsure": int((numbers == UNSURE_NUMBER).sum())}


def has_judged(ws: Workspace, session: Session, item: int, person: int) -> bool:
    """Return whether a label or "unsure" of a person on an image stands; a skip says nothing."""
    said = ws.journal.cast(session.id, items=[item])
    return bool(((said["person"] == person) & (said["number"] >= UNSURE_NUMBER)).any())


def doubts(ws: Workspace, session: Session) -> list[Doubt]:
    """Return whose answers show signs that they don't look, and which; nobody is left out for it.

    Where one answer is enough for an image, only gold and how long answers take tell it, and nothing does
    without gold.
    Of many people the MOST_JUDGED who gave most answers are looked at.
    """
    if session.votes == 1 and not len(ws.journal.cast_gold(session.id)):
        return []
    held = crowds.opinion(ws, session)
    votes, found = held.votes, held.found
    if len(held.people) < 2:
        return []
    ms = np.asarray(held.said["ms"])
    others = by_others(votes, found)
    given = np.bincount(votes.people, minlength=len(held.people))
    given += found.gold[: len(given)].sum((1, 2)).astype(np.int64)
    names, out = ws.roster.names(), []
    for person in np.argsort(-given, kind="stable")[:MOST_JUDGED].tolist():
        known = signs(person, votes, found, others, ms)
        odd = [s.says for s in known if s.is_odd and (session.votes > 1 or s.name in ALONE)]
        if odd:
            number = int(held.people[person])
            out.append(Doubt(number, names.get(number, ""), int(given[person]), _in_words(session, odd)))
    return out


def _in_words(session: Session, says: Sequence[str]) -> list[str]:
    """Return the sentences with the names of labels in place of their numbers."""
    out = []
    for text in says:
        for number, name in enumerate(session.labels):
            text = text.replace(f"Gave label {number} ", f"Gave “{name}” ")
        out.append(text)
    return out


def _named(session: Session, counts: Ids) -> dict[str, int]:
    return dict(zip(session.labels, counts.tolist(), strict=False))
