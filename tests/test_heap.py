import ctypes
import subprocess
import sys

import pytest

from labeler import heap

GROW = """
from labeler import heap
def mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
held = [bytes(60_000) for _ in range(2000)]
del held[:-1]  # the last one keeps the heap from shrinking by itself
before = mb()
heap.give_back()
print(before - mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_free_goes_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 50


def test_another_c_library_is_left_alone(monkeypatch):
    heap._trim.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    heap.give_back()
    heap._trim.cache_clear()
