"""The command that plays a person, to decide whether this tool is for them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labeler import opening, say
from labeler.options import json_option
from labeler.waiting import INTERRUPTED_CODE, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labeler.domain import Goal
    from labeler.simulate import Plan, Played
    from labeler.trial import Trial

STOPPED = "Stopped. The images stay embedded; the plays begin anew."
STRATEGIES = (
    *("recipe", "random", "neighbours", "likely", "uncertainty", "margin", "entropy"),
    *("ranked", "gaussian", "balanced"),
)


@click.command()
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="A folder with a folder of images for each class; only ever read.",
)
@click.option(
    "--truth",
    type=click.Choice(["folders"]),
    default="folders",
    show_default=True,
    help="What an image shows: the folder it lies in.",
)
@click.option(
    "--target", multiple=True, metavar="CLASS", help="Which class; may be repeated.  [default: all]"
)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="IMAGE",
    help="Begin with this image, for one --target; may be repeated.",
)
@click.option(
    "--references",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Images of each class to begin with, each in a play of its own.",
)
@click.option(
    "--budget",
    default="2x",
    show_default=True,
    metavar="2x|N",
    help="Cards of a play: so many times the class's images, or a number.",
)
@click.option("--goal", type=click.Choice(["find", "classify"]), default="find", show_default=True)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="recipe",
    show_default=True,
    help="How cards are chosen; recipe is what people get.",
)
@click.option("--encoder", metavar="builtin|DIR|NAME", help="As for start.  [default: builtin]")
@click.option(
    "--views",
    type=click.Choice(["1", "4", "8"]),
    default="1",
    show_default=True,
    help="As for start.",
)
@click.option("--device", metavar="DEVICE", help="As for start.  [default: auto]")
@click.option(
    "--noise",
    type=click.FloatRange(0, 0.5),
    default=0.0,
    show_default=True,
    help="Part of the answers that is wrong.",
)
@click.option(
    "--people", type=click.IntRange(1, 100), default=1, show_default=True, help="How many answer in turn."
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Runs with other references and another chance.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A new or empty folder for tables and plots.",
)
@click.option(
    "--workspace",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where links and vectors are kept.  [default: data/simulate/<name>-<hash>]",
)
@json_option
def simulate(
    images: Path,
    truth: str,
    target: tuple[str, ...],
    like: tuple[Path, ...],
    references: int,
    budget: str,
    goal: "Goal",
    strategy: str,
    encoder: str | None,
    views: str,
    device: str | None,
    noise: float,
    people: int,
    seeds: int,
    out: Path | None,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Play a person who labels images whose classes are known, and say what it took.

    For every class a question is asked and answered through the same loop that people use, which sees neither
    folders nor file names.
    """
    from labeler import trial

    if like and len(target) != 1:
        raise click.UsageError("--like goes with exactly one --target.")
    if like and references > 1:
        raise click.UsageError("--like and --references exclude each other.")
    times, cards = trial.parse_budget(budget)
    examples = [(path, opening.read_like(path)) for path in like]
    if out is not None:
        trial.check_out(out, images)
    from labeler.simulate import Plan

    plan = Plan(
        goal=goal, strategy=strategy, times=times, cards=cards, noise=noise, people=people, seeds=seeds,
        references=references,
    )  # fmt: skip
    begun = trial.open_trial(images, workspace, encoder=encoder, views=int(views), device=device)
    opening.close_at_end(begun.ws)
    if not as_json:
        click.echo(f"Workspace: {say.short(begun.ws.folder)}")
        click.echo(f"Images:    {begun.source}")
    if not trial.is_ready(begun):
        prepare(begun.ws, quiet=as_json)
        trial.note_ready(begun)
    found, plays = _played(begun, plan, targets=target, examples=examples, quiet=as_json)
    found["budget"] = budget
    if out is not None:
        trial.write_out(out, found, plays)
    if as_json:
        say.print_json(found)
        return
    click.echo()
    for line in [*trial.table(found), "", *trial.words(found)]:
        click.echo(say.plain(line))
    if out is not None:
        click.echo(f"\nWritten:   {say.short(out)}")


def _played(
    begun: "Trial",
    plan: "Plan",
    *,
    targets: "Sequence[str]",
    examples: "Sequence[tuple[Path, bytes]]",
    quiet: bool,
) -> "tuple[dict[str, Any], list[Played]]":  # Any: JSON
    """Play what is planned; return the summary and the plays."""
    import time
    from dataclasses import replace

    from labeler import outcome, trial
    from labeler import simulate as oracle
    from labeler.bar import Bar

    started = time.monotonic()
    truth = trial.read_classes(begun)
    chosen, left_out = trial.choose_targets(truth, targets)
    trial.check_budget(truth, plan, chosen)
    plan = replace(plan, like=tuple(trial.take_example(begun.ws, path, data) for path, data in examples))
    wanted = oracle.tasks(begun.ws, truth, plan, chosen)
    if not quiet:
        click.echo(f"{len(truth.names):,} images, {trial.say_tasks(wanted, plan)}")
        for left in left_out:
            click.echo(f"Left out:  {say.plain(left['why'])}")
    bar = Bar(sys.stderr, quiet=quiet)
    try:
        plays = oracle.play_all(begun.ws, wanted, report=bar.show)
    except KeyboardInterrupt:
        bar.close()
        click.echo(STOPPED, err=True)
        click.get_current_context().exit(INTERRUPTED_CODE)
    finally:
        bar.close()
    found = trial.about(begun, truth, plan) | outcome.summary(plays, truth, plan)
    return found | {"left_out": left_out, "wall_s": round(time.monotonic() - started, 1)}, plays
