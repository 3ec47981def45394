"""When an item has votes enough, and how many known items a person is shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from active.votes import Real, Standing

GOLD_FIRST, GOLD_LEAST, GOLD_HALF = 0.4, 0.05, 8
"""The share of gold in a newcomer's cards, the least it falls to, after how many gold answers it halves."""
ROUND = 1e-9  # weights of votes are summed


@dataclass(frozen=True, slots=True)
class Rule:
    """When an item retires; docs/decisions/0016 says how the defaults were found.

    wrong   how probable it may be at most that the item's label is another.
    lost    how probable another label may be at most, as a part of that label's share of all items. So a rare
            label is not lost to a common one for being rare: where 2 % are positive, an item retires as
            negative when it is positive with 0.01 at most, as positive when it is with 0.93.
    alone   how many times likelier the votes by themselves must be under the label than under any other. So
            nothing retires against its votes, neither because a label is rare nor because the model says so.
    least   votes it takes at least, of people who are taken to look.
    most    votes of anybody after which it retires whatever they say.
    fixed   retire after so many votes of anybody and never before; None: by all the above.
    """

    wrong: float = 0.07
    lost: float = 0.5
    alone: float = 2.0
    least: int = 2
    most: int = 15
    fixed: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.wrong < 1 and 0 < self.lost <= 1 and self.alone >= 1):
            raise ValueError(
                f"wrong {self.wrong}, lost {self.lost}, alone {self.alone}: give shares, and 1 or more."
            )
        if not 1 <= self.least <= self.most or (self.fixed is not None and self.fixed < 1):
            raise ValueError(f"{self.least} to {self.most} votes, fixed {self.fixed}: give counts from 1 up.")


def retired(standing: Standing, share: Real, rule: Rule) -> NDArray[np.bool_]:
    """Return which items need no further vote, (n,). Their label is the most probable one.

    share  (c,) how common each label is among items drawn at random.
    It looks at what is known now: an item that retired on what a person was taken for may be open again once
    they are known better. An item without a vote never retires, one whose label is known always does.
    """
    rows, top = np.arange(len(standing.asked)), standing.posterior.argmax(1)
    others, against = standing.posterior.copy(), standing.evidence.copy()
    others[rows, top], against[rows, top] = 0, -np.inf
    is_known = others.max(1, initial=0) == 0
    if rule.fixed is not None:
        return np.asarray(is_known | (standing.asked >= rule.fixed))
    is_sure = (others.sum(1) <= rule.wrong) & (others <= rule.lost * share).all(1)
    is_said = standing.evidence[rows, top] - against.max(1) >= np.log(rule.alone)
    is_seen = standing.votes.sum(1) >= rule.least - ROUND
    return np.asarray(is_known | (standing.asked >= rule.most) | (is_sure & is_said & is_seen))


def thresholds(share: Real, rule: Rule) -> Real:
    """Return the posterior from which each label retires, (c,), to tell people; exact with two labels."""
    c = len(share)
    rarest = np.array([np.delete(share, k).min() for k in range(c)])
    return np.asarray(1 - np.minimum(rule.wrong, rule.lost * rarest))


def gold_share(seen: int) -> float:
    """Return the share of gold in the next cards of a person who has answered `seen` gold cards."""
    return float(max(GOLD_LEAST, GOLD_FIRST * 0.5 ** (seen / GOLD_HALF)))
