from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active import scatter, selection
from active.arrays import unit_rows
from active.kriging import Told, krige
from active.search import combine
from active.selection import APART, Left, Pool, _best, audit, choose, find, spread, uncertain

SELECTORS = [find, uncertain, spread, audit]


def some_pool(n, kind="head", *, every=1, seed=0, d=8):
    """A pool of n items of which every `every`th may be asked; `kind` is how far the session has come."""
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng.normal(size=(n, d)).astype(np.float32))
    pool = Pool(rows=rows, candidates=np.arange(0, n, every, dtype=np.int64))
    if kind == "empty":
        return pool
    pool = replace(pool, like=unit_rows(rng.normal(size=(2, d)).astype(np.float32)))
    if kind == "like":
        return pool
    target = rng.random(n).astype(np.float32)
    pool = replace(pool, target=target, doubt=1 - np.abs(2 * target - 1))
    if kind in ("sample", "looked"):
        pool = replace(pool, sample=np.arange(0, n, 3, dtype=np.int64))
    if kind == "looked":
        is_looked = rng.random(n) < 0.3
        is_looked[::3] = True
        among = np.flatnonzero(is_looked)
        pool = replace(pool, among=among, target=pool.target[among], doubt=pool.doubt[among])
    return pool


def some_answers(m, seed=0, d=8):
    """Answers to m images, and what a head had expected."""
    rng = np.random.default_rng([seed, 1])
    rows = unit_rows(rng.normal(size=(m, d)).astype(np.float32))
    return Told(rows, rng.random(m) < 0.5, rng.random(m).astype(np.float32))


KINDS = ["empty", "like", "head", "sample"]
"""How far the session has come, or "looked": not every item is looked at."""


def ask(pool, n=20, *, goal="find", seed=0, batch_size=20, audit_share=0.05, near_cos=0.98):
    rng = np.random.default_rng(seed)
    return choose(
        pool, goal=goal, n=n, batch_size=batch_size, audit_share=audit_share, near_cos=near_cos, rng=rng
    )


def choose_to_find(pool, k, rng):
    return choose(pool, goal="find", n=k, batch_size=20, audit_share=0.05, near_cos=0.98, rng=rng)


def choose_to_classify(pool, k, rng):
    return choose(pool, goal="classify", n=k, batch_size=20, audit_share=0.05, near_cos=0.98, rng=rng)


@pytest.mark.parametrize("select", [*SELECTORS, choose_to_find, choose_to_classify])
@pytest.mark.parametrize("kind", [*KINDS, "looked"])
@pytest.mark.parametrize(("n", "k"), [(0, 5), (1, 1), (6, 20), (200, 0), (200, 37), (200, 400)])
@pytest.mark.parametrize("every", [1, 3])
def test_every_selector_gives_valid_distinct_candidates_and_the_same_again(select, kind, n, k, every):
    pool = some_pool(n, kind, every=every)
    picks, again = (select(pool, k, np.random.default_rng(5)) for _ in range(2))
    assert picks.ids.dtype == np.int64
    assert len(picks.ids) == len(picks.reasons) == len(picks.p_chosen) == len(picks.scores)
    assert len(picks.ids) <= min(k, len(pool.candidates))
    assert len(set(picks.ids.tolist())) == len(picks.ids)
    assert set(picks.ids.tolist()) <= set(pool.candidates.tolist())
    assert ((picks.p_chosen > 0) & (picks.p_chosen <= 1)).all()
    assert np.isfinite(picks.scores).all()
    np.testing.assert_array_equal(picks.ids, again.ids)
    np.testing.assert_array_equal(picks.p_chosen, again.p_chosen)
    assert picks.reasons == again.reasons


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("goal", ["find", "classify"])
def test_choose_asks_all_that_is_left_and_then_nothing(kind, goal):
    pool = some_pool(30, kind, every=2)
    picks = ask(pool, 100, goal=goal)
    assert sorted(picks.ids.tolist()) == pool.candidates.tolist()
    assert len(ask(replace(pool, candidates=pool.candidates[:0]), 20, goal=goal).ids) == 0


