"""Folders of folders of small coloured images, and a workspace on them as a simulation makes it."""

import colorsys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labeler import loop
from labeler.trial import open_trial
from labeler.workspace import Workspace
from tests.fakes import MeanColour


def paint_classes(folder: Path, classes: Mapping[str, int], seed: int = 0) -> Path:
    """Make a folder per class (a name may have parts), each with so many images around its own colour."""
    rng = np.random.default_rng(seed)
    for place, (name, n) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        middle = np.array(colorsys.hsv_to_rgb(place / max(1, len(classes)), 0.6, 0.8)) * 255
        for i in range(n):
            colour = np.clip(middle + rng.normal(0, 22, 3), 0, 255)
            noise = rng.integers(-9, 10, (16, 16, 3))
            pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.png")
    return folder


def embedded(
    source: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Workspace, dict[str, str]]:
    """Return a workspace with all images taken in by an encoder of mean colours, and {name there: class}."""
    monkeypatch.setattr(loop, "load_encoder", lambda ws: MeanColour())
    trial = open_trial(source, workspace, None)
    loop.prepare(trial.ws, report=lambda p: None)
    return trial.ws, trial.classes
