"""A phone without a network: packs, the outbox, the service worker; over plain HTTP and over HTTPS."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import uvicorn

from benchmarks.offline import HOUR_MS, IMAGES, READY, Phone, house_of, judged, launch
from benchmarks.server import Client
from labeler.server import desk as desk_module
from labeler.server import light
from tests.pools import make_pool
from tests.served import Still, begin, build
from tests.test_deck import PHONE, SEEN, comes_true, until
from tests.test_light import forget

pytestmark = pytest.mark.browser

N = 200
CACHED = """async () => Promise.all((await caches.keys()).map(async (room) =>
  (await (await caches.open(room)).keys()).map((r) => r.url.replace(location.origin, ""))))"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory, driver, chromium):
    """Return a server reached by plain HTTP and by HTTPS, and a browser that knows its name."""
    if shutil.which("openssl") is None:
        pytest.skip("There is no openssl to make a certificate with; install it to run these tests")
    with house_of(tmp_path_factory.mktemp("away") / "house", free_port()) as (house, mark):
        browser = launch(driver, mark, chromium)
        yield house, browser
        browser.close()


@pytest.fixture
def phones(place):
    """Return a function that gives a phone on a session of its own; nothing goes wrong in its pages."""
    house, browser = place
    made, errors = [], []

    def make(scheme, session=None):
        phone = Phone(browser, house, scheme, session or house.ask())
        phone.context.on("weberror", lambda e: errors.append(str(e.error)))
        made.append(phone)
        return phone

    yield make
    for phone in made:
        phone.context.close()
    assert errors == []


def words(phone, selector):
    return " ".join(phone.page.inner_text(selector).split())


# two hundred swipes ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_two_hundred_swipes_without_a_network_arrive_once_and_in_order(phones, scheme):
    """With a clock two hours ahead and then behind, a server restarted and a tab closed in the middle."""
    phone = phones(scheme)
    phone.join(2 * HOUR_MS)
    assert phone.page.evaluate("isSecureContext") == (scheme == "https")
    phone.take(N)
    phone.away()
    phone.swipe(80)
    phone.page.evaluate(f"window.shiftMs = {-2 * HOUR_MS}")
    phone.swipe(20)
    phone.page.get_by_text("100 waiting").wait_for()
    phone.house.stop()
    phone.page.close()
    if scheme == "http":  # no page opens here without a network, but answers are kept until there is one
        phone.house.start()
        phone.back()
        phone.open(-2 * HOUR_MS)
        phone.away()
    else:
        phone.open(-2 * HOUR_MS)
        assert "100 of 200 cards with you" in words(phone, ".share")
    phone.swipe(N - 100)
    phone.page.get_by_text("All cards you took along are answered.").wait_for()
    if scheme == "https":
        phone.house.start()
    phone.back()
    phone.arrived()
    want = {"arrived": N, "lost": 0, "doubled": 0, "in_order": True}
    until(
        lambda: (
            judged(phone.given, phone.house.stored(phone.session)) == want or phone.page.wait_for_timeout(50)
        )
    )
    until(lambda: words(phone, ".figures").endswith("200 answered") or phone.page.wait_for_timeout(50))
    phone.page.wait_for_selector(READY)  # and on it goes, without the pack
    until(lambda: "with you" not in words(phone, ".share") or phone.page.wait_for_timeout(50))


def test_answers_judged_lost_doubled_and_out_of_order():
    given = [(1, "yes"), (2, "no"), (3, "yes")]
    good = {"arrived": 3, "lost": 0, "doubled": 0, "in_order": True}
    assert judged(given, [(9, "no"), *given]) == good
    assert judged(given, [given[1], given[0], given[2]]) == good | {"in_order": False}
    assert judged(given, given[:2]) == good | {"arrived": 2, "lost": 1, "in_order": False}
    assert judged(given, [*given, given[0]]) == good | {"doubled": 1, "in_order": False}


