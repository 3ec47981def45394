"""What the votes say now, kept up to date with every vote in a few steps, however many votes there are."""

from array import array
from collections.abc import Sequence

import numpy as np

from active.arrays import Ids, are_in, distinct
from active.common import of_pool, shares, summed
from active.consensus import Consensus, Known, fit
from active.dawid_skene import counted, softmax, weighed
from active.skill import Kinds, evidence, kinds, looks, skill
from active.voter import Voter, logs
from active.votes import Real, Standing, Votes

NEWS = 0.02
"""A person is looked at anew after so many more votes, as a share of those there were."""
NONE = -1  # of a vote: there is none before it; of a label: taken back, or not known


class Live:
    """The probabilities of each item's labels and the skill of each person, after each vote.

    A vote moves its item's probabilities, the counts of its person, and those of the people who voted there
    before. Whatever else rests on a person's skill stays as it was until `adopt` takes in a fit to all votes.
    A vote's cost grows with the votes on its item, a dozen at most, and with nothing else. One thread at a
    time. People are numbered from 0, items by their ids. What is told of an item before its first vote is
    kept for it.

    pool  how many items there are, to be set by whoever knows; None: not known (`Known`).
    """

    def __init__(self, n_labels: int) -> None:
        """n_labels  two or more."""
        c = self.n_labels = n_labels
        self._kinds: Kinds = kinds(c)
        self._voter, self._has_model = Voter.first(c), False
        self._row_of: dict[int, int] = {}
        self._ids, self._last = array("q"), array("q")  # of each row its item and its newest vote
        self._truth, self._is_drawn = array("q"), array("b")
        self._evidence, self._posterior, self._votes, self._told = np.zeros((4, 64, c))
        self._asked = np.zeros(64, np.int64)
        self._log_p = np.full((64, c), np.nan)  # what the model says, where it has said something
        self._sums, self._n = np.zeros((2, c)), np.zeros(2, np.int64)  # of picked items, and of drawn ones
        self.pool: int | None = None
        self._row, self._who, self._said = array("q"), array("q"), array("q")  # of each vote
        self._weight, self._before = array("d"), array("q")  # and the vote before it on the same item
        self._counts, self._gold = np.zeros((2, 16, c, c))
        self._log_rates, self._looks = np.zeros((16, c, c)), np.ones(16, bool)
        self._heard, self._news = np.zeros((2, 16))  # votes of each person, and those not yet looked at
        self._learn(slice(None))

    @classmethod
    def of(cls, votes: Votes, known: Known, found: Consensus) -> "Live":
        """Return the state after these votes, in the order given, of which a fit is made: for a start.

        As if each came one by one and `adopt` followed, but in a second for a million.
        """
        live = cls(votes.n_labels)
        ids = distinct(np.concatenate([votes.items, known.drawn, known.settled, known.predicted]))
        rows, n = np.searchsorted(ids, votes.items), len(ids)
        for item in ids.tolist():
            live._at(item)
        live._meet(votes.n_people - 1)
        order = np.argsort(rows, kind="stable")
        before = np.full(len(votes), NONE)
        same = rows[order][1:] == rows[order][:-1]
        before[order[1:][same]] = order[:-1][same]
        last = np.full(n, NONE)
        last[rows] = np.arange(len(votes))
        truth = np.full(n, NONE)
        truth[np.searchsorted(ids, known.settled)] = known.truth
        weights = np.ones(len(votes)) if votes.weights is None else votes.weights
        live._last, live._truth, live._before = _column(last), _column(truth), _column(before)
        live._row, live._who, live._said = _column(rows), _column(votes.people), _column(votes.labels)
        live._weight = array("d", weights.tobytes())
        live._is_drawn = array("b", are_in(ids, known.drawn).tobytes())
        live._asked[:n] = np.bincount(rows, minlength=n)
        live._heard[: votes.n_people] = np.bincount(votes.people, weights, votes.n_people)
        if known.gold is not None:
            live._gold[: len(known.gold)] = known.gold
            live._heard[: len(known.gold)] += known.gold.sum((1, 2))
        if known.p is not None:
            live._has_model = True
            live._log_p[np.searchsorted(ids, known.predicted)] = logs(known.p)
        live.pool = known.pool
        live.adopt(found)
        return live

    @property
    def share(self) -> Real:
        """How common each label is in the pool, (c,), as in `Consensus`."""
        return of_pool(shares(self._sums, self._n), self._n, self.pool)

    def standing(self, items: Sequence[int]) -> Standing:
        """Return how items stand, in their order. One without a vote (`asked` is 0) has no label."""
        rows = np.array([self._at(item) for item in items], np.int64)
        by_people, likely = self._posterior[rows], self._evidence[rows]
        both = by_people
        if self._has_model:
            is_open = np.array([self._truth[row] == NONE for row in rows], bool)
            both, open_ = by_people.copy(), ~np.isnan(self._log_p[rows, 0]) & is_open
            both[open_] = softmax(self._voter.log_prior(self._log_p[rows[open_]]) + likely[open_])
        return Standing(both, by_people, likely, self._votes[rows], self._asked[rows])

    @property
    def n_votes(self) -> int:
        """How many votes were taken in, those too that were taken back since."""
        return len(self._row)

    def counts(self, person: int) -> Real:
        """Return how often a person said each label of each true one, (c, c), gold included."""
        self._meet(person)
        return np.asarray(self._counts[person].copy())

    def rates(self, person: int) -> Real:
        """Return how probable each label given is for each true one, (c, c), by what one person has said."""
        self._meet(person)
        return np.asarray(skill(self._counts[person : person + 1], self._kinds).rates[0])

    def vote(self, item: int, person: int, label: int, weight: float = 1.0) -> Standing:
        """Take a vote in, in the place of an earlier one of the same person; return how the item stands.

        weight  how much it counts, from 0 to 1. Raises ValueError for a label that is not there.
        """
        if not 0 <= label < self.n_labels:
            raise ValueError(f"label {label}: there are {self.n_labels}, from 0.")
        self._meet(person)
        row = self._at(item)
        self._drop(row, person)
        self._before.append(self._last[row])
        self._last[row] = len(self._row)
        self._asked[row] += 1
        self._row.append(row)
        self._who.append(person)
        self._said.append(label)
        self._weight.append(weight)
        self._counts[person, :, label] += weight * self._posterior[row]
        self._settle(row)
        self._hear(person, weight)
        return self.standing([item])

    def take_back(self, item: int, person: int) -> Standing:
        """Take a person's vote on an item back, if there is one; return how the item stands."""
        self._meet(person)
        row = self._at(item)
        if self._drop(row, person):
            self._settle(row)
            self._learn(slice(person, person + 1))
        return self.standing([item])

    def gold(self, person: int, *, said: int, truth: int, is_back: bool = False) -> None:
        """Take in what a person said of an item whose label is known: it tells about the person alone.

        is_back  it was taken in before and is taken back.
        """
        self._meet(person)
        for counts in (self._counts, self._gold):
            counts[person, truth, said] += -1 if is_back else 1
        if is_back:
            self._heard[person] -= 1
            self._learn(slice(person, person + 1))
        else:
            self._hear(person, 1)

    def drawn(self, item: int) -> None:
        """Note that an item was drawn evenly at random: once it has a vote, it tells of others that were."""
        row = self._at(item)
        if not self._is_drawn[row]:
            self._tell(row, 0)
            self._is_drawn[row] = 1
            self._settle(row)

    def settle(self, item: int, truth: int | None) -> Standing:
        """Note the label of an item as an owner gave it; None: it is open again."""
        row = self._at(item)
        self._truth[row] = NONE if truth is None else truth
        self._settle(row)
        return self.standing([item])

    def predict(self, item: int, p: Real | None) -> None:
        """Note what the model says of an item that it has not learned from, (c,); None: nothing any more."""
        self._has_model = True
        row = self._at(item)  # first: it may make room, in another array
        self._log_p[row] = np.nan if p is None else logs(np.asarray(p)[None])[0]

    def votes(self) -> Votes:
        """Return all votes as they stand, in the order in which they came. Costs v steps."""
        said = np.array(self._said, np.int64)
        keep = said != NONE
        items = np.array(self._ids, np.int64)[self._rows()]
        people, weights = np.array(self._who, np.int64)[keep], np.array(self._weight)[keep]
        return Votes(items, people, said[keep], len(self._counts), self.n_labels, weights)

    def known(self) -> Known:
        """Return what is known beside the votes, for `fit`. Costs a step for each item."""
        order = np.argsort(np.array(self._ids, np.int64))
        ids, truth = np.array(self._ids, np.int64)[order], np.array(self._truth, np.int64)[order]
        p, is_drawn = np.exp(self._log_p[order]), np.array(self._is_drawn, bool)[order]
        has_p, is_known = ~np.isnan(p[:, 0]), truth != NONE
        return Known(
            drawn=ids[is_drawn],
            pool=self.pool,
            settled=ids[is_known],
            truth=truth[is_known],
            predicted=ids[has_p],
            p=p[has_p] if has_p.any() else None,
            gold=self._gold.copy(),
        )

    def refit(self) -> Consensus:
        """Return a fit to all votes that begins with what is known now; `adopt` takes it in."""
        return fit(self.votes(), self.known(), start=self._counts - self._gold)

    def adopt(self, found: Consensus) -> None:
        """Take in what a fit says of people, and weigh all votes by it, those too that came since it began.

        Costs v steps.
        """
        self._kinds, self._voter = found.kinds, found.voter or self._voter
        self._meet(len(found.counts) - 1)
        n, votes, rows = len(self._ids), self.votes(), self._rows()
        counts = np.zeros_like(self._counts)
        counts[: len(found.counts)] = found.counts
        self._evidence[:n] = weighed(votes, rows, evidence(skill(counts, self._kinds).rates), n)
        truth = np.array(self._truth, np.int64)
        is_drawn = np.array(self._is_drawn, np.int64)
        self._posterior[:n] = softmax(np.log(found.among)[is_drawn] + self._evidence[:n])
        self._posterior[:n][truth != NONE] = np.eye(self.n_labels)[truth[truth != NONE]]
        tells = np.array(self._last, np.int64) != NONE
        self._told[:n] = self._posterior[:n] * tells[:, None]
        self._sums, self._n = summed(self._told[:n][tells], is_drawn[tells] == 1)
        self._counts = self._gold + counted(votes, rows, self._posterior[:n])
        self._learn(slice(None))
        self._votes[:n] = weighed(votes, rows, self._looks[:, None, None] * np.eye(self.n_labels), n)

    def _rows(self) -> Ids:
        """Return the row of each vote that stands."""
        return np.asarray(np.array(self._row, np.int64)[np.array(self._said, np.int64) != NONE])

    def _settle(self, row: int) -> None:
        """Weigh the votes of a row anew by what is known of people now, and count for them what follows."""
        votes, said_so = [], np.zeros(self.n_labels)
        self._votes[row] = 0
        vote = self._last[row]
        while vote != NONE:
            who, said, weight = self._who[vote], self._said[vote], self._weight[vote]
            votes.append((who, said, weight))
            said_so += weight * self._log_rates[who, :, said]
            if self._looks[who]:
                self._votes[row, said] += weight
            vote = self._before[vote]
        self._evidence[row] = said_so
        if self._truth[row] != NONE:
            after = np.eye(self.n_labels)[self._truth[row]]
        else:
            self._tell(row, 0)  # nobody's vote counts twice, as it would by what it says of others
            log = np.log(shares(self._sums, self._n)[self._is_drawn[row]]) + said_so
            after = np.exp(log - log.max())
            after /= after.sum()
        moved = after - self._posterior[row]
        self._posterior[row] = after
        for who, said, weight in votes:
            self._counts[who, :, said] += weight * moved
        self._tell(row, int(self._last[row] != NONE))

    def _tell(self, row: int, once: int) -> None:
        """Let a row tell how common labels are where it came from, as its votes say now; once 0: no more."""
        way = self._is_drawn[row]
        self._n[way] += once - int(self._told[row].any())
        tells = once * self._posterior[row]
        self._sums[way] += tells - self._told[row]
        self._told[row] = tells

    def _drop(self, row: int, person: int) -> bool:
        """Take back a person's vote on a row, but for the probabilities; return whether there was one."""
        vote, newer = self._last[row], NONE
        while vote != NONE and self._who[vote] != person:
            vote, newer = self._before[vote], vote
        if vote == NONE:
            return False
        self._counts[person, :, self._said[vote]] -= self._weight[vote] * self._posterior[row]
        self._asked[row] -= 1
        self._said[vote] = NONE
        if newer == NONE:
            self._last[row] = self._before[vote]
        else:
            self._before[newer] = self._before[vote]
        return True

    def _hear(self, person: int, weight: float) -> None:
        """Note that a person has said more; often enough, take in what it tells of them."""
        self._heard[person] += weight
        self._news[person] += weight
        if self._news[person] >= NEWS * self._heard[person]:
            self._learn(slice(person, person + 1))

    def _learn(self, people: slice) -> None:
        """Take in what the counts of these people now say of them."""
        self._news[people] = 0
        them = skill(self._counts[people], self._kinds)
        self._log_rates[people], self._looks[people] = evidence(them.rates), looks(them.kind, self._kinds)

    def _meet(self, person: int) -> None:
        """Make room for a person."""
        if person >= (n := len(self._counts)):
            more = max(person + 1, 2 * n) - n
            for name in ("_counts", "_gold", "_log_rates", "_looks", "_heard", "_news"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)]))
            self._learn(slice(n, None))

    def _at(self, item: int) -> int:
        """Return the row of an item; a new one has the probabilities that it has before any vote."""
        row = self._row_of.get(item)
        if row is None:
            row = self._row_of[item] = len(self._ids)
            self._ids.append(item)
            self._last.append(NONE)
            self._truth.append(NONE)
            self._is_drawn.append(0)
            if row >= (n := len(self._asked)):
                for name in ("_evidence", "_posterior", "_votes", "_told", "_log_p", "_asked"):
                    old = getattr(self, name)
                    setattr(self, name, np.concatenate([old, np.zeros((n, *old.shape[1:]), old.dtype)]))
                self._log_p[n:] = np.nan
            self._posterior[row] = self.share
        return row


def _column(x: Ids) -> "array[int]":
    return array("q", np.ascontiguousarray(x, np.int64).tobytes())
