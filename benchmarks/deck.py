"""How long a person waits for the next card: a phone's browser, a slow processor, a slow network.

Headless Chromium with a phone's screen and real touch, its processor 4 times slower, 100 ms to the
server and back, two swipes a second; the real server learns a round after every 20 answers. Measured
in the page, from the release it hears of to the frame after the one that shows the next card (how long
the browser took to tell it: `release_lag_p50_ms`). A wait is a release at which the next image was not
there yet, or a card that could not be answered.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.pool import HOME, flat_folder
from benchmarks.server import Client, running

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

PORT = "8643"
PHONE = {"width": 390, "height": 844}
SLOWER, ROUND_TRIP_MS, PER_SECOND = 4, 100, 2
BROWSER = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
READY = ".card[data-place='0'][data-ready]"
MEASURE = """() => {
  const seen = (window.seen = { ms: [], late: [], waits: 0, open: 0 });
  const card = (place) => document.querySelector(`.card[data-place='${place}']`);
  const drawn = (el) => Boolean(el?.querySelector("img")?.naturalWidth);
  window.addEventListener("pointerup", (e) => {
    const [old, released] = [card(0), performance.now()];
    seen.late.push(released - e.timeStamp);
    if (seen.open || !drawn(card(1)) || !old?.dataset.ready) seen.waits += 1;
    seen.open += 1;
    const look = () => {
      if (card(0) === old || !drawn(card(0))) { requestAnimationFrame(look); return; }
      requestAnimationFrame(() => { seen.ms.push(performance.now() - released); seen.open -= 1; });
    };
    requestAnimationFrame(look);
  }, true);
}"""


def pool() -> tuple[list[str], Path]:
    """Return the options that name images and encoder, and the workspace kept for them (that of `find`).

    Real photographs and a real network where they are there, else the drawn demonstration set.
    """
    data, weights = os.environ.get("LABELER_TEST_DATA"), os.environ.get("LABELER_TEST_WEIGHTS")
    if not data:
        return [], HOME / "deck-drawn"
    folder, _ = flat_folder(Path(data) / "aid", HOME)
    encoder = str(Path(weights) / "mobilenet_v1_1.0_224") if weights else "builtin"
    mark = hashlib.blake2b(str(Path(encoder).resolve()).encode(), digest_size=4).hexdigest()
    workspace = folder.with_name(f"{folder.name}-{Path(encoder).name}-{mark}")
    return ["--images", str(folder), "--encoder", encoder], workspace


def index(options: list[str], workspace: Path) -> None:
    """Embed what is not embedded yet; the demonstration set is drawn and embedded by the first start."""
    if options:
        command = [sys.executable, "-m", "labeler.cli", "index", *options, "--workspace", str(workspace)]
        subprocess.run(command, check=True, stdout=sys.stderr)


def new_session(client: Client) -> int:
    """Return a session of its own, once everything is embedded and its first round is there."""
    asked = {"question": f"Is this one of them? {time.time():.0f}", "labels": ["yes", "no"], "goal": "find"}
    session = int(client.post("/api/sessions", asked)["id"])
    for _ in range(3000):
        state = client.get(f"/api/session?session={session}")
        if state["round"] > 0 and state["embedded"] and state["worker"] != "embedding":
            return session
        time.sleep(0.1)
    raise RuntimeError("the first round did not come")


def swipe(touch: "CDPSession", way: int) -> None:
    """Move a finger from the middle of the card to one side, quickly, and lift it."""
    x, y = PHONE["width"] / 2, PHONE["height"] * 0.48
    points = [[{"x": x + way * far, "y": y}] for far in (0, 25, 70, 120, 160)]
    for kind, at in zip(["touchStart", *["touchMove"] * 4, "touchEnd"], [*points, []], strict=True):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})


def swipe_many(page: "Page", url: str, swipes: int) -> dict[str, Any]:  # Any: JSON
    """Open the light page, slow everything down, swipe; return what the page has seen."""
    touch = page.context.new_cdp_session(page)
    touch.send("Network.enable")
    slow = {"offline": False, "latency": ROUND_TRIP_MS, "downloadThroughput": -1, "uploadThroughput": -1}
    touch.send("Network.emulateNetworkConditions", slow)
    touch.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.add_init_script("localStorage.setItem('labeler.hint', 'seen')")
    page.goto(url)
    page.wait_for_selector(READY, timeout=60_000)
    page.wait_for_timeout(1500)
    page.evaluate(MEASURE)
    start = time.perf_counter()
    for i in range(swipes):
        page.wait_for_timeout(max(0.0, (start + i / PER_SECOND - time.perf_counter()) * 1000))
        swipe(touch, 1 if i % 5 == 0 else -1)
    swiped_s = time.perf_counter() - start
    page.wait_for_function("() => !window.seen.open", timeout=30_000)
    page.wait_for_function("() => document.querySelector('.waiting').hidden", timeout=30_000)
    return dict(page.evaluate("() => window.seen")) | {"per_second": round(swipes / swiped_s, 2)}


def measure(swipes: int) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("There is no Chromium. Install it: apt-get install chromium")
    options, workspace = pool()
    index(options, workspace)
    with running(*options, "--workspace", str(workspace), "--port", PORT) as server, sync_playwright() as p:
        client = Client(server.url)
        session = new_session(client)
        before = client.get(f"/api/session?session={session}")
        browser = p.chromium.launch(executable_path=chromium, args=BROWSER)
        page = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()  # type: ignore[arg-type]
        seen = swipe_many(page, f"{server.url}/swipe?session={session}", swipes)
        browser.close()
        after = client.get(f"/api/session?session={session}")
    p50, p95 = np.percentile(seen["ms"], [50, 95])
    return {
        "next_card_p50_ms": round(float(p50), 1),
        "next_card_p95_ms": round(float(p95), 1),
        "release_lag_p50_ms": round(float(np.median(seen["late"])), 1),
        "waits": seen["waits"],
        "swipes": swipes,
        "per_second": seen["per_second"],
        "stored": sum(after["counts"].values()),
        "rounds": after["round"] - before["round"],
        "images": after["images"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deck", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--swipes", type=int, default=500)
    args = parser.parse_args()
    found = measure(args.swipes)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:18} {value}")


if __name__ == "__main__":
    main()
