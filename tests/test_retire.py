"""When an item has votes enough: what the rule promises, and a small play of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active.dawid_skene import softmax
from active.live import Live
from active.retire import Rule, gold_share, retired, thresholds
from active.votes import Standing
from benchmarks import votes as benchmark

RARE = np.array([0.98, 0.02])


def standing_of(
    said: list[list[tuple[int, float]]], share: np.ndarray, *, model: np.ndarray | None = None
) -> Standing:
    """Return how items stand whose votes are (label, how often right such a person is)."""
    evidence, votes = np.zeros((len(said), 2)), np.zeros((len(said), 2))
    for i, one in enumerate(said):
        for label, right in one:
            evidence[i] += np.log(np.where(np.arange(2) == label, right, 1 - right))
            votes[i, label] += right > 0.5
    by_people = softmax(np.log(share) + evidence)
    posterior = by_people if model is None else softmax(np.log(model) + evidence)
    return Standing(posterior, by_people, evidence, votes, np.array([len(one) for one in said]))


def done(said: list[tuple[int, float]], share: np.ndarray = RARE, **more: object) -> bool:
    return bool(retired(standing_of([said], share), share, Rule(**more))[0])


def test_nothing_retires_against_its_only_vote():
    """At 2 % a yes of somebody who is right in 80 % leaves 92 % for no."""
    assert not done([(1, 0.8)], least=1, lost=1, wrong=0.2)
    assert done([(0, 0.8)], least=1, lost=1, wrong=0.2)


def test_two_people_have_to_look():
    assert not done([(0, 0.99)])
    assert done([(0, 0.8), (0, 0.8)])
    assert not done([(0, 0.99), (0, 0.5)])  # the second says nothing
    assert done([(0, 0.8), (0, 0.5), (0, 0.8)])


def test_a_rare_label_takes_more_to_be_given_and_one_yes_more_to_be_overruled():
    assert not done([(1, 0.8), (1, 0.8)])
    assert not done([(1, 0.8), (0, 0.8)])
    assert done([(1, 0.8), (0, 0.8), (0, 0.8)])
    assert not done([(1, 0.8), (1, 0.8), (0, 0.8), (0, 0.8)])
    assert done([(1, 0.9)] * 4)


def test_the_model_can_hasten_but_not_decide():
    model = np.array([0.9999, 0.0001])
    split, said = [(1, 0.8), (0, 0.8)], [(1, 0.8), (0, 0.8), (0, 0.8)]
    standing = standing_of([split, said, [(1, 0.8)] * 2, []], RARE, model=model)
    assert retired(standing, RARE, Rule()).tolist() == [False, True, False, False]
    likely = standing_of([[(1, 0.8)] * 2], RARE, model=np.array([0.4, 0.6]))
    assert retired(likely, RARE, Rule()).tolist() == [True]
    assert not done([(1, 0.8)] * 2)


def test_enough_is_enough_and_a_fixed_number_is_one():
    split = [(1, 0.8), (0, 0.8)] * 7
    assert not done(split)
    assert done([*split, (0, 0.5)])
    assert [done([(0, 0.9)] * k, fixed=3) for k in range(5)] == [False, False, False, True, True]


@given(st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_what_retires_keeps_the_promises_one_by_one(seed):
    rng = np.random.default_rng(seed)
    c, n = int(rng.integers(2, 5)), 20
    share = rng.dirichlet(np.ones(c))
    evidence = rng.normal(0, 3, (n, c))
    posterior = softmax(np.log(share) + evidence + rng.normal(0, 1, (n, c)))
    votes = rng.integers(0, 4, (n, c)).astype(float)
    standing = Standing(posterior, posterior, evidence, votes, votes.sum(1).astype(np.int64))
    rule = Rule(wrong=0.2, lost=0.7, alone=1.5, most=9)
    for i, is_done in enumerate(retired(standing, share, rule)):
        top = int(posterior[i].argmax())
        others = [k for k in range(c) if k != top]
        kept = (
            sum(posterior[i, k] for k in others) <= 0.2
            and all(posterior[i, k] <= 0.7 * share[k] for k in others)
            and all(evidence[i, top] - evidence[i, k] >= np.log(1.5) for k in others)
            and votes[i].sum() >= 2
        )
        assert is_done == (kept or votes[i].sum() >= 9)


def test_thresholds_say_from_when_a_label_is_given():
    assert thresholds(RARE, Rule(wrong=0.07, lost=0.5)).tolist() == [pytest.approx(0.99), pytest.approx(0.93)]
    at = np.array([0.9901, 0.0099])
    evidence = np.log(at / RARE)[None]
    one = Standing(at[None], at[None], evidence, np.array([[2.0, 0]]), np.array([2]))
    assert retired(one, RARE, Rule(wrong=0.07, lost=0.5)).tolist() == [True]
    below = np.array([[0.9899, 0.0101]])
    other = Standing(below, below, evidence, np.array([[2.0, 0]]), np.array([2]))
    assert retired(other, RARE, Rule(wrong=0.07, lost=0.5)).tolist() == [False]


def test_one_item_can_be_asked_about_as_it_stands_in_live():
    live = Live(2)
    for item in range(40):
        live.drawn(item)
    answers = [bool(retired(live.vote(i, p, 0), live.share, Rule())[0]) for i in range(40) for p in range(2)]
    assert answers[::2] == [False] * 40
    assert all(answers[41::2])


def test_an_owners_answer_ends_it_and_taken_back_it_is_open_again():
    live = Live(2)
    live.vote(0, 0, 1)
    live.settle(0, 0)
    for rule in (Rule(), Rule(fixed=3)):
        assert retired(live.standing([0, 1]), live.share, rule).tolist() == [True, False]
    assert not retired(live.settle(0, None), live.share, Rule())[0]


@pytest.mark.parametrize(
    "wrong",
    [{"wrong": 0}, {"lost": 1.5}, {"alone": 0.5}, {"least": 0}, {"least": 9, "most": 4}, {"fixed": 0}],
)
def test_rules_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="give"):
        Rule(**wrong)


def test_gold_falls_from_two_fifths_to_a_twentieth():
    shares = [gold_share(k) for k in range(60)]
    assert shares[0] == 0.4
    assert shares[8] == pytest.approx(0.2)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0.05


@pytest.mark.parametrize("share", [0.1, 0.02])
def test_the_rule_finds_as_much_as_five_votes_with_three(share):
    """Three small crowds of `benchmarks.votes`, which plays dozens of large ones."""
    crowds = [benchmark.world(number, 1500, share) for number in range(3)]
    by_rule = benchmark.figures(benchmark.play(crowd, Rule()) for crowd in crowds)
    assert by_rule.votes < 0.65 * 5
    fives = [benchmark.five(crowd, benchmark.PEOPLE) for crowd in crowds]
    for model in ("each", "one", "ours"):
        fixed = benchmark.figures(five[model] for five in fives)
        assert by_rule.recall >= fixed.recall
        assert by_rule.precision >= fixed.precision


def test_who_does_not_look_costs_votes_and_no_positives():
    for spam in ("random", "no"):
        spoiled = benchmark.world(1, 1200, 0.1, spam=spam)
        turns = benchmark.PEOPLE - benchmark.SPAMMERS
        honest = spoiled.without(benchmark.SPAMMERS, turns)
        assert honest.order.min() == 0
        assert honest.order.max() == turns - 1
        with_them, without = benchmark.play(spoiled, Rule()), benchmark.play(honest, Rule())
        assert with_them.votes > without.votes
        assert with_them.right >= without.right - 0.05 * without.positive
        assert with_them.right / with_them.called >= without.right / without.called - 0.04
