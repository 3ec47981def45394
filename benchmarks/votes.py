"""From votes to labels: the rule of retirement beside a fixed five votes, with and without spammers.

Fifty people who are right as often as Beta(8, 2) says vote on items of which 10 % or 2 % are positive. Each
item has its own order of people, in turn the next of whom votes on it. The rule looks after every vote and
sees the votes alone: it knows neither the people nor how many positives there are; one item in twenty counts
as drawn at random. A fit to all votes is made
after every 2,000, and items that are no longer sure by it are open again. The fixed five are the first five
people of each item, their votes counted by Dawid and Skene's model with one rate a person, with a rate for
each label, and by our own: the best of the three for each figure. With spammers, ten are among forty people
who look; the run without them has the same forty, the same votes of theirs and the same rule.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from active.arrays import Ids
from active.consensus import Known, fit
from active.dawid_skene import dawid_skene
from active.live import Live
from active.retire import Rule, retired
from active.votes import Real, Votes

PEOPLE, SPAMMERS = 50, 10
OPEN = 200
"""Items that are being voted on at a time: a new one opens when one retires."""
REFIT = 2000
"""Votes between two fits to all of them."""
DRAWN_EVERY = 20
"""One item in so many counts as drawn at random, as cards are dealt. All are, but that is not told."""
SEEDS = {0.1: (12, 4000), 0.02: (24, 5000)}
"""Of each prevalence: how many crowds, and how many items each has."""
Crowd = Literal["middling", "good", "poor", "uneven", "careful"]
CROWDS: dict[Crowd, tuple[tuple[float, float], ...]] = {
    "middling": ((8, 2),),
    "good": ((18, 2),),
    "poor": ((6, 4),),
    "uneven": ((8, 2), (8, 2)),  # of positives and of negatives, by themselves
    "careful": ((6, 3), (18, 2)),  # who miss a third of the positives and seldom take a negative for one
}
"""How often people are right: a beta distribution for all, or one for positives and one for negatives."""
Spam = Literal["random", "yes", "no"]
SAYS: dict[Spam, float] = {"random": 0.5, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True)
class World:
    """What is true, is_yes (n,), whose turn it is, order (n, k), and what they say, says (n, k)."""

    is_yes: NDArray[np.bool_]
    order: Ids
    says: Ids

    def without(self, first: int, turns: int) -> "World":
        """Return the same world without the people numbered below `first`, as far as so many turns."""
        keep = np.argsort(self.order < first, axis=1, kind="stable")[:, :turns]
        order, says = (np.take_along_axis(x, keep, 1) for x in (self.order, self.says))
        return World(self.is_yes, order - first, says)


@dataclass(frozen=True)
class Counts:
    """What came of it: positives found, positives there are, items called positive, votes given, items."""

    right: int
    positive: int
    called: int
    votes: int
    items: int


def world(
    seed: int, items: int, share: float, *, crowd: Crowd = "middling", spam: Spam | None = None
) -> World:
    """Return a crowd and its items; with spam the first ten people say yes as often as `SAYS` has it."""
    rng = np.random.default_rng([seed, round(1000 * share)])
    is_yes = rng.random(items) < share
    laws = CROWDS[crowd]
    right = [rng.beta(*law, PEOPLE) for law in laws]
    yes, no = right[0].copy(), 1 - right[-1]  # the chance of a yes where it is one, and where it is not
    order = np.argsort(rng.random((items, PEOPLE)), axis=1)
    luck = rng.random((items, PEOPLE))
    if spam:
        yes[:SPAMMERS] = no[:SPAMMERS] = SAYS[spam]
    chance = np.where(is_yes[:, None], yes[order], no[order])
    return World(is_yes, order, (luck < chance).astype(np.int64))


def play(world: World, rule: Rule, every: int = DRAWN_EVERY) -> Counts:
    """Return what the rule comes to, votes arriving one after the other; every  as `DRAWN_EVERY`."""
    live, items = Live(2), len(world.is_yes)
    live.pool = items
    order, says = world.order.tolist(), world.says.tolist()
    turn, turns = [0] * items, world.order.shape[1]
    waiting: deque[int] = deque()
    new = iter(range(items))
    votes = 0

    def fill() -> None:
        while len(waiting) < OPEN and (item := next(new, None)) is not None:
            if item % every == 0:
                live.drawn(item)
            waiting.append(item)

    fill()
    while waiting:
        item = waiting.popleft()
        k = turn[item]
        standing = live.vote(item, order[item][k], says[item][k])
        turn[item], votes = k + 1, votes + 1
        if turn[item] < turns and not retired(standing, live.share, rule)[0]:
            waiting.append(item)
        fill()
        if votes % REFIT == 0 or not waiting:
            live.adopt(live.refit())
            begun = [i for i in range(items) if turn[i]]
            done = retired(live.standing(begun), live.share, rule)
            more = {i for i, is_done in zip(begun, done, strict=True) if not is_done and turn[i] < turns}
            rest = [i for i in waiting if i in more or not turn[i]]
            waiting = deque([*rest, *sorted(more - set(rest))])
            fill()
    return _counted(live.standing(range(items)).posterior, world, votes)


def five(world: World, people: int, every: int = DRAWN_EVERY, votes: int = 5) -> dict[str, Counts]:
    """Return what a fixed number of votes comes to, by each model."""
    n = len(world.is_yes)
    items, known = np.repeat(np.arange(n), votes), Known(drawn=np.arange(0, n, every), pool=n)
    given = Votes(items, world.order[:, :votes].ravel(), world.says[:, :votes].ravel(), people, 2)
    return {
        "each": _counted(dawid_skene(given).posterior, world, len(given)),
        "one": _counted(dawid_skene(given, "one").posterior, world, len(given)),
        "ours": _counted(fit(given, known).standing.posterior, world, len(given)),
    }


def _counted(posterior: Real, world: World, votes: int) -> Counts:
    called = posterior[:, 1] > 0.5
    right = int((called & world.is_yes).sum())
    return Counts(right, int(world.is_yes.sum()), int(called.sum()), votes, len(called))


def one_seed(args: tuple[int, int, float, Crowd, Rule, bool, int]) -> dict[str, Counts]:
    """Return all plays of one crowd: its number, items, share of positives, kind, the rule, with spam or not,
    and one in how many items counts as drawn.
    """
    seed, items, share, crowd, rule, with_spam, every = args
    plain = world(seed, items, share, crowd=crowd)
    out = {
        "rule": play(plain, rule, every),
        **{f"five {k}": v for k, v in five(plain, PEOPLE, every).items()},
    }
    if with_spam:
        turns = PEOPLE - SPAMMERS
        out["without"] = play(plain.without(SPAMMERS, turns), rule, every)
        for spam in SAYS:
            spoiled = world(seed, items, share, crowd=crowd, spam=spam)
            out[f"with {spam}"] = play(spoiled, rule, every)
            out[f"five with {spam}"] = five(spoiled, PEOPLE, every)["each"]
    return out


@dataclass(frozen=True)
class Figures:
    """Recall and precision of positives over all crowds, votes an item, and by how much crowds differ."""

    recall: float
    precision: float
    votes: float
    recall_sd: float
    precision_sd: float
    votes_sd: float


def figures(counts: Iterable[Counts]) -> Figures:
    """Return the figures of several crowds: their sums, and the standard deviation between crowds."""
    x = np.array([(c.right, c.positive, c.called, c.votes, c.items) for c in counts], np.float64)
    right, positive, called, votes, items = x.T
    total = x.sum(0)
    return Figures(
        total[0] / total[1], total[0] / total[2], total[3] / total[4],
        float((right / positive).std()), float((right / np.maximum(called, 1)).std()), float((votes /
        items).std()),
    )  # fmt: skip


def _of(counts: Counts, what: str) -> float:
    return counts.right / max(1, counts.positive if what == "recall" else counts.called)


def speed() -> dict[str, float]:
    """Return how long votes take: one by one, and a fit to a million, of 1,000 people on 200,000 items."""
    rng = np.random.default_rng(0)
    n, p, v = 200_000, 1000, 1_000_000
    is_yes, right = rng.random(n) < 0.1, rng.beta(8, 2, p)
    items = np.repeat(np.arange(n), 5)
    people = ((rng.integers(p, size=n)[:, None] + 197 * np.arange(5)) % p).ravel()
    labels = np.where(rng.random(v) < right[people], is_yes[items], ~is_yes[items]).astype(np.int64)
    mixed = rng.permutation(v)
    votes = Votes(items[mixed], people[mixed], labels[mixed], p, 2)
    began, cpu = time.perf_counter(), time.process_time()
    found = fit(votes, Known(drawn=np.arange(0, n, 20)))
    fit_s, fit_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    live, took = Live(2), []
    for item, person, label in zip(*(x[:50_000].tolist() for x in (items, people, labels)), strict=True):
        began = time.perf_counter()
        live.vote(item, person, label)
        took.append(time.perf_counter() - began)
    return {
        "refit_s_1m": fit_s,
        "refit_cpu_s_1m": fit_cpu_s,
        "refit_rounds_1m": found.rounds,
        "vote_us": 1e6 * float(np.median(took)),
        "vote_us_first": 1e6 * float(np.median(took[:5000])),
        "vote_us_p99": 1e6 * float(np.quantile(took, 0.99)),
    }


def measure(args: argparse.Namespace, rule: Rule) -> dict[str, float]:
    """Return all figures, and print what they are made of."""
    out: dict[str, float] = {}
    for share, (seeds, items) in SEEDS.items():
        name = f"{100 * share:.0f}"
        crowds = range(args.first, args.first + (args.seeds or seeds))
        tasks = [(number, items, share, args.crowd, rule, args.spam, args.drawn_every) for number in crowds]
        with ProcessPoolExecutor(args.processes) as pool:
            played = list(pool.map(one_seed, tasks))
        found = {k: figures(p[k] for p in played) for k in played[0]}
        for k, f in found.items():
            print(
                f"{name:>3} % {k:<16} recall {f.recall:.3f} ± {f.recall_sd:.3f}"
                f"  precision {f.precision:.3f} ± {f.precision_sd:.3f}"
                f"  votes {f.votes:.2f} ± {f.votes_sd:.2f}",
                flush=True,
            )
        fives = {k: f for k, f in found.items() if k in {"five each", "five one", "five ours"}}
        for what in ("recall", "precision"):
            best = max(fives, key=lambda k: float(getattr(fives[k], what)))
            ahead = [_of(p["rule"], what) - _of(p[best], what) for p in played]
            out[f"{what}_ahead_{name}"] = float(np.mean(ahead))
            out[f"{what}_ahead_se_{name}"] = float(np.std(ahead)) / max(1, len(ahead) - 1) ** 0.5
        out |= {
            f"votes_ratio_{name}": found["rule"].votes / 5,
            f"recall_rule_{name}": found["rule"].recall,
            f"recall_fixed_5_{name}": max(f.recall for f in fives.values()),
            f"precision_rule_{name}": found["rule"].precision,
            f"precision_fixed_5_{name}": max(f.precision for f in fives.values()),
        }
        if args.spam:
            base = found["without"]
            for spam in SAYS:
                spoiled = found[f"with {spam}"]
                out[f"spam_loss_recall_{spam}_{name}"] = base.recall - spoiled.recall
                out[f"spam_loss_precision_{spam}_{name}"] = base.precision - spoiled.precision
                out[f"spam_votes_{spam}_{name}"] = spoiled.votes / base.votes
    loss = [value for key, value in out.items() if key.startswith("spam_loss_")]
    return _worst(out) | ({"spam_loss": max(loss)} if loss else {}) | out


def _worst(out: dict[str, float]) -> dict[str, float]:
    """Return the figures of the prevalence at which the rule is least ahead, for each figure by itself."""
    worst = {"votes_ratio": max(out["votes_ratio_10"], out["votes_ratio_2"])}
    for what in ("recall", "precision"):
        name = min(("10", "2"), key=lambda name: out[f"{what}_rule_{name}"] - out[f"{what}_fixed_5_{name}"])
        worst |= {f"{what}_{which}": out[f"{what}_{which}_{name}"] for which in ("rule", "fixed_5")}
    return worst


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be tried: another crowd, another rule, other seeds."""
    rule = Rule()
    parser.add_argument(
        "--crowd", choices=list(CROWDS), default="middling", help="how often people are right"
    )
    parser.add_argument("--seeds", type=int, help="crowds of each prevalence; default: 12 and 24")
    parser.add_argument("--first", type=int, default=0, help="the number of the first crowd")
    parser.add_argument("--no-spam", dest="spam", action="store_false", help="leave spammers out")
    parser.add_argument(
        "--drawn-every", type=int, default=DRAWN_EVERY, help="one item in so many counts as drawn; 1: all"
    )
    parser.add_argument("--processes", type=int, default=2)
    for name in ("wrong", "lost", "alone"):
        parser.add_argument(f"--{name}", type=float, default=getattr(rule, name), help="of the rule")
    for name in ("least", "most"):
        parser.add_argument(f"--{name}", type=int, default=getattr(rule, name), help="of the rule")


def rule_of(args: argparse.Namespace) -> Rule:
    """Return the rule that was asked for."""
    return Rule(wrong=args.wrong, lost=args.lost, alone=args.alone, least=args.least, most=args.most)


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the last line printed is one JSON object")
    add_options(parser)
    args = parser.parse_args()
    out = speed() | measure(args, rule_of(args))
    print(json.dumps(out) if args.json else "\n".join(f"{k:<34} {v:.4f}" for k, v in out.items()))


if __name__ == "__main__":
    main()
