"""Whether a search has the machine to itself: then it may take the time to compare every image."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LULL_S = 1.0
"""How long nobody must have searched."""
REST_S = 300.0
"""How long no search is alone after one that took too long."""


class Lull:
    """Who searches one after the other with a pause between, and who searches while others do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock  tells the time in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._running, self._until, self._rests_until = 0, -math.inf, -math.inf

    def rest(self) -> None:
        """Let no search be alone for REST_S: comparing all took too long here."""
        with self._lock:
            self._rests_until = self._clock() + REST_S

    @contextmanager
    def search(self) -> Iterator[bool]:
        """Count a search as running; tell whether it is alone: no other runs, or ended just now."""
        with self._lock:
            is_alone = self._running == 0 and self._clock() >= max(self._until, self._rests_until)
            self._running += 1
        try:
            yield is_alone
        finally:
            with self._lock:
                self._running -= 1
                self._until = self._clock() + LULL_S


here = Lull()
"""Of this process: all searches of a server are in one."""
