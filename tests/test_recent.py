import asyncio

import numpy as np
import pytest

from labeler.server import recent
from labeler.server.recent import Recent
from tests.served import awaited


class Counted:
    """Makes a vector, and counts how often it had to."""

    def __init__(self):
        self.made = 0

    def __call__(self):
        self.made += 1
        return np.full((1, 3), self.made, np.float32)


def in_use(*keys):
    """Gives one key after another, the last one for good."""
    left = list(keys)

    async def key():
        return left.pop(0) if len(left) > 1 else left[0]

    return key


def ask(seen, make, encoder="a", kind="picture", data=b"x"):
    return awaited(seen.row(in_use(encoder), kind, data, make))


def test_the_same_picture_is_embedded_once():
    seen, make = Recent(), Counted()
    first = ask(seen, make)
    np.testing.assert_array_equal(ask(seen, make), first)
    assert make.made == 1


@pytest.mark.parametrize("other", [{"encoder": "b"}, {"kind": "words"}, {"data": b"y"}])
def test_another_encoder_kind_or_picture_is_something_else(other):
    seen, make = Recent(), Counted()
    ask(seen, make)
    ask(seen, make, **other)
    assert make.made == 2


def test_only_the_last_ones_are_kept(monkeypatch):
    monkeypatch.setattr(recent, "MOST", 3)
    seen, make = Recent(), Counted()
    for data in (b"1", b"2", b"3", b"1", b"4"):  # 2 was used longest ago
        ask(seen, make, data=data)
    assert make.made == 4
    ask(seen, make, data=b"1")
    assert make.made == 4
    ask(seen, make, data=b"2")
    assert make.made == 5


def test_what_failed_is_tried_again():
    seen, make = Recent(), Counted()

    def fail():
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        ask(seen, fail)
    ask(seen, make)
    assert make.made == 1


def test_what_was_made_while_the_encoder_changed_is_not_kept():
    seen, make = Recent(), Counted()
    awaited(seen.row(in_use("a", "a", "b"), "picture", b"x", make))
    for encoder in ("a", "b"):
        ask(seen, make, encoder=encoder)
    assert make.made == 3


def test_two_who_ask_for_the_same_at_once_wait_for_one():
    seen, make = Recent(), Counted()

    async def both():
        await asyncio.gather(*(seen.row(in_use("a"), "picture", b"x", make) for _ in range(2)))

    awaited(both())
    assert make.made == 1
