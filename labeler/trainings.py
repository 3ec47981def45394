"""What trainings on a workspace's images have left in their folders, to be looked at."""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labeler.workspace import Workspace

MOST_LINES, MOST_IMAGES = 300, 20  # of a log; and of neighbours, of each image too
RUNNING_S = 300.0  # without a new line of the log; then it was stopped
LARGE = 1e15
SHOWN = ("minutes", "loss", "feature_std", "share", "epoch")  # of a line of the log
STATE, ABOUT, LOG, NEAR, JUDGED, CURVES = (
    "training.json", "encoder.json", "log.jsonl", "neighbours.json", "judged.json", "curves.json",
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
    """A training as its folder tells of it. None or empty: not there, or damaged.

    method, images  how the encoder learned, and from how many; None before there is one.
    ending   done, stopped or collapsed, and a sentence on it; None while it runs, or after a kill.
    lines    of the log, at most 300 of them. running: whether the log has grown within five minutes.
    judged   what held-out labels say; curves: what plays say where the truth is known.
    """

    folder: Path
    method: str | None
    images: int | None
    ending: tuple[str, str] | None
    lines: list[dict[str, float]]
    running: bool
    near: Near | None
    judged: Json | None
    curves: Json | None


def folders(ws: Workspace) -> list[Path]:
    """Return the folders of trainings that are still there, the newest first."""
    return [folder for name in ws.registry.trainings() if (folder := Path(name)).is_dir()]


def read(folder: Path) -> Training:
    """Return what a folder tells of its training."""
    about, state = _json(folder / ABOUT), _json(folder / STATE)
    ending = None
    if isinstance(state.get("ending"), str) and isinstance(state.get("note"), str):
        ending = state["ending"], state["note"]
    try:
        grown = time.time() - os.stat(folder / LOG).st_mtime < RUNNING_S
    except OSError:
        grown = False
    method, images = about.get("method"), about.get("images")
    return Training(
        folder,
        method if isinstance(method, str) else None,
        images if isinstance(images, int) else None,
        ending,
        _lines(folder / LOG),
        grown and ending is None,
        _near(_json(folder / NEAR)),
        _judged(_json(folder / JUDGED)),
        _curves(_json(folder / CURVES)),
    )


def _json(path: Path) -> Json:
    """Return an object in a file, an empty one where there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number(x: Any) -> float:  # Any: JSON
    """Return a finite number of a size that can be drawn. Raises ValueError for anything else."""
    if isinstance(x, bool) or not isinstance(x, int | float) or not abs(x) < LARGE:
        raise ValueError(x)
    return float(x)


def _lines(path: Path) -> list[dict[str, float]]:
    """Return the lines of a log that are whole; of many, some that are evenly spaced and the last."""
    out = []
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            for text in f:
                with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                    line = json.loads(text)
                    out.append({k: _number(line[k]) for k in SHOWN})
    except OSError:
        return []
    if len(out) > MOST_LINES:
        out = [out[int(i)] for i in np.linspace(0, len(out) - 1, MOST_LINES).round()]
    return out


def _near(found: Json) -> Near | None:
    try:
        images, start, now = (found[name][:MOST_IMAGES] for name in ("images", "start", "now"))
        if not len(images) == len(start) == len(now):
            return None
        return Near(_ids(images), [_ids(row) for row in start], [_ids(row) for row in now])
    except (LookupError, TypeError, ValueError):
        return None


def _ids(row: Sequence[Any]) -> list[int]:  # Any: JSON
    return [int(_number(i)) for i in row[:MOST_IMAGES]]


def _judged(found: Json) -> Json | None:
    """Return a verdict with its numbers as numbers."""
    try:
        out: Json = {k: None if found[k] is None else _number(found[k]) for k in ("before", "after")}
        watched = [_number(x) for x in found["watched"]]
        pays = None if found["pays"] is None else bool(found["pays"])
        about = {"labels": int(_number(found["labels"])), "measure": str(found["measure"])}
        return out | about | {"pays": pays, "watched": watched[-MOST_LINES:]}
    except (LookupError, TypeError, ValueError):
        return None


def _curves(found: Json) -> Json | None:
    """Return curves whose three rows are numbers, and as long as each other."""
    try:
        out = {k: [_number(x) for x in found[k]] for k in ("times", "before", "after")}
    except (LookupError, TypeError, ValueError):
        return None
    n = len(out["times"])
    return out if 1 < n <= MOST_LINES and all(len(row) == n for row in out.values()) else None
