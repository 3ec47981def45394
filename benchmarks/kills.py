"""What is left after SIGKILLs: of answers, of taking images in, of an export.

Three people swipe over HTTP, from a process of their own, while the server embeds a new workspace and
learns. At random moments (seeded) the server's whole process group is killed and started again. People
keep what was not acknowledged and send it again with the same ids, as the deck does. Then `labeler
index` and `labeler export` are killed in their middle and run again.

    kills, swipes    SIGKILLs of the server; cards answered, undone ones included
    lost             acknowledged events (answers and undos) that are not stored, or stored otherwise
    doubled          events stored twice, and stored ones that nobody sent
    again            events that were stored although the acknowledgement was lost in a kill
    integrity        what `labeler status` says at the end: "ok"
    cards            cards dealt after the last kill
    images, items, rows   files, distinct images, vectors; off_rows: vectors not of length 1, or of another
                     image (100 are computed again)
    away_s           median seconds from a kill to the next acknowledged answer
    index_kills, index_same   kills of `labeler index`; whether it ended with the items and vectors of one
                     that was not killed
    export_kills, export_halves   kills of `labeler export`; how often the folder looked whole and was not,
                     or the next export was not whole
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pool import HOME, flat_folder, show
from benchmarks.server import ROOT, Client
from labeler import images, loop
from labeler.demo import draw_demo
from labeler.domain import LabelEvent
from labeler.workspace import Workspace

PEOPLE = 3
HOLD, REFILL, GROUP = 24, 12, 50  # as the deck: cards held, when to ask for more, answers in a request
UNDONE, UNSURE, SKIPPED = 0.03, 0.05, 0.05  # shares of the swipes
SAMPLE = 100  # vectors computed again
AGREE_COS = 0.98  # an image decoded before its encoder was there is read at another size
GONE_S = 2.0  # a killed process may be listed for longer where nobody takes it away
MOST_SAID = 1 << 24  # bytes that a command may print
WAIT_S = 420.0  # for anything that must come


@dataclass(frozen=True)
class Plan:
    """How much to do. options: of `labeler start` and `index`, which name images and encoder."""

    options: list[str]
    few: list[str]  # the same for the few images of the second part
    swipes: int = 5000
    kills: int = 20
    per_s: float = 15.0  # swipes of one person
    index_kills: int = 5
    export_kills: int = 8
    port: str = "8650"
    seed: int = 0


# processes ---------------------------------------------------------------------------------


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
        time.sleep(self._pause_s)
        if self._cards and not self._count.over and self._count.take():
            self._swipe(self._cards.popleft())

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


# killing the server ------------------------------------------------------------------------


class Served:
    """The server under test, killed and started again, and the people who swipe meanwhile."""

    def __init__(self, plan: Plan, workspace: Path) -> None:
        self.url = f"http://127.0.0.1:{plan.port}"
        words = ["start", "--no-browser", "--port", plan.port, "--workspace", str(workspace)]
        self._words = [*words, *plan.options]
        self._server = Killable(*self._words)
        self.count = Count(plan.swipes)
        self.people = [
            Swiper(self.url, self.count, per_s=plan.per_s, seed=plan.seed + i) for i in range(PEOPLE)
        ]
        self.killed: list[float] = []  # when

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises RuntimeError when the server ends or somebody meets an error."""

        def look() -> bool:
            if self._server.is_over() or " is taken, so " in self._server.said():
                raise RuntimeError("the server is not there:\n" + self._server.said())
            for person in self.people:
                if person.problem is not None:
                    raise RuntimeError("a request was refused") from person.problem
            return condition()

        wait_until(look, what)

    def kill(self) -> None:
        """Kill the server and start it again."""
        self._server.kill()
        self.killed.append(time.monotonic())
        print(f"killed at {self.count.done} swipes", file=sys.stderr, flush=True)
        self._server = Killable(*self._words)

    def stop(self) -> None:
        """Stop the server in order."""
        self._server.process.send_signal(signal.SIGINT)
        self._server.finish(30)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        self.count.done = self.count.most
        if not self._server.is_over():
            self._server.kill()

    def away_s(self) -> float:
        """Return the median time from a kill to the next acknowledged answer."""
        at = np.sort(np.concatenate([p.acknowledged for p in self.people]))
        away = [at[at > k][0] - k for k in self.killed if (at > k).any()]
        return round(float(np.median(away)), 2)


