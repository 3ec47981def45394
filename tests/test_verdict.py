"""Which of two encoders is better by labels: against what is known of rows that are made."""

import numpy as np
import pytest

from labeler.verdict import Verdict, compare, folds


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def noise(n: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, 16)))


def told(rows: np.ndarray, classes: np.ndarray, loud: float) -> np.ndarray:
    """Return rows that tell the classes, more or less loudly."""
    out = rows.copy()
    out[np.arange(len(out)), classes] += loud
    return unit(out)


@pytest.mark.parametrize("kinds", [2, 4])
def test_rows_that_tell_are_better_than_noise_and_not_the_other_way(kinds: int) -> None:
    classes = np.random.default_rng(1).integers(0, kinds, 200)
    groups = np.arange(200)
    parts = folds(classes, groups)
    found = compare(noise(200), told(noise(200), classes, 2.0), classes, groups, parts)
    assert found.labels == 200
    assert found.measure == ("average precision" if kinds == 2 else "balanced accuracy")
    assert found.before < 0.65 < 0.95 < found.after
    assert (found.pays, found.chance) == (True, 1.0)
    found = compare(told(noise(200), classes, 2.0), noise(200), classes, groups, parts)
    assert (found.pays, found.chance) == (False, 0.0)


def test_the_same_rows_are_not_better() -> None:
    classes = np.arange(100) % 2
    rows = told(noise(100), classes, 0.5)
    found = compare(rows, rows, classes, np.arange(100), folds(classes, np.arange(100)))
    assert found.before == found.after
    assert (found.chance, found.pays) == (0.5, False)


def test_a_little_better_by_a_few_images_is_not_surely_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise against other noise: as good, and rarely called better."""
    monkeypatch.setattr("labeler.verdict.ROUNDS", 50)
    called = 0
    for seed in range(30):
        classes = np.random.default_rng(seed).integers(0, 2, 60)
        parts = folds(classes, np.arange(60))
        called += bool(
            compare(noise(60, 100 + seed), noise(60, 200 + seed), classes, np.arange(60), parts).pays
        )
    assert called <= 8


def test_copies_of_an_image_do_not_tell_it() -> None:
    classes = np.repeat(np.random.default_rng(2).integers(0, 2, 60), 5)
    rows = np.repeat(noise(60), 5, axis=0)
    together = np.repeat(np.arange(60), 5)
    apart = np.arange(300)
    as_one = compare(rows, rows, classes, together, folds(classes, together))
    as_many = compare(rows, rows, classes, apart, folds(classes, apart))
    assert as_one.before < 0.7 < as_many.before


def test_too_few_that_differ_judge_nothing() -> None:
    classes = np.array([1] * 30 + [0] * 30)
    assert folds(classes, np.concatenate([np.zeros(30, int), np.arange(1, 31)])) is None
    assert Verdict(0).pays is None
    assert Verdict(0).json()["pays"] is None
