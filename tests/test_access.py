"""Everybody's desk: axe-core, contrast, keys alone, a screen reader, large text, narrow windows."""

import json
import re
from importlib.resources import files

import pytest
from playwright.sync_api import expect
from test_pages import PAGES, label_of, site

from labeler import loop
from tests.test_deck import READY, SEEN, comes_true, until

__all__ = ["site"]  # a fixture
pytestmark = pytest.mark.browser

SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
LABELS = ["crater", "dune field", "dust devil track", "layered bedrock", "boulders", "polygonal ground"]
LABELS += ["recurring slope lineae", "nothing", "<b>'more'</b> & more"]

# Findings in Streamlit's own markup that we can't change, by rule and by what they name: none.
STREAMLIT = set()

# every piece of text with too little contrast: [ratio, text, class]; what is disabled counts too
FAINT = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const part = (c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const found = [];
  const look = (root) => { for (const el of root.querySelectorAll("*")) {
    if (el.shadowRoot) look(el.shadowRoot);
    const words = [...el.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join("").trim();
    const box = el.getBoundingClientRect();
    const seen = el.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    // the value over a slider lies outside of its box, on the page
    if (!words || !seen || box.width < 3 || box.height < 3 || el.closest("[data-testid=stSlider]")) continue;
    const layers = [];
    let opacity = 1;
    for (let at = el; at && layers.at(-1)?.[3] !== 1; at = at.parentElement ?? at.getRootNode().host) {
      const style = getComputedStyle(at);
      layers.push(rgba(style.backgroundColor));
      opacity *= style.opacity;
    }
    const ground = layers.reverse().reduce((b, a) => over(a, b), [255, 255, 255, 1]);
    const ink = rgba(getComputedStyle(el).color);
    ink[3] *= opacity;
    const [high, low] = [light(over(ink, ground)), light(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push([ratio.toFixed(2), words.slice(0, 40), String(el.className)]);
  } };
  look(document);
  return found;
}"""

# what is outside of the window, cut off, or over another control: [what, text, class]
CUT = """() => {
  const found = [];
  const controls = [];
  const look = (root) => { for (const el of root.querySelectorAll("*")) {
    if (el.shadowRoot) look(el.shadowRoot);
    const box = el.getBoundingClientRect();
    const modal = root.querySelector("dialog[open]");
    if ((modal && !modal.contains(el)) || box.bottom < 0 || box.top > innerHeight) continue;
    // for screen readers, or in a row that scrolls of itself
    if (box.width < 3 || box.height < 3 || !el.checkVisibility({ visibilityProperty: true })) continue;
    if (el.closest(".sr, [role=radiogroup], [data-testid=stSkipToContent], .edges, .card")) continue;
    const note = (what) =>
      found.push([what, (el.innerText || "").slice(0, 40), String(el.className).slice(0, 40)]);
    const words = [...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (words && (box.left < -1 || box.right > innerWidth + 1)) note("outside");
    const style = getComputedStyle(el);
    if (words && style.overflowX !== "visible" && el.scrollWidth > el.clientWidth + 2) note("cut off");
    if (words && style.overflowY === "hidden" && el.scrollHeight > el.clientHeight + 3) note("cut off below");
    const free = !el.closest(".pick, .over, .grid ~ .bar");
    if (free && el.matches("button, a, summary, .question, .figures")) controls.push([el, box]);
  } };
  look(document);
  for (const [a, p] of controls) for (const [b, q] of controls) {
    const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    const nested = a.contains(b) || b.contains(a) || a.getRootNode() !== b.getRootNode();
    const apart = !nested && ![a, b].some((e) => e.closest(".st-key-nav"));
    const names = [a, b].map((e) => `${e.className} ${e.innerText}`);
    if (a !== b && apart && w > 2 && h > 2) found.push(["over another", ...names]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def axe():
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


@pytest.fixture
def open_page(browser, site):
    """Return a function that opens an address of the site, without the rule against scripts."""
    contexts = []

    def open_page(path, **options):
        context = browser.new_context(**{"viewport": SIZES["desk"], "bypass_csp": True} | options)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(SEEN)
        page.goto(f"{site[0]}/{path}")
        page.locator(f"{READY}, .tile, h1:not(.question)").first.wait_for()
        if "swipe" not in path:
            expect(page.locator(".st-key-nav a")).to_have_count(len(PAGES))
            expect(page.locator("[data-testid=stHeader]")).to_be_hidden()  # the style has come
            expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)
            expect(page.locator("[data-test-script-state=notRunning]")).to_have_count(1)  # all is there
        return page

    yield open_page
    for context in contexts:
        context.close()


def serious(page, axe):
    """Return {(rule, what it names)} of all serious and critical findings."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    bad = [v for v in found if v["impact"] in ("serious", "critical")]
    return {(v["id"], json.dumps(node["target"])) for v in bad for node in v["nodes"]} - STREAMLIT


def look_at(page, axe):
    """Assert that there is enough contrast by day and by night, on a desk and on a phone, and that axe has
    nothing to say to a desk by day and a phone by night."""
    for name, size in SIZES.items():
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for _ in range(100):  # colours change slowly
                if not (faint := page.evaluate(FAINT)):
                    break
                page.wait_for_timeout(50)
            assert faint == [], (name, scheme)
            if (name, scheme) in (("desk", "light"), ("phone", "dark")):
                for _ in range(20):
                    if not (found := serious(page, axe)):
                        break
                    page.wait_for_timeout(100)
                assert found == set(), (name, scheme)
    page.set_viewport_size(SIZES["desk"])


def enlarge(page):
    """Assert that nothing is cut off in a narrow window, zoomed to 200 %, or with text of 200 %."""
    ways = [((320, 640), "100%"), ((720, 450), "100%"), ((390, 844), "200%")]
    for (width, height), text in ways:
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(
            "(size) => document.documentElement.style.setProperty('font-size', size, 'important')", text
        )
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, text)
        assert page.evaluate(CUT) == [], (width, text)
    page.evaluate("document.documentElement.style.fontSize = ''")
    page.set_viewport_size(SIZES["desk"])


# what everybody can see ---------------------------------------------------------------------------


def test_start_is_for_everybody(open_page, axe):
    page = open_page("start")
    for summary in page.locator("summary").all():
        summary.click()
    look_at(page, axe)
    enlarge(page)
    assert page.title() == "Start · labeler"
    page.emulate_media(forced_colors="active")
    assert page.locator(".st-key-here a").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_search_is_for_everybody(open_page, axe):
    page = open_page("search?item=5")
    page.locator(".pick").nth(1).click()
    look_at(page, axe)
    enlarge(page)
    page.locator(".pic").first.click()
    look_at(page, axe)
    enlarge(page)


def test_review_is_for_everybody(open_page, axe):
    page = open_page("review")
    page.get_by_text("Predicted", exact=True).click()
    expect(page.locator(".chip.predicted").first).to_be_visible()
    look_at(page, axe)
    page.get_by_text("Answered", exact=True).click()
    expect(page.locator(".chip:not(.predicted)").first).to_be_visible()
    enlarge(page)
    page.locator(".pic").first.click()
    look_at(page, axe)
    enlarge(page)


def test_export_is_for_everybody(open_page, axe):
    page = open_page("export")
    page.get_by_text("Predictions too").click()
    expect(page.get_by_role("slider")).to_be_visible()
    look_at(page, axe)
    enlarge(page)


def test_the_deck_is_for_everybody(open_page, axe, site):
    page = open_page("label")
    look_at(page, axe)
    enlarge(page)
    page.goto(f"{site[0]}/swipe")
    page.wait_for_selector(READY)
    for way in (200, -200):
        x, y = 500, 400
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + way, y, steps=4)
        page.wait_for_timeout(100)
        assert page.evaluate(FAINT) == []  # the stamp
        page.mouse.move(x, y)
        page.mouse.up()
    page.keyboard.press("?")
    look_at(page, axe)
    enlarge(page)
    page.keyboard.press("Escape")
    page.set_viewport_size(SIZES["phone"])
    page.click(".stats")
    look_at(page, axe)
    page.emulate_media(forced_colors="active")
    colours = page.evaluate(  # at one go: the panel is drawn anew now and then
        "[...document.querySelectorAll('.panel .bar, .panel .fill')]"
        ".map((e) => getComputedStyle(e).backgroundColor)"
    )
    assert len(set(colours)) == 2


# by keys alone --------------------------------------------------------------------------------------

FOCUS = """async () => {
  let at = document.activeElement;
  while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  if (!at || at === document.body) return null;
  const around = [at, at.closest("label"), at.closest(".tile")].filter(Boolean);
  for (let i = 0, up = at.parentElement; i < 5 && up; i += 1, up = up.parentElement) around.push(up);
  const looks = () => around.flatMap((e) => [getComputedStyle(e), getComputedStyle(e, "::before")].map(
    (s) => [s.outline, s.boxShadow, s.backgroundColor, s.borderColor].join())).join();
  const focused = looks();
  at.blur();
  await new Promise((done) => setTimeout(done, 60));
  const shows = looks() !== focused;
  at.focus({ focusVisible: true, preventScroll: true });
  window.reached ??= new Set();
  const known = window.reached.has(at);
  window.reached.add(at);
  return { name: at.getAttribute("aria-label") || at.innerText?.slice(0, 40) || at.tagName, shows, known };
}"""
MISSED = """() => {
  const missed = [];
  const look = (root) => { for (const el of root.querySelectorAll("*")) {
    if (el.shadowRoot) look(el.shadowRoot);
    const kind = el.matches("a[href], button, input, select, textarea, summary");
    const control = kind && !el.disabled && el.tabIndex >= 0;
    const file = el.matches("input[type=file]"); // its button is reached
    const other = el.matches("[type=radio]:not(:checked), [role=radio]"); // by the arrow keys
    const seen = el.checkVisibility({ visibilityProperty: true });
    if (control && !file && !other && seen && !window.reached.has(el)) missed.push(el.outerHTML);
  } };
  look(document);
  return missed;
}"""


@pytest.mark.parametrize("path", [*PAGES[:1], *PAGES[2:], "label", "swipe"])
def test_tab_reaches_every_control_shows_where_it_is_and_gets_out_again(open_page, path):
    page = open_page(path)
    page.emulate_media(reduced_motion="reduce")
    page.add_style_tag(content="*, ::before { transition: none !important; }")
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUS)
        if at is None or at["known"]:
            break
        assert at["shows"], at
        seen.append(at["name"])
    else:
        pytest.fail(f"there is no way out: {seen}")
    assert page.evaluate(MISSED) == [], seen


def test_the_deck_is_worked_by_keys_alone(open_page):
    page = open_page("swipe")

    def tab_to(name):
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.value") == name:
                return
        pytest.fail(f"Tab does not reach {name}")

    def next_card(act):
        before = page.wait_for_selector(READY).get_attribute("data-card")
        act()
        page.wait_for_selector(f"{READY}:not([data-card='{before}'])")
        return before

    tab_to("yes")
    first = next_card(lambda: page.keyboard.press("Enter"))
    assert page.evaluate("document.activeElement.dataset.value") == "yes"  # it stays where it was
    next_card(lambda: page.keyboard.press("ArrowLeft"))
    next_card(lambda: page.keyboard.press("z"))
    next_card(lambda: page.keyboard.press("z"))
    assert page.wait_for_selector(READY).get_attribute("data-card") == first
    moved = lambda: page.locator(READY).evaluate("e => e.style.transform")  # noqa: E731
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Space")
    assert "scale(2.5)" in moved()
    before = moved()
    page.keyboard.press("Shift+ArrowRight")
    assert moved() != before
    assert "scale(2.5)" in moved()
    page.keyboard.press("Escape")
    assert moved() == ""
    tab_to("unsure")
    page.keyboard.press("?")
    assert page.evaluate("document.activeElement.closest('dialog').open")
    page.get_by_label("No keys").check()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.value") == "unsure"
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert page.locator(READY).get_attribute("data-card") == first


def test_the_grid_is_worked_by_keys_alone(open_page, site):
    """A tile that was mended is drawn anew: the focus fell to the page, and nothing was said."""
    ws = site[1]
    page = open_page("review")
    page.locator(".pic").first.focus()
    page.keyboard.press("ArrowRight")
    focus = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot?.activeElement"
    item = int(page.evaluate(f"{focus}.closest('.tile').dataset.item"))
    old = label_of(ws, item)
    new = "no" if old == "yes" else "yes"
    page.keyboard.press("Tab")
    comes_true(page, f"{focus}?.classList.contains('quick')")
    page.keyboard.press("Enter")
    expect(page.locator(f".tile[data-item='{item}'] .chip .word")).to_have_text(new)
    name = loop.get_item(ws, item).path
    assert page.locator("[role=status].sr").first.inner_text() == f"{new}: {name}"
    comes_true(page, f"{focus}?.closest('.tile')")
    page.locator(f".tile[data-item='{item}'] .pic").focus()
    page.keyboard.press("Enter")
    large = page.get_by_role("dialog")
    expect(large).to_have_attribute("aria-label", re.compile(rf"Picture \d+ of 12: {re.escape(name)}, {new}"))
    page.keyboard.press(str(["yes", "no"].index(old) + 1))
    until(lambda: label_of(ws, item) == old or page.wait_for_timeout(50))
    page.keyboard.press("Escape")
    comes_true(page, f"{focus}?.className === 'pic'")


def test_tiles_are_chosen_by_keys_and_the_focus_stays_in_the_grid(open_page):
    page = open_page("search?item=5")
    page.locator(".pic").first.focus()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(page.locator(".bar .count")).to_have_text("2 chosen")
    assert page.locator("[role=status].sr").first.inner_text() == "2 chosen"
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Enter")
    focus = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot?.activeElement"
    comes_true(page, f"{focus}?.className === 'pick'")


def test_cards_are_taken_along_by_keys_alone_and_everybody_can_read_how_many(open_page, axe):
    """On the way the button that was pressed goes: the focus must not go with it."""
    page = open_page("swipe")
    page.locator(".bag").focus()
    page.keyboard.press("Enter")
    page.locator(".packs .btn").first.wait_for()
    look_at(page, axe)
    enlarge(page)
    while page.evaluate("!document.activeElement.closest('.packs')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".along").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Give back"
    look_at(page, axe)
    page.keyboard.press("Enter")
    page.locator(".packs .btn").first.wait_for()
    expect(page.locator(".takeIn [role=status]")).to_have_text(re.compile(r"\d+ cards were given back\."))
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "bag round"


# what is heard ---------------------------------------------------------------------------------------


def test_what_a_screen_reader_hears_of_the_deck(open_page):
    page = open_page("swipe")
    name = re.compile(r"Image \d+ of 10 in this round, 64 by 48 pixels")
    expect(page.get_by_role("img", name=name)).to_have_count(1)
    live = page.locator(".live")
    assert live.inner_text() == ""
    with page.expect_response(re.compile("/api/labels")) as sent:
        page.keyboard.press("ArrowRight")
    sent.value.finished()  # or it would wait as well
    expect(live).to_have_text(re.compile(r"yes\. \d+ images answered\."))
    page.evaluate(
        "window.heard = [];"
        "new MutationObserver(() => heard.push(document.querySelector('.live').textContent))"
        ".observe(document.querySelector('.live'), { childList: true })"
    )
    page.context.set_offline(True)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".waiting")).to_have_text("1 waiting")
    lost = "No connection. Answers are kept."
    comes_true(page, f"heard.includes('{lost}')")  # before the answer, or after it
    page.context.set_offline(False)
    expect(live).to_have_text("Connected.")
    heard = page.evaluate("heard")
    assert heard.count(lost) == heard.count("Connected.") == 1
    assert len(heard) <= 3, heard
    assert page.locator(".waiting[role], .waiting [role]").count() == 0


# many labels, and no card ------------------------------------------------------------------------------


def test_nine_long_labels_and_every_state_without_a_card(open_page, axe, site):
    """The last test of this file: its question becomes the one that all pages show."""
    page = open_page("swipe")
    asked = {"question": "Which of these landforms is the most prominent one here? " * 2, "labels": LABELS}
    session = page.request.post(f"{site[0]}/api/sessions", data=asked).json()["id"]
    address = f"{site[0]}/swipe?session={session}"
    until(lambda: page.request.get(f"{site[0]}/api/session?session={session}").json()["round"])
    page.goto(address)
    page.wait_for_selector(READY)
    look_at(page, axe)
    enlarge(page)
    page.wait_for_selector(READY)
    page.route("**/api/**", lambda route: route.abort())
    page.keyboard.press("1")
    page.get_by_text("1 waiting").wait_for()
    page.wait_for_timeout(2000)  # it comes in slowly
    look_at(page, axe)
    page.goto(f"{address}&shell")  # no card comes with it; the answer may have gone out as the page was left
    page.get_by_text("The server can’t be reached.").wait_for()
    look_at(page, axe)
    enlarge(page)
