"""How the commands say things: in lines for people, or as one JSON object."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import wording

if TYPE_CHECKING:
    from labeler.domain import Session
    from labeler.export.records import ExportReport
    from labeler.workspace import Workspace

SHOWN_ASIDE = 10


def print_json(value: dict[str, Any]) -> None:  # Any: JSON
    """Print one JSON object."""
    click.echo(json.dumps(value))


def plain(text: str) -> str:
    """Return a text from outside without line breaks, colours and turned-round writing."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(path: Path) -> str:
    """Return a path as it is shortest to read from here."""
    full = os.path.abspath(path)
    try:
        near = os.path.relpath(full)
    except ValueError:  # on Windows, another drive
        return full
    return full if near.startswith("..") else near


def images_line(status: dict[str, Any]) -> str:  # Any: JSON
    """Return how many images there are, in words."""
    parts = [f"{status['images']:,} images", f"{status['embedded']:,} embedded"]
    if status["duplicates"]:
        parts.append(f"{status['duplicates']:,} of them duplicates")
    if status["set_aside"]:
        parts.append(f"{len(status['set_aside']):,} set aside")
    if status.get("drawn"):
        parts.append("drawn")
    return ", ".join(parts)


def coming(status: dict[str, Any]) -> None:  # Any: JSON
    """Say that another encoder is on its way, if one is."""
    if (to := status.get("next_encoder")) is not None:
        text = f"the new encoder has seen {to['embedded']:,} of {status['embedded']:,} images"
        click.echo(f"Changing    {text}; until it has seen all, the one before is used ({plain(to['key'])})")


def question(ws: "Workspace", session: "Session", batch_size: int | None) -> None:
    """Say what is asked."""
    click.echo(f"Question:  {session.question} ({', '.join(session.labels)}; goal: {session.goal})")
    if session.target_share is not None:
        click.echo(
            f"Target:    {wording.percent(session.target_share)} found; labeler says when it probably is"
        )
        if session.goal != "find":
            click.echo("That can only be said with the goal find.")
    if session.is_open:
        click.echo(
            f"Votes:     each image is put to {session.least} to {session.votes} people, until it is clear"
        )
    elif session.votes > 1:
        click.echo(f"Votes:     each image is put to {session.votes} people")
    if batch_size is not None and batch_size != session.batch_size:
        click.echo(f"This question goes on in batches of {session.batch_size}, as it was begun.")


def answers(session: dict[str, Any]) -> None:  # Any: JSON
    """Say how a question stands."""
    click.echo(f"Question    {session['question']} ({', '.join(session['labels'])}; goal: {session['goal']})")
    counts = ", ".join(f"{n:,} {label}" for label, n in session["counts"].items())
    click.echo(f"Answers     {counts}")
    click.echo(f"Cards       {session['cards_shown']:,} shown, {session['round']:,} rounds of learning")
    if session["goal"] == "find":
        click.echo(f"Found       {wording.found(session['found'], session['estimate'])}")
        if session["target_share"] is not None:
            click.echo(f"Target      {wording.target(session['target_share'], session['advice'])}")
    if session["certificate"] is not None:
        click.echo(f"Certificate {wording.certificate(session['certificate'], session['labels'][0])}")
    label, quality = session["labels"][0], session["quality"]
    if lines := wording.precision(quality, label):
        n = quality["audit"]
        cards = f"{n:,} card{'s' * (n != 1)}"
        click.echo(f"Precision   of {label}, by {cards} drawn evenly at random:")
        for threshold, text in lines:
            click.echo(f"            called so with {threshold} or more: {text}")


def set_aside(aside: list[dict[str, str]]) -> None:
    """Say what can't be read: the first few, and how many more."""
    for entry in aside[:SHOWN_ASIDE]:
        click.echo(f"Set aside   {plain(entry['path'])}: {entry['reason']}")
    if len(aside) > SHOWN_ASIDE:
        click.echo(f"            and {len(aside) - SHOWN_ASIDE:,} more; labeler status --json names them all")


def report_json(report: "ExportReport") -> dict[str, Any]:  # Any: JSON
    """Return what an export wrote, for --json."""
    return {
        "out": str(report.out),
        "person": report.person,
        "predicted": report.predicted,
        "events": report.events,
        "missing": list(report.missing),
    }


def exported(ws: "Workspace", session: "Session", report: "ExportReport") -> None:
    """Say what an export wrote."""
    click.echo(f"Workspace: {short(ws.folder)}")
    click.echo(f"Question:  {session.question}")
    click.echo(f"Written:   {short(report.out)}")
    click.echo(f"           {report.person:,} answered by people, {report.predicted:,} predicted")
    if not (report.person or report.predicted):
        click.echo("Nothing is answered yet, so nothing but empty lists was written.", err=True)
    if report.missing:
        click.echo(
            f"Left out:  {len(report.missing):,} files that are gone or changed, "
            f"such as {plain(report.missing[0])}",
            err=True,
        )
