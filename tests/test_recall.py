"""How much has been found: the estimate, the advice, the certificate."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active import learner, recall
from active.arrays import unit_rows
from active.recall import Asked, Estimate
from active.selection import Pool, choose


def asked_of(
    yes: np.ndarray, score: np.ndarray, *, audit: np.ndarray | None = None, pool: int = 2000
) -> Asked:
    why = np.where(np.zeros(len(yes), bool) if audit is None else audit, "audit", "find")
    return Asked(yes, why, pool - np.arange(len(yes)), score.astype(np.float32))


def session(beyond: int, finds: int = 100, others: int = 60) -> Asked:
    """A session in which so many of the finds are out of reach of the others; the last answers are "no"."""
    yes = np.r_[np.ones(finds, bool), np.zeros(others, bool)]
    score = np.r_[np.full(beyond, -9.0), np.full(finds - beyond, 9.0), np.full(others, -9.0)]
    return asked_of(yes, score)


LEFT = np.linspace(-5, 0, 1800).astype(np.float32)


def made(beyond: int, **more: object) -> Estimate:
    now = recall.estimate(session(beyond), LEFT, **more)
    assert now is not None
    return now


@pytest.mark.parametrize("kept", [1799, 700])
def test_only_the_highest_decisions_matter(kept: int) -> None:
    asked, all_of = session(15), made(15)
    now = recall.estimate(asked, LEFT[-kept:], others=len(LEFT) - kept)
    assert now is not None
    np.testing.assert_array_equal(now.shares, all_of.shares)
    np.testing.assert_array_equal(now.weights, all_of.weights)
    assert now.next_finds == all_of.next_finds


@pytest.mark.parametrize("kept", [300, 3, 0])
def test_too_few_decisions_say_no_more_than_all_of_them(kept: int) -> None:
    asked = session(0)
    asked = replace(asked, score=np.where(asked.yes, np.linspace(-5, 1, 160), -9).astype(np.float32))
    all_of = recall.estimate(asked, LEFT)
    now = recall.estimate(asked, LEFT[len(LEFT) - kept :], others=len(LEFT) - kept)
    assert all_of is not None
    assert now is not None
    assert now.share < all_of.share


# the estimate ------------------------------------------------------------------------------


def test_more_finds_out_of_reach_means_less_found() -> None:
    shares = [made(beyond) for beyond in (0, 2, 5, 15, 40)]
    for more, less in itertools.pairwise(shares):
        assert more.low >= less.low
        assert more.share > less.share
        assert more.high >= less.high
        assert more.weights @ more.shares > less.weights @ less.shares
    assert shares[0].low > shares[2].low > shares[4].low


def test_the_middle_is_what_is_out_of_reach_by_what_is_within() -> None:
    now = made(20)
    mean_one = np.exp(-(recall.SPREAD**2) / 2)
    assert now.share == pytest.approx(100 / (100 + 100 * 20.5 / 80.5 * mean_one), abs=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(10, 300), st.integers(1, 300), st.floats(0, 1), st.integers(0, 2000), st.integers(0, 99))
def test_the_interval_is_in_order_and_within_what_there_is(
    finds: int, others: int, out: float, left: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    yes = rng.permutation(np.r_[np.ones(finds, bool), np.zeros(others, bool)])
    score = np.where(rng.random(len(yes)) < out, -9.0, 9.0)
    asked = asked_of(yes, score, audit=rng.random(len(yes)) < 0.1, pool=left + len(yes))
    now = recall.estimate(asked, rng.normal(size=left).astype(np.float32))
    if now is None:
        assert (yes & (np.asarray(asked.why) != "asked")).sum() < recall.ENOUGH
        return
    assert 0 < now.low <= now.share <= now.high <= 1
    assert finds <= now.total_low + 1e-9 <= now.total + 2e-9 <= now.total_high + 3e-9
    assert now.total_high <= finds + left + 1e-6
    assert now.weights.sum() == pytest.approx(1)
    assert (np.diff(now.shares) >= 0).all()
    assert now.chance(0) == pytest.approx(1)
    assert now.chance(now.low) >= 0.95 >= now.chance(np.nextafter(now.high, 2))
    assert 0 <= now.next_finds <= min(50, left)


def test_nothing_is_said_before_it_means_something() -> None:
    few = session(0, finds=recall.ENOUGH - 1)
    assert recall.estimate(few, LEFT) is None
    only_yes = session(0, others=0)
    assert recall.estimate(only_yes, LEFT) is None
    nothing = session(0, finds=0)
    assert recall.estimate(nothing, LEFT) is None
    empty = asked_of(np.zeros(0, bool), np.zeros(0))
    assert recall.estimate(empty, LEFT[:0]) is None


def test_examples_that_were_given_are_no_finds() -> None:
    asked = session(0, finds=recall.ENOUGH)
    why = np.asarray(asked.why).copy()
    why[0] = "asked"
    assert recall.estimate(asked, LEFT) is not None
    assert recall.estimate(replace(asked, why=why), LEFT) is None


def test_when_nothing_is_left_everything_is_found() -> None:
    now = recall.estimate(session(5), LEFT[:0])
    assert now is not None
    assert (now.low, now.share, now.high) == (1, 1, 1)
    assert now.next_finds == 0


def test_evenly_drawn_finds_lower_it_and_misses_raise_it() -> None:
    """Without such cards, the middle lies between what they say either way."""
    plain = made(15)
    n = 160
    drawn = np.arange(n) >= n - 40
    none = replace(session(15), why=np.where(drawn, "audit", "find"))
    some = replace(none, yes=none.yes.copy())
    some.yes[-3:] = True
    missed, found = recall.estimate(none, LEFT), recall.estimate(some, LEFT)
    assert missed is not None
    assert found is not None
    assert found.share < plain.share < missed.share


def test_the_likelihood_of_evenly_drawn_cards_is_the_slow_one() -> None:
    rng = np.random.default_rng(0)
    yes = rng.random(80) < 0.4
    asked = asked_of(yes, np.zeros(80), audit=rng.random(80) < 0.3)
    remaining = np.array([0.0, 3.0, 70.0])
    for wrong in (0.0, 0.1):
        fast = recall._audit_likelihood(asked, remaining, wrong=wrong)
        for r, got in zip(remaining, fast, strict=True):
            slow = 0.0
            for i in range(80):
                if asked.why[i] == "audit":
                    p = (r + sum(yes[i:])) / asked.unasked[i]
                    p = (1 - wrong) * p + wrong * (1 - p)
                    slow += math.log(max(p if yes[i] else 1 - p, 1e-9))
            assert got == pytest.approx(slow)


# wrong answers -----------------------------------------------------------------------------


def test_the_rate_of_wrong_answers_follows_from_repeats() -> None:
    rng = np.random.default_rng(0)
    for wrong in (0.02, 0.1, 0.2):
        other = int((rng.random((4000, 2)) < wrong).sum(1).__eq__(1).sum())
        rates = recall.error_rates((4000, other))
        assert sum(p for _, p in rates) == pytest.approx(1)
        assert sum(e * p for e, p in rates) == pytest.approx(wrong, abs=0.01)
    assert recall.error_rates((0, 0)) == [(0.0, 1.0)]


def test_where_no_answer_differs_nobody_may_err_the_surer_the_more_repeats() -> None:
    chances = [dict(recall.error_rates((again, 0)))[0.0] for again in (30, 60, 120, 300)]
    assert recall.FAULTLESS < chances[0] < chances[1] < chances[2] < chances[3] < 1
    assert all(sum(p for _, p in recall.error_rates((n, 0))) == pytest.approx(1) for n in (1, 30, 300))
    assert min(e for e, _ in recall.error_rates((30, 1))) > 0
    d = (np.arange(200_000) + 0.5) / 200_000 * 0.375
    prior = (1 - d) ** 8 / np.sqrt(d)
    agree = (prior * (1 - d) ** 30).sum() / prior.sum()
    assert chances[0] == pytest.approx(1 / (1 + agree), abs=0.02)
    assert made(0, repeats=(30, 0)).high == made(0).high


def test_while_every_card_is_a_find_more_may_be_hidden() -> None:
    """As many finds out of reach, but the misses came first: nothing says that an end is near."""
    dry = session(5)
    turned = replace(dry, yes=dry.yes[::-1].copy(), score=dry.score[::-1].copy())
    ending = recall.estimate(replace(turned, yes=np.r_[turned.yes[:-6], np.zeros(6, bool)]), LEFT)
    endless = recall.estimate(turned, LEFT)
    assert endless is not None
    assert ending is not None
    assert endless.low < ending.low
    some, none = (recall._nodes(5.0, 0.16, found=100, soon=0, hidden=x) for x in (0.9, 0.1))
    assert (some[0] == none[0]).all()
    plain = 5 * np.exp(3.2 * np.sqrt(0.16 + recall.SPREAD**2) - recall.SPREAD**2 / 2)
    is_hidden = some[0] > plain + 1e-9
    assert np.exp(some[1][is_hidden]).sum() > 8 * np.exp(none[1][is_hidden]).sum()


def test_while_finds_come_there_may_be_as_many_more_as_would_come_soon() -> None:
    """No find is out of reach, so that nothing but the finds themselves says that there are more."""
    drying, coming = (session(0, finds=60, others=n) for n in (60, 20))
    mixed = np.random.default_rng(0).permutation(80)
    coming = replace(coming, yes=coming.yes[mixed], score=coming.score[mixed])
    dry, now = recall.estimate(drying, LEFT), recall.estimate(coming, LEFT)
    assert dry is not None
    assert now is not None
    assert now.next_finds > 30
    assert now.total_high - now.found >= now.next_finds  # what is said of the next cards fits into it
    assert dry.total_high - dry.found < 20
    assert now.low < dry.low - 0.1


@pytest.mark.parametrize(("chance", "left"), [(0.1, 0.9), (0.1, 0.02), (0.6, 0.5), (1.0, 0.3), (0.1, 0.0)])
def test_a_hidden_part_is_less_likely_the_more_was_asked_without_meeting_it(
    chance: float, left: float
) -> None:
    places = (np.arange(1000) + 0.5) / 1000  # in the order of asking, each as likely
    unmet = chance * (places > 1 - left).mean()
    assert recall._unmet(chance, left) == pytest.approx(
        unmet / (unmet + 1 - chance) if unmet else 0, abs=1e-6
    )


def test_when_the_pool_is_nearly_used_up_the_interval_is_narrow() -> None:
    many, few = (recall.estimate(session(5, others=o), LEFT[-n:]) for o, n in ((60, 1800), (1780, 80)))
    assert many is not None
    assert few is not None
    assert few.low > many.low + 0.05


def test_wrong_answers_leave_less_found_and_fewer_of_the_finds() -> None:
    clean, noisy = made(5), made(5, repeats=(400, 40))
    assert noisy.found < clean.found == 100
    assert noisy.high < clean.high
    least = min(e for e, _ in recall.error_rates((400, 40)))
    assert noisy.share < 1 - least
    missed = (math.sqrt(least / (1 - least) * noisy.found) - 2.4 / 2) ** 2  # as few as a count may be
    assert noisy.high <= noisy.found / (noisy.found + missed) + 0.01


def test_a_few_repeats_that_agree_change_nothing_and_one_that_differs_does() -> None:
    for n in (1, 29):
        assert recall.error_rates((n, 0)) == [(0.0, 1.0)]
    for repeats in ((1, 1), (29, 1)):
        assert len(recall.error_rates(repeats)) == 7
    assert len(recall.error_rates((30, 0))) == 8  # 0 among them
    calm, alone, doubtful = made(5, repeats=(29, 0)), made(5), made(5, repeats=(29, 1))
    assert (calm.low, calm.share, calm.high) == (alone.low, alone.share, alone.high)
    assert doubtful.found < alone.found


def test_few_repeats_say_little() -> None:
    few, many = recall.error_rates((10, 1)), recall.error_rates((1000, 100))
    assert np.ptp([e for e, _ in few]) > 3 * np.ptp([e for e, _ in many])


# advice ------------------------------------------------------------------------------------


def test_reached_needs_a_sure_estimate_and_cards_that_dry_up() -> None:
    dry = session(0, finds=200, others=200)
    now = recall.estimate(dry, LEFT)
    assert now is not None
    assert recall.advise(now, 0.9, cards=400).reached
    assert not recall.advise(now, 0.999, cards=400).reached
    assert recall.advise(now, 0.9, cards=400).chance == now.chance(0.9) >= recall.SURE
    flowing = replace(now, pace=45)
    assert not recall.advise(flowing, 0.9, cards=50).reached
    assert recall.advise(flowing, 0.8, cards=50).reached


def test_going_on_half_as_long_again_must_not_deny_it() -> None:
    now = replace(made(0), shares=np.array([0.97]), weights=np.array([1.0]), found=850.0, pace=5.0)
    assert recall.advise(now, 0.95, cards=300).reached  # 15 more finds by card 450
    assert not recall.advise(now, 0.95, cards=1200).reached  # 60 more by card 1,800
    assert recall.advise(now, 0.95, cards=1200).chance == 1
    slow = replace(now, pace=40.0)
    assert recall.advise(slow, 0.95, cards=0).reached  # at least the next 50 cards are looked at
    assert not recall.advise(replace(slow, pace=46.0), 0.95, cards=0).reached


def test_no_more_finds_are_expected_than_there_may_be_or_than_come_now() -> None:
    """All that there is was found in a burst: half of the last 60 cards, and none of the last 20."""
    burst = session(0, finds=40, others=30)
    now = recall.estimate(burst, LEFT)
    assert now is not None
    assert now.pace == pytest.approx(50 * 30.5 / 61)
    assert now.next_finds == pytest.approx(50 * 0.5 / 21)
    scarce = recall.estimate(session(0, finds=40, others=8), LEFT)
    assert scarce is not None
    assert scarce.next_finds == pytest.approx(min(50 * 12.5 / 21, scarce.total_high - scarce.found))
    assert scarce.next_finds < scarce.pace


def depleted(now: Estimate, target: float, rate: float, *, total: float) -> float:
    """Return the cards until a target, counted one by one: each finds what remains with today's chance."""
    found, cards = now.found, 0.0
    chance = rate / (total - found)
    while found < target * total - 1e-9:
        found += (total - found) * chance
        cards += 1
    return cards


