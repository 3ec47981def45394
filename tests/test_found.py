"""The estimate as people meet it: in the deck's header, on its page, and when a target is reached."""

import os
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Page, expect

from active.bound import certificate_price
from labeler import certificate, chart, judging, loop, ui, wording, workspace
from labeler.domain import Estimate, Round, Session
from labeler.workspace import Workspace
from tests.pools import event, is_target, make_pool
from tests.served import whole_server
from tests.test_access import axe, enlarge, look_at
from tests.test_pages import press, visit

__all__ = ["axe"]  # a fixture
SHOWN = ".deck[data-labels], h1:not(.question)"
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
    """The whole server over a pool of 300 with four questions: new, midway, done, and one to certify."""
    ws = make_pool(tmp_path_factory.mktemp("found"), 300, images=True)
    asked = {}
    for name, cards in (("new", 0), ("midway", 40), ("done", 180), ("certified", 40)):
        question = f"Is it one of them? ({name})"
        asked[name] = loop.new_session(ws, question, ["yes", "no"], seed=1)
        play(ws, asked[name], cards)
    loop.set_target(ws, asked["midway"], 0.95)
    loop.set_target(ws, asked["done"], 0.85)
    with whole_server(ws) as url:
        yield url, ws, asked
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
    page.locator(SHOWN).first.wait_for()
    return page


def facts(ws: Workspace, session: Session) -> dict:
    return loop.session_status(ws, loop.get_session(ws, session.id))


