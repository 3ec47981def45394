"""How soon a volunteer's phone shows its first card, and how much it has to load for that.

A server that is shared on the network; headless Chromium with a phone's screen, an empty cache, the cookie
that joining gives, its processor 4 times slower, over a line that the browser emulates: 400 ms to the server
and back at 1.6 Mbit/s, and 100 ms. Timed in the page, from the start of the navigation to the frame that has
the card, ready to be answered. `kb_before_images`: all that is transferred for the page but images of the
pool, heads included, until everything is quiet: page, script, cards, icons, and what the service worker keeps
where there may be one.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.deck import BROWSER, PHONE, new_session
from benchmarks.server import Client, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PORT = "8644"
IMAGES = 300
SLOWER = 4
DOWN_BYTES, UP_BYTES = 1_600_000 // 8, 750_000 // 8
SEEN = "localStorage.setItem('labeler.hint', 'seen');"
WATCH = """
new MutationObserver((_, watch) => {
  if (!document.querySelector(".card[data-place='0'][data-ready]")) return;
  watch.disconnect();
  requestAnimationFrame(() => { window.firstCardMs = performance.now(); });
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-ready"] });
"""


def small_pool(home: Path) -> list[str]:
    """Return the options of a server in `home`: real photographs where there are some, else drawn ones."""
    options = ["--workspace", str(home / "ws")]
    data = os.environ.get("LABELER_TEST_DATA")
    if not data:
        return options
    found = sorted((Path(data) / "aid").rglob("*.jpg"))
    (home / "images").mkdir()
    for i, path in enumerate(found[:: max(1, len(found) // IMAGES)][:IMAGES]):
        shutil.copy(path, home / "images" / f"{i:03}.jpg")
    return [*options, "--images", str(home / "images")]


def open_once(browser: "Browser", link: str, url: str, *, round_trip_ms: int) -> dict[str, float]:
    """Return how long a new phone waits for its first card at `url`, and what was transferred.

    link  opened before, unwatched and at full speed: it gives the cookie, as joining does.
    """
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)  # type: ignore[arg-type]
    context.add_init_script(SEEN + WATCH)
    context.request.get(link)
    page = context.new_page()
    watch = context.new_cdp_session(page)
    line = {"offline": False, "latency": round_trip_ms, "downloadThroughput": DOWN_BYTES}
    watch.send("Network.enable")
    watch.send("Network.setCacheDisabled", {"cacheDisabled": False})
    watch.send("Network.emulateNetworkConditions", line | {"uploadThroughput": UP_BYTES})
    watch.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    names: dict[str, str] = {}
    sizes: dict[str, float] = {}
    asked: list[str] = []
    watch.on("Network.responseReceived", lambda e: names.update({e["requestId"]: e["response"]["url"]}))
    watch.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]}))
    watch.on("Network.requestWillBeSent", lambda e: asked.append(e["request"]["url"]))
    page.goto(url, wait_until="commit")
    page.wait_for_function("() => window.firstCardMs", timeout=60_000)
    before = list(asked)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)
    first_ms = page.evaluate("window.firstCardMs")
    tile = page.locator(".card[data-place='0'] img").evaluate("(img) => img.src")
    tiles = sum("/tiles/" in name for name in before)
    shell = sum(size for key, size in sizes.items() if "/tiles/" not in names.get(key, "/tiles/"))
    context.close()
    if tile not in before or "/api/" in "".join(before[: before.index(tile)]):
        raise RuntimeError(f"the first card was not in the page: {before[:6]}")
    return {"s": first_ms / 1000, "kb": shell / 1000, "tiles_asked": tiles}


def weigh_kept(url: str, link: str) -> float:
    """Return the kB that a service worker loads on top: its script, and the page without a card."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(link, timeout=30).close()
    total = 0
    for path in ("/deck/keeper.js", "/swipe?shell"):
        request = urllib.request.Request(url + path, headers={"Accept-Encoding": "gzip"})
        with opener.open(request, timeout=30) as reply:
            total += len(reply.read()) + len(str(reply.headers))
    return total / 1000


def measure(times: int) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("There is no Chromium. Install it: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory() as home,
        running(*small_pool(Path(home)), "--port", PORT, "--host", "0.0.0.0") as server,
        sync_playwright() as p,
    ):
        token = (Path(home) / "ws" / "owner-token").read_text("ascii").strip()
        local = f"http://127.0.0.1:{PORT}"
        client = Client(local)
        client.get(f"/api/session?token={token}")
        browser = p.chromium.launch(executable_path=chromium, args=BROWSER)

        def phone(round_trip_ms: int) -> dict[str, float]:
            """Return what one phone saw, on a question of its own: others hold no cards of it."""
            url = f"{server.url}/swipe?session={new_session(client)}"
            return open_once(browser, f"{url}&token={token}", url, round_trip_ms=round_trip_ms)

        phone(0)  # the first start of a browser is its own
        slow = [phone(400) for _ in range(times)]
        quick = [phone(100) for _ in range(times)]
        browser.close()
        kept_kb = weigh_kept(local, f"{local}/swipe?token={token}")
    return {
        "kb_before_images": round(max(x["kb"] for x in slow + quick) + kept_kb, 1),
        "first_card_s": round(statistics.median(x["s"] for x in slow), 3),
        "first_card_100ms_s": round(statistics.median(x["s"] for x in quick), 3),
        "first_card_worst_s": round(max(x["s"] for x in slow), 3),
        "first_card_100ms_worst_s": round(max(x["s"] for x in quick), 3),
        "kept_kb": round(kept_kb, 1),
        "times": times,
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.join", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--times", type=int, default=7, help="phones at each distance")
    args = parser.parse_args()
    found = measure(args.times)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
