"""`labels.csv` and `events.csv`: every value exactly as it is, quoted where CSV needs it."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from labeler.export.records import EVENT_COLUMNS, LABEL_COLUMNS, ExportData, ExportReport, Value


def write_csv(data: ExportData, folder: Path) -> ExportReport:
    """Write `labels.csv` and `events.csv` into `folder` and return how many rows there are.

    Values are kept exact: a file name that begins with = + - or @ is not defused for
    spreadsheets (docs/workspace.md says so). None is an empty field.
    """
    counts = {"person": 0, "predicted": 0}

    def labels() -> Iterable[Sequence[Value]]:
        for row in data.labels:
            counts[row.source] += 1
            yield row.values()

    write_table(folder / "labels.csv", LABEL_COLUMNS, labels())
    events = write_table(folder / "events.csv", EVENT_COLUMNS, (e.values() for e in data.events))
    files = ("labels.csv", "events.csv")
    return ExportReport(folder, counts["person"], counts["predicted"], events, files)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> int:
    """Write a header and rows as UTF-8 CSV with \\n line ends; return the number of rows."""
    n = 0
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(columns)
        for row in rows:
            out.writerow(row)
            n += 1
    return n
