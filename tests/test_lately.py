"""What is kept for some seconds: found out once for all, anew when it is old, forgotten with its thing."""

import gc
import threading
import time
import weakref

import pytest

from labeler.lately import Kept


class Thing:
    pass


def test_many_who_ask_at_once_cause_one_look():
    kept, thing, looks, said = Kept(60, 1), Thing(), [], []

    def find():
        looks.append(1)
        time.sleep(0.05)
        return len(looks)

    threads = [threading.Thread(target=lambda: said.append(kept.get(thing, "a", find))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(looks), said) == (1, [1] * 8)
    assert kept.get(thing, "b", find) == 2
    assert kept.get(Thing(), "a", find) == 3
    kept.forget()
    assert kept.get(thing, "a", find) == 4


@pytest.mark.parametrize(
    ("least_s", "times", "most_s", "took_s", "lasts_s"),
    [(1, 20, 10, 0.01, 1), (1, 20, 10, 0.1, 2), (1, 20, 10, 5, 10)],
)
def test_it_holds_as_long_as_it_was_dear(monkeypatch, least_s, times, most_s, took_s, lasts_s):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    kept, thing, looks = Kept(least_s, times, most_s), Thing(), []

    def find():
        looks.append(1)
        clock[0] += took_s
        return len(looks)

    assert kept.get(thing, 1, find) == 1
    clock[0] += lasts_s - 0.001
    assert kept.get(thing, 1, find) == 1
    clock[0] += 0.002
    assert kept.get(thing, 1, find) == 2


def test_a_look_that_fails_is_made_again_and_nothing_outlives_its_thing():
    kept, thing = Kept(60, 1), Thing()
    with pytest.raises(ZeroDivisionError):
        kept.get(thing, 1, lambda: 1 // 0)
    assert kept.get(thing, 1, lambda: 5) == 5
    seen = weakref.ref(thing)
    del thing
    gc.collect()
    assert seen() is None
