"""demo.py: the drawn set looks the same each time, gives nothing away, and can be learned."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labeler import demo
from labeler.demo import demo_truth, draw_demo
from labeler.errors import BadInput


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    draw_demo(folder)
    return folder


def test_six_hundred_tiles_of_which_a_tenth_are_islands() -> None:
    truth = demo_truth()
    assert len(truth) == 600
    assert 0.10 <= np.mean(list(truth.values())) <= 0.12
    assert demo_truth() == truth
    assert demo_truth(seed=2) != truth
    assert len(demo_truth(n=40)) == 40


def test_names_tell_nothing(drawn: Path) -> None:
    truth = demo_truth()
    assert sorted(p.name for p in drawn.iterdir()) == sorted(truth)
    places = np.flatnonzero([truth[name] for name in sorted(truth)])
    assert 200 < places.mean() < 400
    assert not any(word in name for name in truth for word in ("island", "ocean", "cloud", "coast"))


def test_tiles_are_plain_jpegs_without_notes(drawn: Path) -> None:
    for path in list(drawn.iterdir())[:20]:
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (256, 256), "RGB")
            assert not dict(image.getexif())
            assert "comment" not in image.info
        assert 1000 < path.stat().st_size < 60_000


def test_the_same_seed_draws_the_same_and_only_what_is_missing(drawn: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    assert draw_demo(few, n=6, most=4) == 4
    assert draw_demo(few, n=6, is_over=lambda: True) == 0
    assert len(list(few.iterdir())) == 4
    assert draw_demo(few, n=6) == 2
    before = {p.name: p.read_bytes() for p in few.iterdir()}
    gone, kept = sorted(before)[0], sorted(before)[1]
    (few / gone).unlink()
    (few / kept).write_bytes(b"mine")
    assert draw_demo(few, n=6) == 1
    assert (few / gone).read_bytes() == before[gone]
    assert (few / kept).read_bytes() == b"mine"


def test_nothing_is_drawn_among_other_images(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"mine")
    with pytest.raises(BadInput, match="holds other things"):
        draw_demo(tmp_path, n=6)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.png"]


def test_no_land_reaches_the_border_of_an_island_tile() -> None:
    for plan in [p for p in demo._plans(1, 600) if p.kind == "island"][:20]:
        height = demo._land(np.random.default_rng([plan.seed, 7]), "island")
        assert max(height[0].max(), height[-1].max(), height[:, 0].max(), height[:, -1].max()) < 0
        assert 0.003 < (height > 0).mean() < 0.6


def test_open_sea_has_no_land_and_a_coast_has_much() -> None:
    plans = demo._plans(1, 600)
    for plan in [p for p in plans if p.kind == "ocean"][:40]:
        assert demo._land(np.random.default_rng([plan.seed, 7]), "ocean").max() < -0.1
    for plan in [p for p in plans if p.kind == "coast"][:20]:
        assert (demo._land(np.random.default_rng([plan.seed, 7]), "coast") > 0).mean() > 0.04


def test_the_builtin_encoder_can_learn_it(drawn: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score

    from active.embedding import load_encoder

    encoder, truth = load_encoder("builtin"), demo_truth()
    names = sorted(truth)
    rows = encoder.encode([Image.open(drawn / name) for name in names])
    island = np.array([truth[name] for name in names])
    head = LogisticRegression(C=10, class_weight="balanced", max_iter=1000).fit(rows[:300], island[:300])
    assert average_precision_score(island[300:], head.decision_function(rows[300:])) > 0.8
