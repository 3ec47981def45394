"""Who is connected: how many there may be, whom a newcomer takes the place of, and who is looked at when."""

from collections import OrderedDict
from functools import cache
from typing import Generic, Protocol, TypeVar

MOST_OPEN = 12_000  # connections; each takes some 10 KB
OTHER_FILES = 1_000  # that this process may have open beside them
MOST_FROM_ONE = 1_000  # from one address: a school behind one router
LEAST_OPEN = 16


@cache
def most_open() -> int:
    """Return how many connections there may be: so many as this process may open files, less a thousand
    or half of them; at most 12,000.

    The first call raises the process's own limit as far as the system lets it.
    """
    try:
        import resource
    except ImportError:  # Windows sets no such limit
        return MOST_OPEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:  # 256 on macOS, 1024 on most of Linux
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass  # then with as many as there are
    if soft == resource.RLIM_INFINITY:
        return MOST_OPEN
    return min(MOST_OPEN, max(LEAST_OPEN, soft // 2, soft - OTHER_FILES))


class Guest(Protocol):
    """A connection. peer: the address that it counts for, None for this machine."""

    peer: str | None

    def look(self, now: float) -> bool:
        """End it if its other end keeps the server waiting; return whether it was left as it is."""


G = TypeVar("G", bound=Guest)


class Places(Generic[G]):
    """The open connections of a server, told apart by whether they rest or work.

    Those that rest are kept in the order in which they began to, so that whatever is asked here costs
    the same however many there are.
    """

    def __init__(self) -> None:
        self._resting: OrderedDict[G, None] = OrderedDict()
        self._working: set[G] = set()
        self._near: dict[str, OrderedDict[G, None]] = {}  # of one address, those that rest
        self._from: dict[str, int] = {}  # how many of each address there are

    def came(self, guest: G) -> None:
        """Note a new one; it rests."""
        if guest.peer is not None:
            self._from[guest.peer] = self._from.get(guest.peer, 0) + 1
        self.rest(guest)

    def left(self, guest: G) -> None:
        """Forget one."""
        if guest not in self._resting and guest not in self._working:
            return
        self.work(guest)
        self._working.discard(guest)
        if guest.peer is not None:
            self._from[guest.peer] -= 1
            if not self._from[guest.peer]:
                del self._from[guest.peer]

    def rest(self, guest: G) -> None:
        """Note that one rests from now on."""
        self._working.discard(guest)
        self._resting[guest] = None
        self._resting.move_to_end(guest)
        if guest.peer is not None:
            near = self._near.setdefault(guest.peer, OrderedDict())
            near[guest] = None
            near.move_to_end(guest)

    def work(self, guest: G) -> None:
        """Note that one works, or is ending."""
        if guest not in self._resting:
            return
        del self._resting[guest]
        self._working.add(guest)
        if guest.peer is not None:
            near = self._near[guest.peer]
            del near[guest]
            if not near:
                del self._near[guest.peer]

    def is_working(self, guest: G) -> bool:
        """Return whether one works, or is ending."""
        return guest in self._working

    def count_from(self, peer: str) -> int:
        """Return how many come from one address."""
        return self._from.get(peer, 0)

    def longest_resting(self, peer: str | None = None) -> G | None:
        """Return who has rested for longest, of one address or (None) of all; None: nobody rests."""
        return next(iter(self._resting if peer is None else self._near.get(peer, ())), None)

    def look(self, now: float) -> bool:
        """Look at all that work and those that rested for too long; return whether there is anybody."""
        for guest in list(self._working):
            guest.look(now)
        while (first := self.longest_resting()) is not None and not first.look(now):
            self.work(first)  # who comes behind has not rested for longer
        return bool(self._resting or self._working)