@settings(max_examples=60, deadline=None)
@given(
    share=st.floats(0.3, 0.99), bad=st.floats(0.5, 1), target=st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]),
    per_card=st.floats(0.01, 0.3),
)  # fmt: skip
def test_the_cards_that_going_on_takes_are_those_of_a_count_one_by_one(
    share: float, bad: float, target: float, per_card: float
) -> None:
    shares = np.array([share * bad, share])
    now = replace(
        made(5), found=1000.0, share=share, pace=50 * per_card, shares=shares,
        weights=np.array([0.11, 0.89]),
    )  # fmt: skip
    cost = recall.cost(now, target, left=10**9, cards=0)
    assert recall.cost(
        replace(now, next_finds=50 * per_card), target, left=10**9, cards=0
    ).next_find == pytest.approx(1 / per_card)
    for said, of in ((cost.to_target, share), (cost.to_sure, share * bad)):
        counted = 0.0 if of >= target else depleted(now, target, per_card, total=1000 / of)
        if said is None:
            assert recall.advise(now, target, cards=0).chance >= recall.SURE
        else:
            assert said == pytest.approx(counted, rel=0.02, abs=1.5)


def test_what_cannot_be_said_of_going_on_is_not_said() -> None:
    now = replace(made(5), pace=0.4, next_finds=0.4)  # a find in 125 cards
    assert recall.cost(now, 0.95, left=1800, cards=0).next_find == pytest.approx(125)
    few = recall.cost(now, 0.95, left=100, cards=0)
    assert few.next_find is None
    assert few.to_sure is None
    nothing = recall.cost(replace(now, pace=0.0, next_finds=0.0), 0.95, left=0, cards=0)
    assert nothing.next_find is None
    sure = replace(made(0), pace=45, shares=np.array([0.97]), weights=np.array([1.0]), share=0.97)
    assert recall.cost(sure, 0.9, left=1800, cards=0).to_sure is None  # only the finds of the moment deny it