# packs -------------------------------------------------------------------------------------------


def test_undo_goes_back_into_the_pack_also_after_the_tab_was_closed(phones):
    phone = phones("https")
    phone.join()
    phone.take(50)
    phone.away()
    phone.swipe(6)
    phone.page.close()
    phone.open()
    until(lambda: words(phone, ".figures").endswith("6 answered") or phone.page.wait_for_timeout(50))
    cards = [card for card, _ in phone.given]
    for back in (cards[-1], cards[-2], cards[-3]):
        phone.page.keyboard.press("z")
        phone.page.wait_for_selector(f"{READY}[data-card='{back}']")
        assert phone.page.locator(f"{READY} img").evaluate("(img) => img.naturalWidth") == 96
    until(lambda: "47 of 50" in words(phone, ".share") or phone.page.wait_for_timeout(50))
    phone.page.keyboard.press("ArrowUp")
    phone.page.wait_for_selector(f"{READY}[data-card='{cards[-2]}']")
    phone.back()
    phone.arrived()
    stored = phone.house.stored(phone.session)
    taken_back = [(card, None) for card in (cards[-1], cards[-2], cards[-3])]
    until(
        lambda: phone.house.stored(phone.session) == [*phone.given, *taken_back, (cards[-3], "unsure")],
        say=lambda: stored,
    )


def test_a_pack_is_given_back_and_others_get_its_cards(phones):
    phone = phones("https")
    phone.join()
    phone.take(100)
    other = Client(phone.house.client.url)
    other.get(f"/api/session?token={phone.house.token}")
    rest = other.get(f"/api/cards?n=200&session={phone.session}")["cards"]
    phone.swipe(3)
    phone.page.click(".bag")
    phone.page.locator(".along", has_text="97 of 100 cards with you").wait_for()
    phone.page.get_by_role("button", name="Give back").click()
    phone.page.get_by_text("97 cards were given back.").wait_for()
    phone.page.get_by_text("50 cards").wait_for()  # it can be taken anew
    phone.page.keyboard.press("Escape")
    phone.page.wait_for_selector(READY)
    have = [c["card"] for c in rest]

    def others_get_the_rest():
        """The newest round knows what was held when it was made; the next one has them all."""
        more = f"/api/cards?n=100&have={','.join(map(str, have))}&session={phone.session}"
        have.extend(c["card"] for c in other.get(more)["cards"])
        return len(have) > len(rest) + 60  # the deck has taken some again

    until(others_get_the_rest)
    phone.arrived()


def trainer_of(server):
    """Return the process in which a server's rounds are made."""
    children = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(server)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return next(int(line.split()[0]) for line in children if "labeler.trainer" in line)


@contextmanager
def no_rounds(phone):
    """Let no round be made while the block runs; give what lets it be made again."""
    learner = trainer_of(phone.house.server.process.pid)
    os.kill(learner, signal.SIGSTOP)
    try:
        yield lambda: os.kill(learner, signal.SIGCONT)
    finally:
        os.kill(learner, signal.SIGCONT)


def test_a_pack_waits_for_a_round_that_takes_its_time(phones):
    phone = phones("http")
    phone.join()
    with no_rounds(phone) as go_on:
        timer = threading.Timer(4, go_on)
        phone.page.once("request", lambda _: timer.start())
        phone.take(N)
    phone.page.click(".bag")
    phone.page.locator(".along", has_text="200 of 200 cards with you").wait_for()


def test_who_has_to_go_while_a_round_is_waited_for_has_what_is_here(phones):
    phone = phones("http")
    phone.join()
    with no_rounds(phone):
        phone.page.click(".bag")
        phone.page.get_by_text(f"{N} cards", exact=True).click()
        phone.page.locator("[role=progressbar][aria-valuenow='30']").wait_for()  # the first round: 60 of 200
        phone.away()
        phone.page.locator(".along", has_text="60 of 60 cards with you").wait_for()
        assert "60" in words(phone, ".takeIn .note")
        phone.page.keyboard.press("Escape")
        phone.swipe(60)
        phone.page.get_by_text("All cards you took along are answered.").wait_for()
    phone.back()
    phone.arrived()
    assert judged(phone.given, phone.house.stored(phone.session))["arrived"] == 60


