from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skactiveml.pool import uncertainty_scores

from active import strategies
from active.arrays import unit_rows
from active.search import combine
from active.selection import Pool, choose
from active.strategies import NAMES, RECIPE, STRATEGIES, audited
from labeler import drawing
from labeler.trying import STRATEGIES as OFFERED

ASK_A_HEAD = sorted(STRATEGIES.keys() - strategies.HEADLESS)
DOUBTFUL = {"uncertainty": "least_confident", "margin": "margin_sampling", "entropy": "entropy"}


def some_pool(n, kind="head", *, every=1, seed=0, labels=2, d=8):
    """A pool of n items of which every `every`th may be asked; `kind` is how far the session has come."""
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng.normal(size=(n, d)).astype(np.float32))
    pool = Pool(rows=rows, candidates=np.arange(0, n, every, dtype=np.int64))
    if kind == "empty":
        return pool
    like = unit_rows(rng.normal(size=(2, d)).astype(np.float32))
    pool = replace(pool, like=like)
    if kind == "like":
        return pool
    probs = rng.dirichlet(np.ones(labels), n).astype(np.float32)
    doubt = np.sort(probs, axis=1)[:, -2:] @ np.array([1, -1]) + 1
    return replace(pool, target=probs[:, 0], doubt=doubt.astype(np.float32), probs=probs, labeled=like)


def pick(name, pool, k, seed=0):
    rng = np.random.default_rng(seed)
    if name == RECIPE:
        return choose(pool, goal="find", n=k, batch_size=20, audit_share=0.05, near_cos=0.98, rng=rng)
    return STRATEGIES[name](pool, k, rng)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(("n", "every"), [(0, 1), (7, 1), (60, 1), (60, 20), (100, 3)])
