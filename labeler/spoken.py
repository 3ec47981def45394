"""What `labeler train` says: how far it is, how it ended, and whether it pays."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeler.bar import DRAW_EVERY_S, Bar
from labeler.domain import Progress

if TYPE_CHECKING:
    from active.embedding.training import options
    from labeler.proof import Curves
    from labeler.verdict import Verdict
    from labeler.workspace import Workspace

LINE_EVERY_S = 30.0  # where the output is no terminal


class Line:
    """Says how a training goes: one line on a terminal, a line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._live, self._last = quiet, sys.stderr.isatty(), 0.0
        self._bar = Bar(sys.stderr, quiet=quiet)

    def progress(self, p: "options.Progress") -> None:
        """Say where a training without labels stands."""
        self._show(
            f"training  {p.share:4.0%} · {p.minutes:.0f} min · seen {p.epoch:.1f} times · loss {p.loss:.3f}"
            f" · spread {p.feature_std:.2f} · {p.images_per_s:,.0f} images a second"
        )

    def epoch(self, number: int, score: float) -> None:
        """Say where a training from labels stands."""
        self._show(f"training  epoch {number} · {score:.3f} on labels that it does not learn from")

    def reading(self, done: int, of: int) -> None:
        """Say how many pictures were read."""
        self._bar.show(Progress("reading", done, of))

    def _show(self, text: str) -> None:
        now = time.monotonic()
        every = DRAW_EVERY_S if self._live else LINE_EVERY_S
        if self._quiet or (self._last and now - self._last < every):
            return
        self._bar.close()
        self._last = now
        click.echo(f"\r\x1b[K{text}" if self._live else text, err=True, nl=not self._live)

    def close(self) -> None:
        """Leave the line."""
        if self._live and self._last:
            click.echo(err=True)


def ending_of(result: "options.Result") -> None:
    """Say how a training without labels ended."""
    click.echo(result.note)
    if result.last is not None:
        click.echo(
            f"{result.steps:,} steps in {result.minutes:.0f} minutes, {result.images:,} images,"
            f" {result.same_neighbours:.0%} of neighbours as before."
        )


def verdict_of(ws: "Workspace", folder: Path, verdict: "Verdict", curves: "Curves | None") -> None:
    """Say whether the new encoder pays, and how to use it."""
    if curves is not None:
        before, after = curves.at(1.0)
        click.echo(
            f"Played on the folders' classes: after as many cards as a class has images, {before:.0%} of them"
            f" are found by the encoder it began with, {after:.0%} by the new one."
        )
    if verdict.pays is None:
        click.echo("Nobody can say yet whether it sees more: that takes 20 answers of either side.")
    else:
        better = "better than" if verdict.pays else "not surely better than"
        click.echo(
            f"Of {verdict.labels:,} of your labels, held out, {verdict.measure} is {verdict.after:.3f},"
            f" {better} the {verdict.before:.3f} before."
        )
    is_worse = curves is not None and not curves.pays
    if verdict.pays is False or (is_worse and not verdict.pays):
        click.echo("So keep the one in use.")
        return
    from labeler import places

    click.echo(f"To use it: labeler start {places.start_words(ws)} --encoder {shlex.quote(str(folder))}")
