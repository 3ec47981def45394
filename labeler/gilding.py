"""The command that says which images have a known answer, to see how right people are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import opening, say
from labeler.errors import Conflict
from labeler.options import json_option, session_option, workspace_option

if TYPE_CHECKING:
    from labeler.domain import Session
    from labeler.workspace import Workspace

NAMED = 3  # files that can't be read are named, so many at most


@click.command()
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Images whose answer is known, in one folder for each label: DIR/yes, DIR/no.",
)
@click.option(
    "--settled", type=click.IntRange(1, 2000), metavar="N",
    help="Take up to N more images that you have answered or that people agree on.",
)  # fmt: skip
@click.option(
    "--feedback/--no-feedback", default=None, help="Tell people whether they agreed.  [default: no]"
)
@click.option("--none", "nothing", is_flag=True, help="Use no gold any more.")
@workspace_option
@session_option
@json_option
def gold(
    folder: Path | None,
    settled: int | None,
    feedback: bool | None,
    nothing: bool,
    workspace: Path | None,
    session: int | None,
    as_json: bool,
) -> None:
    """Mix in images whose answer is known, to see how right each person is.

    Without an option: say how many there are. They go to people who came by a link, not to owners.
    """
    from labeler import gold, loop

    if nothing and (folder or settled):
        raise click.UsageError("--none goes with neither --from nor --settled.")
    ws = opening.find(workspace)
    asked = loop.get_session(ws, session)
    unread: list[str] = []
    if nothing:
        gold.clear(ws, asked)
    if folder is not None:
        unread = gold.give(ws, asked, folder)[1]
        if gold.look(ws, asked).waiting or ws.catalog.count_new():
            _take_in(ws, quiet=as_json)
            gold.link(ws, asked)
    chosen = None if settled is None else gold.settle(ws, asked, settled)
    if feedback is not None:
        asked = loop.set_gold_feedback(ws, asked, feedback)
    if as_json:
        say.print_json(standing_json(ws, asked) | {"chosen": chosen, "unread": unread})
        return
    if chosen is not None and settled is not None and chosen < settled:
        click.echo(f"{chosen:,} images were settled, not {settled:,}: more will be when more is answered.")
    say_gold(ws, asked, unread)


def _take_in(ws: "Workspace", *, quiet: bool) -> None:
    """Take in what is new, with the images that were given; where another process does, it takes them too."""
    from labeler.waiting import prepare

    try:
        prepare(ws, quiet=quiet)
    except Conflict:
        if not quiet:
            click.echo("Images are being taken in by another process, and those are taken in with them.")


def standing_json(ws: "Workspace", session: "Session") -> dict[str, Any]:  # Any: JSON
    """Return how much gold a question has, for --json."""
    from labeler import gold

    found = gold.look(ws, session)
    return {
        "gold": found.ready, "labels": found.by_label, "waiting": found.waiting, "open": found.open,
        "feedback": session.gold_feedback,
    }  # fmt: skip


def say_gold(ws: "Workspace", session: "Session", unread: list[str], *, is_coming: bool = False) -> None:
    """Say how much gold a question has. is_coming: what waits is taken in from now on."""
    from labeler import gold

    found = gold.look(ws, session)
    each = ", ".join(f"{n:,} {name}" for name, n in found.by_label.items())
    click.echo(
        f"Gold:      {found.ready:,} images with a known answer" + (f" ({each})" if found.ready else "")
    )
    if found.waiting and is_coming:
        click.echo(f"           {found.waiting:,} more are taken in with the other images.")
    elif found.waiting:
        click.echo(
            f"           Not there: {found.waiting:,}. Their files were moved, can't be read (labeler"
            " status), or are still to be taken in. Give the folder again with --from."
        )
    if found.open:
        click.echo(f"           {found.open:,} are left out: you took your answers to them back.")
    for path in unread[:NAMED]:
        click.echo(f"           {say.plain(path)} can't be read.", err=True)
    if len(unread) > NAMED:
        click.echo(f"           Nor can {len(unread) - NAMED:,} more.", err=True)
    if found.ready:
        told = "are told whether they agreed" if session.gold_feedback else "are not told which they are"
        click.echo(f"           People {told}.")