def swipe_and_kill(plan: Plan, workspace: Path) -> dict[str, Any]:  # Any: JSON
    """Return what came of the swipes; the workspace has everything embedded then."""
    rng = np.random.default_rng(plan.seed)
    served = Served(plan, workspace)
    count, people = served.count, served.people
    try:
        time.sleep(rng.uniform(0.2, 1.5))  # the first kill meets a workspace that is being made
        served.kill()
        for person in people:
            person.start()
        for moment in sorted(rng.integers(0, plan.swipes, plan.kills - 1).tolist()):
            served.wait(partial(count.reached, moment), "swipes")
            time.sleep(rng.uniform(0, 0.3))
            served.kill()
        served.wait(lambda: not any(p.is_alive() for p in people), "acknowledgements")
        client = people[0].client
        served.wait(lambda: bool(client.get("/api/session")["stage"] == "done"), "the last vector")
        cards = client.get("/api/cards?n=20")["cards"]
        served.stop()
    finally:
        served.end()
    return compare(workspace, people) | {
        "kills": len(served.killed),
        "swipes": count.done,
        "again": sum(p.again for p in people),
        "cards": len(cards),
        "away_s": served.away_s(),
    }


def compare(workspace: Path, people: list[Swiper]) -> dict[str, Any]:  # Any: JSON
    """Return how what is stored differs from what was acknowledged."""
    ws = Workspace.open(workspace)
    log = ws.journal.log(loop.newest_session(ws))
    sent: dict[str, tuple[int, str | None]] = {}
    for person in people:
        sent |= person.stored
    stored = {e.id: (e.item, e.answer) for e in log}
    times = Counter(e.id for e in log)
    ws.close()
    return {
        "lost": sum(stored.get(uid) != what for uid, what in sent.items()),
        "doubled": sum(n - 1 for n in times.values()) + len(stored.keys() - sent.keys()),
        "events": len(log),
    }


def look_at(workspace: Path) -> dict[str, Any]:  # Any: JSON
    """Return what `labeler status` says of a workspace, and whether each vector is that of its item."""
    status = Killable("status", "--json", "--workspace", str(workspace))
    status.finish()
    said = json.loads(status.said().splitlines()[-1])
    ws = Workspace.open(workspace)
    items, used = ws.catalog.count_items(), ws.catalog.encoder()
    assert used is not None
    rows = np.asarray(ws.vectors(used[0], used[1]).rows())
    off = int((np.abs(np.linalg.norm(rows, axis=1) - 1) > 1e-3).sum())
    encoder = loop.load_encoder(ws)
    some = np.random.default_rng(0).permutation(len(rows))[:SAMPLE]
    for item in ws.catalog.items_between(0, items):
        if item.id in some and item.present:
            data = images.read_file(ws.images / item.path)
            want_px = max(images.THUMB_PX, encoder.size_px)
            fresh = encoder.encode([images.decode(data, want_px=want_px).image])[0]
            off += bool(fresh @ rows[item.id] < AGREE_COS)
    ws.close()
    return {
        "integrity": said["integrity"], "images": said["images"], "items": items,
        "embedded": used[2], "rows": len(rows), "off_rows": off,
    }  # fmt: skip


# killing index and export ------------------------------------------------------------------


def vectors_of(workspace: Path) -> dict[str, Any]:  # Any: rows
    """Return {content hash: vector} of a workspace that is indexed."""
    ws = Workspace.open(workspace)
    used = ws.catalog.encoder()
    assert used is not None
    rows = np.asarray(ws.vectors(used[0], used[1]).rows(0, used[2]))
    found = {item.hash: rows[item.id] for item in ws.catalog.items_between(0, len(rows))}
    assert len(found) == len(rows) == ws.catalog.count_items()
    ws.close()
    return found


def index_whole(plan: Plan, workspace: Path) -> float:
    """Index the few images in peace, and return how many seconds that took."""
    began = time.monotonic()
    Killable("index", *plan.few, "--workspace", str(workspace)).finish()
    return time.monotonic() - began


