"""What a command opens, and what it says on the way: the workspace, the images, the question."""

import contextlib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeler.errors import BadInput, writing
from labeler.say import plain, short

if TYPE_CHECKING:
    from labeler.domain import Goal, Session
    from labeler.workspace import Workspace

DEMO_QUESTION = "Is this an island?"
AUTO = "auto"  # what --votes takes where the answers say how many it takes
OFF = "off"  # what --until takes to clear a target


def open_for_work(
    images: Path | None,
    workspace: Path | None,
    *,
    encoder: str | None = None,
    views: int | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    quiet: bool = False,
) -> "Workspace":
    """Return the workspace to work in, made if need be; no images named: they are drawn."""
    from labeler import encoders, loop, places
    from labeler.config import load_config
    from labeler.demo import is_ours
    from labeler.scan import walk
    from labeler.schema import version
    from labeler.workspace import DATABASE, SETTINGS

    drawn = False
    if images is not None:
        folder = places.check_images(images)
        where = workspace or places.default_workspace(folder)
    else:
        where = workspace or places.DATA / places.DEMO
        version(where / DATABASE)  # a later version's is refused before its settings are read
        known = load_config(where / SETTINGS).images
        own = Path(os.path.abspath(where)) / "images"
        folder = Path(known) if known else own
        drawn = not known or (folder == own and not folder.is_dir())
        if not drawn and not folder.is_dir():
            raise BadInput(f"The folder of images {known} is gone.", "Give its new place with --images.")
    if not quiet:
        click.echo(f"Workspace: {short(where)}")
    if drawn:
        _draw(where, folder, quiet=quiet)
    elif next(walk(folder), None) is None:
        raise BadInput(
            f"{folder} holds no images.", "Give a folder with JPEG, PNG, TIFF, WebP or other images."
        )
    _warn_network(where)
    version(where / DATABASE)  # as above
    load_config(where / SETTINGS, views=views, device=device, batch_size=batch_size)  # before a download
    chosen = encoders.stored(encoder)
    ws = close_at_end(
        places.make_workspace(
            where, folder, encoder=chosen, views=views, device=device, batch_size=batch_size
        )
    )
    _say_kept(ws)
    if drawn or (folder == ws.folder / "images" and is_ours(folder)):  # before a kill that left it unsaid
        loop.mark_drawn(ws)
    if not quiet:
        click.echo(f"Images:    {folder}" + (" (drawn by labeler)" if loop.is_drawn(ws) else ""))
        _warn_disk(where)
    return ws


def close_at_end(ws: "Workspace") -> "Workspace":
    """Return `ws`, to be closed when the command ends; outside a command its caller closes it."""
    if context := click.get_current_context(silent=True):
        context.call_on_close(ws.close)
    return ws


def _say_kept(ws: "Workspace") -> None:
    if ws.kept is not None:
        click.echo(
            "This workspace was made by an earlier version of labeler and has been brought up to date."
            f" Its database as it was: {short(ws.kept)}",
            err=True,
        )


def _draw(where: Path, folder: Path, *, quiet: bool) -> None:
    from labeler import places
    from labeler.config import load_config
    from labeler.demo import FIRST, draw_demo
    from labeler.workspace import SETTINGS

    if where.is_dir() and not places.is_workspace(where) and any(p.name != "images" for p in where.iterdir()):
        raise BadInput(
            f"{where} holds other things and is no workspace.", "Give a new folder to --workspace."
        )
    _refuse_mistyped(where)
    if not quiet:
        click.echo("No --images were given: drawing a demonstration set.")
        for one in places.workspaces():
            if one != where and (images := load_config(one / SETTINGS).images):
                click.echo(f"To go on with your own: labeler start --images {shlex.quote(images)}")
    with writing(str(folder)):
        draw_demo(folder, most=FIRST)


def _refuse_mistyped(where: Path) -> None:
    """Raise BadInput where what is to be made is called nearly as a workspace of somebody's own images."""
    from difflib import get_close_matches

    from labeler import places
    from labeler.config import load_config
    from labeler.workspace import SETTINGS

    if where.exists() or where == places.DATA / places.DEMO:
        return
    others = [*places.workspaces(), *places.workspaces(where.parent)]
    named: dict[Path, str | None] = {}
    for one in others:
        with contextlib.suppress(BadInput, OSError):  # of a later version, or not for us to read
            named[one] = load_config(one / SETTINGS).images
    own = [
        one
        for one, images in named.items()
        if images and Path(images) != Path(os.path.abspath(one)) / "images"
    ]
    beside = {one.name: one for one in own}
    if meant := get_close_matches(where.name, beside, n=1, cutoff=0.75):
        raise BadInput(
            f"There is no workspace {short(where)}.",
            f"Give --workspace {short(beside[meant[0]])}, or --images with the folder for a new one.",
        )


def _warn_network(folder: Path) -> None:
    from labeler import drives

    if text := drives.warning(folder):
        click.echo(f"Warning: {plain(text)}", err=True)


def _warn_disk(folder: Path) -> None:
    from labeler import places

    free = places.free_bytes(folder)
    if free < places.LOW_DISK_BYTES:
        click.echo(f"Warning: the disk of {short(folder)} has only {free / 1e6:,.0f} MB free.", err=True)


