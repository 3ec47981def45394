"""The command that searches: the images that are like some pictures, and unlike others."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from labeler import opening, say
from labeler.options import json_option, workspace_option

if TYPE_CHECKING:
    from active.arrays import Rows
    from active.embedding import Encoder
    from labeler.workspace import Workspace

SEVERAL = ("--like", "--unlike")  # options that take all that follows, up to the next option


class _Search(click.Command):
    """A command of which an option may be followed by several values: --like a.jpg b.jpg."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, each value of such an option as one with the option before it."""
        out: list[str] = []
        option, is_first = "", False
        for arg in args:
            if arg.startswith("-") and arg != "-":
                name, _, value = arg.partition("=")
                option, is_first = name if name in SEVERAL else "", not value
            elif option:
                out += [] if is_first else [option]
                is_first = False
            out.append(arg)
        return super().parse_args(ctx, out)


@click.command(cls=_Search)
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="IMAGE…",
    help="Pictures of what you look for, from anywhere.",
)
@click.option(
    "--unlike",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="IMAGE…",
    help="Pictures of what you don't look for.",
)
@click.option("--words", multiple=True, metavar="TEXT", help="Words for it, if the encoder reads text.")
@click.option("-k", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("--exact", is_flag=True, help="Compare every image. Slower; up to 3 million images.")
@workspace_option
@json_option
def search(
    like: tuple[Path, ...],
    unlike: tuple[Path, ...],
    words: tuple[str, ...],
    k: int,
    exact: bool,
    workspace: Path | None,
    as_json: bool,
) -> None:
    """Find the images that look most like some pictures.

    Prints how alike each one is to what is searched by (1: the same as a single picture) and its file, the
    best first.
    """
    if not (like or words):
        raise click.UsageError("Give a picture with --like, or --words.")
    from labeler import searching

    pictures = [(path, opening.read_like(path, "--like")) for path in like]
    others = [(path, opening.read_like(path, "--unlike")) for path in unlike]
    ws = opening.find(workspace)
    eye = _Eye(ws)
    near = [eye.picture(path, data) for path, data in pictures] + [eye.words(text) for text in words]
    far = [eye.picture(path, data) for path, data in others]
    rows = searching.stacked(near)
    assert rows is not None, "at least one picture or words"
    found = searching.neighbours(ws, rows, searching.stacked(far), k, apart=bool(words), exact=exact)
    names = [str(ws.images / searching.get_item(ws, item).path) for item, _ in found]
    if as_json:
        results = [
            {"item": item, "cos": round(cos, 6), "path": name}
            for (item, cos), name in zip(found, names, strict=True)
        ]
        say.print_json({"workspace": str(ws.folder), "results": results})
        return
    for (_, cos), name in zip(found, names, strict=True):
        click.echo(f"{cos:.3f}  {say.plain(name)}")


class _Eye:
    """Gives pictures and words their vectors. The encoder is loaded for what is not in the pool."""

    def __init__(self, ws: "Workspace") -> None:
        self._ws = ws
        self._encoder: Encoder | None = None

    def picture(self, path: Path, data: bytes) -> "Rows":
        from labeler import loop, searching

        known = searching.known_row(self._ws, data)
        if known is not None:
            return known
        return self._loaded().encode([loop.open_picture(self._ws, data, name=str(path))])

    def words(self, text: str) -> "Rows":
        from labeler import searching

        return searching.word_row(self._loaded(), text)

    def _loaded(self) -> "Encoder":
        from labeler import encoders, searching

        if self._encoder is None:
            if self._ws.registry.in_use() is None:
                raise searching.nothing_yet()
            self._encoder = encoders.load(self._ws.config.encoder, self._ws.config)
            searching.check_used(self._ws, self._encoder.key)
        return self._encoder