def test_no_candidate_but_a_pool_is_no_error():
    pool = replace(some_pool(10), candidates=np.empty(0, np.int64))
    assert len(ask(pool).ids) == 0


# the selectors ------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=0, max_size=40), st.integers(0, 45))
def test_best_equals_sorting(values, k):
    scores = np.array(values, np.float32)
    slow = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert _best(scores, k).tolist() == slow


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    every=st.integers(1, 3),
    among=st.integers(1, 70),
    told=st.integers(0, 30),
    seed=st.integers(0, 10**6),
)
def test_find_takes_the_likeliest_by_their_own_and_their_neighbours_probability(n, every, among, told, seed):
    pool = replace(some_pool(n, every=every, seed=seed), told=some_answers(told, seed) if told else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "AMONG", among)
        picks = find(pool, 10, np.random.default_rng(0))
    likely = sorted(range(n), key=lambda i: (-pool.target[i], i))
    may = set(pool.candidates.tolist())
    p = pool.target + (krige(pool.rows, pool.told) if told else 0)
    tried = [i for i in likely if i in may][: max(10, among)]
    asked = [i for i in likely if i not in may][:among]
    slow = {}
    for i in tried:
        near = sorted((j for j in tried + asked if j != i), key=lambda j: -(pool.rows[i] @ pool.rows[j]))[:10]
        slow[i] = (p[i] + np.mean(p[near])) / 2 if near else p[i]
    best = sorted(slow.values(), reverse=True)[:10]
    np.testing.assert_allclose(picks.scores, best, atol=1e-5)
    np.testing.assert_allclose(picks.scores, [slow[i] for i in picks.ids.tolist()], atol=1e-5)
    assert (picks.p_chosen == 1).all()


def test_find_without_a_head_takes_the_nearest_to_the_examples():
    pool = some_pool(100, "like")
    cos = pool.rows @ combine(pool.like)[0]
    assert find(pool, 5, np.random.default_rng(0)).ids.tolist() == np.argsort(-cos)[:5].tolist()


def test_find_without_head_or_examples_has_nothing_to_say():
    pool = some_pool(100, "empty")
    assert len(find(pool, 5, np.random.default_rng(0)).ids) == 0
    no_rows = replace(pool, like=np.empty((0, 8), np.float32))
    assert len(find(no_rows, 5, np.random.default_rng(0)).ids) == 0
    assert set(ask(no_rows).reasons) == {"spread", "audit"}


def test_uncertain_takes_the_most_doubtful_of_a_pool_that_is_its_own_sample():
    pool = some_pool(100, every=2)
    slow = sorted(pool.candidates.tolist(), key=lambda i: -pool.doubt[i])[:10]
    assert uncertain(pool, 10, np.random.default_rng(0)).ids.tolist() == slow


def test_uncertain_reaches_from_the_sample_into_the_pool():
    # ten tight groups; only the first item of each is in the sample; group 3 is the doubtful one
    rng = np.random.default_rng(0)
    middles = np.repeat(np.eye(10, dtype=np.float32), 50, axis=0)
    rows = unit_rows((middles + rng.normal(size=middles.shape) * 0.01).astype(np.float32))
    doubt = np.where(np.repeat(np.arange(10), 50) == 3, 0.9, 0.1).astype(np.float32)
    doubt[3 * 50 + 7] = 0.95
    firsts = np.arange(0, 500, 50, dtype=np.int64)
    pool = Pool(rows, np.arange(500), target=doubt, doubt=doubt, sample=firsts)
    picks = uncertain(pool, 20, rng)
    assert picks.ids[0] == 157
    assert all(150 <= i < 200 for i in picks.ids)
    # what neither the sample nor its neighbourhoods hold is not looked at
    assert len(uncertain(replace(pool, candidates=np.array([199], np.int64)), 5, rng).ids) <= 1


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 120), k=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_spread_stands_for_the_whole_pool(n, k, seed):
    pool = some_pool(n, "empty", seed=seed)
    picks = spread(pool, k, np.random.default_rng(seed))
    assert len(picks.ids) == min(n, k)
    # one draw per cluster: the clusters' sizes add up to the pool
    np.testing.assert_allclose((1 / picks.p_chosen).sum(), n)


