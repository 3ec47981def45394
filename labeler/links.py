"""A link by which others come in, as a record."""

from dataclasses import dataclass
from typing import Literal

from labeler.domain import Role

Made = Literal["start", "share", "team", "invite"]
"""By what a link was made: `labeler start --share`, the page /share, the page Team, `labeler invite`."""
BY_STARTING: tuple[Made, ...] = ("start", "share")  # each start that shares makes one, asked for or not
Shut = Literal["withdrawn", "expired", "full"]
WHY: dict[Shut, str] = {
    "withdrawn": "This link was withdrawn.",
    "expired": "This link has expired.",
    "full": "This link was used as often as it may be.",
}


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was given away; its code is known to nobody here, only the hash is stored.

    person     whose device it lets in; None: whoever comes becomes somebody new.
    session    the question it leads to; None: the newest.
    made_with  by what it was made; None: nobody noted it.
    ends_at    unix time; None: never. most: how many devices it lets in; None: any number.
    used       how many it has let in. withdrawn: it lets nobody in any more.
    """

    id: int
    role: Role
    person: int | None
    session: int | None
    made_at: str
    ends_at: float | None
    most: int | None
    withdrawn: bool
    used: int
    made_with: Made | None = None

    def shut(self, now: float) -> Shut | None:
        """Return why it lets nobody in at unix time `now`; None: it does."""
        if self.withdrawn:
            return "withdrawn"
        if self.ends_at is not None and now >= self.ends_at:
            return "expired"
        if self.most is not None and self.used >= self.most:
            return "full"
        return None