def shoot(page: Page, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("LABELER_SHOTS") or tmp_path)
    if page.locator("[data-testid=stMain]").count() and not page.locator(".deck").count():
        height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
        page.wait_for_timeout(300)
    page.screenshot(path=folder / f"{name}.png")


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
    low, high = (round(100 * e[name]) for name in ("low", "high"))
    assert e["next_finds"] >= wording.OFTEN
    expect(page.locator(".share")).to_have_text(f"{low}–{high} % found, more come")
    expect(page.locator(".deck[data-open] .card[data-ready]")).to_be_visible()
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
    page.goto(f"{url}/swipe?session={asked['done'].id}")
    e = facts(ws, asked["done"])["estimate"]
    assert e["next_finds"] < wording.OFTEN
    share, low, high = (round(100 * e[name]) for name in ("share", "low", "high"))
    expect(page.locator(".share")).to_have_text(f"About {share} % found ({low}–{high} %)")
    certificate.begin(ws, asked["certified"], 0.5, 7)
    page.goto(f"{url}/swipe?session={asked['certified'].id}")
    expect(page.locator(".share")).to_have_text("Certificate: 0 of 7")
    certificate.cancel(ws, asked["certified"])
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
    expect(page.locator(".deck[data-open] .card[data-ready]")).to_be_visible()
    note, card = said.bounding_box(), page.locator(".deck[data-open] .card[data-ready]").bounding_box()
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
    page.locator(SHOWN).first.wait_for()
    expect(page.locator(".share")).to_contain_text("% found (")
    expect(page.locator(".deck[data-open] .card[data-ready]")).to_be_visible()
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
    page.locator(SHOWN).first.wait_for()
    expect(page.locator(".top .share")).to_contain_text("% found (")
    expect(page.locator(".figures")).to_be_hidden()
    expect(page.locator(".aside .panel")).to_be_visible()
    expect(page.locator(".reached")).to_be_visible()
    shoot(page, "desk", tmp_path)
    page.click(".stats")
    expect(page.locator("dialog[open] .panel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".aside .panel")).to_be_visible()
    expect(page.locator(".deck[data-open] .card[data-ready]")).to_be_visible()
    page.set_viewport_size({"width": 844, "height": 390})
    page.wait_for_timeout(300)
    shoot(page, "side", tmp_path)
    page.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_explains_it_on_a_phone_and_takes_a_target(
    browser: Browser, site: tuple[str, Workspace, dict[str, Session]], tmp_path: Path, dark: bool
) -> None:
    url, ws, asked = site
    loop.use_session(ws, asked["done"])
    page = phone(browser, f"{url}/found", dark=dark)
    plots = page.locator("figure.plot")
    expect(plots).to_have_count(2)
    loaded = "[...document.querySelectorAll('.plot img')].map(i => i.complete && i.naturalWidth > 0)"
    assert page.evaluate(loaded) == [True, True]
    share = round(100 * facts(ws, asked["done"])["estimate"]["share"])
    expect(plots.first.locator(".end")).to_have_text(f"{share} %")
    expect(page.get_by_text("it is a model, no promise")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("figure.plot span.aim")).to_have_text("target 85 %")
    page.get_by_label("Target in percent").fill("97.5")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("figure.plot span.aim")).to_have_text("target 97.5 %")
    assert loop.get_session(ws, asked["done"].id).target_share == 0.975
    shoot(page, f"page-{'dark' if dark else 'light'}", tmp_path)
    page.get_by_role("button", name="No target").click()
    expect(page.locator("figure.plot span.aim")).to_have_count(0)
    assert loop.get_session(ws, asked["done"].id).target_share is None
    loop.set_target(ws, asked["done"], 0.85)
    page.context.close()


@pytest.mark.browser
@pytest.mark.parametrize("path", ["found", "swipe"])
def test_everybody_can_read_it(
    browser: Browser, site: tuple[str, Workspace, dict[str, Session]], axe: str, path: str, tmp_path: Path
) -> None:
    """By day and night, on a phone and a desk, with large text; the deck says that a target is reached."""
    url, ws, asked = site
    loop.use_session(ws, asked["done"])
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    context.add_init_script("localStorage.setItem('labeler.hint', 'seen')")
    page = context.new_page()
    page.goto(f"{url}/{path}")
    page.locator(SHOWN).first.wait_for()
    expect(page.locator("figure.plot, .reached:not([hidden])").first).to_be_visible()
    look_at(page, axe)
    enlarge(page)
    shoot(page, f"everybody-{path}", tmp_path)
    context.close()


# without a browser --------------------------------------------------------------------------


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    ws = make_pool(tmp_path, 300)
    monkeypatch.setenv(workspace.ENV, str(ws.folder))
    workspace._opened.cache_clear()
    yield ws
    ws.close()


def test_before_anything_is_known_the_page_says_so(ws: Workspace) -> None:
    loop.new_session(ws, "Is it?", ["yes", "no"], seed=1)
    test = visit("found")
    said = [c.value for c in test.caption]
    assert any("Not enough is known yet" in c and c.endswith("it takes about ten finds.") for c in said)
    assert any("begins after two rounds" in c for c in said)
    assert any("No card that was drawn at random" in c for c in said)
    assert [m.value for m in test.metric] == ["0", "not yet", "0"]
    assert not test.get("html")[2:]  # the style of all pages and their bar, and no picture


def test_the_page_says_what_an_estimate_lacks(ws: Workspace) -> None:
    """It said "about ten finds" also where there were more."""

    def says(text: str, lack: tuple[str, int]) -> None:
        assert judging.lacking(ws, session) == lack
        (said,) = [c.value for c in visit("found").caption if "Not enough is known yet" in c.value]
        assert text in said

    def give(answer: str, n: int) -> None:
        dealt = loop.next_cards(ws, session, person, n, have=[])
        loop.record(ws, session, person, [event(c.item, answer, c.id) for c in dealt])

    session, person = loop.new_session(ws, "Is it?", ["yes", "no"], seed=1), loop.owner(ws)
    for item in range(12):
        loop.correct(ws, session, person, item, "yes")
    loop.learn(ws, session)
    says("came as cards of the deck; so far 0.", ("cards", 0))
    give("yes", 11)
    says("all answers so far are “yes”", ("others", 11))
    give("no", 3)
    says("the next round of cards will say it", ("round", 11))
    loop.learn(ws, session)
    assert facts(ws, session)["estimate"]


def test_with_the_goal_classify_nothing_is_estimated(ws: Workspace) -> None:
    session = loop.new_session(ws, "Which?", ["yes", "no"], "classify", seed=1)
    play(ws, session, 60)
    test = visit("found")
    assert any("only estimated while the goal is to find" in c.value for c in test.caption)
    lines = wording.precision(judging.quality_json(ws, session), "yes")
    is_known = any("right" in text for _, text in lines)
    assert any("| 0.5 or more |" in m.value for m in test.markdown) == is_known
    assert any("nothing can be said yet" in c.value for c in test.caption) != is_known


def test_the_page_sets_and_clears_the_target_and_tells_the_price_of_a_certificate(ws: Workspace) -> None:
    session = loop.new_session(ws, "Is it?", ["yes", "no"], seed=1)
    play(ws, session, 80)
    test = visit("found")
    assert loop.get_session(ws, session.id).target_share is None
    test.number_input[0].set_value(90.0)
    press(test, "Set")
    assert loop.get_session(ws, session.id).target_share == 0.9
    assert any("Target: **90 %" in m.value for m in test.markdown)
    known = facts(ws, session)
    left = 300 - 80
    remaining = round(known["estimate"]["total"]) - known["found"]
    price = certificate_price(left, found=known["found"], share=0.9, remaining=remaining)
    assert any(f"at least 90 %, about {wording.tidy(price):,} more cards" in c.value for c in test.caption)
    press(test, "No target")
    assert loop.get_session(ws, session.id).target_share is None


def test_the_page_begins_a_certificate_says_how_it_stands_and_ends_it(ws: Workspace) -> None:
    session = loop.new_session(ws, "Is it <b>one</b>?", ["yes", "no"], seed=1)
    assert any(
        "No image has been labeled" in c.value or "Label some first" in c.value
        for c in visit("found").caption
    )
    play(ws, session, 80)
    test = visit("found")
    test.number_input[1].set_value(60.0).run()
    (draw,) = [b.label for b in test.button if b.label.startswith("Draw ")]
    press(test, draw)
    begun = certificate.look(ws, session)
    assert begun is not None
    assert (begun.state, begun.share, draw) == ("running", 0.6, f"Draw {begun.draws:,} cards")
    assert any(f"running, 0 of {begun.draws} cards answered" in m.value for m in test.markdown)
    assert not [b for b in test.button if b.label.startswith("Draw ")]
    play(ws, session, 20)
    press(test, "End it now")
    ended = certificate.look(ws, session)
    assert ended is not None
    assert (ended.state, ended.answered) == ("done", min(20, begun.draws))
    assert any(f"from {begun.draws} cards drawn evenly out of {begun.left}" in m.value for m in test.markdown)
    (draw,) = [b.label for b in test.button if b.label.startswith("Draw ")]
    press(test, draw)
    press(test, "Give it up")
    assert certificate.look(ws, session).state == "cancelled"
    assert any("was given up, so it says nothing" in m.value for m in test.markdown)


def test_predictions_are_vouched_for_by_random_cards_alone(ws: Workspace) -> None:
    session = loop.new_session(ws, "Is it?", ["yes", "no"], seed=1)
    ws.config = replace(ws.config, audit_share=0.5)
    play(ws, session, 100)
    quality = ws.store.quality(session.id)
    judged = [p for p in quality.labels[0] if p.cards]
    assert judged
    said = ui.caveat(ws, session)
    assert f"{judged[-1].right} of {judged[-1].cards} right" in said
    assert "checked against" not in said


# the picture ---------------------------------------------------------------------------------


def rounds(n: int, *, known_from: int = 2) -> list[Round]:
    """Return n rounds of 20 cards each whose estimate narrows."""
    made = []
    for i in range(1, n + 1):
        e = Estimate(0.9, 0.9 - 0.5 / i, 0.95, 100.0, 95.0, 100 + 900 / i, 2.0) if i >= known_from else None
        at = datetime(2026, 1, 1, tzinfo=UTC)
        made.append(Round(1, i, 300, True, 0, 0, 7, 5 * i, 20 * (i - 1), at, estimate=e))
    return made


def points(drawn: str, kind: str) -> list[list[tuple[float, float]]]:
    """Return the points of each line of a kind, in percent from the left and from above."""
    drawings = [ElementTree.fromstring(b64decode(d)) for d in re.findall(r"base64,([A-Za-z0-9+/=]+)", drawn)]
    lines = [line.get("points", "") for svg in drawings for line in svg.iter() if line.get("class") == kind]
    return [[tuple(map(float, p.split(","))) for p in line.split()] for line in lines]


def test_lines_are_where_the_numbers_are() -> None:
    made = rounds(11)
    drawn = chart.narrowing(made, 0.95)
    share, found = points(drawn, "middle")
    assert share[0] == (10, 10)  # 20 of 200 cards, 90 % from below
    assert share[-1] == (100, 10)
    (aim,) = points(drawn, "aim")
    assert aim == [(0, 5), (100, 5)]
    band, totals = points(drawn, "band")
    assert len(band) == 20
    assert band[0] == (10, 5)
    assert band[-1] == (10, pytest.approx(100 * (1 - (0.9 - 0.25)), abs=0.01))
    assert found[0] == (0, pytest.approx(100 - 100 * 5 / (1.08 * (100 + 900 / 11)), abs=0.01))
    assert max(x for x, _ in totals) == 100
    assert ">90 %</b>" in drawn
    assert ">55</b>" in drawn


@pytest.mark.parametrize("early", [[130.0], [290.0, 180.0], [9000.0, 250.0], [130.0, 9000.0, 250.0]])
def test_the_dashed_line_stays_in_its_frame(early: list[float]) -> None:
    made = rounds(11)
    known = [i for i, r in enumerate(made) if r.estimate]
    for i, total in zip(known, early, strict=False):
        made[i] = replace(made[i], estimate=replace(made[i].estimate, total=total, total_high=1.5 * total))
    (dashed,) = points(chart.narrowing(made, None), "total")
    assert all(0 <= down <= 100 for _, down in dashed)
    assert len(dashed) == len(known) - (early.index(9000.0) + 1 if 9000.0 in early else 0)


def test_a_long_history_is_thinned_and_a_short_one_is_no_picture() -> None:
    assert not chart.is_drawable([])
    assert not chart.is_drawable(rounds(2))  # one of them knows something
    assert not chart.is_drawable(rounds(9, known_from=10))
    assert not chart.is_drawable([replace(r, shown=40) for r in rounds(6)])
    assert chart.is_drawable(rounds(11))
    (line, _) = points(chart.narrowing(rounds(3000), None), "middle")
    assert len(line) == 120
    assert (line[0][0], line[-1][0]) == (pytest.approx(20 / 59980 * 100, abs=0.01), 100)


@pytest.mark.parametrize("top", [1, 3, 7, 40, 199, 200, 12345, 9_999_999])
def test_ticks_are_few_and_round(top: float) -> None:
    ticks = chart._steps(top)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] == 0
    assert ticks[-1] <= top