def find(workspace: Path | None, *, is_sure: bool = True) -> "Workspace":
    """Return the workspace to look at; says so where there was a choice.

    is_sure  False: what follows can't be taken back, so where there are several, and not just one of them is
             served, the person has to say which one is meant.
    """
    from labeler import drives, places

    several = places.workspaces() if workspace is None else []
    if not is_sure and len(several) > 1 and sum(map(places.is_served, several)) != 1:
        raise BadInput(
            f"There are {len(several)} workspaces, and this can't be taken back.",
            f"Say which one is meant: --workspace {short(several[0])}, or another one under data.",
        )
    ws = close_at_end(places.find_workspace(workspace))
    _say_kept(ws)
    if len(several) > 1:
        why = "is being served" if places.is_served(ws.folder) else "was started last"
        click.echo(
            f"Of several workspaces, {short(ws.folder)} {why}; --workspace names another, such as "
            f"{short(next(w for w in several if not drives.same_place(w, ws.folder)))}.",
            err=True,
        )
    return ws


def start_session(
    ws: "Workspace",
    *,
    question: str | None,
    labels: str | None,
    goal: "Goal | None",
    like: Sequence[Path],
    words: Sequence[str] = (),
    votes: tuple[int, int] | None = None,
) -> "Session":
    """Return the session to go on with, its reference pictures and words taken."""
    from labeler import loop

    pictures = [(path, read_like(path)) for path in like]
    if question is None and loop.is_drawn(ws) and not loop.sessions(ws):
        question = DEMO_QUESTION
    session = loop.start_session(ws, question, _split(labels), goal, votes)
    for path, data in pictures:
        loop.add_example(ws, session, path.name, data)
    for text in words:
        loop.add_words(ws, session, text)
    return session


def take_gold(
    ws: "Workspace", session: "Session", folder: Path | None, feedback: bool | None
) -> tuple["Session", list[str]]:
    """Return the session with the gold of a folder taken, and its files that can't be read."""
    from labeler import gold, loop

    unread = [] if folder is None else gold.give(ws, session, folder)[1]
    if feedback is not None:
        session = loop.set_gold_feedback(ws, session, feedback)
    return session, unread


def check_early(
    question: str | None, labels: str | None, like: Sequence[Path], gold_folder: Path | None = None
) -> None:
    """Raise BadInput for a question, labels or pictures that can't be used, before anything is made."""
    from labeler import gold, loop

    loop.check_question(question, _split(labels))
    if gold_folder is not None:
        gold.read_folder(gold_folder)
    for path in like:
        read_like(path)


def read_until(text: str | None) -> float | None:
    """Return the share that --until names: 95, 95% and 0.95 are one; None for off and for no text.

    Raises BadInput for what is no share from 50 to 99.9 %.
    """
    from labeler.domain import LEAST_TARGET, MOST_TARGET

    if text is None or text.strip().lower() == OFF:
        return None
    share = _share(text)
    if share is None or not LEAST_TARGET <= share <= MOST_TARGET:
        raise BadInput(
            f"--until takes no {text!r}.",
            "Give a percentage from 50 to 99.9, such as 95, or off. That all are found is never sure.",
        )
    return share


def read_votes(text: str | None) -> tuple[int, int] | None:
    """Return (at most, at least) what --votes names: a number, auto, or a range such as 3-8.

    None for no text. Raises BadInput.
    """
    from labeler.domain import AUTO_VOTES, MOST_VOTES

    if text is None:
        return None
    if text.strip().lower() == AUTO:
        return AUTO_VOTES
    given = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", text, re.ASCII)
    least, most = (int(given[1]), int(given[2] or given[1])) if given else (0, 0)
    if not 1 <= least <= most <= MOST_VOTES or (least == 1 < most):  # nothing ends with its only vote
        raise BadInput(
            f"--votes takes no {text!r}.",
            f"Give a number from 1 to {MOST_VOTES}, auto, or a range within 2 to {MOST_VOTES}, such as 3-8.",
        )
    return most, least


def read_share(text: str) -> float:
    """Return the share that a certificate is to say: 90, 90% and 0.9 are one. Raises BadInput for none."""
    share = _share(text)
    if share is None or not 0.01 <= share < 1:
        raise BadInput(f"--share takes no {text!r}.", "Give a percentage from 1 to 99.9, such as 90.")
    return share


def _share(text: str) -> float | None:
    number = re.fullmatch(r"(\d{1,3}(?:[.,]\d{1,6})?|[.,]\d{1,6})\s*(%?)", text.strip(), re.ASCII)
    if number is None:
        return None
    value = float(number[1].replace(",", "."))
    return value if value < 1 and not number[2] else value / 100


def _split(labels: str | None) -> list[str] | None:
    return None if labels is None else [name.strip() for name in labels.split(",")]


def read_like(path: Path, option: str = "--like") -> bytes:
    """Return the bytes of an image that an option names, once it is sure that they are a picture."""
    from labeler.files import Unreadable, read_file
    from labeler.images import check_picture

    try:
        path.stat()
        data = read_file(path)
    except OSError as e:
        raise BadInput(f"{path} can't be read: {e.strerror}.", f"Check the name given to {option}.") from e
    except Unreadable as e:
        raise BadInput(f"{path} can't be used: {e.reason}", f"Check the name given to {option}.") from e
    check_picture(data, name=str(path))
    return data
