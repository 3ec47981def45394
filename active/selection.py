"""Which items to ask next, and why: likely, doubtful, spread out, or at random."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from active import scatter
from active.arrays import Ids, Probs, Rows, Scores, are_in, union
from active.kriging import Told, agree, krige
from active.representative import clusters
from active.search import Exact, combine

Why = Literal["find", "uncertain", "spread", "audit"]
Goal = Literal["find", "classify"]
Selector = Callable[["Pool", int, np.random.Generator], "Picks"]

MIX: dict[Goal, dict[Why, float]] = {
    "find": {"find": 1.0},
    "classify": {"uncertain": 0.9, "find": 0.1},
}
"""How the cards that are not drawn at random are shared out; docs/decisions has what each share costs."""
FIRST_MIX: dict[Why, float] = {"find": 0.9, "spread": 0.1}
"""The same before there is a head, around the examples; without examples everything is `spread`."""
SEEDS, NEAR = 16, 32
"""Doubtful items of the sample that are looked around, and how many neighbours of each are looked at."""
AMONG = 500
"""So many of the likeliest, or most doubtful, items are looked at more closely."""
KINDS, OF_THEM = 20, 80
"""`uncertain` begins with so many different kinds among so many of the most doubtful."""
APART = 2
"""Near-identical items keep at least this many cards between each other's places."""
SPARE = 256
"""How many more than wanted are ranked, to have something to put between near-identical ones."""


def _nothing() -> Ids:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Pool:
    """What a selector chooses from.

    rows        (n, d) unit rows of the items 0 … n-1.
    candidates  the items that may be asked, ascending.
    target      (n,) P(target) by the head, or of each of `among`; None: there is no head yet.
    doubt       as long, as `learner.doubt`; None: nothing to doubt.
    like        (m, d) unit rows of the examples of the target; None or empty: no examples.
    sample      the items that stand for the whole pool; None: every item.
    among       where the pool is too large for all: the items that are looked at, ascending. Only `audit`
                draws from the others. None: every item.
    before      the last cards dealt, in order, which the first picks shall not resemble.
    probs       (n, c) of every label; labeled (m, d) rows that the head learned from: for other strategies.
    told        the same rows, with what was answered and expected; None: nothing to correct `target` with.
    left        where not all are looked at: all that may be asked. The candidates are those of `among`.
    """

    rows: Rows
    candidates: Ids
    target: Scores | None = None
    doubt: Scores | None = None
    like: Rows | None = None
    sample: Ids | None = None
    among: Ids | None = None
    before: Ids = field(default_factory=_nothing)
    probs: Probs | None = None
    labeled: Rows | None = None
    told: Told | None = None
    left: "Left | None" = None

    @property
    def n_open(self) -> int:
        """Return how many items may be chosen in all."""
        return len(self.candidates) if self.left is None else len(self.left)

    def places(self, items: Ids) -> Ids:
        """Return where target and doubt of these items stand; all of them are looked at."""
        return items if self.among is None else np.searchsorted(self.among, items)


@dataclass(frozen=True, slots=True)
class Left:
    """The items 0 … n-1 but for those of `out`, ascending and few: a list of millions is never made."""

    n: int
    out: Ids

    def __len__(self) -> int:
        return self.n - len(self.out)

    def at(self, places: Ids) -> Ids:
        """Return the items at these places among all that are left, ascending."""
        return places + np.searchsorted(self.out - np.arange(len(self.out)), places, side="right")

    def but(self, items: Ids) -> "Left":
        """Return the same without some more of them."""
        return Left(self.n, union(self.out, items))


@dataclass(frozen=True, slots=True)
class Picks:
    """Chosen items in the order in which to ask them, all arrays (n,) and `reasons` as long.

    p_chosen  the probability with which each was drawn: 1 for one taken by rank.
    scores    higher = asked sooner, by the measure of its reason; 0 where chance alone decided.
    """

    ids: Ids
    reasons: list[Why]
    p_chosen: NDArray[np.float64]
    scores: Scores


