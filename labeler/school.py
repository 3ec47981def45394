"""An encoder that learns from a workspace's own images or labels, and whether that pays."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labeler import crowds, encoders, files, lessons, verdict
from labeler.domain import Session
from labeler.errors import BadInput, NotReady, writing
from labeler.trainings import ABOUT, CURVES, JUDGED, LOG, STATE
from labeler.verdict import Verdict
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from active.arrays import Ids, Rows
    from active.embedding import Encoder
    from active.embedding.training.backbones import Backbone
    from active.embedding.training.finetune import Tuning
    from active.embedding.training.options import Options, Progress, Result

ENOUGH, MOST = 20, 2000  # labels of an answer that judge or teach; and as many in all that judge
MOST_TAUGHT = 20_000  # labels that a network is fine-tuned with
LABELS = "labels"  # the method of an encoder that learned from labels
TAUGHT = "taught.json"  # the contents whose labels an encoder has seen: they can't judge it


def check_out(ws: Workspace, out: Path, start: str, method: str) -> None:
    """Raise BadInput where a new encoder can't go: over one that is needed, or over other things."""
    folder = Path(os.path.abspath(out))
    for name, what in ((ws.config.encoder, "the encoder in use"), (start, "the encoder to begin with")):
        if folder == Path(os.path.abspath(name)):
            raise BadInput(f"{out} is {what}, which stays as it is.", "Give another --out.")
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file.", "Give a folder to --out.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    about = _read(out / ABOUT)
    made_by = about.get("method") if isinstance(about, dict) else None
    is_ours = made_by == LABELS if method == LABELS else LOG in there and made_by != LABELS
    if there and not is_ours:
        raise BadInput(f"{out} holds other things.", "Give another --out.")


def _read(path: Path) -> Any:  # Any: JSON
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def note(folder: Path, name: str, found: Any) -> None:  # Any: JSON
    """Write what was found of an encoder beside it."""
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        files.save_atomic(folder / name, json.dumps(found).encode())


# from images alone -------------------------------------------------------------------------


def train(
    ws: Workspace,
    options: "Options",
    start: str,
    *,
    report: "Callable[[Progress], None]",
    stop: threading.Event,
    reading: lessons.Note = lessons.silent,
) -> "Result":
    """Train the encoder `start` on the images of a workspace, into the folder `options.out`.

    start  as `encoders.stored` gives it. report is called with each line of the log; reading, before, as
    pictures are read. Called again with the same options it goes on where it was stopped.
    Raises BadInput, with what to do, for what can't be trained, a folder that holds other things, too few
    images, a full disk, and Conflict while another training on these images runs.
    """
    from active.embedding.training.processes import is_first
    from active.embedding.training.run import train as run

    try:
        backbone = _backbone(start)
        packed = lessons.pictures(ws, backbone.side_px, stop=stop, reading=reading, out=options.out)
        if is_first():
            _forget(options.out)
            ws.registry.note_training(os.path.abspath(options.out))
        result = run(packed, backbone, options, report=report, stop=stop)
    except ValueError as e:
        raise BadInput(str(e)) from e
    if not is_first():
        return result
    if result.ending != "collapsed" and (taught := _read(Path(start) / TAUGHT)):
        note(options.out, TAUGHT, taught)
    note(options.out, STATE, {"ending": result.ending, "note": result.note})
    return result


def _forget(out: Path) -> None:
    """Delete what was found of an earlier state of an encoder."""
    for name in (STATE, JUDGED, CURVES):
        (out / name).unlink(missing_ok=True)


def _backbone(start: str) -> "Backbone":
    from active.embedding import hub
    from active.embedding.training.backbones import load_backbone

    folder = hub.cached(start) if hub.is_name(start) else None
    return load_backbone(str(folder or start))


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
    reading: lessons.Note = lessons.silent,
) -> Verdict:
    """Fine-tune the encoder `start` with the labels of a session, and write it to `folder` if that pays.

    start  as `encoders.stored` gives it. report is called with each epoch and its score; reading, before, as
    pictures are read. It pays if it is better than the encoder in use on labels that took no part; images
    that are nearly the same stay together. Stopped, it raises NotReady and keeps nothing.
    Raises BadInput, with what to do, for what can't be trained and a full disk, NotReady for too few labels,
    Conflict while another training on these images runs.
    """
    from active.embedding.training.backbones import write_about
    from active.embedding.training.finetune import finetune

    items, classes = _taught(ws, session)
    part = folder.with_name(f"{folder.name}.new")
    with ws.lock("training"):
        try:
            backbone = _backbone(start)
            key = f"{len(items)}-{blake2b(items.tobytes(), digest_size=8).hexdigest()}"
            known = lessons.known(ws, items)
            where = ws.cache / f"labeled-{backbone.side_px}"
            packed = lessons.packed(ws, known, len(items), where, backbone.side_px, key, stop, reading)
            there = np.isin(items, packed.ids)
            items, classes = items[there], classes[there]
            rows = _rows(ws, items)
            groups = _groups(rows)
            _check_groups(session, classes, groups)
            tuned = finetune(packed, classes, rows, backbone, tuning, report=report, stop=stop)
            _stopped(stop)
            shutil.rmtree(part, ignore_errors=True)
            backbone.eval().save(part)
            write_about(part, backbone, method=LABELS, images=len(packed))
            new = encoders.load(str(part), ws.config)
            ids, after = _encoded(new, lessons.decoded(ws, lessons.known(ws, items), stop))
            there = np.isin(items, ids)
            parts = [(_among(there, tuned.part.learn), _among(there, tuned.part.judge))]
            found = verdict.compare(
                rows[there], after, classes[there], groups[there], parts, tuple(tuned.watched)
            )
            if found.pays:
                hashes = {item.id: item.hash for item in lessons.known(ws, items)}
                learned = np.concatenate([tuned.part.learn, tuned.part.stop])
                note(part, TAUGHT, [hashes[int(i)] for i in items[learned]])
                note(part, JUDGED, found.json())
                note(part, STATE, {"ending": "done", "note": "The training is done."})
                shutil.rmtree(folder, ignore_errors=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, folder)
                ws.registry.note_training(os.path.abspath(folder))
        except ValueError as e:
            raise BadInput(str(e)) from e
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return found