def test_spread_draws_within_each_cluster_with_the_probability_it_says():
    rows = np.repeat(np.eye(2, dtype=np.float32), [30, 10], axis=0)
    pool = Pool(rows, np.arange(40))
    drawn = np.zeros(40)
    for seed in range(400):
        picks = spread(pool, 2, np.random.default_rng(seed))
        drawn[picks.ids] += 1
        for i, p in zip(picks.ids, picks.p_chosen, strict=True):
            assert p == pytest.approx(1 / 30 if i < 30 else 1 / 10)
    assert drawn[:30].sum() == drawn[30:].sum() == 400
    assert drawn[:30].max() < 40
    assert drawn[30:].max() < 80


def test_spread_of_rows_that_are_all_the_same_still_gives_k():
    pool = Pool(np.repeat(np.eye(1, 4, dtype=np.float32), 50, axis=0), np.arange(50))
    picks = spread(pool, 8, np.random.default_rng(0))
    assert len(set(picks.ids.tolist())) == 8


def far_from(rows, items, asked, k):
    """The first k of the items, each furthest from all that was asked and the ones before it; slow."""
    asked, out = list(asked), []
    while len(out) < min(k, len(items)):
        rest = [i for i in items if i not in out]
        out.append(max(rest, key=lambda i: min(1 - float(rows[i] @ rows[j]) for j in [*asked, *out])))
    return out


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 80), every=st.integers(2, 4), k=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_half_of_spread_is_what_is_least_like_what_was_asked_the_others_stand_for_the_rest(n, every, k, seed):
    pool = some_pool(n, "empty", every=every, seed=seed)
    picks = spread(pool, k, np.random.default_rng(seed))
    k = min(k, len(pool.candidates))
    far = picks.scores > 0
    assert far.sum() == k // 2  # at least one is drawn
    asked = np.setdiff1d(np.arange(n), pool.candidates).tolist()
    assert picks.ids[far].tolist() == far_from(pool.rows, pool.candidates.tolist(), asked, far.sum())
    assert (picks.p_chosen[far] == 1).all()
    taken = picks.ids[far].tolist()
    for place, i in enumerate(taken):
        near = [1 - float(pool.rows[i] @ pool.rows[j]) for j in [*asked, *taken[:place]]]
        assert picks.scores[far][place] == pytest.approx(min(near), abs=1e-5)
    np.testing.assert_allclose((1 / picks.p_chosen).sum(), len(pool.candidates))


def test_what_is_least_like_what_was_asked_comes_in_turn_with_the_draws():
    pool = some_pool(400, "empty", every=2)
    is_far = spread(pool, 20, np.random.default_rng(0)).scores > 0
    assert is_far.tolist() == [True, False] * 10
    assert not spread(some_pool(400, "empty"), 20, np.random.default_rng(0)).scores.any()  # nothing asked


def test_a_kind_that_is_rare_and_like_no_other_is_met_at_once():
    rng = np.random.default_rng(0)
    kinds = unit_rows(rng.normal(size=(11, 32)).astype(np.float32))
    of = np.repeat(np.arange(11), [200] * 10 + [5])
    rows = unit_rows((kinds[of] + 0.05 * rng.normal(size=(len(of), 32))).astype(np.float32))
    asked = np.arange(0, 2000, 100)  # two of each other kind
    pool = Pool(rows, np.setdiff1d(np.arange(len(rows)), asked))
    for seed in range(20):
        assert spread(pool, 19, np.random.default_rng(seed)).ids[0] >= 2000


