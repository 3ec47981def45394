import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import active.representative as module
from active.arrays import unit_rows
from active.representative import (
    PASSES,
    Sample,
    _kmeans,
    _Medoids,
    _nearest,
    _reduced,
    _shares,
    clusters,
    fit_pca,
    grow,
    representative,
)


def blobs(sizes, d=16, seed=0, width=0.05):
    rng = np.random.default_rng(seed)
    middles = unit_rows(rng.normal(size=(len(sizes), d)).astype(np.float32))
    of = np.repeat(np.arange(len(sizes)), sizes)
    rows = unit_rows((middles[of] + rng.normal(size=(len(of), d)) * width).astype(np.float32))
    return rows, of


def check(sample, n, k):
    ids, counts = sample.ids, sample.counts
    assert ids.dtype == counts.dtype == np.int64
    assert len(ids) == len(counts) <= k
    assert (np.diff(ids) > 0).all()
    assert sample.n == counts.sum() == n
    assert (counts > 0).all()
    assert all(0 <= i < n for i in ids.tolist())


def radius(rows, ids):
    """The distance of each row to the nearest of the sample."""
    return np.sqrt(np.maximum(2 - 2 * (rows @ rows[ids].T).max(1), 0))


@pytest.mark.parametrize("n", [0, 1, 5, 200, 3000])
@pytest.mark.parametrize("k", [1, 2, 5, 9, 37, 100])
def test_the_sample_is_valid_and_its_counts_add_up(n, k):
    rows, _ = blobs([n])
    sample = representative(rows, k, np.random.default_rng(0))
    check(sample, n, k)
    if k >= n:
        assert sample.ids.tolist() == list(range(n))
        assert (sample.counts == 1).all()


def test_as_many_as_were_wanted_come_back():
    rows, _ = blobs([500, 500, 500], width=0.3)
    assert len(representative(rows, 200, np.random.default_rng(1)).ids) == 200


