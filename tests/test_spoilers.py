"""Signs that somebody does not look: found in those who don't, hardly ever in those who do."""

import numpy as np
import pytest
from crowds import even_rates, voted
from hypothesis import given, settings
from hypothesis import strategies as st

from active.consensus import Known, fit, gold_counts
from active.skill import looks, trust
from active.spoilers import ALIKE, LITTLE, by_others, signs, speed_weight
from active.spoilers import _at_least as at_least
from active.votes import Votes

PEOPLE = 24
RANDOM, ALWAYS_NO, ALWAYS_YES, FAST, EVEN = range(5)


def crowd(seed: int, share: float = 0.1) -> tuple:
    """Return votes, times and fit of a crowd of which the first five are spoilers, each of another kind."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(600) < share).astype(int)
    rates = even_rates(np.clip(rng.beta(16, 3, PEOPLE), 0.7, 0.98))
    rates[RANDOM], rates[ALWAYS_NO], rates[ALWAYS_YES] = 0.5, [[1, 0], [1, 0]], [[0, 1], [0, 1]]
    votes = voted(rng, truth=truth, rates=rates, each=5)
    ms = np.exp(rng.normal(np.log(900), 0.4, len(votes)))
    ms[votes.people == FAST] = rng.uniform(60, 260, (votes.people == FAST).sum())
    ms[votes.people == EVEN] = 700 + rng.uniform(-10, 10, (votes.people == EVEN).sum())
    said = np.where(rng.random(40 * PEOPLE) < 0.9, np.arange(40 * PEOPLE) % 2, 1 - np.arange(40 * PEOPLE) % 2)
    who = np.repeat(np.arange(PEOPLE), 40)
    said[who == RANDOM] = rng.integers(0, 2, 40)
    said[who == ALWAYS_NO], said[who == ALWAYS_YES] = 0, 1
    gold = gold_counts(who, said, np.arange(40 * PEOPLE) % 2, n_people=PEOPLE, n_labels=2)
    found = fit(votes, Known(drawn=np.arange(600), gold=gold))
    return votes, ms, found


def odd(seed: int, share: float = 0.1) -> list[set[str]]:
    votes, ms, found = crowd(seed, share)
    others = by_others(votes, found)
    return [
        {sign.name for sign in signs(person, votes, found, others, ms) if sign.is_odd}
        for person in range(PEOPLE)
    ]


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_every_kind_of_spoiler_is_shown_by_its_own_number(share):
    found = odd(0, share)
    assert "looks" in found[RANDOM]
    assert {"looks", "same"} <= found[ALWAYS_NO]
    assert {"looks", "same", "others", "gold"} <= found[ALWAYS_YES]
    assert "fast" in found[FAST]
    assert found[EVEN] == {"even"}


def test_hardly_anybody_who_looks_is_shown():
    wrongly = [x for seed in range(6) for x in odd(seed)[5:]]
    assert sum(bool(x) for x in wrongly) <= 4  # of 114, whose skills differ


def test_they_weigh_little_and_nothing_is_deleted():
    votes, _, found = crowd(1)
    weights = trust(found.skill.rates)
    assert weights[[RANDOM, ALWAYS_NO, ALWAYS_YES]].max() < 0.3 < weights[EVEN:].min()
    assert looks(found.skill.kind, found.kinds)[3:].all()
    assert found.standing.asked.sum() == len(votes)


def test_the_sentences_say_what_was_counted():
    votes, ms, found = crowd(2)
    said = {s.name: s for s in signs(ALWAYS_YES, votes, found, by_others(votes, found), ms)}
    assert list(said) == ["looks", "fast", "even", "same", "gold", "others"]
    mine = int((votes.people == ALWAYS_YES).sum())
    assert said["same"].value == said["same"].of == mine
    assert said["same"].says.startswith(f"Gave label 1 {mine} times of {mine};")
    assert said["gold"].says.startswith("Right about 20 of 40 images")
    assert f"of {said['others'].of} cases" in said["others"].says
    assert not said["fast"].is_odd


def test_what_cannot_be_said_is_left_out():
    votes, _, found = crowd(3)
    others = by_others(votes, found)
    unknown = np.full(len(votes), np.nan)
    assert [s.name for s in signs(7, votes, found, others, unknown)] == ["looks", "same", "gold", "others"]
    only = Votes(np.array([1, 2]), np.array([0, 0]), np.array([0, 1]), 2, 2)
    alone = fit(only)
    assert signs(0, only, alone, by_others(only, alone), np.full(2, 500.0)) == []
    assert signs(1, only, alone, by_others(only, alone), np.full(2, 500.0)) == []


def test_by_others_is_a_fit_without_that_vote():
    votes, _, found = crowd(4)
    others = by_others(votes, found)
    for k in range(0, len(votes), 97):
        same = np.flatnonzero(votes.items == votes.items[k])
        p = found.share.copy()
        for other in same[same != k]:
            rates = found.skill.rates[votes.people[other]]
            said = votes.labels[other]
            p *= np.minimum(rates[:, said], rates[said, said])
        assert others[k] == pytest.approx(p / p.sum(), abs=1e-3)


def test_an_answer_faster_than_anybody_sees_counts_little():
    weights = speed_weight(np.array([0, 199.0, 275, 350, 5000, np.nan]))
    assert weights.tolist() == [LITTLE, LITTLE, pytest.approx(0.55), 1, 1, 1]


@given(st.integers(1, 40), st.floats(0.01, 0.99), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_chances_are_those_of_drawn_people(n, p, hits):
    hits = min(hits, n)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(n, rng.beta(ALIKE * p, ALIKE * (1 - p), 40_000)) >= hits
    assert at_least(hits, n, n * p) == pytest.approx(drawn.mean(), abs=0.02)
    assert at_least(0, n, n * p) == pytest.approx(1)
