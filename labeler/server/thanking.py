"""Thanks that tell the truth: what somebody's answers came to, and how far all have come."""

from typing import Any

from labeler.tongue import Words
from labeler.wording import OFTEN, rounded
from labeler.workspace import Workspace

Json = dict[str, Any]  # Any: JSON, as `loop.session_status` gives it
AT_ONCE = 10  # answers after which somebody is told anew what was theirs, where known answers are among them


class Credits:
    """Whose finds are whose, as people are told; kept by the server.

    Where some cards are gold, a figure that grows with every find but those would tell which these are: then
    it changes once in AT_ONCE answers.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[int, int], tuple[int, int]] = {}

    def of(self, ws: Workspace, session: int, person: int, answers: int) -> int:
        """Return how many finds are told to be theirs, of somebody who has given so many answers."""
        first = ws.journal.finds_of(session, person)
        if not ws.dealing.has_gold(session):
            return first
        at, told = self._told.get((session, person), (-1, 0))
        if at != answers // AT_ONCE:
            self._told[session, person] = answers // AT_ONCE, first
            return first
        return told


def thanks(words: Words, facts: Json, answers: int, finds: int, *, has_gold: bool = False) -> str:
    """Return a line for somebody who has given so many answers to a question; empty: they gave none.

    finds  images that they were the first to call the target and that stand so: agreeing with others
           brings none, and nobody is told how often they agree.
    has_gold  whether some cards are gold: how many all have found by now is left out then, as that grows with
              every find but those, or, with those counted for whoever gave them, does not fit `finds`.
    """
    if answers == 0:
        return ""
    given = f"{answers:,}"
    if answers == 1:
        own = words("thanks.first")
    elif facts["goal"] != "find":
        return words("thanks.given", answers=given)
    elif finds == 0:
        own = words("thanks.none", answers=given)
    else:
        own = words("thanks.finds" if finds > 1 else "thanks.find", answers=given, finds=f"{finds:,}")
    return f"{own} {together(words, facts, has_gold=has_gold)}".strip()


def together(words: Words, facts: Json, *, has_gold: bool = False) -> str:
    """Return how much all have found; without a share where none is known, or the estimate has no middle."""
    known = facts["estimate"]
    if facts["goal"] != "find" or (known is None and not facts["found"]):
        return ""
    if known is None or known["next_finds"] >= OFTEN:
        return "" if has_gold else words("thanks.so_far", found=f"{facts['found']:,}")
    share, low, high = (rounded(known[name]) for name in ("share", "low", "high"))
    return words("thanks.together", share=share, low=low, high=high)
