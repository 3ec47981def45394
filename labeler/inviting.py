"""The commands that make links for others, list and withdraw them, and look after who came by them."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from labeler import opening, say
from labeler.options import json_option, session_option, workspace_option
from labeler.tongue import ENGLISH, Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labeler.domain import Role
    from labeler.links import Link
    from labeler.workspace import Workspace

DAYS = 7.0
DAY_S = 86_400.0
EARLIER = "earlier"  # what is withdrawn: the links of starts before the newest


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
@click.option(
    "--withdraw", metavar="ID|earlier",
    help="Let nobody in by this link any more, or by those of starts before the newest.",
)  # fmt: skip
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
    withdraw: str | None,
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
    ws = opening.find(workspace, is_sure=withdraw is None)
    if withdraw is not None:
        _withdraw(ws, withdraw, and_people=and_people, as_json=as_json)
        return
    if listed:
        _list(ws, as_json=as_json)
        return
    asked = None if session is None else loop.get_session(ws, session).id
    code, link = people.make_link(
        ws, role, lasts_s=days * DAY_S, most=uses, session=asked, made_with="invite"
    )
    address = people.join_url(url or ws.address or "http://localhost:8501", code)
    if as_json:
        say.print_json(link_json(link) | {"url": address})
        return
    show(address, link)
    if url is None and not ws.address:
        click.echo("Where the server listens is not known yet; change the first part of the link if need be.")


def _withdraw(ws: "Workspace", which: str, *, and_people: bool, as_json: bool) -> None:
    """Withdraw one link or those of earlier starts, and say what becomes of who came by them."""
    if which == EARLIER:
        numbers = ws.roster.withdraw_earlier(everybody=and_people)
    elif which.isascii() and which.isdecimal() and len(which) <= 15 and int(which) > 0:
        numbers = [int(which)]
        ws.roster.withdraw(numbers[0], everybody=and_people)
    else:
        raise click.UsageError(f"--withdraw {which[:60]}: give the number of a link, or {EARLIER}.")
    if as_json:
        say.print_json({"withdrawn": numbers if which == EARLIER else numbers[0]})
        return
    for number in numbers:
        click.echo(f"Link {number} lets nobody in any more.")
    if not numbers:
        click.echo("No link of an earlier start is open.")
    elif and_people:
        click.echo("Who came that way has no access any more; their answers stay.")
    else:
        click.echo("Who came that way stays in. To send somebody away: labeler people --send-away ID")


def _list(ws: "Workspace", *, as_json: bool) -> None:
    links = ws.roster.links()
    shown = shown_by_server(ws, links)
    if as_json:
        say.print_json({"links": [link_json(link) | {"shown": link is shown} for link in links]})
    elif not links:
        click.echo("No links yet. Make one: labeler invite")
    for link in [] if as_json else links:
        click.echo(f"{link.id:>4}  {link.role:<7} {describe_made(link, is_shown=link is shown)}")
    if not as_json and ws.roster.earlier_links():
        click.echo(f"Withdraw the open ones of earlier starts: labeler invite --withdraw {EARLIER}")


def shown_by_server(ws: "Workspace", links: "Sequence[Link]") -> "Link | None":
    """Return the link whose QR code the page Team of another process shows now; None: none is shown.

    links  the newest first. A server can show what it has made itself, since it took its lock.
    """
    from datetime import datetime
    from time import time

    from labeler.workspace import held_by

    if held_by(ws.folder, "server") is None:
        return None
    since, now = (ws.folder / "server.lock").stat().st_mtime, time()
    made = (link for link in links if link.made_with in ("start", "share", "team") and link.shut(now) is None)
    newest = next(made, None)
    is_its = newest is not None and datetime.fromisoformat(newest.made_at).timestamp() >= since
    return newest if is_its else None


def show(address: str, link: "Link") -> None:
    """Print a link and its QR code, and for whom it is."""
    import segno

    click.echo(f"\n  {address}\n")
    if sys.stdout.isatty():
        segno.make(address, error="l").terminal(compact=True)
    click.echo(f"Link {link.id}: {describe(link)}")


def describe(link: "Link", words: Words = ENGLISH) -> str:
    """Return for how long and for how many a link is, in words."""
    from datetime import datetime
    from time import time

    if (shut := link.shut(time())) is not None:
        state = words(f"team.link.{shut}")
    elif link.ends_at is None:
        state = words("team.link.open")
    else:
        ends = f"{datetime.fromtimestamp(link.ends_at):%Y-%m-%d %H:%M}"
        state = words("team.link.open.until", time=ends)
    used = words.count("team.link.came", link.used)
    if link.most:
        used = words.count("team.link.came.of", link.used, most=f"{link.most:,}")
    asked = "" if link.session is None else words("team.link.asked", n=link.session)
    return f"{used}, {state}{asked}"


def describe_made(link: "Link", words: Words = ENGLISH, *, is_shown: bool = False) -> str:
    """Return when and by what a link was made, and what `describe` says; is_shown: its QR code, now."""
    from datetime import datetime

    at = f"{datetime.fromisoformat(link.made_at).astimezone():%Y-%m-%d %H:%M}"
    made = words(f"team.link.made.{link.made_with}" if link.made_with else "team.link.made", time=at)
    return f"{made}; {describe(link, words)}{words('team.link.shown') if is_shown else ''}"


def link_json(link: "Link") -> dict[str, Any]:  # Any: JSON
    """Return what is known of a link."""
    from datetime import UTC, datetime
    from time import time

    ends = None if link.ends_at is None else datetime.fromtimestamp(link.ends_at, UTC).isoformat()
    return {
        "link": link.id, "role": link.role, "session": link.session, "made_at": link.made_at,
        "made_with": link.made_with, "ends_at": ends, "most": link.most,
        "used": link.used, "shut": link.shut(time()),
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
@click.option(
    "--role",
    nargs=2,
    metavar="NAME ROLE",
    help="What somebody, by nickname or number, may do from now on: swipe, review or own.",
)
@click.option("--with-answers", is_flag=True, help="With --erase: take their answers back too.")
@workspace_option
@json_option
def people_command(
    exported: int | None,
    out: Path | None,
    send_away: int | None,
    erase: int | None,
    role: tuple[str, str] | None,
    with_answers: bool,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """List who takes part; export or erase what is kept of one of them; hand over to somebody."""
    from labeler import members
    from labeler.errors import writing

    if sum(x is not None for x in (exported, send_away, erase, role)) > 1:
        raise click.UsageError("Use one of --export, --send-away, --erase and --role at a time.")
    if with_answers and erase is None:
        raise click.UsageError("--with-answers only goes with --erase.")
    if out is not None and exported is None:
        raise click.UsageError("--out only goes with --export.")
    ws = opening.find(workspace, is_sure=send_away is None and erase is None)
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
    if role is not None:
        _set_role(ws, *role, as_json=as_json)
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


def _set_role(ws: "Workspace", name: str, role: str, *, as_json: bool) -> None:
    """Let somebody do more or less; give who may do more a link for another device of theirs."""
    from labeler import members, people

    if role not in ("swipe", "review", "own"):
        raise click.UsageError(f"{role!r} is no role. Use swipe, review or own.")
    known = members.set_role(ws, ws.roster.named(name).id, cast("Role", role))  # one of the three
    told = {"person": known.id, "name": known.name, "role": known.role}
    if role == "swipe":
        if as_json:
            say.print_json(told)
        else:
            click.echo(f"{say.plain(known.name)} may answer cards from now on.")
        return
    url = people.join_url(ws.address or "http://localhost:8501", members.link_of(ws, known))
    if as_json:
        say.print_json(told | {"url": url})
        return
    what = "do everything" if role == "own" else "judge disputes"
    click.echo(f"{say.plain(known.name)} may {what} from now on, on every device of theirs.")
    click.echo(f"For another device, once, within a day; whoever opens it comes in as them:\n\n  {url}\n")
