import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler import outcome
from labeler.outcome import by_chance, cards_to, found_after
from labeler.simulate import Plan, Played, Seen, Task
from labeler.truth import Truth


def played(target, hits, total, *, kind="play", seed=0, precision=None, estimates=(), ms=10.0):
    """A play of `total` images, whose rounds came after every third card."""
    task = Task(kind, target, seed, 0, (), np.arange(total), (len(hits),), "find", "recipe", 0)
    hits = np.array(hits, bool)
    rounds = [Seen(i, n, int(hits[:n].sum()), ms, None) for i, n in enumerate(range(1, len(hits) + 1, 3), 1)]
    rounds = [
        Seen(r.number, r.shown, r.found, r.ms, e) for r, e in zip(rounds, estimates, strict=False)
    ] or rounds
    return Played(task, hits, rounds, precision or {}, 1.0)


def truth_of(**sizes):
    ends = np.cumsum([0, *sizes.values()])
    items = {name: np.arange(a, b) for name, a, b in zip(sizes, ends, ends[1:], strict=False)}
    return Truth(items, {i: f"{i}.png" for i in range(int(ends[-1]))}, 0, {})


@settings(max_examples=200, deadline=None)
@given(
    hits=st.lists(st.booleans(), min_size=1, max_size=60),
    more=st.integers(0, 10),
    times=st.sampled_from(outcome.TIMES),
    share=st.sampled_from(outcome.SHARES),
)
def test_figures_of_a_play_are_what_counting_gives(hits, more, times, share):
    total = max(1, sum(hits) + more)
    pool = 60 + more
    cards = max(1, round(times * total))
    found = found_after(np.array(hits), total, times, pool=pool)
    if cards <= len(hits) or len(hits) == pool:
        assert found == sum(hits[:cards]) / total
    else:
        assert found is None
    needed = next((n for n in range(1, len(hits) + 1) if sum(hits[:n]) * 100 >= share * total), None)
    assert cards_to(np.array(hits), total, share / 100) == (None if needed is None else needed / total)


def test_a_play_that_has_shown_everything_has_found_what_it_found():
    hits = np.array([True] * 6 + [False] * 4)
    assert found_after(hits, 6, 3, pool=10) == 1
    assert found_after(hits, 6, 3, pool=11) is None


@pytest.mark.parametrize("given_ones", [0, 1, 3])
def test_by_chance_is_the_mean_of_shuffles(given_ones):
    rng = np.random.default_rng(0)
    total, pool, cards = 12, 40, 18
    others = np.arange(pool - given_ones) < total - given_ones
    found = [given_ones + rng.permutation(others)[: cards - given_ones].sum() for _ in range(4000)]
    expected = np.mean(found) / total
    assert by_chance(total, cards, pool=pool, given=given_ones) == pytest.approx(expected, abs=0.01)
    assert by_chance(total, 10 * pool, pool=pool, given=given_ones) == pytest.approx(1)
    assert by_chance(total, given_ones / 2, pool=pool, given=given_ones) == given_ones / 2 / total


