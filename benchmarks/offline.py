"""Whether every answer arrives once, and in order, when the network fails a phone.

Headless Chromium with a phone's screen against a real server, at a plain-HTTP address that is
not localhost and over HTTPS: 200 cards are taken along (`Take with me`) and swiped while there is no network.
Each way of failing is a scenario of its own, at both addresses. Read from the database afterwards: `arrived`
counts swipes whose answer is stored, `lost` those without, `doubled` answers beyond the first, `in_order` the
scenarios whose answers are stored in the order in which they were given.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.deck import BROWSER, PHONE, swipe
from benchmarks.relay import Relay, self_signed
from benchmarks.server import Client, Server, running
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, Playwright

PORT = 8645
IMAGES = 240
NAME = "phone.test"  # a name that this machine has in the browser alone: no secure context over plain HTTP
READY = ".card[data-place='0'][data-ready]"
RUN = 50  # swipes one way; a swipe back at once would be a finger bouncing
BOUNCE_MS = 150
HOUR_MS = 3_600_000
# the hint has been seen; the phone's clock is wrong by `shiftMs`, in this page and those that follow
SCRIPT = """
localStorage.setItem("labeler.hint", "seen");
window.shiftMs = %d;
const Real = Date;
globalThis.Date = class extends Real {
  constructor(...at) { if (at.length) super(...at); else super(Real.now() + window.shiftMs); }
  static now() { return Real.now() + window.shiftMs; }
};
"""


# swipe n cards with a pointer, each once it can be answered; return them. last: the card before these
SWIPE = """async ([n, way, last]) => {
  const stage = document.querySelector(".stage"), given = [], begin = performance.now();
  const box = stage.getBoundingClientRect();
  const point = (type, far) => stage.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerId: 7,
    pointerType: "touch", clientX: box.x + box.width / 2 + way * far, clientY: box.y + box.height / 2 }));
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  while (given.length < n) {
    const top = document.querySelector(".card[data-place='0'][data-ready]");
    if (top && Number(top.dataset.card) !== last) {
      last = Number(top.dataset.card);
      given.push(last);
      point("pointerdown", 0);
      for (const far of [60, 160]) point("pointermove", far);
      point("pointerup", 160);
    }
    if (performance.now() - begin > 60_000) throw new Error(`no card after ${last}`);
    await frame();
  }
  return given;
}"""

# what the server does of itself after a day
GIVE_BACK = """(session) => fetch(`/api/pack/back?session=${session}`,
  { method: "POST", body: "{}", headers: { "Content-Type": "application/json" } }).then((r) => r.json())"""


@dataclass
class House:
    """A server that can be stopped and started, and the lines to it."""

    folder: Path
    port: int
    stack: ExitStack
    relays: dict[str, Relay] = field(default_factory=dict)
    server: Server = field(init=False)

    @property
    def token(self) -> str:
        """Return what the owner's link holds."""
        return (self.folder / "ws" / "owner-token").read_text("ascii").strip()

    def start(self) -> None:
        """Start the server, as one that other machines reach, and wait until it has all images."""
        where = ("--images", str(self.folder / "images"), "--workspace", str(self.folder / "ws"))
        self.server = self.stack.enter_context(running(*where, "--host", "0.0.0.0", "--port", str(self.port)))
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.client.get(f"/api/session?token={self.token}")
        wait(lambda: self.client.get("/api/session")["embedded"] == IMAGES, limit_s=120)

    def stop(self) -> None:
        """Stop it."""
        self.stack.close()

    def ask(self) -> int:
        """Return a new session that has its first round."""
        question = {"question": f"Is this one of them? ({time.time_ns()})", "labels": ["yes", "no"]}
        session = int(self.client.post("/api/sessions", question)["id"])
        wait(lambda: self.client.get(f"/api/session?session={session}")["round"] > 0)
        return session

    def url(self, scheme: str, path: str) -> str:
        """Return an address as the phone knows it."""
        return f"{scheme}://{NAME}:{self.relays[scheme].port}{path}"

    def stored(self, session: int) -> list[tuple[int | None, str | None]]:
        """Return (card, answer) of all that is stored, in the order in which it came."""
        ws = Workspace.open(self.folder / "ws")
        try:
            return [(e.card, e.answer) for e in ws.journal.log(ws.store.session(session))]
        finally:
            ws.close()


