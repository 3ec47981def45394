"""What browsers and people do to the deck: each answer arrives once, and no card is asked of two."""

import re
import sqlite3
import time
import uuid
from collections import Counter
from contextlib import contextmanager

import pytest

from benchmarks.server import Client, running
from tests.conftest import CHROMIUM
from tests.test_deck import LEFT, NO_LAST_WORD, PHONE, SEEN, Deck, broken, draw, item_of, until

pytestmark = pytest.mark.browser

TILE = re.compile(r"/tiles/(\d+)\?w=512")
VISIBLE = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture(scope="module")
def browser(driver, chromium):
    """Return a Chromium that keeps pages for the way back, to which tablet.test is this machine: like any
    http://192.168.…, that address is no secure context, so that there are no Web Locks."""
    args = [*CHROMIUM, "--host-resolver-rules=MAP tablet.test 127.0.0.1"]
    without = ["--disable-back-forward-cache"]
    launched = driver.chromium.launch(executable_path=chromium, args=args, ignore_default_args=without)
    yield launched
    launched.close()


class House:
    """A server and what it has stored; each test asks its own question."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.client = Client(server.url)
        port = server.url.rsplit(":", 1)[1]
        self.address = f"http://tablet.test:{port}"
        self.token = (folder / "ws" / "owner-token").read_text().strip()

    def ask(self):
        """Return a new session with a round of cards."""
        name = f"Is this one of them? ({time.time_ns()})"
        session = self.client.post("/api/sessions", {"question": name, "labels": ["yes", "no"]})["id"]
        until(lambda: self.client.get(f"/api/session?session={session}")["round"] > 0)
        return session

    def sql(self, text, *values):
        conn = sqlite3.connect(self.folder / "ws" / "labeler.db", timeout=20)
        try:
            with conn:
                return conn.execute(text, values).fetchall()
        finally:
            conn.close()

    def let_leases_end(self, session):
        now = time.time()
        self.sql("UPDATE cards SET lease_until = ? WHERE session = ? AND lease_until > ?", now, session, now)

    def answers(self, session):
        """Return {event id: (item, kind)} of what is stored."""
        rows = self.sql("SELECT id, item, kind FROM events WHERE session = ?", session)
        return {uid: (item, kind) for uid, item, kind in rows}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("house")
    draw(folder / "images", 160)
    with running("--images", str(folder / "images"), "--workspace", str(folder / "ws")) as server:
        client = Client(server.url)
        until(lambda: client.get("/api/session")["embedded"] == 160, limit_s=120)
        yield House(server, folder)


class Tab(Deck):
    """A tab that remembers which images it got and which events it sent."""

    def __init__(self, page, house, session):
        super().__init__(page, house.client, session)
        self.house, self.items, self.sent = house, set(), []
        page.on("request", self.note)

    def note(self, request):
        if met := TILE.search(request.url):
            self.items.add(int(met[1]))
        if "/api/labels" in request.url:
            self.sent += [e["id"] for e in request.post_data_json["events"]]

    def open(self):
        self.page.goto(f"{self.house.address}/swipe?session={self.session}&token={self.house.token}")
        self.card()
        assert not self.page.evaluate("isSecureContext || 'locks' in navigator")
        return self

    def swipe_right(self):
        """Answer yes; return the item."""
        if len(self.page.context.pages) > 1:
            self.page.bring_to_front()  # a tab behind another draws no frames
        item = item_of(self)
        before = self.card()
        self.swipe((170, 10), steps=4, pause_ms=4)
        self.next(before)
        return item

    @contextmanager
    def asleep(self):
        """Stop the page as a phone does: nothing runs, messages wait. (Chromium freezes hidden pages only,
        and a page that a test drives is never hidden.) It wakes with the event that browsers send."""
        self.touch.send("Debugger.enable")
        self.touch.send("Debugger.pause")
        yield
        self.touch.send("Debugger.disable")
        self.page.evaluate("document.dispatchEvent(new Event('resume'))")

    def online(self):
        """Tell the page what browsers say when a network comes back."""
        self.page.evaluate("dispatchEvent(new Event('online'))")

    def pump(self, ms=50):
        """Let the page go on while this test waits."""
        self.page.wait_for_timeout(ms)


@pytest.fixture
def tabs(house, browser):
    """Return a function that makes a tab on a phone, in its own browser profile unless a context is given."""
    contexts, made = [], []

    def make(session, *, context=None, script="", **options):
        if context is None:
            phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
            context = browser.new_context(**phone | options)
            contexts.append(context)
        page = context.new_page()
        page.add_init_script(SEEN + ";" + script)
        made.append(Tab(page, house, session))
        return made[-1]

    yield make
    for tab in made:
        assert tab.errors == []
    for context in contexts:
        context.close()


def once(house, session, given):
    """Wait until each item of `given` has exactly one answer, and nothing else was stored."""
    want = Counter(given)
    stored = lambda: Counter(item for item, _ in house.answers(session).values())  # noqa: E731
    until(lambda: stored() == want, say=lambda: f"{stored()} instead of {want}")


# without a network ------------------------------------------------------------------------------

ATTEMPTS = """window.attempts = []; const ask = window.fetch;
  window.fetch = (...how) => { window.attempts.push(Date.now()); return ask(...how); };"""


def test_ten_minutes_without_a_network_and_back_at_once(house, tabs):
    session = house.ask()
    tab = tabs(session, script=ATTEMPTS)
    tab.page.clock.install()
    tab.open()
    tab.page.wait_for_load_state("networkidle")
    tab.page.context.set_offline(True)
    given = [tab.swipe_right() for _ in range(6)]
    tab.page.get_by_text("6 waiting").wait_for()
    begin = tab.page.evaluate("window.attempts = []; Date.now()")
    for _ in range(60):
        tab.page.clock.run_for(10_000)
    tried = tab.page.evaluate("window.attempts")
    gaps = [b - a for a, b in zip([begin, *tried], [*tried, begin + 600_000], strict=True)]
    assert max(gaps) <= 40_000, gaps  # it is looked at every ten seconds
    assert 20 <= len(tried) <= 300
    given += [tab.swipe_right() for _ in range(2)]
    assert house.answers(session) == {}
    tab.page.clock.pause_at(tab.page.evaluate("Date.now()") + 1000)  # no timer helps from here on
    tab.page.context.set_offline(False)
    once(house, session, given)
    tab.pump()
    assert Counter(tab.sent)[tab.sent[-1]] == 1 or len(house.answers(session)) == len(given)


def test_a_phone_that_slept_sends_its_answers_and_forgets_cards_that_others_answered(house, tabs):
    session = house.ask()
    tab = tabs(session).open()
    tab.page.wait_for_load_state("networkidle")
    tab.page.context.set_offline(True)
    given = [tab.swipe_right() for _ in range(3)]
    seen = item_of(tab)
    with tab.asleep():
        house.let_leases_end(session)
        other = Client(house.server.url)
        cards = other.get(f"/api/cards?session={session}&n=12")["cards"]
        assert {c["item"] for c in cards} >= {*given, seen}  # the same round, from the beginning
        answers = [
            {"id": str(uuid.uuid4()), "card": c["card"], "item": c["item"], "label": "no"} for c in cards[:8]
        ]
        other.post(f"/api/labels?session={session}", {"events": answers})
        tab.page.context.set_offline(False)
    taken = {c["item"] for c in cards}
    until(lambda: item_of(tab) not in taken or tab.pump())
    more = [tab.swipe_right() for _ in range(8)]
    assert not set(more) & taken
    once(house, session, [*given, *more, *(a["item"] for a in answers)])


# several tabs, several devices --------------------------------------------------------------------


def test_two_tabs_share_no_card_and_send_no_answer_twice(house, tabs):
    session = house.ask()
    one = tabs(session).open()
    two = tabs(session, context=one.page.context).open()
    for tab in (one, two):
        tab.page.wait_for_load_state("networkidle")
    assert len(two.items) >= 20
    assert (
        len(one.items & two.items) <= 1
    )  # the picture that comes with the page, of a card that is not shown
    assert item_of(one) != item_of(two)
    one.page.context.set_offline(True)
    given = [tab.swipe_right() for tab in (one, two, one, two, one)]
    one.page.evaluate(VISIBLE)  # each time, a tab looks after what others have left
    two.page.evaluate(VISIBLE)
    one.pump(600)
    one.sent.clear()
    two.sent.clear()
    one.page.context.set_offline(False)
    once(house, session, given)
    until(lambda: one.page.evaluate(LEFT) == 0)
    assert not set(one.sent) & set(two.sent)
    assert set(one.sent) | set(two.sent) == set(house.answers(session))


def test_two_tabs_that_open_at_the_same_time_share_no_card(house, tabs):
    """A browser that is started again opens all its tabs at once."""
    session = house.ask()
    one = tabs(session).open()
    two = tabs(session, context=one.page.context)
    for tab in (one, two):
        tab.page.goto(f"{house.address}/api/docs")
    address = f"{house.address}/swipe?session={session}"
    for tab in (one, two):
        tab.items.clear()
        tab.page.evaluate("(url) => { location.href = url; }", address)
    for tab in (one, two):
        tab.card()
        tab.page.wait_for_load_state("networkidle")
    one.pump(300)
    given = [tab.swipe_right() for _ in range(6) for tab in (one, two)]
    assert len(set(given)) == 12
    once(house, session, given)


def test_a_tab_takes_over_from_one_that_is_gone(house, tabs):
    session = house.ask()
    one = tabs(session, script=NO_LAST_WORD).open()
    two = tabs(session, context=one.page.context).open()
    two.page.wait_for_load_state("networkidle")
    with broken(one.page, "**/api/labels*", lambda route: route.abort()):
        given = [one.swipe_right() for _ in range(3)]
        one.page.get_by_text("3 waiting").wait_for()
        one.page.close()
    assert house.answers(session) == {}
    two.page.evaluate(VISIBLE)
    once(house, session, given)
    until(lambda: two.page.inner_text(".figures").endswith("3 answered") or two.pump())


def test_a_tab_that_slept_while_another_went_on_asks_nothing_twice(house, tabs):
    session = house.ask()
    one = tabs(session).open()
    one.page.wait_for_load_state("networkidle")
    seen = item_of(one)
    with one.asleep():
        two = tabs(session, context=one.page.context).open()
        given = [two.swipe_right() for _ in range(4)]
        assert given[0] == seen  # what the sleeping tab held, it could not say
    until(lambda: item_of(one) not in given or one.pump())
    given += [tab.swipe_right() for _ in range(4) for tab in (one, two)]
    assert len(set(given)) == len(given)
    once(house, session, given)


def test_a_second_device_of_the_same_person_gets_other_cards(house, tabs):
    session = house.ask()
    phone, tablet = tabs(session).open(), tabs(session, viewport={"width": 820, "height": 1180}).open()
    for tab in (phone, tablet):
        tab.page.wait_for_load_state("networkidle")
    assert not phone.items & tablet.items
    phone.page.context.set_offline(True)
    given = [tab.swipe_right() for _ in range(3) for tab in (phone, tablet)]
    phone.page.context.set_offline(False)
    once(house, session, given)
    until(lambda: phone.page.inner_text(".figures") == tablet.page.inner_text(".figures") or tablet.pump(200))


# back, and away --------------------------------------------------------------------------------


def test_the_back_button_finds_the_deck_as_it_is_now(house, tabs):
    session = house.ask()
    tab = tabs(session).open()
    given = [tab.swipe_right() for _ in range(2)]
    last = item_of(tab)
    tab.card()
    tab.page.keyboard.press("ArrowRight")  # not sent yet when the page is left
    tab.page.evaluate("window.kept = true")
    tab.page.goto(f"{house.address}/api/docs")
    given.append(last)
    once(house, session, given)
    house.let_leases_end(session)
    other = Client(house.server.url)
    cards = other.get(f"/api/cards?session={session}&n=10")["cards"]
    tab.page.evaluate("history.back()")
    until(lambda: tab.page.url.startswith(tab.house.address + "/swipe") or tab.pump())
    assert tab.page.evaluate("window.kept")  # from the browser's memory, not loaded again
    taken = {c["item"] for c in cards}
    until(lambda: item_of(tab) not in taken or tab.pump())
    given += [tab.swipe_right() for _ in range(3)]
    once(house, session, given)
    tab.page.keyboard.press("z")
    until(lambda: len(house.answers(session)) == 7)
    assert item_of(tab) == given[-1]
    assert tab.swipe_right() == given[-1]
    until(lambda: len(house.answers(session)) == 8)


# storage and clock -------------------------------------------------------------------------------

NO_STORAGE = """
  IDBFactory.prototype.open = () => { const ask = {}; setTimeout(() => ask.onerror({}), 5); return ask; };
  Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } });
