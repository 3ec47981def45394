"""The deck in a real browser against the real server: a phone's screen, real touch, a network that fails."""

import json
import re
import socket
import time
import urllib.error
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Error as PageError

from benchmarks.server import Client, running

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
READY = ".deck[data-open] .card[data-place='0'][data-ready]"  # seen, and an answer is taken
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SEEN = "localStorage.setItem('labeler.hint', 'seen')"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return a server on 150 small drawn images, a few of them wide or tall, one larger than a tile."""
    folder = tmp_path_factory.mktemp("deck")
    draw(folder / "images", 150, {1: (1400, 1000), 2: (300, 40), 3: (40, 300)})
    with running("--images", str(folder / "images"), "--workspace", str(folder / "ws")) as started:
        client = Client(started.url)
        until(lambda: client.get("/api/session")["embedded"] == 150, limit_s=120)
        yield started


def draw(folder, n, sizes=None, *, seed=1):
    """Draw n small images of which no two are alike; `sizes`: of those that are not square."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        low = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(low).resize((sizes or {}).get(i, (96, 96))).save(folder / f"{i:03}.png")


class Deck:
    """One browser tab with a deck of its own session."""

    def __init__(self, page, client, session):
        self.page, self.client, self.session = page, client, session
        self.touch = page.context.new_cdp_session(page)
        self.errors = []
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("console", lambda m: self.errors.append(m.text) if "Content Security" in m.text else None)

    def open(self, more=""):
        """Open the deck; more: "&shell" for a page without a card, so that it asks for all of them."""
        self.page.goto(f"{self.client.url}/swipe?session={self.session}{more}")
        self.page.wait_for_selector(READY, timeout=20_000)
        return self

    def card(self):
        """Return the id of the card that can be answered now."""
        return int(self.page.wait_for_selector(READY, timeout=10_000).get_attribute("data-card"))

    def next(self, before):
        """Wait until another card than `before` can be answered; return its id."""
        other = self.page.locator(f"{READY}:not([data-card='{before}'])")
        until(lambda: other.count() or self.page.wait_for_timeout(10), say=self.scene)
        return self.card()

    def scene(self):
        """Return what the page shows, for a test that waited in vain."""
        cards = self.page.locator(".card").evaluate_all("all => all.map((e) => e.outerHTML.slice(0, 260))")
        return "\n".join([self.page.locator(".deck").inner_text(), *cards, *self.errors])

    def fingers(self, kind, *points, at=None):
        """Send one touch event; `at`: its own time in seconds, however slow this machine is."""
        where = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        when = {} if at is None else {"timestamp": at}
        self.touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where} | when)

    def middle(self):
        box = self.page.locator(".stage").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, *way, steps=6, pause_ms=12):
        """Put a finger down in the middle and move it through the points of `way`; leave it there."""
        x, y = self.middle()
        at = time.time()
        self.fingers("touchStart", (x, y), at=at)
        here = (0, 0)
        for dx, dy in way:
            for i in range(1, steps + 1):
                self.page.wait_for_timeout(pause_ms)
                at += pause_ms / 1000
                point = (x + here[0] + (dx - here[0]) * i / steps, y + here[1] + (dy - here[1]) * i / steps)
                self.fingers("touchMove", point, at=at)
            here = (dx, dy)
        return at

    def swipe(self, *way, **how):
        self.fingers("touchEnd", at=self.drag(*way, **how) + 0.004)

    def tap(self, *, times=1):
        """Tap the middle for 20 ms, and again 60 ms later, by the finger's own clock."""
        at = time.time()
        for _ in range(times):
            self.fingers("touchStart", self.middle(), at=at)
            self.fingers("touchEnd", at=at + 0.02)
            at += 0.08

    def key(self, key):
        """Press a key that answers; wait for the next card."""
        before = self.card()
        self.page.keyboard.press(key)
        return self.next(before)

    def status(self):
        return self.client.get(f"/api/session?session={self.session}")

    def counts(self):
        return {k: v for k, v in self.status()["counts"].items() if v}

    def stored(self, **counts):
        """Wait until exactly these answers are stored."""
        until(lambda: self.counts() == counts, say=lambda: f"{self.counts()} instead of {counts}")

    def unmoved(self, ms=400):
        """Assert that nothing was answered: the card is back in its place, the server has nothing."""
        self.page.wait_for_timeout(ms)
        assert self.page.locator(READY).evaluate("e => e.style.transform") == ""
        assert self.page.inner_text(".figures").endswith("0 answered")
        assert self.status()["events"] == 0


def until(done, *, limit_s=15, say=lambda: "it did not come to pass"):
    """Wait until done() is true; between two looks the page may go on."""
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, say()
        time.sleep(0.05)


def comes_true(page, expression):
    """Wait until an expression is true in the page. Playwright's own wait may need `eval`: refused."""
    until(lambda: page.evaluate(f"Boolean({expression})"), say=lambda: f"never true: {expression}")


