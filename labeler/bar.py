"""A progress bar with rate and time left, on one line of the terminal."""

import shutil
import time
from typing import TextIO

from labeler.domain import Progress

WIDTH = 24
LINE_EVERY_S = 10.0  # where the output is no terminal, a plain line this often
DRAW_EVERY_S = 0.1


class Bar:
    """Draws Progress. In a file or a pipe it writes a plain line now and then instead."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._live = not quiet and out.isatty()
        self._last = 0.0
        self._stage = ""
        self._drawn = False

    def show(self, p: Progress) -> None:
        """Draw where the work stands."""
        now = time.monotonic()
        wait = DRAW_EVERY_S if self._live else LINE_EVERY_S
        if self._quiet or (p.stage == self._stage and now - self._last < wait):
            return
        self._last, self._stage = now, p.stage
        text = describe(p)
        if self._live:
            columns = shutil.get_terminal_size().columns
            self._out.write("\r\x1b[K" + text[: columns - 1])
            self._drawn = True
        else:
            self._out.write(text + "\n")
        self._out.flush()

    def close(self) -> None:
        """Leave the line, so that what follows begins on the next."""
        if self._drawn:
            self._out.write("\n")
            self._out.flush()
            self._drawn = False


def describe(p: Progress) -> str:
    """Return progress as a line: a bar when the end is known, rate and time left when those are."""
    unit = " MB" if p.stage in ("copying", "checking") else ""
    parts = [(f"{p.done:,}" if p.total is None else f"{p.done:,} of {p.total:,}") + unit]
    if p.per_s:
        parts.append(f"{p.per_s:,.0f}/s" if p.per_s >= 10 else f"{p.per_s:.1f}/s")
    if p.left_s is not None and p.stage != "done":
        parts.append(f"{clock(p.left_s)} left")
    if p.aside:
        parts.append(f"{p.aside:,} set aside")
    bar = ""
    if p.total:
        full = round(WIDTH * min(1.0, p.done / p.total))
        bar = "█" * full + "░" * (WIDTH - full) + " "
    return f"{p.stage:<9} {bar}{' · '.join(parts)}"


def clock(seconds: float) -> str:
    """Return a duration as people say it: 45 s, 3 min, 2 h 05 min."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
