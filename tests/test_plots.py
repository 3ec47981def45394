import io

import numpy as np
import pytest
from PIL import Image

from labeler import plots
from tests.test_outcome import played

SIZE = (1200, 750)


def picture(data: bytes) -> Image.Image:
    opened = Image.open(io.BytesIO(data))
    opened.load()
    return opened


def colours_of(image: Image.Image) -> set[str]:
    found = image.convert("RGB").getcolors(maxcolors=image.width * image.height)
    return {f"#{r:02x}{g:02x}{b:02x}" for _, (r, g, b) in found}


def some_plays(n=5, total=30):
    rng = np.random.default_rng(0)
    ours = [played(f"c{i}", rng.random(60) < 0.4, total) for i in range(n)]
    return ours, [played(f"c{i}", rng.random(60) < 0.2, total, kind="baseline") for i in range(n)]


def test_found_holds_the_play_its_baselines_and_the_best_possible():
    ours, beside = some_plays()
    drawn = picture(plots.found_png([*ours, *beside], strategy="recipe", pool=400))
    assert drawn.size == SIZE
    assert {plots.OURS, plots.NEIGHBOURS, plots.CHANCE, plots.PERFECT} <= colours_of(drawn)
    alone = picture(plots.found_png(ours, strategy="neighbours", pool=400))
    assert plots.NEIGHBOURS not in colours_of(alone)
    one = picture(plots.found_png(ours[:1], strategy="recipe", pool=400))
    assert plots.OURS in colours_of(one)


def test_estimates_are_drawn_only_where_there_are_some():
    ours, _ = some_plays()
    assert plots.estimate_png(ours) is None
    right = {"share": 0.2, "low": 0.0, "high": 1.0}
    wrong = {"share": 0.9, "low": 0.85, "high": 0.99}
    drawn = plots.estimate_png([played("a", [1, 0, 0, 1, 0, 0], 10, estimates=[right, wrong])])
    assert {plots.OURS, plots.NEIGHBOURS} <= colours_of(picture(drawn))
    only_right = plots.estimate_png([played("a", [1, 0, 0, 1, 0, 0], 10, estimates=[right, right])])
    assert plots.NEIGHBOURS not in colours_of(picture(only_right))


def test_a_curve_is_the_mean_of_a_classs_plays_at_every_point():
    x = np.array([0, 0.5, 1, 1.5])
    plays = [played("a", [1, 0, 1, 0, 0, 1], 4), played("a", [1, 1, 0, 1, 0, 0], 4), played("b", [0] * 6, 4)]
    np.testing.assert_allclose(plots._by_class(plays, x), [[0, 1.5 / 4, 2.5 / 4, 3 / 4], [0, 0, 0, 0]])


@pytest.mark.parametrize("ends", [[0.5, 0.5, 0.5], [1.0, 0.99, 0.02], [0.01, 0.0, 0.02]])
def test_names_at_the_ends_of_lines_keep_apart(ends):
    _, axes = plots._blank()
    plots._name_ends(axes, 2, [(y, "#000000", str(i)) for i, y in enumerate(ends)])
    places = sorted(text.xy[1] for text in axes.texts)
    assert len(places) == 3
    assert np.diff(places).min() >= 0.05 - 1e-9