@pytest.fixture
def decks(server, browser):
    """Return a function that makes a deck: on a phone, past the hint, on a new session."""
    contexts, made = [], []

    def make(labels=("yes", "no"), *, session=None, context=None, hint=False, script=None, **options):
        client = Client(server.url)
        if session is None:
            name = f"Is this one of them? ({time.time_ns()})"
            session = client.post("/api/sessions", {"question": name, "labels": list(labels)})["id"]
            until(lambda: client.get(f"/api/session?session={session}")["round"] > 0)
        if context is None:
            phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
            context = browser.new_context(**phone | options)
            contexts.append(context)
        page = context.new_page()
        if not hint:
            page.add_init_script(SEEN)
        if script:
            page.add_init_script(script)
        made.append(Deck(page, client, session))
        return made[-1]

    yield make
    for deck in made:
        assert deck.errors == []
    for context in contexts:
        context.close()


@contextmanager
def broken(page, pattern, answer):
    """Let `answer` handle the requests that match while the block runs."""
    page.route(pattern, answer)
    try:
        yield
    finally:
        if not page.is_closed():
            page.unroute(pattern)


def refuse(status, body=None):
    text = json.dumps(body or {"error": "No.", "do": "Wait."})
    return lambda route: route.fulfill(status=status, body=text, content_type="application/json")


# swiping ------------------------------------------------------------------------------------


def test_each_gesture_gives_its_answer_once(decks):
    deck = decks().open()
    for way, label in [((170, 20), "yes"), ((-170, 20), "no"), ((10, -200), "unsure")]:
        before = deck.card()
        deck.swipe(way)
        deck.next(before)
        until(lambda label=label: deck.counts().get(label) == 1)
    before = deck.card()
    deck.page.click("[data-value=skip]")
    deck.next(before)
    deck.stored(yes=1, no=1, unsure=1, skip=1)
    assert deck.status()["events"] == 4


def test_the_card_says_the_answer_in_word_icon_and_colour(decks):
    deck = decks().open()
    deck.drag((120, 0))
    deck.page.wait_for_timeout(100)
    stamp = deck.page.locator(f"{READY} .stamp")
    assert stamp.inner_text().lower() == "yes"
    assert stamp.locator("svg").count() == 1
    assert float(stamp.evaluate("e => getComputedStyle(e).opacity")) > 0.9
    yes = stamp.evaluate("e => getComputedStyle(e).backgroundColor")
    deck.fingers("touchCancel")
    deck.drag((-120, 0))
    deck.page.wait_for_timeout(100)
    assert stamp.inner_text().lower() == "no"
    assert stamp.evaluate("e => getComputedStyle(e).backgroundColor") != yes
    deck.fingers("touchCancel")
    deck.unmoved()


@pytest.mark.parametrize(
    "way",
    [[(60, 0)], [(0, 200)], [(190, 0), (15, 0)], [(20, 20)]],
    ids=["too short and slow", "down", "pulled back", "hardly moved"],
)
def test_what_is_no_swipe_springs_back(decks, way):
    deck = decks().open()
    deck.swipe(*way, steps=8, pause_ms=40)
    deck.unmoved()


def test_a_quick_short_flick_is_a_swipe(decks):
    deck = decks().open()
    before = deck.card()
    deck.swipe((70, 0), steps=4, pause_ms=8)
    deck.next(before)
    deck.stored(yes=1)


def test_a_bounce_at_the_end_of_a_fling_never_turns_the_answer_round(decks):
    """zooniverse/mobile#128."""
    deck = decks().open()
    before = deck.card()
    at = deck.drag((220, 0), (190, 0), steps=3, pause_ms=6)
    deck.fingers("touchEnd", at=at + 0.004)
    x, y = deck.middle()
    deck.fingers("touchStart", (x, y), at=at + 0.02)
    for i in range(1, 4):
        deck.fingers("touchMove", (x - 40 * i, y), at=at + 0.02 + i * 0.008)
    deck.fingers("touchEnd", at=at + 0.05)
    deck.next(before)
    deck.page.wait_for_timeout(400)
    deck.stored(yes=1)


def test_a_cancelled_touch_springs_back(decks):
    deck = decks().open()
    deck.drag((200, 0))
    deck.fingers("touchCancel")
    deck.unmoved()


def test_a_second_finger_never_answers(decks):
    deck = decks().open()
    x, y = deck.middle()
    deck.fingers("touchStart", (x, y))
    deck.fingers("touchMove", (x + 120, y))
    deck.fingers("touchStart", (x + 120, y), (x - 60, y + 40))
    deck.fingers("touchMove", (x + 160, y), (x - 60, y + 40))
    deck.fingers("touchEnd", (x + 160, y))
    deck.fingers("touchMove", (x - 160, y))
    deck.fingers("touchEnd")
    deck.page.keyboard.press("Escape")
    deck.unmoved()


