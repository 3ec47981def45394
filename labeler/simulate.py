"""An oracle plays a person through the loop: what a collection would take, card by card.

Nothing here chooses a card or learns. A play opens a question like anybody, gives a reference image, answers
what `loop` deals, and lets it learn after every batch, as the worker does. It knows the answers from the
folders that the images lie in (truth.py); the loop sees a flat folder of names that say nothing.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event as ProcessEvent
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from labeler import drawing, files, images, loop, predicting, space
from labeler.child import ONE_THREAD
from labeler.config import Config
from labeler.domain import Card, Goal, LabelEvent, Progress, Session
from labeler.ingest import count_cores
from labeler.truth import Truth
from labeler.workspace import Workspace

QUESTION, LABELS = "Is this one of them?", ("yes", "no")
BASELINE = "neighbours"
LABELED = (50, 100, 200, 400)  # labels after which the head is judged on images it has never seen
MOST_PROCESSES, PLAYS_EACH = 8, 4  # a process takes seconds to start: it should have some plays to do
LARGE_POOL = 300_000  # beyond so many images every process takes gigabytes: one at a time

Kind = Literal["play", "baseline", "held out"]


@dataclass(frozen=True, slots=True)
class Example:
    """A reference image to begin with. vector: for one that is not in the pool, by the encoder in use."""

    path: Path
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How every class is played.

    times, cards  the budget of a play: so many times the images of the class, or so many cards.
    noise         part of the answers that is flipped. people: how many answer in turn, each with a deck.
    seeds         runs with another chance each. references: images of a class that a run begins with, each
                  in a play of its own. like: what plays begin with instead, all at once.
    labeled       labels after which the head is judged on a held-out third, ascending; none: not at all.
    baseline      whether neighbours alone are played too.
    target_share  the share that the person wants found; None: nobody says.
    """

    goal: Goal = "find"
    strategy: str = drawing.RECIPE
    times: float | None = 2.0
    cards: int | None = None
    noise: float = 0.0
    people: int = 1
    seeds: int = 1
    references: int = 1
    like: tuple[Example, ...] = ()
    labeled: tuple[int, ...] = LABELED
    baseline: bool = True
    target_share: float | None = None

    def budget(self, total: int, pool: int) -> int:
        """Return the cards of a play for a class of `total` images, at most the pool."""
        if self.cards is not None:
            return min(self.cards, pool)
        assert self.times is not None
        return min(int(np.ceil(self.times * total)), pool)


