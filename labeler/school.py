"""An encoder that learns from a workspace's own images: what it looks at, and whether that pays."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labeler import encoders, files, images
from labeler.domain import Item, Session
from labeler.errors import BadInput, NotReady
from labeler.ingest import count_cores
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from active.arrays import Ids, Rows
    from active.embedding import Encoder
    from active.embedding.training.options import Options, Progress, Result
    from active.embedding.training.pictures import Pictures

ITEMS = 512  # read from the catalog at once
ENOUGH, MOST = 20, 2000  # labels of either side that judge; and as many at most
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which encoder tells a person's own labels apart better.

    before, after  average precision of the target, held out, by the encoder in use and by the new one.
    labels         how many judged; 0: too few of either side, nobody can say.
    """

    labels: int
    before: float | None = None
    after: float | None = None

    @property
    def pays(self) -> bool | None:
        """Return whether the new one is better; None: nobody can say."""
        return None if self.before is None or self.after is None else self.after > self.before


def train(
    ws: Workspace,
    options: "Options",
    start: str,
    *,
    report: "Callable[[Progress], None]",
    stop: threading.Event,
) -> "Result":
    """Train the encoder `start` on the images of a workspace, into the folder `options.out`.

    start  as `encoders.stored` gives it. report is called with each line of the log.
    Called again with the same options it goes on where it was stopped. Raises BadInput, with what to do, for
    what can't be trained, another training's folder, too few images, a full disk.
    """
    from active.embedding import hub
    from active.embedding.training.backbones import load_backbone
    from active.embedding.training.run import train as run

    folder = hub.cached(start) if hub.is_name(start) else None
    try:
        backbone = load_backbone(str(folder or start), seed=options.seed)
        looked_at = pictures(ws, backbone.side_px, is_over=stop.is_set)
        return run(looked_at, backbone, options, report=report, stop=stop)
    except ValueError as e:
        raise BadInput(str(e)) from e


def pictures(ws: Workspace, side_px: int, *, is_over: Callable[[], bool]) -> "Pictures":
    """Return the pictures of all items that are there, squeezed to what a network of this size looks at.

    They are kept in the cache, and used again as long as the items are the same.
    """
    from active.embedding.training.pictures import pack

    digest, n = blake2b(digest_size=8), 0
    for item in _items(ws):
        digest.update(item.hash.encode())
        n += 1
    folder = ws.cache / f"pictures-{side_px}"
    return pack(_decoded(ws, is_over), folder, side_px=side_px, key=f"{n}-{digest.hexdigest()}")


def _items(ws: Workspace) -> Iterator[Item]:
    n = ws.catalog.count_items()
    for lo in range(0, n, ITEMS):
        yield from (item for item in ws.catalog.items_between(lo, min(lo + ITEMS, n)) if item.present)


def _decoded(ws: Workspace, is_over: Callable[[], bool]) -> "Iterator[tuple[int, Image]]":
    """Yield items and their upright pictures; those that can't be read any more are left out."""
    with ThreadPoolExecutor(count_cores(), "decode") as pool:
        n = ws.catalog.count_items()
        for lo in range(0, n, ITEMS):
            if is_over():
                raise NotReady("Stopped while the images were read.", "The same command begins that again.")
            some = [item for item in ws.catalog.items_between(lo, min(lo + ITEMS, n)) if item.present]
            for item, picture in zip(some, pool.map(lambda i: _picture(ws, i), some), strict=True):
                if picture is not None:
                    yield item.id, picture


def _picture(ws: Workspace, item: Item) -> "Image | None":
    try:
        data = files.read_file(os.path.join(ws.images, item.path))
        return images.decode(data, max_megapixels=ws.config.max_megapixels).image
    except files.Unreadable:
        return None


# does it pay? ------------------------------------------------------------------------------


def judge(ws: Workspace, session: Session, folder: Path) -> Verdict:
    """Return whether the encoder in `folder` tells the labels of a session apart better than the one in use.

    Both are judged by a linear head on images that it did not learn from; near-duplicates stay together.
    """
    used = ws.registry.in_use()
    answers = ws.journal.answers(session.id)
    known = (answers.labels >= 0) & (answers.items < (used[2] if used else 0))
    items, is_target = answers.items[known], answers.labels[known] == 0
    if used is None or min(is_target.sum(), (~is_target).sum()) < ENOUGH:
        return Verdict(0)
    keep = np.random.default_rng(session.seed).permutation(len(items))[:MOST]
    items, is_target = items[keep], is_target[keep]
    new = encoders.load(str(folder), ws.config)
    seen = [(i, picture) for i in items.tolist() if (picture := _of(ws, i)) is not None]
    there = np.isin(items, [i for i, _ in seen])
    items, is_target = items[there], is_target[there]
    if min(is_target.sum(), (~is_target).sum()) < ENOUGH:
        return Verdict(0)
    old_rows: Rows = np.asarray(ws.vectors(used[0], used[1]).rows(0, used[2])[items])
    groups = _groups(old_rows)
    rows = _encoded(new, [picture for _, picture in seen])
    return Verdict(len(items), *(held_out(r, is_target, groups) for r in (old_rows, rows)))


def _of(ws: Workspace, item: int) -> "Image | None":
    found = ws.catalog.item(item)
    return None if found is None else _picture(ws, found)


def _encoded(encoder: "Encoder", given: "list[Image]") -> "Rows":
    return np.concatenate([encoder.encode(given[at : at + 16]) for at in range(0, len(given), 16)])


def _groups(rows: "Rows") -> "Ids":
    from active.embedding.training.split import duplicates

    return duplicates(rows)


def held_out(rows: "Rows", is_target: NDArray[np.bool_], groups: "Ids") -> float:
    """Return the average precision of the target over five folds, each judged by a head of the other four."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import StratifiedGroupKFold

    p = np.zeros(len(rows))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for learn, judged in folds.split(rows, is_target, groups):
        head = LogisticRegression(C=10, class_weight="balanced", max_iter=1000).fit(
            rows[learn], is_target[learn]
        )
        p[judged] = head.decision_function(rows[judged])
    return float(average_precision_score(is_target, p))
