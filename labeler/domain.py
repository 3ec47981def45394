"""The nouns: frozen records that check themselves and do no work."""

import os
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from labeler.errors import BadInput

Reason = Literal["find", "uncertain", "spread", "audit", "asked", "repeat", "gold"]
"""Why a card was chosen; docs/http.md says what each means."""
Role = Literal["own", "review", "swipe"]
"""What somebody may do: everything, look into disputes too, or answer cards."""
Goal = Literal["find", "classify"]

State = Literal["open", "paused", "closed"]
LONGEST_NOTICE = 300

UNSURE = "unsure"
SKIP = "skip"
RESERVED = frozenset({UNSURE, SKIP, "null", "none", ""})
MAX_LABELS = 9
MOST_VOTES = 25
AUTO_VOTES = 15, 2  # at most, at least, where what people say decides
LEAST_TARGET, MOST_TARGET = 0.5, 0.999  # below, the estimate says too much; all of it is never sure


@dataclass(frozen=True, slots=True)
class Item:
    """One image content. `id` is its row in every array; `path` is relative to the images folder.

    present  whether a file of the folder holds it. Of one that only a file outside does `path` is absolute.
    """

    id: int
    path: str
    hash: str
    width: int
    height: int
    present: bool = True

    @property
    def is_of_folder(self) -> bool:
        """Return whether it is, or was, in the folder of images."""
        return bool(self.path) and not os.path.isabs(self.path)


@dataclass(frozen=True, slots=True)
class Session:
    """A question put to a pool, with its labels. `labels[0]` is the target of every estimate.

    target_share  how much of the target a person wants found, for advice when to stop; None: nobody said.
    votes         how many people each image is put to at most; an owner's answer ends it before.
    least         how many at least, before what they say may end it; 0: as many as votes.
    state         paused and closed: others than owners get no cards. notice: what they are told meanwhile,
                  or beside the question.
    gold_feedback whether people are told, after a card whose answer is known, if theirs agreed with it.
    """

    id: int
    question: str
    labels: tuple[str, ...]
    goal: Goal
    seed: int
    batch_size: int
    created_at: datetime
    target_share: float | None = None
    votes: int = 1
    least: int = 0
    state: State = "open"
    notice: str = ""
    gold_feedback: bool = False

    def __post_init__(self) -> None:
        if self.least == 0:
            object.__setattr__(self, "least", self.votes)
        if not self.question.strip():
            raise BadInput("The question is empty.", 'Give one, such as --question "Is this an island?".')
        if any("\ud800" <= c <= "\udfff" for c in self.question):
            raise BadInput("The question holds characters that can't be stored.", "Use plain text.")
        if not 2 <= len(self.labels) <= MAX_LABELS:
            raise BadInput(
                f"The number of labels is {len(self.labels)}.",
                f"Give from 2 to {MAX_LABELS}, with commas between them, such as yes,no.",
            )
        for name in self.labels:
            if not name:
                raise BadInput("One of the labels is empty.", "Give a word on each side of every comma.")
            if name != name.strip() or name.lower() in RESERVED:
                raise BadInput(f"{name!r} can't be a label.", "Use a plain word other than unsure and skip.")
            if len(name) > 60 or not name.isprintable():
                raise BadInput(
                    f"The label {name[:60]!r} is too long or not printable.",
                    "Use at most 60 plain characters.",
                )
        if len({n.lower() for n in self.labels}) < len(self.labels):
            raise BadInput(f"The labels {', '.join(self.labels)} repeat one.", "Name each label once.")
        if self.goal not in ("find", "classify"):
            raise BadInput(f"The goal {self.goal!r} is unknown.", "Use find or classify.")
        if not 1 <= self.least <= self.votes <= MOST_VOTES:
            raise BadInput(f"The number of votes is {self.votes}.", f"Give a number from 1 to {MOST_VOTES}.")
        if self.state not in ("open", "paused", "closed"):
            raise BadInput(f"The state {self.state!r} is unknown.", "Use open, paused or closed.")
        if len(self.notice) > LONGEST_NOTICE or any("\ud800" <= c <= "\udfff" for c in self.notice):
            raise BadInput("The message is too long.", f"Use at most {LONGEST_NOTICE} plain characters.")
        if self.votes > self.least == 1:
            raise BadInput(
                "One vote can't end it.", "Give at least 2."
            )  # nothing retires against its only vote
        if self.target_share is not None and not LEAST_TARGET <= self.target_share <= MOST_TARGET:
            raise BadInput(
                f"The share {self.target_share:g} can't be a target.",
                "Give one from 0.5 to 0.999, such as 0.95.",
            )

    @property
    def is_open(self) -> bool:
        """Return whether how many people an image is put to goes by what they say."""
        return self.least < self.votes

    @property
    def target(self) -> str:
        """Return the label that is searched for and estimated."""
        return self.labels[0]


