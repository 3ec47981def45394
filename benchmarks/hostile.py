"""What a folder does that holds rubbish: 10,000 files, 80 of them hostile, through the real program.

The eighty (benchmarks/rubbish.py) are all such that none can be used; odd files that can be (turned
by EXIF, CMYK, 16 bit, a thousand pages, 190 megapixels, names with line breaks and no UTF-8) are among
the 9,920 others; the rest are photographs of LABELER_TEST_DATA or, without it, drawn. `labeler index`
takes the folder in, `labeler start` serves it to an oracle for some rounds, `labeler status` and
`labeler export` look at it afterwards; two of the hostile files grow all the while. Run by root on
Linux, the program is kept from overriding permissions as root may.

  crashes      commands that failed, tracebacks that were printed, answers with a status of 500 or more
  hangs        steps that took longer than their limit, which is many times what they should take
  rss_mb       the most memory that all processes of the program held together
  listed       how many of the 80 `labeler status --json` sets aside with a reason, under their name;
               hostile: how many there are
  wrong_reason those whose reason is another one than expected
  taken_in     how many of the others (images) are in the pool; odd_right of odd: how many of the odd ones
               are served in their size, upright, in the right colours
  stored       answers given in so many rounds, cards (all of them fetched as tiles too), and found: yes
  exported     rows of the exported table, which has one per file that can be used
  index_s      how long taking in took; slowest_ms, slowest: the hostile or odd file that takes longest alone
  locked       whether two files without permission are among the 80; where permissions don't hold, such
               as for root elsewhere, two more pipes stand in
"""

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from benchmarks.rubbish import (
    Growing,
    Hostile,
    Odd,
    colours_of,
    encoded,
    make_hostile,
    make_odd,
    obey_permissions,
)
from benchmarks.server import ROOT, Client, running, settle
from labeler.files import Unreadable, read_file
from labeler.images import decode
from labeler.items import shown_path
from labeler.workspace import Workspace

PORT = "8647"
INDEX_S, ANSWER_S, COMMAND_S = 420, 20, 120  # limits of the steps
TOLERANCE = 60  # of a colour, after JPEG and WebP
T = TypeVar("T")


@dataclass
class Trouble:
    """What went wrong so far."""

    crashes: int = 0
    hangs: int = 0
    said: list[str] = field(default_factory=list)

    def note(self, text: str, *, hung: bool = False) -> None:
        """Count one and say it at once."""
        self.hangs += hung
        self.crashes += not hung
        self.said.append(text)
        print(text, file=sys.stderr, flush=True)

    def read(self, output: str) -> None:
        """Count the tracebacks in what a command printed."""
        for _ in range(output.count("Traceback (most recent call last)")):
            self.note("a traceback: " + output[-2000:])


# the folder --------------------------------------------------------------------------------


def fill(folder: Path, n: int, source: Path | None, rng: np.random.Generator) -> dict[str, bool]:
    """Put n ordinary images with different bytes into `folder`; return {name: whether it is looked for}."""
    made: dict[str, bool] = {}
    if source is not None:
        files = sorted(source.glob("*/*.jpg"))
        target = files[rng.integers(len(files))].parent.name
        seen: set[bytes] = set()
        for i in rng.permutation(len(files)):
            data = files[i].read_bytes()
            if len(made) == n:
                return made
            if data in seen:
                continue
            seen.add(data)
            name = f"{rng.bytes(8).hex()}.jpg"
            os.symlink(files[i].resolve(), folder / name)
            made[name] = files[i].parent.name == target
    while len(made) < n:
        is_target = rng.random() < 0.1
        tint = (40, 90, 200) if is_target else (120, 110, 60)
        grain = rng.integers(-40, 40, (64, 64, 1)) + np.array(tint) + rng.integers(-30, 30, 3)
        name = f"{rng.bytes(8).hex()}.jpg"
        (folder / name).write_bytes(encoded(Image.fromarray(grain.clip(0, 255).astype(np.uint8)), "JPEG"))
        made[name] = is_target
    return made


# memory ------------------------------------------------------------------------------------


class Memory:
    """The most memory that the children of this process held together, looked at every tenth of a second."""

    def __init__(self) -> None:
        self.most_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.most_mb = max(self.most_mb, _children_mb())


