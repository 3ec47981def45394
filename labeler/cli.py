"""The commands: parse, call, print, exit. Imports nothing heavy at the top."""

import io
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import __version__, opening, reaching, say, serving
from labeler.certify import certificate
from labeler.errors import LabelerError
from labeler.gilding import gold as gold_command
from labeler.gilding import say_gold
from labeler.inviting import invite, people_command
from labeler.keeping import backup, restore
from labeler.options import (
    device_option,
    encoder_option,
    images_option,
    json_option,
    new_workspace_option,
    session_option,
    views_option,
    workspace_option,
)
from labeler.schooling import train
from labeler.seeing import encoders
from labeler.seeking import search
from labeler.trying import simulate
from labeler.waiting import ENDED_CODE, INTERRUPTED, INTERRUPTED_CODE, Ended, ended_in_order, prepare

if TYPE_CHECKING:
    from labeler.domain import Goal
    from labeler.export.records import Format, How


class Commands(click.Group):
    """Turns what a person can mend into two sentences and exit code 1; anything else is a bug."""

    def invoke(self, ctx: click.Context) -> Any:  # Any: as click has it
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LabelerError as e:
            click.echo(f"Error: {say.plain(e.error)}" + (f"\n{say.plain(e.do)}" if e.do else ""), err=True)
            ctx.exit(1)
        except KeyboardInterrupt as e:
            click.echo(f"\n{INTERRUPTED}", err=True)
            ctx.exit(ENDED_CODE if isinstance(e, Ended) else INTERRUPTED_CODE)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="labeler")
def cli() -> None:
    """From a folder of images that nobody has labeled to a labeled dataset, by swiping."""