def _among(there: NDArray[np.bool_], positions: "Ids") -> "Ids":
    """Return where these positions are among those that are there."""
    return (np.cumsum(there) - 1)[positions[there[positions]]].astype(np.int64)


def _stopped(stop: threading.Event) -> None:
    if stop.is_set():
        raise NotReady("Stopped; nothing was kept.", "The same command begins anew.")


def _taught(ws: Workspace, session: Session) -> "tuple[Ids, Ids]":
    """Return the items that have an answer and a vector, in order, and their classes from 0.

    Of two answers the target, or the first, is class 1. Answers that few images have are left out.
    """
    used = ws.registry.in_use()
    answers = crowds.answers(ws, session)
    known = np.flatnonzero((answers.labels >= 0) & (answers.items < (used[2] if used else 0)))
    known = np.random.default_rng(session.seed).permutation(known)[:MOST_TAUGHT]
    known = known[np.argsort(answers.items[known])]
    items, labels = answers.items[known], answers.labels[known]
    numbers, counts = np.unique(labels, return_counts=True)
    enough = numbers[counts >= ENOUGH]
    if len(enough) < 2:
        raise NotReady(
            "There are too few labels to learn from.", f"Label at least {ENOUGH} images of two answers each."
        )
    kept = np.isin(labels, enough)
    items, labels = items[kept], labels[kept]
    if len(enough) == 2:
        return items, (labels == enough[0]).astype(np.int64)
    return items, np.searchsorted(enough, labels).astype(np.int64)


def _check_groups(session: Session, classes: "Ids", groups: "Ids") -> None:
    """Raise NotReady where too many labeled images are nearly the same."""
    fewest = min(len(np.unique(groups[classes == c])) for c in np.unique(classes))
    if fewest < ENOUGH // 2:
        raise NotReady(
            f"Of one answer to {session.question!r} only {fewest} images differ from each other.",
            f"Label more, at least {ENOUGH // 2} that differ.",
        )


def _rows(ws: Workspace, items: "Ids") -> "Rows":
    """Return the vectors of items that the encoder in use has seen."""
    used = ws.registry.in_use()
    assert used is not None
    return np.asarray(ws.vectors(used[0], used[1]).rows(0, used[2])[items])


# does it pay? ------------------------------------------------------------------------------


def judge(ws: Workspace, session: Session, folder: Path) -> Verdict:
    """Return whether the encoder in `folder` tells the labels of a session apart better than the one in use.

    Both are judged by a linear head on images that it did not learn from; near-duplicates stay together, and
    labels that one of the encoders was taught with are left out.
    """
    used = ws.registry.in_use()
    answers = crowds.answers(ws, session)
    known = (answers.labels >= 0) & (answers.items < (used[2] if used else 0))
    items, classes = answers.items[known], (answers.labels[known] == 0).astype(np.int64)
    seen = {*(_read(folder / TAUGHT) or ()), *(_read(Path(ws.config.encoder) / TAUGHT) or ())}
    if seen:
        fresh = np.array([item.hash not in seen for item in lessons.known(ws, items)], bool)
        items, classes = items[fresh], classes[fresh]
    if used is None or not _enough(classes):
        return Verdict(0)
    keep = np.random.default_rng(session.seed).permutation(len(items))[:MOST]
    items, classes = items[keep], classes[keep]
    new = encoders.load(str(folder), ws.config)
    ids, after = _encoded(new, lessons.decoded(ws, lessons.known(ws, items), threading.Event()))
    there = np.isin(items, ids)
    items, classes = items[there], classes[there]
    if not _enough(classes):
        return Verdict(0)
    before = _rows(ws, items)
    groups = _groups(before)
    parts = verdict.folds(classes, groups)
    return Verdict(0) if parts is None else verdict.compare(before, after, classes, groups, parts)


def _enough(classes: "Ids") -> bool:
    return bool(min((classes == 0).sum(), (classes == 1).sum()) >= ENOUGH)


def _encoded(encoder: "Encoder", given: "Iterator[tuple[int, Image]]") -> "tuple[list[int], Rows]":
    """Return the items and their rows; a few pictures are in memory at once."""
    ids: list[int] = []
    rows: list[Rows] = []
    while some := list(islice(given, 16)):
        ids += [i for i, _ in some]
        rows.append(encoder.encode([picture for _, picture in some]))
    return ids, np.concatenate(rows) if rows else np.empty((0, encoder.dim), np.float32)


def _groups(rows: "Rows") -> "Ids":
    from active.embedding.training.split import duplicates

    return duplicates(rows)
