"""The command that tells what a certificate costs, begins it, and says what it says."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import opening, say, wording
from labeler.errors import NotReady
from labeler.options import json_option, session_option, workspace_option

if TYPE_CHECKING:
    from labeler.certificate import Certificate, Price
    from labeler.domain import Session
    from labeler.workspace import Workspace

FINDS_TOLD = (1, 2, 5)


@click.command()
@click.option(
    "--share",
    default="90",
    show_default=True,
    metavar="PERCENT",
    help="What you want to be able to say has been found, at least.",
)
@click.option(
    "--begin", is_flag=True, help="Draw the cards now; until all are answered, no others are dealt."
)
@click.option(
    "--cards",
    type=click.IntRange(1),
    metavar="N",
    help="With --begin: draw so many.  [default: the fewest that may do]",
)
@click.option("--finish", is_flag=True, help="End it now; cards without an answer count as missed.")
@click.option("--cancel", is_flag=True, help="Give it up: it says nothing, and other cards are dealt again.")
@workspace_option
@session_option
@json_option
def certificate(
    share: str,
    begin: bool,
    cards: int | None,
    finish: bool,
    cancel: bool,
    workspace: Path | None,
    session: int | None,
    as_json: bool,
) -> None:
    """Guarantee how much has been found, by cards drawn evenly.

    Without --begin, says how many cards that takes. It rests on nothing that was learned.
    """
    from labeler import certificate as certificates
    from labeler import loop

    if begin + finish + cancel > 1:
        raise click.UsageError("--begin, --finish and --cancel exclude each other.")
    if cards is not None and not begin:
        raise click.UsageError("--cards only goes with --begin.")
    wanted = opening.read_share(share)
    ws = opening.find(workspace)
    asked = loop.get_session(ws, session)
    offer: Price | None = None
    why = None
    if begin:
        found: Certificate | None = certificates.begin(ws, asked, wanted, cards)
    elif finish:
        found = certificates.finish(ws, asked)
    elif cancel:
        found = certificates.cancel(ws, asked)
    else:
        found = certificates.look(ws, asked)
        if found is None or found.state != "running":
            try:
                offer = certificates.price(ws, asked, wanted)
            except NotReady as e:
                if found is None:
                    raise
                why = e
    if as_json:
        say.print_json(_json(ws, asked, offer, found))
        return
    for one in certificates.earlier(ws, asked):
        click.echo(f"Before      {wording.certificate(certificates.to_json(one) or {}, asked.target)}")
    if found is not None:
        click.echo(f"Certificate {wording.certificate(certificates.to_json(found) or {}, asked.target)}")
    if begin:
        click.echo("From now on only these cards are dealt. Nothing is sure before all are answered: whoever")
        click.echo("looks early and stops when it looks good is wrong more often than 1 in 20.")
    if offer is not None:
        _tell(offer, asked, workspace)
    if why is not None:
        click.echo(f"Another one: {why}")


def _json(
    ws: "Workspace", session: "Session", offer: "Price | None", found: "Certificate | None"
) -> dict[str, Any]:  # Any: JSON
    from dataclasses import asdict

    from labeler import certificate as certificates

    return {
        "workspace": str(ws.folder),
        "session": session.id,
        "price": None if offer is None else asdict(offer),
        "certificate": certificates.to_json(found),
        "earlier": [certificates.to_json(one) for one in certificates.earlier(ws, session)],
    }


def _tell(offer: "Price", session: "Session", workspace: Path | None) -> None:
    """Say what a certificate would take."""
    wanted = f"{100 * offer.share:g}"
    told = f", {offer.unsure:,} could not be told" if offer.unsure else ""
    click.echo(f"Found       {offer.found:,} {session.target}{told}; {offer.left:,} images are not answered")
    if offer.draws is None:
        click.echo(
            f"Price       Not even all {offer.left:,} would do for {wanted} %: those that could not be"
        )
        click.echo("            told count as missed. Give a lower --share, or look at those again.")
        return
    click.echo(f'Price       To be able to say "at least {wanted} % found" (95 % sure):')
    click.echo(f"            {offer.draws:,} cards drawn evenly, if none of them is {session.target};")
    if offer.if_missed is not None and offer.missed:
        click.echo(
            f"            {offer.if_missed:,}, if about {offer.missed:,} were missed, as the estimate says"
            " (enough in 4 cases of 5)."
        )
    cards = max(1, offer.draws)
    finds = [n for n in FINDS_TOLD if n <= cards]
    said = [f"{wording.at_least(offer.says(cards, n))} with {n}" for n in finds]
    click.echo(f"            Of {cards:,} cards it would say {', '.join(said)} among them.")
    at = "" if workspace is None else f" --workspace {shlex.quote(str(workspace))}"
    click.echo(f"Begin       labeler certificate --share {wanted} --session {session.id} --begin{at}")
    click.echo("            For another number of cards add --cards.")
