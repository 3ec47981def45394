"""Each page over a small workspace: AppTest for what it does, Chromium for what a person sees."""

import base64
import csv
import io
import json
import os
import sqlite3
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from streamlit.testing.v1 import AppTest
from test_ui import NASTY, answer, is_green, make_small, small

from labeler import database, disputes, images, loop, overview, reader, results, worker
from labeler.catalog import Aside, SeenFile
from labeler.domain import LabelEvent, Progress
from labeler.errors import Missing
from labeler.files import Unreadable
from labeler.tongue import ENGLISH, Words
from labeler.workspace import Workspace
from tests.listening import Line
from tests.served import whole_server

__all__ = ["small"]  # a fixture
ROOT = Path(__file__).parent.parent
HOME = ROOT / "pages" / "home.py"
PAGES = ("start", "label", "search", "review", "found", "team", "export")


def visit(page: str, **query: str) -> AppTest:
    """Return a page, run once within the frame of all pages."""
    test = AppTest.from_file(str(HOME), default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    test.switch_page(f"{page}.py").run()
    assert not test.exception
    return test


def press(test: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    next(b for b in test.button if b.label == label).click().run()
    assert not test.exception
    return test


def tiles(test: AppTest) -> list[dict[str, Any]]:
    """Return the tiles of the page's grid, as the browser gets them."""
    (grid,) = (e.proto for e in test.get("bidi_component") if e.proto.component_name == "labeler_grid")
    data = json.loads(grid.json)
    assert isinstance(data["tiles"], list)
    return data["tiles"]


def test_before_the_first_session_the_way_in_is_start_and_it_asks_for_a_question(small: Workspace) -> None:
    test = AppTest.from_file(str(HOME), default_timeout=30).run()
    assert not test.exception
    assert [t.value for t in test.title] == ["Start"]
    assert "Start swiping" not in [b.label for b in test.button]
    test.text_input[0].set_value("Is it green?")
    test.text_input[1].set_value("green, not green")
    press(test, "Ask this")
    made = loop.newest_session(small)
    assert (made.question, made.labels) == ("Is it green?", ("green", "not green"))
    assert "Is it green?" in [t.value for t in test.text]


def test_with_a_session_the_way_in_is_the_deck(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    test = AppTest.from_file(str(HOME), default_timeout=30).run()
    (deck,) = test.get("bidi_component")
    assert deck.proto.component_name == "labeler_deck"
    assert json.loads(deck.proto.json) == {"session": session.id, "words": ENGLISH.part("deck.")}


@pytest.mark.parametrize("page", PAGES[1:])
def test_a_page_without_a_session_says_what_is_wrong_and_what_to_do(small: Workspace, page: str) -> None:
    with pytest.raises(Missing) as missing:
        loop.newest_session(small)
    test = visit(page)
    (box,) = test.error
    assert missing.value.error.rstrip(".") in box.value.replace("\\", "")


def test_start_shows_folder_progress_and_what_was_set_aside(
    small: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.start_session(small, "Is it green?")
    for module in (loop, overview):
        monkeypatch.setattr(module, "is_drawn", lambda ws: True)
    texts = [t.value for t in visit("start").text]
    assert str(small.images) in texts
    assert "broken.png\nIt is empty." in texts
    captions = [c.value for c in visit("start").caption]
    assert "41 images, all taken in. One is a copy of another." in captions
    assert any("0.85" in c and "0.44" in c and "0.94" in c and "0.91" in c for c in captions)
    assert any("drawn" in m.value for m in visit("start").markdown)


def test_in_spanish_start_says_why_files_are_set_aside_and_what_is_wrong_in_the_background(
    small: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "words", lambda: Words("es"))
    loop.start_session(small)
    loop.start_session(small, "Is it green?")
    with pytest.raises(Unreadable) as torn:
        images.decode((small.images / "copy.png").read_bytes()[:200])
    small.catalog.note_files(small.catalog.begin_scan(), [SeenFile("torn.png", 200, 1)])
    (file,) = small.catalog.new_files(10)
    small.catalog.add_decoded([Aside(file.id, torn.value.reason)])
    monkeypatch.setattr(worker, "current", Troubled)
    test = visit("start")
    assert "torn.png\nEl archivo está cortado." in [t.value for t in test.text]
    (warning,) = test.warning
    wrong = "ws/labeler.db está bloqueado por otro programa. Cierra ese programa o espera; luego inténtalo"
    assert warning.value.replace("\\", "") == f"{wrong} de nuevo."
    (choice,) = [s for s in test.selectbox if s.label == Words("es")("start.choose")]
    assert choice.options == ["Is it green?  (sí, no)", "¿Es esto lo que buscas?  (sí, no)"]


class Troubled:
    """A worker whose database somebody else has locked."""

    def problem(self) -> str:
        """Return both sentences, as the process that takes images in sends them."""
        error, do = database.TROUBLE[sqlite3.SQLITE_BUSY]
        return f"ws/labeler.db {error}. {do}"

    def progress(self) -> Progress:
        """Return that all is taken in."""
        return Progress("done", 41, 41)


def test_a_question_that_nobody_gave_is_stored_in_english_by_pages_in_spanish(
    small: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spanish = Words("es")
    monkeypatch.setattr(reader, "words", lambda: spanish)
    press(visit("start"), spanish("start.another.go"))
    (made,) = loop.sessions(small)
    assert made.question == loop.QUESTION
    assert spanish("start.question.default") in [t.value for t in visit("start").text]
    (search,) = [e.proto for e in visit("search").get("bidi_component")]
    assert json.loads(search.json)["question"] == spanish("start.question.default")
    test = visit("team")
    (asked,) = [t for t in test.text_input if t.label == spanish("team.question")]
    assert asked.value == spanish("start.question.default")
    forms = [b for b in test.button if b.label == spanish("team.set")]
    forms[1].click().run()
    assert not test.exception
    assert loop.newest_session(small).question == loop.QUESTION
    asked.set_value("¿Es verde?")
    forms[1].click().run()
    assert loop.newest_session(small).question == "¿Es verde?"


def test_team_takes_settled_images_as_known_and_shows_who_is_against_them(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    owner = loop.owner(small)
    for item in range(20):
        loop.correct(small, session, owner, item, "yes" if is_green(small, item) else "no")
    test = visit("team")
    next(n for n in test.number_input if n.label == "Add settled images").set_value(20)
    next(c for c in test.checkbox if c.label.startswith("Tell people")).set_value(True)
    forms = [b for b in test.button if b.label == "Set"]
    forms[-1].click().run()
    assert not test.exception
    assert small.dealing.count_gold(session.id) == 20
    assert loop.get_session(small, session.id).gold_feedback
    assert any(m.value.startswith("**20** images: ") for m in test.markdown)
    for name in ("Ada", "Bob", "Cy"):
        person = small.roster.add_person(name, "swipe").id
        for item in range(20):
            card = small.dealing.add_card(session.id, item, person, "gold", time.time())
            says = "yes" if is_green(small, item) != (name == "Cy") else "no"
            event = LabelEvent(str(uuid.uuid4()), item, says, datetime.now(UTC), card)
            small.journal.add_events(session, person, [event])
    disputes._lately.forget()  # what the page found out just before holds for some seconds
    (doubt,) = [e for e in visit("team").expander if "worth a look" in e.label]
    assert doubt.label.startswith("Cy (")
    assert any("images of known label" in t.value for t in doubt.text)


def test_start_changes_the_goal_of_the_same_session(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?", goal="find")
    visit("start").radio[0].set_value("classify").run()
    assert [(s.id, s.goal) for s in loop.sessions(small)] == [(session.id, "classify")]


def test_start_renames_and_adds_answers_and_keeps_what_was_typed_wrong_for_later(small: Workspace) -> None:
    loop.start_session(small, "Is it green?")
    test = visit("start")
    test.text_input[0].set_value("green")
    test.text_input[2].set_value("mixed")
    press(test, "Save")
    assert loop.newest_session(small).labels == ("green", "no", "mixed")
    test = visit("start")
    test.text_input[1].set_value("green")
    press(test, "Save")
    assert len(test.error) == 1
    assert loop.newest_session(small).labels == ("green", "no", "mixed")


def test_start_takes_example_pictures(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    test = visit("start")
    path = small.images / "picture 000.png"
    files = [("picture.png", path.read_bytes(), "image/png"), ("x.png", b"?", "image/png")]
    test.get("file_uploader")[0].set_value(files).run()
    assert loop.session_status(small, session)["counts"]["yes"] == 1  # it is in the pool
    assert len(test.error) == 1  # the other one is no picture
    assert "yes: picture.png" in [t.value for t in test.text]


def test_start_goes_on_with_the_session_that_is_chosen(small: Workspace) -> None:
    old = loop.start_session(small, "Is it green?")
    loop.start_session(small, "Is it blue?")
    test = visit("start")
    test.selectbox[0].set_value(old.id).run()
    assert "Is it green?" in [t.value for t in test.text]


def asked(test: AppTest) -> dict[str, Any]:
    """Return what the search in the browser begins with."""
    (found,) = (e.proto for e in test.get("bidi_component") if e.proto.component_name == "labeler_search")
    data = json.loads(found.json)
    assert isinstance(data, dict)
    return data


def test_search_begins_with_tiles_or_with_an_item(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    data = asked(visit("search"))
    assert (len(data["begin"]), data["first"], data["session"], data["reads"]) == (
        24,
        None,
        session.id,
        False,
    )
    assert asked(visit("search", item="5"))["first"]["item"] == 5
    test = visit("search", item="99999")
    assert len(test.error) == 1
    assert asked(test)["first"] is None
    assert asked(visit("search", item="²"))["first"] is None


def test_search_begins_with_what_was_found(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    answer(small, session)
    begin = asked(visit("search"))["begin"]
    found = [t for t in begin if t["chip"]]
    assert found
    assert found == begin[: len(found)]  # then others, to begin with something else
    assert all(is_green(small, t["item"]) and t["chip"]["text"] == "yes" for t in found)
    assert len({t["item"] for t in begin}) == len(begin) == 24


def test_review_shows_answers_predictions_and_what_is_unsure(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    answer(small, session)
    loop.correct(small, session, loop.owner(small), 0, "unsure")
    test = visit("review")
    assert len(tiles(test)) == 12
    assert not any(t["chip"]["predicted"] for t in tiles(test))
    unsure = test.get("button_group")[1].set_value("unsure").run()
    assert [t["item"] for t in tiles(unsure)] == [0]
    test = visit("review")
    test.get("button_group")[0].set_value("predicted").run()
    shown = tiles(test)
    assert len(shown) == 28
    assert all(t["chip"]["predicted"] for t in shown)
    sure = [float(t["note"].split()[-1]) for t in shown]
    assert sure == sorted(sure, reverse=True)
    assert any("nobody has looked" in c.value and "rough" in c.value for c in test.caption)
    test.slider[0].set_value(0.95).run()
    assert not test.exception
    assert test.info or all(float(t["note"].split()[-1]) >= 0.95 for t in tiles(test))


def test_review_turns_its_pages(small: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    session = loop.start_session(small, "Is it green?")
    for item in range(40):
        loop.correct(small, session, loop.owner(small), item, "yes")
    assert len(tiles(visit("review"))) == 40
    grid = results.labels_grid
    monkeypatch.setattr(results, "labels_grid", lambda *a, limit, **k: grid(*a, limit=min(limit, 15), **k))
    test = visit("review")
    assert len(tiles(test)) == 15


def test_export_counts_writes_and_offers_a_zip(small: Workspace) -> None:
    session = loop.start_session(small, "Is it green?")
    answer(small, session)
    test = visit("export")
    counted = {m.label: m.value for m in test.metric}
    greens = sum(is_green(small, i) for i in range(12))
    assert counted == {"yes": str(greens), "no": str(12 - greens), "can't tell": "0"}
    test.toggle[0].set_value(True).run()
    test.slider[0].set_value(0.5).run()
    press(test, "Write the files")
    (out,) = (small.folder / "exports").iterdir()
    with open(out / "labels.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {r["source"] for r in rows} == {"person", "predicted"}
    assert len(rows) == 41
    assert str(out) in [c.value for c in test.code]


# in a browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Workspace]]:
    """The whole server over the small workspace, with 12 answers and a round: (address, workspace)."""
    ws = make_small(tmp_path_factory.mktemp("site"), 200)
    answer(ws, loop.start_session(ws, "Is it <green>?"))
    with whole_server(ws) as url:
        yield url, ws


def go(browser: Browser, url: str, *, phone: bool = False, dark: bool = False, locale: str = "en-US") -> Page:
    """Return a new browser's page at this address, its grid or deck there."""
    page = browser.new_context(
        viewport={"width": 390, "height": 844} if phone else {"width": 1440, "height": 900},
        color_scheme="dark" if dark else "light", has_touch=phone, is_mobile=phone, accept_downloads=True,
        locale=locale,
    ).new_page()  # fmt: skip
    page.goto(url)
    expect(page.locator(".st-key-nav a")).to_have_count(len(PAGES))
    expect(page.locator("[data-testid=stHeader]")).to_be_hidden()  # the style has come
    return page


def label_of(ws: Workspace, item: int) -> str | None:
    found = results.labels_grid(ws, loop.newest_session(ws), limit=100).items
    return next((g.answer for g in found if g.item == item), None)


def count_events(ws: Workspace) -> int:
    return int(loop.session_status(ws, loop.newest_session(ws))["events"])


@pytest.mark.browser
def test_every_page_fits_its_window(browser: Browser, site: tuple[str, Workspace], tmp_path: Path) -> None:
    """Each on a phone or on a desk, by day or by night, and every second one the other way round."""
    for n, name in enumerate(PAGES):
        phone, dark = n % 2 == 0, n % 4 < 2
        page = go(browser, f"{site[0]}/{name}", phone=phone, dark=dark)
        expect(page.locator("h1, .deck .question").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        links = "[...document.querySelectorAll('.st-key-nav a')]"
        boxes = page.evaluate(f"{links}.map(a => a.getBoundingClientRect())")
        assert [b["left"] >= 0 and b["right"] <= (390 if phone else 1440) for b in boxes] == [True] * len(
            PAGES
        )
        assert len({b["top"] for b in boxes}) == 1
        assert not page.locator("[data-testid=stException], [data-testid=stAlert]").count()
        page.screenshot(path=tmp_path / f"{name}.png")
        page.context.close()


@pytest.mark.browser
def test_a_bar_too_long_for_a_phone_scrolls_with_the_page_in_view(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    page = go(browser, f"{site[0]}/export", phone=True, locale="es-ES")
    links = page.locator(".st-key-nav a")
    assert len({box["y"] for box in map(Locator.bounding_box, links.all()) if box}) == 1
    long, seen = page.locator(".st-key-nav").evaluate("e => [e.scrollWidth, e.clientWidth]")
    assert long > seen == 390
    expect(links.last).to_be_in_viewport(ratio=1)
    expect(links.first).not_to_be_in_viewport()
    for _ in range(len(PAGES) + 2):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Inicio":
            break
    expect(links.first).to_be_in_viewport(ratio=1)
    page.wait_for_timeout(500)  # nothing pulls it back
    expect(links.first).to_be_in_viewport(ratio=1)
    page.context.close()


@pytest.mark.browser
def test_review_puts_answers_right_by_click_by_key_and_takes_them_back(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    page = go(browser, f"{url}/review")
    first = page.locator(".tile").first
    item = int(first.get_attribute("data-item") or "")
    before = label_of(ws, item)
    first.locator(".quick").click()
    now = "no" if before == "yes" else "yes"
    expect(page.locator(f".tile[data-item='{item}'] .chip .word")).to_have_text(now)
    assert label_of(ws, item) == now

    page.locator(f".tile[data-item='{item}'] .pic").click()
    expect(page.locator("dialog[open] .name")).to_have_text(loop.get_item(ws, item).path)
    page.keyboard.press("3")  # can't tell
    expect(page.locator(f".tile[data-item='{item}'] .chip .word")).to_have_text("can't tell")
    page.keyboard.press("Escape")
    page.locator(f".tile[data-item='{item}'] .pic").focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open] .do", has_text="Take back").click()
    expect(page.locator(f".tile[data-item='{item}']")).to_have_count(0)
    assert label_of(ws, item) is None


@pytest.mark.browser
def test_search_goes_on_from_a_tile_and_asks_about_those_chosen(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    page = go(browser, f"{url}/search?item=20")
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    page.locator(".tile").nth(3).get_by_role("button", name="More").click()
    expect(page.locator(".like .example")).to_have_count(2)
    page.locator(".like .off").first.click()
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    waiting = [int(page.locator(".tile").nth(n).get_attribute("data-item") or "") for n in range(40)]
    chosen = [i for i in waiting if label_of(ws, i) is None][-2:]
    for i in chosen:
        page.locator(f".tile[data-item='{i}'] .pick").click()
    expect(page.locator(".bar .count")).to_have_text("2 chosen")
    page.get_by_role("button", name="Ask me about these").click()
    expect(page.get_by_text("2 put at the front of the deck")).to_be_visible()
    later = time.time() + 1000  # decks that other tests opened hold their cards for a while
    asking = {"have": [], "now": later, "lease_s": 5}
    cards = ws.dealing.lease_cards(loop.newest_session(ws).id, loop.owner(ws), 2, **asking)
    assert {c.item for c in cards} == set(chosen)
    assert {c.reason for c in cards} == {"asked"}


def items_of(page: Page) -> list[int]:
    found: list[int] = page.locator(".tile").evaluate_all("tiles => tiles.map(t => Number(t.dataset.item))")
    return found


def given(page: Page, item: int) -> Locator:
    """Return the button of the answer that a tile of the search has."""
    return page.locator(f".tile[data-item='{item}'] [aria-pressed=true]")


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait up to five seconds for something to come true."""
    until = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.browser
def test_search_labels_in_place_and_goes_on_to_the_next(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    page = go(browser, f"{url}/search?item=30")
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    first, second = [i for i in items_of(page) if label_of(ws, i) is None][:2]
    page.locator(f".tile[data-item='{first}'] .pic").click()
    page.keyboard.press("2")
    expect(given(page, first)).to_have_attribute("title", "no")
    eventually(lambda: label_of(ws, first) == "no")
    page.keyboard.press("Escape")
    page.locator(f".tile[data-item='{second}'] .pic").click()
    page.locator(".large").get_by_role("button", name="yes").click()
    expect(given(page, second)).to_have_attribute("title", "yes")
    eventually(lambda: label_of(ws, second) == "yes")
    page.reload()
    expect(given(page, first)).to_have_attribute("title", "no")
    loop.correct(ws, loop.newest_session(ws), loop.owner(ws), second, None)


@pytest.mark.browser
def test_search_labels_by_the_buttons_of_a_tile_and_all_that_are_chosen(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    before = count_events(ws)
    page = go(browser, f"{url}/search?item=30", phone=True)
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    one, two, three = [i for i in items_of(page) if label_of(ws, i) is None][:3]
    yes = page.locator(f".tile[data-item='{one}'] .bare[title=yes]")
    yes.focus()
    page.keyboard.press("Enter")
    expect(yes).to_have_attribute("aria-pressed", "true")
    expect(yes).to_be_focused()
    eventually(lambda: label_of(ws, one) == "yes")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the next button: it was a slip
    expect(given(page, one)).to_have_attribute("title", "no")
    eventually(lambda: label_of(ws, one) == "no")
    for item in (two, three):
        page.locator(f".tile[data-item='{item}'] .pick").tap()
    box = page.locator(".bar").bounding_box()
    assert box is not None
    assert box["height"] < 110  # on a phone it covers less than half a row
    page.locator(".bar").get_by_role("button", name="no").tap()
    eventually(lambda: [label_of(ws, i) for i in (two, three)] == ["no"] * 2)
    expect(given(page, three)).to_have_attribute("title", "no")
    expect(page.locator(".bar")).to_be_hidden()
    assert count_events(ws) == before + 4
    results.take_back(ws, loop.newest_session(ws), loop.owner(ws), [one, two, three])


@pytest.mark.browser
def test_who_answers_far_down_stays_there(browser: Browser, site: tuple[str, Workspace]) -> None:
    url, ws = site
    page = go(browser, f"{url}/search?item=30")
    expect(page.locator(".tile")).to_have_count(60)
    far = [i for i in items_of(page) if label_of(ws, i) is None][-1]
    before = count_events(ws)
    page.locator(f".tile[data-item='{far}'] .pick").click()
    down = page.locator(f".tile[data-item='{far}']").bounding_box()
    page.locator(".bar").get_by_role("button", name="no").click()
    expect(given(page, far)).to_have_attribute("title", "no")
    expect(page.locator(f".tile[data-item='{far}'] .pick")).to_be_focused()
    page.wait_for_timeout(300)
    box = page.locator(f".tile[data-item='{far}']").bounding_box()
    assert box is not None
    assert down is not None
    assert abs(box["y"] - down["y"]) < 100
    given(page, far).click()  # said already
    page.wait_for_timeout(300)
    assert count_events(ws) == before + 1
    results.take_back(ws, loop.newest_session(ws), loop.owner(ws), [far])


@pytest.mark.browser
def test_a_search_tells_two_labels_by_their_icons_and_opens_a_tile_for_three(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    first = loop.newest_session(ws)
    try:
        loop.new_session(ws, "Cat or dog?", ["cat", "dog"], "classify")
        page = go(browser, f"{url}/search?item=30")
        expect(page.locator(".legend")).to_have_text("Cat or dog?   ✓ cat   ✕ dog")
        page.locator(".tile .pic").first.click()
        page.locator(".large").get_by_role("button", name="can't tell").click()
        page.keyboard.press("Escape")
        unsure = page.locator(".tile").first
        expect(unsure.locator(".chip")).to_contain_text("can't tell")
        expect(unsure.locator("[aria-pressed=false]")).to_have_count(2)
        page.context.close()
        loop.new_session(ws, "Which one?", ["cat", "dog", "bird"], "classify")
        page = go(browser, f"{url}/search?item=30")
        expect(page.locator(".tile .note").first).to_have_text("1.00")
        expect(page.locator(".legend")).to_have_text(
            "Which one?   Open a picture to answer, or choose several."
        )
        expect(page.locator(".tile .bare")).to_have_count(0)
        page.locator(".tile .pic").first.click()
        page.keyboard.press("3")
        expect(page.locator(".tile").first.locator(".chip")).to_contain_text("bird")
        page.keyboard.press("Escape")
        for n in (1, 2):
            page.locator(".tile .pick").nth(n).click()
        page.locator(".bar").get_by_role("button", name="dog").click()
        for n in (1, 2):
            expect(page.locator(".tile").nth(n).locator(".chip")).to_contain_text("dog")
    finally:
        loop.start_session(ws, first.question)


@pytest.mark.browser
def test_an_answer_in_a_search_is_sent_until_the_server_has_it(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    page = go(browser, f"{url}/search?item=30")
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    free = [i for i in items_of(page) if label_of(ws, i) is None][:3]
    sent: list[str] = []

    def refuse(route: Route) -> None:
        sent.append(str(route.request.post_data))
        route.abort() if len(sent) < 2 else route.continue_()

    page.route("**/api/labels*", refuse)
    for i in free:
        page.locator(f".tile[data-item='{i}'] .pic").click()
        page.keyboard.press("2")
        page.keyboard.press("Escape")
    expect(page.locator(".pending")).to_have_count(0, timeout=10_000)
    assert [label_of(ws, i) for i in free] == ["no"] * 3
    assert len(sent) >= 2
    before = count_events(ws)
    ids = {e["id"] for text in sent for e in json.loads(text)["events"]}
    assert len(ids) == 3
    assert count_events(ws) == before
    results.take_back(ws, loop.newest_session(ws), loop.owner(ws), free)


@pytest.mark.browser
def test_answers_in_a_search_outlive_their_page_and_go_to_their_own_question(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    page = go(browser, f"{url}/search?item=31")
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    free = [i for i in items_of(page) if label_of(ws, i) is None][:2]
    asked, before = loop.newest_session(ws), count_events(ws)
    page.route("**/api/labels*", lambda route: route.abort())
    for i in free:
        page.locator(f".tile[data-item='{i}'] .pic").click()
        page.keyboard.press("2")
        page.keyboard.press("Escape")
    expect(page.locator(".told.wrong span")).to_have_text(
        "An answer waits for the server. It is sent again by itself."
    )
    page.locator(".tray.like .open").wait_for()
    page.locator(f".tile[data-item='{free[0]}']").get_by_role("button", name="More").click()
    expect(page.locator(f".tile[data-item='{free[0]}'] .pending")).to_be_visible()  # after a new search too
    page.goto(f"{url}/found")
    assert count_events(ws) == before
    page.unroute("**/api/labels*")
    ids = page.evaluate(
        "Object.entries(localStorage).filter(([k]) => k.startsWith('labeler.search.'))"
        ".flatMap(([, v]) => JSON.parse(v)).map((e) => [e.session, e.item, e.label])"
    )
    assert sorted(ids) == sorted([asked.id, i, "no"] for i in free)
    page.goto(f"{url}/search?item=31")
    eventually(lambda: [label_of(ws, i) for i in free] == ["no"] * 2)
    eventually(lambda: not page.evaluate(
        "Object.keys(localStorage).filter((k) => k.startsWith('labeler.search.')).length"
    ))  # fmt: skip
    assert count_events(ws) == before + 2
    results.take_back(ws, asked, loop.owner(ws), free)


@pytest.mark.browser
def test_yes_then_no_on_what_a_search_begins_with(browser: Browser, site: tuple[str, Workspace]) -> None:
    url, ws = site
    page = go(browser, f"{url}/search")
    expect(page.locator(".tile").first).to_be_visible()
    one, two = items_of(page)[:2]
    before = [label_of(ws, i) for i in (one, two)]
    page.locator(f".tile[data-item='{one}'] .pic").click()
    page.keyboard.press("1")
    page.wait_for_timeout(700)
    page.keyboard.press("2")
    eventually(lambda: [label_of(ws, i) for i in (one, two)] == ["yes", "no"])
    for i, label in zip((one, two), before, strict=True):
        loop.correct(ws, loop.newest_session(ws), loop.owner(ws), i, label)


@pytest.mark.browser
def test_a_search_that_fails_is_not_repeated_by_itself(browser: Browser, site: tuple[str, Workspace]) -> None:
    page = go(browser, f"{site[0]}/search?item=20")
    expect(page.locator(".tile")).to_have_count(60)
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    page.route("**/api/search*", refuse)
    page.mouse.move(700, 600)
    for _ in range(12):
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(30)
    expect(page.locator(".told.wrong")).to_contain_text("can't be reached")
    page.wait_for_timeout(500)
    tries = len(asked)
    page.wait_for_timeout(1500)
    assert len(asked) == tries
    assert page.locator(".tile").count() == 60
    page.unroute("**/api/search*")
    page.mouse.wheel(0, -300)
    page.mouse.wheel(0, 900)
    expect(page.locator(".told.wrong")).to_have_count(0)
    assert page.locator(".tile").count() > 60


@pytest.mark.browser
def test_what_was_chosen_while_a_search_came_in_stays_chosen(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    """An address that names a picture shows no others before its results."""
    page = go(browser, f"{site[0]}/label")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/search*", hold)
    with page.expect_request("**/api/search*"):
        page.goto(f"{site[0]}/search?item=20")
    expect(page.locator(".tray.like .example")).to_have_count(1)
    assert page.locator(".tile").count() == 0
    held[0].continue_()
    page.locator(".tile .pick").first.click()
    page.wait_for_timeout(300)
    expect(page.locator(".bar .count")).to_have_text("1 chosen")


@pytest.mark.browser
def test_search_loads_more_as_one_scrolls(browser: Browser, site: tuple[str, Workspace]) -> None:
    page = go(browser, f"{site[0]}/search?item=20")
    expect(page.get_by_text("Scroll for more")).to_be_visible()
    expect(page.locator(".tile")).to_have_count(60)
    page.mouse.move(700, 600)
    for _ in range(60):
        page.mouse.wheel(0, 900)
        if page.locator(".tile").count() > 120:
            break
        page.wait_for_timeout(50)
    expect(page.get_by_text("the nearest first")).to_contain_text("All 2")
    assert len(set(items_of(page))) > 190
    assert items_of(page)[0] == 20


@pytest.mark.browser
def test_tiles_and_files_are_dragged_into_a_search(browser: Browser, site: tuple[str, Workspace]) -> None:
    url, ws = site
    page = go(browser, f"{url}/search")
    expect(page.locator(".tile").first).to_be_visible()
    green = next(i for i in range(24) if is_green(ws, i))
    if green not in items_of(page):
        green = items_of(page)[0]
    page.locator(f".tile[data-item='{green}']").drag_to(page.locator(".tray.like"))
    expect(page.locator(".like .example")).to_have_count(1)
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    assert items_of(page)[0] == green
    other = items_of(page)[1]
    tray = page.locator(".tray.unlike")
    over = "t => { t.classList.add('over'); return getComputedStyle(t).position; }"
    assert tray.evaluate(over) != "absolute"  # it stays where it is while a picture is held over it
    page.locator(f".tile[data-item='{other}']").drag_to(tray)
    expect(page.locator(".unlike .example")).to_have_count(1)
    expect(page.locator(".like .example")).to_have_count(1)
    page.get_by_role("button", name="Begin anew").click()
    expect(page.locator(".example")).to_have_count(0)
    expect(page.locator(".tile .note")).to_have_count(0)
    path = ws.images / loop.get_item(ws, 11).path
    drop = """async ([name, data]) => {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), moved = new DataTransfer();
        moved.items.add(new File([bytes], name, { type: "image/png" }));
        const find = (root) => root.querySelector(".tray.like")
            ?? [...root.querySelectorAll("*")].map((e) => e.shadowRoot && find(e.shadowRoot)).find(Boolean);
        const init = { dataTransfer: moved, bubbles: true, cancelable: true };
        find(document).dispatchEvent(new DragEvent("drop", init));
    }"""
    page.evaluate(drop, [path.name, base64.b64encode(path.read_bytes()).decode()])
    expect(page.locator(".tile .note").first).to_have_text("1.00")
    expect(page.locator(".like .example img")).to_have_attribute("alt", path.name)
    assert 11 in items_of(page)[:10]  # some have its very colour


@pytest.mark.browser
def test_a_search_that_fails_says_why_and_the_next_one_works(
    browser: Browser, site: tuple[str, Workspace], tmp_path: Path
) -> None:
    url, ws = site
    page = go(browser, f"{url}/search")
    (tmp_path / "text.png").write_text("no picture")
    page.locator(".tray.like input[type=file]").set_input_files(tmp_path / "text.png")
    expect(page.locator(".told.wrong")).to_contain_text("Try again in a moment.")  # no encoder runs here
    page.locator(".like .off").click()
    expect(page.locator(".told.wrong")).to_have_count(0)
    page.locator(".tray.unlike input[type=file]").set_input_files(ws.images / loop.get_item(ws, 3).path)
    expect(page.get_by_text("at least one picture of what you look for")).to_be_visible()
    page.locator(".tray.like input[type=file]").set_input_files(ws.images / loop.get_item(ws, 4).path)
    expect(page.locator(".tile .note").first).to_be_visible()


@pytest.mark.browser
def test_a_picture_that_is_none_is_left_out_and_the_others_are_searched_by(
    browser: Browser, site: tuple[str, Workspace], tmp_path: Path
) -> None:
    url, ws = site
    page = go(browser, f"{url}/search")
    (tmp_path / "truth.csv.png").write_text("a,b")
    good = ws.images / loop.get_item(ws, 4).path

    def refuse(route: Route) -> None:  # as the server does where an encoder runs
        if b"truth.csv" in (route.request.post_data_buffer or b""):
            error = "truth.csv.png: The picture can't be used: This is no image that can be read."
            route.fulfill(status=400, json={"error": error, "do": "Try another one."})
        else:
            route.continue_()

    page.route("**/api/search*", refuse)
    page.locator(".tray.like input[type=file]").set_input_files([good, tmp_path / "truth.csv.png"])
    expect(page.locator(".told.wrong span")).to_have_text(
        "truth.csv.png: The picture can't be used: This is no image that can be read. "
        "Try another one. It was left out."
    )
    expect(page.locator(".like .example")).to_have_count(1)
    expect(page.locator(".tile .note").first).to_have_text("1.00")


@pytest.mark.browser
def test_names_of_files_and_people_are_shown_as_text(browser: Browser, site: tuple[str, Workspace]) -> None:
    url, ws = site
    item = next(i for i in range(200) if loop.get_item(ws, i).path == NASTY)
    page = go(browser, f"{url}/search?item={item}")
    page.locator(f".tile[data-item='{item}'] .pic").click()
    expect(page.locator("dialog[open] .name")).to_have_text(NASTY)
    expect(page.locator(".example img").first).to_have_attribute("alt", NASTY)
    page.goto(f"{url}/start")
    expect(page.get_by_text("Is it <green>?")).to_be_visible()
    assert page.locator("a[href*=evil], green").count() == 0


@pytest.mark.browser
def test_a_swipe_on_the_label_page_starts_no_script_run(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    url, ws = site
    page = browser.new_page()
    sent: list[float] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(time.monotonic())))
    page.goto(f"{url}/label")
    page.wait_for_selector(".deck[data-open] .card[data-ready]")
    if page.get_by_role("button", name="Got it").is_visible():
        page.get_by_role("button", name="Got it").click()
    page.wait_for_timeout(1000)
    events, frames = count_events(ws), len(sent)
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(400)
    for _ in range(100):
        if count_events(ws) >= events + 3:
            break
        page.wait_for_timeout(100)
    assert count_events(ws) == events + 3
    assert len(sent) - frames <= 1  # a round's own trigger may fall in here; never one per answer
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight <= innerHeight")
    page.context.close()


@pytest.mark.browser
def test_the_deck_tells_an_owner_that_the_question_is_closed_to_others(
    browser: Browser, site: tuple[str, Workspace], tmp_path: Path
) -> None:
    url, ws = site
    session = loop.set_state(ws, loop.newest_session(ws), "closed", "Thanks, all!")
    page = go(browser, f"{url}/label", phone=True, dark=True)
    note = page.locator(".note:not(.reached)")
    expect(note).to_have_text("Closed: others get no cards. The page Team opens it again. Thanks, all!")
    expect(page.locator(".deck[data-open] .card[data-ready]")).to_be_visible()
    page.screenshot(path=Path(os.environ.get("LABELER_SHOTS") or tmp_path) / "closed.png")
    loop.set_state(ws, session, "open", "")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(note).to_be_hidden()
    page.context.close()


@pytest.mark.browser
def test_the_deck_goes_on_while_the_server_is_gone_and_streamlit_stays_out_of_it(
    browser: Browser, site: tuple[str, Workspace]
) -> None:
    """Streamlit's own dialog lay over the deck, and made everything under it inert."""
    url, ws = site
    line = Line(int(url.rpartition(":")[2]))
    line.join()
    page = go(browser, f"http://127.0.0.1:{line.port}/label", phone=True)
    page.locator(".deck[data-open] .card[data-ready]").wait_for()
    page.wait_for_load_state("networkidle")  # the cards ahead are here
    if page.get_by_role("button", name="Got it").is_visible():
        page.get_by_role("button", name="Got it").click()
    page.evaluate(
        """() => {
          window.frames = 0;
          const inert = () => document.querySelector("[data-testid=stDialog]")?.checkVisibility()
            || document.querySelector("#root").inert;
          const look = () => { if (inert()) window.frames += 1; requestAnimationFrame(look); };
          look();
        }"""
    )
    events = count_events(ws)
    with page.expect_console_message(lambda m: "Streamlit server is not responding" in m.text):
        line.cut()
    expect(page.locator(".waiting")).to_have_text("Offline")
    page.locator(".deck [data-value=yes]").tap()
    expect(page.locator(".waiting")).to_have_text("1 waiting")
    page.locator(".deck[data-open] .card[data-ready]").wait_for()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".waiting")).to_have_text("2 waiting")
    assert page.evaluate("window.frames") == 0
    line.join()
    expect(page.locator(".waiting")).to_be_hidden(timeout=20_000)
    assert count_events(ws) == events + 2
    page.locator(".st-key-nav a", has_text="Found").tap()
    expect(page.locator("h1")).to_have_text("Found", timeout=20_000)
    page.context.close()
    line.cut()


@pytest.mark.browser
def test_who_asks_something_new_sees_the_question(browser: Browser, site: tuple[str, Workspace]) -> None:
    url, ws = site
    old = loop.newest_session(ws)
    page = go(browser, f"{url}/start", phone=True)
    page.get_by_text("Ask another question").tap()
    for question in ("Is it blue?", "Is it red?"):
        page.get_by_role("textbox", name="Question").fill(question)
        page.get_by_role("button", name="Ask this").tap()
        expect(page.locator(".st-key-question")).to_have_text(question)
        expect(page.locator(".st-key-question")).to_be_in_viewport(ratio=1)
    page.locator("[data-testid=stMain]").evaluate("e => e.scrollTo(0, 300)")
    page.wait_for_timeout(300)  # it is not pulled back later
    assert page.locator("[data-testid=stMain]").evaluate("e => e.scrollTop") > 200
    loop.use_session(ws, old)
    page.context.close()


@pytest.mark.browser
def test_an_export_comes_down_as_a_zip(browser: Browser, site: tuple[str, Workspace]) -> None:
    page = go(browser, f"{site[0]}/export")
    page.get_by_role("button", name="Write the files").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as zip").click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as z:
        assert {"labels.csv", "events.csv"} <= set(z.namelist())


@pytest.mark.browser
def test_the_team_page_is_live(browser: Browser, site: tuple[str, Workspace]) -> None:
    url, ws = site
    session = loop.newest_session(ws)
    page = go(browser, f"{url}/team")
    found = page.locator("[data-testid=stMetric]").filter(has_text="Found")
    before = found.locator("[data-testid=stMetricValue]").inner_text()
    page.evaluate("window.same = true")
    item = max(i for i in range(200) if label_of(ws, i) is None)
    said = LabelEvent(str(uuid.uuid4()), item, session.target, datetime.now(UTC))
    somebody = ws.roster.add_person("Wren", "swipe").id
    assert ws.journal.add_events(session, somebody, [said]).accepted == 1
    expect(found.locator("[data-testid=stMetricValue]")).to_have_text(str(int(before) + 1))
    expect(page.locator(".st-key-card_people")).to_contain_text("Wren")
    assert page.evaluate("window.same")  # it was not loaded again
    page.context.close()