def test_audit_cards_of_a_round_count_as_asked_in_it():
    pool = some_pool(500, "empty")
    picks = ask(pool, 60, near_cos=1.0)
    audited = [i for i, why in zip(picks.ids.tolist(), picks.reasons, strict=True) if why == "audit"]
    far = picks.ids[picks.scores > 0].tolist()
    assert len(audited) == 3
    assert len(far) == 28
    items = np.setdiff1d(pool.candidates, audited).tolist()
    assert sorted(far) == sorted(far_from(pool.rows, items, audited, len(far)))


@pytest.mark.parametrize("limit", ["AMONG", "TO"])
def test_of_many_that_may_be_asked_or_were_some_are_compared(monkeypatch, limit):
    pool = some_pool(300, "empty", every=2)
    monkeypatch.setattr(scatter, limit, 1)
    firsts = set()
    for seed in range(40):
        picks = spread(pool, 20, np.random.default_rng(seed))
        assert len(set(picks.ids.tolist())) == 20
        assert (picks.scores > 0).sum() == 10
        np.testing.assert_allclose((1 / picks.p_chosen).sum(), 150)
        firsts.add(int(picks.ids[0]))
    assert len(firsts) > 20  # by chance; of all compared with all there is one


def test_where_all_are_the_same_as_those_asked_spread_still_gives_k():
    pool = Pool(np.repeat(np.eye(1, 4, dtype=np.float32), 50, axis=0), np.arange(10, 50))
    for k in (1, 8, 40, 60):
        picks = spread(pool, k, np.random.default_rng(k))
        assert len(set(picks.ids.tolist())) == len(picks.ids) == min(k, 40)
        assert set(picks.ids.tolist()) <= set(range(10, 50))
        assert (picks.scores == 0).all()


# the mix ------------------------------------------------------------------------------------


def test_each_goal_and_stage_has_its_reasons():
    def share(kind, goal):
        reasons = ask(some_pool(5000, kind), 400, goal=goal).reasons
        return {why: reasons.count(why) for why in sorted(set(reasons))}

    assert share("empty", "find") == {"audit": 20, "spread": 380}
    assert share("like", "find").keys() == {"audit", "find", "spread"}
    assert share("head", "find").keys() <= {"audit", "find", "uncertain"}
    assert share("head", "find")["find"] > 320
    assert share("head", "classify").keys() == {"audit", "find", "uncertain"}
    assert share("head", "classify")["uncertain"] > 190
    assert share("sample", "classify")["audit"] == 20


def test_a_head_without_doubt_only_finds():
    pool = replace(some_pool(500), doubt=None)
    assert set(ask(pool, goal="classify").reasons) == {"find", "audit"}


@pytest.mark.parametrize(("size", "share"), [(20, 0.05), (7, 0.05), (10, 0.25), (5, 0.0), (5, 1.0)])
def test_the_share_of_audit_is_right_in_the_mean(size, share):
    pool = some_pool(100)
    counts = [
        ask(pool, size, batch_size=size, audit_share=share, seed=s).reasons.count("audit") for s in range(200)
    ]
    assert set(counts) <= {int(size * share), int(np.ceil(size * share))}
    assert np.mean(counts) == pytest.approx(size * share, abs=0.12)


def test_audit_says_with_what_probability_it_drew():
    pool = some_pool(60, every=2)
    hits, said = np.zeros(60), np.zeros(60)
    for seed in range(1500):
        picks = ask(pool, 10, batch_size=5, audit_share=0.2, seed=seed)
        for i, why, p in zip(picks.ids, picks.reasons, picks.p_chosen, strict=True):
            if why == "audit":
                hits[i] += 1
                said[i] = p
                assert p in (1 / 30, 1 / 29)  # one in each of two blocks
            else:
                assert p == 1
    # one of 30, then one of 29 still in: each candidate two times in thirty
    np.testing.assert_allclose(hits[::2] / 1500, 2 / 30, atol=0.03)
    assert hits[1::2].sum() == 0