def test_equal_swipes_in_a_row_are_as_many_answers(decks):
    """jtleek/papr#2: the same value twice is no change."""
    deck = decks().open()
    for _ in range(6):
        before = deck.card()
        deck.swipe((170, 0), steps=3, pause_ms=4)
        deck.next(before)
    deck.stored(yes=6)


def test_a_card_is_answered_only_when_it_has_been_seen(decks):
    """zooniverse/mobile#179: people answer the card at the back while the front one loads."""
    deck = decks()
    held, waits = [], [True]
    deck.page.route("**/tiles/**", lambda route: held.append(route) if waits else route.continue_())
    deck.page.goto(f"{deck.client.url}/swipe?session={deck.session}", wait_until="commit")
    until(lambda: len(held) >= 10 or deck.page.wait_for_timeout(50))
    for key in ("ArrowRight", "ArrowLeft", "1", "l"):
        deck.page.keyboard.press(key)
    deck.swipe((170, 0))
    assert deck.page.locator(READY).count() == 0
    waits.clear()
    for route in held:
        route.continue_()
    deck.card()
    deck.unmoved()


def test_a_held_key_and_a_double_press_answer_once(decks):
    deck = decks().open()
    before = deck.card()
    deck.page.keyboard.down("ArrowRight")
    for _ in range(5):
        deck.page.keyboard.down("ArrowRight")  # the keyboard repeats
    deck.page.keyboard.up("ArrowRight")
    deck.next(before)
    deck.stored(yes=1)
    deck.page.evaluate("() => { const b = document.querySelector('[data-value=no]'); b.click(); b.click(); }")
    deck.stored(yes=1, no=1)


SOON = """async () => {
  const top = () => document.querySelector(".card[data-place='0'][data-ready]")?.dataset.card;
  const first = top();
  dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  while (!top() || top() === first) await new Promise((done) => setTimeout(done, 4));
  document.querySelector("[data-value=no]").click();
}"""


def test_a_button_soon_after_a_key_is_an_answer(decks):
    """The guard against double presses swallowed any button within 150 ms of any answer."""
    deck = decks().open()
    deck.page.evaluate(SOON)
    deck.stored(yes=1, no=1)


# looking closer -------------------------------------------------------------------------------


def test_double_tap_zooms_then_a_finger_pans_and_never_answers(decks):
    deck = decks().open()
    deck.tap(times=2)
    deck.page.wait_for_timeout(400)
    card = deck.page.locator(READY)
    assert "scale(2.5)" in card.evaluate("e => e.style.transform")
    before = card.evaluate("e => e.style.transform")
    deck.swipe((170, 0))
    deck.swipe((-170, -90))
    assert "scale(2.5)" in card.evaluate("e => e.style.transform")
    assert card.evaluate("e => e.style.transform") != before
    deck.tap(times=2)
    deck.unmoved()
    first = deck.card()
    deck.swipe((170, 0))
    deck.next(first)
    deck.stored(yes=1)


def test_pinch_zooms_and_what_is_left_of_it_never_answers(decks):
    deck = decks().open()
    x, y = deck.middle()
    deck.fingers("touchStart", (x - 40, y))
    deck.fingers("touchStart", (x - 40, y), (x + 40, y))
    for i in range(1, 9):
        deck.fingers("touchMove", (x - 40 - 10 * i, y), (x + 40 + 10 * i, y))
    scale = re.search(r"scale\(([\d.]+)\)", deck.page.locator(READY).evaluate("e => e.style.transform"))
    assert 2.5 < float(scale[1]) < 3.5
    deck.fingers("touchEnd", (x - 120, y))
    deck.fingers("touchMove", (x + 160, y))
    deck.fingers("touchEnd")
    deck.page.keyboard.press("Space")
    deck.unmoved()


def test_space_zooms_and_a_large_image_gets_sharper(decks):
    deck = decks()

    def enlarge(route):
        cards = route.fetch().json()["cards"]
        route.fulfill(json={"cards": [card | {"width": 1400, "height": 1000} for card in cards]})

    deck.page.route("**/api/cards*", enlarge)
    deck.open("&shell")
    deck.page.keyboard.press("Space")
    deck.page.locator("img[src*='w=1024']").wait_for(state="attached")
    deck.page.keyboard.press("Space")
    assert deck.page.locator(READY).evaluate("e => e.style.transform") == ""


def test_a_button_zooms_in_and_out(decks):
    deck = decks().open()
    button = deck.page.get_by_role("button", name="Zoom (space)")
    button.click()
    assert "scale(2.5)" in deck.page.locator(READY).evaluate("e => e.style.transform")
    button.click()
    deck.unmoved()


def item_of(deck):
    deck.card()
    return int(re.search(r"/tiles/(\d+)", deck.page.locator(f"{READY} img").get_attribute("src"))[1])


# keys, buttons, layouts --------------------------------------------------------------------------


