import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active import nearby as module
from active.arrays import distinct, unit_rows
from active.nearby import nearby
from active.search import Exact, Inverted


def walk(rows, index, start, sought, *, k=10, is_open=None):
    """Walk towards `sought` (c, d); return items, scores, and what was looked around and scored in turn."""
    near_of, scored = [], []

    def near(ids):
        near_of.append(ids)
        return index.search(rows[ids], k)[0].ravel()

    def score(ids):
        scored.append(ids)
        return rows[ids] @ sought.T

    closed = np.empty(0, np.int64) if is_open is None else np.flatnonzero(~is_open)
    ids, scores = nearby(start, near=near, score=score, closed=closed)
    return ids, scores, np.concatenate([start[:0], *near_of]), np.concatenate(scored)


def a_rare_cluster(n=20_000, rare=60, d=16, seed=0):
    """Rows of one broad cloud and of a small tight cluster far from its middle."""
    rng = np.random.default_rng(seed)
    middle = unit_rows(rng.normal(size=(1, d)).astype(np.float32))
    rows = unit_rows(rng.normal(size=(n, d)).astype(np.float32))
    rows[-rare:] = unit_rows((middle + rng.normal(size=(rare, d)) * 0.05).astype(np.float32))
    return rows, middle


@pytest.mark.parametrize("make", [Exact, Inverted])
def test_a_rare_cluster_is_reached_from_items_that_are_not_in_it(make):
    rows, middle = a_rare_cluster()
    start = np.arange(0, 19_000, 100)  # none of the cluster, and nothing near it
    assert (rows[start] @ middle[0]).max() < 0.8
    ids, scores, _, _ = walk(rows, make(rows), start, middle, k=30)
    assert set(range(19_940, 20_000)) <= set(ids.tolist())
    assert len(ids) < 0.1 * len(rows)
    np.testing.assert_allclose(scores[:, 0], rows[ids] @ middle[0], atol=1e-6)


def test_items_that_no_step_comes_near_are_not_looked_at_and_none_twice():
    rows, middle = a_rare_cluster()
    start = np.arange(0, 19_000, 100)
    ids, _, around, scored = walk(rows, Exact(rows), start, middle)
    assert sorted(scored.tolist()) == ids.tolist()
    assert len(np.unique(scored)) == len(scored)
    assert len(np.unique(around)) == len(around)
    found = Exact(rows).search(rows[around], 10)[0]
    assert set(ids.tolist()) == set(start.tolist()) | set(found.ravel().tolist())


def test_the_likeliest_of_what_is_looked_at_were_all_looked_around():
    rows, middle = a_rare_cluster()
    ids, scores, around, _ = walk(rows, Exact(rows), np.arange(0, 19_000, 100), middle)
    best = ids[np.argsort(-scores[:, 0])[: module.SEEDS]]
    assert set(best.tolist()) <= set(around.tolist())


def test_each_thing_that_is_sought_leads_the_walk():
    rows, middle = a_rare_cluster()
    other = rows[:1]
    both = np.concatenate([middle, other])
    ids, scores, _, _ = walk(rows, Exact(rows), np.arange(50, 19_000, 100), both)
    for column, wanted in enumerate(both):
        best = set(np.argsort(-(rows @ wanted))[:20].tolist())
        assert best <= set(ids.tolist())
        np.testing.assert_allclose(scores[:, column], rows[ids] @ wanted, atol=1e-6)


def test_what_may_not_be_asked_is_looked_at_but_not_around():
    rows, middle = a_rare_cluster()
    is_open = np.ones(len(rows), bool)
    is_open[::200] = False
    start = np.arange(0, 19_000, 100)
    ids, _, around, _ = walk(rows, Exact(rows), start, middle, is_open=is_open)
    assert is_open[around].all()
    assert set(start.tolist()) <= set(ids.tolist())


@pytest.mark.parametrize("columns", [0, 1])
def test_where_nothing_is_sought_or_nothing_may_be_asked_only_the_start_is_looked_at(columns):
    rows, middle = a_rare_cluster(500)
    start = np.array([7, 3, 7, 11])
    is_open = np.full(500, columns == 0)
    ids, scores, around, _ = walk(rows, Exact(rows), start, middle[:columns], is_open=is_open)
    assert ids.tolist() == [3, 7, 11]
    assert scores.shape == (3, columns)
    assert len(around) == 0


def test_the_walk_ends_after_its_steps():
    n = 1000  # each item knows the next one only, and that is better
    order = np.arange(n, dtype=np.float32)[:, None]
    ids, _ = nearby(
        np.array([0]),
        near=lambda ids: np.minimum(ids + 1, n - 1),
        score=lambda ids: order[ids],
        closed=np.empty(0, np.int64),
    )
    assert ids.tolist() == list(range(module.STEPS + 1))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40), c=st.integers(0, 3), seeds=st.integers(1, 4), every=st.integers(1, 3),
    chance=st.integers(0, 10**6),
)  # fmt: skip
def test_it_equals_the_walk_written_with_sets(n, c, seeds, every, chance):
    rng = np.random.default_rng(chance)
    values = rng.permutation(n * max(1, c)).reshape(n, -1)[:, :c].astype(np.float32)
    friends = rng.integers(0, n, (n, 3))
    start = rng.integers(0, n, 2)
    is_open = np.arange(n) % every == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEEDS", seeds)
        ids, scores = nearby(
            start,
            near=lambda ids: friends[ids].ravel(),
            score=lambda ids: values[ids],
            closed=np.flatnonzero(~is_open),
        )
    seen, done = set(start.tolist()), set()
    for _ in range(module.STEPS):
        asked = [i for i in seen if is_open[i]]
        best = {i for j in range(c) for i in sorted(asked, key=lambda i: -values[i, j])[:seeds]} - done
        done |= best
        seen |= {int(j) for i in best for j in friends[i]}
    assert ids.tolist() == sorted(seen)
    np.testing.assert_array_equal(scores, values[ids])


@given(st.lists(st.integers(0, 2**40) | st.integers(0, 20)))
def test_distinct_is_what_numpy_says(ids: list[int]) -> None:
    given_ids = np.array(ids, np.int64)
    assert distinct(given_ids).tolist() == sorted(set(ids))
    assert distinct(given_ids).dtype == np.int64
    assert given_ids.tolist() == ids