def test_every_block_holds_its_share_of_audit():
    picks = ask(some_pool(3000), 200, near_cos=1.0)
    for start in range(0, 200, 20):
        assert picks.reasons[start : start + 20].count("audit") == 1


def test_audit_is_not_always_at_the_same_place():
    places = {ask(some_pool(500), seed=s).reasons.index("audit") for s in range(30)}
    assert len(places) > 8


# near-identical items -----------------------------------------------------------------------


def too_near(pool, ids, near_cos, apart):
    """Return the pairs of places at most `apart` from each other with near-identical items."""
    rows = pool.rows[ids]
    return [
        (i, j)
        for i in range(len(ids))
        for j in range(i + 1, min(len(ids), i + apart + 1))
        if rows[i] @ rows[j] > near_cos
    ]


@settings(max_examples=40, deadline=None)
@given(copies=st.integers(1, 6), seed=st.integers(0, 10**6), goal=st.sampled_from(["find", "classify"]))
def test_near_identical_items_are_kept_apart_where_there_is_anything_else(copies, seed, goal):
    rng = np.random.default_rng(seed)
    base = unit_rows(rng.normal(size=(60, 32)).astype(np.float32))
    rows = unit_rows(
        (np.repeat(base, copies, 0) + rng.normal(size=(60 * copies, 32)) * 1e-4).astype(np.float32)
    )
    target = np.repeat(rng.random(60), copies).astype(np.float32)
    pool = Pool(rows, np.arange(len(rows)), target=target, doubt=1 - np.abs(2 * target - 1))
    picks = ask(pool, 20, goal=goal, seed=seed)
    assert too_near(pool, picks.ids, 0.98, APART) == []


def test_a_burst_of_identical_items_is_spaced_out_and_none_is_lost():
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.normal(size=(500, 64)).astype(np.float32))
    rows[:30] = rows[0]
    target = np.linspace(1, 0, 500).astype(np.float32)  # the burst is the likeliest
    pool = Pool(rows, np.arange(500), target=target)
    picks = ask(pool, 100, near_cos=0.98)
    assert set(range(30)) <= set(picks.ids.tolist())
    assert too_near(pool, picks.ids, 0.98, APART) == []
    assert all(p == 1 for p, why in zip(picks.p_chosen, picks.reasons, strict=True) if why != "audit")


def test_nothing_but_identical_items_is_asked_all_the_same():
    pool = Pool(np.repeat(np.eye(1, 4, dtype=np.float32), 50, axis=0), np.arange(50))
    assert len(ask(pool, 20).ids) == 20
    assert len(ask(replace(pool, target=np.ones(50, np.float32)), 20).ids) == 20


def test_postponing_keeps_every_draw_and_its_probability():
    pool = some_pool(300)
    near = replace(pool, rows=np.repeat(pool.rows[:30], 10, axis=0))
    for seed in range(20):
        picks = ask(near, 60, seed=seed)
        assert picks.reasons.count("audit") == 3
        p = [p for p, why in zip(picks.p_chosen, picks.reasons, strict=True) if why == "audit"]
        assert sorted(p) == pytest.approx([1 / 300, 1 / 299, 1 / 298])


def test_the_first_card_does_not_resemble_the_last_ones_dealt():
    rows = unit_rows(np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32))
    rows[0] = rows[1]
    target = np.linspace(1, 0, 50).astype(np.float32)
    pool = Pool(rows, np.arange(1, 50), target=target, before=np.array([0], np.int64))
    picks = ask(pool, 10, audit_share=0)
    assert picks.ids.tolist().index(1) == APART


