"""The deck on a volunteer's phone, on a shared server: whose figures, whose answers, what is told."""

import re
import threading

import pytest
import uvicorn

from labeler import loop, members, people
from labeler.server import desk as desk_module
from tests.pools import make_pool
from tests.served import Still, begin, build
from tests.test_app import free_port
from tests.test_deck import LEFT, PHONE, READY, SEEN, broken, until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return (address, workspace) of a shared server that runs in this process."""
    ws = make_pool(tmp_path_factory.mktemp("volunteer"), 300, images=True)
    begin(ws)
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk_module, "Worker", Still)
        app, _ = build(ws, shared=True)
        server = uvicorn.Server(
            uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        until(lambda: server.started)
        yield f"http://localhost:{port}", ws
        server.should_exit = True
        thread.join(10)
    ws.close()


@pytest.fixture
def tablet(browser):
    """Return a browser of its own, as on a phone; nothing goes wrong in its pages."""
    context, errors = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True), []
    context.on("weberror", lambda e: errors.append(str(e.error)))
    yield context
    context.close()
    assert errors == []


@pytest.fixture
def join(place, tablet):
    """Return a function that lets somebody join in the browser and gives their page with a card."""
    url, ws = place

    def come(name, *, hint=False, clock=False):
        loop.learn(ws, ws.store.session())  # what others hold is nobody else's
        page = tablet.new_page()
        if not hint:
            page.add_init_script(SEEN)
        if clock:
            page.clock.install()
        page.goto(f"{url}/join?token={people.make_link(ws, 'swipe', lasts_s=3600)[0]}")
        page.fill("input[name=name]", name)
        page.get_by_role("button", name="Start").tap()
        page.wait_for_selector(READY)
        return page

    return come


def swipe(page, n=1):
    """Answer no, n times."""
    for _ in range(n):
        before = page.wait_for_selector(READY).get_attribute("data-card")
        page.keyboard.press("ArrowLeft")
        page.wait_for_selector(f"{READY}:not([data-card='{before}'])")


def sent(page):
    until(lambda: page.evaluate(LEFT) == 0 or page.wait_for_timeout(50))


def named(ws, name):
    (found,) = [p for p in ws.roster.people() if p.name == name]
    return found


def given(ws, name):
    return ws.journal.given(ws.store.session().id, named(ws, name).id)[0]


def test_a_volunteers_header_shows_their_own_number_in_two_lines_whatever_waits(place, join):
    page = join("Ada")
    swipe(page, 3)
    sent(page)
    page.get_by_text("Yours 3").wait_for()
    with broken(page, "**/api/labels*", lambda route: route.abort()):
        swipe(page)
        page.get_by_text("1 waiting").wait_for()
        assert page.inner_text(".figures") == "Yours 4"
        tall = page.locator(".stats").bounding_box()["height"]
        assert tall <= 50
        page.evaluate("document.querySelector('.figures').textContent = '1,137 found · 10,135 answered'")
        figures, bag = page.locator(".figures"), page.locator(".bag")
        assert page.locator(".stats").bounding_box()["height"] == tall
        assert figures.evaluate("e => e.scrollWidth <= e.clientWidth")
        assert bag.is_visible()  # also where nothing can be sent
        assert bag.bounding_box()["y"] + 24 == pytest.approx(
            page.locator(".stats").bounding_box()["y"] + 24, abs=2
        )
    page.evaluate("dispatchEvent(new Event('online'))")
    sent(page)
    page.click(".stats")
    panel = page.locator("dialog[open] .panel")
    assert panel.locator("p").first.inner_text() == "Yours: 4 answers, 0 of them yes."
    panel.get_by_text("Everybody together:").wait_for()


def test_what_the_owner_changes_reaches_a_phone_that_lies_still(place, join):
    _, ws = place
    page = join("Bea", clock=True)
    swipe(page)
    sent(page)
    question = ws.store.session().question
    loop.set_question(ws, ws.store.session(), "Is it a ship?")
    loop.set_state(ws, ws.store.session(), "open", "Tea at four.")
    try:
        until(lambda: page.clock.run_for(5000) or page.locator(".question", has_text="Is it a ship?").count())
        page.get_by_text("Tea at four.").wait_for()
    finally:
        loop.set_question(ws, ws.store.session(), question)
        loop.set_state(ws, ws.store.session(), "open", "")


def test_whoever_is_sent_away_is_told_so_and_whom_to_ask(place, join):
    _, ws = place
    page = join("Cleo")
    swipe(page)
    sent(page)
    members.send_away(ws, named(ws, "Cleo").id)
    page.evaluate("dispatchEvent(new Event('online')), document.dispatchEvent(new Event('visibilitychange'))")
    page.get_by_role("heading", name="Your access was ended.").wait_for()
    assert "Ask whoever invited you." in page.inner_text(".state")


def test_a_second_mia_is_told_what_she_is_called_here(place, join, tablet):
    page = join("Mia")
    page.get_by_text("You are in as Mia.").wait_for()
    tablet.clear_cookies()
    page.close()
    page = join("Mia")
    page.get_by_text("You are in as Mia 2.").wait_for()
    page.reload()
    page.wait_for_selector(READY)
    page.wait_for_load_state("networkidle")
    assert page.locator(".toast").is_hidden()


def test_the_first_touch_ends_the_hint_and_answers_nothing(place, join):
    _, ws = place
    page = join("Dora", hint=True)
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    card = page.locator(READY).get_attribute("data-card")

    def drag():
        for kind, dx in [
            ("touchStart", 0),
            *[("touchMove", 20 * i) for i in range(1, 9)],
            ("touchEnd", None),
        ]:
            points = [] if dx is None else [{"x": x + dx, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    drag()
    page.locator(".hint").wait_for(state="detached")
    assert page.locator(READY).get_attribute("data-card") == card
    assert page.evaluate(LEFT) == given(ws, "Dora") == 0
    drag()
    page.wait_for_selector(f"{READY}:not([data-card='{card}'])")
    until(lambda: given(ws, "Dora") == 1)


def test_answers_that_wait_on_a_shared_tablet_stay_with_who_gave_them(place, join, tablet):
    url, ws = place
    page = join("Eva")
    swipe(page)
    until(lambda: given(ws, "Eva") == 1)
    eva = tablet.cookies()
    tablet.route("**/api/labels*", lambda route: route.abort())
    swipe(page, 2)
    page.get_by_text("2 waiting").wait_for()
    tablet.clear_cookies()
    finn = join("Finn")  # in another tab, while hers is open
    tablet.unroute("**/api/labels*")
    page.evaluate("dispatchEvent(new Event('online'))")
    for tab in (page, finn):
        tab.get_by_text("2 answers of somebody else are kept in this browser.").wait_for()
    swipe(finn)
    until(lambda: given(ws, "Finn") == 1)
    until(lambda: finn.evaluate(LEFT) == 2)
    assert given(ws, "Eva") == 1
    page.close()
    tablet.clear_cookies()
    tablet.add_cookies(eva)
    finn.goto(f"{url}/swipe")
    until(lambda: given(ws, "Eva") == 3 or finn.wait_for_timeout(50))
    sent(finn)
    assert given(ws, "Finn") == 1
    assert re.search("somebody else", finn.inner_text(".top")) is None


def test_the_name_is_not_said_over_the_hint_but_after_it(join):
    page = join("Noor", hint=True)
    page.locator(".hint .btn").wait_for()
    page.wait_for_load_state("networkidle")
    assert page.locator(".toast").is_hidden()
    page.locator(".hint .btn").tap()
    swipe(page)
    page.get_by_text("You are in as Noor.").wait_for()
