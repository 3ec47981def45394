import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from active.arrays import unit_rows
from active.learner import (
    PROVISIONAL,
    STRENGTH,
    Head,
    _balanced,
    _left_out,
    _one_against_rest,
    _platt,
    _provisional,
    _sigmoid,
    decision,
    doubt,
    fit_head,
    left_out,
    predict_left_out,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def blobs(sizes, d=12, seed=0, width=0.25):
    """Rows around one middle per label, and the labels."""
    chance = rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    middles = unit_rows(chance.normal(size=(len(sizes), d)).astype(np.float32))
    return unit_rows(
        (middles[labels] + chance.normal(size=(len(labels), d)) * width).astype(np.float32)
    ), labels


@pytest.mark.parametrize(
    "sizes", [[1, 1], [1, 30], [30, 1], [3, 2], [40, 60], [1, 1, 1], [20] * 9, [1, 2, 50]]
)
def test_probabilities_are_finite_and_add_up_to_one(sizes):
    rows, labels = blobs(sizes)
    head = fit_head(rows, labels, rng=rng())
    p = head.predict(rows)
    assert head.labels.tolist() == list(range(len(sizes)))
    assert p.shape == (len(rows), len(sizes))
    assert p.dtype == np.float32
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert head.decision(rows).shape == (len(rows), 1 if len(sizes) == 2 else len(sizes))
    assert head.rough == (min(sizes) < 10)


@pytest.mark.parametrize("sizes", [[40, 40], [10, 90], [30, 30, 30], [25] * 9])
def test_unseen_rows_of_a_label_are_given_that_label(sizes):
    rows, labels = blobs([2 * n for n in sizes], d=32, width=0.15)
    learn = np.arange(len(rows)) % 2 == 0
    head = fit_head(rows[learn], labels[learn], rng=rng())
    assert (head.labels[head.predict(rows[~learn]).argmax(1)] == labels[~learn]).mean() > 0.93


def test_labels_that_nobody_has_given_are_not_columns():
    rows, labels = blobs([5, 5, 5])
    head = fit_head(rows, np.array([1, 4, 7])[labels], rng=rng())
    assert head.labels.tolist() == [1, 4, 7]
    assert head.predict(rows).shape == (15, 3)


@pytest.mark.parametrize("label", [0, 1])
def test_with_one_label_rows_of_the_pool_stand_in(label):
    rows, of = blobs([30, 400], width=0.1)
    wanted = rows[of == 0]
    head = fit_head(wanted[:3], np.full(3, label), pool=rows[of == 1], rng=rng())
    assert head.labels.tolist() == [PROVISIONAL, label]
    assert head.rough
    p = head.predict(rows)[:, 1]
    assert p[3:30].min() > p[30:].max()


def test_an_example_never_stands_in_for_something_else():
    rows, _ = blobs([40])
    head = fit_head(rows, np.zeros(40, np.int64), pool=rows, rng=rng())
    assert head.labels.tolist() == [0]  # nothing of the pool is left to stand in
    assert (head.predict(rows) == 1).all()


@pytest.mark.parametrize("pool", [None, np.empty((0, 12), np.float32)])
def test_one_label_and_no_pool_is_always_that_label(pool):
    rows, labels = blobs([4])
    head = fit_head(rows, labels + 2, pool=pool, rng=rng())
    assert head.labels.tolist() == [2]
    assert head.rough
    np.testing.assert_array_equal(head.predict(rows), np.ones((4, 1), np.float32))


def test_no_example_is_an_error():
    with pytest.raises(ValueError, match="needs an example"):
        fit_head(np.empty((0, 3), np.float32), np.empty(0, np.int64), rng=rng())


def test_the_same_input_and_seed_give_the_same_head():
    rows, labels = blobs([20, 30])
    pool, _ = blobs([500], seed=4)
    for x, y in ((rows, labels), (rows[:20], labels[:20])):
        first, again = (fit_head(x, y, pool=pool, rng=rng(7)).to_arrays() for _ in range(2))
        for name, value in first.items():
            np.testing.assert_array_equal(value, again[name])


def test_a_head_survives_its_file():
    rows, labels = blobs([5, 6, 7])
    head = fit_head(rows, labels, rng=rng())
    file = io.BytesIO()
    np.savez(file, **head.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        again = Head.from_arrays(stored)
    assert again.rough == head.rough
    np.testing.assert_array_equal(again.predict(rows), head.predict(rows))


def test_the_head_is_the_optimum_of_balanced_logistic_regression():
    """Against scipy on the plain formula, with weights."""
    rows, labels = blobs([8, 25], d=5, width=0.5)
    count = rng(1).uniform(0.5, 2, len(labels)).astype(np.float32)
    weights = _balanced(labels == 1, count.astype(np.float64))

    def loss(theta):
        f = rows @ theta[:-1] + theta[-1]
        return float(
            weights @ np.logaddexp(0, np.where(labels == 1, -f, f)) + theta[:-1] @ theta[:-1] / 2 / STRENGTH
        )

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-5}).fun
    head = fit_head(rows, labels, weights=count, rng=rng())
    assert loss(np.append(head.coef[0], head.intercept[0]).astype(np.float64)) < best * 1.001
    same = LogisticRegression(C=STRENGTH, class_weight="balanced", tol=1e-6, max_iter=1000)
    same.fit(rows, labels, sample_weight=count)
    assert loss(np.append(same.coef_[0], same.intercept_[0])) == pytest.approx(best, rel=1e-4)


