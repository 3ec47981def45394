"""Long work of a command, in a thread, so that Ctrl-C is heard at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from labeler.workspace import Workspace

T = TypeVar("T")
INTERRUPTED_CODE, ENDED_CODE = 130, 143  # by Ctrl-C, by SIGTERM: 128 and the signal's number
INTERRUPTED = "Stopped. What was done is kept; the same command goes on from here."


class Ended(KeyboardInterrupt):
    """SIGTERM came: as Ctrl-C, but that it is somebody else who stops us (systemd, docker stop, kill)."""


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Raise Ended where SIGTERM comes while the block runs, in place of dying without a word."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare(ws: "Workspace", *, quiet: bool) -> None:
    """Take the images in."""
    from labeler import loop
    from labeler.bar import Bar

    stop = threading.Event()
    bar = Bar(sys.stderr, quiet=quiet)

    def work() -> None:
        try:
            loop.prepare(ws, report=bar.show, stop=stop)
        finally:
            ws.close()

    ending = begin(work)
    try:
        until(ending)
    except KeyboardInterrupt:
        stop.set()
        wait([ending], 1.2)
        bar.close()
        if not ending.done():
            leave(INTERRUPTED, INTERRUPTED_CODE)
        raise
    bar.close()
    ending.result()


def begin(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread that the process does not wait for; return what it will return or raise."""
    ending: Future[T] = Future()

    def run() -> None:
        try:
            ending.set_result(work())
        except BaseException as e:  # handed to the main thread, which raises it again
            ending.set_exception(e)

    threading.Thread(target=run, name="work", daemon=True).start()
    return ending


def until(ending: Future[T]) -> None:
    """Return when the work has ended; Ctrl-C is heard meanwhile.

    `Thread.join` would not do: interrupted, it takes a running thread for ended (Python 3.11, bpo-45274).
    """
    while not ending.done():
        wait([ending], 0.1)


def leave(message: str, code: int) -> NoReturn:
    """End now, whatever other threads do: all that was acknowledged is on disk."""
    click.echo(f"\n{message}", err=code != 0)
    sys.stdout.flush()
    os._exit(code)
