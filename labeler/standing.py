"""Where a session stands after its events, kept up to date event by event instead of read anew."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labeler.domain import SKIP, UNSURE

UNSURE_NUMBER, SKIP_NUMBER = -1, -2


@dataclass(frozen=True, slots=True)
class Change:
    """What of a stored event matters here. kind "undo" takes `undoes` back; it may name nothing.

    kind "pass": a card that was asked again was skipped, which says nothing.
    """

    seq: int
    item: int
    person: int
    kind: str
    label: int | None
    undoes: int | None
    card: int | None


class Standing:
    """The current answer of every item, with counts.

    now     {item: label number, -1 unsure, -2 skipped}. Of each person the newest answer that was
            not taken back; of several people the newest of those that is not a skip.
    tally   {that number: how many items}.
    shown   cards that were ever answered. seq  the last event fed, 0 before the first.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.events = 0
        self.now: dict[int, int] = {}
        self.tally: Counter[int] = Counter()
        self.shown: set[int] = set()
        self._said: dict[int, tuple[tuple[int, int, int], ...]] = {}  # of each item: (seq, person, number)

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
                self._said[c.item] = (*self._said.get(c.item, ()), (c.seq, c.person, number))
                if c.card is not None:
                    self.shown.add(c.card)
            elif c.undoes is not None:
                self._said[c.item] = tuple(s for s in self._said.get(c.item, ()) if s[0] != c.undoes)
            self._settle(c.item)

    def _settle(self, item: int) -> None:
        before = self.now.pop(item, None)
        if before is not None:
            self.tally[before] -= 1
        newest = {person: (seq, number) for seq, person, number in self._said.get(item, ())}
        last = sorted(newest.values())
        if last:
            self.now[item] = next((n for _, n in reversed(last) if n != SKIP_NUMBER), SKIP_NUMBER)
            self.tally[self.now[item]] += 1


class Standings:
    """Where each session stands, shared by the threads of a process: one at a time looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[int, Standing] = {}

    @contextmanager
    def of(self, session: int) -> Iterator[Standing]:
        """Yield where a session stands as of the last look, for as long as the block runs."""
        with self._lock:
            yield self._of.setdefault(session, Standing())
