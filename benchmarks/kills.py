"""What is left after SIGKILLs: of answers, of taking images in, of an export.

Three people swipe over HTTP, from a process of their own, while the server embeds a new workspace and
learns. At random moments (seeded) the server's whole process group is killed and started again. People
keep what was not acknowledged and send it again with the same ids, as the deck does. Then `labeler
index` and `labeler export` are killed in their middle and run again.

    kills, swipes    SIGKILLs of the server; cards answered, undone ones included
    events           stored: answers and undos
    lost             acknowledged events that are not stored, or stored otherwise
    doubled          events stored twice, and stored ones that nobody sent
    again            events that were stored although a kill took their acknowledgement
    integrity        what `labeler status` says at the end: "ok"
    cards            cards dealt after the last kill
    images, items    files, distinct images
    embedded, rows   items noted as embedded, vectors in the file
    off_rows         vectors that are not of length 1, or of another image (100 are computed again)
    away_s           median seconds from a kill to the next acknowledged answer
    index_kills      kills of `labeler index`, on index_images images
    index_same       whether it ended with the items and vectors of one that was not killed
    export_kills     kills of `labeler export` while it wrote
    export_halves    how often the folder was there and not whole, or the next export not whole, or
                     something was left beside it
    wall_s           everything, in seconds
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.killable import Count, Killable, Swiper, wait_until
from benchmarks.pool import HOME, flat_folder, show
from labeler import files, images, loop
from labeler.demo import draw_demo
from labeler.domain import LabelEvent
from labeler.workspace import Workspace

PEOPLE = 3
MANY, FEW = 6500, 400  # images of the first part, of the second
SAMPLE = 100  # vectors computed again
AGREE_COS = 0.98  # an image decoded before its encoder was there is read at another size


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
    items, used = ws.catalog.count_items(), ws.registry.in_use()
    assert used is not None
    rows = np.asarray(ws.vectors(used[0], used[1]).rows())
    off = int((np.abs(np.linalg.norm(rows, axis=1) - 1) > 1e-3).sum())
    encoder = loop.load_encoder(ws)
    some = np.random.default_rng(0).permutation(len(rows))[:SAMPLE]
    for item in ws.catalog.items_between(0, items):
        if item.id in some and item.present:
            data = files.read_file(ws.images / item.path)
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
    used = ws.registry.in_use()
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
    try:
        about = json.loads((out / "export.json").read_text("utf-8"))
        sizes = [(out / name).stat().st_size for name in about["files"]]
        index = (out / "index.csv").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return False
    return len(index) == n + 1 == len(sizes) and min(sizes) > 0 and bool(about["person"] == n)


class Export:
    """`labeler export`, watched: what it writes is hidden beside `out` until it is whole."""

    def __init__(self, workspace: Path, out: Path) -> None:
        self.out = out
        self._words = ["export", "--workspace", str(workspace), "--format", "folders", "--out", str(out)]

    def hidden(self) -> list[Path]:
        """Return what lies beside `out` that an export may have left."""
        return list(self.out.parent.glob(".*.labeler-*"))

    def run(self) -> float:
        """Export in peace to a new folder, and return how many seconds the writing took."""
        export = Killable(*self._words)
        wait_until(lambda: self.hidden() or self.out.exists(), "the export")
        began = time.monotonic()
        export.finish()
        return time.monotonic() - began

    def kill(self, after_s: float) -> bool:
        """Kill an export so long after it has begun to write; return whether that was in time."""
        before = self.out.stat().st_ino if self.out.exists() else None
        export = Killable(*self._words)
        while not (self.hidden() or export.is_over()):
            time.sleep(0.001)
        time.sleep(after_s)
        export.kill()
        return (self.out.stat().st_ino if self.out.exists() else None) == before


def kill_export(plan: Plan, workspace: Path, out: Path) -> dict[str, Any]:  # Any: JSON
    """Export with kills, half of them over an earlier export; return how often a half one looked whole."""
    rng = np.random.default_rng(plan.seed)
    answer_all(workspace)
    n = len(vectors_of(workspace))
    export = Export(workspace, out)
    takes_s = export.run()
    kills = halves = 0
    for i in range(plan.export_kills):
        if i % 2 == 0:
            out.rename(out.with_name(f"earlier{i}"))
        kills += export.kill(rng.uniform(0, takes_s))
        halves += out.exists() and not is_whole(out, n)
        export.run()
        halves += not is_whole(out, n) or bool(export.hidden())
    return {"export_kills": kills, "export_halves": halves}


# all of it ---------------------------------------------------------------------------------


def default_plan(folder: Path, swipes: int, kills: int) -> Plan:
    """Return the plan for real images and weights where they are, else for drawn ones, kept between runs."""
    data, weights = os.environ.get("LABELER_TEST_DATA"), os.environ.get("LABELER_TEST_WEIGHTS")
    encoder = ["--encoder", str(Path(weights) / "mobilenet_v1_1.0_224") if weights else "builtin"]
    if data:
        source, _ = flat_folder(Path(data) / "aid", HOME)
    else:
        source = HOME / "kills-drawn"
        draw_demo(source, n=MANY)
    for name, n in (("many", MANY), ("few", FEW)):
        (folder / name).mkdir()
        for path in sorted(source.iterdir())[:n]:
            (folder / name / path.name).symlink_to(path.resolve())
    many, few = (["--images", str(folder / name), *encoder] for name in ("many", "few"))
    return Plan(many, few, swipes, kills)


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
