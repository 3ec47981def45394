"""What is said of estimate, target and precision, in words."""

import pytest

from active import recall
from labeler import wording
from tests.served import ROOT

ADVICE = {
    "target": 0.95, "reached": False, "chance": 0.42, "next_finds": 6.1, "cards_to_next": 8.2,
    "cards_to_target": 41.0, "cards_to_sure": 118.0,
}  # fmt: skip
QUALITY = {
    "audit": 24,
    "labels": {
        "yes": [
            {"threshold": 0.5, "cards": 9, "right": 8, "precision": 8 / 9, "low": 0.5175, "high": 0.9972},
            {"threshold": 0.95, "cards": 0, "right": 0, "precision": None, "low": None, "high": None},
        ]
    },
}


@pytest.mark.parametrize(
    ("share", "text"), [(0.95, "95 %"), (0.975, "97.5 %"), (0.999, "99.9 %"), (0.5, "50 %"), (0.57, "57 %")]
)
def test_a_share_has_the_digits_that_it_needs(share, text):
    assert wording.percent(share) == text


def test_what_is_at_least_found_is_rounded_down():
    shares = [0.9199, 0.92, 0.989, 0.9999, 1.0]
    assert [wording.at_least(x) for x in shares] == ["91 %", "92 %", "98 %", "99.9 %", "100 %"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            {},
            "95 %, not yet (chance 0.42, asked: 0.9 twice); roughly 40 to 120 more cards until that can be"
            " said",
        ),
        (
            {"cards_to_target": 0.0},
            "95 %, not yet (chance 0.42, asked: 0.9 twice); roughly 120 more cards until that can be said",
        ),
        (
            {"cards_to_target": None},
            "95 %, not yet (chance 0.42, asked: 0.9 twice); roughly 120 more cards until that can be said",
        ),
        (
            {"cards_to_sure": None},
            "95 %, not yet (chance 0.42, asked: 0.9 twice); how many more cards it takes can't be said",
        ),
        (
            {"reached": True, "chance": 0.934, "next_finds": 2.2},
            "95 %, probably found (chance 0.93); going on would bring about 2 in the next 50 cards",
        ),
        (
            {"reached": True, "chance": 0.99, "next_finds": 0.4},
            "95 %, probably found (chance 0.99); going on would bring hardly any in the next 50 cards",
        ),
    ],
)
def test_what_is_said_of_a_target(more, text):
    assert wording.target(0.95, ADVICE | more) == text


def test_the_limits_in_words_are_those_of_the_estimate_and_of_the_deck():
    assert wording.SURE == recall.SURE
    deck = (ROOT / "labeler" / "deck" / "deck.js").read_text("utf-8")
    assert f"e.next_finds < {wording.OFTEN} ?" in deck


@pytest.mark.parametrize(("next_finds", "is_said"), [(9.9, False), (10.0, True), (48.0, True)])
def test_while_finds_come_often_it_says_that_it_may_be_less(next_finds, is_said):
    known = {
        "share": 0.72,
        "low": 0.45,
        "high": 0.93,
        "total": 12.5,
        "total_high": 20.0,
        "next_finds": next_finds,
    }
    assert ("finds still come often, so it may be less" in wording.found(9, known)) == is_said
    assert ("Finds still come often." in wording.share(known, "yes")) == is_said


def test_of_a_target_without_an_estimate_nothing_is_said():
    assert wording.target(0.9, None) == "90 %; not enough is known yet"


@pytest.mark.parametrize(
    ("cards", "said"), [(0.3, 10), (14, 10), (16, 20), (199, 200), (226, 250), (990, 1000), (1234, 1200)]
)
def test_a_rough_number_of_cards_has_no_fine_digits(cards, said):
    assert wording.tidy(cards) == said


def test_precision_is_told_with_its_counts_and_interval_and_not_without_a_card():
    assert wording.precision(QUALITY, "yes") == [
        ("0.5", "8 of 9 right (95 % sure: 52 to 100 %)"), ("0.95", "no card yet"),
    ]  # fmt: skip
    assert wording.precision(QUALITY, "new") == []
    assert wording.precision(None, "yes") == []
    assert "By 24 cards drawn evenly at random" in wording.judged_by(QUALITY)
    for nothing in (None, {"audit": 0, "labels": {}}):
        assert wording.judged_by(nothing).startswith("No card that was drawn at random has been answered")


def test_predictions_are_vouched_for_only_by_figures():
    said = wording.caveat(QUALITY, "yes", rough=False)
    assert said.endswith("would call “yes” with 0.5 or more: 8 of 9 right (95 % sure: 52 to 100 %).")
    assert "rough" in wording.caveat(None, "yes", rough=True)
    assert wording.caveat(None, "yes", rough=False) == "Predicted by the program; nobody has looked at these."


def test_the_price_of_a_certificate():
    assert wording.price(763, 0.9).startswith("To be able to say at least 90 %, about 750 more cards,")
    assert "not even all cards would do" in wording.price(None, 0.9)


def test_what_single_votes_say_beyond_the_estimate_is_no_share():
    estimate = {"share": 0.94, "low": 0.65, "high": 1.0, "total": 16.2, "total_high": 23.0, "next_finds": 0.5}
    assert wording.found(15, estimate).startswith("15, about 94 % of 16 ")
    assert wording.found(20, estimate).startswith("20, about 94 % of 20 ")
    assert wording.found(34, estimate) == (
        "34 by all that was answered so far. By what was settled at the last round there are about 16 in all,"
        " at most 23"
    )
