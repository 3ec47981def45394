"""The command that lists encoders: what is there, how quick each is here, what each has seen."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeler import opening, say
from labeler.options import json_option, workspace_option

if TYPE_CHECKING:
    from labeler.encoders import Found


@click.command()
@click.option(
    "--encoder",
    "more",
    multiple=True,
    metavar="DIR|NAME",
    help="Another one to look at: a folder, or a name on the hub. May be given several times.",
)
@click.option(
    "--remove",
    metavar="KEY",
    help="Delete the vectors of an encoder that is no longer in use.",
)
@workspace_option
@json_option
def encoders(more: tuple[str, ...], remove: str | None, workspace: Path | None, as_json: bool) -> None:
    """List the encoders: size, speed on this computer, vectors on disk.

    Each one is loaded and measured, which takes some seconds.
    """
    from labeler import encoders as all_of
    from labeler import places

    ws = opening.find(workspace) if workspace or remove or places.workspaces() else None
    if remove is not None:
        assert ws is not None
        freed = all_of.remove(ws, remove)
        if as_json:
            say.print_json({"removed": remove, "freed_bytes": freed})
        else:
            click.echo(f"Removed {say.plain(remove)}: {_size(freed)} freed.")
        return
    found = all_of.listed(ws, tuple(all_of.stored(name) or name for name in more))
    if as_json:
        say.print_json({"workspace": str(ws.folder) if ws else None, "encoders": [asdict(f) for f in found]})
        return
    if ws is not None:
        click.echo(f"Workspace   {say.short(ws.folder)}")
    for one in found:
        _tell(one)


def _tell(one: "Found") -> None:
    """Say what is known of an encoder, in two or three lines."""
    click.echo(f"\n{say.plain(one.name or one.key or '')}")
    if one.problem:
        click.echo(f"  can't be used: {say.plain(one.problem)}")
        return
    parts = []
    if one.ms is not None:
        parts.append(f"{1000 / one.ms:,.0f} images a second by one core ({one.ms:.1f} ms each)")
    if one.weights_bytes:
        parts.append(f"{_size(one.weights_bytes)} of weights")
    if one.dim:
        parts.append(f"{one.dim:,} numbers an image")
    if one.views and one.views > 1:
        parts.append(f"{one.views} views of each image")
    click.echo("  " + ", ".join(parts))
    if one.key:
        seen = f"{one.embedded:,} vectors on disk, {_size(one.disk_bytes)}" if one.embedded else "no vectors"
        click.echo(f"  {one.state}: {seen} ({one.key})")


def _size(n: int) -> str:
    """Return a number of bytes in words."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n} bytes"
