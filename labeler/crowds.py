"""What many people's answers to one question come to: the label of each image, and how sure it is."""

import threading
import weakref
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids, distinct
from active.consensus import Consensus, Known, fit, gold_counts
from active.spoilers import speed_weight
from active.votes import Votes
from labeler.domain import Session
from labeler.log import Answers
from labeler.standing import UNSURE_NUMBER
from labeler.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the answers of a session come to at one moment; a function of its events, and of who owns now.

    found   the fit to the votes; its people are numbered as in `people`, their numbers in the workspace.
    votes, known  what it was fitted to, in the order of `said`.
    said    (v,) the labels that stand, of dtype `ballots.CAST`. unsure  the same of "unsure".
    on_gold what was said of images whose answer is known, of dtype `ballots.GOLD`: of people alone it tells.
    """

    found: Consensus
    votes: Votes
    known: Known
    people: Ids
    said: NDArray[np.void]
    unsure: NDArray[np.void]
    on_gold: NDArray[np.void]
    last_event: int


def answers(ws: Workspace, session: Session, until: int | None = None) -> Answers:
    """Return the labels as they stand, or stood after event `until`, and how sure each is.

    With one answer for each image that is the answer itself. With several it is the most probable label by
    all votes, people weighed by how right they are; "unsure" where nobody has given a label; an owner's where
    there is one.
    """
    plain = ws.journal.answers(session.id, until)
    if session.votes == 1 or not len(plain.items):
        return plain
    held = opinion(ws, session, plain.last_event)
    found = held.found
    sure = np.ones(len(plain.items), np.float32)
    labels = np.full(len(plain.items), UNSURE_NUMBER, np.int64)
    at = np.searchsorted(plain.items, found.ids)
    inside = at < len(plain.items)
    inside[inside] = plain.items[at[inside]] == found.ids[inside]
    posterior, by_people = found.standing.posterior[inside], found.standing.by_people[inside]
    taught, weight = labels.copy(), sure.copy()
    labels[at[inside]], sure[at[inside]] = posterior.argmax(1), posterior.max(1)
    taught[at[inside]], weight[at[inside]] = by_people.argmax(1), by_people.max(1)
    owned = plain.owned
    for into, what in ((labels, plain.labels[owned]), (taught, plain.labels[owned]), (sure, 1), (weight, 1)):
        into[owned] = what
    return Answers(plain.items, labels, plain.last_event, owned, sure, weight, taught)


def opinion(ws: Workspace, session: Session, until: int | None = None) -> Opinion:
    """Return what the answers come to as of event `until` (None: now)."""
    last = ws.journal.last_event(session.id) if until is None else until
    which = (session.id, last, len(session.labels), ws.roster.roles_changed())
    with _lock:
        held = _newest.get(ws)
        if held is not None and held[0] == which:
            return held[1]
    made = _opinion(ws, session, last)
    with _lock:
        _newest[ws] = which, made
    return made


_lock = threading.Lock()
_newest: "weakref.WeakKeyDictionary[Workspace, tuple[tuple[int, int, int, str], Opinion]]" = (
    weakref.WeakKeyDictionary()
)


def _opinion(ws: Workspace, session: Session, until: int) -> Opinion:
    cast = ws.journal.cast(session.id, until)
    said, unsure = cast[cast["number"] >= 0], cast[cast["number"] == UNSURE_NUMBER]
    on_gold = ws.journal.cast_gold(session.id, until)
    # one may have been added since the session was read
    highest = max(int(x.max(initial=0)) for x in (said["number"], on_gold["number"], on_gold["known"]))
    n_labels = max(len(session.labels), 1 + highest)
    people = np.union1d(said["person"], on_gold["person"])
    votes = Votes(
        said["item"], np.searchsorted(people, said["person"]), said["number"], max(1, len(people)), n_labels,
        speed_weight(said["ms"]),
    )  # fmt: skip
    beside = replace(known(said, n_labels), pool=pool(ws, session))
    on_gold = corrected(on_gold, beside)
    if len(on_gold):
        counts = gold_counts(
            np.searchsorted(people, on_gold["person"]), on_gold["number"], on_gold["known"],
            n_people=len(people), n_labels=n_labels,
        )  # fmt: skip
        beside = replace(beside, gold=counts)
    return Opinion(fit(votes, beside), votes, beside, people, said, unsure, on_gold, until)


def pool(ws: Workspace, session: Session) -> int | None:
    """Return how many images the newest round chose from; None before the first. No label rests on it."""
    rounds = ws.store.rounds(session.id, last=1)
    absent = ws.catalog.count_items() - ws.catalog.count_present()  # files gone since, and what is gold alone
    return max(1, rounds[-1].pool - absent) if rounds else None


def corrected(on_gold: NDArray[np.void], known: Known) -> NDArray[np.void]:
    """Return what was said on gold, of dtype GOLD, with what owners say by now as what is known."""
    out = on_gold.copy()
    at = np.searchsorted(known.settled, out["item"])
    inside = at < len(known.settled)
    inside[inside] = known.settled[at[inside]] == out["item"][inside]
    out["known"][inside] = known.truth[at[inside]]
    return out


def known(said: NDArray[np.void], n_labels: int) -> Known:
    """Return what answers tell beside being votes: what was drawn at random, what owners and the model said.

    said  of dtype CAST, labels only. The model's word is taken for two labels only.
    """
    owned = said[said["is_owner"]]
    settled, last = np.unique(owned["item"][::-1], return_index=True)
    truth = owned["number"][::-1][last]
    sure = said[~np.isnan(said["p"])]
    predicted, first = np.unique(sure["item"], return_index=True)
    p = np.clip(sure["p"][first], 0.0, 1.0)
    return Known(
        drawn=distinct(said["item"][said["is_drawn"]]),
        settled=settled,
        truth=truth,
        predicted=predicted if n_labels == 2 else predicted[:0],
        p=np.stack([p, 1 - p], 1) if n_labels == 2 and len(predicted) else None,
    )
