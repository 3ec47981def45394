"""The commands that keep a workspace safe: into one file while it runs, and back again."""

import contextlib
import os
import shlex
import sys
import threading
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from labeler import opening, say
from labeler.options import json_option, workspace_option
from labeler.waiting import INTERRUPTED_CODE, begin, leave, until

if TYPE_CHECKING:
    from labeler.archive import Contents
    from labeler.backup import Report
    from labeler.domain import Progress
    from labeler.restore import Restored

T = TypeVar("T")
NICE = 10  # how far a backup leaves the cores to others
END_S = 10.0  # for what it has begun, after Ctrl-C
STOPPED = "Stopped. Nothing was written; what was there before is as it was."
KINDS = {
    "database": "labeler.db",
    "rounds": "rounds/",
    "examples": "examples/",
    "encoder": "encoders/",
    "vectors": "vectors/",
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--without-vectors", is_flag=True, help="Leave out what can be computed again from the images.")
@workspace_option
@json_option
def backup(file: Path, without_vectors: bool, workspace: Path | None, as_json: bool) -> None:
    """Write a whole workspace to one file, also while people answer.

    An earlier backup at that place is replaced once the new one is on disk. Your images are not in it.
    """
    from labeler import backup as backups

    ws = opening.find(workspace)
    done = _patiently(
        lambda report: backups.write(ws, file, vectors=not without_vectors, report=report), as_json
    )
    sizes = _sizes(done.contents)
    if as_json:
        held = {"events": done.events, "items": done.items, "embedded": done.embedded}
        say.print_json(
            {"workspace": str(ws.folder), "file": str(done.file), "bytes": done.bytes, **held, "parts": sizes}
        )
        return
    click.echo(f"Workspace: {say.short(ws.folder)}")
    click.echo(f"Written:   {say.short(done.file)}, {_mb(done.bytes)}")
    click.echo("           unpacked " + ", ".join(f"{name} {_mb(n)}" for name, n in sizes.items() if n))
    click.echo(f"           {done.events:,} answers and undos, {done.items:,} images known")
    if without_vectors:
        click.echo("Left out:  the vectors; the next start computes them again from the images")
    elif sizes["vectors"] > done.bytes / 2:
        click.echo("           Most of it is vectors, which can be computed again: --without-vectors")
    click.echo("Not in it: your images, and the link that makes somebody the owner")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    envvar="LABELER_WORKSPACE",
    metavar="DIR",
    required=True,
    help="Where to put it: a new folder, or an empty one.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the images are on this computer.  [default: where they were]",
)
@json_option
def restore(file: Path, workspace: Path, images: Path | None, as_json: bool) -> None:
    """Put a backup back into a folder of its own.

    All of it is checked first. Nothing that is there is ever overwritten.
    """
    from labeler import restore as restoring

    done = _patiently(
        lambda report: restoring.restore(file, workspace, images=images, report=report), as_json
    )
    vectors = done.contents.about.get("vectors") is True
    if as_json:
        said: dict[str, Any] = {"workspace": str(done.workspace), "events": done.events, "items": done.items}
        found = {"images": done.images, "images_found": done.images_found}
        say.print_json(said | {"vectors": vectors, **found, "parts": _sizes(done.contents)})
        return
    about = done.contents.about
    click.echo(f"Workspace: {say.short(done.workspace)}")
    click.echo(f"Backup:    of {say.plain(str(about.get('made_at')))}")
    click.echo(f"           {done.events:,} answers and undos, {done.items:,} images known")
    if not vectors:
        click.echo("Vectors:   not in the backup; the next start computes them again from the images")
    _tell_images(done)


def _tell_images(done: "Restored") -> None:
    """Say where the images should be, and how to go on."""
    start = ["labeler", "start", "--workspace", say.short(done.workspace)]
    if done.contents.about.get("drawn") is True and done.images_found == 0:
        click.echo("Images:    the demonstration set, which the next start draws again")
    elif done.images_found == 0:
        click.echo(f"Images:    none of the first ones is in {say.plain(str(done.images))}")
        start += ["--images", "DIR"]
    elif done.images is not None:
        click.echo(f"Images:    {say.plain(done.images)}")
    click.echo(f"Go on:     {shlex.join(start)}")


def _patiently(work: "Callable[[Report], T]", quiet: bool) -> T:
    """Return what long work returns, done in a thread that leaves the cores to whoever answers people.

    Ctrl-C ends it in order: what it has begun to write goes away again.
    """
    from labeler.bar import Bar

    bar, stop = Bar(sys.stderr, quiet=quiet), threading.Event()

    def report(progress: "Progress") -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        bar.show(progress)

    def patient() -> T:
        if sys.platform == "linux":  # where niceness is a thread's own
            with contextlib.suppress(OSError):  # a container may forbid it
                os.nice(NICE)
        return work(report)

    ending = begin(patient)
    try:
        until(ending)
        return ending.result()
    except KeyboardInterrupt:
        stop.set()
        wait([ending], END_S)
        bar.close()
        if not ending.done():
            leave(STOPPED, INTERRUPTED_CODE)
        click.echo(f"\n{STOPPED}", err=True)
        raise click.exceptions.Exit(INTERRUPTED_CODE) from None
    finally:
        bar.close()


def _sizes(contents: "Contents") -> dict[str, int]:
    return {kind: contents.bytes_of(start) for kind, start in KINDS.items()}


def _mb(n: int) -> str:
    """Return a size as people read it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n >= size:
            return f"{n / size:,.{0 if n >= 10 * size else 1}f} {unit}"
    return f"{max(1, round(n / 1e3))} KB"