def test_the_same_seed_gives_the_same_sample_and_clusters():
    rows, _ = blobs([300, 200])
    first, again = (representative(rows, 40, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.ids, again.ids)
    np.testing.assert_array_equal(first.counts, again.counts)
    of, of_again = (clusters(rows, 7, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(of, of_again)


def test_every_kind_is_in_the_sample_and_stands_for_its_own():
    rows, of = blobs([4000, 20, 20, 20])
    sample = representative(rows, 60, np.random.default_rng(0))
    assert set(of[sample.ids].tolist()) == {0, 1, 2, 3}
    for kind, size in enumerate([4000, 20, 20, 20]):
        assert sample.counts[of[sample.ids] == kind].sum() == pytest.approx(size, abs=2)


def test_rows_that_repeat_give_one_each():
    rows = np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)
    sample = representative(rows, 30, np.random.default_rng(0))
    check(sample, 200, 30)
    assert {tuple(r) for r in rows[sample.ids].tolist()} == {tuple(r) for r in np.eye(4).tolist()}


def test_one_row_repeated_many_times_and_one_other():
    rows = np.tile(np.eye(5, dtype=np.float32)[:1], (2000, 1))
    rows[777] = np.eye(5)[1]
    sample = representative(rows, 10, np.random.default_rng(0))
    check(sample, 2000, 10)
    assert sample.counts[sample.ids == 777].tolist() == [1]


def test_medoids_are_nearer_to_the_rest_than_a_uniform_sample():
    rows, _ = blobs([900] + [20] * 30, width=0.1)
    ids = representative(rows, 80, np.random.default_rng(0)).ids
    drawn = np.random.default_rng(0).choice(len(rows), len(ids), replace=False)
    assert radius(rows, ids).max() < radius(rows, drawn).max()
    assert radius(rows, ids).mean() < radius(rows, drawn).mean()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_any_float_type_may_lie_in_a_file(tmp_path, dtype):
    rows, _ = blobs([700, 30], width=0.2)
    rows = rows.astype(dtype)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    here = representative(rows, 50, np.random.default_rng(0))
    there = representative(mapped, 50, np.random.default_rng(0))
    np.testing.assert_array_equal(here.ids, there.ids)
    np.testing.assert_array_equal(here.counts, there.counts)


@pytest.mark.parametrize("slab", [64, 400, 1000])
@pytest.mark.parametrize("part", [16, 300])
def test_small_pieces_give_as_good_a_sample(monkeypatch, slab, part):
    rows, of = blobs([900, 60, 40], width=0.15)
    whole = radius(rows, representative(rows, 90, np.random.default_rng(0)).ids).mean()
    monkeypatch.setattr(module, "SLAB", slab)
    monkeypatch.setattr(module, "PART", part)
    sample = representative(rows, 90, np.random.default_rng(0))
    check(sample, 1000, 90)
    assert set(of[sample.ids].tolist()) == {0, 1, 2}
    assert radius(rows, sample.ids).mean() < 1.1 * whole


def test_growing_is_as_good_as_drawing_anew():
    rows, of = blobs([2000, 300, 60, 20], width=0.2)
    order = np.random.default_rng(5).permutation(len(rows))
    rows, of = rows[order], of[order]
    rng = np.random.default_rng(0)
    sample = representative(rows[:500], 150, rng)
    for upto in (501, 560, 900, 901, 1700, len(rows)):
        sample = grow(sample, rows[:upto], 150, rng)
        check(sample, upto, 150)
    anew = representative(rows, 150, np.random.default_rng(0))
    assert radius(rows, sample.ids).mean() < 1.1 * radius(rows, anew.ids).mean()
    kinds = np.bincount(of[sample.ids], weights=sample.counts)
    np.testing.assert_allclose(kinds, np.bincount(of), atol=4)


def test_growing_by_nothing_changes_nothing():
    rows, _ = blobs([300])
    sample = representative(rows, 40, np.random.default_rng(0))
    assert grow(sample, rows, 40, np.random.default_rng(1)) == sample


def test_a_new_kind_gets_medoids_though_it_came_last_and_is_rare():
    rows, of = blobs([3000, 4])
    sample = representative(rows[:3000], 50, np.random.default_rng(0))
    sample = grow(sample, rows, 50, np.random.default_rng(1))
    check(sample, 3004, 50)
    assert sample.counts[of[sample.ids] == 1].sum() == 4


def test_a_new_half_of_the_pool_gets_its_share_of_the_medoids():
    rows, of = blobs([1500] * 2, width=0.2)
    sample = representative(rows[:1500], 100, np.random.default_rng(0))
    sample = grow(sample, rows, 100, np.random.default_rng(1))
    check(sample, 3000, 100)
    assert 30 <= (of[sample.ids] == 1).sum() <= 70


def test_a_sample_made_smaller():
    rows, _ = blobs([400], width=0.3)
    sample = representative(rows[:399], 100, np.random.default_rng(0))
    sample = grow(sample, rows, 30, np.random.default_rng(1))
    check(sample, 400, 30)
    assert len(sample.ids) == 30


def test_a_sample_is_a_file_of_plain_arrays(tmp_path):
    rows, _ = blobs([300])
    sample = representative(rows, 40, np.random.default_rng(0))
    np.savez(tmp_path / "sample.npz", **sample.to_arrays())
    with np.load(tmp_path / "sample.npz", allow_pickle=False) as f:
        again = Sample.from_arrays(dict(f))
    np.testing.assert_array_equal(again.ids, sample.ids)
    np.testing.assert_array_equal(again.counts, sample.counts)


def slowly_reduced(rows, counts, k):
    """The cheapest dropped one by one, every distance looked at again each time."""
    left = {i: int(c) for i, c in enumerate(counts)}
    while len(left) > k:
        costs = {}
        for i, count in left.items():
            near = min((j for j in left if j != i), key=lambda j: (2 - 2 * float(rows[i] @ rows[j]), j))
            costs[i] = (np.sqrt(count) * max(2 - 2 * float(rows[i] @ rows[near]), 0), near)
        gone = min(costs, key=lambda i: (costs[i][0], i))
        left[costs[gone][1]] += left.pop(gone)
    return left


@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 14), k=st.integers(1, 14), seed=st.integers(0, 10**6))
def test_dropping_equals_the_slow_version(m, k, seed):
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng.normal(size=(m, 6)).astype(np.float32))
    counts = rng.integers(1, 50, m)
    kept = _reduced(_Medoids(rows, np.arange(m) * 3, counts), k)
    slow = slowly_reduced(rows, counts, k)
    assert dict(zip((kept.ids // 3).tolist(), kept.counts.tolist(), strict=True)) == slow


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_k_means_equals_the_slow_version(n, k, seed):
    """Centres in float64, from the same first rows, where no centre is left without rows."""
    rows = unit_rows(np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32))
    k = min(k, n)
    centres = rows[np.sort(np.random.default_rng(seed).choice(n, k, replace=False))].astype(np.float64)
    for _ in range(PASSES):
        of = (rows @ centres.T).argmax(1)
        assume(set(of.tolist()) == set(range(k)))
        centres = np.array([rows[of == i].astype(np.float64).sum(0) for i in range(k)])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    np.testing.assert_allclose(_kmeans(rows, k, np.random.default_rng(seed)), centres, atol=1e-4)


def test_a_centre_that_nothing_is_near_starts_anew_far_away():
    rows = np.concatenate(
        [np.tile(np.eye(3, dtype=np.float32)[:1], (500, 1)), np.eye(3, dtype=np.float32)[1:]]
    )
    centres = _kmeans(rows, 3, np.random.default_rng(0))
    np.testing.assert_allclose((rows @ centres.T).max(1), 1, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 3000), k=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_the_nearest_centre_equals_one_product(n, k, seed):
    rng = np.random.default_rng(seed)
    rows = unit_rows(rng.normal(size=(n, 8)).astype(np.float32))
    centres = unit_rows(rng.normal(size=(k, 8)).astype(np.float32))
    lo, hi = sorted(rng.integers(0, n + 1, 2).tolist())
    of, cos = _nearest(rows, centres, lo, hi)
    all_cos = rows[lo:hi] @ centres.T
    np.testing.assert_allclose(cos, all_cos.max(1, initial=-2), atol=1e-5)
    np.testing.assert_allclose(all_cos[np.arange(hi - lo), of], cos, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.data())
def test_shares_are_equal_within_the_sizes(sizes, data):
    sizes = np.array(sizes, np.int64)
    k = data.draw(st.integers(0, int(sizes.sum())))
    shares = _shares(sizes, k)
    slow = np.zeros(len(sizes), np.int64)  # one at a time, to whoever has least
    for _ in range(k):
        open_ = [i for i in range(len(sizes)) if slow[i] < sizes[i]]
        slow[min(open_, key=lambda i: (slow[i], -sizes[i], i))] += 1
    np.testing.assert_array_equal(np.sort(shares), np.sort(slow))
    assert (shares <= sizes).all()


@pytest.mark.parametrize(("n", "k"), [(0, 3), (1, 3), (3, 3), (50, 4)])
def test_clusters_are_numbers_below_k(n, k):
    rows, _ = blobs([n])
    of = clusters(rows, k, np.random.default_rng(0))
    assert of.shape == (n,)
    assert of.dtype == np.int64
    assert all(0 <= i < max(k, n) for i in of.tolist())


def test_clusters_find_blobs():
    rows, of = blobs([100, 100, 100])
    found = clusters(rows, 3, np.random.default_rng(0))
    assert {tuple(sorted(set(found[of == i].tolist()))) for i in range(3)} == {(0,), (1,), (2,)}


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 60), d=st.integers(1, 12), dim=st.integers(1, 14), seed=st.integers(0, 10**6))
def test_pca_equals_the_singular_vectors(n, d, dim, seed):
    rows = unit_rows(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))
    pca = fit_pca(rows, dim, np.random.default_rng(0))
    assert pca.components.shape == (d, min(d, dim))
    np.testing.assert_allclose(pca.components.T @ pca.components, np.eye(min(d, dim)), atol=1e-4)
    centred = (rows - rows.mean(0)).astype(np.float64)
    strength = np.linalg.svd(centred, compute_uv=False) ** 2
    kept = ((centred @ pca.components) ** 2).sum()
    np.testing.assert_allclose(kept, strength[: min(d, dim)].sum(), rtol=1e-3, atol=1e-4)


def test_pca_gives_unit_rows_and_fixed_signs():
    rows, _ = blobs([200], width=0.5)
    pca = fit_pca(rows, 5, np.random.default_rng(0))
    turned = pca.apply(rows)
    assert turned.shape == (200, 5)
    assert turned.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-5)
    assert (pca.components[np.abs(pca.components).argmax(0), np.arange(5)] > 0).all()
    again = fit_pca(rows[::-1].copy(), 5, np.random.default_rng(1))
    np.testing.assert_allclose(np.abs(again.components), np.abs(pca.components), atol=1e-3)


def test_pca_of_one_row_does_not_divide_by_zero():
    rows, _ = blobs([1])
    turned = fit_pca(rows, 4, np.random.default_rng(0)).apply(rows)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-5)


def test_pca_without_rows_is_an_error():
    with pytest.raises(ValueError, match="needs rows"):
        fit_pca(np.empty((0, 4), np.float32), 2, np.random.default_rng(0))
