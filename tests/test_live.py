"""Votes as they come: after every one the same as if all were weighed at once by what is known of people."""

import numpy as np
import pytest
from crowds import even_rates, voted
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from active.consensus import Known, fit
from active.live import Live
from active.skill import evidence
from active.votes import Votes

ITEM, PERSON = st.integers(0, 5), st.integers(0, 20)


def test_live_comes_close_to_a_fit_and_takes_it_in():
    rng = np.random.default_rng(0)
    truth = (rng.random(500) < 0.2).astype(np.int64)
    votes = voted(rng, truth=truth, rates=even_rates(rng.beta(8, 2, 20)), each=4)
    live = Live(2)
    for item in range(500):
        live.drawn(item)
    for k in rng.permutation(len(votes)):
        live.vote(int(votes.items[k]), int(votes.people[k]), int(votes.labels[k]))
    whole = fit(votes, Known(drawn=np.arange(500)))
    before = live.standing(range(500))
    assert (before.asked == 4).all()
    assert (before.posterior.argmax(1) == whole.standing.posterior.argmax(1)).mean() > 0.97
    again = live.refit()
    assert np.abs(again.standing.posterior - whole.standing.posterior).max() < 0.05
    live.adopt(again)
    after = live.standing(range(500))
    assert after.posterior == pytest.approx(again.standing.posterior, abs=0.005)
    assert after.votes == pytest.approx(again.standing.votes)
    assert live.share == pytest.approx(again.share, abs=0.001)


def test_votes_that_come_while_a_fit_is_made_are_kept():
    live = Live(2)
    for person in range(4):
        live.vote(7, person, 1)
    found = live.refit()
    live.vote(7, 30, 1)
    live.vote(8, 30, 0)
    live.adopt(found)
    standing = live.standing([7, 8])
    assert standing.asked.tolist() == [5, 1]
    assert standing.votes.tolist() == [[0, 5], [1, 0]]
    assert standing.posterior[0, 1] > found.standing.posterior[0, 1]


def test_an_item_nobody_voted_on_is_as_likely_as_any():
    live = Live(3)
    standing = live.standing([5])
    assert standing.posterior.tolist() == [pytest.approx([1 / 3] * 3)]
    assert standing.asked.tolist() == [0]
    assert standing.evidence.tolist() == [[0, 0, 0]]
    assert len(live.votes()) == 0


def test_what_the_model_says_and_what_an_owner_says():
    live = Live(2)
    live.vote(1, 0, 0)
    plain = live.standing([1]).posterior[0, 1]
    live.predict(1, np.array([0.05, 0.95]))
    standing = live.standing([1])
    assert standing.posterior[0, 1] > 0.5 > standing.by_people[0, 1] == plain
    assert standing.evidence.argmax(1).tolist() == [0]
    live.predict(1, None)
    assert live.standing([1]).posterior[0, 1] == plain
    assert live.settle(1, 1).posterior.tolist() == [[0, 1]]
    assert live.settle(1, None).posterior[0, 1] == pytest.approx(plain, abs=0.05)
    with pytest.raises(ValueError, match="there are 2"):
        live.vote(1, 0, 2)


def test_gold_makes_a_vote_count():
    live, other = Live(2), Live(2)
    for k in range(30):
        live.gold(0, said=k % 2, truth=k % 2)
        other.gold(0, said=0, truth=k % 2)
    assert len(live.votes()) == 0
    assert live.vote(1, 0, 1).posterior[0, 1] > 0.85 > 0.6 > other.vote(1, 0, 1).posterior[0, 1]
    assert other.standing([1]).votes.sum() == 0 < live.standing([1]).votes.sum()
    assert live.known().gold[0].tolist() == [[15, 0], [0, 15]]


