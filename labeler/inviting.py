"""The commands that make links for others, list and withdraw them, and look after who came by them."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import opening, say
from labeler.options import json_option, session_option, workspace_option

if TYPE_CHECKING:
    from labeler.domain import Role
    from labeler.roster import Link

DAYS = 7.0
DAY_S = 86_400.0


@click.command()
@click.option(
    "--role",
    type=click.Choice(["swipe", "review", "own"]),
    default="swipe",
    show_default=True,
    help="What whoever comes may do: answer cards, judge disputes too, or everything.",
)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True, max=3650), default=DAYS, show_default=True,
    help="For how long the link lets people in; those who are in stay.",
)  # fmt: skip
@click.option(
    "--uses", type=click.IntRange(1), metavar="N", help="How many it lets in.  [default: any number]"
)
@click.option("--url", metavar="URL", help="The server's address, where labeler can't know it.")
@click.option("--list", "listed", is_flag=True, help="Show the links that were made.")
@click.option("--withdraw", type=click.IntRange(1), metavar="ID", help="Let nobody in by this link any more.")
@click.option("--and-people", is_flag=True, help="With --withdraw: send those away who came by it.")
@workspace_option
@session_option
@json_option
def invite(
    role: "Role",
    days: float,
    uses: int | None,
    url: str | None,
    listed: bool,
    withdraw: int | None,
    and_people: bool,
    workspace: Path | None,
    session: int | None,
    as_json: bool,
) -> None:
    """Make a link by which others join, or list and withdraw links.

    The link is printed once: only a hash of it is stored. The server has to be shared: labeler start --share.
    """
    from labeler import loop, people

    if and_people and withdraw is None:
        raise click.UsageError("--and-people only goes with --withdraw.")
    if listed and withdraw is not None:
        raise click.UsageError("--list and --withdraw exclude each other.")
    ws = opening.find(workspace)
    if withdraw is not None:
        ws.roster.withdraw(withdraw, everybody=and_people)
        if as_json:
            say.print_json({"withdrawn": withdraw})
        else:
            click.echo(f"Link {withdraw} lets nobody in any more.")
        return
    if listed:
        links = ws.roster.links()
        if as_json:
            say.print_json({"links": [link_json(link) for link in links]})
        elif not links:
            click.echo("No links yet. Make one: labeler invite")
        for made in [] if as_json else links:
            click.echo(f"{made.id:>4}  {made.role:<7} {describe(made)}")
        return
    asked = None if session is None else loop.get_session(ws, session).id
    code, link = people.make_link(ws, role, lasts_s=days * DAY_S, most=uses, session=asked)
    address = people.join_url(url or ws.address or "http://localhost:8501", code)
    if as_json:
        say.print_json(link_json(link) | {"url": address})
        return
    show(address, link)
    if url is None and not ws.address:
        click.echo("Where the server listens is not known yet; change the first part of the link if need be.")


def show(address: str, link: "Link") -> None:
    """Print a link and its QR code, and for whom it is."""
    import segno

    click.echo(f"\n  {address}\n")
    if sys.stdout.isatty():
        segno.make(address, error="l").terminal(compact=True)
    click.echo(f"Link {link.id}: {describe(link)}")


def describe(link: "Link") -> str:
    """Return for how long and for how many a link is, in words."""
    from datetime import datetime
    from time import time

    from labeler.roster import WHY

    if (shut := link.shut(time())) is not None:
        state = WHY[shut].removeprefix("This link ")
    elif link.ends_at is None:
        state = "open."
    else:
        state = f"open until {datetime.fromtimestamp(link.ends_at):%Y-%m-%d %H:%M}."
    used = f"{link.used:,} came" + (f" of {link.most:,}" if link.most else "")
    asked = "" if link.session is None else f" Question {link.session}."
    return f"{used}, {state}{asked}"


def link_json(link: "Link") -> dict[str, Any]:  # Any: JSON
    """Return what is known of a link."""
    from datetime import UTC, datetime
    from time import time

    ends = None if link.ends_at is None else datetime.fromtimestamp(link.ends_at, UTC).isoformat()
    return {
        "link": link.id, "role": link.role, "session": link.session, "made_at": link.made_at, "ends_at": ends,
        "most": link.most, "used": link.used, "shut": link.shut(time()),
    }  # fmt: skip


@click.command("people")
@click.option(
    "--export", "exported", type=click.IntRange(1), metavar="ID", help="Write all that is kept of somebody."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --export: where to.  [default: the screen]",
)
@click.option(
    "--send-away", type=click.IntRange(1), metavar="ID", help="End somebody's access; answers stay."
)
@click.option(
    "--erase", type=click.IntRange(1), metavar="ID", help="Forget who somebody was: the name and the devices."
)
@click.option("--with-answers", is_flag=True, help="With --erase: take their answers back too.")
@workspace_option
@json_option
def people_command(
    exported: int | None,
    out: Path | None,
    send_away: int | None,
    erase: int | None,
    with_answers: bool,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """List who takes part; export or erase what is kept of one of them."""
    from labeler import members
    from labeler.errors import writing

    if sum(x is not None for x in (exported, send_away, erase)) > 1:
        raise click.UsageError("Use one of --export, --send-away and --erase at a time.")
    if with_answers and erase is None:
        raise click.UsageError("--with-answers only goes with --erase.")
    if out is not None and exported is None:
        raise click.UsageError("--out only goes with --export.")
    ws = opening.find(workspace)
    if exported is not None:
        text = json.dumps(members.kept_of(ws, exported), indent=1, ensure_ascii=False)
        if out is None:
            click.echo(text)
            return
        with writing(str(out)):
            fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "w", encoding="utf-8") as f:
                f.write(text + "\n")
        click.echo(f"Written: {say.short(out)}")
        return
    if send_away is not None:
        name = members.send_away(ws, send_away)
        click.echo(
            json.dumps({"sent_away": send_away}) if as_json else f"{say.plain(name)} has no access any more."
        )
        return
    if erase is not None:
        taken = members.erase(ws, erase, with_answers=with_answers)
        if as_json:
            say.print_json({"erased": erase, "answers_taken_back": taken})
        else:
            click.echo(
                f"Person {erase} is erased." + (f" {taken:,} answers were taken back." if taken else "")
            )
        return
    everybody = members.everybody(ws)
    if as_json:
        say.print_json({"people": everybody})
        return
    for one in everybody:
        seen = one["last_at"] or "never answered"
        name = say.plain(one["name"])
        click.echo(f"{one['person']:>4}  {name:<30} {one['role']:<7} {one['answers']:>7,}  {seen[:16]}")
