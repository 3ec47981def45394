import pytest

from labeler.server import rates
from labeler.server.rates import Rates


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_class_behind_one_address_gets_in_at_once_and_a_second_one_too(clock):
    joins = Rates(clock=clock)
    assert [joins.wait_s("203.0.113.7") for _ in range(60)] == [None] * 60
    assert joins.wait_s("203.0.113.7") == 1
    assert joins.wait_s("203.0.113.8") is None  # the next school pays nothing for it


def test_a_thousand_joins_a_minute_from_one_address_are_told_when_to_come_back(clock):
    joins = Rates(clock=clock)
    waits = []
    for i in range(1000):
        clock.now = i * 0.06
        waits.append(joins.wait_s("203.0.113.7"))
    assert waits.count(None) == 60 + int(2.0 * clock.now)
    told = [w for w in waits if w is not None]
    assert min(told) >= 1
    assert max(told) == rates.MOST_WAIT_S


def test_a_hall_that_waits_as_it_is_told_gets_in_without_asking_twice(clock):
    joins = Rates(clock=clock)
    due = sorted(t for t in (joins.wait_s(f"2001:db8::{i:x}") for i in range(170)) if t)
    assert len(due) == 170 - 60  # one household, whatever its devices are called
    assert max(due) == 55
    for at in due:
        clock.now = float(at)
        assert joins.wait_s("2001:db8::1") is None


def test_a_bucket_fills_up_again_and_no_further(clock):
    joins = Rates(at_once=3, per_s=0.5, clock=clock)
    assert [joins.wait_s("a") for _ in range(5)] == [None, None, None, 2, 4]
    clock.now = 2.0
    assert [joins.wait_s("a") for _ in range(2)] == [None, 4]
    clock.now = 10_000.0
    assert [joins.wait_s("a") for _ in range(4)] == [None, None, None, 2]


def test_what_is_remembered_is_bounded_and_the_newest_are_kept(clock, monkeypatch):
    monkeypatch.setattr(rates, "MOST_ADDRESSES", 100)
    joins = Rates(at_once=1, clock=clock)
    assert joins.wait_s("10.0.0.1") is None
    for i in range(1000):
        assert joins.wait_s("10.0.0.1") is not None
        joins.wait_s(f"10.1.{i // 250}.{i % 250}")
    assert len(joins._of) == 100