# on drawn pools ----------------------------------------------------------------------------


def played(seed: int) -> list[tuple[float, Estimate | None]]:
    """A pool with a target of one dense and one loose part, played by the recipe; (true share, estimate)."""
    rng = np.random.default_rng(seed)
    n, total, dim = 1500, 90, 16
    is_target = np.arange(n) < total
    x = rng.normal(size=(n, dim)).astype(np.float32)
    x[:60, 0] += 3.5
    x[60:total, 0] += 2
    rows = unit_rows(x)
    ids, yes, why, unasked = [0], [True], ["asked"], [n]
    head, out = None, []
    while len(ids) < 3 * total:
        left = np.setdiff1d(np.arange(n), ids)
        p = None if head is None else head.predict(rows)[:, list(head.labels).index(0)]
        pool = Pool(rows, left, p, like=rows[:1])
        picks = choose(pool, goal="find", n=20, batch_size=20, audit_share=0.05, near_cos=0.98, rng=rng)
        ids += picks.ids.tolist()
        yes += is_target[picks.ids].tolist()
        why += picks.reasons
        unasked += [len(left)] * len(picks.ids)
        head = learner.fit_head(rows[ids], np.where(yes, 0, 1), pool=rows[left], rng=rng)
        if all(yes):
            continue
        score = learner.left_out(head, 0)
        rest = learner.decision(head, rows[np.setdiff1d(left, picks.ids)], 0)
        now = recall.estimate(Asked(np.array(yes), why, np.array(unasked), score), rest)
        out.append((sum(yes) / total, now))
    return out