def test_every_key_does_what_help_says(decks):
    deck = decks().open()
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "l", "1", "2"):
        deck.key(key)
    deck.stored(yes=2, no=2, unsure=1, skip=1)
    deck.key("z")
    deck.key("Backspace")
    deck.stored(yes=1, no=1, unsure=1, skip=1)
    deck.page.keyboard.press("?")
    assert deck.page.locator("dialog.help").is_visible()
    deck.page.keyboard.press("ArrowRight")
    deck.page.keyboard.press("Escape")
    assert not deck.page.locator("dialog.help").is_visible()
    deck.stored(yes=1, no=1, unsure=1, skip=1)


def test_nine_labels_have_chips_and_keys(decks):
    labels = [*("crater", "dune", "track", "devil", "rock", "ice", "boulders", "nothing"), "<b>'more'</b> &"]
    deck = decks(labels).open()
    chips = deck.page.locator(".answers button")
    assert deck.page.locator(".answers .word").all_text_contents() == labels
    assert deck.page.locator(".answers b:not(.digit)").count() == 0
    for key in "123456789":
        deck.key(key)
    before = deck.card()
    chips.nth(8).click()
    deck.next(before)
    before = deck.card()
    deck.swipe((-170, 0))
    deck.next(before)
    deck.stored(**dict(Counter([*labels, labels[8], labels[1]])))


SCREENS = [((390, 844), "right"), ((360, 640), "left"), ((844, 390), "right"), ((844, 390), "left")]
SCREENS += [((820, 1180), "right"), ((1440, 900), "left")]


@pytest.mark.parametrize("labels", [("yes", "no"), tuple("abcdefghi")], ids=["two labels", "nine labels"])
def test_it_fits_every_screen_with_buttons_for_thumbs(decks, labels):
    deck = decks(labels).open()
    for (width, height), hand in SCREENS:
        deck.page.evaluate("(hand) => { document.querySelector('.deck').dataset.hand = hand; }", hand)
        deck.page.set_viewport_size({"width": width, "height": height})
        deck.page.wait_for_timeout(100)
        fits(deck, width, height, len(labels))


def fits(deck, width, height, labels):
    """Assert that everything lies within the window, and is large enough for a thumb."""
    boxes = deck.page.eval_on_selector_all(
        "button, .stage, .card[data-ready]",
        "all => all.filter(e => e.offsetParent).map(e => [e.className, e.getBoundingClientRect()])",
    )
    assert len(boxes) >= labels + 7
    values = deck.page.locator(".tools button").evaluate_all("all => all.map(e => e.dataset.value)")
    assert "zoom" in values
    for name, box in boxes:
        assert box["left"] >= 0, (name, box)
        assert box["top"] >= 0, (name, box)
        assert box["right"] <= width + 0.5, (name, box)
        assert box["bottom"] <= height + 0.5, (name, box)
        if "card" not in name and "stage" not in name:
            assert min(box["width"], box["height"]) >= 48, (name, box)
    card = next(box for name, box in boxes if name == "card")
    sides = sorted((card["width"], card["height"]))
    assert sides[0] * sides[1] > 0.1 * width * height or sides[0] < 130
    assert deck.page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
    assert deck.page.evaluate("getComputedStyle(document.documentElement).overscrollBehaviorY") == "none"


def test_the_mirror_switch_is_remembered(decks):
    deck = decks(viewport={"width": 844, "height": 390}).open()
    x = deck.page.locator("[data-value=yes]").bounding_box()["x"]
    deck.page.click(".ask")
    deck.page.click("text=Left hand")
    deck.page.click("dialog.help [aria-label=Close]")
    assert deck.page.locator("[data-value=yes]").bounding_box()["x"] < 100 < x
    deck.page.reload()
    deck.card()
    assert deck.page.locator("[data-value=yes]").bounding_box()["x"] < 100


def test_gestures_of_the_page_stay_out(decks):
    deck = decks().open()
    style = "e => { const s = getComputedStyle(e); return [s.touchAction, s.userSelect]; }"
    assert deck.page.locator(".stage").evaluate(style) == ["none", "none"]
    _, y = deck.middle()
    deck.fingers("touchStart", (4, y))
    for i in range(1, 12):
        deck.fingers("touchMove", (4 + 4 * i, y + 20 * i))
    deck.fingers("touchEnd")
    assert deck.page.evaluate("getSelection().toString()") == ""
    assert "/swipe" in deck.page.url
    deck.unmoved()


def test_the_hint_shows_three_gestures_once_and_is_not_in_the_way(decks):
    deck = decks(hint=True).open()
    assert deck.page.locator(".hint .gesture").all_text_contents() == ["no", "yes", "Can’t tell"]
    before = deck.card()
    deck.swipe((170, 0))  # the picture was hardly seen yet: this puts the hint away, and is no answer
    until(lambda: deck.page.locator(".hint").count() == 0)
    deck.page.wait_for_timeout(300)
    assert deck.card() == before
    deck.swipe((170, 0))
    deck.next(before)
    deck.stored(yes=1)
    deck.page.reload()
    deck.card()
    assert deck.page.locator(".hint").count() == 0


