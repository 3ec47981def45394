"""`labels.jsonl` and `events.jsonl`: the rows of the CSV export, one JSON object a line."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from labeler.export.records import EVENT_COLUMNS, LABEL_COLUMNS, ExportData, ExportReport, Value


def write_jsonl(data: ExportData, folder: Path) -> ExportReport:
    """Write `labels.jsonl` and `events.jsonl` into `folder` and return how many rows there are."""
    counts = {"person": 0, "predicted": 0}

    def labels() -> Iterable[Sequence[Value]]:
        for row in data.labels:
            counts[row.source] += 1
            yield row.values()

    _write(folder / "labels.jsonl", LABEL_COLUMNS, labels())
    events = _write(folder / "events.jsonl", EVENT_COLUMNS, (e.values() for e in data.events))
    files = ("labels.jsonl", "events.jsonl")
    return ExportReport(folder, counts["person"], counts["predicted"], events, files)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> int:
    n = 0
    with open(path, "w", encoding="utf-8", newline="") as f:
        for row in rows:
            f.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")
            n += 1
    return n
