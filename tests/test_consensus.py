"""Many people's votes: against crowd-kit, against slow and obvious versions, and what must hold of them."""

import warnings

import numpy as np
import pytest
from crowds import even_rates, voted
from hypothesis import given, settings
from hypothesis import strategies as st

from active import skill as skills
from active.consensus import Known, fit, gold_counts
from active.dawid_skene import dawid_skene
from active.retire import Rule, retired
from active.skill import evidence, kinds, looks, skill, trust
from active.voter import Voter, learn_voter, logs
from active.votes import Votes, majority, tally


def two(rng: np.random.Generator, n: int = 400, p: int = 20, share: float = 0.2, each: int = 4) -> tuple:
    """Return the labels of n items, how often p people are right, and their votes."""
    truth = (rng.random(n) < share).astype(np.int64)
    right = rng.beta(8, 2, p)
    return truth, right, voted(rng, truth=truth, rates=even_rates(right), each=each)


@pytest.mark.parametrize(("coins", "seed"), [("each", 0), ("each", 1), ("each", 2), ("one", 0), ("one", 1)])
def test_the_plain_model_is_crowd_kits(seed, coins):
    from crowdkit.aggregation import DawidSkene, OneCoinDawidSkene
    from pandas import DataFrame

    rng = np.random.default_rng(seed)
    c = 2 + seed % 3
    truth = rng.choice(c, 60, p=np.array([[0.9, 0.1], [0.6, 0.3, 0.1], [0.4, 0.3, 0.2, 0.1]][seed % 3]))
    votes = voted(rng, truth=truth, rates=even_rates(rng.beta(6, 3, 12), c), each=3, ids=7 * np.arange(60))
    table = DataFrame({"task": votes.items, "worker": votes.people, "label": votes.labels})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas about crowd-kit
        theirs = {"one": OneCoinDawidSkene, "each": DawidSkene}[coins]().fit(table)
    ours = dawid_skene(votes, coins)
    assert ours.ids.tolist() == sorted(theirs.probas_.index)
    columns = list(range(c))
    assert np.abs(theirs.probas_.sort_index()[columns].to_numpy() - ours.posterior).max() < 1e-6
    assert np.abs(theirs.priors_.sort_index().to_numpy() - ours.share).max() < 1e-6
    for (person, label), row in theirs.errors_.iterrows():
        assert row[columns].to_numpy() == pytest.approx(ours.rates[person, :, label], abs=1e-6)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_majority_is_counted_by_hand(seed):
    rng = np.random.default_rng(seed)
    v, c = int(rng.integers(1, 40)), int(rng.integers(2, 5))
    votes = Votes(rng.integers(0, 9, v) * 3, rng.integers(0, 6, v), rng.integers(0, c, v), 6, c)
    ids, share = majority(votes)
    assert ids.tolist() == sorted(set(votes.items.tolist()))
    for item, row in zip(ids, share, strict=True):
        said = votes.labels[votes.items == item]
        assert row == pytest.approx([(said == k).mean() for k in range(c)])
    assert tally(votes)[1].sum() == v


