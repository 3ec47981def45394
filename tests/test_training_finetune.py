"""active.embedding.training.finetune and split: it pays where colours mean something, and judges fairly."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from active.arrays import unit_rows
from active.embedding.training.finetune import Tuned, Tuning, class_weights, finetune
from active.embedding.training.pictures import Pictures, pack
from active.embedding.training.split import duplicates, split
from tests.test_training_run import Tiny


def labeled(n: int, classes: int, folder: Path) -> tuple[Pictures, np.ndarray]:
    """Stripes, whose width is the class, of any colour and at any angle."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    images = []
    for label in labels:
        angle, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0, 6)
        y, x = np.mgrid[:18, :18]
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (0.5 + 0.7 * label) + phase)
        grey = 128 + 60 * wave + rng.normal(0, 25, (18, 18))
        images.append(Image.fromarray(grey.clip(0, 255).astype(np.uint8)))
    return pack(enumerate(images), folder, side_px=16), labels.astype(np.int64)


def apart(n: int, d: int = 40, seed: int = 1) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32))


def tuning(**more: object) -> Tuning:
    torch.set_num_threads(1)
    return Tuning(**({"epochs": 12, "batch": 16, "rate": 3e-3, "device": "cpu", "patience": 12} | more))


@pytest.mark.parametrize(("classes", "measure"), [(2, "average precision"), (3, "balanced accuracy")])
def test_it_pays(tmp_path: Path, classes: int, measure: str) -> None:
    pictures, labels = labeled(180, classes, tmp_path)
    told: list[tuple[int, float]] = []
    network = Tiny()
    result = finetune(pictures, labels, apart(180), network, tuning(), report=lambda *line: told.append(line))
    assert result.measure == measure
    assert 30 <= len(result.part.judge) <= 42
    assert [e for e, _ in told] == list(range(1, result.epochs + 1))
    assert [s for _, s in told] == result.watched[1:]
    assert max(result.watched) > result.watched[0]
    assert result.after > result.before - 0.1
    assert result.pays == (result.after > result.before)
    again = finetune(pictures, labels, apart(180), Tiny(), tuning())
    assert again == result


def test_without_a_better_epoch_the_network_is_the_old_one(tmp_path: Path) -> None:
    pictures, labels = labeled(60, 2, tmp_path)
    labels = np.random.default_rng(3).permutation(labels)  # nothing to learn
    network, old = Tiny(), Tiny()
    result = finetune(pictures, labels, apart(60), network, tuning(rate=1e-9, patience=2))
    if max(result.watched) == result.watched[0]:
        assert result.epochs == 2
    assert result.before == pytest.approx(result.after, abs=1e-6)
    assert all(torch.allclose(a, b) for a, b in zip(network.parameters(), old.parameters(), strict=True))
    stop = threading.Event()
    stop.set()
    assert finetune(pictures, labels, apart(60), network, tuning(), stop=stop).epochs == 0


def test_near_duplicates_are_one_group_even_in_a_chain() -> None:
    rows = apart(30)
    near = [rows[3]]
    for k in range(4):  # each like the last, the ends less so
        near.append(unit_rows((near[-1] + 0.15 * apart(1, seed=k + 10)[0])[None])[0])
    every = np.concatenate([rows, np.array(near[1:])])
    assert float(near[0] @ near[-1]) < 0.98
    groups = duplicates(every)
    slow = (every @ every.T > 0.98).astype(int)
    reach = np.linalg.matrix_power(slow, len(every)) > 0
    np.testing.assert_array_equal(groups[:, None] == groups[None], reach)
    assert len(set(groups[[3, 30, 31, 32, 33]].tolist())) == 1


def test_a_split_shares_no_group_and_has_every_class() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        groups = np.unique(rng.integers(0, 60, 200), return_inverse=True)[1]
        labels = (groups % 7 == 0).astype(np.int64)
        parts = split(labels, groups, rng=np.random.default_rng(seed))
        assert sorted(np.concatenate(parts).tolist()) == list(range(200))
        held = [set(groups[p].tolist()) for p in parts]
        assert sum(map(len, held)) == len(set.union(*held))
        assert all(set(labels[p].tolist()) == {0, 1} for p in parts)
        assert 90 < len(parts.learn) < 150


def test_class_weights() -> None:
    got = class_weights(np.array([0, 0, 0, 2]), 4)
    torch.testing.assert_close(got, torch.tensor([4 / 6, 0, 2, 0]))


def test_labels_that_nothing_can_be_learned_from(tmp_path: Path) -> None:
    pictures, labels = labeled(12, 2, tmp_path)

    def why(labels: np.ndarray, rows: np.ndarray) -> str:
        with pytest.raises(ValueError, match=r".*") as e:
            finetune(pictures, labels, rows, Tiny(), tuning())
        return str(e.value)

    assert "one class" in why(labels * 0, apart(12))
    assert "12 pictures, 11 labels" in why(labels[1:], apart(12))
    assert "A label is -1" in why(labels - 1, apart(12))
    assert "Label at least 3 of each class" in why(labels, np.ones((12, 4), np.float32) / 2)


def test_it_says_when_it_does_not_pay() -> None:
    assert not Tuned(0.8, 0.8, "average precision", 1, 9).pays