def test_each_batch_holds_as_many_even_draws_whatever_chooses_the_rest(name, n, every):
    pool = some_pool(150, every=every)
    rng = np.random.default_rng(3)
    picks = audited(STRATEGIES[name], pool, n, batch_size=20, audit_share=0.1, rng=rng)
    assert len(set(picks.ids.tolist())) == len(picks.ids) == min(n, len(pool.candidates))
    assert set(picks.ids.tolist()) <= set(pool.candidates.tolist())
    if name != "random" and len(picks.ids) == n:
        whole = n // 20 * 20
        assert [picks.reasons[i : i + 20].count("audit") for i in range(0, whole, 20)] == [2] * (whole // 20)
        is_audit = np.array(picks.reasons) == "audit"
        rest = replace(pool, candidates=np.setdiff1d(pool.candidates, picks.ids[is_audit]))
        if name in {"neighbours", "likely", "uncertainty"}:  # the others draw, or look at the whole batch
            want = STRATEGIES[name](rest, n - int(is_audit.sum()), rng).ids
            np.testing.assert_array_equal(picks.ids[~is_audit], want)


def test_even_draws_are_even_and_stand_anywhere_in_a_batch():
    pool = some_pool(60)
    drawn, places = np.zeros(60, int), np.zeros(20, int)
    for seed in range(600):
        rng = np.random.default_rng(seed)
        picks = audited(strategies.likely, pool, 20, batch_size=20, audit_share=0.1, rng=rng)
        is_audit = np.array(picks.reasons) == "audit"
        drawn[picks.ids[is_audit]] += 1
        places += is_audit
    assert abs(drawn - 20).max() < 5 * np.sqrt(20)
    assert abs(places - 60).max() < 5 * np.sqrt(60)


# what every strategy does -------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["empty", "like", "head"])
@pytest.mark.parametrize(("n", "k"), [(0, 5), (1, 1), (6, 20), (200, 0), (200, 37), (200, 400)])
@pytest.mark.parametrize("every", [1, 3])
def test_every_strategy_gives_valid_distinct_candidates_and_the_same_again(name, kind, n, k, every):
    pool = some_pool(n, kind, every=every)
    picks, again = (pick(name, pool, k, seed=5) for _ in range(2))
    assert picks.ids.dtype == np.int64
    assert len(picks.ids) == min(k, len(pool.candidates))
    assert len(picks.reasons) == len(picks.p_chosen) == len(picks.scores) == len(picks.ids)
    assert len(set(picks.ids.tolist())) == len(picks.ids)
    assert set(picks.ids.tolist()) <= set(pool.candidates.tolist())
    assert set(picks.reasons) <= {"find", "uncertain", "spread", "audit"}
    assert ((picks.p_chosen > 0) & (picks.p_chosen <= 1)).all()
    assert np.isfinite(picks.scores).all()
    np.testing.assert_array_equal(picks.ids, again.ids)
    np.testing.assert_array_equal(picks.p_chosen, again.p_chosen)
    assert picks.reasons == again.reasons


@pytest.mark.parametrize("name", NAMES)
def test_no_candidate_left_is_no_error(name):
    pool = replace(some_pool(10), candidates=np.empty(0, np.int64))
    assert len(pick(name, pool, 5).ids) == 0


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_several_labels_are_no_error(name):
    assert len(pick(name, some_pool(100, labels=4), 20).ids) == 20


@pytest.mark.parametrize("name", ASK_A_HEAD)
@pytest.mark.parametrize(("kind", "same"), [("like", "neighbours"), ("empty", "random")])
def test_before_there_is_a_head_it_looks_around_the_examples_else_anywhere(name, kind, same):
    pool = some_pool(100, kind)
    picks, expected = pick(name, pool, 20), pick(same, pool, 20)
    assert picks.ids.tolist() == expected.ids.tolist()
    assert picks.reasons == expected.reasons


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_docstring_says_what_comes_back_and_where_it_is_from(name):
    doc = STRATEGIES[name].__doc__
    assert doc.startswith("Return")
    assert name == "random" or "Source:" in doc


def test_the_command_offers_all_of_them():
    assert sorted(OFFERED) == sorted(NAMES)
    assert OFFERED[0] == RECIPE == drawing.RECIPE


# each by itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(DOUBTFUL))
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), labels=st.integers(2, 5), every=st.integers(1, 3))
def test_doubt_ranks_as_scikit_activeml_does(name, seed, labels, every):
    pool = some_pool(60, seed=seed, labels=labels, every=every)
    theirs = uncertainty_scores(pool.probs[pool.candidates].astype(float), method=DOUBTFUL[name])
    picks = pick(name, pool, 15)
    assert picks.reasons == ["uncertain"] * 15
    by_id = dict(zip(pool.candidates.tolist(), theirs, strict=True))
    picked = [by_id[i] for i in picks.ids.tolist()]
    np.testing.assert_allclose(picked, sorted(theirs, reverse=True)[:15], atol=1e-5)
    assert len(theirs) > 15


def test_with_two_labels_all_measures_of_doubt_give_one_order():
    pool = some_pool(80, seed=3)
    orders = [pick(name, pool, 30).ids.tolist() for name in DOUBTFUL]
    assert orders[0] == orders[1] == orders[2]
    nearest = sorted(range(80), key=lambda i: abs(pool.target[i] - 0.5))[:30]
    assert orders[0] == nearest


def test_neighbours_are_the_nearest_to_the_mean_of_all_that_was_found():
    pool = some_pool(100, every=2)
    cos = pool.rows[pool.candidates] @ combine(pool.like)[0]
    picks = pick("neighbours", pool, 10)
    assert picks.ids.tolist() == pool.candidates[np.argsort(-cos, kind="stable")[:10]].tolist()
    assert picks.reasons == ["find"] * 10
    assert (picks.p_chosen == 1).all()


def test_likely_is_by_the_head_alone():
    pool = some_pool(100, every=2)
    by_p = sorted(pool.candidates.tolist(), key=lambda i: -pool.target[i])[:10]
    assert pick("likely", pool, 10).ids.tolist() == by_p


