"""The use cases: what a person, a page, a command or a route can ask for."""

import contextlib
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np

from active.arrays import Rows
from labeler import certificate, drawing, files, images, judging, learning, predicting
from labeler.catalog import shown_path
from labeler.database import HEAL
from labeler.domain import (
    Card,
    Goal,
    Item,
    LabelEvent,
    Progress,
    Recorded,
    Round,
    Session,
    StoredEvent,
)
from labeler.errors import BadInput, Missing, NotReady, writing
from labeler.journal import Undone
from labeler.results import Grid, GridItem, export, export_counts, labels_grid
from labeler.store import Example
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from active.embedding import Encoder

__all__ = ["Grid", "GridItem", "export", "export_counts", "labels_grid"]  # from results, beside all below

EXAMPLE_IDS = uuid.UUID("7c0f3d1e-52a4-4d8f-9a61-4f6a3d1b9e02")  # name space of the events that examples make
QUESTION = "Is this what you are looking for?"
LABELS = ("yes", "no")
DRAWN = "drawn"  # the fact that marks a workspace of the demonstration set

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
) -> Session:
    """Return the session to go on with, from now on the one that is meant where none is named.

    That is the last one with this question whose labels begin with these, by the names they have
    or had; None means "whatever it was". Else a new one. Another goal changes the session's goal.
    """
    for old in ws.store.sessions():
        if question is not None and old.question != question.strip():
            continue
        if labels is not None and not _are_labels(ws, old, labels):
            continue
        if goal is not None and goal != old.goal:
            set_goal(ws, old, goal)
        return use_session(ws, old)
    return new_session(
        ws, QUESTION if question is None else question, LABELS if labels is None else labels, goal or "find"
    )


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
    ws: Workspace, question: str, labels: Sequence[str], goal: Goal = "find", *, seed: int | None = None
) -> Session:
    """Create a session and return it. seed: of all its rounds; None: drawn."""
    return ws.store.add_session(question, labels, goal, ws.config, seed=seed)


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


def set_target(ws: Workspace, session: Session, share: float | None) -> Session:
    """Change what share of the target is wanted found, None: nobody says; return the session.

    Raises BadInput for a share that no estimate can call reached.
    """
    return ws.store.set_target(session, share)


def is_drawn(ws: Workspace) -> bool:
    """Return whether the images were drawn by the program (the demonstration set)."""
    own = str(ws.folder / "images")  # a workspace may have been given a person's images since
    return ws.config.images == own and ws.store.fact(DRAWN) == "1"


def mark_drawn(ws: Workspace) -> None:
    """State that the images were drawn by the program."""
    ws.store.set_fact(DRAWN, "1")


def owner(ws: Workspace) -> int:
    """Return the person number that the command line and the pages answer as."""
    return ws.store.owner().id


# examples ----------------------------------------------------------------------------------


def add_example(
    ws: Workspace, session: Session, name: str, data: bytes, label: str | None = None
) -> int | None:
    """Take a reference picture; return its item when it is in the pool, else None.

    In the pool it becomes an answer on a card of its own. Outside it is kept in the workspace
    and stands as one more example of `label` (None: the target). Given twice, it counts once.
    Raises BadInput for a picture that can't be read.
    """
    label = session.target if label is None else label
    numbers = ws.store.label_numbers(session.id)
    if label not in numbers:
        raise Missing(f"There is no label {label!r}.", f"Use one of {', '.join(session.labels)}.")
    open_picture(ws, data, name=Path(name).name[:200])
    content_hash = images.content_hash(data)
    path = ws.example_file(content_hash)
    if not path.exists():
        with writing("The example"):
            files.save_atomic(path, data)
    shown = shown_path(Path(name).name[:200])[0]
    ws.store.add_example(session.id, content_hash, shown, numbers[label])
    link_examples(ws, session)
    return ws.catalog.item_by_hash(content_hash)


def open_picture(ws: Workspace, data: bytes, *, name: str = "The picture") -> "Image":
    """Return the decoded picture, RGB and upright. Raises BadInput when it can't be read."""
    try:
        return images.decode(data, want_px=512, max_megapixels=ws.config.max_megapixels).image
    except files.Unreadable as e:
        raise BadInput(
            f"{name} can't be used: {e.reason}", "Give another picture, such as a JPEG or PNG."
        ) from e


