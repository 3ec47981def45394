"""What the server and its processes hold in memory, and whether that grows.

A real `labeler start` on 10,000 images that are taken in; a picture is searched for first, so that the
encoder is loaded too. Then a warm-up (500 swipes, every page twice), then 5,000 swipes and 50 visits of pages
by a real browser. Before each weighing it waits two minutes, after which Streamlit forgets a closed page.
Memory is read from /proc, so this runs on Linux only.

rss_mb      most that all processes together ever held, shared pages counted for each; pss_mb: counted once
server_mb   of the server alone after the warm-up; trainer_mb, embedder_mb
growth_mb   of the server and the process that learns, from the warm-up to the end
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.pool import Pool, arguments, open_pool, show
from benchmarks.server import Client, Server, running

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
PAGES = ("start", "label", "search", "review", "export")
AT = "2026-11-20T12:00:00.000Z"

SETTLE_S = 155  # two minutes, and the server's next giving back of what is free


def family(pid: int) -> dict[int, str]:
    """Return {process: name of its module} of a process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = {}, [pid]
    while todo:
        one = todo.pop()
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{one}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            found[one] = next((w for w in words if w.startswith("labeler.")), "other")
        todo += children.get(one, [])
    return found


def megabytes(pid: int, what: str) -> float:
    """Return what a process holds: "Rss", or "Pss", in which shared pages count once in all."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(f"{what}:"))


class Watch:
    """Reads the memory of a server's processes."""

    def __init__(self, server: Server) -> None:
        self._pid = server.process.pid
        self.most = {"Rss": 0.0, "Pss": 0.0}

    def now(self) -> dict[str, float]:
        """Return {module: megabytes} now, and remember the most."""
        held = family(self._pid)
        for what in self.most:
            self.most[what] = max(self.most[what], sum(megabytes(pid, what) for pid in held))
        return {name: megabytes(pid, "Rss") for pid, name in held.items()}


def swipe(client: Client, n: int, watch: Watch) -> None:
    """Answer n cards, one to a request, as the deck does; where the pool runs dry, items again."""
    held: list[dict[str, int | None]] = []
    for i in range(n):
        if not held:
            held = client.get("/api/cards?n=20")["cards"] or [{"card": None, "item": i}]
        card = held.pop(0)
        event = {"id": str(uuid.uuid4()), "card": card["card"], "item": card["item"], "ms": 500, "at": AT}
        client.post("/api/labels", {"events": [event | {"label": "yes" if i % 7 == 0 else "no"}]})
        if i % 250 == 0:
            watch.now()


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Yield a page of a real browser."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield chromium.new_page(viewport={"width": 390, "height": 844})
        chromium.close()


def visit(page: Page, server: Server, n: int, watch: Watch) -> None:
    """Open n pages, one after the other, and wait until each has drawn itself."""
    for i in range(n):
        page.goto(f"{server.url}/{PAGES[i % len(PAGES)]}")
        page.wait_for_selector("[data-testid=stAppViewContainer]")
        page.wait_for_selector("[data-testid=stStatusWidget]", state="detached")
        time.sleep(0.3)
        watch.now()
    page.goto("about:blank")


def measure(pool: Pool, swipes: int, visits: int) -> dict[str, object]:
    """Return the object that --json prints."""
    pool.index()
    with running(*pool.options(), "--port", "8670") as server, browser() as page:
        watch, client = Watch(server), Client(server.url)
        client.post("/api/sessions", {"question": "How much does it hold?", "labels": ["yes", "no"]})
        client.post_image("/api/search", pool.folder / min(pool.truth))
        swipe(client, 500, watch)
        visit(page, server, 2 * len(PAGES), watch)
        time.sleep(SETTLE_S)
        before = watch.now()
        swipe(client, swipes, watch)
        visit(page, server, visits, watch)
        time.sleep(SETTLE_S)
        after = watch.now()
    ours = ("labeler.cli", "labeler.trainer")
    return {
        "rss_mb": watch.most["Rss"],
        "pss_mb": watch.most["Pss"],
        "server_mb": before["labeler.cli"],
        "trainer_mb": before["labeler.trainer"],
        "embedder_mb": before.get("labeler.embedder", 0.0),
        "growth_mb": sum(after[name] - before[name] for name in ours),
        "growth_server_mb": after["labeler.cli"] - before["labeler.cli"],
        "swipes": swipes,
        "visits": visits,
        "images": len(pool.truth),
    }


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = arguments(__doc__)
    parser.add_argument("--swipes", type=int, default=5000)
    parser.add_argument("--visits", type=int, default=50)
    args = parser.parse_args()
    show(measure(open_pool(args), args.swipes, args.visits), as_json=args.json)


if __name__ == "__main__":
    main()