def test_weights_move_the_boundary():
    rows, labels = blobs([20, 20], width=0.8)
    heavy = np.where(np.arange(40) == 0, 50, 1).astype(np.float32)
    plain, moved = fit_head(rows, labels, rng=rng()), fit_head(rows, labels, weights=heavy, rng=rng())
    assert moved.decision(rows[:1])[0, 0] < plain.decision(rows[:1])[0, 0]


@settings(max_examples=8, deadline=None)
@given(ones=st.integers(4, 20), others=st.integers(4, 40), seed=st.integers(0, 10**6))
def test_left_out_decisions_are_those_of_heads_that_never_saw_the_example(ones, others, seed):
    """Against fitting n heads."""
    rows, labels = blobs([others, ones], d=10, seed=seed, width=0.5)
    is_one = labels == 1
    weights = _balanced(is_one, np.ones(len(labels)))

    def fitted(keep):
        fit = LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=2000)
        return fit.fit(rows[keep], is_one[keep], sample_weight=weights[keep])

    every = np.ones(len(rows), bool)
    whole = fitted(every)
    fast = _left_out(rows, is_one, weights, coef=whole.coef_[0], intercept=float(whole.intercept_[0]))
    slow = np.empty(len(rows))
    for i in range(len(rows)):
        keep = every.copy()
        keep[i] = False
        slow[i] = fitted(keep).decision_function(rows[i : i + 1])[0]
    assert np.corrcoef(fast, slow)[0, 1] > 0.98
    seen = rows @ whole.coef_[0] + whole.intercept_[0]
    assert np.abs(fast - slow).mean() < 0.35 * np.abs(seen - slow).mean() + 1e-3


@settings(max_examples=40, deadline=None)
@given(
    ones=st.integers(1, 30), others=st.integers(1, 30), spread=st.floats(0.01, 20), seed=st.integers(0, 10**6)
)
def test_platt_is_the_optimum_of_its_formula(ones, others, spread, seed):
    """Against scipy; the slope is kept above 0."""
    is_one = np.arange(ones + others) < ones
    decision = rng(seed).normal(size=len(is_one)) * spread + np.where(is_one, spread, -spread)
    weights = np.ones(len(is_one))
    target = np.where(is_one, (ones + 1) / (ones + 2), 1 / (others + 2))

    def loss(ab):
        f = ab[0] * decision + ab[1]
        return (
            float((target * np.logaddexp(0, -f) + (1 - target) * np.logaddexp(0, f)).sum())
            + ((ab[0] - 1) ** 2 + ab[1] ** 2) / 2
        )

    got = _platt(decision, is_one, weights)
    best = minimize(
        loss, [1, 0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    )
    assert loss(np.array(got)) <= best.fun + 1e-5 or got[0] == 1e-3


def test_platt_of_decisions_that_are_backwards_is_flat_not_reversed():
    is_one = np.arange(40) < 20
    slope, _ = _platt(np.where(is_one, -5.0, 5.0), is_one, np.ones(40))
    assert slope == pytest.approx(1e-3)


def test_probabilities_are_honest_on_rows_never_seen():
    rows, labels = blobs([3000, 3000], d=20, width=0.6, seed=3)
    learn = rng(0).permutation(6000)[:150]
    held = np.setdiff1d(np.arange(6000), learn)
    head = fit_head(rows[learn], labels[learn], rng=rng())
    p = head.predict(rows[held])[:, 1]
    bins = np.minimum((p * 5).astype(int), 4)
    gap = sum(
        abs(p[bins == b].mean() - labels[held][bins == b].mean()) * (bins == b).mean()
        for b in range(5)
        if (bins == b).any()
    )
    assert gap < 0.06
    raw = 1 / (1 + np.exp(-head.decision(rows[held])[:, 0]))
    brier = ((p - labels[held]) ** 2).mean()
    assert brier <= 1.05 * ((raw - labels[held]) ** 2).mean()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 20), c=st.integers(1, 9), seed=st.integers(0, 10**6))
