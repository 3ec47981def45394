from itertools import pairwise

import numpy as np
import pytest

from active.codes import Codes, Flat
from active.lists import Layout, Lists, lay_out, lists_for, moved, tune


def crowds(n: int, groups: int = 30, flipped: float = 0.08, seed: int = 0) -> Codes:
    """Return codes of 128 bits that lie in crowds."""
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(99).integers(0, 2, (groups, 128), dtype=np.uint8)
    bits = middles[rng.integers(groups, size=n)] ^ (rng.random((n, 128)) < flipped).astype(np.uint8)
    return np.packbits(bits, axis=1)


def apart(code: Codes, others: Codes) -> list[int]:
    return [int(np.unpackbits(code ^ other).sum()) for other in others]


def put(codes: Codes, lists: int = 16, *, tail: int = 0, probes: int = 2) -> Lists:
    inside = codes[: len(codes) - tail]
    layout = lay_out(inside, lists, np.random.default_rng(0))
    parts: list[Codes] = []
    moved(inside, layout, parts.append)
    return Lists(layout, np.concatenate(parts), codes[len(inside) :], probes)


def test_every_code_lies_in_the_list_of_a_centre_nearest_to_it() -> None:
    codes = crowds(700)
    lists = put(codes)
    layout = lists.layout
    assert sorted(layout.order.tolist()) == list(range(700))
    assert (layout.starts[0], layout.starts[-1]) == (0, 700)
    for i, (lo, hi) in enumerate(pairwise(layout.starts.tolist())):
        for code in codes[layout.order[lo:hi]]:
            d = apart(code, layout.centres)
            assert d[i] == min(d)


def test_codes_are_moved_into_the_order_of_their_lists() -> None:
    codes = crowds(500)
    lists = put(codes)
    np.testing.assert_array_equal(lists.codes, codes[lists.layout.order])


def test_reading_all_lists_finds_what_comparing_all_finds() -> None:
    codes, asked = crowds(900), crowds(20, seed=1)
    lists = put(codes, probes=99)
    for code in asked:
        for k in (0, 1, 30, 900, 2000):
            near = lists.nearest(code, k)
            assert len(set(near.tolist())) == len(near) == min(k, 900)
            assert apart(code, codes[near]) == apart(code, codes[Flat(codes).nearest(code, k)])


def test_codes_that_came_later_are_found_too() -> None:
    codes = crowds(900)
    lists = put(codes, tail=300, probes=1)
    assert len(lists) == 900
    for place in (0, 599, 600, 899):
        near = lists.nearest(codes[place], 5)
        assert apart(codes[place], codes[near[:1]]) == [0]
        d = apart(codes[place], codes[near])
        assert d == sorted(d)
    assert (lists.nearest(codes[700], 900) >= 600).sum() == 300


def test_few_lists_read_find_most() -> None:
    codes, asked = crowds(5000), crowds(30, seed=2)
    lists = put(codes, 32, probes=4)
    hits = []
    for code in asked:
        far = apart(code, codes[Flat(codes).nearest(code, 50)])[-1]
        hits.append(np.mean([d <= far for d in apart(code, codes[lists.nearest(code, 50)])]))
    assert np.mean(hits) > 0.9


def test_as_many_lists_are_read_as_are_needed() -> None:
    codes, asked = crowds(4000, groups=6), crowds(20, groups=6, seed=2)
    lists = put(codes, 64)
    few, found = tune(lists, codes, asked, 50, 0.5)
    assert found >= 0.5
    more, better = tune(lists, codes, asked, 50, 0.99)
    assert better >= 0.99
    assert few < more <= 64
    _, worse = tune(lists, codes, asked, 50, found / 2)
    assert worse <= found


def test_the_same_codes_and_seed_give_the_same_lists() -> None:
    one, two = put(crowds(600)), put(crowds(600))
    np.testing.assert_array_equal(one.layout.order, two.layout.order)
    np.testing.assert_array_equal(one.layout.centres, two.layout.centres)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_more_lists_than_codes(n: int) -> None:
    lists = put(crowds(n), 16, probes=16)
    assert sorted(lists.nearest(crowds(1, seed=4)[0], 9).tolist()) == list(range(n))


def test_codes_that_are_all_the_same() -> None:
    lists = put(np.tile(crowds(1), (300, 1)), 8, probes=8)
    assert len(lists.nearest(lists.codes[0], 300)) == 300


def test_no_codes_at_all() -> None:
    empty = np.empty((0, 16), np.uint8)
    layout = Layout(empty, np.zeros(1, np.int64), np.empty(0, np.uint32))
    assert Lists(layout, empty, empty, 3).nearest(crowds(1)[0], 5).tolist() == []


@pytest.mark.parametrize(
    ("n", "lists"), [(0, 1), (1, 1), (10_000, 128), (8_000_000, 2048), (48_000_000, 8192)]
)
def test_as_many_lists_as_the_root_of_the_codes(n: int, lists: int) -> None:
    assert lists_for(n) == lists


@pytest.mark.parametrize("tail", [0, 40])
def test_where_the_lists_read_hold_too_few_more_are_read(tail: int) -> None:
    codes, asked = crowds(900), crowds(5, seed=1)
    lists = put(codes, 32, tail=tail, probes=1)
    for code in asked:
        for k in (60, 200, 899, 900):
            near = lists.nearest(code, k)
            assert len(set(near.tolist())) == len(near) == k
            assert apart(code, codes[near]) == sorted(apart(code, codes[near]))
