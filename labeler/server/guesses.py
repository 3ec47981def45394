"""Who has sent wrong links or cookies lately, and how long they have to wait."""

import time
from collections import OrderedDict

from labeler.addresses import neighbourhood
from labeler.people import hash_token

WRONG, WITHIN_S = 10, 60.0  # wrong ones from one address before it is told to wait
MOST_ADDRESSES = 10_000  # remembered; the oldest are forgotten first


class Guesses:
    """Counts wrong secrets by address. Only whoever is wrong waits: the right one opens from anywhere."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[tuple[str, bool], tuple[float, list[str]]] = OrderedDict()

    def wrong(self, peer: str, secret: str, *, again: bool) -> int | None:
        """Note a wrong secret; return for how many seconds its sender has to wait, None: it may go on.

        again  whether one that is known already counts once more. A link does; an old cookie does not:
               browsers send it with everything, and nobody guesses by repeating. Each is counted apart.
        """
        now, place = time.monotonic(), (neighbourhood(peer), again)
        since, sent = self._wrong.get(place, (now, []))
        if now - since > WITHIN_S:
            since, sent = now, []
            self._wrong.pop(place, None)
        name = hash_token(secret)[:16]
        if len(sent) >= WRONG:
            return max(1, round(WITHIN_S - (now - since)))
        if again or name not in sent:
            self._wrong[place] = (since, [*sent, name])
        while len(self._wrong) > MOST_ADDRESSES:
            self._wrong.popitem(last=False)
        return None
