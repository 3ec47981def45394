"""SIGKILLs in the middle of everything, as benchmarks/kills.py makes them, only fewer."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.kills import Plan, kill_export, kill_index, look_at, swipe_and_kill
from tests.test_cli import free_port

IMAGES = 300


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        base = (200, 60, 40) if i % 7 == 0 else (40, 90, 180)
        noise = rng.integers(0, 40, (48, 48, 3))
        Image.fromarray((np.array(base) + noise).astype(np.uint8)).save(folder / f"{i:03}.png")
    options = ["--images", str(folder)]
    return Plan(options, options, 120, 2, per_s=60, index_kills=1, export_kills=2, port=str(free_port()))


@pytest.mark.load
def test_every_acknowledged_answer_outlives_the_kills_exactly_once(plan, tmp_path):
    swiped = swipe_and_kill(plan, tmp_path / "ws")
    assert (swiped["kills"], swiped["swipes"]) == (2, 120)
    assert (swiped["lost"], swiped["doubled"]) == (0, 0)
    assert swiped["events"] >= 120
    assert swiped["cards"] > 0
    found = look_at(tmp_path / "ws")
    assert found["integrity"] == "ok"
    assert found["images"] == found["items"] == found["embedded"] == found["rows"] == IMAGES
    assert found["off_rows"] == 0
    indexed = kill_index(plan, tmp_path / "killed", reference=tmp_path / "ws", whole_s=3)
    assert (indexed["index_same"], indexed["index_images"]) == (True, IMAGES)
    assert kill_export(plan, tmp_path / "killed", tmp_path / "out")["export_halves"] == 0