def test_the_interval_holds_the_truth_on_drawn_pools() -> None:
    inside, half = [], []
    for seed in range(12):
        seen = played(seed)
        for level in (0.8, 0.9):
            at = next(((s, e) for s, e in seen if s >= level), None)
            if at is None or at[1] is None:
                continue
            inside.append(at[1].low <= at[0] <= at[1].high)
            half.append((at[1].high - at[1].low) / 2)
    assert len(inside) >= 12
    assert np.mean(inside) >= 0.85
    assert np.median(half) <= 0.25


def test_left_out_is_close_to_a_head_fitted_without() -> None:
    rng = np.random.default_rng(1)
    rows = unit_rows(rng.normal(size=(60, 8)).astype(np.float32) + 0.4)
    is_one = rows[:, 0] + 0.2 * rng.normal(size=60) > 0.3
    labels = np.where(is_one, 0, 1)
    head = learner.fit_head(rows, labels, rng=rng)
    fast = learner.left_out(head, 0)
    inside = learner.decision(head, rows, 0)
    slow = np.array(
        [
            learner.decision(
                learner.fit_head(np.delete(rows, i, 0), np.delete(labels, i), rng=rng), rows[[i]], 0
            )[0]
            for i in range(60)
        ]
    )
    assert np.corrcoef(fast, slow)[0, 1] > 0.99
    assert np.abs(fast - slow).mean() < np.abs(inside - slow).mean() / 2


@pytest.mark.parametrize("labels", [[0, 1], [1, 0], [0, 1, 2], [2]])
def test_a_decision_orders_as_the_probability_does(labels: list[int]) -> None:
    rng = np.random.default_rng(2)
    rows = unit_rows(rng.normal(size=(90, 6)).astype(np.float32))
    y = np.array(labels)[np.argmax(rows[:, : len(labels)], 1)]
    head = learner.fit_head(rows, y, pool=rows, rng=rng)
    for label in labels:
        p = head.predict(rows)[:, list(head.labels).index(label)]
        decision = learner.decision(head, rows, label)
        is_label = y == label
        if len(labels) < 3:
            assert (np.argsort(p, kind="stable") == np.argsort(decision, kind="stable")).all()
        else:
            assert decision[is_label].mean() > decision[~is_label].mean()