def wait(done: Callable[[], bool], *, limit_s: float = 60) -> None:
    """Wait until done() is true."""
    end = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > end:
            raise RuntimeError("it did not come to pass in time")
        time.sleep(0.05)


class Phone:
    """A browser of its own with one tab, and what was answered in it, in order."""

    def __init__(self, browser: "Browser", house: House, scheme: str, session: int) -> None:
        self.house, self.scheme, self.session = house, scheme, session
        self.context: BrowserContext = browser.new_context(
            viewport=PHONE,  # type: ignore[arg-type]  # as Playwright's stubs have it
            has_touch=True, is_mobile=True, ignore_https_errors=False,
        )  # fmt: skip
        self.given: list[tuple[int, str]] = []
        self.last = 0
        self.page: Page
        self.touch: CDPSession

    def open(self, shift_ms: int = 0, more: str = "") -> None:
        """Open the deck in a new tab, as somebody who has joined; wait for a card."""
        self.page = self.context.new_page()
        self.page.add_init_script(SCRIPT % shift_ms)
        self.touch = self.context.new_cdp_session(self.page)
        self.page.goto(self.house.url(self.scheme, f"/swipe?session={self.session}{more}"))
        self.page.wait_for_selector(READY, timeout=60_000)

    def join(self, shift_ms: int = 0) -> None:
        """Come in by the link; open the deck; wait until a browser that may keeps the page for later."""
        self.open(shift_ms, f"&token={self.house.token}")
        if self.page.evaluate("isSecureContext"):
            self.page.wait_for_function("() => navigator.serviceWorker.controller", timeout=30_000)

    def take(self, n: int) -> None:
        """Take n cards along; wait until they are here."""
        self.page.click(".bag")
        self.page.get_by_text(f"{n} cards", exact=True).click()
        self.page.locator(".along").wait_for(timeout=60_000)
        self.page.keyboard.press("Escape")

    def swipe(self, n: int) -> None:
        """Swipe n cards: fifty to the right, fifty to the left, and so on. Each leg begins with touch."""
        while n:
            leg = min(n, RUN - len(self.given) % RUN)
            right = len(self.given) // RUN % 2 == 0
            other = self.page.wait_for_selector(f"{READY}:not([data-card='{self.last}'])", timeout=20_000)
            assert other is not None
            first = int(other.get_attribute("data-card") or 0)
            self.page.wait_for_timeout(BOUNCE_MS)
            swipe(self.touch, 1 if right else -1)
            cards = [first, *self.page.evaluate(SWIPE, [leg - 1, 1 if right else -1, first])]
            self.given += [(card, "yes" if right else "no") for card in cards]
            self.last, n = cards[-1], n - leg

    def away(self) -> None:
        """Lose the network."""
        self.context.set_offline(True)

    def back(self) -> None:
        """Find it again."""
        self.context.set_offline(False)

    def arrived(self) -> None:
        """Wait until nothing waits to be sent any more."""
        self.page.wait_for_function(
            "() => { const w = document.querySelector('.waiting'); return w && w.hidden; }", timeout=60_000
        )


# ways to fail: each takes n cards along and swipes them ------------------------------------------


def no_network(phone: Phone, n: int) -> None:
    """Swipe n cards without a network."""
    phone.join()
    phone.take(n)
    phone.away()
    phone.swipe(n)
    phone.back()