def choose(
    pool: Pool,
    *,
    goal: Goal,
    n: int,
    batch_size: int,
    audit_share: float,
    near_cos: float,
    rng: np.random.Generator,
) -> Picks:
    """Return the next `n` cards, fewer when the candidates run out.

    Every block of `batch_size` cards holds `audit_share` of draws at random and, for the rest, the mix of the
    goal, shuffled. Items with a cosine over `near_cos` are kept apart by postponing, which changes no
    p_chosen; only where nothing else is left do they follow each other.
    The same pool and `rng` give the same picks.
    """
    n = min(n, pool.n_open)
    sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
    plan: list[Why] = []
    queues: dict[Why, list[Picks]] = {}
    audited = _nothing()
    for size in sizes:
        block = _block(size, _mix(pool, goal), audit_share, rng)
        plan += block
        drawn = audit(pool, block.count("audit"), rng, but=audited)
        queues.setdefault("audit", []).append(drawn)
        audited = np.concatenate([audited, drawn.ids])
    # from here on only what is looked at counts: of a very large pool a hundredth
    undrawn = replace(pool, candidates=scatter.without(_looked_at(pool), audited))
    wanted = plan.count("spread")  # once there is a head mostly none: then nobody asks what is closed
    drawn = spread(undrawn, wanted, rng, asked=union(_closed(pool), audited) if wanted else None)
    queues["spread"] = [drawn]
    undrawn = replace(undrawn, candidates=scatter.without(undrawn.candidates, drawn.ids))
    if "uncertain" in plan:
        queues["uncertain"] = [uncertain(undrawn, n + SPARE, rng)]
    queues["find"] = [find(undrawn, n + SPARE, rng)]
    return _deal(pool, plan, {why: joined(parts) for why, parts in queues.items()}, near_cos)


