"""What trainings on a workspace's images have left in their folders, to be looked at."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labeler.workspace import Workspace

MOST_LINES = 300
SHOWN = ("minutes", "loss", "feature_std", "share", "epoch")  # of a line of the log
RUNNING_S = 90.0  # without a new line of the log; then it was stopped
ABOUT, LOG, NEAR, JUDGED, CURVES = (
    "encoder.json", "log.jsonl", "neighbours.json", "judged.json", "curves.json",
)  # fmt: skip
Json = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Near:
    """Ten images, and the nearest of each before the training and now: item ids."""

    images: list[int]
    start: list[list[int]]
    now: list[list[int]]


@dataclass(frozen=True, slots=True)
class Training:
    """A training as its folder tells of it. None or empty: not there, or cut off.

    about    what the encoder is; None before there is one. lines: of the log, at most 300 of them.
    running  whether the log has grown within a minute and a half.
    judged   what held-out labels say; curves: what plays say where the truth is known.
    """

    folder: Path
    about: Json | None
    lines: list[Json]
    running: bool
    near: Near | None
    judged: Json | None
    curves: Json | None


def every(ws: Workspace) -> list[Training]:
    """Return the trainings whose folders are still there, the newest first."""
    folders = [Path(name) for name in ws.registry.trainings()]
    return [read(folder) for folder in folders if folder.is_dir()]


def read(folder: Path) -> Training:
    """Return what a folder tells of its training."""
    try:
        running = time.time() - os.stat(folder / LOG).st_mtime < RUNNING_S
    except OSError:
        running = False
    lines = _lines(folder / LOG)
    return Training(
        folder,
        _json(folder / ABOUT),
        lines,
        running and not (lines and lines[-1].get("share", 0) >= 1),
        _near(_json(folder / NEAR)),
        _judged(_json(folder / JUDGED)),
        _curves(_json(folder / CURVES)),
    )


def _json(path: Path) -> Json | None:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _lines(path: Path) -> list[Json]:
    """Return the lines of a log that are whole; of many, some that are evenly spaced and the last."""
    out = []
    try:
        with open(path, encoding="utf-8") as f:
            for text in f:
                try:
                    line = json.loads(text)
                    out.append({k: float(line[k]) for k in SHOWN})
                except (ValueError, LookupError, TypeError):
                    continue
    except (OSError, UnicodeDecodeError):
        return out
    out = [line for line in out if np.isfinite(list(line.values())).all()]
    if len(out) > MOST_LINES:
        out = [out[int(i)] for i in np.linspace(0, len(out) - 1, MOST_LINES).round()]
    return out


def _near(found: Json | None) -> Near | None:
    try:
        assert found is not None
        images, start, now = ([*found[name]] for name in ("images", "start", "now"))
        if len(images) != len(start) or len(images) != len(now):
            return None
        return Near([int(i) for i in images], _ids(start), _ids(now))
    except (AssertionError, LookupError, TypeError, ValueError):
        return None


def _ids(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    return [[int(i) for i in row] for row in rows]


def _judged(found: Json | None) -> Json | None:
    """Return a verdict with its numbers as numbers."""
    try:
        assert found is not None
        both = {k: None if found[k] is None else float(found[k]) for k in ("before", "after")}
        measure, pays = str(found["measure"]), found["pays"]
        return {"labels": int(found["labels"]), "measure": measure, "pays": pays, **both}
    except (AssertionError, LookupError, TypeError, ValueError):
        return None


def _curves(found: Json | None) -> Json | None:
    """Return curves whose three rows are as long as each other."""
    if found is None:
        return None
    rows = [found.get(name) for name in ("times", "before", "after")]
    if not all(isinstance(row, list) and len(row) == len(rows[0] or ()) > 1 for row in rows):
        return None
    return found
