"""How much people agree, beyond what chance would bring, and on which items they agree least."""

from dataclasses import dataclass

import numpy as np

from active.arrays import Ids
from active.votes import Real, Votes, tally

DRAWS = 2000
"""Resamples of an interval."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How much people agree.

    alpha  Krippendorff's: 1 all agree, 0 as much as chance brings, below 0 less; None where nothing was to be
           agreed on: no item with two votes, or one label only.
    low, high  its 95 % interval over items; None as well where hardly a resample has two labels.
    share  (c,) of each label among the votes that count. Beside alpha, because the rarer a label is, the
           lower is alpha for people who are right as often.
    items, votes  how many count: items with two votes or more.
    """

    alpha: float | None
    low: float | None
    high: float | None
    share: Real
    items: int
    votes: int


def agreement(votes: Votes, rng: np.random.Generator, *, first: int | None = None) -> Agreement:
    """Return how much people agree on these votes.

    first  of each item only so many votes count, in the order given; None: all. Where a rule asks for more
           votes on items that people disagree about, give the least that it asks for: else such items count
           for more.
    Costs v steps, and DRAWS for each way in which votes can be split. Items are resampled, not votes.

    Source: Krippendorff 2004, Content Analysis, chapter 11, for nominal data and any number of votes an item;
    the interval is the bootstrap of Efron 1979, doi:10.1214/aos/1176344552, by percentiles.
    """
    if first is not None:
        votes = votes.only(_place(votes.items) < first)
    counts = tally(votes)[1]
    counts = counts[counts.sum(1) >= 2]
    split, times = np.unique(counts, axis=0, return_counts=True)
    if not len(split):
        return Agreement(None, None, None, np.zeros(votes.n_labels), 0, 0)
    per_label = counts.sum(0)
    alpha = float(_alpha(split, times[None])[0])
    drawn = _alpha(split, rng.multinomial(len(counts), times / len(counts), DRAWS))
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) >= DRAWS / 2 else (None, None)
    return Agreement(
        None if np.isnan(alpha) else alpha,
        None if low is None else float(low),
        None if high is None else float(high),
        per_label / per_label.sum(),
        len(counts),
        int(per_label.sum()),
    )


def by_label(votes: Votes, rng: np.random.Generator, *, first: int | None = None) -> list[Agreement]:
    """Return the agreement on each label against all others; `share` is (that label's, the others')."""
    out = []
    for label in range(votes.n_labels):
        one = Votes(votes.items, votes.people, (votes.labels != label).astype(np.int64), votes.n_people, 2)
        out.append(agreement(one, rng, first=first))
    return out


def over_time(
    votes: Votes, parts: int, rng: np.random.Generator, *, first: int | None = None
) -> list[tuple[int, Agreement]]:
    """Return how much people agreed on the items that were voted on twice first, on the next ones, and so on.

    votes  in the order in which they were given. parts  how many, of as many items each as nearly as it goes.
    first  as `agreement` has it. Returns of each part, too, the place in `votes` of its last second vote.
    An item counts where its second vote came, with all its votes: a span of the clock would cut some in two.
    """
    second = np.flatnonzero(_place(votes.items) == 1)
    return [
        (int(part[-1]), agreement(votes.only(np.isin(votes.items, votes.items[part])), rng, first=first))
        for part in np.array_split(second, parts)
        if len(part)
    ]


def disputed(ids: Ids, posterior: Real, counts: Ids) -> tuple[Ids, Real]:
    """Return the items that people differ about, least settled first, and how unsettled each is, 0 to 1.

    ids  (n,). posterior, counts  (n, c) probability of each label, and how many votes it got.
    By the entropy of the posterior, as a part of the most there is; of equals the one with more votes first.
    Not by the split of votes: three to three is settled where three are known to be right, and 2 to 1 for a
    rare label is not. Items whose votes all agree are left out: they need votes, not a judge.
    """
    p = np.maximum(posterior, np.finfo(np.float64).tiny)
    entropy = -(p * np.log(p)).sum(1) / np.log(posterior.shape[1])
    keep = np.flatnonzero((counts > 0).sum(1) > 1)
    order = keep[np.lexsort((ids[keep], -counts[keep].sum(1), -entropy[keep]))]
    return ids[order], np.clip(entropy[order], 0, 1)


def _place(items: Ids) -> Ids:
    """Return the how-manieth vote of its item each is, (v,), from 0."""
    order = np.argsort(items, kind="stable")
    ranked = items[order]
    begin = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(items) else np.empty(0, np.int64)
    place = np.empty(len(items), np.int64)
    place[order] = np.arange(len(items)) - np.repeat(begin, np.diff(np.r_[begin, len(items)]))
    return place


def _alpha(split: Ids, times: Ids) -> Real:
    """Return alpha, (b,), of items whose votes split in these ways, (w, c), so many times each, (b, w)."""
    size = split.sum(1)
    same = (split * (split - 1)).sum(1) / (size - 1)
    labels = (times @ split).astype(np.float64)
    n = labels.sum(1)
    apart = n**2 - (labels**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(apart > 0, 1 - (n - 1) * (n - times @ same) / apart, np.nan)
