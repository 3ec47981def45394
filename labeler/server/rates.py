"""How often one address may do something: some times at once, then so many a second."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from labeler.addresses import neighbourhood

AT_ONCE, PER_S = 60, 2.0  # a class of 30 phones, twice, behind one school's address; 180 in its first minute
MOST_WAIT_S = 60
MOST_ADDRESSES = 10_000  # remembered; the ones unheard of for longest are forgotten first


class Rates:
    """A bucket of turns for each address (an IPv4 address, or a household's IPv6 /64), filled again slowly.

    Those who are told to wait are given later and later times, as far as they come within a minute, so that
    a crowd that heeds them does not come back all at once.
    """

    def __init__(
        self, at_once: int = AT_ONCE, per_s: float = PER_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._at_once, self._per_s, self._clock = at_once, per_s, clock
        self._of: OrderedDict[str, tuple[float, float, float]] = OrderedDict()
        """Of each address: turns left, how many wait for one, and when that was so."""

    def wait_s(self, peer: str) -> int | None:
        """Take a turn for an address; return None, or for how many seconds its sender has to wait for one."""
        now, place = self._clock(), neighbourhood(peer)
        left, waiting, at = self._of.pop(place, (float(self._at_once), 0.0, now))
        came = (now - at) * self._per_s
        left, waiting = min(self._at_once, left + came), max(0.0, waiting - came)
        is_free = left >= 1
        if is_free:
            left -= 1
        else:
            waiting += 1
        self._of[place] = (left, waiting, now)
        while len(self._of) > MOST_ADDRESSES:
            self._of.popitem(last=False)
        return None if is_free else min(MOST_WAIT_S, max(1, math.ceil((waiting - left) / self._per_s)))