def kill_index(
    plan: Plan, workspace: Path, *, reference: Path, whole_s: float
) -> dict[str, Any]:  # Any: JSON
    """Index with kills, and return whether that came to the same as in a workspace without.

    whole_s  how long it takes in peace.
    """
    rng = np.random.default_rng(plan.seed)
    kills = 0
    for _ in range(plan.index_kills):
        index = Killable("index", *plan.few, "--workspace", str(workspace))
        time.sleep(rng.uniform(0.1, 0.9) * whole_s)
        kills += not index.is_over()
        index.kill()
    Killable("index", *plan.few, "--workspace", str(workspace)).finish()
    whole, killed = vectors_of(reference), vectors_of(workspace)
    same = whole.keys() == killed.keys() and all(v @ killed[k] > AGREE_COS for k, v in whole.items())
    unit = all(abs(float(np.linalg.norm(v)) - 1) < 1e-3 for v in killed.values())
    return {"index_kills": kills, "index_same": bool(same and unit), "index_images": len(whole)}


def answer_all(workspace: Path) -> None:
    """Answer every item, so that there is much to export."""
    ws = Workspace.open(workspace)
    session = loop.start_session(ws)
    now = datetime.now(UTC)
    events = [
        LabelEvent(str(uuid.uuid4()), i, "yes" if i % 3 else "no", now)
        for i in range(ws.catalog.count_items())
    ]
    loop.record(ws, session, loop.owner(ws), events)
    ws.close()


def is_whole(out: Path, n: int) -> bool:
    """Return whether an export holds all that its export.json names, and no file is cut off."""
    about = json.loads((out / "export.json").read_text("utf-8"))
    index = (out / "index.csv").read_text("utf-8").splitlines()
    sizes = [(out / name).stat().st_size for name in about["files"]]
    return len(index) == n + 1 == len(sizes) and min(sizes) > 0 and about["person"] == n


def kill_export(plan: Plan, workspace: Path, out: Path) -> dict[str, Any]:  # Any: JSON
    """Export with kills, half of them over an earlier export; return how often a half one looked whole."""
    rng = np.random.default_rng(plan.seed)
    answer_all(workspace)
    n = len(vectors_of(workspace))
    words = ["export", "--workspace", str(workspace), "--format", "folders", "--out", str(out)]
    kills = halves = 0
    part = out.with_name(f".{out.name}.labeler-part")
    for i in range(plan.export_kills):
        if i % 2 == 0 and out.exists():
            out.rename(out.with_name(f"earlier{i}"))
        export = Killable(*words)
        while not (part.exists() or export.is_over()):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        kills += not export.is_over()
        export.kill()
        halves += out.exists() and not is_whole(out, n)
        if i % 2 == 0:
            Killable(*words).finish()
            halves += not is_whole(out, n)
    Killable(*words).finish()
    left = [p.name for p in out.parent.iterdir() if ".labeler-" in p.name]
    return {"export_kills": kills, "export_halves": halves + (not is_whole(out, n)) + len(left)}


# all of it ---------------------------------------------------------------------------------


def default_plan(folder: Path, swipes: int, kills: int) -> Plan:
    """Return the plan for real images and weights where they are, else for drawn ones."""
    data, weights = os.environ.get("LABELER_TEST_DATA"), os.environ.get("LABELER_TEST_WEIGHTS")
    encoder = ["--encoder", str(Path(weights) / "mobilenet_v1_1.0_224") if weights else "builtin"]
    some = folder / "some"
    some.mkdir()
    if data:
        source, _ = flat_folder(Path(data) / "aid", HOME)
        for path in sorted(source.iterdir())[:400]:
            (some / path.name).symlink_to(path.resolve())
        options = ["--images", str(source), *encoder]
    else:
        draw_demo(some, most=400)
        options = encoder
    return Plan(options, ["--images", str(some), *encoder], swipes, kills)


def measure(plan: Plan, folder: Path) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    workspace = folder / "workspace"
    swiped = swipe_and_kill(plan, workspace)
    found = look_at(workspace)
    whole_s = index_whole(plan, folder / "whole")
    indexed = kill_index(plan, folder / "killed", reference=folder / "whole", whole_s=whole_s)
    exported = kill_export(plan, folder / "killed", folder / "out")
    return swiped | found | indexed | exported


def main() -> None:
    """Kill and print what was left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--swipes", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="labeler-kills-") as name:
        found = measure(default_plan(Path(name), args.swipes, args.kills), Path(name))
    found["wall_s"] = round(time.monotonic() - began, 1)
    show(found, as_json=args.json)


if __name__ == "__main__":
    main()