@dataclass(frozen=True, slots=True)
class Pick:
    """An item that a round wants asked: why, and with what probability it was drawn."""

    item: int
    reason: Reason
    p_chosen: float | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Card:
    """An item given to one person for a while (a lease)."""

    id: int
    item: int
    width: int
    height: int
    round: int
    reason: Reason
    p_chosen: float | None
    score: float | None


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """One answer, or one taken back. Only ever inserted.

    id      the client's own UUID: a repeat of it changes nothing.
    card    the card it answers; None for an answer given outside the deck (review, example).
    answer  a label's name, "unsure", "skip", or None: the person's last answer is taken back.
    at      when the person answered, by their own clock, aware UTC.
    ms      how long the card was looked at; None when unknown.
    """

    id: str
    item: int
    answer: str | None
    at: datetime
    card: int | None = None
    ms: int | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A LabelEvent as stored: with its place in the log, and who gave it."""

    seq: int
    id: str
    item: int
    answer: str | None
    at: datetime
    person: int
    card: int | None
    ms: int | None
    reason: Reason | None
    p_chosen: float | None
    round: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much of the target has been found: the middle and the 95 % interval.

    share, low, high                the share found.
    total, total_low, total_high    how many images of the target the pool holds.
    next_finds                      expected finds in the next 50 cards.
    """

    share: float
    low: float
    high: float
    total: float
    total_low: float
    total_high: float
    next_finds: float


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether the share that a person wants found is reached, and what going on would bring and cost.

    target           that share. reached: it is called so when it is very likely; no promise.
    chance           the probability that so much has been found.
    next_finds       expected finds in the next 50 cards.
    cards_to_next    expected cards until the next find; None, here and below: it can't be said.
    cards_to_target  until the target, if the estimate's middle is right. cards_to_sure: in a bad case.
    """

    target: float
    reached: bool
    chance: float
    next_finds: float
    cards_to_next: float | None
    cards_to_target: float | None
    cards_to_sure: float | None


@dataclass(frozen=True, slots=True)
class Precision:
    """Of cards drawn evenly at random, those to which the head gave a label with at least `threshold`.

    precision  right / cards, with its exact 95 % interval from low to high; None while there is no card.
    """

    threshold: float
    cards: int
    right: int
    precision: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """How right the head of a round is. audit: the evenly drawn cards it is judged by; labels: by number."""

    audit: int
    labels: tuple[tuple[Precision, ...], ...]


@dataclass(frozen=True, slots=True)
class Round:
    """A recorded choice of cards: everything needed to draw the same cards again.

    number      from 1 up, per session.
    pool        the items with id below this had joined the pool.
    embedded    whether that pool was ranked by vectors (False: only decoded so far).
    basis       items with id below this fitted the PCA; 0: rows as they are.
    last_event  the last event (StoredEvent.seq) it has seen, 0 for none.
    seed        of the round's own generator.
    found       target labels at that time; shown: cards answered at that time.
    examples    reference pictures that it knew, as items or by their vectors.
    estimate    how much had been found by then; None: not enough was known to say.
    """

    session: int
    number: int
    pool: int
    embedded: bool
    basis: int
    last_event: int
    seed: int
    found: int
    shown: int
    created_at: datetime
    encoder: str | None = None
    examples: int = 0
    estimate: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far long work has come. `total` is None while it is not known yet.

    done, total  images or the like; MB where the stage is copying or checking.
    """

    stage: Literal["scanning", "loading", "embedding", "reading", "playing", "copying", "checking", "done"]
    done: int
    total: int | None
    per_s: float | None = None
    left_s: float | None = None
    aside: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a group of answers. `rejected` pairs an event id with why.

    known  (event id, label number) of those that were given on gold: what the image is known to be.
    """

    accepted: int
    duplicates: int
    rejected: tuple[tuple[str, str], ...] = ()
    known: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who answers; `role` says what they may do.

    device   the one that asks; None: no cookie.
    session  the question of the link by which that one came; None: whichever is the newest.
    """

    id: int
    name: str
    role: Role
    device: int | None = None
    session: int | None = None
