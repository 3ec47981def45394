"""Long work of a command, in a thread, so that Ctrl-C is heard at once."""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from labeler.workspace import Workspace

INTERRUPTED_CODE = 130
INTERRUPTED = "Stopped. What was done is kept; the same command goes on from here."


def prepare(ws: "Workspace", *, quiet: bool) -> None:
    """Take the images in, in a thread, so that Ctrl-C is heard at once."""
    import threading

    from labeler import loop
    from labeler.bar import Bar

    stop, failed = threading.Event(), list[BaseException]()
    bar = Bar(sys.stderr, quiet=quiet)

    def work() -> None:
        try:
            loop.prepare(ws, report=bar.show, stop=stop)
        except BaseException as e:  # handed to the main thread, which raises it again
            failed.append(e)
        finally:
            ws.close()

    thread = threading.Thread(target=work, name="index", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except KeyboardInterrupt:
        stop.set()
        thread.join(1.2)
        bar.close()
        if thread.is_alive():
            leave(INTERRUPTED, INTERRUPTED_CODE)
        raise
    bar.close()
    if failed:
        raise failed[0]


def leave(message: str, code: int) -> NoReturn:
    """End now, whatever other threads do: all that was acknowledged is on disk."""
    click.echo(f"\n{message}", err=code != 0)
    sys.stdout.flush()
    os._exit(code)