def test_a_screen_reader_hears_what_happens(decks):
    deck = decks().open()
    assert deck.page.get_by_role("button", name="yes").count() == 1
    assert deck.page.get_by_role("group", name=re.compile("Is this one of them")).count() == 1
    assert deck.page.locator(".card:not([aria-hidden]) img").get_attribute("alt").startswith("Image ")
    deck.key("ArrowRight")
    until(lambda: deck.page.inner_text(".live").strip() == "yes. 1 image answered.")
    deck.key("z")
    until(lambda: "Taken back" in deck.page.inner_text(".live"))


def test_dark_and_calm_follow_the_system(decks):
    deck = decks(color_scheme="dark", reduced_motion="reduce").open()
    assert deck.page.locator(".deck").get_attribute("data-theme") == "dark"
    deck.drag((100, 0))
    deck.page.wait_for_timeout(60)
    assert "rotate(0deg)" in deck.page.locator(READY).evaluate("e => e.style.transform")
    deck.fingers("touchCancel")
    before = deck.card()
    deck.swipe((170, 0))
    deck.next(before)
    deck.page.emulate_media(color_scheme="light")
    deck.page.locator(".deck[data-theme=light]").wait_for()


# waiting, losing, undoing ------------------------------------------------------------------------


def test_ten_images_are_ahead(decks):
    """mapswipe#63, #874: waiting for each image is the loudest complaint."""
    deck = decks().open()
    deck.page.wait_for_load_state("networkidle")
    deck.page.context.set_offline(True)
    for _ in range(10):
        deck.key("ArrowLeft")
    deck.page.context.set_offline(False)
    deck.stored(no=10)


def test_answers_outlive_the_network_a_reload_and_the_tab(decks):
    deck = decks(script=NO_LAST_WORD).open()
    with broken(deck.page, "**/api/labels*", lambda route: route.abort()):
        for _ in range(3):
            deck.key("ArrowRight")
        deck.page.get_by_text("3 waiting").wait_for()
        deck.page.reload()
        deck.card()
        deck.key("ArrowLeft")
        assert deck.counts() == {}
        context = deck.page.context
        deck.page.close()
    again = decks(session=deck.session, context=context).open()
    again.stored(yes=3, no=1)
    assert again.status()["events"] == 4
    until(lambda: again.page.evaluate(LEFT) == 0)


def test_closing_the_tab_hands_over_what_waits(decks):
    deck = decks().open()
    deck.page.keyboard.press("ArrowRight")
    deck.page.close(run_before_unload=True)
    deck.stored(yes=1)


# a page that closes hands its answers to the browser; this stands for one that had no time for it
NO_LAST_WORD = """const real = window.fetch;
  let over = false;
  addEventListener("pagehide", () => { over = true; });
  window.fetch = (...how) => over ? Promise.reject(new TypeError()) : real(...how);"""
LEFT = """() => new Promise((done) => { const ask = indexedDB.open("labeler-deck", 1);
  ask.onsuccess = () => { const c = ask.result.transaction("outbox").objectStore("outbox").count();
    c.onsuccess = () => done(c.result); }; })"""


def test_an_answer_whose_receipt_was_lost_counts_once(decks):
    deck = decks().open()
    sent = []

    def lose(route):
        sent.append(route.request.post_data_json["events"])
        if len(sent) > 2:
            route.continue_()
            return
        route.fetch()
        route.abort()

    # Taking a handler away while it fetches would let its request go on: it stays.
    deck.page.route("**/api/labels*", lose)
    deck.key("ArrowRight")
    until(lambda: len(sent) >= 2 or deck.page.wait_for_timeout(50))
    assert sent[0][0]["id"] == sent[1][0]["id"]
    assert UUID4.fullmatch(sent[0][0]["id"])
    until(lambda: deck.page.evaluate(LEFT) == 0)
    deck.stored(yes=1)
    assert deck.status()["events"] == 1


def test_a_server_in_trouble_is_asked_again_and_cards_already_here_go_on(decks):
    deck = decks().open()
    deck.page.wait_for_load_state("networkidle")
    with broken(deck.page, "**/api/**", refuse(503)):
        for _ in range(12):
            deck.key("ArrowRight")
        deck.page.get_by_text("12 waiting").wait_for()
    deck.stored(yes=12)
    deck.page.locator(".waiting").wait_for(state="hidden")


@contextmanager
def serving(folder, port):
    """Serve a folder's images at a port, whatever was served there before."""

    def is_free():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) != 0

    until(is_free)
    where = ("--images", str(folder / "images"), "--workspace", str(folder / "ws"), "--port", str(port))
    with running(*where) as started:
        assert started.url.endswith(f":{port}")
        client = Client(started.url)
        until(lambda: client.get("/api/session")["embedded"] == 12, limit_s=60)
        yield client


