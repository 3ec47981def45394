"""The helpers of the pages, over a small workspace that needs no encoder."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from labeler import images, learning, loop, ui, workspace
from labeler.catalog import Aside, Decoded, SeenFile
from labeler.config import Config
from labeler.domain import Progress, Session
from labeler.errors import Missing, NotReady
from labeler.workspace import Workspace

NASTY = "[x](http://evil.example)<b>*y*.png"  # a file name that Markdown or HTML would change


def draw(folder: Path, n: int = 40) -> list[Path]:
    """Draw n small pictures, blue ones and green ones in turn; the first two have the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for i in range(n):
        base = (30, 80, 160) if i % 2 else (40, 150, 60)
        pixels = np.clip(np.array(base) + rng.normal(0, 12, (48, 64, 3)), 0, 255).astype(np.uint8)
        paths.append(folder / (NASTY if i == 3 else f"picture {i:03}.png"))
        Image.fromarray(pixels).save(paths[-1])
    (folder / "copy.png").write_bytes(paths[0].read_bytes())
    return [*paths, folder / "copy.png"]


def take_in(ws: Workspace, paths: Sequence[Path]) -> None:
    """Put pictures and their mean colours into the catalog, as taking them in would."""
    catalog = ws.catalog
    seen = [SeenFile(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    catalog.note_files(catalog.begin_scan(), [*seen, SeenFile("broken.png", 0, 0)])
    rows: dict[int, np.ndarray] = {}
    for f in catalog.new_files(10_000):
        path = ws.images / f.path
        if f.path == "broken.png":
            catalog.add_decoded([Aside(f.id, "It is empty.")])
            continue
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((4, 4)), np.float32).reshape(-1) - 100
            size = image.size
        done = catalog.add_decoded([Decoded(f.id, images.content_hash(path.read_bytes()), *size)])
        rows[done[f.id]] = pixels / np.linalg.norm(pixels)
    catalog.use_encoder("mean-4", 48)
    ws.vectors("mean-4", 48).append(np.array([rows[i] for i in sorted(rows)], np.float32))
    catalog.set_embedded("mean-4", 48, len(rows))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of 40 pictures (one twice, one unreadable), as the process's current one."""
    folder = tmp_path / "pictures"
    paths = draw(folder)
    ws = Workspace.open(tmp_path / "ws", Config(images=str(folder), batch_size=10))
    take_in(ws, paths)
    monkeypatch.setenv(workspace.ENV, str(ws.folder))
    workspace._opened.cache_clear()
    return ws


def answer(ws: Workspace, session: Session, n: int = 12) -> None:
    """Answer n items outside the deck by their colour, and learn from them."""
    for i in range(n):
        path = loop.get_item(ws, i).path
        green = path == "copy.png" or (path != NASTY and int(path.split()[1][:3]) % 2 == 0)
        loop.correct(ws, session, loop.owner(ws), i, "yes" if green else "no")
    loop.learn(ws, session)