def test_doubt_is_one_minus_the_gap_between_the_two_likeliest(n, c, seed):
    p = rng(seed).dirichlet(np.ones(c), n).astype(np.float32).reshape(n, c)
    got = doubt(p)
    assert got.dtype == np.float32
    slow = [0.0 if c == 1 else 1 - (sorted(row)[-1] - sorted(row)[-2]) for row in p.tolist()]
    np.testing.assert_allclose(got, slow, atol=1e-5)


def test_sigmoid_does_not_overflow():
    x = np.array([-1e4, 0, 1e4], np.float32)
    assert _sigmoid(x).tolist() == [0, 0.5, 1]
    assert _sigmoid(x).dtype == np.float32


def test_importing_the_learner_imports_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, active.learner, active.selection, active.search, active.representative;"
        "print([m for m in ('torch', 'faiss', 'modAL', 'sklearn', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_provisional_negatives_stand_beside_the_given_ones_and_are_not_calibrated_on():
    """As many again as the second label's examples weigh; the slow way: fitted together, calibrated apart."""
    rows, of = blobs([60, 60, 60])
    pick = np.concatenate([np.flatnonzero(of == 0)[:12], np.flatnonzero(of == 1)[:18]])
    labels = np.repeat([0, 1], [12, 18])
    drawn = _provisional(rows[pick], rows, rng(3))
    head = fit_head(rows[pick], labels, pool=rows, is_rare=True, rng=rng(3))
    x = np.vstack([rows[pick], drawn])
    is_one = np.concatenate([labels == 1, np.ones(len(drawn), bool)])
    weights = np.concatenate([np.ones(30), np.full(len(drawn), 18 / len(drawn))])
    coef, intercept, platt, unseen = _one_against_rest(x, is_one, weights, given=30)
    np.testing.assert_allclose(head.coef[0], coef, rtol=1e-5)
    np.testing.assert_allclose([head.intercept[0], *head.platt[0]], [intercept, *platt], rtol=1e-5)
    np.testing.assert_allclose(head.unseen[:, 0], unseen[:30], rtol=1e-5)
    assert head.labels.tolist() == [0, 1]
    plain = fit_head(rows[pick], labels, rng=rng(3))
    assert not np.allclose(head.coef, plain.coef)


@pytest.mark.parametrize("labels", [[1, 2], [0, 1, 2]])
def test_provisional_negatives_are_for_a_target_against_one_other_label(labels):
    rows, of = blobs([60, 60, 60])
    pick = np.concatenate([np.flatnonzero(of == i)[:10] for i in range(len(labels))])
    y = np.repeat(labels, 10)
    plain = fit_head(rows[pick], y, pool=rows, rng=rng(1)).to_arrays()
    rare = fit_head(rows[pick], y, pool=rows, is_rare=True, rng=rng(1)).to_arrays()
    for name in plain:
        np.testing.assert_array_equal(plain[name], rare[name])


@pytest.mark.parametrize("sizes", [[30], [1, 30], [20, 20]])
def test_the_probability_of_one_of_two_labels_is_its_column(sizes):
    rows, labels = blobs(sizes)
    head = fit_head(rows, labels, rng=rng())
    for column, label in enumerate(head.labels.tolist()):
        p = head.calibrated(decision(head, rows, label), label)
        np.testing.assert_allclose(p, head.predict(rows)[:, column], atol=1e-6)


@pytest.mark.parametrize("sizes", [[12, 30], [10, 10, 10]])
def test_probabilities_without_each_example_are_those_of_a_head_that_never_saw_it(sizes):
    rows, labels = blobs(sizes, width=0.5)
    head = fit_head(rows, labels, rng=rng())
    p = predict_left_out(head)
    assert p.shape == (len(rows), len(sizes))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    if len(sizes) == 2:
        np.testing.assert_allclose(p[:, 0], head.calibrated(left_out(head, 0), 0), atol=1e-6)
    gone = [0, 5, len(rows) - 1]
    for i in gone:
        rest = np.delete(np.arange(len(rows)), i)
        without = fit_head(rows[rest], labels[rest], rng=rng())
        true = head.probabilities(without.decision(rows[[i]]))[0]
        seen = head.predict(rows[[i]])[0]
        assert np.abs(p[i] - true).max() < max(0.02, 0.5 * np.abs(seen - true).max())
