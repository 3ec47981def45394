"""Where a session stands after its events, kept up to date event by event instead of read anew."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labeler.domain import SKIP, UNSURE

ROLES_CHANGED = (
    "roles_changed"  # the fact that is another one when somebody became, or ceased to be, an owner
)
UNSURE_NUMBER, SKIP_NUMBER = -1, -2


@dataclass(frozen=True, slots=True)
class Change:
    """What of a stored event matters here. kind "undo" takes `undoes` back; it may name nothing.

    kind "pass": a card that was asked again was skipped, which says nothing.
    is_owner  1 where an owner said it, else 0. is_gold: 1 for an answer to an image whose answer is known.
    """

    seq: int
    item: int
    person: int
    kind: str
    label: int | None
    undoes: int | None
    card: int | None
    is_owner: int = 0
    is_gold: int = 0


@dataclass(frozen=True, slots=True)
class _Said:
    seq: int
    person: int
    number: int
    is_owner: int


class Standing:
    """The current answer of every item, with counts.

    now     {item: label number, -1 unsure, -2 skipped}. Of each person the newest answer that was
            not taken back; of several people what most of them say, skips left out, and of answers that
            equally many give the newest. Where owners have answered, the newest of theirs counts alone.
    owned   items that owners have answered. tally  {number: how many items}.
    given   {person: (answers that stand, skips left out; how many of them say the target)}. It alone counts
            those on gold too.
    finders {item: who said the target first}, of the items whose answer is the target, in the order in which
            they became so. first  {person: how many of these are theirs}.
    shown   cards that were ever answered. seq  the last event fed, 0 before the first.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.events = 0
        self.now: dict[int, int] = {}
        self.owned: set[int] = set()
        self.tally: Counter[int] = Counter()
        self.given: dict[int, tuple[int, int]] = {}
        self.finders: dict[int, int] = {}
        self.first: Counter[int] = Counter()
        self.shown: set[int] = set()
        self._said: dict[int, tuple[_Said, ...]] = {}
        self._on_gold: dict[int, _Said] = {}  # by their places in the log

    def feed(self, changes: Iterable[Change]) -> None:
        """Take in events in the order of their `seq`, each once. Cost: the number of events."""
        for c in changes:
            self.seq = c.seq
            self.events += 1
            if c.kind == "pass":
                if c.card is not None:
                    self.shown.add(c.card)
            elif c.kind != "undo":
                number = {UNSURE: UNSURE_NUMBER, SKIP: SKIP_NUMBER}.get(c.kind, c.label)
                assert number is not None
                said = _Said(c.seq, c.person, number, c.is_owner)
                if c.is_gold:
                    self._on_gold[c.seq] = said
                    self._give(said, 1)
                    continue
                self._said[c.item] = (*self._said.get(c.item, ()), said)
                self._give(said, 1)
                if c.card is not None:
                    self.shown.add(c.card)
            elif c.undoes in self._on_gold:
                self._give(self._on_gold.pop(c.undoes), -1)
            elif c.undoes is not None:
                for said in self._said.get(c.item, ()):
                    if said.seq == c.undoes:
                        self._give(said, -1)
                self._said[c.item] = tuple(s for s in self._said.get(c.item, ()) if s.seq != c.undoes)
            self._settle(c.item)

    def _give(self, said: _Said, n: int) -> None:
        if said.number != SKIP_NUMBER:
            answers, finds = self.given.get(said.person, (0, 0))
            self.given[said.person] = answers + n, finds + n * (said.number == 0)

    def _settle(self, item: int) -> None:
        before = self.now.pop(item, None)
        if before is not None:
            self.tally[before] -= 1
        newest = {said.person: said for said in self._said.get(item, ())}
        self.owned.discard(item)
        if newest:
            if any(s.is_owner and s.number != SKIP_NUMBER for s in newest.values()):
                self.owned.add(item)
            self.now[item] = _agreed(list(newest.values()))
            self.tally[self.now[item]] += 1
        self._credit(item, newest)

    def _credit(self, item: int, newest: dict[int, _Said]) -> None:
        """Note whose find an item is: of those who call it the target, the one who did so first."""
        if self.now.get(item) != 0:
            if (before := self.finders.pop(item, None)) is not None:
                self.first[before] -= 1
            return
        finder = next(s.person for s in self._said[item] if s.number == 0 == newest[s.person].number)
        if (before := self.finders.get(item)) != finder:
            if before is not None:
                self.first[before] -= 1
            self.finders[item] = finder
            self.first[finder] += 1


def _agreed(said: list[_Said]) -> int:
    """Return what one answer each of some people comes to, as `Standing.now` says."""
    answers = [s for s in said if s.number != SKIP_NUMBER]
    if not answers:
        return SKIP_NUMBER
    if owners := [s for s in answers if s.is_owner]:
        return max(owners, key=lambda s: s.seq).number
    votes: Counter[int] = Counter(s.number for s in answers)
    return max(answers, key=lambda s: (votes[s.number], s.seq)).number


class Standings:
    """Where each session stands, shared by the threads of a process: one at a time looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[int, Standing] = {}
        self._roles = ""

    @contextmanager
    def of(self, session: int, roles: str) -> Iterator[Standing]:
        """Yield where a session stands as of the last look, for as long as the block runs.

        roles  a word that is another one when somebody became an owner, or is none any more: what they said
               weighs differently then, and everything is read anew.
        """
        with self._lock:
            if roles != self._roles:
                self._of.clear()
                self._roles = roles
            yield self._of.setdefault(session, Standing())
