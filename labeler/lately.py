"""What is asked for again and again and takes a while to find out: kept for some seconds."""

import math
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Keeps what was found out about something, such as a workspace, while it is new enough.

    least_s  for so long, or for `times` times as long as it took to find out, but at most for most_s.
    One thread at a time finds out; the others wait, and get the same.
    """

    def __init__(self, least_s: float, times: float, most_s: float = math.inf) -> None:
        self._least_s, self._times, self._most_s = least_s, times, most_s
        self._lock = threading.Lock()
        self._of: weakref.WeakKeyDictionary[object, dict[Hashable, tuple[float, T]]] = (
            weakref.WeakKeyDictionary()
        )

    def get(self, of: object, key: Hashable, find: Callable[[], T]) -> T:
        """Return what is kept under a key, or what `find` says now."""
        with self._lock:
            kept = self._of.setdefault(of, {})
            began = time.monotonic()
            if key in kept and began < kept[key][0]:
                return kept[key][1]
            found = find()
            now = time.monotonic()
            lasts_s = max(self._least_s, self._times * (now - began))
            kept[key] = now + min(lasts_s, self._most_s), found
            return found

    def forget(self) -> None:
        """Find out anew from now on."""
        with self._lock:
            self._of.clear()