def test_a_draw_that_would_end_up_beside_its_twin_goes_further_up():
    """Found by the test above: the last place was left to an audit card like the card before it."""
    rng = np.random.default_rng(55983)
    base = unit_rows(rng.normal(size=(60, 32)).astype(np.float32))
    rows = unit_rows((np.repeat(base, 6, 0) + rng.normal(size=(360, 32)) * 1e-4).astype(np.float32))
    target = np.repeat(rng.random(60), 6).astype(np.float32)
    pool = Pool(rows, np.arange(360), target=target, doubt=1 - np.abs(2 * target - 1))
    for seed in range(55983, 56083):
        picks = ask(pool, 20, goal="classify", seed=seed)
        assert too_near(pool, picks.ids, 0.98, APART) == []
        assert picks.reasons.count("audit") == 1


# where not every item is looked at ------------------------------------------------------------


@pytest.mark.parametrize("goal", ["find", "classify"])
@pytest.mark.parametrize("has_head", [True, False])
def test_only_audit_draws_from_what_is_not_looked_at(goal, has_head):
    pool = some_pool(900, "looked", every=2)
    if not has_head:
        pool = replace(pool, target=None, doubt=None)
    unseen = set(pool.candidates.tolist()) - set(pool.among.tolist())
    audited = set()
    for seed in range(60):
        picks = ask(pool, 40, goal=goal, seed=seed)
        assert len(picks.ids) == 40
        why = dict(zip(picks.ids.tolist(), picks.reasons, strict=True))
        assert {why[i] for i in unseen & why.keys()} <= {"audit"}
        audited |= {i for i in why if why[i] == "audit"}
        drawn = [p for p, r in zip(picks.p_chosen, picks.reasons, strict=True) if r == "audit"]
        assert drawn == pytest.approx([1 / 450, 1 / 449])
    assert len(audited & unseen) / len(audited) == pytest.approx(len(unseen) / 450, abs=0.15)


def test_what_is_not_looked_at_does_not_count_as_asked():
    pool = replace(some_pool(300, "looked", every=3), target=None, doubt=None, like=None)
    picks = ask(pool, 20, near_cos=1.0, audit_share=0.0)
    asked = np.setdiff1d(np.arange(300), pool.candidates).tolist()
    items = np.intersect1d(pool.sample, pool.candidates).tolist()
    far = picks.ids[picks.scores > 0].tolist()
    assert far == far_from(pool.rows, items, asked, 10)


@pytest.mark.parametrize("select", [find, uncertain])
@pytest.mark.parametrize("kind", ["like", "head"])
def test_to_look_at_everything_one_by_one_is_to_look_at_everything(select, kind):
    pool = some_pool(300, kind, every=3)
    all_of = replace(pool, among=np.arange(300))
    picks, same = (select(p, 40, np.random.default_rng(0)) for p in (pool, all_of))
    np.testing.assert_array_equal(picks.ids, same.ids)
    np.testing.assert_allclose(picks.scores, same.scores, atol=1e-6)


def test_find_asks_no_neighbour_that_was_not_looked_at():
    pool = some_pool(300, "looked", every=3)
    small = replace(
        pool,
        rows=pool.rows[pool.among],
        candidates=np.flatnonzero(np.isin(pool.among, pool.candidates)),
        among=None,
    )
    picks, same = (find(p, 40, np.random.default_rng(0)) for p in (pool, small))
    np.testing.assert_array_equal(picks.ids, pool.among[same.ids])
    np.testing.assert_array_equal(picks.scores, same.scores)


def test_spread_draws_from_the_sample_with_the_probability_it_says_where_not_all_is_looked_at():
    pool = some_pool(240, "looked", every=2)
    drawn, said = np.zeros(240), np.zeros(240)
    times = 3000
    for seed in range(times):
        rng = np.random.default_rng([7, seed])
        picks = spread(pool, 6, rng)
        drawn[picks.ids] += 1
        said[picks.ids] += 1 / picks.p_chosen
    may = np.intersect1d(pool.sample, pool.candidates)
    assert set(np.flatnonzero(drawn).tolist()) <= set(may.tolist())
    assert said[may].sum() / times == pytest.approx(len(may), rel=0.03)  # each counts 1 / p times


