"""What a certificate says, against slow sums and drawn cases."""

import math

import numpy as np
import pytest

from active import bound


def test_the_bound_is_the_slow_one() -> None:
    for left, draws, finds in [(30, 10, 0), (30, 10, 2), (12, 12, 3), (40, 25, 1)]:
        got = bound.certificate(left, found=20, draws=draws, finds=finds)
        worst = 0
        for targets in range(finds, left - (draws - finds) + 1):
            p = sum(
                math.comb(targets, x) * math.comb(left - targets, draws - x) / math.comb(left, draws)
                for x in range(finds + 1)
            )
            if p > 0.05:
                worst = max(worst, targets)
        assert got == pytest.approx((20 + finds) / (20 + worst))


def test_the_bound_holds_in_so_many_cases() -> None:
    rng = np.random.default_rng(0)
    for targets in (0, 3, 20):
        right = 0
        for _ in range(400):
            finds = int(rng.hypergeometric(targets, 300 - targets, 80)) if targets else 0
            said = bound.certificate(300, found=50, draws=80, finds=finds)
            right += said <= (50 + finds) / (50 + targets) + 1e-12
        assert right >= 0.93 * 400


def test_all_drawn_is_certain_and_none_says_nothing() -> None:
    assert bound.certificate(100, found=10, draws=100, finds=0) == 1
    assert bound.certificate(100, found=10, draws=0, finds=0) == pytest.approx(10 / 110)
    assert bound.certificate(0, found=0, draws=0, finds=0) == 1
    with pytest.raises(ValueError, match="cannot be"):
        bound.certificate(10, found=1, draws=11, finds=0)


def test_the_price_is_the_fewest_draws_that_say_it() -> None:
    price = bound.certificate_price(9000, found=300, share=0.9)
    assert price is not None
    assert bound.certificate(9000, found=300, draws=price, finds=0) >= 0.9
    assert bound.certificate(9000, found=300, draws=price - 1, finds=0) < 0.9
    dearer = bound.certificate_price(9000, found=300, share=0.9, remaining=15)
    assert dearer is not None
    assert dearer > price
    assert bound.certificate_price(9000, found=300, share=0.9, remaining=9000) is not None
    assert bound.certificate_price(0, found=5, share=0.9) == 0
