"""Which images need no more answers, where that goes by what has been answered: `--votes auto`.

The server keeps the state of each such session in memory, and takes in the events that are on disk since it
last looked; the process that learns fits people anew to all votes with each round and leaves that in a file.
"""

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from active.consensus import Consensus, fit
from active.live import Live
from active.retire import Rule, retired
from active.skill import Kinds, skill
from active.spoilers import speed_weight
from active.voter import Voter
from active.votes import Standing
from labeler import crowds
from labeler.arrays import load_arrays, save_arrays
from labeler.crowds import Opinion
from labeler.domain import Session
from labeler.standing import UNSURE_NUMBER
from labeler.workspace import Workspace

OVER, MORE, FEW_MORE = 2, 0.1, 10
"""People are fitted anew where an item is open so many votes beyond the least, once so many more have come.

Who comes late sees only what is still open, so that vote by vote they seem to be of those who always say the
same. The growth keeps what a vote costs constant."""
FEW_OPEN = 1000  # items that want more votes: so many are all looked at again with each vote


@dataclass
class _Known:
    """What is kept of one session.

    roles  `Roster.roles_changed` as it was: when that is another word, all is read anew.
    said  {item: {person: label number}}. unsure  {item: how many could not tell}. owned  items that owners
    answered. open  items with votes that want more, as far as was looked. on_gold  {item: {person: (label
    number, the one that is known)}}.
    """

    live: Live
    seq: int
    person: dict[int, int]
    roles: str = ""
    said: dict[int, dict[int, int]] = field(default_factory=dict)
    unsure: dict[int, int] = field(default_factory=dict)
    owned: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    on_gold: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    rule: Rule | None = None
    adopted: int = -1  # when the fit that was taken in was written
    fitted: int = 0  # how many votes there were when people were last fitted

    @classmethod
    def begin(cls, ws: Workspace, session: Session) -> "_Known":
        """Return the state after all answers so far: made of a fit to them at once, not vote by vote."""
        roles = ws.roster.roles_changed()  # first: one that changes meanwhile is seen at the next look
        held = crowds.opinion(ws, session)
        live = Live.of(held.votes, held.known, held.found) if len(held.votes) else Live(held.votes.n_labels)
        numbers = {person: i for i, person in enumerate(held.people.tolist())}
        known = cls(live, held.last_event, numbers, roles)
        live.pool, known.fitted = held.known.pool, live.n_votes
        known.note(held.said)
        known.note(held.unsure)
        known.on_gold = _by_item(held.on_gold)
        if not len(held.votes):
            for said in known.on_gold.values():
                for person, (number, truth) in said.items():
                    live.gold(known.person[person], said=number, truth=truth)
        return known

    def note(self, cast: NDArray[np.void]) -> None:
        """Note who has said what; cast: of dtype `ballots.CAST`, without skips."""
        columns = (cast[name].tolist() for name in ("item", "person", "number", "is_owner"))
        for item, person, number, is_owner in zip(*columns, strict=True):
            said = self.said.setdefault(item, {})
            if is_owner:
                self.owned.add(item)
            if number == UNSURE_NUMBER:
                self.unsure[item] = self.unsure.get(item, 0) + 1
            else:
                said[person] = number


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
            roles = ws.roster.roles_changed()
            if known is None or known.live.n_labels != len(session.labels) or known.roles != roles:
                known = self._of[session.id] = _Known.begin(ws, session)
            try:
                items = self._feed(ws, session, known)
            except BaseException:
                del self._of[session.id]  # half taken in: the next look begins anew
                raise
            if self._adopt(ws, session, known) or known.rule != rule(session):
                items = sorted(known.said)
            known.rule = rule(session)
            # a vote tells about its person, and so about the others
            if items and len(known.open) <= FEW_OPEN:
                items = sorted(known.open.union(items))
            if not items:
                return [], []
            done = dict(zip(items, self._retired(session, known, items), strict=True))
            if self._is_stuck(known, done):
                known.live.adopt(fit(known.live.votes(), known.live.known()))
                known.fitted = known.live.n_votes
                items = sorted(known.said)
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
        known.live.pool = crowds.pool(ws, session)
        last = ws.journal.last_event(session.id)
        items = ws.journal.items_after(session.id, known.seq, last)
        cast = ws.journal.cast(session.id, last, items=items)
        cast = cast[cast["number"] >= UNSURE_NUMBER]
        known.seq = last
        before = {item: known.said.pop(item, {}) for item in items}
        known.unsure = {item: n for item, n in known.unsure.items() if item not in before}
        known.owned.difference_update(items)
        known.said |= {item: {} for item in items}
        known.note(cast)
        votes = cast[(cast["number"] >= 0) & (cast["number"] < known.live.n_labels)]
        beside = crowds.known(votes, known.live.n_labels)
        for item in beside.drawn.tolist():
            known.live.drawn(item)
        if beside.p is not None:
            for item, p in zip(beside.predicted.tolist(), beside.p, strict=True):
                known.live.predict(item, p)
        weights = dict(zip(votes["seq"].tolist(), speed_weight(votes["ms"]).tolist(), strict=True))
        for seq, item, person, number in votes[["seq", "item", "person", "number"]].tolist():
            if before[item].get(person) != number:
                known.live.vote(item, self._number(known, person), number, weights[seq])
        truth = dict(zip(beside.settled.tolist(), beside.truth.tolist(), strict=True))
        for item in items:
            for person in before[item].keys() - known.said[item].keys():
                known.live.take_back(item, self._number(known, person))
            known.live.settle(item, truth.get(item))
        on_gold = crowds.corrected(ws.journal.cast_gold(session.id, last, items=items), beside)
        self._hear_gold(known, items, _by_item(on_gold))
        return items

    def _hear_gold(self, known: _Known, items: list[int], now: dict[int, dict[int, tuple[int, int]]]) -> None:
        """Take in what of the answers to gold has changed."""
        for item in items:
            before, after = known.on_gold.pop(item, {}), now.get(item, {})
            for which, is_back in (
                (before.items() - after.items(), True),
                (after.items() - before.items(), False),
            ):
                for person, (said, truth) in which:
                    if max(said, truth) < known.live.n_labels:
                        number = self._number(known, person)
                        known.live.gold(number, said=said, truth=truth, is_back=is_back)
            if after:
                known.on_gold[item] = after

    @staticmethod
    def _number(known: _Known, person: int) -> int:
        return known.person.setdefault(person, len(known.person))

    @staticmethod
    def _is_stuck(known: _Known, done: dict[int, bool]) -> bool:
        """Return whether people should be fitted anew, for images that stay open."""
        assert known.rule is not None
        grown = known.live.n_votes - known.fitted
        if known.rule.fixed is not None or grown < max(FEW_MORE, MORE * known.fitted):
            return False
        enough = known.rule.least + OVER
        return any(not is_done and len(known.said[item]) >= enough for item, is_done in done.items())

    @staticmethod
    def _retired(session: Session, known: _Known, items: list[int]) -> list[bool]:
        standing = known.live.standing(items)
        # those who could not tell were asked too
        asked = np.array([len(known.said[i]) + known.unsure.get(i, 0) for i in items], np.int64)
        done = retired(replace(standing, asked=asked), known.live.share, rule(session))
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
        if stored is None or "among" not in stored or stored["share"].shape != (known.live.n_labels,):
            return False
        numbers = [self._number(known, int(person)) for person in stored["people"]]
        counts = np.zeros((len(known.person), *stored["counts"].shape[1:]))
        counts[numbers] = stored["counts"]
        kinds = Kinds.of(stored["alpha"], stored["kinds"], stored["looks"])
        voter = Voter(float(stored["slope"]), stored["offset"]) if "slope" in stored else None
        none = np.empty((0, known.live.n_labels))
        known.live.adopt(
            Consensus(
                ids=np.empty(0, np.int64), standing=Standing(none, none, none, none, np.empty(0, np.int64)),
                share=stored["share"], among=stored["among"], counts=counts, gold=np.zeros_like(counts),
                skill=skill(counts, kinds), kinds=kinds, voter=voter, rounds=0,
            )
        )  # fmt: skip
        known.fitted = known.live.n_votes
        return True


def _by_item(on_gold: NDArray[np.void]) -> dict[int, dict[int, tuple[int, int]]]:
    """Return what was said on gold, of dtype `ballots.GOLD`, as `_Known` keeps it."""
    out: dict[int, dict[int, tuple[int, int]]] = {}
    for item, person, number, truth in on_gold.tolist():
        out.setdefault(item, {})[person] = (number, truth)
    return out


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
        among=found.among, alpha=found.kinds.alpha, kinds=found.kinds.share, looks=found.kinds.looks, **voter,
    )  # fmt: skip