@dataclass(frozen=True, slots=True)
class Task:
    """One play, as it is sent to a process.

    seed, reference  which run, and which image of that run it begins with. members: the class's items.
    stops            numbers of cards; the last one is the budget, at the others a batch is cut short.
    chance           of the play's generator. hide: items that are never asked, to judge the head on.
    target_share     the share that the person wants found; None: nobody says.
    """

    kind: Kind
    target: str
    seed: int
    reference: int
    examples: tuple[Example, ...]
    members: Ids
    stops: tuple[int, ...]
    goal: Goal
    strategy: str
    chance: int
    noise: float = 0.0
    people: int = 1
    target_share: float | None = None
    hide: Ids = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Seen:
    """A round: how many cards were shown and images found before it, how long it took, what it estimated.

    kept   images of the class that stand answered as such. again: cards that asked a second time.
    advice  as in `loop.session_status`; None without a target share.
    """

    number: int
    shown: int
    found: int
    ms: float
    estimate: dict[str, float] | None
    kept: int = 0
    again: int = 0
    advice: dict[str, Any] | None = None  # Any: JSON


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a play.

    hits       (n,) card by card, whether it showed the class; a reference in the pool is the first card. What
               was shown before is no hit again.
    precision  {labels: average precision of the head on the hidden items}; None: not so many could be given.
    """

    task: Task
    hits: NDArray[np.bool_]
    rounds: list[Seen]
    precision: dict[int, float | None]
    wall_s: float


# what to play ------------------------------------------------------------------------------


def tasks(ws: Workspace, truth: Truth, plan: Plan, targets: Sequence[str]) -> list[Task]:
    """Return every play of a plan, by class, run and reference, each followed by what it is compared with."""
    pool = np.array(sorted(truth.names), np.int64)
    out: list[Task] = []
    for target in targets:
        members = truth.items[target]
        for seed in range(plan.seeds):
            begin = [seed, crc32(target.encode("utf-8", "surrogateescape"))]
            drawn = np.random.default_rng(begin).permutation(members)[: plan.references].tolist()
            given = [(Example(ws.images / truth.names[item]),) for item in drawn]
            for number, examples in enumerate([plan.like] if plan.like else given):
                chance = int(np.random.SeedSequence([*begin, number]).generate_state(1)[0])
                first = Task(
                    "play", target, seed, number, examples, members,
                    (plan.budget(len(members), len(pool)),), plan.goal, plan.strategy, chance,
                    noise=plan.noise, people=plan.people, target_share=plan.target_share,
                )  # fmt: skip
                out += [first, *_beside(ws, first, plan, pool)]
    return out


def _beside(ws: Workspace, first: Task, plan: Plan, pool: Ids) -> Iterator[Task]:
    """Yield what is played beside a play: neighbours alone, and one that hides a third of the images."""
    if plan.baseline and plan.strategy != BASELINE:
        yield replace(first, kind="baseline", goal="find", strategy=BASELINE)
    if plan.labeled:
        known = {images.content_hash(files.read_file(str(e.path))) for e in first.examples}
        given = {item for name in known if (item := ws.catalog.item_by_hash(name)) is not None}
        rng = np.random.default_rng([first.chance, 1])
        free = np.array([i for i in pool.tolist() if i not in given], np.int64)
        is_member = np.isin(free, first.members)
        parts = [rng.permutation(free[side])[: round(side.sum() / 3)] for side in (is_member, ~is_member)]
        yield replace(first, kind="held out", stops=plan.labeled, hide=np.sort(np.concatenate(parts)))


# one play ----------------------------------------------------------------------------------


class Stopped(Exception):
    """Whoever wanted the plays has gone."""


def play(ws: Workspace, task: Task, *, is_over: Callable[[], bool] = lambda: False) -> Played:
    """Return what came of one play, in a session of its own in `ws`.

    With several people each holds a deck while the others answer theirs, and a round follows every deck.
    Raises Stopped when `is_over` says so between two rounds.
    """
    began = time.perf_counter()
    rng = np.random.default_rng(task.chance)
    session = loop.new_session(ws, QUESTION, LABELS, task.goal, seed=int(rng.integers(2**32)))
    if task.target_share is not None:
        session = ws.store.set_target(session, task.target_share)
    members = set(task.members.tolist())
    given = _give_examples(ws, session, task.examples)
    hits = [item in members for item in given]
    stands = dict.fromkeys(given, True)  # {item: whether it stands answered as the class}
    again = 0
    hidden = task.hide.tolist()
    people = _people(ws, task.people)
    rounds: list[Seen] = []
    precision: dict[int, float | None] = {}

    def learn() -> None:
        if is_over():
            raise Stopped
        start = time.perf_counter()
        made = loop.learn(ws, session, hide=hidden, strategy=task.strategy)
        ms = (time.perf_counter() - start) * 1000
        status = loop.session_status(ws, session) if task.kind == "play" else {}
        kept = sum(yes and item in members for item, yes in stands.items())
        rounds.append(
            Seen(
                made.number if made else 0, len(hits), sum(hits), ms, status.get("estimate"), kept, again,
                status.get("advice"),
            )
        )  # fmt: skip

    def fetch(person: int, stop: int) -> None:
        want = stop - len(hits) - sum(map(len, decks.values()))
        if want > 0:
            decks[person] = loop.next_cards(ws, session, person, min(session.batch_size, want), have=[])

    learn()
    for stop in task.stops:
        decks: dict[int, list[Card]] = {person: [] for person in people}
        for person in people:
            fetch(person, stop)
        while any(decks.values()):
            for person in people:
                if deck := decks[person]:
                    decks[person] = []
                    said = _answer(ws, session, person, deck, members=members, noise=task.noise, rng=rng)
                    hits += [card.item in members and card.item not in stands for card in deck]
                    again += sum(card.reason == "repeat" for card in deck)
                    stands |= said
                    learn()
                fetch(person, stop)
        if hidden:
            precision[stop] = _precision(ws, session, task) if len(hits) >= stop else None
    shutil.rmtree(ws.round_file(session.id, 1).parent, ignore_errors=True)
    return Played(task, np.array(hits, bool), rounds, precision, time.perf_counter() - began)


def _give_examples(ws: Workspace, session: Session, examples: Sequence[Example]) -> list[int]:
    """Give the reference images; return the items of those that are in the pool: each is a card."""
    items: list[int] = []
    vectors: dict[str, NDArray[np.float32]] = {}
    for example in examples:
        data = files.read_file(str(example.path))
        item = loop.add_example(ws, session, example.path.name, data)
        if item is not None:
            items.append(item)
        elif example.vector is not None:
            vectors[images.content_hash(data)] = example.vector
    used = ws.registry.in_use()
    for given in loop.examples(ws, session):
        if used is not None and given.hash in vectors:
            ws.store.set_example_vector(given.id, used[0], vectors[given.hash])
    return list(dict.fromkeys(items))


def _people(ws: Workspace, n: int) -> list[int]:
    """Return n people, the owner first; made where there are not so many yet."""
    known = {name: number for number, name in ws.roster.names().items()}
    others = [f"player {i}" for i in range(2, n + 1)]
    return [loop.owner(ws), *(known.get(who) or ws.roster.add_person(who, "swipe", who).id for who in others)]


def _answer(
    ws: Workspace, session: Session, person: int, deck: Sequence[Card], *, members: set[int], noise: float,
    rng: np.random.Generator,
) -> dict[int, bool]:  # fmt: skip
    """Answer a deck: the truth, but for a part of the answers the other label; return who was called one."""
    wrong = (rng.random(len(deck)) < noise).tolist()
    now = datetime.now(UTC)
    events = []
    said = {}
    for card, is_wrong in zip(deck, wrong, strict=True):
        said[card.item] = (card.item in members) != is_wrong
        label = LABELS[0 if said[card.item] else 1]
        events.append(LabelEvent(str(uuid.uuid4()), card.item, label, now, card.id, 500))
    stored = loop.record(ws, session, person, events)
    assert stored.accepted == len(events), stored
    return said


def _precision(ws: Workspace, session: Session, task: Task) -> float | None:
    """Return the average precision of the newest head on the hidden items, None where that means nothing."""
    from sklearn.metrics import average_precision_score

    made = predicting.predict(ws, session, task.hide)
    is_target = np.isin(task.hide, task.members)
    if made is None or not is_target.any():
        return None
    return min(1.0, float(average_precision_score(is_target, made.probs[:, 0])))  # it sums up to 1 + 2e-16


# all of them -------------------------------------------------------------------------------


def play_all(
    ws: Workspace, wanted: Sequence[Task], *, report: Callable[[Progress], None], processes: int | None = None
) -> list[Played]:
    """Return what came of each play, in the order given.

    Plays run in processes of one thread each, on copies of the database that are thrown away: what comes out
    is the same whatever their number (None: one per core). report: called as each play ends.
    """
    if processes is None:
        processes = min(count_cores(), MOST_PROCESSES, 1 + len(wanted) // PLAYS_EACH)
        if ws.catalog.count_items() > LARGE_POOL:
            processes = 1
    context = get_context("spawn")
    over = context.Event()
    began = time.monotonic()
    report(Progress("playing", 0, len(wanted)))
    with (
        tempfile.TemporaryDirectory(prefix="labeler-", ignore_cleanup_errors=True) as folder,
        _one_thread(),
        ProcessPoolExecutor(
            max(1, min(processes, len(wanted))), mp_context=context, initializer=_begin,
            initargs=(ws.folder, ws.config, Path(folder), over),
        ) as pool,
    ):  # fmt: skip
        futures = [pool.submit(_play_here, task) for task in wanted]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                per_s = done / (time.monotonic() - began)
                report(Progress("playing", done, len(wanted), per_s, (len(wanted) - done) / per_s))
        except BaseException:
            over.set()
            pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started in the block compute with one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_stage: "list[tuple[Workspace, ProcessEvent]]" = []  # of this process, once it has begun


def _begin(folder: Path, config: Config, scratch: Path, over: ProcessEvent) -> None:
    """Make this process ready: a copy to play on, and all that is imported late, so that no round waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and says when it is over
    threading.Thread(target=_end_with_parent, daemon=True).start()
    original = Workspace.open(folder)
    original.config = config
    _stage.append((original.copy_to_play_on(scratch / str(os.getpid())), over))
    original.close()
    space.current(_stage[0][0])
    import modAL.models  # noqa: F401
    import sklearn.linear_model  # noqa: F401


def _end_with_parent() -> None:
    """End when the parent is gone, however it went."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _play_here(task: Task) -> Played:
    ws, over = _stage[0]
    return play(ws, task, is_over=over.is_set)
