"""The estimate as people meet it: in the deck's header, on its page, and when a target is reached."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from labeler import loop, workspace
from labeler.domain import Session
from labeler.workspace import Workspace
from tests.pools import event, is_target, make_pool
from tests.test_pages import ROOT, SERVE

PHONE = {"width": 390, "height": 844}


def play(ws: Workspace, session: Session, cards: int) -> None:
    """Answer so many cards truthfully, a round of learning after each batch."""
    person = loop.owner(ws)
    for _ in range(cards // 20):
        loop.learn(ws, session)
        dealt = loop.next_cards(ws, session, person, 20, have=[])
        events = [event(c.item, "yes" if is_target(c.item) else "no", c.id) for c in dealt]
        loop.record(ws, session, person, events)
    loop.learn(ws, session)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Workspace, dict[str, Session]]]:
    """The whole server over a pool of 300 with three questions: one new, one midway, one that is done."""
    ws = make_pool(tmp_path_factory.mktemp("found"), 300, images=True)
    asked = {}
    for name, cards in (("new", 0), ("midway", 40), ("done", 180)):
        question = f"Is it one of them? ({name})"
        asked[name] = loop.new_session(ws, question, ["yes", "no"], seed=1)
        play(ws, asked[name], cards)
    loop.set_target(ws, asked["midway"], 0.95)
    loop.set_target(ws, asked["done"], 0.85)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {workspace.ENV: str(ws.folder), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], cwd=ROOT, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(f"{url}/api/session", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url, ws, asked
    finally:
        server.terminate()
        server.wait(10)
        ws.close()


def phone(browser: Browser, url: str, *, dark: bool = False, width: int = 390) -> Page:
    """Return a phone at this address."""
    context = browser.new_context(
        viewport=PHONE | {"width": width}, has_touch=True, is_mobile=True,
        color_scheme="dark" if dark else "light",
    )  # fmt: skip
    context.add_init_script("localStorage.setItem('labeler.hint', 'seen')")
    page = context.new_page()
    page.goto(url)
    return page


def facts(ws: Workspace, session: Session) -> dict:
    return loop.session_status(ws, loop.get_session(ws, session.id))


def shoot(page: Page, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("LABELER_SHOTS") or tmp_path)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 320])
def test_the_header_says_what_share_is_found_once_that_is_known(
    browser: Browser, site: tuple[str, Workspace, dict[str, Session]], tmp_path: Path, width: int
) -> None:
    url, ws, asked = site
    page = phone(browser, f"{url}/swipe?session={asked['new'].id}", width=width)
    expect(page.locator(".share")).to_have_text("Share found: not enough yet")
    expect(page.locator(".reached")).to_be_hidden()
    page.goto(f"{url}/swipe?session={asked['midway'].id}")
    e = facts(ws, asked["midway"])["estimate"]
    share, low, high = (round(100 * e[name]) for name in ("share", "low", "high"))
    expect(page.locator(".share")).to_have_text(f"About {share} % found ({low}–{high} %)")
    expect(page.locator(".card[data-ready]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    head, stage = (page.locator(name).bounding_box() for name in (".top", ".stage"))
    assert head["y"] + head["height"] <= stage["y"] + 1
    clipped = "[...document.querySelectorAll('.figures, .share')].some(e => e.scrollWidth > e.clientWidth)"
    assert not page.evaluate(clipped)
    assert page.locator(".stats").bounding_box()["height"] <= 50  # two lines, as high as its button was
    shoot(page, f"midway-{width}", tmp_path)
    page.click(".stats")
    expect(page.locator("dialog[open] .panel")).to_contain_text("Target 95 %: not reached yet")
    shoot(page, f"panel-{width}", tmp_path)
    page.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("place", ["swipe", "label"])
def test_a_reached_target_is_said_once_and_swiping_goes_on(
    browser: Browser, site: tuple[str, Workspace, dict[str, Session]], tmp_path: Path, place: str
) -> None:
    url, ws, asked = site
    loop.use_session(ws, asked["done"])
    known = facts(ws, asked["done"])
    assert known["advice"]["reached"]
    page = phone(browser, f"{url}/{place}", dark=place == "label")
    said = page.locator(".reached")
    expect(said).to_contain_text("Probably found 85 %. Going on would bring")
    expect(page.locator(".card[data-ready]")).to_be_visible()
    note, card = said.bounding_box(), page.locator(".card[data-ready]").bounding_box()
    assert note["y"] + note["height"] <= card["y"] + 1
    shoot(page, f"reached-{place}", tmp_path)
    events = known["events"]
    page.keyboard.press("ArrowLeft")
    for _ in range(100):
        if facts(ws, asked["done"])["events"] > events:
            break
        page.wait_for_timeout(50)
    assert facts(ws, asked["done"])["events"] == events + 1
    expect(said).to_be_visible()
    said.get_by_role("button", name="OK").click()
    expect(said).to_be_hidden()
    page.reload()
    expect(page.locator(".share")).to_contain_text("% found (")
    expect(page.locator(".card[data-ready]")).to_be_visible()
    expect(said).to_be_hidden()
    page.keyboard.press("z")  # for those who come after
    page.wait_for_timeout(500)
    page.context.close()


@pytest.mark.browser
def test_on_a_desk_the_header_has_it_too_and_the_panel_comes_back(
    browser: Browser, site: tuple[str, Workspace, dict[str, Session]], tmp_path: Path
) -> None:
    url, _, asked = site
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script("localStorage.setItem('labeler.hint', 'seen')")
    page = context.new_page()
    page.goto(f"{url}/swipe?session={asked['done'].id}")
    expect(page.locator(".top .share")).to_contain_text("% found (")
    expect(page.locator(".figures")).to_be_hidden()
    expect(page.locator(".aside .panel")).to_be_visible()
    expect(page.locator(".reached")).to_be_visible()
    shoot(page, "desk", tmp_path)
    page.click(".stats")
    expect(page.locator("dialog[open] .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".aside .panel")).to_be_visible()
    expect(page.locator(".card[data-ready]")).to_be_visible()
    page.set_viewport_size({"width": 844, "height": 390})
    page.wait_for_timeout(300)
    shoot(page, "side", tmp_path)
    page.context.close()
