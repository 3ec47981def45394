"""Options that several commands take: each is written once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])  # Any: as click has it

images_option = click.option(
    "--images", type=click.Path(path_type=Path), metavar="DIR", help="The folder of images; only ever read."
)
encoder_option = click.option(
    "--encoder",
    metavar="builtin|DIR|NAME",
    help="What turns images into vectors: builtin, a model's folder, or its name on the hub.",
)
device_option = click.option(
    "--device",
    metavar="DEVICE",
    help="Where a model computes: auto, cpu, cuda, cuda:1 or mps.  [default: auto]",
)
views_option = click.option(
    "--views",
    type=click.Choice(["1", "4", "8"]),
    callback=lambda ctx, param, value: value and int(value),
    help="Look at each image so many ways, turned and mirrored: for images that have no up.  [default: 1]",
)
session_option = click.option(
    "--session", type=click.IntRange(1), metavar="ID", help="Which question.  [default: the one started last]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def _workspace(default: str) -> Callable[[F], F]:
    return click.option(
        "--workspace",
        type=click.Path(path_type=Path),
        envvar="LABELER_WORKSPACE",
        metavar="DIR",
        help=f"The workspace.  [default: {default}]",
    )


new_workspace_option = _workspace("data/<name of the images' folder>")
workspace_option = _workspace("the one under data that was started last")