def slow_skill(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rates and kinds of one person, count by count: the chance of each vote after those before it."""
    of = kinds(len(counts))
    weight, means = [], []
    for alpha, share in zip(of.alpha, of.share, strict=True):
        chance, seen = share, alpha.copy()
        for truth in range(len(counts)):
            for said in range(len(counts)):
                for _ in range(int(counts[truth, said])):
                    chance *= seen[truth, said] / seen[truth].sum()
                    seen[truth, said] += 1
        weight.append(chance)
        means.append(seen / seen.sum(1, keepdims=True))
    kind = np.array(weight) / sum(weight)
    return sum(w * m for w, m in zip(kind, means, strict=True)), kind


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_skill_is_bayes_rule_vote_by_vote(seed, c):
    counts = np.random.default_rng(seed).integers(0, 8, (3, c, c)).astype(float)
    found = skill(counts, kinds(c))
    for k in range(3):
        rates, kind = slow_skill(counts[k])
        assert found.rates[k] == pytest.approx(rates)
        assert found.kind[k] == pytest.approx(kind)


def test_who_always_says_no_is_known_by_few_positives_and_trusted_about_none():
    """Right in 97 of 100 cases, by the numbers better than the next one, who is right in 94."""
    counts = np.zeros((3, 2, 2))
    counts[0] = [[194, 0], [6, 0]]
    counts[1] = [[183, 11], [1, 5]]
    counts[2] = [[12, 0], [0, 0]]  # as careful people do too
    found = skill(counts, kinds(2))
    assert looks(found.kind, kinds(2)).tolist() == [False, True, True]
    assert trust(found.rates)[0] < 0.1 < 0.7 < trust(found.rates)[1]


def test_who_meets_common_items_alone_is_trusted_about_rare_ones_too():
    counts = np.array([[[95, 5], [0, 0]], [[60, 40], [0, 0]]], float)
    rates = skill(counts, kinds(2)).rates
    assert rates[0, 1, 1] > 0.8 > 0.7 > rates[1, 1, 1]


def test_a_newcomer_counts_and_who_is_right_counts_more():
    counts = np.zeros((3, 2, 2))
    counts[1] = [[40, 1], [1, 10]]
    counts[2] = [[20, 20], [6, 5]]
    found = skill(counts, kinds(2))
    new, good, guesses = trust(found.rates)
    assert guesses < 0.2 < 0.4 < new < 0.75 < good


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=50, deadline=None)
def test_no_vote_counts_against_what_it_says(seed, c):
    counts = np.random.default_rng(seed).integers(0, 60, (4, c, c)).astype(float)
    weigh = evidence(skill(counts, kinds(c)).rates)
    for label in range(c):
        assert (weigh[:, label, label] >= weigh[:, :, label].max(1)).all()


def slow_step(votes: Votes, found) -> np.ndarray:
    """Return the posterior of each item by what `found` says of people, vote by vote."""
    rates, out = found.skill.rates, []
    for item in found.ids:
        p = found.among[1].copy()
        for person, said in zip(
            votes.people[votes.items == item], votes.labels[votes.items == item], strict=True
        ):
            p *= np.minimum(rates[person, :, said], rates[person, said, said])
        out.append(p / p.sum())
    return np.array(out)


@pytest.mark.parametrize("c", [2, 3])
def test_a_fit_agrees_with_itself_vote_by_vote(c):
    rng = np.random.default_rng(c)
    truth = rng.choice(c, 120, p=[0.7, 0.3] if c == 2 else [0.5, 0.3, 0.2])
    votes = voted(rng, truth=truth, rates=even_rates(rng.beta(8, 2, 10), c), each=3)
    found = fit(votes, Known(drawn=np.arange(120)), tol=1e-9, most=1000)
    assert slow_step(votes, found) == pytest.approx(found.standing.posterior, abs=1e-5)
    counts = np.zeros((10, c, c))
    for item, person, said in zip(votes.items, votes.people, votes.labels, strict=True):
        counts[person, :, said] += found.standing.posterior[item]
    assert found.counts == pytest.approx(counts, abs=1e-5)
    sums = counts.sum((0, 2)) / 3
    overall = (sums + 0.5) / (120 + c / 2)
    assert found.share == pytest.approx((sums + c / 2 * overall) / (120 + c / 2), abs=1e-5)
    assert (found.standing.asked == 3).all()


def test_the_order_of_votes_and_the_numbers_of_items_change_nothing():
    rng = np.random.default_rng(5)
    _, _, votes = two(rng, 80)
    one = fit(votes, Known(drawn=np.arange(80)))
    mixed = votes.only(rng.permutation(len(votes)))
    other = fit(
        Votes(mixed.items * 1000 + 3, mixed.people, mixed.labels, 20, 2),
        Known(drawn=np.arange(80) * 1000 + 3),
    )
    assert other.ids.tolist() == (one.ids * 1000 + 3).tolist()
    assert other.standing.posterior == pytest.approx(one.standing.posterior, abs=1e-3)


def test_how_common_labels_are_is_told_by_how_items_came():
    """Picked items are half positive; of those drawn at random one in twenty is."""
    rng = np.random.default_rng(0)
    truth = np.r_[rng.random(600) < 0.05, rng.random(1400) < 0.5].astype(np.int64)
    votes = voted(rng, truth=truth, rates=even_rates(rng.beta(16, 3, 30)), each=4)
    found = fit(votes, Known(drawn=np.arange(600)))
    assert abs(found.share[1] - truth[:600].mean()) < 0.02
    assert abs(found.among[0, 1] - truth[600:].mean()) < 0.02
    whole = fit(votes, Known(drawn=np.arange(600), pool=10_000))  # of others what those drawn from them say
    of_all = (truth[600:].sum() + 8600 * truth[:600].mean()) / 10_000
    assert abs(whole.share[1] - of_all) < 0.02
    assert np.array_equal(whole.standing.posterior, found.standing.posterior)
    undrawn = fit(votes)
    assert abs(undrawn.share[1] - truth.mean()) < 0.02


def taken_out(seed: int, right: float, each: int) -> tuple[np.ndarray, Votes, Known]:
    """Return votes where positives were picked first: a tenth of all were, of the drawn ones 1 in 60."""
    rng = np.random.default_rng(seed)
    truth = np.r_[np.ones(300, int), np.zeros(600, int)]
    drawn = np.r_[np.sort(rng.choice(300, 3, replace=False)), 300 + np.sort(rng.choice(600, 177, False))]
    votes = voted(rng, truth=truth, rates=even_rates(np.full(20, right)), each=each)
    return truth, votes, Known(drawn=drawn, pool=3000)


@pytest.mark.parametrize("each", [3, 5])
def test_positives_that_were_picked_before_others_were_drawn_are_not_lost(each):
    """The share of what was left when they were drawn says nothing of those that had been taken out of it."""
    for seed in range(3):
        truth, votes, known = taken_out(seed, 0.85, each)
        found = fit(votes, known)
        yes = found.standing.by_people[:, 1]
        all_say = np.bincount(votes.items, votes.labels) == each
        assert (yes[all_say & (truth == 1)] > 0.5).all()
        most = majority(votes)[1][:, 1] > 0.5
        assert (yes[truth == 1] > 0.5).mean() > most[truth == 1].mean() - 0.05
        assert yes[truth == 1].mean() > 0.75
        assert 0.08 < found.share[1] < 0.15


@pytest.mark.parametrize(
    ("n", "people", "each", "share", "right", "part"),
    [
        (1000, 20, 3, 0.02, (8, 2), 0.05),
        (4000, 20, 3, 0.02, (8, 2), 0.05),
        (1000, 20, 3, 0.02, (8, 2), 0.0),
        (2000, 20, 3, 0.0, (8, 2), 0.05),
        (1000, 10, 5, 0.0, (990, 10), 0.05),
        (1000, 10, 3, 0.0, (990, 10), 0.0),
    ],
)
def test_few_drawn_and_few_positives_turn_nothing_over_and_nobody_seems_not_to_look(
    n, people, each, share, right, part
):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = (rng.random(n) < share).astype(np.int64)
        votes = voted(rng, truth=truth, rates=even_rates(rng.beta(*right, people)), each=each)
        found = fit(votes, Known(drawn=np.flatnonzero(rng.random(n) < part), pool=n))
        assert found.standing.posterior[:, 1].mean() < share + 0.03
        assert looks(found.skill.kind, found.kinds).mean() >= 0.8
        assert retired(found.standing, found.share, Rule()).mean() > 0.3


def test_gold_tells_of_people_and_is_no_vote():
    rng = np.random.default_rng(1)
    _, _, votes = two(rng, 100)
    gold = gold_counts(np.full(60, 3), np.zeros(60, np.int64), np.arange(60) % 2, n_people=20, n_labels=2)
    assert gold[3].tolist() == [[30, 0], [30, 0]]
    found, without = (fit(votes, Known(drawn=np.arange(100), gold=g)) for g in (gold, None))
    assert found.ids.tolist() == without.ids.tolist()
    assert trust(found.skill.rates)[3] < 0.2 < trust(without.skill.rates)[3]
    assert not looks(found.skill.kind, found.kinds)[3]
    counted = looks(found.skill.kind, found.kinds)[votes.people]
    assert found.standing.votes.sum() == counted.sum() < len(votes)
    assert found.standing.asked.sum() == len(votes)


def test_an_owners_answer_is_the_label_and_tells_of_those_who_voted():
    rng = np.random.default_rng(2)
    truth, _, votes = two(rng, 200)
    wrong = votes.only(votes.people != 0)
    theirs = Votes(
        np.r_[wrong.items, np.arange(40)], np.r_[wrong.people, np.zeros(40, int)],
        np.r_[wrong.labels, 1 - truth[:40]], 20, 2,
    )  # fmt: skip
    found = fit(theirs, Known(drawn=np.arange(200), settled=np.arange(40), truth=truth[:40]))
    assert found.standing.posterior[:40].argmax(1).tolist() == truth[:40].tolist()
    assert set(found.standing.posterior[:40].ravel().tolist()) == {0.0, 1.0}
    assert trust(found.skill.rates)[0] == 0


def test_people_are_counted_also_where_all_labels_are_known_from_the_start():
    truth = np.arange(40) % 2
    votes = Votes(np.arange(40), np.zeros(40, np.int64), truth, 1, 2)
    found = fit(votes, Known(settled=np.arange(40), truth=truth))
    assert found.counts[0].tolist() == [[20, 0], [0, 20]]
    assert trust(found.skill.rates)[0] > 0.9


def test_the_model_helps_where_it_is_right_and_is_found_out_where_it_is_not():
    rng = np.random.default_rng(3)
    truth, _, votes = two(rng, 2000, 30, 0.1, 2)
    drawn = np.arange(2000)
    good = np.clip(truth * 0.8 + 0.1 + rng.normal(0, 0.05, 2000), 0.02, 0.98)
    noise = rng.random(2000)

    def wrong(p):
        more = {} if p is None else {"predicted": drawn, "p": np.stack([1 - p, p], 1)}
        found = fit(votes, Known(drawn=drawn, **more))
        return float((found.standing.posterior.argmax(1) != truth).mean()), found.voter

    without, _ = wrong(None)
    helped, voter = wrong(good)
    assert helped < without / 2
    assert voter.slope > 0.3
    misled, voter = wrong(noise)
    assert misled < without + 0.005
    assert voter.slope < 0.1
    against, voter = wrong(1 - good)
    assert against < without + 0.005
    assert voter.slope == 0


def test_the_model_alone_gives_no_label():
    votes = Votes(np.array([4, 4]), np.array([0, 1]), np.array([1, 1]), 2, 2)
    found = fit(votes, Known(predicted=np.array([4, 9]), p=np.array([[0.5, 0.5], [0.001, 0.999]])))
    assert found.ids.tolist() == [4]


@pytest.mark.parametrize("towards", [-1, 0.5, 3])
def test_the_voter_is_the_likeliest(towards):
    rng = np.random.default_rng(4)
    log_p = logs(rng.dirichlet([1, 1, 1], 50))
    posterior = np.exp(towards * log_p + rng.normal(0, 0.3, (50, 3)) + [1, 0, 0])
    posterior /= posterior.sum(1, keepdims=True)

    def loss(x: np.ndarray) -> float:
        voter = Voter(x[0], x[1:])
        return float(
            -(posterior * voter.log_prior(log_p)).sum()
            + ((x[0] - 1) / 0.5) ** 2 / 2 + ((x[1:] / 2.0) ** 2).sum() / 2
        )  # fmt: skip

    voter = learn_voter(log_p, posterior)
    at = np.r_[voter.slope, voter.offset]
    for k in range(4):
        step = np.eye(4)[k] * 1e-5
        slope = (loss(at + step) - loss(at - step)) / 2e-5
        assert abs(slope) < 1e-3 or (k == 0 and voter.slope in (0.0, 1.0))
    assert voter.slope == pytest.approx(np.clip(towards, 0, 1), abs=0.2)


def test_votes_that_count_little_move_little():
    rng = np.random.default_rng(6)
    _, _, votes = two(rng, 60)
    none = Votes(votes.items, votes.people, votes.labels, 20, 2, np.zeros(len(votes)))
    found = fit(none, Known(drawn=np.arange(60)))
    assert np.ptp(found.standing.posterior[:, 1]) == 0
    assert found.counts.sum() == 0
    assert found.standing.votes.sum() == 0
    full = Votes(votes.items, votes.people, votes.labels, 20, 2, np.ones(len(votes)))
    assert fit(full).standing.posterior == pytest.approx(fit(votes).standing.posterior)


def test_no_votes_at_all():
    nobody = Votes(*(np.empty(0, np.int64) for _ in range(3)), 3, 2)
    for found in (fit(nobody), dawid_skene(nobody)):
        assert len(found.ids) == 0
    assert fit(nobody).skill.rates.shape == (3, 2, 2)
    assert fit(nobody, Known(gold=np.ones((3, 2, 2)))).counts.sum() == 12


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (([1], [0], [2]), "label has a number out of"),
        (([1], [3], [0]), "person has a number out of"),
        (([1, 2], [0], [0]), "one entry each"),
        (([1], [0], [-1]), "label has a number out of"),
    ],
)
def test_votes_that_cannot_be_are_refused(columns, why):
    with pytest.raises(ValueError, match=why):
        Votes(*(np.array(x) for x in columns), 3, 2)


def test_shares_of_kinds_are_learned_from_who_votes():
    rng = np.random.default_rng(7)
    truth = (rng.random(400) < 0.3).astype(np.int64)
    good, guess = (
        fit(
            voted(rng, truth=truth, rates=even_rates(np.full(40, right)), each=5), Known(drawn=np.arange(400))
        )
        for right in (0.95, 0.5)
    )
    assert good.kinds.share[good.kinds.looks].sum() > 0.93
    best = skills.LEVELS.index(0.85)
    assert good.kinds.share[best:][: len(skills.LEVELS) - best].sum() > 0.6 > guess.kinds.share[best:-3].sum()
