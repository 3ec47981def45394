"""The commands: parse, call, print. The only place that exits. Imports nothing heavy at the top."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from labeler import __version__
from labeler.errors import BadInput, LabelerError

if TYPE_CHECKING:
    from labeler.domain import Goal, Session
    from labeler.export.records import ExportReport, Format, How
    from labeler.workspace import Workspace

INTERRUPTED_CODE = 130
INTERRUPTED = "Stopped. What was done is kept; the same command goes on from here."
STOPPED = "Stopped. Every answer is kept; start again to go on."
STOP_S = 1.3  # after Ctrl-C the server gets this long to close everything in order
SHOWN_ASIDE = 10
DEMO_QUESTION = "Is this an island?"


class Commands(click.Group):
    """Turns what a person can mend into two sentences and exit code 1; anything else is a bug."""

    def invoke(self, ctx: click.Context) -> Any:  # Any: as click has it
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LabelerError as e:
            click.echo(f"Error: {e.error}" + (f"\n{e.do}" if e.do else ""), err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo(f"\n{INTERRUPTED}", err=True)
            ctx.exit(INTERRUPTED_CODE)


workspace_option = click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    envvar="LABELER_WORKSPACE",
    metavar="DIR",
    help="The workspace. Default: data/<name of the images' folder>.",
)
images_option = click.option(
    "--images", type=click.Path(path_type=Path), metavar="DIR", help="The folder of images; only ever read."
)
encoder_option = click.option(
    "--encoder", metavar="builtin|DIR", help="What turns images into vectors: builtin, or a model's folder."
)
session_option = click.option(
    "--session", type=click.IntRange(1), metavar="ID", help="Which question.  [default: the one started last]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="labeler")
def cli() -> None:
    """From a folder of images that nobody has labeled to a labeled dataset, by swiping."""


@cli.command()
@images_option
@workspace_option
@click.option("--question", metavar="TEXT", help='What to ask of each image, such as "Is this an island?".')
@click.option(
    "--labels", metavar="A,B,…", help="Two to nine answers; the first is looked for.  [default: yes,no]"
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="IMAGE",
    help="An image of what you look for; may be repeated.",
)
@click.option(
    "--goal",
    type=click.Choice(["find", "classify"]),
    help="Find them all, or learn to tell apart.  [default: find]",
)
@encoder_option
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1000),
    help="Answers between two rounds of learning.  [default: 20]",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other devices in, by link."
)
@click.option("--port", type=click.IntRange(1, 65_535), default=8501, show_default=True)
@click.option("--no-browser", is_flag=True, help="Don't open a browser.")
def start(
    images: Path | None,
    workspace: Path | None,
    question: str | None,
    labels: str | None,
    like: tuple[Path, ...],
    goal: "Goal | None",
    encoder: str | None,
    batch_size: int | None,
    host: str,
    port: int,
    no_browser: bool,
) -> None:
    """Open the pages to label a folder of images.

    Without --images, a demonstration set is drawn. Started again, it goes on where it stopped.
    """
    from labeler import places

    is_new = places.free_port(host, port)
    ws = _open_for_work(images, workspace, encoder=encoder, batch_size=batch_size)
    with ws.lock("server"):
        session = _start_session(ws, question=question, labels=labels, goal=goal, like=like)
        _say_session(ws, session, batch_size)
        if is_new != port:
            click.echo(f"Port {port} is taken, so this is port {is_new}.")
        _serve(ws, host=host, port=is_new, browser=not no_browser)


@cli.command()
@images_option
@workspace_option
@encoder_option
@json_option
def index(images: Path | None, workspace: Path | None, encoder: str | None, as_json: bool) -> None:
    """Scan and embed a folder of images, no server."""
    from labeler import loop

    ws = _open_for_work(images, workspace, encoder=encoder, quiet=as_json)
    _prepare(ws, quiet=as_json)
    status = loop.status(ws)
    if as_json:
        _print_json({k: v for k, v in status.items() if k != "session"})
        return
    click.echo(_images_line(status))
    _say_aside(status["set_aside"])


@cli.command()
@workspace_option
@session_option
@json_option
def status(workspace: Path | None, session: int | None, as_json: bool) -> None:
    """Say where a workspace stands, and check that it is whole."""
    from labeler import loop

    ws = _find(workspace)
    found = loop.status(ws, None if session is None else loop.get_session(ws, session))
    if as_json:
        _print_json(found)
        return
    click.echo(f"Workspace   {_short(ws.folder)}")
    click.echo(f"Images      {_images_line(found)}")
    if found["session"] is None:
        click.echo("Question    none yet; start one with labeler start")
    else:
        _say_answers(found["session"])
    _say_aside(found["set_aside"])
    problems = [] if found["integrity"] == "ok" else found["integrity"]
    click.echo("Integrity   " + ("ok" if not problems else problems[0]))
    for problem in problems[1:]:
        click.echo(f"            {problem}")


@cli.command()
@workspace_option
@session_option
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl", "folders"]), required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="A folder; made if it is not there.",
)
@click.option("--copy", "how", flag_value="copy", help="With folders: copy the images (default).")
@click.option("--link", "how", flag_value="link", help="With folders: link to the images.")
@click.option("--refs", "how", flag_value="refs", help="With folders: only list where the images are.")
@click.option(
    "--predicted-from",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Add predictions with at least this probability.  [default: all in csv and jsonl, none in folders]",
)
@click.option("--no-predicted", is_flag=True, help="Write only what people answered.")
@json_option
def export(
    workspace: Path | None,
    session: int | None,
    kind: "Format",
    out: Path,
    how: "How | None",
    predicted_from: float | None,
    no_predicted: bool,
    as_json: bool,
) -> None:
    """Write the labels to files.

    What nobody was asked is predicted, and always marked as such.
    """
    from labeler import loop

    if how and kind != "folders":
        raise click.UsageError(f"--{how} only goes with --format folders.")
    if no_predicted and predicted_from is not None:
        raise click.UsageError("--no-predicted and --predicted-from exclude each other.")
    if predicted_from is None and kind != "folders" and not no_predicted:
        predicted_from = 0.0
    ws = _find(workspace)
    asked = loop.get_session(ws, session)
    report = loop.export(ws, asked, format=kind, out=out, how=how or "copy", predicted_from=predicted_from)
    if as_json:
        _print_json(_report_json(report))
        return
    _say_export(ws, asked, report)


@cli.command()
@workspace_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65_535), default=8501, show_default=True)
@json_option
def doctor(workspace: Path | None, host: str, port: int, as_json: bool) -> None:
    """Check this machine and this installation.

    Versions, the disk, what can be decoded, whether the port is free.
    """
    from labeler.doctor import examine

    findings = examine(workspace, host, port)
    bad = any(f.state == "bad" for f in findings)
    if as_json:
        _print_json(
            {
                "ok": not bad,
                "findings": [{"what": f.what, "state": f.state, "text": f.text} for f in findings],
            }
        )
    else:
        mark = {"ok": "ok ", "note": "-- ", "bad": "BAD"}
        for f in findings:
            click.echo(f"{mark[f.state]} {f.what:<22} {f.text}")
    if bad:
        click.get_current_context().exit(1)


def main() -> None:
    """Run the command line."""
    cli(prog_name="labeler")


# opening ------------------------------------------------------------------------------------


def open_default(workspace: Path | None) -> "Workspace":
    """Return what `labeler start` opens without options, a session begun: for `streamlit run app.py`."""
    ws = _open_for_work(None, workspace)
    _start_session(ws, question=None, labels=None, goal=None, like=())
    return ws


def open_alone(held: ExitStack, host: str, port: int) -> None:
    """Open, lock and name the workspace for `streamlit run app.py`; what a person can mend ends it."""
    from labeler import people, places
    from labeler.workspace import ENV

    named = os.environ.get(ENV)
    try:
        ws = open_default(Path(named) if named else None)
        held.enter_context(ws.lock("server"))
        os.environ[ENV] = str(ws.folder)
        if not people.is_local(host):
            click.echo(people.owner_link(ws, f"http://{places.reachable(host)}:{port}"))
    except LabelerError as e:
        click.echo(f"Error: {e.error}\n{e.do}", err=True)
        sys.stderr.flush()
        os._exit(1)


def _follow() -> None:
    """Draw how far the images are while the server runs, until they are all there."""
    import time

    from labeler import worker
    from labeler.bar import Bar

    bar = Bar(sys.stderr)
    while True:
        time.sleep(0.5)
        running = worker.current()
        if running is None:
            continue
        progress, problem = running.progress(), running.problem()
        bar.show(progress)
        if problem or progress.stage == "done":
            bar.close()
            if problem:
                click.echo(problem, err=True)
            return


def _open_for_work(
    images: Path | None,
    workspace: Path | None,
    *,
    encoder: str | None = None,
    batch_size: int | None = None,
    quiet: bool = False,
) -> "Workspace":
    """Return the workspace to work in, made if need be; no images named: they are drawn."""
    from labeler import loop, places
    from labeler.config import load_config
    from labeler.scan import walk

    drawn = False
    if images is not None:
        folder = places.check_images(images)
        where = workspace or places.default_workspace(folder)
    else:
        where = workspace or places.DATA / places.DEMO
        known = load_config(where / places.SETTINGS).images
        own = Path(os.path.abspath(where)) / "images"
        folder = Path(known) if known else own
        drawn = not known or (folder == own and not folder.is_dir())
        if not drawn and not folder.is_dir():
            raise BadInput(f"The folder of images {known} is gone.", "Give its new place with --images.")
    if not quiet:
        click.echo(f"Workspace: {_short(where)}")
    if drawn:
        _draw(where, folder, quiet=quiet)
    elif next(walk(folder), None) is None:
        raise BadInput(
            f"{folder} holds no images.", "Give a folder with JPEG, PNG, TIFF, WebP or other images."
        )
    ws = _close_at_end(places.make_workspace(where, folder, encoder=encoder, batch_size=batch_size))
    if drawn:
        loop.mark_drawn(ws)
    if not quiet:
        click.echo(f"Images:    {folder}" + (" (drawn by labeler)" if loop.is_drawn(ws) else ""))
        _warn_disk(where)
    return ws


def _close_at_end(ws: "Workspace") -> "Workspace":
    """Return `ws`, to be closed when the command ends; outside a command its caller closes it."""
    if context := click.get_current_context(silent=True):
        context.call_on_close(ws.close)
    return ws


def _draw(where: Path, folder: Path, *, quiet: bool) -> None:
    from labeler import places
    from labeler.demo import FIRST, draw_demo

    if where.is_dir() and not places.is_workspace(where) and any(p.name != "images" for p in where.iterdir()):
        raise BadInput(
            f"{where} holds other things and is no workspace.", "Give a new folder to --workspace."
        )
    if not quiet:
        click.echo("No --images were given: drawing a demonstration set.")
    draw_demo(folder, most=FIRST)


def _warn_disk(folder: Path) -> None:
    from labeler import places

    free = places.free_bytes(folder)
    if free < places.LOW_DISK_BYTES:
        click.echo(f"Warning: the disk of {_short(folder)} has only {free / 1e6:,.0f} MB free.", err=True)


def _find(workspace: Path | None) -> "Workspace":
    """Return the workspace to look at; says so where there was a choice."""
    from labeler import places

    ws = _close_at_end(places.find_workspace(workspace))
    if workspace is None and len(places.workspaces()) > 1:
        click.echo(
            f"Of several workspaces, {_short(ws.folder)} was used last; --workspace names another.", err=True
        )
    return ws


def _start_session(
    ws: "Workspace",
    *,
    question: str | None,
    labels: str | None,
    goal: "Goal | None",
    like: Sequence[Path],
) -> "Session":
    from labeler import loop

    pictures = [(path, _read_picture(ws, path)) for path in like]
    names = None if labels is None else [name.strip() for name in labels.split(",")]
    if question is None and loop.is_drawn(ws) and not loop.sessions(ws):
        question = DEMO_QUESTION
    session = loop.start_session(ws, question, names, goal)
    for path, data in pictures:
        loop.add_example(ws, session, path.name, data)
    return session


def _read_picture(ws: "Workspace", path: Path) -> bytes:
    """Return the bytes of a --like image, once it is sure that they are a picture."""
    from labeler.images import check_picture

    try:
        data = path.read_bytes()
    except OSError as e:
        raise BadInput(f"{path} can't be read: {e.strerror}.", "Check the name given to --like.") from e
    check_picture(data, name=str(path), max_megapixels=ws.config.max_megapixels)
    return data


# working -----------------------------------------------------------------------------------


def _prepare(ws: "Workspace", *, quiet: bool) -> None:
    """Take the images in, in a thread, so that Ctrl-C is heard at once."""
    import threading

    from labeler import loop
    from labeler.bar import Bar

    stop, failed = threading.Event(), list[BaseException]()
    bar = Bar(sys.stderr, quiet=quiet)

    def work() -> None:
        try:
            loop.prepare(ws, report=bar.show, stop=stop)
        except BaseException as e:  # handed to the main thread, which raises it again
            failed.append(e)
        finally:
            ws.close()

    thread = threading.Thread(target=work, name="index", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        stop.set()
        thread.join(1.2)
        bar.close()
        if thread.is_alive():
            _leave(INTERRUPTED, INTERRUPTED_CODE)
        raise
    bar.close()
    if failed:
        raise failed[0]


def _leave(message: str, code: int) -> NoReturn:
    """End now, whatever other threads do: all that was acknowledged is on disk."""
    click.echo(f"\n{message}", err=code != 0)
    sys.stdout.flush()
    os._exit(code)


def _leave_in(seconds: float, message: str) -> None:
    """End after `seconds` if the process is still there then."""
    import threading

    last = threading.Timer(seconds, _leave, (message, 0))
    last.daemon = True
    last.start()


def _serve(ws: "Workspace", *, host: str, port: int, browser: bool) -> None:
    """Serve until Ctrl-C."""
    import threading

    from labeler import people, places
    from labeler.workspace import ENV

    shared = not people.is_local(host)
    url = f"http://{places.reachable(host)}:{port}"
    link = people.owner_link(ws, url) if shared else url
    click.echo(f"\n  {link}\n")
    if shared:
        click.echo(f"On a phone: {people.owner_link(ws, url, '/swipe')}")
        click.echo("Whoever opens one of these links may do everything here; share them with care.")
    else:
        click.echo(f"Only the deck: {url}/swipe")
    click.echo("Ctrl-C stops; every answer is kept.")
    os.environ[ENV] = str(ws.folder)
    site = places.load_site()
    if browser:
        places.open_browser(link, host, port)
    threading.Thread(target=_follow, name="progress", daemon=True).start()
    try:
        site.serve(host=host, port=port, on_stop=lambda: _leave_in(STOP_S, STOPPED))
    except KeyboardInterrupt:
        pass
    click.echo(f"\n{STOPPED}")


# saying ------------------------------------------------------------------------------------


def _print_json(value: dict[str, Any]) -> None:  # Any: JSON
    click.echo(json.dumps(value))


def _short(path: Path) -> str:
    """Return a path as it is shortest to read from here."""
    full = os.path.abspath(path)
    near = os.path.relpath(full)
    return full if near.startswith("..") else near


def _images_line(status: dict[str, Any]) -> str:  # Any: JSON
    parts = [f"{status['images']:,} images", f"{status['embedded']:,} embedded"]
    if status["duplicates"]:
        parts.append(f"{status['duplicates']:,} of them duplicates")
    if status["set_aside"]:
        parts.append(f"{len(status['set_aside']):,} set aside")
    if status.get("drawn"):
        parts.append("drawn")
    return ", ".join(parts)


def _say_session(ws: "Workspace", session: "Session", batch_size: int | None) -> None:
    click.echo(f"Question:  {session.question} ({', '.join(session.labels)}; goal: {session.goal})")
    if batch_size is not None and batch_size != session.batch_size:
        click.echo(f"This question goes on in batches of {session.batch_size}, as it was begun.")


def _say_answers(session: dict[str, Any]) -> None:  # Any: JSON
    click.echo(f"Question    {session['question']} ({', '.join(session['labels'])}; goal: {session['goal']})")
    counts = ", ".join(f"{n:,} {label}" for label, n in session["counts"].items())
    click.echo(f"Answers     {counts}")
    click.echo(f"Cards       {session['cards_shown']:,} shown, {session['round']:,} rounds of learning")


def _say_aside(aside: list[dict[str, str]]) -> None:
    for entry in aside[:SHOWN_ASIDE]:
        click.echo(f"Set aside   {entry['path']}: {entry['reason']}")
    if len(aside) > SHOWN_ASIDE:
        click.echo(f"            and {len(aside) - SHOWN_ASIDE:,} more; labeler status --json names them all")


def _report_json(report: "ExportReport") -> dict[str, Any]:  # Any: JSON
    return {
        "out": str(report.out),
        "person": report.person,
        "predicted": report.predicted,
        "events": report.events,
        "missing": list(report.missing),
    }


def _say_export(ws: "Workspace", session: "Session", report: "ExportReport") -> None:
    click.echo(f"Workspace: {_short(ws.folder)}")
    click.echo(f"Question:  {session.question}")
    click.echo(f"Written:   {_short(report.out)}")
    click.echo(f"           {report.person:,} answered by people, {report.predicted:,} predicted")
    if report.missing:
        click.echo(
            f"Left out:  {len(report.missing):,} files that are gone, such as {report.missing[0]}", err=True
        )


if __name__ == "__main__":
    main()
