"""log.jsonl: one line every few seconds of training, and the means that go into it."""

import json
from dataclasses import asdict
from pathlib import Path

from active.embedding.training.checkpoint import write_error, write_whole
from active.embedding.training.options import Progress

FILE = "log.jsonl"


class Log:
    """The log in a folder. Lines after the step where a training goes on are cut off: they come again."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / FILE
        kept = []
        if step and self._path.exists():
            kept = [
                line for line in self._path.read_text("utf-8", "replace").splitlines() if _step(line) <= step
            ]

        def write(part: Path) -> None:
            part.write_text("".join(f"{line}\n" for line in kept), "utf-8")

        write_whole(self._path, write)

    def add(self, progress: Progress) -> None:
        """Write one line."""
        try:
            with open(self._path, "a", encoding="utf-8") as f:
                f.write(json.dumps(asdict(progress)) + "\n")
        except OSError as e:
            raise write_error(e, self._path) from e


def _step(line: str) -> int:
    """Return the step of a line; of one that was cut off in the middle, one that is too late."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):
        return 1 << 62


class Sums:
    """Means of a few numbers since they were last asked for."""

    def __init__(self) -> None:
        self._sums, self.n = [0.0, 0.0, 0.0, 0.0], 0

    def add(self, values: list[float]) -> None:
        """Take the numbers of one step."""
        self._sums = [a + b for a, b in zip(self._sums, values, strict=True)]
        self.n += 1

    def means(self) -> list[float]:
        """Return their means, and start anew. Asked only after at least one step."""
        out = [s / self.n for s in self._sums]
        self._sums, self.n = [0.0] * len(out), 0
        return out