@cli.command()
@images_option
@new_workspace_option
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
    "--words",
    multiple=True,
    metavar="TEXT",
    help="What you look for in words, where the encoder reads text; may be repeated.",
)
@click.option(
    "--goal",
    type=click.Choice(["find", "classify"]),
    help="Find them all, or learn to tell apart.  [default: find]",
)
@click.option(
    "--until",
    metavar="SHARE|off",
    help="Say when this share of what you look for is probably found, such as 95.",
)
@encoder_option
@views_option
@device_option
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1000),
    help="Answers between two rounds of learning.  [default: 20]",
)
@click.option(
    "--votes",
    metavar="N|A-B|auto",
    help="Put each image to so many people, or to as many as it takes: A to B, or, auto, 2 to 15; your own"
    " answer ends it."
    "  [default: 1]",
)
@click.option(
    "--gold",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Images whose answer is known, to see how right people are: one folder for each label.",
)
@click.option(
    "--gold-feedback/--no-gold-feedback",
    default=None,
    help="Tell people whether they agreed with what is known.  [default: no]",
)
@click.option(
    "--share", is_flag=True, help="Let others join from their own devices, by a link and a QR code."
)
@click.option("--host", help="Where to listen; 0.0.0.0 lets other devices in, by link.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), default=8501, show_default=True)
@reaching.reach_options
@click.option("--no-browser", is_flag=True, help="Don't open a browser.")
def start(
    images: Path | None,
    workspace: Path | None,
    question: str | None,
    labels: str | None,
    like: tuple[Path, ...],
    words: tuple[str, ...],
    goal: "Goal | None",
    until: str | None,
    encoder: str | None,
    views: int | None,
    device: str | None,
    batch_size: int | None,
    votes: str | None,
    gold: Path | None,
    gold_feedback: bool | None,
    share: bool,
    host: str | None,
    port: int,
    certificate: Path | None,
    key: Path | None,
    behind_proxy: str | None,
    base_path: str | None,
    proxy_at: tuple[str, ...],
    no_browser: bool,
) -> None:
    """Open the pages to label a folder of images.

    Without --images, a demonstration set is drawn. Started again, it goes on where it stopped.
    """
    from labeler.child import take_one_thread

    click.get_current_context().with_resource(ended_in_order())
    take_one_thread()  # before NumPy comes
    from labeler import addresses, loop, places, reach

    wanted, asked = opening.read_until(until), opening.read_votes(votes)
    here = reaching.read(
        certificate=certificate, key=key, behind_proxy=behind_proxy, base_path=base_path, proxy_at=proxy_at
    )
    host = host or ("0.0.0.0" if share and not here.proxies else "127.0.0.1")
    if share and addresses.is_loopback(host) and not here.proxies:
        raise click.UsageError("--share lets others in, --host only this computer. Leave one out.")
    opening.check_early(question, labels, like, gold)
    with ExitStack() as held:
        is_new, sockets = held.enter_context(places.held_port(host, port))
        ws = opening.open_for_work(
            images, workspace, encoder=encoder, views=views, device=device, batch_size=batch_size
        )
        held.enter_context(ws.lock("server"))
        session = opening.start_session(
            ws, question=question, labels=labels, goal=goal, like=like, words=words, votes=asked
        )
        if until is not None:
            session = loop.set_target(ws, session, wanted)
        session, unread = opening.take_gold(ws, session, gold, gold_feedback)
        say.question(ws, session, batch_size)
        if gold is not None:
            say_gold(ws, session, unread, is_coming=True)
        if is_new != port:
            click.echo(f"Port {port} is taken, so this is port {is_new}.")
        reach.use(replace(here, host=host, port=is_new))
        site = serving.load_site(ws)
        serving.serve(ws, site, sockets=sockets, browser=not no_browser, share=share)


@cli.command()
@images_option
@new_workspace_option
@encoder_option
@views_option
@device_option
@json_option
def index(
    images: Path | None,
    workspace: Path | None,
    encoder: str | None,
    views: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Scan and embed a folder of images, no server."""
    from labeler import coding, loop

    ws = opening.open_for_work(images, workspace, encoder=encoder, views=views, device=device, quiet=as_json)
    ws.catalog.refuse_damage()
    prepare(ws, quiet=as_json)
    coding.keep_if_needed(ws)
    status = loop.status(ws)
    if as_json:
        say.print_json({k: v for k, v in status.items() if k != "session"})
        return
    click.echo(say.images_line(status))
    say.set_aside(status["set_aside"])


@cli.command()
@workspace_option
@session_option
@json_option
def status(workspace: Path | None, session: int | None, as_json: bool) -> None:
    """Say where a workspace stands, and check that it is whole."""
    from labeler import loop

    ws = opening.find(workspace)
    found = loop.status(ws, None if session is None else loop.get_session(ws, session))
    if as_json:
        say.print_json(found)
        return
    click.echo(f"Workspace   {say.short(ws.folder)}")
    click.echo(f"Images      {say.images_line(found)}")
    say.coming(found)
    if found["session"] is None:
        click.echo("Question    none yet; start one with labeler start")
    else:
        say.answers(found["session"])
        if found["session"]["gold"]:
            click.echo(f"Gold        {found['session']['gold']:,} images with a known answer")
        for other in loop.sessions(ws):
            if other.id != found["session"]["id"]:
                click.echo(f"Another     --session {other.id}: {other.question} ({', '.join(other.labels)})")
    say.set_aside(found["set_aside"])
    if found["problem"]:
        click.echo(f"Trouble     {found['problem']}")
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
@click.option("--no-names", is_flag=True, help="Write numbers instead of people's nicknames.")
@json_option
def export(
    workspace: Path | None,
    session: int | None,
    kind: "Format",
    out: Path,
    how: "How | None",
    predicted_from: float | None,
    no_predicted: bool,
    no_names: bool,
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
    ws = opening.find(workspace)
    asked = loop.get_session(ws, session)
    report = loop.export(
        ws, asked, format=kind, out=out, how=how or "copy", predicted_from=predicted_from,
        with_names=not no_names,
    )  # fmt: skip
    if as_json:
        say.print_json(say.report_json(report))
        return
    say.exported(ws, asked, report)


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
        say.print_json(
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


cli.add_command(backup)
cli.add_command(certificate)
cli.add_command(encoders)
cli.add_command(gold_command)
cli.add_command(invite)
cli.add_command(people_command)
cli.add_command(restore)
cli.add_command(search)
cli.add_command(train)
cli.add_command(simulate)


def main() -> None:
    """Run the command line. A letter that the terminal or file can't show is written as its number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli(prog_name="labeler")


if __name__ == "__main__":
    main()
