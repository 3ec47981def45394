"""The command that lets an encoder learn from a folder of unlabeled images."""

import shlex
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import opening, say
from labeler.errors import BadInput, Missing
from labeler.waiting import INTERRUPTED, INTERRUPTED_CODE, prepare

if TYPE_CHECKING:
    from active.embedding.training.options import Options, Progress, Result
    from labeler.school import Verdict
    from labeler.workspace import Workspace

METHODS = ("simclr", "simsiam", "vicreg", "dino")
LINE_EVERY_S = 30.0  # where the output is no terminal


@click.command()
@click.option(
    "--images", type=click.Path(path_type=Path), metavar="DIR", help="The folder of images; only ever read."
)
@click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    envvar="LABELER_WORKSPACE",
    metavar="DIR",
    help="The workspace. Default: data/<name of the images' folder>.",
)
@click.option(
    "--method", type=click.Choice(METHODS), default="simclr", show_default=True, help="How it learns."
)
@click.option(
    "--from",
    "start",
    metavar="builtin|DIR|NAME",
    default="builtin",
    show_default=True,
    help="The encoder to begin with.",
)
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="How long, in all.  [default: 30]")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), help="How often each image, instead.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of the new encoder.  [default: data/encoders/<images>-<method>]",
)
@click.option("--device", metavar="DEVICE", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def train(
    images: Path | None,
    workspace: Path | None,
    method: str,
    start: str,
    minutes: float | None,
    epochs: float | None,
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Let an encoder learn from your own unlabeled images.

    Stopped with Ctrl-C, the same command goes on. Whether it sees more than the encoder in use is judged on
    your own labels, if there are enough.
    """
    from active.embedding.training.options import Options
    from labeler import encoders, places, school
    from labeler.drives import is_inside

    ws = opening.open_for_work(images, workspace, quiet=as_json)
    folder = out or places.DATA / "encoders" / f"{ws.folder.name}-{method}"
    if is_inside(folder, ws.images):
        raise BadInput(f"{folder} lies inside the images, where nothing is written.", "Give another --out.")
    try:
        options = Options(folder, method, minutes=minutes, epochs=epochs, device=device)
    except ValueError as e:
        raise BadInput(str(e)) from e
    chosen = encoders.stored(start) or start
    prepare(ws, quiet=as_json)
    result = _run(ws, options, chosen, quiet=as_json)
    verdict = None
    if result.ending == "done":
        try:
            from labeler import loop

            verdict = school.judge(ws, loop.newest_session(ws), folder)
        except Missing:
            verdict = school.Verdict(0)
    if as_json:
        say.print_json(_json(ws, folder, result, verdict))
    else:
        _tell(ws, folder, result, verdict)
    if result.ending == "stopped":
        click.echo(INTERRUPTED, err=True)
        click.get_current_context().exit(INTERRUPTED_CODE)
    if result.ending == "collapsed":
        click.get_current_context().exit(1)


def _run(ws: "Workspace", options: "Options", start: str, *, quiet: bool) -> "Result":
    """Train in a thread, so that Ctrl-C is heard; the step in hand is ended and kept."""
    from labeler import school

    stop, line = threading.Event(), _Line(quiet)
    ended: list[Result] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            ended.append(school.train(ws, options, start, report=line.show, stop=stop))
        except BaseException as e:  # handed to the main thread, which raises it again
            failed.append(e)
        finally:
            ws.close()

    thread = threading.Thread(target=work, name="train")
    thread.start()
    while thread.is_alive():
        try:
            thread.join(0.2)
        except KeyboardInterrupt:
            stop.set()
    line.close()
    if failed:
        raise failed[0]
    return ended[0]


class _Line:
    """Says how a training goes: one line on a terminal, a line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._live, self._last = quiet, sys.stderr.isatty(), 0.0

    def show(self, p: "Progress") -> None:
        """Say where it stands."""
        now = time.monotonic()
        if self._quiet or (not self._live and now - self._last < LINE_EVERY_S):
            return
        self._last = now
        text = (
            f"training  {p.share:4.0%} · {p.minutes:.0f} min · seen {p.epoch:.1f} times · loss {p.loss:.3f}"
            f" · spread {p.feature_std:.2f} · {p.images_per_s:,.0f} images a second"
        )
        click.echo(f"\r\x1b[K{text}" if self._live else text, err=True, nl=not self._live)

    def close(self) -> None:
        """Leave the line."""
        if self._live and self._last:
            click.echo(err=True)


def _json(
    ws: "Workspace", folder: Path, result: "Result", verdict: "Verdict | None"
) -> dict[str, Any]:  # Any: JSON
    judged = None if verdict is None else asdict(verdict) | {"pays": verdict.pays}
    return {"workspace": str(ws.folder), "out": str(folder), **asdict(result), "judged": judged}


def _tell(ws: "Workspace", folder: Path, result: "Result", verdict: "Verdict | None") -> None:
    """Say how it ended, whether it pays, and how to use it."""
    click.echo(result.note)
    if result.last is not None:
        click.echo(
            f"{result.steps:,} steps in {result.minutes:.0f} minutes, {result.images:,} images,"
            f" {result.same_neighbours:.0%} of neighbours as before."
        )
    if verdict is None:
        return
    command = f"labeler start --images {shlex.quote(str(ws.images))} --encoder {shlex.quote(str(folder))}"
    if verdict.pays is None:
        click.echo("Nobody can say yet whether it sees more: that takes 20 answers of either side.")
    else:
        better = "better than" if verdict.pays else "no better than"
        click.echo(
            f"Of your {verdict.labels:,} labels, held out, average precision is {verdict.after:.3f},"
            f" {better} the {verdict.before:.3f} of the encoder in use."
        )
        if not verdict.pays:
            click.echo("So keep the one in use.")
            return
    click.echo(f"To use it: {command}")