def test_a_pack_says_when_there_are_no_more_cards(phones):
    phone = phones("http")
    other = Client(phone.house.client.url)
    other.get(f"/api/session?token={phone.house.token}")
    theirs = len(other.get(f"/api/cards?n=100&session={phone.session}")["cards"])
    phone.join()
    phone.page.click(".bag")
    phone.page.get_by_text(f"{N} cards", exact=True).click()
    left = IMAGES - theirs
    assert str(left) in words(phone, ".takeIn .note")
    assert f"{left} of {left} cards with you" in words(phone, ".takeIn")


def test_a_second_tab_leaves_the_pack_to_the_first_and_takes_it_over_when_that_is_gone(phones):
    phone = phones("https")
    phone.join()
    phone.take(50)
    first = phone.page
    phone.open()
    assert "with you" not in words(phone, ".share")
    phone.page.click(".bag")
    phone.page.get_by_text("50 cards are kept for you that this page does not have").wait_for()
    phone.page.get_by_role("button", name="50 cards").click()
    phone.page.get_by_text("Another tab has cards of this question with it already.").wait_for()
    first.close()
    phone.page.close()
    phone.open()
    until(lambda: "50 of 50 cards with you" in words(phone, ".share") or phone.page.wait_for_timeout(50))


def test_a_browser_without_room_says_how_much_there_is(phones):
    """What Chromium tells a page of its room is always 10 GB, so here it is told."""
    phone = phones("https")
    room = "{ quota: 60_000, usage: 20_000 }"
    phone.context.add_init_script(
        f"if (globalThis.StorageManager) StorageManager.prototype.estimate = async () => ({room})"
    )
    phone.join()
    phone.page.click(".bag")
    phone.page.get_by_text("100 cards").click()
    phone.page.get_by_text(
        "This browser has room for 0.0 MB here, and so many cards need about 0."
    ).wait_for()
    assert "Take fewer, or make room on this device." in words(phone, ".takeIn .note")
    phone.page.keyboard.press("Escape")
    phone.swipe(2)  # nothing else is hurt
    phone.arrived()


def test_what_has_no_room_in_a_browser_is_given_back(phones):
    phone = phones("http")  # where nobody says how much room there is
    phone.join()
    origin = phone.page.evaluate("location.origin")
    used = phone.touch.send("Storage.getUsageAndQuota", {"origin": origin})["usage"]
    phone.touch.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": used + 250_000})
    phone.take(200)
    said = words(phone, ".takeIn .note")
    assert said.startswith("This browser has no room left for images here.")
    fit = int(re.search(r"(\d+) cards are with you, the others were given back", said)[1])
    assert 0 < fit < 200
    about = phone.page.evaluate("fetch(`/api/pack${location.search}`).then((r) => r.json())")
    assert about["held"] == fit
    phone.away()
    phone.swipe(min(fit, 30))
    phone.back()
    phone.arrived()


# the page without a network ------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path, monkeypatch, driver, chromium):
    """Return a server in this process, at localhost, whose version can be changed; and a page there."""
    folder = tmp_path / "deck"
    shutil.copytree(light.FOLDER, folder)
    monkeypatch.setattr(light, "FOLDER", folder)
    monkeypatch.setattr(desk_module, "Worker", Still)
    forget()
    ws = make_pool(tmp_path, 40, images=True)
    begin(ws)
    port = free_port()

    class Place:
        url = f"http://localhost:{port}/swipe"

        def start(self):
            app, _ = build(ws)
            config = uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
            self.server = uvicorn.Server(config)
            self.thread = threading.Thread(target=self.server.run)
            self.thread.start()
            until(lambda: self.server.started)

        def stop(self):
            self.server.should_exit = True
            self.thread.join(10)

        def update(self, name, text):
            with (folder / name).open("a") as f:
                f.write(f"\n{text}\n")
            forget()

    place = Place()
    place.start()
    browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    context.add_init_script(SEEN)
    place.page = context.new_page()
    yield place
    browser.close()
    place.stop()
    ws.close()
    forget()