def test_a_state_made_at_once_goes_on_as_one_made_vote_by_vote():
    rng = np.random.default_rng(1)
    truth = (rng.random(60) < 0.3).astype(np.int64)
    votes = voted(rng, truth=truth, rates=even_rates(rng.beta(8, 2, 12)), each=3, ids=5 * np.arange(60))
    votes = votes.only(rng.permutation(len(votes)))
    one = Live(2)
    for item in range(0, 150, 5):
        one.drawn(item)
    one.drawn(1000)
    one.settle(10, 1)
    one.predict(20, np.array([0.1, 0.9]))
    one.gold(3, said=1, truth=0)
    for item, person, label in zip(votes.items, votes.people, votes.labels, strict=True):
        one.vote(int(item), int(person), int(label))
    found = one.refit()
    other = Live.of(one.votes(), one.known(), found)
    one.adopt(found)
    items = [*range(0, 300, 5), 1000]
    for step in range(3):
        a, b = one.standing(items), other.standing(items)
        assert a.posterior[:60] == pytest.approx(b.posterior[:60])
        assert a.evidence == pytest.approx(b.evidence)
        assert a.votes == pytest.approx(b.votes)
        assert a.asked.tolist() == b.asked.tolist()
        assert one.share == pytest.approx(other.share)
        assert one.counts(3) == pytest.approx(other.counts(3))
        for live in (one, other):
            live.take_back(int(votes.items[step]), int(votes.people[step]))
            live.vote(0, 3 + step, 1, 0.5)
            live.vote(1000, 40, 0)
    assert one.votes().items.tolist() == other.votes().items.tolist()


class Many(RuleBasedStateMachine):
    """Votes, other answers, answers taken back, in any order, beside a plain list of what stands."""

    def __init__(self):
        super().__init__()
        self.live, self.said, self.drawn = Live(3), {}, set()

    @rule(item=ITEM, person=PERSON, label=st.integers(0, 2), weight=st.sampled_from([0.1, 1.0]))
    def vote(self, item, person, label, weight):
        self.said.pop((item, person), None)
        self.said[item, person] = (label, weight)
        self.live.vote(item, person, label, weight)
        self.weighed(item)

    @rule(item=ITEM, person=PERSON)
    def take_back(self, item, person):
        had = self.said.pop((item, person), None)
        self.live.take_back(item, person)
        if had:
            self.weighed(item)

    @rule(item=ITEM)
    def draw(self, item):
        self.drawn.add(item)
        self.live.drawn(item)

    @rule()
    def adopt(self):
        self.live.adopt(self.live.refit())

    def weighed(self, item):
        """The item's evidence is that of its votes, by what was known of people before the last vote."""
        standing = self.live.standing([item])
        assert standing.asked[0] == sum(i == item for i, _ in self.said)
        p = standing.posterior[0]
        assert p.sum() == pytest.approx(1)
        assert (p > 0).all()

    @invariant()
    def everything_adds_up(self):
        votes = self.live.votes()
        now = {(i, p): (s, w) for i, p, s, w in zip(
            votes.items.tolist(), votes.people.tolist(), votes.labels.tolist(), votes.weights, strict=True
        )}  # fmt: skip
        assert now == self.said
        counts = np.zeros((64, 3, 3))
        drawn, picked = np.zeros((2, 3))
        for (item, person), (label, weight) in self.said.items():
            counts[person, :, label] += weight * self.live.standing([item]).posterior[0]
        asked = {i for i, _ in self.said}
        for item in asked:
            posterior = self.live.standing([item]).posterior[0]
            drawn, picked = (
                drawn + posterior * (item in self.drawn),
                picked + posterior * (item not in self.drawn),
            )
        both = drawn + picked + 0.5
        for pool in (None, 50):
            self.live.pool = pool
            n, left = len(asked - self.drawn), 50 - len(asked - self.drawn)
            of = (drawn + 1.5 * both / both.sum()) / (len(asked & self.drawn) + 1.5)
            if pool is not None:
                of = (n * (picked + 1.5 * both / both.sum()) / (n + 1.5) + left * of) / pool
            assert self.live.share == pytest.approx(of)
        self.live.pool = None
        for person in range(21):
            held = self.live.counts(person)
            assert held == pytest.approx(counts[person], abs=1e-9)


TestMany = Many.TestCase
TestMany.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_a_vote_weighs_what_its_person_is_known_for():
    live = Live(2)
    for k in range(50):
        live.gold(3, said=k % 2, truth=k % 2)
    known = evidence(live.rates(3)[None])[0]
    assert live.vote(0, 3, 1).evidence[0] == pytest.approx(known[:, 1])


def test_many_people_and_items_of_any_number():
    live = Live(2)
    live.vote(10**12, 99_999, 1)
    assert live.votes().items.tolist() == [10**12]
    assert live.rates(100_000).shape == (2, 2)
    assert isinstance(live.votes(), Votes)


def test_what_the_model_says_of_items_seen_for_the_first_time_makes_room():
    """Numpy took hold of the array before it grew: every 64th, 128th … item raised IndexError."""
    live = Live(2)
    for item in range(300):
        live.predict(item, np.array([0.9, 0.1]))
    assert np.exp(np.array([live._log_p[live._at(item), 0] for item in range(300)])) == pytest.approx(0.9)