def test_a_sample_that_has_been_asked_leaves_spread_to_what_is_looked_at():
    pool = some_pool(240, "looked")
    rest = np.setdiff1d(pool.candidates, pool.sample)
    picks = spread(replace(pool, candidates=rest), 6, np.random.default_rng(0))
    assert len(picks.ids) == 6
    assert set(picks.ids.tolist()) <= set(pool.among.tolist()) - set(pool.sample.tolist())


def test_uncertain_corrects_what_the_head_says_where_it_was_wrong():
    pool = some_pool(60)
    told = some_answers(30)
    pool = replace(pool, told=told)
    p = np.clip(pool.target + krige(pool.rows, told), 0, 1)
    picks = uncertain(pool, 60, np.random.default_rng(0))
    assert sorted(picks.ids.tolist()) == list(range(60))
    np.testing.assert_allclose(picks.scores, 1 - np.abs(2 * p[picks.ids] - 1), atol=1e-5)


def test_uncertain_begins_with_different_kinds():
    kinds = np.repeat(np.eye(30, dtype=np.float32), 40, axis=0)
    rows = unit_rows(kinds + 0.01 * np.random.default_rng(0).normal(size=kinds.shape).astype(np.float32))
    doubt = np.linspace(1, 0, len(rows)).astype(np.float32)  # the first two kinds are the most doubtful
    pool = Pool(rows, np.arange(len(rows)), target=1 - doubt / 2, doubt=doubt)
    picks = uncertain(pool, 80, np.random.default_rng(0))
    assert {0, 1} == set((picks.ids[: selection.KINDS] // 40).tolist())
    assert (np.diff(picks.scores[: selection.KINDS]) <= 0).all()
    assert (np.diff(picks.scores[selection.KINDS :]) <= 0).all()
    assert sorted(picks.ids.tolist()) == list(range(80))
    each = np.where(np.arange(len(rows)) % 40 < 2, 1, 0.1) * np.linspace(1, 0.9, len(rows))
    first = uncertain(replace(pool, doubt=each.astype(np.float32)), 60, np.random.default_rng(0)).ids
    assert len(set((first[: selection.KINDS] // 40).tolist())) > selection.KINDS * 0.8  # of 30, two each


# without a list of all that are left -----------------------------------------------------------------


@given(n=st.integers(0, 60), out=st.sets(st.integers(0, 59)), more=st.sets(st.integers(0, 59)))
def test_what_is_left_is_counted_and_found_without_a_list(n, out, more):
    out, more = ({i for i in some if i < n} for some in (out, more))
    every = [i for i in range(n) if i not in out]
    left = Left(n, np.array(sorted(out), np.int64))
    assert len(left) == len(every)
    assert left.at(np.arange(len(every))).tolist() == every
    fewer = left.but(np.array(sorted(more), np.int64))
    assert fewer.at(np.arange(len(fewer))).tolist() == [i for i in every if i not in more]


@pytest.mark.parametrize("goal", ["find", "classify"])
@pytest.mark.parametrize("has_head", [True, False])
@pytest.mark.parametrize(("n", "every"), [(40, 1), (400, 2), (3000, 7)])
@pytest.mark.parametrize("seed", range(5))
def test_a_pool_that_knows_what_is_left_gives_the_same_cards_as_one_that_lists_it(
    goal, has_head, n, every, seed
):
    pool = some_pool(n, "looked", every=every, seed=seed)
    if not has_head:
        pool = replace(pool, target=None, doubt=None, like=None)
    out = np.setdiff1d(np.arange(n), pool.candidates)
    short = replace(pool, candidates=np.intersect1d(pool.among, pool.candidates), left=Left(n, out))
    listed, known = (ask(p, 60, goal=goal, seed=seed, audit_share=0.2) for p in (pool, short))
    assert listed.ids.tolist() == known.ids.tolist()
    assert listed.reasons == known.reasons
    np.testing.assert_array_equal(listed.p_chosen, known.p_chosen)
    np.testing.assert_array_equal(listed.scores, known.scores)
    assert "audit" in known.reasons
