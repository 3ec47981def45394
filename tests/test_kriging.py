import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics import average_precision_score

from active import kriging
from active.arrays import unit_rows
from active.kriging import Told, agree, krige, settle


def some_rows(n, d=8, seed=0):
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def some_answers(m, seed=0):
    rng = np.random.default_rng([seed, 1])
    return Told(some_rows(m, seed=seed + 1), rng.random(m) < 0.4, rng.random(m).astype(np.float32))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 2), (40, 200), (0, 3)])
def test_krige_is_the_mean_of_a_gaussian_process(n, m):
    rows, told = some_rows(n), some_answers(m)
    got = krige(rows, told)
    assert got.dtype == np.float32
    slow = GaussianProcessRegressor(
        RBF(np.sqrt(1 / (2 * kriging.SCALE)), "fixed"), alpha=kriging.NOISE, optimizer=None
    ).fit(told.rows, told.yes - told.expected)
    if n:
        np.testing.assert_allclose(got, slow.predict(rows), atol=1e-4)
    assert len(got) == n


def test_nothing_was_wrong_or_nothing_is_near_so_nothing_is_added():
    told = some_answers(20)
    right = Told(told.rows, told.yes, told.yes.astype(np.float32))
    assert (krige(some_rows(9), right) == 0).all()
    assert len(krige(some_rows(9), Told(told.rows[:0], told.yes[:0], told.expected[:0]))) == 9


def test_around_finds_that_nobody_expected_more_is_likely_and_elsewhere_less():
    here, there = np.eye(8, dtype=np.float32)[:2]
    jitter = 0.05 * some_rows(40)
    rows = unit_rows(np.concatenate([here + jitter[:20], there + jitter[20:]]))
    told = Told(rows, np.arange(40) < 20, np.full(40, 0.5, np.float32))
    added = krige(np.stack([here, there]), told)
    assert added[0] > 0.3
    assert added[1] < -0.3


def test_only_the_examples_the_head_was_most_wrong_about_are_taken_into_account(monkeypatch):
    rows, told = some_rows(12), some_answers(30)
    order = np.sort(np.argsort(-abs(told.yes - told.expected), kind="stable")[:10])
    monkeypatch.setattr(kriging, "MOST", 10)
    few = krige(rows, Told(told.rows[order], told.yes[order], told.expected[order]))
    np.testing.assert_array_equal(krige(rows, told), few)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 30), more=st.integers(0, 30), seed=st.integers(0, 10**6))
def test_agree_is_the_mean_with_that_of_ten_neighbours(n, more, seed):
    rows = some_rows(n + more, seed=seed)
    p = np.random.default_rng(seed).random(n + more).astype(np.float32)
    got = agree(rows, n, p)
    assert got.dtype == np.float32
    for i in range(n):
        near = sorted((j for j in range(len(rows)) if j != i), key=lambda j: -(rows[i] @ rows[j]))[:10]
        want = (p[i] + p[near].mean()) / 2 if near else p[i]
        assert got[i] == pytest.approx(want, abs=1e-5)
    assert len(got) == n


@pytest.mark.parametrize("labels", [2, 3])
def test_settled_probabilities_are_those_that_neighbours_agree_on(labels, monkeypatch):
    monkeypatch.setattr(kriging, "SETTLED", 25)
    rows = some_rows(60, seed=3)
    probs = np.random.default_rng(3).dirichlet(np.ones(labels), 60).astype(np.float32)
    got = settle(rows, probs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-5)
    corrected = settle(rows, probs, some_answers(12))
    slow = probs.copy()
    for label in range(1 if labels == 2 else labels):
        best = np.argsort(-probs[:, label])[:25]
        slow[best, label] = agree(rows[best], 25, probs[best, label])
    slow[:, 1:] = 1 - slow[:, :1] if labels == 2 else slow[:, 1:]
    np.testing.assert_allclose(got, slow / slow.sum(1, keepdims=True), atol=1e-5)
    best = np.argsort(-probs[:, 0])[:25]
    own = np.clip(probs[best, 0] + krige(rows[best], some_answers(12)), 0, 1)
    slow[best, 0] = agree(rows[best], 25, own)
    slow[:, 1:] = 1 - slow[:, :1] if labels == 2 else slow[:, 1:]
    np.testing.assert_allclose(corrected, slow / slow.sum(1, keepdims=True), atol=1e-5)


def test_one_label_or_no_image_is_settled_too():
    assert (settle(some_rows(5), np.ones((5, 1), np.float32)) == 1).all()
    assert settle(some_rows(0), np.ones((0, 2), np.float32)).shape == (0, 2)


def test_settling_ranks_a_class_better_that_a_line_cannot_part():
    """Two moons of one class around another: a line is wrong, neighbours are not."""
    rng = np.random.default_rng(0)
    near = rng.normal(0, 0.3, (400, 8)).astype(np.float32)
    is_one = np.arange(400) < 100
    near[:50, 0] += 2
    near[50:100, 0] -= 2
    rows = unit_rows(np.hstack([near, np.ones((400, 1), np.float32)]))
    p = np.clip(np.where(is_one, 0.5, 0.4) + rng.normal(0, 0.2, 400), 0, 1).astype(np.float32)
    settled = settle(rows, np.stack([p, 1 - p], 1))[:, 0]
    assert average_precision_score(is_one, settled) > average_precision_score(is_one, p) + 0.1
