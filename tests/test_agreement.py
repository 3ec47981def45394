"""How much people agree: against published values, a slow version, and what adaptive votes would do to it."""

import numpy as np
import pytest
from crowds import even_rates, voted
from hypothesis import given, settings
from hypothesis import strategies as st

from active.agreement import agreement, by_label, disputed, over_time
from active.votes import Votes

NOTHING = 0


def table(rows: list[list[int]], n_labels: int) -> Votes:
    """Return the votes of a table of people by items, labels from 1, 0 for none."""
    said = np.array(rows)
    people, items = np.nonzero(said != NOTHING)
    return Votes(items, people, said[people, items] - 1, len(rows), n_labels)


def test_the_published_examples():
    """Krippendorff 2011, Computing Krippendorff's Alpha-Reliability: sections B and C."""
    rng = np.random.default_rng(0)
    two = table([[1, 2, 1, 1, 1, 1, 1, 1, 2, 1], [2, 2, 2, 1, 1, 2, 1, 1, 1, 1]], 2)
    found = agreement(two, rng)
    assert round(found.alpha, 3) == 0.095
    assert found.share.tolist() == [0.7, 0.3]
    four = table(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ],
        5,
    )
    found = agreement(four, rng)
    assert round(found.alpha, 3) == 0.743
    assert (found.items, found.votes) == (11, 40)


def slow_alpha(votes: Votes) -> float | None:
    """Return alpha by going through all pairs of votes on the same item, and all pairs of votes at all."""
    by_item = {i: votes.labels[votes.items == i] for i in set(votes.items.tolist())}
    by_item = {i: x for i, x in by_item.items() if len(x) >= 2}
    values = np.concatenate([*by_item.values(), []])
    n = len(values)
    apart = sum(a != b for a in values for b in values)
    if not apart:
        return None
    observed = sum(
        sum(a != b for a in x for b in x) / (len(x) - 1) for x in by_item.values()
    )  # ordered pairs; a value is never apart from itself
    return 1 - (observed / n) / (apart / (n * (n - 1)))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_alpha_is_the_slow_one(seed):
    rng = np.random.default_rng(seed)
    v, c = int(rng.integers(0, 40)), int(rng.integers(2, 4))
    votes = Votes(rng.integers(0, 12, v), np.arange(v), rng.integers(0, c, v), max(v, 1), c)
    found, slow = agreement(votes, rng), slow_alpha(votes)
    assert found.alpha == (None if slow is None else pytest.approx(slow))
    for label, one in enumerate(by_label(votes, rng)):
        other = Votes(votes.items, votes.people, (votes.labels != label).astype(int), max(v, 1), 2)
        slow = slow_alpha(other)
        assert one.alpha == (None if slow is None else pytest.approx(slow))


def test_the_interval_is_that_of_resampled_items():
    rng = np.random.default_rng(1)
    truth = (rng.random(150) < 0.3).astype(int)
    votes = voted(rng, truth=truth, rates=even_rates(np.full(20, 0.85)), each=3)
    found = agreement(votes, rng)
    labels, drawn = votes.labels.reshape(150, 3), []
    for _ in range(400):
        again = labels[rng.integers(150, size=150)]
        drawn.append(agreement(Votes(votes.items, votes.people, again.ravel(), 20, 2), rng).alpha)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low < found.alpha < found.high
    assert (found.low, found.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))


def test_the_interval_holds_what_a_large_crowd_shows():
    truth = np.repeat([0, 1], [8000, 2000])
    rates = even_rates(np.full(30, 0.85))
    large = agreement(
        voted(np.random.default_rng(2), truth=truth, rates=rates, each=3), np.random.default_rng(0)
    )
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        some = voted(rng, truth=rng.permutation(truth)[:200], rates=rates, each=3)
        found = agreement(some, rng)
        held += found.low <= large.alpha <= found.high
    assert held >= 51  # 57 expected


