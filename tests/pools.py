"""Small real workspaces: coloured squares on disk, in the catalog, with unit vectors."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from labeler.catalog import Decoded, SeenFile
from labeler.config import Config
from labeler.domain import LabelEvent
from labeler.images import content_hash
from labeler.workspace import Workspace

KEY, DIM = "colours-8", 8


def vectors_of(kinds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return unit rows: one direction per kind, with noise."""
    centres = np.eye(DIM, dtype=np.float32)[kinds]
    rows = centres + rng.normal(0, 0.25, centres.shape).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_pool(folder: Path, n: int = 200, *, embedded: bool = True, images: bool = False) -> Workspace:
    """Return a workspace of n items; every tenth is of kind 1 (the target), the others of kinds 0, 2, 3.

    images  also draw the files (16 px squares), for what reads them.
    """
    source = folder / "images"
    source.mkdir(parents=True, exist_ok=True)
    ws = Workspace.open(folder / "ws", Config(images=str(source)))
    scan = ws.catalog.begin_scan()
    names = [f"img{i:04}.png" for i in range(n)]
    if images:
        for i, name in enumerate(names):
            Image.new("RGB", (24, 16), (i % 256, i // 256 % 256, 200 * is_target(i))).save(source / name)
    seen = [SeenFile(name, 1, 1) for name in names]
    if images:
        stats = [(source / name).stat() for name in names]
        seen = [SeenFile(name, s.st_size, s.st_mtime_ns) for name, s in zip(names, stats, strict=True)]
    ws.catalog.note_files(scan, seen)
    ws.catalog.end_scan(scan)
    files = sorted(ws.catalog.new_files(n), key=lambda f: f.path)
    hashes = [content_hash((source / f.path).read_bytes()) if images else f"hash-{f.path}" for f in files]
    ws.catalog.add_decoded([Decoded(f.id, h, 24, 16) for f, h in zip(files, hashes, strict=True)])
    if embedded:
        kinds = np.array([1 if is_target(i) else (0, 2, 3)[i % 3] for i in range(n)])
        ws.vectors(KEY, DIM).append(vectors_of(kinds, np.random.default_rng(0)))
        ws.registry.use(KEY, DIM)
        ws.registry.set_embedded(KEY, DIM, n)
    return ws


def is_target(item: int) -> bool:
    """Return whether `make_pool` made this item of the kind that tests look for."""
    return item % 10 == 0


def event(item: int, answer: str | None, card: int | None = None) -> LabelEvent:
    """Return a new answer, now."""
    return LabelEvent(str(uuid.uuid4()), item, answer, datetime.now(UTC), card, 700)
