"""A command that can be killed with all its children, and people who swipe whatever happens to the server."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

import numpy as np

from benchmarks.server import ROOT, Client

HOLD, REFILL, GROUP = 24, 12, 50  # as the deck: cards held, when to ask for more, answers in a request
UNDONE, UNSURE, SKIPPED = 0.03, 0.05, 0.05  # shares of the swipes
GONE_S = 2.0  # a killed process may be listed for longer where nobody takes it away
MOST_SAID = 1 << 24  # bytes that a command may print
WAIT_S = 420.0  # for anything that must come


class Killable:
    """A command in a process group of its own."""

    def __init__(self, *words: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by wait
        self._said = ""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "labeler.cli", *words], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip

    def kill(self) -> None:
        """Kill the whole group and wait until none of it is left."""
        end = time.monotonic() + GONE_S
        while time.monotonic() < end:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            self.process.poll()  # takes the dead leader away; init takes its children
            time.sleep(0.005)
        self.wait()

    def is_over(self) -> bool:
        """Return whether the command ended by itself."""
        return self.process.poll() is not None

    def wait(self, limit_s: float = WAIT_S) -> int:
        """Wait until the command ends and return its exit code."""
        code = self.process.wait(limit_s)
        self._said = self.said()
        self._log.close()
        return code

    def finish(self, limit_s: float = WAIT_S) -> None:
        """Wait until the command has done its work. Raises RuntimeError with what it said if it failed."""
        if self.wait(limit_s) != 0:
            raise RuntimeError(self.said())

    def said(self) -> str:
        """Return all that the command has printed."""
        if self._log.closed:
            return self._said
        # the command writes where the file stands, so that stays
        return os.pread(self._log.fileno(), MOST_SAID, 0).decode("utf-8", "replace")


def wait_until(condition: Callable[[], Any], what: str) -> Any:  # Any: whatever the condition returns
    """Return the first true value of condition(). Raises RuntimeError when it does not come."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise RuntimeError(f"this did not come: {what}")


# people ------------------------------------------------------------------------------------


@dataclass
class Count:
    """The swipes of all people together."""

    most: int
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """Return whether one more swipe is to be made."""
        with self.lock:
            if self.over:
                return False
            self.done += 1
            return True

    def reached(self, n: int) -> bool:
        """Return whether so many swipes are made."""
        return self.done >= n

    @property
    def over(self) -> bool:
        """Return whether all swipes are made."""
        return self.done >= self.most


class Swiper(threading.Thread):
    """A person with a deck: what was not acknowledged is kept, and sent again with the same ids."""

    def __init__(self, url: str, count: Count, *, per_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.client = Client(url)
        self._count, self._pause_s = count, 1 / per_s
        self._due = 0.0
        self._rng = np.random.default_rng(seed)
        self._cards: deque[dict[str, Any]] = deque()  # Any: JSON
        self._outbox: list[dict[str, Any]] = []
        self._undo: str | None = None  # the id of an undo that was not acknowledged yet
        self.stored: dict[str, tuple[int, str | None]] = {}  # acknowledged: what was said of which item
        self.acknowledged: list[float] = []  # when
        self.again = 0
        self.problem: Exception | None = None

    def run(self) -> None:
        """Swipe until all swipes are made and every answer is acknowledged."""
        try:
            while not self._count.over or self._outbox or self._undo:
                try:
                    self._step()
                except urllib.error.HTTPError as e:
                    if e.code < 500:
                        raise RuntimeError(f"{e.code}: {e.read()!r}") from e
                    time.sleep(0.1)
                except (OSError, HTTPException, json.JSONDecodeError):  # the server was killed
                    time.sleep(0.05)
        except Exception as e:  # handed to whoever waits
            self.problem = e

    def _step(self) -> None:
        if self._undo or self._outbox:
            self._send()
        if len(self._cards) < REFILL and not self._count.over:
            have = ",".join(str(c["card"]) for c in self._cards)
            self._cards += self.client.get(f"/api/cards?n={HOLD - len(self._cards)}&have={have}")["cards"]
        self._pace()
        if self._cards and not self._count.over and self._count.take():
            self._swipe(self._cards.popleft())

    def _pace(self) -> None:
        """Wait until the next swipe is due; what was missed is not made up for."""
        now = time.monotonic()
        self._due = max(self._due + self._pause_s, now)
        time.sleep(self._due - now)

    def _swipe(self, card: dict[str, Any]) -> None:
        draw = self._rng.random()
        label = "yes" if card["item"] % 7 == 0 else "no"
        if draw < UNSURE + SKIPPED:
            label = "unsure" if draw < UNSURE else "skip"
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._outbox.append(
            {
                "id": str(uuid.uuid4()),
                "card": card["card"],
                "item": card["item"],
                "label": label,
                "ms": 60,
                "at": at,
            }
        )
        if self._rng.random() < UNDONE:
            self._undo = str(uuid.uuid4())

    def _send(self) -> None:
        if self._outbox:
            group = self._outbox[:GROUP]
            reply = self.client.post("/api/labels", {"events": group})
            assert not reply["rejected"], reply
            assert reply["accepted"] + reply["duplicates"] == len(group), reply
            self.again += reply["duplicates"]
            self.stored.update({e["id"]: (e["item"], e["label"]) for e in group})
            del self._outbox[: len(group)]
            self.acknowledged.append(time.monotonic())
        if self._undo:
            undone = self.client.post("/api/undo", {"id": self._undo})
            self.stored[self._undo] = (undone["item"], None)
            self._undo = None
            self._cards.appendleft(undone["card"])