def examples(ws: Workspace, session: Session) -> list[Example]:
    """Return the reference pictures of a session, in order of arrival."""
    return ws.store.examples(session.id)


def link_examples(ws: Workspace, session: Session) -> int:
    """Turn reference pictures that have appeared in the pool into answers; return how many."""
    waiting = [e for e in ws.store.examples(session.id) if e.item is None]
    found = {e.id: item for e in waiting if (item := ws.catalog.item_by_hash(e.hash)) is not None}
    if not found:
        return 0
    person = owner(ws)
    with ws.store.transaction():
        for example in ws.store.examples(session.id):
            item = found.get(example.id) if example.item is None else None  # another one may have been here
            if item is None:
                continue
            card = ws.journal.add_card(session.id, item, person, "asked", time.time())
            event = LabelEvent(
                id=str(uuid.uuid5(EXAMPLE_IDS, f"{session.id}/{example.hash}")),
                item=item, answer=session.labels[example.label], at=datetime.now(UTC), card=card,
            )  # fmt: skip
            ws.journal.add_events(session, person, [event])
            ws.store.link_example(example.id, item)
    return len(found)


def embed_examples(ws: Workspace, encoder: "Encoder") -> int:
    """Give every reference picture a vector of this encoder; return how many were new."""
    waiting = ws.store.unembedded_examples(encoder.key)
    done = 0
    for example in waiting:
        try:
            data = ws.example_file(example.hash).read_bytes()
            picture = open_picture(ws, data, name=example.name)
        except (OSError, BadInput):
            continue  # its file is gone or broken; it was whole when it was given
        ws.store.set_example_vector(example.id, encoder.key, encoder.encode([picture])[0])
        done += 1
    return done


# taking images in --------------------------------------------------------------------------


def load_encoder(ws: Workspace) -> "Encoder":
    """Return the encoder that the workspace is set to, noted as the one in use.

    Reference pictures get their vectors at once. Raises BadInput when it can't be loaded.
    """
    from active.embedding import load_encoder as load

    try:
        encoder = load(ws.config.encoder, ws.config.views)
    except ValueError as e:
        raise BadInput(
            f"The encoder {ws.config.encoder} can't be used: {e}", "Give another one with --encoder."
        ) from e
    ws.catalog.use_encoder(encoder.key, encoder.dim)
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
        if not stop.is_set():
            ingest.run(ws, load=encoder, report=report, stop=stop, give_way=give_way)


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
    ws: Workspace, session: Session, person: int, n: int, have: Sequence[int] | None = None
) -> list[Card]:
    """Return up to n cards, held for this person. Fewer, then none, when the pool runs dry."""
    now, lease_s = time.time(), ws.config.lease_s
    return ws.journal.lease_cards(session.id, person, n, have=have, now=now, lease_s=lease_s)


def gone_cards(ws: Workspace, session: Session, person: int, have: Sequence[int]) -> list[int]:
    """Return which cards of a person's deck need no answer now; see `Journal.gone_cards`."""
    return ws.journal.gone_cards(session.id, person, have, time.time())


def record(ws: Workspace, session: Session, person: int, events: Sequence[LabelEvent]) -> Recorded:
    """Store answers; each event id counts once."""
    return ws.journal.add_events(session, person, events, lease=(time.time(), ws.config.lease_s))


def card_session(ws: Workspace, events: Sequence[LabelEvent]) -> Session:
    """Return the session that answers belong to when none is named: that of their cards, else the newest."""
    for event in events:
        number = None if event.card is None else ws.journal.session_of(event.card)
        if number is not None:
            return get_session(ws, number)
    return newest_session(ws)


def undo(ws: Workspace, session: Session, person: int, event_id: str) -> Undone:
    """Take back the person's last answer. Raises Conflict when there is none."""
    return ws.journal.undo(session, person, event_id, time.time(), ws.config.lease_s)


