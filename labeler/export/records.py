"""The rows that every export writes, and what became of one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

Format = Literal["csv", "jsonl", "folders"]
How = Literal["copy", "link", "refs"]
Value = str | int | float | None

LABEL_COLUMNS = ("item", "path", "label", "source", "posterior", "votes", "labeled_at")
EVENT_COLUMNS = (
    *("event", "item", "path", "label", "person", "at", "ms", "card", "reason", "p_chosen", "round"),
)


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What one file is, according to people or to the head. Byte-identical files have a row each.

    path        relative to the folder of images, with / between parts; os.fsdecode's form.
    label       a label's name, or "unsure".
    source      "person": somebody's answer. "predicted": nobody was asked.
    posterior   how sure, in [0, 1]; None when it is not known.
    votes       how many people say so now; 0 for a prediction.
    labeled_at  when the last of them said it; None for a prediction.
    """

    item: int
    path: str
    label: str
    source: Literal["person", "predicted"]
    posterior: float | None = None
    votes: int = 0
    labeled_at: datetime | None = None

    def values(self) -> tuple[Value, ...]:
        """Return the row as LABEL_COLUMNS wants it."""
        posterior = None if self.posterior is None else round(float(self.posterior), 6)
        path = shown(self.path)
        return (
            *(self.item, path, self.label, self.source, posterior, self.votes),
            None if self.labeled_at is None else iso(self.labeled_at),
        )


@dataclass(frozen=True, slots=True)
class EventRow:
    """One stored event. `label` is a label's name, "unsure", "skip", or None: taken back.

    path  the item's first file; the others are in the rows of labels.
    """

    event: str
    item: int
    path: str
    label: str | None
    person: str
    at: datetime
    ms: int | None = None
    card: int | None = None
    reason: str | None = None
    p_chosen: float | None = None
    round: int | None = None

    def values(self) -> tuple[Value, ...]:
        """Return the row as EVENT_COLUMNS wants it."""
        path = shown(self.path)
        return (
            *(self.event, self.item, path, self.label, self.person, iso(self.at)),
            *(self.ms, self.card, self.reason, self.p_chosen, self.round),
        )


@dataclass(frozen=True, slots=True)
class About:
    """Where an export comes from; written beside it as `export.json`.

    told  what the newest round knew: how much is found, how right its predictions are.
    """

    workspace: str
    session: int
    question: str
    labels: tuple[str, ...]
    predicted_from: float | None = None  # None: no predictions were asked for
    told: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


@dataclass(frozen=True, slots=True)
class ExportData:
    """All that an export needs. The rows are read once, so they may be generators.

    images  the folder that the rows' paths are relative to; only read.
    stamps  {path: (bytes, modification time in ns)} of the files that were labeled; one that differs
            by now is not copied. Files that are not named here are taken as they are.
    """

    images: Path
    about: About
    labels: Iterable[LabelRow]
    events: Iterable[EventRow]
    stamps: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written. `missing` names files that are gone or changed, so that they were not copied."""

    out: Path
    person: int = 0
    predicted: int = 0
    events: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def iso(at: datetime) -> str:
    """Return a time as ISO 8601 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(path: str) -> str:
    """Return a path as text that every encoding can carry: bytes that are no UTF-8 become \\xNN."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return path
