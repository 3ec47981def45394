"""The use cases: what a person, a page, a command or a route can ask for."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from labeler import drawing, gold, learning, predicting
from labeler.domain import (
    Card,
    Goal,
    LabelEvent,
    Progress,
    Recorded,
    Round,
    Session,
    State,
    StoredEvent,
)
from labeler.errors import BadInput, Missing, writing
from labeler.items import shown_path
from labeler.journal import Undone
from labeler.overview import (
    is_drawn,
    mark_drawn,
    note_problem,
    pool_counts,
    pool_status,
    session_status,
    status,
)
from labeler.references import add_example, add_words, embed_examples, examples, link_examples, open_picture
from labeler.results import Grid, GridItem, export, export_counts, labels_grid
from labeler.searching import get_item, item_rows, neighbours
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.embedding import Encoder

__all__ = ["Grid", "GridItem", "export", "export_counts", "labels_grid"]  # from results, beside all below
__all__ += ["is_drawn", "mark_drawn", "note_problem", "pool_counts", "pool_status"]  # from overview
__all__ += ["session_status", "status"]
__all__ += ["add_example", "add_words", "embed_examples", "examples", "link_examples", "open_picture"]
__all__ += ["get_item", "item_rows", "neighbours"]  # from searching

QUESTION = "Is this what you are looking for?"
LABELS = ("yes", "no")

# sessions ----------------------------------------------------------------------------------


def sessions(ws: Workspace) -> list[Session]:
    """Return every session, the one started last first."""
    return ws.store.sessions()


def get_session(ws: Workspace, number: int | None = None) -> Session:
    """Return a session, the one started last for None. Raises Missing."""
    return ws.store.session(number)


def newest_session(ws: Workspace) -> Session:
    """Return the session started last. Raises Missing before the first."""
    return ws.store.session(None)


def start_session(
    ws: Workspace,
    question: str | None = None,
    labels: Sequence[str] | None = None,
    goal: Goal | None = None,
    votes: tuple[int, int] | None = None,
) -> Session:
    """Return the session to go on with, from now on the one that is meant where none is named.

    That is the last one with this question, as it is put or was, whose labels begin with these, by the names
    they have or had; None means "whatever it was". Else a new one. Another goal or number of votes (at most,
    at least) changes the session's.
    """
    for old in ws.store.sessions():
        if question is not None and question.strip() not in _wordings(ws, old):
            continue
        if labels is not None and not _are_labels(ws, old, labels):
            continue
        if goal is not None and goal != old.goal:
            set_goal(ws, old, goal)
        if votes is not None and votes != (old.votes, old.least):
            set_votes(ws, old, *votes)
        return use_session(ws, old)
    question, labels = QUESTION if question is None else question, LABELS if labels is None else labels
    most, least = votes or (1, 1)
    return new_session(ws, question, labels, goal or "find", votes=most, least=least)


def _wordings(ws: Workspace, session: Session) -> set[str]:
    """Return how a question is put, and was."""
    return {session.question, *(words for words, _ in ws.store.wordings(session.id))}


def _are_labels(ws: Workspace, session: Session, names: Sequence[str]) -> bool:
    numbers = ws.store.label_numbers(session.id)
    return [numbers.get(name) for name in names] == list(range(len(names)))


def check_question(question: str | None, labels: Sequence[str] | None) -> None:
    """Raise BadInput for a question or labels that no session can have; None is the default."""
    now = datetime.now(UTC)
    Session(1, QUESTION if question is None else question, tuple(labels or LABELS), "find", 0, 1, now)


def use_session(ws: Workspace, session: Session) -> Session:
    """Make a session the one that is meant where none is named, and return it."""
    return ws.store.use_session(session)


def new_session(
    ws: Workspace,
    question: str,
    labels: Sequence[str],
    goal: Goal = "find",
    *,
    seed: int | None = None,
    votes: int = 1,
    least: int = 0,
) -> Session:
    """Create a session and return it. seed: of all its rounds; None: drawn.

    votes, least  how many people each image is put to; see `Session`.
    """
    return ws.store.add_session(question, labels, goal, ws.config, seed=seed, votes=votes, least=least)


def set_votes(ws: Workspace, session: Session, votes: int, least: int = 0) -> Session:
    """Change how many people each image is put to, and return the session. Answers stay."""
    changed = ws.store.set_votes(session, votes, least)
    ws.dealing.forget()
    return changed


def add_label(ws: Workspace, session: Session, name: str) -> Session:
    """Add a label to a session and return the session."""
    session = ws.store.session(session.id)  # another page may have added one since
    return ws.store.name_label(session, len(session.labels), name.strip())


def rename_label(ws: Workspace, session: Session, old: str, new: str) -> Session:
    """Rename a label; answers given under the old name count for the new one."""
    if old not in session.labels:
        raise Missing(f"There is no label {old!r}.", f"Use one of {', '.join(session.labels)}.")
    return ws.store.name_label(session, session.labels.index(old), new.strip())


def set_goal(ws: Workspace, session: Session, goal: Goal) -> Session:
    """Change the goal from the next round on, and return the session. Answers stay."""
    if goal not in ("find", "classify"):
        raise BadInput(f"The goal {goal!r} is unknown.", "Use find or classify.")
    return ws.store.set_goal(session, goal)


def set_question(ws: Workspace, session: Session, question: str) -> Session:
    """Put a question in other words, and return the session. Answers stay. Raises BadInput for no words."""
    return ws.store.set_question(session, question)


def set_state(ws: Workspace, session: Session, state: State, notice: str) -> Session:
    """Open, pause or close a session for others than owners, tell them something, return the session."""
    return ws.store.set_state(session, state, notice)


def set_gold_feedback(ws: Workspace, session: Session, on: bool) -> Session:
    """Tell people whether they agreed with what is known, or don't, and return the session."""
    return ws.store.set_gold_feedback(session, on)