def begun_anew(page):
    """Return whether the page was loaded again since `window.old` was set; it may be about to."""
    try:
        return not page.evaluate("window.old")
    except PageError:
        return False


def test_answers_never_go_to_other_images_at_the_same_address(browser, tmp_path):
    """Every workspace is served at localhost:8501 by default, and each has a session 1."""
    for seed, name in enumerate("ab"):
        draw(tmp_path / name / "images", 12, seed=seed)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.add_init_script(SEEN)
    with serving(tmp_path / "a", port) as client:
        deck = Deck(page, client, 1).open()
        page.wait_for_load_state("networkidle")
    for _ in range(3):
        deck.key("ArrowRight")
    page.get_by_text("3 waiting").wait_for()
    page.evaluate("window.old = true")
    with serving(tmp_path / "b", port) as deck.client:
        until(lambda: begun_anew(page), limit_s=30)  # by itself
        deck.open()
        page.wait_for_timeout(1500)
        assert deck.status()["events"] == 0
        assert not page.locator(".waiting").is_visible()
        assert page.inner_text(".figures").endswith("0 answered")
        assert page.evaluate(LEFT) == 3
        deck.key("ArrowLeft")
        deck.stored(no=1)
        with pytest.raises(urllib.error.HTTPError, match="409"):
            deck.client.post("/api/labels?session=1", {"events": [], "workspace": "another"})
    page.evaluate("window.old = true")
    with serving(tmp_path / "a", port) as deck.client:
        until(lambda: begun_anew(page), limit_s=30)  # by itself again
        deck.open()
        deck.stored(yes=3)
        assert deck.status()["events"] == 3
        until(lambda: page.evaluate(LEFT) == 0)
    assert deck.errors == []
    context.close()


def test_an_answer_for_other_images_is_kept_whole_and_never_rejected(decks):
    deck = decks().open()
    body = {"error": "These answers belong to other images.", "do": "Reload the page."}
    groups = []

    def send_back(route):
        groups.append(len(route.request.post_data_json["events"]))
        refuse(409, body)(route)

    with broken(deck.page, "**/api/labels*", send_back):
        for _ in range(3):
            deck.key("ArrowRight")
        deck.page.get_by_text("3 waiting").wait_for()
        until(lambda: groups or deck.page.wait_for_timeout(50))
        deck.page.wait_for_timeout(1000)
        assert deck.page.evaluate(LEFT) == 3
    deck.page.reload()
    deck.stored(yes=3)
    assert deck.status()["events"] == 3


def test_a_rejected_answer_is_told_and_does_not_hold_back_the_rest(decks):
    deck = decks().open()

    def spoil(route):
        events = route.request.post_data_json["events"]
        events[0]["label"] = "maybe"
        route.continue_(post_data=json.dumps({"events": events}))

    with broken(deck.page, "**/api/labels*", spoil):
        deck.key("ArrowRight")
        deck.page.get_by_text("1 answer was not accepted").wait_for()
    deck.key("ArrowLeft")
    deck.stored(no=1)


FOREIGN = [  # what a network that asks to log in, or a proxy, answers by itself
    (200, "application/json", "{}"), (200, "application/json", '{"accepted": true}'),
    (200, "text/html", "<html>Log in"), (400, "text/html", "<html>bad"), (401, "text/html", "<html>pay"),
    (403, "application/json", '{"error": "blocked"}'), (404, "text/html", "<html>gone"),
    (405, "text/html", "<html>no"), (409, "text/plain", "no"), (413, "text/html", "<html>large"),
    (422, "application/json", '{"detail": "no"}'), (511, "text/html", "<html>portal"),
]  # fmt: skip


def test_what_a_network_on_the_way_says_for_itself_never_takes_an_answer(decks):
    deck = decks().open()
    deck.page.wait_for_load_state("networkidle")
    said = []

    def reply(route):
        status, kind, body = FOREIGN[len(said) % len(FOREIGN)]
        said.append(status)
        route.fulfill(status=status, content_type=kind, body=body)

    with broken(deck.page, "**/api/labels*", reply):
        for _ in range(3):
            deck.key("ArrowRight")

        def all_said():  # and some twice: an answer that was refused among others is sent again alone
            deck.page.evaluate("dispatchEvent(new Event('online'))")
            return len(said) >= len(FOREIGN) + 4 or deck.page.wait_for_timeout(40)

        until(all_said, limit_s=60, say=lambda: f"nothing is sent any more after {said}")
        assert deck.page.evaluate(LEFT) == 3
    deck.page.evaluate("dispatchEvent(new Event('online'))")
    deck.stored(yes=3)
    until(lambda: deck.page.evaluate(LEFT) == 0)


