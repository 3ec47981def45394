"""What came out: the answers and predictions of a session, to look at, to correct, to export."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from labeler import crowds, judging, predicting
from labeler.database import snapshot
from labeler.domain import UNSURE, Session
from labeler.export import About, EventRow, ExportData, ExportReport, Format, How, LabelRow, write
from labeler.items import shown_path
from labeler.log import Answers
from labeler.workspace import Workspace

Order = Literal["newest", "oldest", "surest", "doubtful"]
Source = Literal["person", "predicted"]


@dataclass(frozen=True, slots=True)
class GridItem:
    """One picture of a grid.

    p  the head's probability of `answer`. copies  how many other files hold the same bytes.
    """

    item: int
    path: str
    answer: str
    p: float | None
    source: Source
    copies: int


@dataclass(frozen=True, slots=True)
class Grid:
    """One page of a grid, and how many pictures all pages hold."""

    items: list[GridItem]
    total: int


def predicted(
    ws: Workspace, session: Session, answers: Answers | None = None
) -> tuple[Ids, Ids, NDArray[np.float32]]:
    """Return (items, label numbers, probabilities) of what nobody was asked; empty before the first head.

    answers  the labels at the moment that is meant; None: now.
    Items whose files are gone, and those with an answer (also "unsure"), are left out.
    """
    made = predicting.predict(ws, session)
    if made is None:
        none = np.empty(0, np.int64)
        return none, none, np.empty(0, np.float32)
    answers = crowds.answers(ws, session) if answers is None else answers
    out = np.concatenate([answers.items, np.array(ws.catalog.absent(), np.int64)])
    items = np.setdiff1d(np.arange(len(made.probs), dtype=np.int64), out)
    probs = made.probs[items]
    return items, probs.argmax(1).astype(np.int64), probs.max(1)


def labels_grid(
    ws: Workspace, session: Session, *, label: str | None = None, source: Source = "person",
    lowest_p: float = 0.0, order: Order = "newest", offset: int = 0, limit: int = 60,
) -> Grid:  # fmt: skip
    """Return a page of answers (source "person") or of predictions.

    label     only this one; "unsure" too; None: all. lowest_p  only predictions at least this sure.
    order     newest and oldest go by the answer's time (predictions: by item).
    """
    if source == "person":
        answers = crowds.answers(ws, session)
        items, numbers = answers.items, answers.labels
        p = np.full(len(items), np.nan, np.float32)
        made = predicting.predict(ws, session) if order in ("surest", "doubtful") else None
        if made is not None:
            known = (items < len(made.probs)) & (numbers >= 0)
            p[known] = made.probs[items[known], numbers[known]]
        age = _ages(ws, session, items)
    else:
        items, numbers, p = predicted(ws, session)
        age = items
    session = ws.store.session(session.id)  # a label may have been added since
    names = np.array([*session.labels, UNSURE])[numbers]
    keep = np.ones(len(items), bool) if label is None else names == label
    if source == "predicted":
        keep &= p >= lowest_p
    keys: dict[Order, NDArray[np.generic]] = {
        "newest": -age,
        "oldest": age,
        "surest": -np.nan_to_num(p),
        "doubtful": np.nan_to_num(p),
    }
    key = keys[order]
    places = np.flatnonzero(keep)[np.argsort(key[keep], kind="stable")]
    page = places[max(0, offset) : max(0, offset) + max(0, limit)]
    paths = ws.catalog.paths(items[page].tolist())
    return Grid(
        [
            GridItem(
                int(items[i]), shown_path(paths.get(int(items[i]), [""])[0])[0], str(names[i]),
                None if np.isnan(p[i]) else float(p[i]), source,
                max(0, len(paths.get(int(items[i]), [])) - 1),
            )
            for i in page
        ],
        len(places),
    )  # fmt: skip


def _ages(ws: Workspace, session: Session, items: Ids) -> Ids:
    """Return each item's newest event's place in the log."""
    last = ws.journal.last_events(session.id)
    return np.array([last.get(int(i), 0) for i in items], np.int64)


def export_counts(
    ws: Workspace, session: Session, predicted_from: float | None
) -> dict[str, tuple[int, int]]:
    """Return {label: (images answered by people, images predicted at least this surely)}; "unsure" too."""
    people = ws.journal.counts(session)
    out = {name: (people[name], 0) for name in (*session.labels, UNSURE)}
    if predicted_from is not None:
        _, numbers, p = predicted(ws, session)
        for number, name in enumerate(session.labels):
            out[name] = (people[name], int(((numbers == number) & (p >= predicted_from)).sum()))
    return out


def export(
    ws: Workspace, session: Session, *, format: Format, out: Path,
    predicted_from: float | None = None, how: How = "copy", with_names: bool = True,
) -> ExportReport:  # fmt: skip
    """Write a session's labels to the folder `out`.

    predicted_from  also items that nobody was asked about, where the head is at least this sure;
                    they are marked as predicted. None: only what people said.
    with_names      False: people by their numbers, for what is to be published.
    Byte-identical files have a row each. Raises BadInput or Conflict for a place that can't be written.
    """
    with snapshot(ws.journal.conn):
        session = ws.store.session(session.id)  # a label may have been added since
        told = judging.told(ws, session)
        about = About(str(ws.folder), session.id, session.question, session.labels, predicted_from, told)
        paths = ws.catalog.paths()
        answers, votes = crowds.answers(ws, session), ws.journal.votes(session.id)
        none = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        guesses = none if predicted_from is None else predicted(ws, session, answers)
        events = list(_event_rows(ws, session, paths, with_names=with_names))
        stamps = ws.catalog.stamps() if format == "folders" else {}
    rows = _label_rows(session, paths, answers, votes, guesses, predicted_from or 0.0)
    with ws.lock("export"):  # two at once to one folder would mix
        return write(format, ExportData(ws.images, about, rows, events, stamps), out, how)


def _label_rows(
    session: Session,
    paths: dict[int, list[str]],
    answers: Answers,
    votes: dict[tuple[int, int], tuple[int, datetime]],
    guesses: tuple[Ids, Ids, NDArray[np.float32]],
    predicted_from: float,
) -> Iterator[LabelRow]:
    """Yield a row per file. What a file held before its content changed has no file, and no row."""
    sure = None if answers.sure is None else answers.sure.tolist()
    newest = {item: at for (item, _), (_, at) in sorted(votes.items(), key=lambda known: known[1][1])}
    for i, (item, number) in enumerate(zip(answers.items.tolist(), answers.labels.tolist(), strict=True)):
        name = UNSURE if number < 0 else session.labels[number]
        count, at = votes.get((item, number), (0, newest[item]))  # none may have said what is most probable
        for path in paths.get(item, []):
            yield LabelRow(item, path, name, "person", None if sure is None else sure[i], count, at)
    items, numbers, p = guesses
    for item, number, sure in zip(items.tolist(), numbers.tolist(), p.tolist(), strict=True):
        if sure >= predicted_from:
            for path in paths.get(item, []):
                yield LabelRow(item, path, session.labels[number], "predicted", sure, 0, None)


def _event_rows(
    ws: Workspace, session: Session, paths: dict[int, list[str]], *, with_names: bool
) -> Iterator[EventRow]:
    names = {number: name if with_names else str(number) for number, name in ws.roster.names().items()}
    for e in ws.journal.log(session):
        path = paths[e.item][0] if e.item in paths else ws.catalog.last_path(e.item)
        yield EventRow(
            e.id, e.item, path, e.answer, names[e.person], e.at, e.ms, e.card, e.reason, e.p_chosen, e.round,
        )  # fmt: skip


def take_back(ws: Workspace, session: Session, person: int, items: Sequence[int]) -> None:
    """Take back everybody's answers to these items; the log keeps them."""
    ws.journal.take_back(session.id, person, items)