def set_target(ws: Workspace, session: Session, share: float | None) -> Session:
    """Change what share of the target is wanted found, None: nobody says; return the session.

    Raises BadInput for a share that no estimate can call reached.
    """
    return ws.store.set_target(session, share)


def owner(ws: Workspace) -> int:
    """Return the person number that the command line and the pages answer as."""
    return ws.roster.owner().id


# taking images in --------------------------------------------------------------------------


def load_encoder(ws: Workspace) -> "Encoder":
    """Return the encoder that the workspace is set to, noted as the one wanted.

    It is the one in use at once, or, where another has seen images, as soon as it has seen as many.
    Reference pictures get their vectors at once. Raises BadInput when it can't be loaded.
    """
    from active.embedding import load_encoder as load

    try:
        encoder = load(ws.config.encoder, ws.config.views, ws.config.device)
    except ValueError as e:
        raise BadInput(
            f"The encoder {ws.config.encoder} can't be used: {e}", "Give another one with --encoder."
        ) from e
    ws.registry.choose(encoder.key, encoder.dim)
    embed_examples(ws, encoder)
    return encoder


def prepare(
    ws: Workspace,
    *,
    report: Callable[[Progress], None],
    stop: Event | None = None,
    load: "Callable[[], Encoder] | None" = None,
    give_way: Callable[[], None] | None = None,
) -> None:
    """Take in what is new in the folder of images and embed it. Goes on where it was stopped.

    load  called at most once, in a thread of its own; None: `load_encoder`.
    give_way  called in each thread that only computes, once there is something to show.
    """
    from labeler import ingest

    stop = stop or Event()
    encoder = cache(load or (lambda: load_encoder(ws)))
    with ws.lock("index"), _drawing(ws, stop) as drawing:
        if drawing:
            early = _unfinished(report)
            ingest.run(ws, load=encoder, report=early, stop=stop, give_way=give_way)
            drawing.result()
        while not stop.is_set():
            ingest.run(ws, load=encoder, report=report, stop=stop, give_way=give_way)
            if not ws.catalog.count_new():  # else something was noted since the files were read: gold, say
                break


@contextlib.contextmanager
def _drawing(ws: Workspace, stop: Event) -> "Iterator[Future[None] | None]":
    """Draw what the demonstration set still lacks while the block runs; None for a person's own images."""
    from labeler.demo import draw_demo

    if not is_drawn(ws):
        yield None
        return
    over = Event()
    folder = ws.images

    def draw() -> None:
        with writing(str(folder)):
            draw_demo(folder, is_over=lambda: stop.is_set() or over.is_set())

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(draw)
        finally:
            over.set()