"""


def test_where_storage_is_refused_it_says_so_and_keeps_answers_in_memory(house, tabs):
    session = house.ask()
    tab = tabs(session, script=NO_STORAGE).open()
    if tab.page.locator(".hint .btn").is_visible():
        tab.page.click(".hint .btn")
    assert "Keep the page open" in tab.page.inner_text(".note")
    tab.page.context.set_offline(True)
    given = [tab.swipe_right() for _ in range(4)]
    tab.page.context.set_offline(False)
    once(house, session, given)


# what a browser does to a change that no longer fits; its quota can't be set low enough from outside
FULL = """for (const name of ["add", "put"]) {
    const real = IDBObjectStore.prototype[name];
    IDBObjectStore.prototype[name] = function (...what) {
      const ask = real.apply(this, what);
      if (window.full) this.transaction.abort();
      return ask;
    };
  }"""


def test_a_full_disk_is_said_and_every_answer_still_sent(house, tabs):
    session = house.ask()
    tab = tabs(session, script=FULL).open()
    tab.page.wait_for_load_state("networkidle")
    with broken(tab.page, "**/api/labels*", lambda route: route.abort()):
        given = [tab.swipe_right() for _ in range(2)]
        tab.page.get_by_text("2 waiting").wait_for()
        tab.page.evaluate("window.full = true")
        given += [tab.swipe_right() for _ in range(2)]
        tab.page.get_by_text("Keep the page open").wait_for()
        tab.page.evaluate(VISIBLE)
        tab.pump(400)
        assert "4 waiting" in tab.page.inner_text(".waiting")
    tab.online()
    once(house, session, given)


def test_a_clock_that_is_years_off_mixes_nothing_up(house, tabs):
    """An answer of 2041 and its undo of 1999 were sent in the order of their times: the undo did nothing."""
    session = house.ask()
    tab = tabs(session, script=NO_LAST_WORD)
    tab.page.clock.install(time="2041-05-05")
    with broken(tab.page, "**/api/labels*", lambda route: route.abort()):
        tab.open()
        given = [tab.swipe_right() for _ in range(2)]
        tab.page.clock.set_system_time("1999-01-01")
        tab.page.reload()
        tab.card()
        tab.page.get_by_text("2 waiting").wait_for()
        tab.page.keyboard.press("z")
        tab.page.get_by_text("3 waiting").wait_for()
        tab.page.reload()
        tab.card()
        tab.page.get_by_text("3 waiting").wait_for()
    tab.online()
    tab.stored(yes=1)
    assert sorted(item for item, _ in house.answers(session).values()) == sorted([*given, given[1]])


# the server -----------------------------------------------------------------------------------------


def test_what_went_wrong_behind_the_page_is_one_quiet_line_of_text(house, tabs):
    tab = tabs(house.ask())
    facts = tab.status() | {"problem": "Learning stopped: <b>no space left</b>. It is tried again."}
    tab.page.route("**/api/session*", lambda route: route.fulfill(json=facts))
    tab.open()
    tab.page.evaluate(VISIBLE)
    note = tab.page.locator(".note:not(.reached)")
    note.wait_for()
    assert note.inner_text() == facts["problem"]
    tab.page.unroute("**/api/session*")
    tab.page.evaluate(VISIBLE)
    note.wait_for(state="hidden")


def test_a_killed_server_and_a_closed_tab_lose_nothing(house, tabs):
    """The last test of this file: it ends the server."""
    session = house.ask()
    tab = tabs(session).open()
    given = [tab.swipe_right()]
    once(house, session, given)
    house.server.process.kill()
    house.server.process.wait()
    given += [tab.swipe_right() for _ in range(5)]
    tab.page.get_by_text("5 waiting").wait_for()
    context = tab.page.context
    tab.page.close()
    port = house.server.url.rsplit(":", 1)[1]
    where = ("--images", str(house.folder / "images"), "--workspace", str(house.folder / "ws"))
    with running(*where, "--port", port) as again:
        assert again.url == house.server.url
        back = tabs(session, context=context).open()
        once(house, session, given)
        until(lambda: back.page.evaluate(LEFT) == 0)
        assert back.swipe_right() not in given
