"""An encoder that learns from a workspace's own images: what it looks at, and whether that pays."""

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from labeler import encoders, files, images
from labeler.domain import Item, Session
from labeler.errors import BadInput, NotReady, writing
from labeler.ingest import count_cores
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from active.arrays import Ids, Rows
    from active.embedding import Encoder
    from active.embedding.training.backbones import Backbone
    from active.embedding.training.finetune import Tuning
    from active.embedding.training.options import Options, Progress, Result
    from active.embedding.training.pictures import Pictures

ITEMS = 512  # read from the catalog at once
ENOUGH, MOST = 20, 2000  # labels of either side that judge; and as many at most
MOST_TAUGHT = 20_000  # labels that a network is fine-tuned with at most
FOLDS = 5
JUDGED = "judged.json"
LABELS = "labels"  # the method of an encoder that learned from labels

Measure = Literal["average precision", "balanced accuracy"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which encoder tells a person's own labels apart better.

    labels         how many judged; 0: too few, nobody can say.
    before, after  of images that took no part, by the encoder before and by the new one.
    watched        of a fine-tuning: the score that stopped it, by epoch, the start's first.
    """

    labels: int
    before: float | None = None
    after: float | None = None
    measure: Measure = "average precision"
    watched: tuple[float, ...] = ()

    @property
    def pays(self) -> bool | None:
        """Return whether the new one is better; None: nobody can say."""
        return None if self.before is None or self.after is None else self.after > self.before

    def json(self) -> dict[str, Any]:  # Any: JSON
        """Return it as commands print it and `judged.json` holds it."""
        return asdict(self) | {"watched": list(self.watched), "pays": self.pays}


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
    from active.embedding.training.run import train as run

    try:
        backbone = _backbone(start, seed=options.seed)
        packed = pictures(ws, backbone.side_px, is_over=stop.is_set)
        ws.registry.note_training(os.path.abspath(options.out))
        return run(packed, backbone, options, report=report, stop=stop)
    except ValueError as e:
        raise BadInput(str(e)) from e


def _backbone(start: str, *, seed: int) -> "Backbone":
    from active.embedding import hub
    from active.embedding.training.backbones import load_backbone

    folder = hub.cached(start) if hub.is_name(start) else None
    return load_backbone(str(folder or start), seed=seed)


def pictures(ws: Workspace, side_px: int, *, is_over: Callable[[], bool]) -> "Pictures":
    """Return the pictures of all items that are there, squeezed to what a network of this size looks at.

    They are kept in the cache, and used again as long as the items are the same.
    """
    digest, n = blake2b(digest_size=8), 0
    for item in _items(ws):
        digest.update(item.hash.encode())
        n += 1
    return _packed(ws, _items(ws), "pictures", side_px, f"{n}-{digest.hexdigest()}", is_over)


def _packed(
    ws: Workspace, items: Iterable[Item], name: str, side_px: int, key: str, is_over: Callable[[], bool]
) -> "Pictures":
    from active.embedding.training.pictures import pack

    return pack(_decoded(ws, items, is_over), ws.cache / f"{name}-{side_px}", side_px=side_px, key=key)


def _items(ws: Workspace) -> Iterator[Item]:
    n = ws.catalog.count_items()
    for lo in range(0, n, ITEMS):
        yield from (item for item in ws.catalog.items_between(lo, min(lo + ITEMS, n)) if item.present)


def _decoded(
    ws: Workspace, items: Iterable[Item], is_over: Callable[[], bool]
) -> "Iterator[tuple[int, Image]]":
    """Yield items and their upright pictures; those that can't be read any more are left out."""
    cores = count_cores()
    with ThreadPoolExecutor(cores, "decode") as pool:
        for some in _by(2 * cores, items):  # no more of them are in memory at once
            if is_over():
                raise NotReady("Stopped while the images were read.", "The same command begins that again.")
            for item, picture in zip(some, pool.map(lambda i: _picture(ws, i), some), strict=True):
                if picture is not None:
                    yield item.id, picture


def _by(size: int, items: Iterable[Item]) -> Iterator[list[Item]]:
    some: list[Item] = []
    for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _picture(ws: Workspace, item: Item) -> "Image | None":
    try:
        data = files.read_file(os.path.join(ws.images, item.path))
        return images.decode(data, max_megapixels=ws.config.max_megapixels).image
    except files.Unreadable:
        return None


# from labels -------------------------------------------------------------------------------


def teach(
    ws: Workspace,
    session: Session,
    start: str,
    folder: Path,
    tuning: "Tuning",
    *,
    report: Callable[[int, float], None],
    stop: threading.Event,
) -> Verdict:
    """Fine-tune the encoder `start` with the labels of a session, and write it to `folder` if that pays.

    start  as `encoders.stored` gives it. report is called with each epoch and its score.
    Images that are nearly the same stay together; some labels only judge. Raises BadInput, with what to do,
    for too few labels, what can't be trained, a full disk.
    """
    from active.embedding.training.backbones import write_about
    from active.embedding.training.finetune import finetune

    items, classes = _taught(ws, session)
    rows = _rows(ws, items)
    try:
        backbone = _backbone(start, seed=tuning.seed)
        packed = _packed(
            ws,
            (item for i in items.tolist() if (item := ws.catalog.item(i)) is not None),
            "labeled",
            backbone.side_px,
            f"{len(items)}-{blake2b(items.tobytes(), digest_size=8).hexdigest()}",
            stop.is_set,
        )
        there = np.isin(items, packed.ids)
        tuned = finetune(packed, classes[there], rows[there], backbone, tuning, report=report, stop=stop)
        verdict = Verdict(tuned.held_out, tuned.before, tuned.after, tuned.measure, tuple(tuned.watched))
        if verdict.pays:
            backbone.eval().save(folder)
            write_about(folder, backbone, method=LABELS, images=len(packed))
            ws.registry.note_training(os.path.abspath(folder))
    except ValueError as e:
        raise BadInput(str(e)) from e
    if verdict.pays:
        note(folder, JUDGED, verdict.json())
    return verdict


def _taught(ws: Workspace, session: Session) -> "tuple[Ids, Ids]":
    """Return the items that have an answer and a vector, in order, and their classes from 0.

    Of two labels the target is class 1. Labels that fewer than three images have are left out.
    """
    used = ws.registry.in_use()
    answers = ws.journal.answers(session.id)
    known = np.flatnonzero((answers.labels >= 0) & (answers.items < (used[2] if used else 0)))
    known = np.random.default_rng(session.seed).permutation(known)[:MOST_TAUGHT]
    known = known[np.argsort(answers.items[known])]
    items, labels = answers.items[known], answers.labels[known]
    numbers, counts = np.unique(labels, return_counts=True)
    enough = numbers[counts >= 3]
    if len(enough) < 2:
        raise NotReady(
            "There are too few labels to learn from.", "Label some more images: at least 3 of each answer."
        )
    kept = np.isin(labels, enough)
    items, labels = items[kept], labels[kept]
    if len(session.labels) == 2:
        return items, 1 - labels
    return items, np.searchsorted(enough, labels).astype(np.int64)


def _rows(ws: Workspace, items: "Ids") -> "Rows":
    """Return the vectors of items that the encoder in use has seen."""
    used = ws.registry.in_use()
    assert used is not None
    return np.asarray(ws.vectors(used[0], used[1]).rows(0, used[2])[items])


# does it pay? ------------------------------------------------------------------------------


def note(folder: Path, name: str, found: dict[str, Any]) -> None:  # Any: JSON
    """Write what was found of an encoder beside it."""
    with writing(str(folder)):
        files.save_atomic(folder / name, json.dumps(found).encode())


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
    wanted = (item for i in items.tolist() if (item := ws.catalog.item(i)) is not None)
    ids, rows = _encoded(new, _decoded(ws, wanted, lambda: False))
    there = np.isin(items, ids)
    items, is_target = items[there], is_target[there]
    if min(is_target.sum(), (~is_target).sum()) < ENOUGH:
        return Verdict(0)
    old_rows = _rows(ws, items)
    groups = _groups(old_rows)
    before, after = (held_out(r, is_target, groups) for r in (old_rows, rows))
    return Verdict(len(items), before, after)


def _encoded(encoder: "Encoder", given: "Iterator[tuple[int, Image]]") -> "tuple[list[int], Rows]":
    """Return the items and their rows; a few pictures are in memory at once."""
    from itertools import islice

    ids: list[int] = []
    rows: list[Rows] = []
    while some := list(islice(given, 16)):
        ids += [i for i, _ in some]
        rows.append(encoder.encode([picture for _, picture in some]))
    return ids, np.concatenate(rows) if rows else np.empty((0, encoder.dim), np.float32)


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