def test_a_page_that_asks_to_log_in_is_no_picture_of_a_pack_and_loses_none(decks):
    deck = decks().open()
    foreign = [(200, "text/html"), (404, "text/html")]

    def reply(route):
        if not foreign:
            return route.continue_()
        status, kind = foreign.pop(0)
        return route.fulfill(status=status, content_type=kind, body="<html>Log in")

    with broken(deck.page, "**/tiles/*?pack", reply):
        got = deck.page.evaluate(
            """async () => {
              const { Pack } = await import(`/${document.querySelector("#labeler-deck").dataset.pack}`);
              const lost = [], item = document.querySelector(".card img").src.match(/tiles.(\\d+)/)[1];
              const got = await Pack.prototype.fetchTile({ info: { url: `/tiles/${item}?pack` } }, lost);
              return [got?.type, got?.data.byteLength > 0, lost.length];
            }"""
        )
    assert not foreign
    assert got[0].startswith("image/")
    assert got[1:] == [True, 0]


def test_a_link_that_was_withdrawn_is_said_and_the_answer_kept(decks):
    deck = decks().open()
    body = {"error": "This link no longer lets you answer.", "do": "Ask for a new one."}
    with broken(deck.page, "**/api/**", refuse(403, body)):
        deck.page.keyboard.press("ArrowRight")
        deck.page.get_by_text("This link no longer lets you answer.").wait_for()
        assert "Ask for a new one. 1 answer is kept in this browser." in deck.page.inner_text(".state")
        deck.page.keyboard.press("ArrowRight")
        assert deck.page.evaluate(LEFT) == 1


def test_undo_goes_back_any_number_of_steps_and_across_a_reload(decks):
    """Panoptes-Front-End#1342, mapswipe#180."""
    deck = decks().open()
    items = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "l", "ArrowRight"):
        items.append(item_of(deck))
        deck.key(key)
    deck.stored(yes=2, no=1, unsure=1, skip=1)
    for i in (4, 3):
        deck.key("z")
        assert item_of(deck) == items[i]
    deck.stored(yes=1, no=1, unsure=1)
    deck.page.reload()
    deck.card()
    for i in (2, 1, 0):
        deck.page.click("[data-value=undo]")
        until(lambda i=i: item_of(deck) == items[i], say=lambda: f"{item_of(deck)} of {items}")
    deck.stored()
    assert deck.status()["events"] == 10  # what was taken back stays in the log
    deck.page.keyboard.press("z")
    deck.page.get_by_text("nothing to undo", exact=False).wait_for()
    deck.key("ArrowRight")
    deck.stored(yes=1)


def test_undo_works_without_network_for_what_this_browser_remembers(decks):
    deck = decks().open()
    deck.page.wait_for_load_state("networkidle")
    first = item_of(deck)
    deck.page.context.set_offline(True)
    deck.key("ArrowRight")
    deck.key("ArrowRight")
    deck.key("z")
    deck.key("z")
    assert item_of(deck) == first
    deck.key("ArrowLeft")
    deck.page.context.set_offline(False)
    deck.stored(no=1)
    assert deck.status()["events"] == 5


def test_without_a_database_it_says_so_and_still_sends(decks):
    missing = "Object.defineProperty(window, 'indexedDB', { get() { throw new Error('no'); } })"
    deck = decks(script=missing).open()
    assert "Keep the page open" in deck.page.inner_text(".note")
    deck.key("ArrowRight")
    deck.stored(yes=1)


def test_an_image_that_does_not_come_is_left_out(decks):
    deck = decks()
    deck.page.route("**/tiles/**", lambda route: route.abort() if broken_tile(route) else route.continue_())
    bad = set()

    def broken_tile(route):
        if not bad:
            bad.add(route.request.url)
        return route.request.url in bad

    deck.page.goto(f"{deck.client.url}/swipe?session={deck.session}")
    deck.page.get_by_text("One image could not be shown").wait_for(timeout=20_000)
    deck.key("ArrowRight")
    deck.stored(yes=1)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"worker": "embedding", "embedded": 120, "total": 10000, "stage": "embedding"}, "120 of 10,000"),
        ({"counts": {"yes": 100, "no": 50}, "worker": "idle", "stage": "done"}, "Every image here has an"),
        ({"counts": {"yes": 99, "no": 51}, "images": 160, "worker": "idle", "stage": "done"}, "Every image"),
        ({"counts": {"yes": 100, "no": 45, "skip": 5}, "worker": "idle", "stage": "done"}, "put off"),
        ({"worker": "idle", "stage": None}, "Nothing to ask right now"),
    ],
)
def test_no_card_is_explained(decks, facts, said):
    deck = decks()
    full = deck.status() | facts
    deck.page.route("**/api/session*", lambda route: route.fulfill(json=full))
    deck.page.route("**/api/cards*", lambda route: route.fulfill(json={"cards": []}))
    deck.page.goto(f"{deck.client.url}/swipe?session={deck.session}&shell")
    deck.page.get_by_text(said).wait_for(timeout=15_000)