def find(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` candidates most likely to be the target.

    No head yet: those most like the examples. Neither head nor example: nothing. No chance is involved.
    """
    if pool.target is not None:
        return _likeliest(pool, k)
    if _has_like(pool) and pool.like is not None:
        query = combine(pool.like)[0]
        if pool.among is None:
            ids, score = pool.candidates, (pool.rows @ query)[pool.candidates]
        else:
            ids = _looked_at(pool)
            score = pool.rows[ids] @ query
        best = _best(score, k)
        return _picks(ids[best], "find", scores=score[best])
    return _picks(_nothing(), "find")


def _likeliest(pool: Pool, k: int) -> Picks:
    """Return the `k` candidates with the largest mean of their own P(target) and that of their neighbours.

    P(target) is corrected first by what was wrong with it at the examples nearby. Both are done for the
    likeliest candidates and the likeliest of what was asked alone, so the cost does not grow with the pool.
    """
    assert pool.target is not None
    open_ = pool.places(_looked_at(pool))
    is_asked = np.ones(len(pool.target), bool)
    is_asked[open_] = False
    asked = np.flatnonzero(is_asked)
    asked = asked[_best(pool.target[asked], AMONG)]
    likely = open_[_best(pool.target[open_], max(k, AMONG))]
    both = np.concatenate([likely, asked])
    items = both if pool.among is None else pool.among[both]
    rows, p = pool.rows[items], pool.target[both]
    if pool.told is not None:
        p = p + krige(rows, pool.told)
    score = agree(rows, len(likely), p)
    best = _best(score, k)
    return _picks(items[best], "find", scores=score[best])


def uncertain(pool: Pool, k: int, rng: np.random.Generator) -> Picks:
    """Return the `k` most doubtful candidates among the sample and what lies around its most doubtful items.

    P(target) is corrected first as `find` does, where there is something to correct it with. First comes the
    most doubtful of each of KINDS clusters among the first OF_THEM, then the others.
    No doubt yet: nothing. No chance is involved.
    Source: Coleman et al. 2022, arXiv 2007.00077 (only the neighbourhoods of what matters are scored);
    Zhdanov 2019, arXiv 1901.05954 (a batch of different kinds).
    """
    if pool.doubt is None:
        return _picks(_nothing(), "uncertain")
    among = _looked_at(pool)
    if pool.among is None and pool.sample is not None and len(pool.sample) < len(pool.rows):
        looked = np.zeros(len(pool.rows), bool)
        seeds = pool.sample[_best(pool.doubt[pool.sample], SEEDS)]
        looked[pool.sample] = True
        looked[Exact(pool.rows).search(pool.rows[seeds], NEAR)[0].ravel()] = True
        among = among[looked[among]]
    places = pool.places(among)
    best = _best(pool.doubt[places], max(k, AMONG))
    ids, places = among[best], places[best]
    doubt = pool.doubt[places]
    if pool.told is not None and pool.target is not None:
        p = np.clip(pool.target[places] + krige(pool.rows[ids], pool.told), 0, 1)
        doubt = 1 - np.abs(2 * p - 1)
    best = _best(doubt, k)
    best = best[_different_first(pool.rows[ids[best]])]
    return _picks(ids[best], "uncertain", scores=doubt[best])


def _different_first(rows: Rows) -> Ids:
    """Return an order of the rows: the first of each kind among those at the beginning, then the others."""
    of = clusters(rows[:OF_THEM], KINDS, np.random.default_rng(0))
    is_first = np.zeros(len(rows), bool)
    is_first[np.unique(of, return_index=True)[1]] = True
    return np.argsort(~is_first, kind="stable")


def spread(pool: Pool, k: int, rng: np.random.Generator, *, asked: Ids | None = None) -> Picks:
    """Return `k` candidates from all over: what is least like those asked, and draws from clusters, in turn.

    asked  the items that were asked, or can't be; None: all that are no candidates.
    The first kind is taken by rank, as `scatter.unlike` does; of the others, p_chosen is 1 by the number of
    candidates in their cluster. So 1 / p_chosen adds up to the number of candidates. Where not all are looked
    at, the candidates are those of the sample: p_chosen is 0 for all others.
    """
    drawn_from = _looked_at(pool)
    if pool.among is not None and pool.sample is not None:
        of_sample = drawn_from[np.isin(drawn_from, pool.sample, assume_unique=True)]
        drawn_from = of_sample if len(of_sample) >= k else drawn_from
    k = min(k, len(drawn_from))
    if k == 0:
        return _picks(_nothing(), "spread")
    out = _closed(pool) if asked is None else asked
    far, dist = scatter.unlike(pool.rows, drawn_from, int(k * scatter.UNLIKE), rng, asked=out)
    ids, p = scatter.of_each(pool.rows, scatter.without(drawn_from, far), k - len(far), rng)
    both = joined([_picks(far, "spread", scores=dist), _picks(ids, "spread", p_chosen=p)])
    turn = np.argsort([*range(len(far)), *range(len(ids))], kind="stable")
    return Picks(both.ids[turn], both.reasons, both.p_chosen[turn], both.scores[turn])


def audit(pool: Pool, k: int, rng: np.random.Generator, *, but: Ids | None = None) -> Picks:
    """Return `k` candidates drawn evenly without replacement; p_chosen is k by the number of candidates.

    but  items that are left out, few. Where a pool has `left`, that is drawn from, not the candidates.
    """
    out = _nothing() if but is None else but
    if pool.left is None:
        left = Left(len(pool.candidates), np.sort(np.searchsorted(pool.candidates, out)))
    else:
        left = pool.left.but(out)
    n = len(left)
    k = min(k, n)
    if k == 0:
        return _picks(_nothing(), "audit")
    at = left.at(rng.choice(n, k, replace=False))
    ids = at if pool.left is not None else pool.candidates[at]
    return _picks(ids, "audit", p_chosen=np.full(k, k / n))


def _looked_at(pool: Pool) -> Ids:
    """Return the candidates that are looked at, ascending: all of them, where `left` holds the others."""
    if pool.among is None or pool.left is not None:
        return pool.candidates
    return np.asarray(pool.among[are_in(pool.among, pool.candidates)], np.int64)


def _closed(pool: Pool) -> Ids:
    """Return the items that may not be asked any more, ascending: answered ones, for the most part."""
    if pool.left is not None:
        return pool.left.out
    is_closed = np.ones(len(pool.rows), bool)
    is_closed[pool.candidates] = False
    return np.flatnonzero(is_closed)


def _has_like(pool: Pool) -> bool:
    return pool.like is not None and len(pool.like) > 0


def _mix(pool: Pool, goal: Goal) -> dict[Why, float]:
    """Return the shares of the cards that are not audit, adding up to 1."""
    if pool.target is not None:
        return MIX[goal] if pool.doubt is not None else {"find": 1.0}
    if pool.doubt is not None and goal == "classify":
        return {"uncertain": 0.9, "spread": 0.1}
    return FIRST_MIX if _has_like(pool) else {"spread": 1.0}


def _block(size: int, mix: dict[Why, float], audit_share: float, rng: np.random.Generator) -> list[Why]:
    """Return the reasons of one block, shuffled. Fractions are rounded at random: the mean is right."""
    block: list[Why] = ["audit"] * rounded(size * audit_share, rng)
    rest = size - len(block)
    first, *others = mix
    for why in others:
        block += [why] * min(rounded(rest * mix[why], rng), size - len(block))
    block += [first] * (size - len(block))
    return [block[i] for i in rng.permutation(size)]


def rounded(x: float, rng: np.random.Generator) -> int:
    """Return `x` rounded up or down at random, so that it is right in the mean."""
    return int(x + rng.random()) if x % 1 else int(x)


def _deal(pool: Pool, plan: list[Why], queues: dict[Why, Picks], near_cos: float) -> Picks:
    """Return the cards of `queues` in the order of `plan`, near-identical ones postponed.

    queues  each in its own order; one that runs dry leaves its places to `find`.
    A card that nothing can follow any more goes further up, to the last place where it fits.
    """
    taken = np.zeros(len(pool.rows), bool)
    items = pool.before[-APART:].tolist()
    shown = len(items)
    order: list[tuple[Why, int]] = []
    waiting = list(plan)
    begin = dict.fromkeys(queues, 0)  # where each queue holds its first card that is not taken
    while waiting:
        place = len(items)
        for why in _each_once(waiting):
            ids = queues[why].ids
            while begin[why] < len(ids) and taken[ids[begin[why]]]:
                begin[why] += 1
            at = _first_apart(pool, ids, taken, begin[why], items[-APART:], near_cos)
            if at is not None:
                break
        else:
            why = waiting[0]
            left = np.flatnonzero(~taken[queues[why].ids])
            if len(left) == 0:
                waiting[:1] = ["find"] if why != "find" else []
                continue
            at = int(left[0])
            place = _last_place(pool, items, int(queues[why].ids[at]), near_cos, first=shown)
        waiting.remove(why)
        item = int(queues[why].ids[at])
        taken[item] = True
        items.insert(place, item)
        order.insert(place - shown, (why, at))
    return joined([_at(queues[why], at) for why, at in order])


def _each_once(plan: Sequence[Why]) -> Iterator[Why]:
    """Yield the reasons of a plan in the order in which each comes first."""
    seen = set()
    for why in plan:
        if why not in seen:
            seen.add(why)
            yield why


def _last_place(pool: Pool, items: list[int], item: int, near_cos: float, *, first: int) -> int:
    """Return the last place, not before `first`, where `item` resembles none around it; else the end."""
    near = pool.rows[items] @ pool.rows[item] > near_cos
    for place in range(len(items), first - 1, -1):
        if not near[max(0, place - APART) : place + APART].any():
            return place
    return len(items)


def _first_apart(
    pool: Pool, ids: Ids, taken: NDArray[np.bool_], begin: int, last: list[int], near_cos: float
) -> int | None:
    """Return the place in `ids` of the first that is not taken and not nearly the same as one of `last`.

    begin  all before this place are taken.
    """
    for start in range(begin, len(ids), 64):
        some = start + np.flatnonzero(~taken[ids[start : start + 64]])
        if len(some) == 0:
            continue
        if not last:
            return int(some[0])
        apart = (pool.rows[ids[some]] @ pool.rows[last].T <= near_cos).all(1)
        if apart.any():
            return int(some[apart.argmax()])
    return None


def _best(scores: Scores, k: int) -> Ids:
    """Return the places of the `k` largest, largest first, ties by place."""
    if k >= len(scores):
        return np.argsort(-scores, kind="stable")
    cut = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.inf
    above = np.flatnonzero(scores >= cut)
    return above[np.argsort(-scores[above], kind="stable")][:k]


def _picks(
    ids: Ids, why: Why, *, p_chosen: NDArray[np.float64] | None = None, scores: Scores | None = None
) -> Picks:
    return Picks(
        ids=ids.astype(np.int64),
        reasons=[why] * len(ids),
        p_chosen=np.ones(len(ids)) if p_chosen is None else p_chosen,
        scores=np.zeros(len(ids), np.float32) if scores is None else scores.astype(np.float32),
    )


def _at(picks: Picks, at: int) -> Picks:
    one = slice(at, at + 1)
    return Picks(picks.ids[one], picks.reasons[one], picks.p_chosen[one], picks.scores[one])


def joined(parts: Sequence[Picks]) -> Picks:
    """Return the picks of all parts, one after the other."""
    empty = _picks(_nothing(), "find")
    parts = [empty, *parts]
    return Picks(
        ids=np.concatenate([p.ids for p in parts]),
        reasons=[why for p in parts for why in p.reasons],
        p_chosen=np.concatenate([p.p_chosen for p in parts]),
        scores=np.concatenate([p.scores for p in parts]),
    )
