"""Pixels on their way from the decoder to the encoder, and the cores that both compute on."""

import threading
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from PIL.Image import Image

HELD_IMAGES, HELD_BYTES = 2000, 160 * 2**20  # pixels waiting for the encoder

Held = Image | NDArray[Any]  # Any: whatever dtype the encoder prepares


class Pixels:
    """The pixels that wait for the encoder, by item, with a limit on their number and size."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._held: dict[int, Held] = {}
        self._count = 0
        self._bytes = 0

    def wait_for_room(self, is_over: Callable[[], bool]) -> None:
        with self.changed:
            while (self._count >= HELD_IMAGES or self._bytes >= HELD_BYTES) and not is_over():
                self.changed.wait(0.1)

    def count(self, held: Held, sign: int = 1) -> None:
        """Count pixels that a thread has made (sign 1) or let go (-1)."""
        size = held.width * held.height * 4 if isinstance(held, Image) else held.nbytes
        with self.changed:
            self._count += sign
            self._bytes += sign * size
            self.changed.notify_all()

    def keep(self, item: int, held: Held) -> bool:
        """Keep pixels, already counted, for an item; False when it has some."""
        with self.changed:
            return self._held.setdefault(item, held) is held

    def take(self, item: int) -> Held | None:
        """Return the pixels of an item, and forget them; None: they have to be read again."""
        with self.changed:
            held = self._held.pop(item, None)
        if held is not None:
            self.count(held, -1)
        return held


class Turn:
    """A core, taken where this is entered and held until `end`, while the picture is warm in its cache."""

    def __init__(self, core: threading.Semaphore) -> None:
        self._core, self._is_held = core, False

    def __enter__(self) -> None:
        self._core.acquire()
        self._is_held = True

    def __exit__(self, *_: object) -> None:
        """Hold on to it."""

    def end(self) -> None:
        if self._is_held:
            self._core.release()
