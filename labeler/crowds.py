"""What many people's answers to one question come to: the label of each image, and how sure it is."""

import threading
import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from active.consensus import Consensus, Known, fit
from active.spoilers import speed_weight
from active.votes import Votes
from labeler.domain import Session
from labeler.journal import Answers
from labeler.standing import UNSURE_NUMBER
from labeler.workspace import Workspace

LEAST = 0.01  # what an example weighs for the learner at least


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the answers of a session come to at one moment; a function of its events alone.

    found   the fit to the votes; its people are numbered as in `people`, their numbers in the workspace.
    votes   what it was fitted to. asked  (n,) items with an answer, ascending, unsure alone included.
    """

    found: Consensus
    votes: Votes
    people: Ids
    asked: Ids
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
    top, weight = posterior.argmax(1), sure.copy()
    labels[at[inside]], sure[at[inside]] = top, posterior.max(1)
    weight[at[inside]] = np.maximum(by_people[np.arange(len(top)), top], LEAST)
    owned = plain.owned
    labels[owned], sure[owned], weight[owned] = plain.labels[owned], 1, 1
    return Answers(plain.items, labels, plain.last_event, owned, sure, weight)


def opinion(ws: Workspace, session: Session, until: int | None = None) -> Opinion:
    """Return what the answers come to as of event `until` (None: now)."""
    last = ws.journal.last_event(session.id) if until is None else until
    which = (session.id, last, len(session.labels))
    with _lock:
        held = _newest.get(ws)
        if held is not None and held[0] == which:
            return held[1]
    made = _opinion(ws, session, last)
    with _lock:
        _newest[ws] = which, made
    return made


_lock = threading.Lock()
_newest: "weakref.WeakKeyDictionary[Workspace, tuple[tuple[int, int, int], Opinion]]" = (
    weakref.WeakKeyDictionary()
)


def _opinion(ws: Workspace, session: Session, until: int) -> Opinion:
    said = ws.journal.cast(session.id, until)
    asked = np.unique(said["item"][said["number"] >= UNSURE_NUMBER])
    said = said[said["number"] >= 0]
    n_labels = max(
        len(session.labels), 1 + int(said["number"].max(initial=0))
    )  # one may have been added since
    people, who = np.unique(said["person"], return_inverse=True)
    votes = Votes(
        said["item"], who.astype(np.int64), said["number"], max(1, len(people)), n_labels,
        speed_weight(said["ms"]),
    )  # fmt: skip
    return Opinion(fit(votes, known(said, n_labels)), votes, people, asked, until)


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
        drawn=np.unique(said["item"][said["is_drawn"]]),
        settled=settled,
        truth=truth,
        predicted=predicted if n_labels == 2 else predicted[:0],
        p=np.stack([p, 1 - p], 1) if n_labels == 2 and len(predicted) else None,
    )
