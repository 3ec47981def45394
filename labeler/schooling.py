"""The command that lets an encoder learn from a folder of images, or from labels."""

import math
import sys
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from active.methods import METHODS
from labeler import opening, say, spoken
from labeler.errors import BadInput, LabelerError
from labeler.options import device_option, images_option, json_option, new_workspace_option, session_option
from labeler.waiting import INTERRUPTED, INTERRUPTED_CODE, begin, leave, prepare, until

if TYPE_CHECKING:
    from concurrent.futures import Future

    from active.embedding.training.options import Options, Result
    from labeler.proof import Curves
    from labeler.verdict import Verdict
    from labeler.workspace import Workspace

T = TypeVar("T")
FIRST_METHOD, MINUTES = "simclr", 30.0


@click.command()
@images_option
@new_workspace_option
@click.option(
    "--method", type=click.Choice(METHODS), help=f"How it learns without labels.  [default: {FIRST_METHOD}]"
)
@click.option("--labels", is_flag=True, help="Learn from the answers to a question instead.")
@session_option
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
@click.option(
    "--truth",
    type=click.Choice(["folders"]),
    help="The images lie in a folder for each class: play before and after, as simulate does.",
)
@click.option(
    "--batch", type=click.IntRange(2), metavar="N", help="Images at once.  [default: 64; 32 with --labels]"
)
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "lars"]),
    help="lars is for batches of thousands.  [default: adamw]",
)
@click.option(
    "--up/--no-up",
    default=None,
    help="Whether the images have an up, as photographs have: then they are hardly turned."
    "  [default: unless --views of the workspace is 4 or 8]",
)
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="How quickly it learns.")
@device_option
@json_option
def train(
    images: Path | None,
    workspace: Path | None,
    method: str | None,
    labels: bool,
    session: int | None,
    start: str,
    minutes: float | None,
    epochs: float | None,
    out: Path | None,
    truth: str | None,
    batch: int | None,
    optimizer: str | None,
    up: bool | None,
    rate: float | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Let an encoder learn from your own images, without a label, or from your labels.

    Stopped with Ctrl-C, a training without labels goes on with the same command. Whether it sees more than
    the encoder in use is judged on your own labels, if there are enough. Started by torchrun, several
    processes train one network.
    """
    if labels and method:
        raise click.UsageError("--labels and --method exclude each other.")
    if truth and images is None:
        raise click.UsageError("--truth needs --images.")
    if minutes is not None and epochs is not None:
        raise click.UsageError("--minutes and --epochs exclude each other.")
    given = {"batch": batch, "optimizer": optimizer, "rate": rate}
    options = {name: value for name, value in given.items() if value is not None}
    wanted = _Wanted(
        images, workspace, session, start, minutes, epochs, out, device or "auto", truth is not None, as_json,
        up, options,
    )  # fmt: skip
    if labels:
        if "optimizer" in options:
            raise click.UsageError("--labels and --optimizer exclude each other.")
        _from_labels(wanted)
    else:
        _from_images(wanted, method or FIRST_METHOD)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was typed."""

    images: Path | None
    workspace: Path | None
    session: int | None
    start: str
    minutes: float | None
    epochs: float | None
    out: Path | None
    device: str
    truth: bool
    as_json: bool
    up: bool | None
    options: dict[str, Any]  # Any: numbers and names that the training takes as they are

    def encoder(self) -> str:
        """Return the encoder to begin with, downloaded where need be."""
        from labeler import encoders

        return encoders.stored(self.start) or self.start

    def has_up(self, ws: "Workspace") -> bool:
        """Return whether the images have an up: those that are seen turned have none."""
        return ws.config.views == 1 if self.up is None else self.up

    def say_up(self, ws: "Workspace") -> None:
        """Say what the images are taken for, where nobody has said it."""
        if self.up is None and not self.as_json:
            has_up = self.has_up(ws)
            other = "for any angle give --no-up" if has_up else "for photographs give --up"
            click.echo(f"The images are taken to have {'an' if has_up else 'no'} up; {other}.")

    def check(self, ws: "Workspace", start: str) -> None:
        """Raise what would only be found after hours: a question or classes that are not there."""
        from labeler import loop, proof

        if self.session is not None:
            loop.get_session(ws, self.session)
        if self.truth and self.images is not None:
            proof.check(self.images, start)

    def folder_name(self, ws: "Workspace", method: str) -> Path:
        """Return what the folder of the new encoder is called."""
        from labeler import places

        return self.out or places.DATA / "encoders" / f"{ws.folder.name}-{method}"

    def folder(self, ws: "Workspace", start: str, method: str) -> Path:
        """Return where the new encoder goes."""
        from labeler import school
        from labeler.drives import is_inside

        folder = self.folder_name(ws, method)
        if is_inside(folder, ws.images):
            raise BadInput(
                f"{folder} lies inside the images, where nothing is written.", "Give another --out."
            )
        school.check_out(ws, folder, start, method)
        return folder


# from images alone -------------------------------------------------------------------------


def _from_images(wanted: _Wanted, method: str) -> None:
    from active.embedding.training import processes

    try:
        device = processes.device_of(wanted.device)
    except ValueError as e:
        raise BadInput(str(e)) from e
    is_first = processes.is_first()
    with processes.joined(device):
        if is_first:
            trained = _trained(wanted, method, quiet=wanted.as_json)
        else:
            processes.wait()  # until the first has taken the images in
            trained = _trained(wanted, method, quiet=True, is_first=False)
    if is_first:
        _close(wanted, *trained)


def _trained(
    wanted: _Wanted, method: str, *, quiet: bool, is_first: bool = True
) -> "tuple[Workspace, Path, str, Result]":
    """Take the images in and train; return the workspace, both encoders, and how it ended."""
    from active.embedding.training import processes
    from active.embedding.training.options import Options

    ws = opening.open_for_work(wanted.images, wanted.workspace, quiet=quiet)
    start = wanted.encoder()
    folder = wanted.folder(ws, start, method) if is_first else wanted.folder_name(ws, method)
    try:
        options = Options(
            folder,
            method,
            minutes=wanted.minutes,
            epochs=wanted.epochs,
            device=wanted.device,
            has_up=wanted.has_up(ws),
            **wanted.options,
        )
    except ValueError as e:
        raise BadInput(str(e)) from e
    if not is_first:
        return ws, folder, start, _run(ws, options, start, quiet=True)
    wanted.check(ws, start)
    wanted.say_up(ws)
    prepare(ws, quiet=quiet)
    with ws.lock("training"):
        processes.wait()
        return ws, folder, start, _run(ws, options, start, quiet=quiet)


def _run(ws: "Workspace", options: "Options", start: str, *, quiet: bool) -> "Result":
    """Train in a thread, so that Ctrl-C is heard; the step in hand is ended and kept."""
    from labeler import school

    stop, line = threading.Event(), spoken.Line(quiet)

    def work() -> "Result":
        try:
            return school.train(ws, options, start, report=line.progress, stop=stop, reading=line.reading)
        finally:
            ws.close()

    return _heard(begin(work), stop, line)


def _heard(ending: "Future[T]", stop: threading.Event, line: "spoken.Line") -> T:
    """Return what the work returns. Ctrl-C lets it end well, a second one ends it at once."""
    try:
        until(ending)
    except KeyboardInterrupt:
        stop.set()
        try:
            until(ending)
        except KeyboardInterrupt:
            leave(INTERRUPTED, INTERRUPTED_CODE)
    finally:
        line.close()
    try:
        return ending.result()
    except LabelerError as e:
        if not stop.is_set():
            raise
        click.echo(f"{e.error} {e.do or ''}".strip(), err=True)
        click.get_current_context().exit(INTERRUPTED_CODE)


def _close(wanted: _Wanted, ws: "Workspace", folder: Path, start: str, result: "Result") -> None:
    """Say how it ended, judge, and exit."""
    from labeler import loop, school, trainings
    from labeler.verdict import Verdict

    verdict = curves = None
    if not wanted.as_json:
        spoken.ending_of(result)
    if result.ending == "done":
        verdict = Verdict(0)
        if loop.sessions(ws):
            if not wanted.as_json:
                click.echo("Judging by your labels …", err=True)
            verdict = school.judge(ws, loop.get_session(ws, wanted.session), folder)
        school.note(folder, trainings.JUDGED, verdict.json())
        curves = _proof(wanted, ws, start, folder)
    if wanted.as_json:
        said = {**asdict(result), "judged": verdict and verdict.json(), "curves": curves and curves.json()}
        say.print_json({"workspace": str(ws.folder), "out": str(folder), **said})
    elif verdict is not None:
        spoken.verdict_of(ws, folder, verdict, curves)
    if result.ending == "stopped":
        click.echo(INTERRUPTED, err=True)
        click.get_current_context().exit(INTERRUPTED_CODE)
    if result.ending == "collapsed":
        click.get_current_context().exit(1)


def _proof(wanted: _Wanted, ws: "Workspace", start: str, folder: Path) -> "Curves | None":
    """Return what plays say of both encoders, where the truth is known; it is kept beside the new one."""
    if not wanted.truth or wanted.images is None:
        return None
    from labeler import proof, school, trainings
    from labeler.bar import Bar

    bar = Bar(sys.stderr, quiet=wanted.as_json)
    try:
        curves = proof.curves(
            wanted.images,
            (start, str(folder)),
            prepare=lambda trial: prepare(trial, quiet=wanted.as_json),
            report=bar.show,
            views=ws.config.views,
            device=wanted.device,
        )
    finally:
        bar.close()
    school.note(folder, trainings.CURVES, curves.json())
    return curves


# from labels -------------------------------------------------------------------------------


def _from_labels(wanted: _Wanted) -> None:
    from active.embedding.training import processes
    from active.embedding.training.finetune import Tuning
    from labeler import loop, school

    if processes.is_started():
        raise click.UsageError("--labels takes one process; torchrun is for --method.")
    if wanted.images is None:
        ws = opening.find(wanted.workspace)
    else:
        ws = opening.open_for_work(wanted.images, wanted.workspace, quiet=wanted.as_json)
    start = wanted.encoder()
    folder = wanted.folder(ws, start, school.LABELS)
    wanted.check(ws, start)
    session = loop.get_session(ws, wanted.session)
    tuning = Tuning(
        minutes=wanted.minutes or MINUTES, device=wanted.device, has_up=wanted.has_up(ws), **wanted.options
    )
    if wanted.epochs is not None:
        tuning = replace(tuning, epochs=math.ceil(wanted.epochs))
    wanted.say_up(ws)
    prepare(ws, quiet=wanted.as_json)
    stop, line = threading.Event(), spoken.Line(wanted.as_json)

    def work() -> "Verdict":
        try:
            return school.teach(
                ws, session, start, folder, tuning, report=line.epoch, stop=stop, reading=line.reading
            )
        finally:
            ws.close()

    verdict = _heard(begin(work), stop, line)
    curves = _proof(wanted, ws, start, folder) if verdict.pays else None
    if wanted.as_json:
        out = str(folder) if verdict.pays else None
        said = {"ending": "done", "judged": verdict.json()}
        say.print_json({"workspace": str(ws.folder), "out": out, **said, "curves": curves and curves.json()})
    else:
        spoken.verdict_of(ws, folder, verdict, curves)