def _children_mb() -> float:
    """Return the resident memory of all processes below this one."""
    parents: dict[int, int] = {}
    pages: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            pages[pid] = int((entry / "statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue  # it has just ended
    below = {os.getpid()}
    while more := {p for p, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(pages.get(p, 0) for p in below - {os.getpid()}) * os.sysconf("SC_PAGE_SIZE") / 2**20


# the program -------------------------------------------------------------------------------


def command(trouble: Trouble, *options: str, limit_s: float) -> str:
    """Run a command of the program and return its standard output; what goes wrong is counted."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "labeler.cli", *options],
            check=False, cwd=ROOT, capture_output=True, timeout=limit_s, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        trouble.note(f"labeler {options[0]} took longer than {limit_s} s", hung=True)
        return ""
    trouble.read(done.stderr)
    if done.returncode != 0:
        trouble.note(f"labeler {options[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def ask(trouble: Trouble, what: str, call: Callable[[], T]) -> T | None:
    """Return what a request gives; one that fails or takes too long is counted and gives None."""
    started = time.perf_counter()
    try:
        return call()
    except urllib.error.HTTPError as e:
        if e.code >= 500:
            trouble.note(f"{what} answered {e.code}: {e.read()[:300]!r}")
    except (OSError, ValueError) as e:
        trouble.note(f"{what} failed: {e}")
    finally:
        if time.perf_counter() - started > ANSWER_S:
            trouble.note(f"{what} took longer than {ANSWER_S} s", hung=True)
    return None


def label(
    trouble: Trouble, client: Client, is_target: dict[int, bool], *, rounds: int, like: Path
) -> dict[str, int]:
    """Answer as the oracle, round after round, looking at every card's picture; return what was counted."""
    asked = {"question": "Is this one of them?", "labels": ["yes", "no"], "goal": "find"}
    session = int(client.post("/api/sessions", asked)["id"])
    client.post_image(f"/api/examples?session={session}", like)
    number, found, stored, shown, made = settle(client, session, 0), 0, 0, 0, 0
    for _ in range(rounds):
        reply = ask(trouble, "cards", lambda: client.get(f"/api/cards?n=20&session={session}"))
        cards = reply["cards"] if reply else []
        if not cards:
            break
        for card in cards:
            at = client.url + card["url"]
            shown += ask(trouble, "a tile", lambda at=at: fetch(at)) is not None  # type: ignore[misc]
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        events = [
            {
                "id": str(uuid.uuid4()), "card": c["card"], "item": c["item"],
                "label": "yes" if is_target[c["item"]] else "no", "ms": 500, "at": now,
            }
            for c in cards
        ]  # fmt: skip
        body = {"events": events}
        reply = ask(trouble, "labels", lambda body=body: client.post(f"/api/labels?session={session}", body))  # type: ignore[misc]
        stored += reply["accepted"] if reply else 0
        found += sum(is_target[c["item"]] for c in cards)
        made += 1
        number = settle(client, session, number)
    return {"stored": stored, "rounds": made, "cards": shown, "found": found}


def fetch(url: str) -> bytes:
    """Return the bytes at an address."""
    import urllib.request

    with urllib.request.urlopen(url, timeout=ANSWER_S) as reply:
        return bytes(reply.read())


def count_right(trouble: Trouble, client: Client, odd: list[Odd], items: dict[str, int]) -> int:
    """Return how many of the odd files are served in their size, upright, and in the right colours."""
    right = 0
    for one in odd:
        item = items.get(one.name)
        if item is None:
            continue
        facts = ask(trouble, "an item", lambda item=item: client.get(f"/api/items/{item}"))  # type: ignore[misc]
        url = f"{client.url}/tiles/{item}?w=512"
        data = ask(trouble, "a tile", lambda url=url: fetch(url))  # type: ignore[misc]
        if facts is None or data is None:
            continue
        far = np.abs(np.array(colours_of(Image.open(io.BytesIO(data)))) - np.array(one.colours)).max()
        named = facts["path"] == shown_path(one.name)[0]
        if (facts["width"], facts["height"]) == one.size and far <= TOLERANCE and named:
            right += 1
        else:
            print(f"wrong: {one.name!r}: {facts}, {far} from its colours", file=sys.stderr)
    return right


# the whole ---------------------------------------------------------------------------------


def slowest(folder: Path, names: list[str]) -> tuple[float, str]:
    """Return how many ms the slowest of some files takes to read and decode alone, and which it is."""
    worst = (0.0, "")
    for name in names:
        started = time.perf_counter()
        try:
            decode(read_file(folder / name))
        except Unreadable:
            pass
        worst = max(worst, ((time.perf_counter() - started) * 1000, shown_path(name)[0]))
    return round(worst[0], 1), worst[1]


def judge(status: dict[str, Any], hostile: list[Hostile]) -> dict[str, int]:  # Any: JSON
    """Return how many of the hostile files are listed, and how many for another reason than expected."""
    why = {entry["path"]: entry["reason"] for entry in status.get("set_aside", [])}
    listed = [h for h in hostile if why.get(shown_path(h.name)[0])]
    wrong = [h for h in listed if not re.search(h.why, why[shown_path(h.name)[0]])]
    for h in hostile:
        if h not in listed or h in wrong:
            print(f"{h.name!r}: {why.get(shown_path(h.name)[0])}", file=sys.stderr)
    return {"listed": len(listed), "hostile": len(hostile), "wrong_reason": len(wrong)}


@contextmanager
def prepared(n: int) -> Iterator[tuple[Path, list[Hostile], list[Odd], dict[str, bool], bool]]:
    """Yield the folder of images with all that is in it, in a new place that goes away again."""
    data = os.environ.get("LABELER_TEST_DATA")
    with tempfile.TemporaryDirectory(prefix="labeler-hostile-", ignore_cleanup_errors=True) as home:
        folder = Path(home) / "images"
        folder.mkdir()
        locked = obey_permissions()
        hostile, odd = make_hostile(folder, can_lock=locked), make_odd(folder, large=True)
        rng = np.random.default_rng(0)
        is_target = fill(folder, n - len(hostile) - len(odd), Path(data) / "aid" if data else None, rng)
        yield folder, hostile, odd, is_target, locked


def look(workspace: Path, is_target: dict[str, bool]) -> tuple[dict[str, int], dict[int, bool]]:
    """Return {path: item} and {item: whether it is looked for} of a workspace."""
    ws = Workspace.open(workspace)
    paths = ws.catalog.paths()
    ws.close()
    items = {path: item for item, held in paths.items() for path in held}
    return items, {item: is_target.get(held[0], False) for item, held in paths.items()}


def count_rows(table: Path) -> int:
    """Return how many rows an exported table has, 0 when it is not there."""
    if not table.exists():
        return 0
    with table.open(newline="", encoding="utf-8") as f:
        return sum(1 for _ in csv.DictReader(f))


def measure(n: int, rounds: int) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    trouble = Trouble()
    with prepared(n) as (folder, hostile, odd, is_target, locked):
        out, where = folder.parent / "out", ["--workspace", str(folder.parent / "w")]
        common = ["--images", str(folder), *where]
        slowest_ms, name = slowest(folder, [*(h.name for h in hostile), *(o.name for o in odd)])
        labeled, right = dict[str, int](), 0
        with Growing(folder), Memory() as memory:
            started = time.perf_counter()
            command(trouble, "index", *common, "--encoder", "builtin", "--json", limit_s=INDEX_S)
            index_s = time.perf_counter() - started
            status = json.loads(command(trouble, "status", *where, "--json", limit_s=COMMAND_S) or "{}")
            items, truth = look(folder.parent / "w", is_target)
            like = folder / next(name for name, wanted in is_target.items() if wanted)
            try:
                with running(*common, "--port", PORT) as server:
                    client = Client(server.url)
                    labeled = label(trouble, client, truth, rounds=rounds, like=like)
                    right = count_right(trouble, client, odd, items)
                trouble.read("\n".join(server.lines))
            except (RuntimeError, OSError) as e:
                trouble.note(f"labeler start failed: {e}")
            command(trouble, "export", *where, "--out", str(out), "--format", "csv", limit_s=COMMAND_S)
        fine = is_target.keys() | {o.name for o in odd}
        return {
            "crashes": trouble.crashes,
            "hangs": trouble.hangs,
            "rss_mb": round(memory.most_mb),
            **judge(status, hostile),
            "files": n,
            "images": n - len(hostile),
            "taken_in": len({item for path, item in items.items() if path in fine}),
            "odd": len(odd),
            "odd_right": right,
            **labeled,
            "exported": count_rows(out / "labels.csv"),
            "index_s": round(index_s, 1),
            "slowest_ms": slowest_ms,
            "slowest": name,
            "locked": locked,
            "said": trouble.said[:20],
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    found = measure(args.files, args.rounds)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:14} {value}")


if __name__ == "__main__":
    main()