def ask_about(ws: Workspace, session: Session, items: Sequence[int]) -> int:
    """Put items at the front of the deck; return how many were not answered or waiting there."""
    n = ws.catalog.count_items()
    for item in items:
        if not 0 <= item < n:
            raise Missing(f"There is no item {item}.", f"Items go from 0 to {n - 1}.")
    return ws.journal.ask(session.id, items)


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
    return learning.learn(ws, session, now=time.time(), hide=hide, strategy=strategy)


# looking -----------------------------------------------------------------------------------


def get_item(ws: Workspace, item: int) -> Item:
    """Return one item. Raises Missing."""
    found = ws.catalog.item(item)
    if found is None:
        raise Missing(f"There is no item {item}.", f"Items go from 0 to {ws.catalog.count_items() - 1}.")
    return found


def item_events(ws: Workspace, session: Session, item: int) -> list[StoredEvent]:
    """Return everything that was said about an item, oldest first."""
    return ws.journal.log(session, item)


def item_name(ws: Workspace, item: int) -> str:
    """Return where an item lies in the folder of images, as text. Raises Missing."""
    return shown_path(get_item(ws, item).path)[0]


def target_score(ws: Workspace, session: Session, item: int) -> float | None:
    """Return the head's probability that an item is the target, None while there is none."""
    used = ws.catalog.encoder()
    if used is None or item >= used[2]:
        return None
    made = predicting.predict(ws, session, np.array([item], np.int64))
    return float(made.probs[0, 0]) if made else None


def item_rows(ws: Workspace, items: Sequence[int]) -> Rows:
    """Return the vectors of items. Raises Missing for an unknown one, NotReady for one not embedded yet."""
    used = ws.catalog.encoder()
    for item in items:
        get_item(ws, item)
        if used is None or item >= used[2]:
            raise NotReady(f"Item {item} is not embedded yet.", "Try again in a moment.")
    if used is None:
        raise NotReady("Nothing is embedded yet.", "Try again in a moment.")
    return np.asarray(ws.vectors(used[0], used[1]).rows(0, used[2])[np.asarray(items, np.int64)])


def neighbours(ws: Workspace, like: Rows, unlike: Rows | None = None, k: int = 50) -> list[tuple[int, float]]:
    """Return the k items nearest to `like` and away from `unlike`, as (item, cosine), best first.

    like, unlike  (n, d) vectors of the encoder in use. Items whose files are gone are left out.
    Raises NotReady before anything is embedded, BadInput for vectors of another size.
    """
    from active.arrays import unit_rows
    from active.search import Exact, combine

    used = ws.catalog.encoder()
    if used is None or used[2] == 0:
        raise NotReady("Nothing is embedded yet.", "Try again in a moment.")
    key, dim, n = used
    for rows in (like, unlike):
        if rows is not None and (rows.ndim != 2 or rows.shape[1] != dim):
            raise BadInput(
                f"A vector has {rows.shape[-1]} numbers; this pool's have {dim}.", f"Give {dim} numbers."
            )
    try:
        query = combine(unit_rows(like), None if unlike is None else unit_rows(unlike))
    except ValueError as e:
        raise BadInput(f"The example can't be used: {e}", "Give finite numbers, at least one example.") from e
    gone = set(ws.catalog.absent())
    ids, cos = Exact(ws.vectors(key, dim).rows(0, n)).search(query, min(n, max(0, k) + len(gone)))
    found = [(int(i), min(1.0, float(c))) for i, c in zip(ids[0], cos[0], strict=True) if int(i) not in gone]
    return found[: max(0, k)]


def session_status(ws: Workspace, session: Session) -> dict[str, Any]:  # Any: JSON
    """Return the `session` object of `status`, and what the deck shows of progress."""
    store, journal = ws.store, ws.journal
    rounds = store.rounds(session.id)
    counts = journal.counts(session)
    last = rounds[-1] if rounds else None
    fresh = journal.count_answered(session.id, after=last.last_event if last else 0)
    advice = judging.advice(ws, session, last)
    return {
        "id": session.id,
        "question": session.question,
        "labels": list(session.labels),
        "goal": session.goal,
        "round": last.number if last else 0,
        "events": journal.count_events(session.id),
        "cards_shown": journal.count_shown(session.id),
        "counts": counts,
        "found": counts[session.target],
        "estimate": asdict(last.estimate) if last and last.estimate and session.goal == "find" else None,
        "target_share": session.target_share,
        "advice": asdict(advice) if advice else None,
        "certificate": certificate.to_json(certificate.look(ws, session)),
        "batch_size": session.batch_size,
        "round_answered": min(fresh, session.batch_size),
        "per_minute": journal.count_since(session.id, 60),
        "rounds": [{"round": r.number, "shown": r.shown, "found": r.found} for r in rounds],
    }


