import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active.arrays import unit_rows
from active.representative import _shares, clusters, fit_pca, representative


def blobs(sizes, d=16, seed=0, width=0.05):
    rng = np.random.default_rng(seed)
    middles = unit_rows(rng.normal(size=(len(sizes), d)).astype(np.float32))
    of = np.repeat(np.arange(len(sizes)), sizes)
    rows = unit_rows((middles[of] + rng.normal(size=(len(of), d)) * width).astype(np.float32))
    return rows, of


@pytest.mark.parametrize(("n", "k"), [(0, 5), (1, 1), (5, 9), (5, 5), (200, 1), (200, 37), (3000, 100)])
def test_the_sample_is_valid_and_its_counts_add_up(n, k):
    rows, _ = blobs([n])
    ids, stand = representative(rows, k, np.random.default_rng(0))
    assert ids.dtype == stand.dtype == np.int64
    assert len(ids) == len(stand) <= k
    assert len(set(ids.tolist())) == len(ids)
    assert (np.diff(ids) > 0).all()
    assert stand.sum() == n
    assert (stand > 0).all()
    if n:
        assert 0 <= ids.min() <= ids.max() < n
    if k >= n:
        assert ids.tolist() == list(range(n))
        assert (stand == 1).all()


def test_most_of_what_was_wanted_comes_back():
    rows, _ = blobs([500, 500, 500], width=0.3)
    ids, _ = representative(rows, 200, np.random.default_rng(1))
    assert len(ids) > 190


def test_the_same_seed_gives_the_same_sample_and_clusters():
    rows, _ = blobs([300, 200])
    first, again = (representative(rows, 40, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    of, of_again = (clusters(rows, 7, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(of, of_again)


def test_a_rare_kind_is_in_the_sample():
    rows, of = blobs([4000, 20, 20, 20])
    ids, stand = representative(rows, 60, np.random.default_rng(0))
    assert set(of[ids].tolist()) == {0, 1, 2, 3}
    # each stands for about as many of its own kind as there are
    assert stand[of[ids] == 0].sum() > 3900


def test_rows_that_repeat_give_fewer():
    rows = np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)
    ids, stand = representative(rows, 30, np.random.default_rng(0))
    assert {tuple(r) for r in rows[ids].tolist()} == {tuple(r) for r in np.eye(4).tolist()}
    assert stand.sum() == 200


def test_medoids_are_nearer_to_the_rest_than_a_uniform_sample():
    rows, _ = blobs([900] + [20] * 30, width=0.1)
    ids, _ = representative(rows, 80, np.random.default_rng(0))
    drawn = np.random.default_rng(0).choice(len(rows), len(ids), replace=False)
    assert (rows @ rows[ids].T).max(1).min() > (rows @ rows[drawn].T).max(1).min()


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