def test_in_all_is_the_mean_of_classes_not_of_plays():
    plays = [
        played("a", [1, 1, 0, 0], 2, precision={}),
        played("a", [1, 0, 0, 1], 2, seed=1),
        played("b", [1, 0, 0, 0], 2),
        played("a", [0, 0, 0, 0], 2, kind="held out", precision={50: 0.9}),
        played("a", [0, 0, 0, 0], 2, kind="held out", seed=1, precision={50: 0.7}),
        played("b", [0, 0, 0, 0], 2, kind="held out", precision={50: 0.4}),
        played("a", [0, 1, 0, 0], 2, kind="baseline"),
        played("a", [0, 1, 1, 0], 2, kind="baseline", seed=1),
        played("b", [0, 0, 0, 1], 2, kind="baseline"),
    ]
    found = outcome.summary(plays, truth_of(a=2, b=2, rest=16), Plan(labeled=(50,)))
    assert found["found_1k"] == pytest.approx((0.75 + 0.5) / 2)
    assert found["found_2k"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["found_3k"] is None
    assert found["worst_2k"] == 0.5
    assert found["ap_50"] == pytest.approx((0.8 + 0.4) / 2)
    assert found["neighbours"]["found_1k"] == pytest.approx((0.5 + 0) / 2)
    assert found["random"]["found_1k"] == pytest.approx((1 + 1 * 1 / 19) / 2)
    assert found["cards_82"] == 2.0  # 1, 2 and never
    assert found["missed_82"] == 1
    assert found["p90_cards_82"] is None
    assert [row["ap_50"] for row in found["classes"]] == [0.9, 0.7, 0.4]
    assert [(r["class"], r["seed"], r["images"], r["cards"], r["found"]) for r in found["classes"]] == [
        ("a", 0, 2, 4, 2), ("a", 1, 2, 4, 2), ("b", 0, 2, 4, 1),
    ]  # fmt: skip


def test_cards_are_null_where_half_of_the_plays_never_get_there():
    plays = [played("a", [1, 1], 2), played("b", [1, 0], 2), played("c", [1, 0], 2)]
    found = outcome.summary(plays, truth_of(a=2, b=2, c=2), Plan(labeled=()))
    assert found["cards_95"] is None
    assert found["missed_95"] == 2


def test_what_nine_of_ten_classes_need():
    hits = [[1] + [0] * i + [1] for i in range(19)] + [[1] + [0] * 30]
    plays = [played(f"c{i:02}", h, 2) for i, h in enumerate(hits)]
    found = outcome.summary(plays, truth_of(**{f"c{i:02}": 2 for i in range(20)}), Plan(labeled=()))
    assert found["p90_cards_95"] == (17 + 2) / 2  # the 18th of 20
    assert found["missed_95"] == 1


def test_rounds_are_timed_over_the_plays_alone():
    plays = [played("a", [1] * 4, 4, ms=10), played("a", [1] * 4, 4, kind="baseline", ms=500)]
    found = outcome.summary(plays, truth_of(a=4, b=4), Plan(labeled=()))
    assert (found["round_p50_ms"], found["round_p95_ms"]) == (10, 10)


def test_estimates_are_compared_with_the_truth_of_their_round():
    estimates = [
        None,
        {"share": 0.5, "low": 0.3, "high": 0.7, "total": 4, "total_low": 3, "total_high": 6},
        {"share": 0.5, "low": 0.45, "high": 0.65, "total": 8, "total_low": 7, "total_high": 9},
    ]
    one = played("a", [1, 0, 0, 1, 0, 0, 1], 4, estimates=estimates)  # found 1, 2, 3 of 4
    found = outcome.summary([one], truth_of(a=4, b=9), Plan(labeled=()))
    assert found["estimate"] == {"rounds": 2, "coverage": 0.5, "half_width": pytest.approx(0.15)}
    assert found["classes"][0]["estimate"] == estimates[-1]
    rows = outcome.curve_rows([one])
    assert [row["estimate_low"] for row in rows] == [None, 0.3, 0.45]
    assert [row["share"] for row in rows] == [0.25, 0.5, 0.75]
    without = outcome.summary([played("a", [1, 0], 4)], truth_of(a=4, b=9), Plan(labeled=()))
    assert without["estimate"] is None


def test_curves_have_a_row_per_round_of_what_was_played_on_the_whole_pool():
    plays = [
        played("a", [1] * 7, 9),
        played("a", [0] * 4, 9, kind="baseline"),
        played("a", [1] * 4, 9, kind="held out"),
    ]
    rows = outcome.curve_rows(plays)
    assert [(r["round"], r["cards"], r["found"]) for r in rows] == [
        (1, 1, 1), (2, 4, 4), (3, 7, 7), (1, 1, 0), (2, 4, 0),
    ]  # fmt: skip