@pytest.mark.parametrize("every", [1, 2])
def test_balanced_takes_the_nearest_from_each_side_in_turn(every):
    pool = some_pool(100, every=every)
    picks = pick("balanced", pool, 21)
    p = pool.target[picks.ids]
    assert ((p[::2] >= 0.5) & (np.append(p[1::2], 0) < 0.5)[: len(p[::2])]).all()
    for side in (p[p >= 0.5] - 0.5, 0.5 - p[p < 0.5]):
        assert (np.diff(side) >= 0).all()
    others = pool.target[np.setdiff1d(pool.candidates, picks.ids)]
    assert others[others >= 0.5].min() >= p[p >= 0.5].max()
    assert others[others < 0.5].max() <= p[p < 0.5].min()


def test_balanced_fills_up_from_the_other_side():
    pool = some_pool(40)
    pool = replace(pool, target=np.linspace(0.45, 0.99, 40).astype(np.float32))
    below = int((pool.target < 0.5).sum())
    p = pool.target[pick("balanced", pool, 20).ids]
    assert 0 < below < 10
    assert (p < 0.5).sum() == below


@pytest.mark.parametrize("name", ["random", "gaussian"])
def test_what_is_drawn_carries_the_probability_with_which_it_is_drawn(name):
    pool = some_pool(30, every=2, seed=1)
    drawn, said = np.zeros(30), np.zeros(30)
    times = 4000
    for seed in range(times):
        picks = pick(name, pool, 6, seed=seed)
        drawn[picks.ids] += 1
        said[picks.ids] = picks.p_chosen
    assert said.sum() == pytest.approx(6)
    np.testing.assert_allclose(drawn / times, said, atol=4 * np.sqrt(0.25 / times))


def test_gaussian_leans_to_one_half_by_the_normal_density():
    pool = some_pool(400)
    picks = pick("gaussian", pool, 20)
    density = np.exp(-((pool.target.astype(float) - 0.5) ** 2) / (2 * 0.2**2))
    expected = 20 * density / density.sum()
    np.testing.assert_allclose(picks.p_chosen, expected[picks.ids], rtol=1e-5)


def test_gaussian_takes_for_certain_what_its_weight_asks_for_more_than_once():
    pool = some_pool(12)
    target = np.zeros(12, np.float32)
    target[:3] = 0.5
    picks = pick("gaussian", replace(pool, target=target), 11)
    assert set(picks.ids.tolist()) >= {0, 1, 2}
    assert picks.p_chosen[np.isin(picks.ids, [0, 1, 2])].tolist() == [1, 1, 1]
    np.testing.assert_allclose(picks.p_chosen[~np.isin(picks.ids, [0, 1, 2])], 8 / 9)


def slow_ranked(pool, k):
    """The formula of Cardoso et al., over all candidates."""
    labeled, left = list(pool.labeled), list(pool.candidates)
    doubt = 1 - pool.probs.max(1)
    order = []
    while left and len(order) < k:
        alpha = len(left) / (len(left) + len(labeled))
        away = [min(np.linalg.norm(pool.rows[i] - x) for x in labeled) for i in left]
        score = [
            alpha * (1 - 1 / (1 + far)) + (1 - alpha) * doubt[i] for i, far in zip(left, away, strict=True)
        ]
        best = left.pop(int(np.argmax(score)))
        labeled.append(pool.rows[best])
        order.append(int(best))
    return order


def test_ranked_is_the_published_formula():
    pool = some_pool(60, every=2, seed=4, labels=3)
    assert pick("ranked", pool, 12).ids.tolist() == slow_ranked(pool, 12)


def test_ranked_looks_at_the_most_doubtful_alone(monkeypatch):
    monkeypatch.setattr(strategies, "RANKED_AMONG", 10)
    pool = some_pool(100)
    doubtful = sorted(range(100), key=lambda i: -(1 - pool.probs[i].max()))[:10]
    assert set(pick("ranked", pool, 5).ids.tolist()) <= set(doubtful)
    assert len(pick("ranked", pool, 30).ids) == 30