def test_the_same_people_agree_less_about_a_rarer_label():
    rng = np.random.default_rng(3)
    common, rare = (
        agreement(
            voted(rng, truth=(rng.random(3000) < p).astype(int), rates=even_rates(np.full(20, 0.9)), each=2),
            rng,
        )
        for p in (0.5, 0.02)
    )
    assert common.alpha > 0.55 > 0.25 > rare.alpha
    assert rare.share[1] < common.share[1]


def test_votes_asked_for_where_people_differ_do_not_count():
    """Two votes each, and six more where the two differ: all votes don't tell how people agree."""
    rng = np.random.default_rng(4)
    truth = (rng.random(4000) < 0.3).astype(int)
    votes = voted(rng, truth=truth, rates=even_rates(np.full(30, 0.85)), each=8)
    labels = votes.labels.reshape(4000, 8)
    differ = labels[:, 0] != labels[:, 1]
    keep = (np.arange(8)[None] < np.where(differ, 8, 2)[:, None]).ravel()
    asked = votes.only(keep)
    full = agreement(votes, rng)
    assert agreement(asked, rng, first=2).alpha == pytest.approx(full.alpha, abs=0.03)
    assert abs(agreement(asked, rng).alpha - full.alpha) > 0.05


def test_first_takes_the_first_of_each_item_in_the_order_given():
    items, labels = np.array([5, 3, 5, 3, 5, 3]), np.array([0, 1, 0, 1, 1, 0])
    found = agreement(Votes(items, np.arange(6), labels, 6, 2), np.random.default_rng(0), first=2)
    assert found.alpha == 1
    assert found.votes == 4


def test_over_time_people_may_come_to_agree():
    rng = np.random.default_rng(5)
    truth = (rng.random(600) < 0.5).astype(int)
    early, late = (voted(rng, truth=truth, rates=even_rates(np.full(9, p)), each=3) for p in (0.6, 0.97))
    both = Votes(
        np.r_[early.items, 600 + late.items],
        np.r_[early.people, late.people],
        np.r_[early.labels, late.labels],
        9,
        2,
    )
    (end, first), (last, second) = over_time(both, 2, rng)
    assert first.alpha < 0.2 < 0.8 < second.alpha
    assert first.items == second.items == 600
    assert end < len(early) <= last < len(both)
    assert sum(found.votes for _, found in over_time(both, 7, rng)) == len(both)
    assert over_time(both.only(np.arange(1)), 3, rng) == []


def test_over_time_an_item_counts_where_its_second_vote_came_with_as_many_votes_as_are_asked_of_all():
    items = np.array([0, 1, 0, 1, 2, 2, 0, 3, 3, 2])
    votes = Votes(items, np.arange(10), np.array([0, 1, 0, 1, 0, 1, 1, 1, 1, 1]), 10, 2)
    rng = np.random.default_rng(0)
    (end, early), (last, late) = over_time(votes, 2, rng)
    assert (end, last) == (3, 8)
    assert (early.items, early.votes, late.items, late.votes) == (2, 5, 2, 5)
    (_, early), (_, late) = over_time(votes, 2, rng, first=2)
    assert (early.votes, early.alpha) == (4, 1.0)
    assert late.votes == 4


def test_where_there_is_nothing_to_agree_on():
    rng = np.random.default_rng(0)
    one = agreement(Votes(np.arange(5), np.arange(5), np.zeros(5, int), 5, 2), rng)
    assert (one.alpha, one.items, one.votes) == (None, 0, 0)
    same = agreement(Votes(np.repeat(np.arange(5), 2), np.arange(10), np.zeros(10, int), 10, 2), rng)
    assert (same.alpha, same.low, same.items) == (None, None, 5)


def test_the_most_disputed_are_those_that_are_least_settled():
    ids = np.array([10, 11, 12, 13, 14])
    posterior = np.array([[0.5, 0.5], [0.99, 0.01], [0.6, 0.4], [0.5, 0.5], [0.5, 0.5]])
    counts = np.array([[2, 2], [3, 3], [4, 1], [1, 0], [3, 3]])  # 11: settled by who said what; 13: one vote
    order, how = disputed(ids, posterior, counts)
    assert order.tolist() == [14, 10, 12, 11]
    assert how[:2].tolist() == [1, 1]
    assert (np.diff(how) <= 0).all()
