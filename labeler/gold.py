"""Gold: which images have a known answer, from a folder of the owner's or from what people have settled."""

import contextlib
import os
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from labeler import crowds, files, images, pieces
from labeler.catalog import SeenFile
from labeler.domain import LabelEvent, Session
from labeler.errors import BadInput
from labeler.pieces import Piece
from labeler.scan import walk
from labeler.workspace import Workspace

GOLD_IDS = uuid.UUID("2f4c8a52-7d0b-4a4e-9f4b-6c8f2b6d5e11")  # name space of the events that gold makes
MOST = 2000  # pieces; nobody gets so many, and all are looked through for each request for cards
SURE = 0.98  # how probable a label is at least for people to have settled it
SEVERAL = 3  # people who have answered such an image at least, or as many as are asked


@dataclass(frozen=True, slots=True)
class Standing:
    """How much gold a session has.

    ready    images that may be dealt. by_label: how many of each label, by name.
    waiting  images that are not taken in (yet), or whose files are gone. open: those in the pool that no
             owner's answer stands to any more.
    """

    ready: int
    by_label: dict[str, int]
    waiting: int
    open: int


def read_folder(folder: Path) -> dict[str, list[Path]]:
    """Return {name of a folder in it: its images, deeper ones too}. Raises BadInput where there are none."""
    if not folder.is_dir():
        raise BadInput(f"The folder {folder} is not there.", "Give one with a folder for each label.")
    found = {
        inside.name: [inside / seen.path for seen in walk(inside)]
        for inside in sorted(folder.iterdir())
        if inside.is_dir() and not inside.name.startswith(".")
    }
    found = {name: sorted(paths) for name, paths in found.items() if paths}
    if not found:
        raise BadInput(
            f"{folder} holds no folder with images.",
            "Put them into one folder for each label, such as yes and no.",
        )
    return found


def give(ws: Workspace, session: Session, folder: Path) -> tuple[int, list[str]]:
    """Take the images of a folder as gold; return how many contents there are, and what can't be read.

    Those whose content is in the pool get their label as the owner's answer, unless the owner has answered
    them. The others are noted, to be taken in where they lie with the next files of the pool, and are asked
    as gold alone; where the content appears in the pool later, that gets the answer. Files are only read.
    Raises BadInput for a folder of another name than a label's, and for one content in two of them.
    """
    numbers = ws.store.label_numbers(session.id)
    label_of: dict[str, int] = {}
    first: dict[str, Path] = {}
    unread = []
    for name, paths in read_folder(folder).items():
        if name not in numbers:
            raise BadInput(
                f"{folder / name} is no label's: the question has {', '.join(session.labels)}.",
                "Name each folder as a label.",
            )
        for path in paths:
            try:
                content = images.content_hash(files.read_file(path))
            except (OSError, files.Unreadable):
                unread.append(os.fspath(path))
                continue
            if label_of.setdefault(content, numbers[name]) != numbers[name]:
                raise BadInput(
                    f"{path} and {first[content]} are the same image with two labels.",
                    "Leave one of them out.",
                )
            first.setdefault(content, path)
    conn = ws.store.conn
    noted = {p.hash for p in pieces.pieces(conn, session.id)}
    if len(noted | label_of.keys()) > MOST:
        raise BadInput(
            f"With those of {folder} there would be {len(noted | label_of.keys()):,} known images.",
            f"Give at most {MOST:,}; nobody gets so many.",
        )
    before = {p.hash: p for p in pieces.pieces(conn, session.id) if p.source == "given"}
    new = [Piece(c, n, None, "given") for c, n in label_of.items() if c not in before or before[c].label != n]
    pieces.add(conn, session.id, new)
    link(ws, session)
    _note_outside(ws, first)
    ws.dealing.forget_gold()
    return len(label_of), unread


def _note_outside(ws: Workspace, path_of: dict[str, Path]) -> None:
    """Let files, by their contents, be taken in from where they lie, also of what is in the pool by now."""
    found, items = [], []
    for content, path in path_of.items():
        with contextlib.suppress(OSError):  # it has just been read; what is gone by now is not taken in
            seen = path.stat()
            found.append(SeenFile(os.path.abspath(path), seen.st_size, seen.st_mtime_ns))
            items.append(ws.catalog.item_by_hash(content))
    ws.catalog.note_outside(found, items)


