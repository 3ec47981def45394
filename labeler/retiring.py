"""Which images need no more answers, where that goes by what has been answered: `--votes auto`.

The server keeps the state of each such session in memory, and takes in the events that are on disk since it
last looked; the process that learns fits people anew to all votes with each round and leaves that in a file.
"""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from active.consensus import Consensus
from active.live import Live
from active.retire import Rule, retired
from active.skill import Kinds, skill
from active.spoilers import speed_weight
from active.voter import Voter
from active.votes import Standing
from labeler.arrays import load_arrays, save_arrays
from labeler.crowds import Opinion
from labeler.domain import Session
from labeler.workspace import Workspace

FEW_OPEN = 1000  # items that want more votes: so many are all looked at again with each vote


@dataclass
class _Known:
    """What is kept of one session.

    said  {item: {person: label number}}. unsure  {item: how many could not tell}. owned  items that owners
    answered. open  items with votes that want more, as far as was looked.
    """

    live: Live
    seq: int = 0
    person: dict[int, int] = field(default_factory=dict)
    said: dict[int, dict[int, int]] = field(default_factory=dict)
    unsure: dict[int, int] = field(default_factory=dict)
    owned: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    rule: Rule | None = None
    adopted: int = -1  # when the fit that was taken in was written


class Retiring:
    """Keeps up with the answers of sessions; one thread at a time looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[int, _Known] = {}

    def catch_up(self, ws: Workspace, session: Session) -> tuple[list[int], list[int]]:
        """Return the items that are done from now on, and those that are open again; others are as noted.

        Reads what is on disk. A vote costs a few steps, whatever there is; a new fit costs one for each vote.
        """
        with self._lock:
            known = self._of.get(session.id)
            if known is None or known.live.n_labels != len(session.labels):
                known = self._of[session.id] = _Known(Live(len(session.labels)))
            items = self._feed(ws, session, known)
            if self._adopt(ws, session, known) or known.rule != rule(session):
                items = sorted(known.said)
            known.rule = rule(session)
            if (
                items and len(known.open) <= FEW_OPEN
            ):  # what is known of people tells about their other votes too
                items = sorted(known.open.union(items))
            if not items:
                return [], []
            done = dict(zip(items, self._retired(session, known, items), strict=True))
            known.open.difference_update(items)
            known.open.update(item for item in items if known.said[item] and not done[item])
        now = ws.journal.votes_of(session.id, items)
        turned = [item for item, (_, is_done) in now.items() if is_done != done[item]]
        with self._lock:
            known.open.update(turned)  # until it is on disk
        return [i for i in turned if done[i]], [i for i in turned if not done[i]]

    def _feed(self, ws: Workspace, session: Session, known: _Known) -> list[int]:
        """Take in the events since the last look; return the items that they are about."""
        last = ws.journal.last_event(session.id)
        items = ws.journal.items_after(session.id, known.seq, last)
        said = ws.journal.cast(session.id, last, items=items)
        known.seq = last
        for item in items:
            known.unsure.pop(item, None)
            known.owned.discard(item)
        now: dict[int, dict[int, int]] = {item: {} for item in items}
        truth: dict[int, int] = {}
        weights = speed_weight(said["ms"])
        for row, weight in zip(said.tolist(), weights.tolist(), strict=True):
            _, item, person, number, _, is_owner, is_drawn, p = row
            if number == -1:
                known.unsure[item] = known.unsure.get(item, 0) + 1
            if is_owner and number >= -1:
                known.owned.add(item)
            if number < 0 or number >= known.live.n_labels:
                continue
            now[item][person] = number
            if is_drawn:
                known.live.drawn(item)
            if known.live.n_labels == 2 and p == p and item not in known.said:
                known.live.predict(item, np.array([min(max(p, 0.0), 1.0), 1 - min(max(p, 0.0), 1.0)]))
            if is_owner:
                truth[item] = number
            if known.said.get(item, {}).get(person) != number:
                known.live.vote(item, self._number(known, person), number, weight)
        for item in items:
            for person in known.said.get(item, {}).keys() - now[item].keys():
                known.live.take_back(item, self._number(known, person))
            known.live.settle(item, truth.get(item))
            known.said[item] = now[item]
        return items

    @staticmethod
    def _number(known: _Known, person: int) -> int:
        return known.person.setdefault(person, len(known.person))

    @staticmethod
    def _retired(session: Session, known: _Known, items: list[int]) -> list[bool]:
        standing = known.live.standing(items)
        asked = np.array([len(known.said[i]) + known.unsure.get(i, 0) for i in items], np.int64)
        done = retired(_asked(standing, asked), known.live.share, rule(session))
        return [bool(d) or item in known.owned for item, d in zip(items, done.tolist(), strict=True)]

    def _adopt(self, ws: Workspace, session: Session, known: _Known) -> bool:
        """Take in the newest fit, if it is another one than before; return whether it was."""
        path = fit_file(ws, session)
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            return False
        if written == known.adopted:
            return False
        known.adopted = written
        stored = load_arrays(path)
        if stored is None or stored["share"].shape != (known.live.n_labels,):
            return False
        numbers = [self._number(known, int(person)) for person in stored["people"]]
        counts = np.zeros((len(known.person), *stored["counts"].shape[1:]))
        counts[numbers] = stored["counts"]
        kinds = Kinds.of(stored["alpha"], stored["kinds"], stored["looks"])
        voter = Voter(float(stored["slope"]), stored["offset"]) if "slope" in stored else None
        none = np.empty((0, known.live.n_labels))
        known.live.adopt(
            Consensus(
                ids=np.empty(0, np.int64), standing=Standing(none, none, none, np.empty(0, np.int64)),
                share=stored["share"], counts=counts, gold=np.zeros_like(counts), skill=skill(counts, kinds),
                kinds=kinds, voter=voter, rounds=0,
            )
        )  # fmt: skip
        return True


def _asked(standing: Standing, asked: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Standing:
    """Return how items stand, with how many people were asked, also those who could not tell."""
    return replace(standing, asked=asked)


def rule(session: Session) -> Rule:
    """Return when an image of a session needs no more answers."""
    if session.least == session.votes:
        return Rule(fixed=session.votes)
    return Rule(least=session.least, most=session.votes)


def fit_file(ws: Workspace, session: Session) -> Path:
    """Return where the newest fit to the votes of a session lies; it can be deleted."""
    return ws.folder / "cache" / f"crowd-{session.id}.npz"


def keep(ws: Workspace, session: Session, held: Opinion) -> None:
    """Write what a fit says of people, for the server to take in."""
    found = held.found
    voter = {}
    if found.voter is not None:
        voter = {"slope": np.asarray(found.voter.slope), "offset": found.voter.offset}
    path = fit_file(ws, session)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(
        path, people=held.people, counts=found.counts[: len(held.people)], share=found.share,
        alpha=found.kinds.alpha, kinds=found.kinds.share, looks=found.kinds.looks, **voter,
    )  # fmt: skip
