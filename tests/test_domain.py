from datetime import UTC, datetime

import pytest

from labeler.domain import Session
from labeler.errors import BadInput


def session(question="Is it?", labels=("yes", "no"), goal="find") -> Session:
    return Session(1, question, labels, goal, 0, 20, datetime.now(UTC))


def test_the_target_is_the_first_label():
    assert session(labels=("island", "sea", "cloud")).target == "island"


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"question": " "}, "The question is empty"),
        ({"labels": ("yes",)}, "The number of labels is 1"),
        ({"labels": tuple("abcdefghij")}, "The number of labels is 10"),
        ({"labels": ("yes", "Yes")}, "repeat one"),
        ({"labels": ("yes", "unsure")}, "'unsure' can't be a label"),
        ({"labels": ("yes", " no")}, "' no' can't be a label"),
        ({"labels": ("yes", "a\nb")}, "not printable"),
        ({"labels": ("yes", "n" * 61)}, "too long"),
        ({"goal": "win"}, "'win' is unknown"),
    ],
)
def test_a_session_that_makes_no_sense_is_refused(kwargs, says):
    with pytest.raises(BadInput, match=says):
        session(**kwargs)