def _unfinished(report: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Return `report` without the word that all is done: more is still being drawn."""
    return lambda p: None if p.stage == "done" else report(p)


# the deck ----------------------------------------------------------------------------------


def next_cards(
    ws: Workspace,
    session: Session,
    person: int,
    n: int,
    have: Sequence[int] | None = None,
    device: int | None = None,
) -> list[Card]:
    """Return up to n cards, held for this person's device. Fewer, then none, when the pool runs dry."""
    now, lease_s = time.time(), ws.config.lease_s
    return ws.dealing.lease_cards(session.id, person, n, have=have, now=now, lease_s=lease_s, device=device)


def gone_cards(
    ws: Workspace, session: Session, person: int, have: Sequence[int], device: int | None = None
) -> list[int]:
    """Return which cards of a device's deck need no answer now; see `Dealing.gone_cards`."""
    return ws.dealing.gone_cards(session.id, person, have, time.time(), device)


def record(
    ws: Workspace, session: Session, person: int, events: Sequence[LabelEvent], device: int | None = None
) -> Recorded:
    """Store answers; each event id counts once."""
    lease = (time.time(), ws.config.lease_s)
    return ws.journal.add_events(session, person, events, lease=lease, device=device)


def by_session(
    ws: Workspace, events: Sequence[LabelEvent], number: int | None
) -> list[tuple[Session, list[LabelEvent]]]:
    """Return answers for which no session is named, by the one that each belongs to: that of its card.

    number  the session of those without a card; None: the newest. A deck may hold cards of two questions.
    """
    found: dict[int, list[LabelEvent]] = {}
    for event in events:
        of_card = None if event.card is None else ws.dealing.session_of(event.card)
        found.setdefault(of_card or get_session(ws, number).id, []).append(event)
    return [(get_session(ws, of), some) for of, some in found.items()]


def undo(ws: Workspace, session: Session, person: int, event_id: str, device: int | None = None) -> Undone:
    """Take back the person's last answer. Raises Conflict when there is none."""
    return ws.journal.undo(session, person, event_id, time.time(), ws.config.lease_s, device)


def ask_about(ws: Workspace, session: Session, items: Sequence[int]) -> int:
    """Put items at the front of the deck; return how many were not answered or waiting there."""
    n = ws.catalog.count_items()
    for item in items:
        if not 0 <= item < n:
            raise Missing(f"There is no item {item}.", f"Items go from 0 to {n - 1}.")
    return ws.dealing.ask(session.id, items)


def correct(ws: Workspace, session: Session, person: int, item: int, label: str | None) -> None:
    """Answer an item outside the deck: a label, "unsure", or None to take everybody's answers to it back."""
    event = LabelEvent(str(uuid.uuid4()), item, label, datetime.now(UTC))
    get_item(ws, item)
    if label is None:
        ws.journal.take_back(session.id, person, [item])
        return
    for _, why in ws.journal.add_events(session, person, [event]).rejected:
        raise Missing(why, "Choose another one.")


def learn(
    ws: Workspace, session: Session, *, hide: Sequence[int] = (), strategy: str = drawing.RECIPE
) -> Round | None:
    """Retrain and choose the next cards; None while there are no items.

    hide, strategy  for simulations: items that are never asked, and another way to choose than people get.
    """
    link_examples(ws, session)
    gold.link(ws, session)
    return learning.learn(ws, session, now=time.time(), hide=hide, strategy=strategy)


# looking -----------------------------------------------------------------------------------


def item_events(ws: Workspace, session: Session, item: int) -> list[StoredEvent]:
    """Return everything that was said about an item, oldest first."""
    return ws.journal.log(session, item)


def item_name(ws: Workspace, item: int) -> str:
    """Return where an item lies in the folder of images, as text. Raises Missing."""
    return shown_path(get_item(ws, item).path)[0]


def target_score(ws: Workspace, session: Session, item: int) -> float | None:
    """Return the head's probability that an item is the target, None while there is none."""
    used = ws.registry.in_use()
    if used is None or item >= used[2]:
        return None
    made = predicting.predict(ws, session, np.array([item], np.int64))
    return float(made.probs[0, 0]) if made else None
