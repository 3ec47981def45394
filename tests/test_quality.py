"""How right the head is: exact intervals, and what they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from active.quality import THRESHOLDS, clopper_pearson, precision_at


def slow_bound(right: int, cards: int, *, upper: bool) -> float:
    """Return the end of the interval by halving: where the tail of the binomial falls to 2.5 %."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if upper:
            beyond = binom.cdf(right, cards, middle) < 0.025
        else:
            beyond = binom.sf(right - 1, cards, middle) > 0.025
        low, high = (low, middle) if beyond else (middle, high)
    return (low + high) / 2


@settings(max_examples=80, deadline=None)
@given(cards=st.integers(1, 300), part=st.floats(0, 1))
def test_the_interval_is_where_the_tails_of_the_binomial_end(cards: int, part: float) -> None:
    right = round(part * cards)
    low, high = clopper_pearson(right, cards)
    assert low == pytest.approx(slow_bound(right, cards, upper=False) if right else 0, abs=1e-9)
    assert high == pytest.approx(slow_bound(right, cards, upper=True) if right < cards else 1, abs=1e-9)
    exact = binomtest(right, cards).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("cards", [1, 7, 40])
def test_it_holds_the_truth_in_95_of_100_cases_whatever_the_truth_is(cards: int) -> None:
    ends = np.array([clopper_pearson(right, cards) for right in range(cards + 1)])
    for true in np.linspace(0.001, 0.999, 200):
        held = (ends[:, 0] <= true) & (true <= ends[:, 1])
        assert binom.pmf(np.arange(cards + 1)[held], cards, true).sum() >= 0.95 - 1e-12


@pytest.mark.parametrize(("right", "cards"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_counts_that_cannot_be_are_refused(right: int, cards: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        clopper_pearson(right, cards)


def test_only_cards_above_a_threshold_count_and_none_is_none() -> None:
    p = np.array([0.1, 0.5, 0.6, 0.81, 0.9], np.float32)
    is_one = np.array([True, False, True, True, True])
    half, most, all_but = precision_at(p, is_one)
    assert [x.threshold for x in (half, most, all_but)] == list(THRESHOLDS)
    assert (half.cards, half.right, half.precision) == (4, 3, 0.75)
    assert (half.low, half.high) == clopper_pearson(3, 4)
    assert (most.cards, most.right, most.precision, most.high) == (2, 2, 1.0, 1.0)
    assert (all_but.cards, all_but.right) == (0, 0)
    assert (all_but.precision, all_but.low, all_but.high) == (None, None, None)
    assert [x.cards for x in precision_at(p[:0], is_one[:0])] == [0, 0, 0]