def kept(page):
    """Wait until a service worker has the page, and return what is in its room."""
    comes_true(page, "navigator.serviceWorker.controller?.state === 'activated'")
    until(lambda: len(page.evaluate(CACHED)) == 1 or page.wait_for_timeout(50))
    return page.evaluate(CACHED)[0]


def test_the_page_opens_without_a_server_and_never_as_it_was_before_an_update(own):
    page = own.page
    page.goto(own.url)
    page.wait_for_selector(READY)
    first = kept(page)
    names = {"/swipe?shell", *(f"/deck/{name}" for name in light.SHELL)}
    assert {url.split("?v=")[0] for url in first} == names  # no card, no picture, no answer of the interface
    html = page.evaluate("async () => (await (await caches.match('/swipe?shell')).text())")
    assert "labeler-start" not in html.split("<body>")[1]
    own.update("deck.js", "window.version = 2;")
    page.reload()
    page.wait_for_selector(READY)
    assert page.evaluate("window.version") == 2  # at once, not at the visit after
    until(lambda: kept(page) != first or page.wait_for_timeout(50))
    with page.expect_response(re.compile("/api/labels")) as sent:
        page.keyboard.press("ArrowRight")
    sent.value.finished()
    own.stop()
    page.keyboard.press("ArrowRight")
    page.get_by_text("1 waiting").wait_for()
    page.reload()
    page.get_by_text("The server can’t be reached.").wait_for()
    page.get_by_text("1 answer is kept in this browser.").wait_for()
    assert page.evaluate("window.version") == 2
    own.start()
    page.wait_for_selector(READY, timeout=20_000)
    until(lambda: page.inner_text(".figures").endswith("2 answered") or page.wait_for_timeout(50))


def test_a_server_that_does_not_answer_is_waited_for_four_seconds(own):
    page = own.page
    page.goto(own.url)
    kept(page)
    own.stop()
    with socket.create_server(("127.0.0.1", int(own.url.split(":")[2].split("/")[0])), backlog=20):
        begin = time.monotonic()
        page.goto(own.url, wait_until="commit", timeout=20_000)
        assert time.monotonic() - begin > 3.5
        page.get_by_text("Getting the images").wait_for()
    own.start()
    page.wait_for_selector(READY, timeout=30_000)


def test_a_page_from_the_browsers_memory_asks_no_answered_card_again(own):
    page = own.page
    page.goto(own.url)
    page.wait_for_selector(READY)
    given = page.locator(READY).get_attribute("data-card")
    page.keyboard.press("ArrowRight")
    until(lambda: page.inner_text(".figures").endswith("1 answered") or page.wait_for_timeout(50))
    page.wait_for_load_state("networkidle")
    page.goto(own.url.replace("/swipe", "/api/docs"))
    page.go_back()
    page.wait_for_selector(READY)
    seen = page.evaluate("document.getElementById('labeler-start').textContent")
    assert str(json.loads(seen)["card"]["card"]) == given  # the very page of before
    assert page.locator(READY).get_attribute("data-card") != given


def test_the_first_card_is_asked_for_by_the_page_itself(own):
    asked = []
    own.page.on("request", lambda r: asked.append(urlsplit(r.url).path))
    own.page.goto(own.url)
    own.page.wait_for_selector(READY)
    before = asked[: asked.index("/api/cards")] if "/api/cards" in asked else asked
    assert before[0] == "/swipe"
    assert any(path.startswith("/tiles/") for path in before)
    assert not any(path.startswith("/api/") for path in before)