def rightness(ws: Workspace, session: Session, person: int) -> tuple[int, int]:
    """Return how many labels of somebody on gold are right, and how many there are; taken back is none."""
    given = ws.journal.cast_gold(session.id)
    given = given[given["person"] == person]
    return int((given["number"] == given["known"]).sum()), len(given)


def link(ws: Workspace, session: Session) -> int:
    """Give gold that has appeared in the pool its label as the owner's answer; return how many.

    Where an owner has answered such an image, that answer stands and is what is known of it.
    """
    conn = ws.store.conn
    if not pieces.appeared(conn, session.id):
        return 0
    person = ws.roster.owner().id
    with ws.store.transaction():
        found = pieces.appeared(conn, session.id)
        owned = ws.journal.cast(session.id, items=[p.item for p in found if p.item is not None])
        answered = set(owned["item"][owned["is_owner"] & (owned["number"] >= -1)].tolist())
        for piece in found:
            if piece.item is not None and piece.item not in answered:
                event = LabelEvent(
                    id=str(uuid.uuid5(GOLD_IDS, f"{session.id}/{piece.hash}/{piece.label}")),
                    item=piece.item, answer=session.labels[piece.label], at=datetime.now(UTC),
                )  # fmt: skip
                ws.journal.add_events(session, person, [event])
        pieces.add(conn, session.id, found)
    return len(found)


def settle(ws: Workspace, session: Session, n: int) -> int:
    """Choose up to n more images whose label is settled as gold; return how many there were.

    Settled are those that an owner has answered, and those of which a label is sure by the answers of several
    people. As many of each label as there are, owners' before others', the surest first.
    """
    conn = ws.store.conn
    plain = ws.journal.answers(session.id)
    owned = plain.owned & (plain.labels >= 0)
    items, labels = plain.items[owned], plain.labels[owned]
    sure = np.full(len(items), 2.0)
    if session.votes > 1:
        found = crowds.opinion(ws, session).found
        posterior, asked = found.standing.posterior, found.standing.asked
        is_sure = (posterior.max(1, initial=0) >= SURE) & (asked >= min(SEVERAL, session.votes))
        is_sure &= ~np.isin(found.ids, plain.items[plain.owned])
        items = np.concatenate([items, found.ids[is_sure]])
        labels = np.concatenate([labels, posterior[is_sure].argmax(1)])
        sure = np.concatenate([sure, posterior[is_sure].max(1)])
    noted = pieces.pieces(conn, session.id)
    n = min(n, MOST - len(noted))
    had = [p.item for p in noted if p.item is not None]
    out = np.isin(items, np.array([*had, *ws.catalog.absent()], np.int64))
    items, labels, sure = items[~out], labels[~out], sure[~out]
    order = np.argsort(-sure, kind="stable")
    turn: Counter[int] = Counter()
    place = []
    for label in labels[order].tolist():  # the first of each label, then the second of each, and so on
        place.append(turn[label])
        turn[label] += 1
    chosen = order[np.argsort(place, kind="stable")][: max(0, n)] if place else order[:0]
    hashes = ws.catalog.hashes(items[chosen].tolist())
    some = [
        Piece(hashes[item], label, item, "settled")
        for item, label in zip(items[chosen].tolist(), labels[chosen].tolist(), strict=True)
    ]
    pieces.add(conn, session.id, some)
    ws.dealing.forget_gold()
    return len(some)


def clear(ws: Workspace, session: Session) -> int:
    """Deal no gold any more; return how much there was. What was answered on it stays."""
    n = pieces.clear(ws.store.conn, session.id)
    ws.dealing.forget_gold()
    return n


def look(ws: Workspace, session: Session) -> Standing:
    """Return how much gold there is."""
    known = pieces.known(ws.store.conn, session.id)
    each = Counter(known.values())
    noted = pieces.pieces(ws.store.conn, session.id)
    linked = {piece.item for piece in noted if piece.item is not None}
    gone = ws.catalog.absent_among(list(linked - known.keys()))
    open_ = len(linked - known.keys() - gone)
    by_label = {name: each[number] for number, name in enumerate(session.labels)}
    return Standing(len(known), by_label, len(noted) - len(known) - open_, open_)