def test_no_server_and_no_session_are_explained(decks):
    deck = decks()
    with broken(deck.page, "**/api/session*", lambda route: route.abort()):
        deck.page.goto(f"{deck.client.url}/swipe?session={deck.session}&shell")
        deck.page.get_by_text("The server can’t be reached.").wait_for()
    deck.page.get_by_text("Try now").click()
    deck.card()
    deck.page.goto(f"{deck.client.url}/swipe?session=999999")
    until(lambda: "999999" in deck.page.inner_text(".state") or deck.page.wait_for_timeout(50))


# progress ------------------------------------------------------------------------------------------


def test_progress_counts_at_once_and_draws_finds_per_round(decks):
    deck = decks()
    rounds = [{"round": i, "shown": 20 * i, "found": found} for i, found in enumerate([0, 4, 11, 13])]
    full = deck.status() | {"rounds": rounds}
    deck.page.route("**/api/session*", lambda route: route.fulfill(json=full))
    deck.open("&shell")
    deck.key("ArrowRight")
    deck.key("ArrowLeft")
    until(lambda: deck.page.inner_text(".figures") == "1 found · 2 answered")
    deck.page.click(".stats")
    assert deck.page.locator("svg.chart").get_attribute("aria-label") == "Found in each round: 4, 7, 2."
    assert "2 of 20" in deck.page.inner_text(".this-round")


def test_why_is_off_and_only_for_the_owner(decks):
    deck = decks().open()
    assert not deck.page.locator(".why").is_visible()
    deck.page.click(".ask")
    deck.page.click("text=Say why")
    deck.page.keyboard.press("Escape")
    assert deck.page.locator(".why").is_visible()


# the light page and Streamlit's component ---------------------------------------------------------------


def test_the_light_page_weighs_less_than_60_kb(decks):
    """With all that follows until it is quiet: cards, icon, and what the service worker keeps."""
    deck = decks()
    bodies = {}
    deck.page.context.on("response", lambda r: bodies.update({r.url: r}) if "/tiles/" not in r.url else None)
    deck.open()
    comes_true(deck.page, "navigator.serviceWorker.controller")
    deck.page.wait_for_load_state("networkidle")
    page = {url.split("/")[-1].split("?")[0] for url in bodies if "/api/" not in url}
    assert {"swipe", "deck.js"} <= page <= {"swipe", "deck.js", "pack.js", "take.js", "icon.svg", "keeper.js"}
    sizes = {
        url: sum(r.request.sizes()[k] for k in ("responseBodySize", "responseHeadersSize"))
        for url, r in bodies.items()
    }
    assert sum(sizes.values()) < 45_000, sizes


def test_two_calls_of_the_component_make_one_deck_and_one_trigger_per_round(decks):
    """Streamlit calls again with the same parent when data change; a stale clean-up must not end it."""
    deck = decks()
    bare = {"body": "<!doctype html><body>", "content_type": "text/html"}
    deck.page.route("**/swipe", lambda route: route.fulfill(**bare))
    deck.page.goto(f"{deck.client.url}/swipe")
    rounds = []
    deck.page.expose_function("fired", lambda name, value: rounds.append((name, value)))
    shown = deck.page.evaluate(
        """async (session) => {
          const deck = await import("/deck/deck.js?component");
          const { default: show } = await import("/deck/streamlit.js");
          const host = document.body.appendChild(document.createElement("div"));
          const parent = host.attachShadow({ mode: "open" });
          host.style.cssText = "display: block; height: 600px";
          parent.appendChild(document.createElement("style")).textContent = '@import url("/deck/deck.css");';
          const make = (data) => show({ parentElement: parent, data, setTriggerValue: window.fired }, deck);
          const [first, second] = [make({ session }), make({ session, theme: "dark" })];
          first();
          const after = parent.querySelectorAll(".deck").length;
          window.finish = second;
          window.deckRoot = parent;
          return [after, parent.querySelector(".deck").dataset.theme];
        }""",
        deck.session,
    )
    assert shown == [1, "dark"]
    before = deck.status()["round"]
    for _ in range(22):
        deck.key("ArrowRight")
    until(lambda: deck.status()["round"] > before or deck.page.wait_for_timeout(50), limit_s=30)

    def go_on():
        """The first round that a deck hears of it does not tell; of a slow server that may be this one."""
        deck.key("ArrowRight")
        deck.page.wait_for_timeout(50)

    until(lambda: rounds or go_on(), limit_s=30)
    deck.page.wait_for_timeout(300)
    assert [name for name, _ in rounds] == ["round"] * len(rounds)
    assert len({value for _, value in rounds}) == len(rounds)
    deck.page.evaluate("() => window.finish()")
    assert deck.page.evaluate("() => window.deckRoot.querySelectorAll('.deck').length") == 0


def test_a_token_does_not_stay_in_the_address(decks):
    deck = decks()
    deck.page.goto(f"{deck.client.url}/swipe?session={deck.session}&token=abc")
    deck.card()
    assert "token" not in deck.page.url