def closed_tab(phone: Phone, n: int) -> None:
    """Close the tab in the middle. Over HTTPS it is opened again without a network; over plain HTTP the
    network has to be there for that, and goes again."""
    phone.join()
    phone.take(n)
    phone.away()
    phone.swipe(n // 2)
    phone.page.close()
    if phone.scheme == "http":
        phone.back()
    phone.open()
    phone.away()
    phone.swipe(n - n // 2)
    phone.back()


def server_restarted(phone: Phone, n: int) -> None:
    """Stop the server after a while, and start it again when all is swiped: the network is there."""
    phone.join()
    phone.take(n)
    phone.swipe(n // 4)
    phone.house.stop()
    phone.swipe(n - n // 4)
    phone.house.start()


def wrong_clock(phone: Phone, n: int) -> None:
    """Two hours ahead, then two hours behind, while nothing can be sent."""
    phone.join(2 * HOUR_MS)
    phone.take(n)
    phone.away()
    phone.swipe(n // 2)
    phone.page.evaluate(f"window.shiftMs = {-2 * HOUR_MS}")
    phone.swipe(n - n // 2)
    phone.back()


def lease_ended(phone: Phone, n: int) -> None:
    """Come back when the cards are anybody's again and another person has answered some of them."""
    phone.join()
    phone.take(n)
    phone.away()
    phone.swipe(n)
    phone.page.route("**/api/labels*", lambda route: route.abort())
    phone.back()
    phone.page.evaluate(GIVE_BACK, phone.session)
    other = Client(phone.house.client.url)
    other.get(f"/api/session?token={phone.house.token}")
    cards = other.get(f"/api/cards?n=20&session={phone.session}")["cards"]
    theirs = [
        {
            "id": f"00000000-0000-4000-8000-{c['card']:012}",
            "card": c["card"],
            "item": c["item"],
            "label": "no",
        }
        for c in cards
    ]
    other.post(f"/api/labels?session={phone.session}", {"events": theirs})
    phone.page.unroute("**/api/labels*")
    phone.page.evaluate("dispatchEvent(new Event('online'))")


SCENARIOS = (no_network, closed_tab, server_restarted, wrong_clock, lease_ended)


def play(phone: Phone, scenario: Callable[[Phone, int], None], n: int) -> dict[str, Any]:  # Any: JSON
    """Return what became of the answers of a scenario."""
    scenario(phone, n)
    phone.arrived()
    return judged(phone.given, phone.house.stored(phone.session))


def judged(given: list[tuple[int, str]], stored: list[tuple[int | None, str | None]]) -> dict[str, Any]:
    """Return how many of the answers given arrived, were lost, came more than once, and whether in order."""
    wanted = {card for card, _ in given}
    mine = [(card, answer) for card, answer in stored if card in wanted]
    seen = Counter(mine)
    arrived = sum(min(1, seen[one]) for one in given)
    return {
        "arrived": arrived,
        "lost": len(given) - arrived,
        "doubled": len(mine) - len(set(mine)) + len(set(mine) - set(given)),
        "in_order": mine == given,
    }


@contextmanager
def house_of(folder: Path, port: int = PORT) -> Iterator[tuple[House, str]]:
    """Give a server on small drawn images, reached by HTTP and by HTTPS, and the mark of its certificate."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for i in range(IMAGES):
        low = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(low).resize((96, 96)).save(folder / "images" / f"{i:03}.png")
    cert, key, mark = self_signed(folder)
    with (
        ExitStack() as stack,
        Relay(port) as plain,
        Relay(port, certificate=(cert, key)) as tls,
    ):
        house = House(folder, port, stack, {"http": plain, "https": tls})
        house.start()
        yield house, mark


def launch(p: "Playwright", mark: str, chromium: str) -> "Browser":
    """Return a browser that knows the phone's name for this machine, and its certificate."""
    own = [f"--host-resolver-rules=MAP {NAME} 127.0.0.1", f"--ignore-certificate-errors-spki-list={mark}"]
    return p.chromium.launch(executable_path=chromium, args=[*BROWSER, *own])


def measure(n: int) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("There is no Chromium. Install it: apt-get install chromium")
    found: dict[str, dict[str, Any]] = {}  # Any: JSON
    with tempfile.TemporaryDirectory() as home, house_of(Path(home)) as (house, mark), sync_playwright() as p:
        browser = launch(p, mark, chromium)
        for scheme in ("http", "https"):
            for scenario in SCENARIOS:
                phone = Phone(browser, house, scheme, house.ask())
                found[f"{scheme} {scenario.__name__}"] = play(phone, scenario, n)
                phone.context.close()
        browser.close()
    sums = {
        name: sum(one[name] for one in found.values()) for name in ("arrived", "lost", "doubled", "in_order")
    }
    return sums | {"swipes": n * len(found), "scenarios": found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.offline", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--swipes", type=int, default=200, choices=(50, 100, 200), help="of each scenario")
    args = parser.parse_args()
    found = measure(args.swipes)
    if args.json:
        print(json.dumps(found))
        return
    for name, value in (found | found.pop("scenarios")).items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