def pool_status(ws: Workspace) -> dict[str, Any]:  # Any: JSON
    """Return how far the pool has come; cheap enough to ask every second."""
    catalog = ws.catalog
    used = catalog.encoder()
    return {
        "workspace": str(ws.folder),
        "images": catalog.count_files(),
        "embedded": count_embedded_files(ws),
        "set_aside": [{"path": p, "reason": r} for p, r in catalog.set_aside()],
        "duplicates": catalog.count_duplicates(),
        "encoder": used[0] if used else None,
        "drawn": is_drawn(ws),
    }


def status(ws: Workspace, session: Session | None = None) -> dict[str, Any]:  # Any: JSON
    """Return where a workspace stands, as `labeler status --json` prints it."""
    if session is None:
        with contextlib.suppress(Missing):
            session = newest_session(ws)
    problems = check(ws)
    asked = session_status(ws, session) | {"quality": judging.quality_json(ws, session)} if session else None
    return pool_status(ws) | {
        "session": asked,
        "problem": noted_problem(ws),
        "integrity": problems or "ok",
    }


def note_problem(ws: Workspace, problem: str | None) -> None:
    """Leave word of what is wrong in the background, for `labeler status`; None: nothing is."""
    with contextlib.suppress(OSError):  # a full disk, say: the pages still show it
        if problem is None:
            ws.problem_file.unlink(missing_ok=True)
        else:
            ws.problem_file.write_text(problem, "utf-8")


def noted_problem(ws: Workspace) -> str | None:
    """Return what is wrong in the background of the server on this workspace, None if nothing is known."""
    try:
        return ws.problem_file.read_text("utf-8", errors="replace") or None
    except OSError:
        return None


COUNTS_S = 1.0  # how old the pool's counts may be where they are asked for all the time
_counts: "weakref.WeakKeyDictionary[Workspace, tuple[float, tuple[int, int, int]]]" = (
    weakref.WeakKeyDictionary()
)


def pool_counts(ws: Workspace) -> tuple[int, int, int]:
    """Return (image files, how many of them have a vector, distinct images), at most a second old.

    Counting walks over all files, and every deck asks every few seconds.
    """
    at, counts = _counts.get(ws, (-np.inf, (0, 0, 0)))
    if time.monotonic() - at > COUNTS_S:
        counts = (ws.catalog.count_files(), count_embedded_files(ws), ws.catalog.count_present())
        _counts[ws] = (time.monotonic(), counts)
    return counts


def count_embedded_files(ws: Workspace) -> int:
    """Return how many image files have a vector: byte-identical ones share theirs."""
    used = ws.catalog.encoder()
    return ws.catalog.count_files_of(used[2]) if used else 0


def check(ws: Workspace) -> list[str]:
    """Return what is wrong with a workspace, one sentence each; empty when it is whole."""
    problems = [f"The database says: {line}." for line in ws.catalog.problems()]
    problems += [HEAL] if problems else []
    used = ws.catalog.encoder()
    if used is None:
        return problems
    key, dim, n = used
    stored = ws.vectors(key, dim)
    if len(stored) < n:
        problems.append(
            f"{stored.path.name} holds {len(stored)} vectors where {n} are noted. Run: labeler index."
        )
    if n > ws.catalog.count_items():
        problems.append(f"{n} vectors are noted for {ws.catalog.count_items()} items.")
    sample = stored.rows(0, n)[:: max(1, n // 1000)]
    if len(sample) and not np.allclose(np.linalg.norm(sample, axis=1), 1, atol=1e-3):
        problems.append(f"{stored.path.name} holds vectors that are not of length 1.")
    return problems
