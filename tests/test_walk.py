"""The whole way, as a person goes it: start, hint, 60 answers, undo, no network, review, export."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.pool import flat_folder
from benchmarks.server import Client, first_cards, running
from tests.test_deck import PHONE, READY, Deck, item_of, until

pytestmark = pytest.mark.browser

ISLAND = "Is this an island?"


@pytest.fixture(params=["drawn", "aid"])
def place(request, tmp_path):
    """Return (options of the command, {file name: whether it is the target}) of each collection."""
    if request.param == "drawn":
        if os.environ.get("LABELER_TEST_DATA"):
            pytest.skip("there are real images, with which the same is done")
        from labeler.demo import demo_truth

        return [], demo_truth()
    data = Path(request.getfixturevalue("data_dir")) / "aid"
    folder, truth = flat_folder(data, tmp_path / "flat")
    options = ["--images", str(folder), "--question", "Is this a beach?"]
    return options, {name: kind == "Beach" for name, kind in truth.items()}


def photograph(page, name: str) -> None:
    """Keep a picture of the page where LABELER_SCREENSHOTS names a folder (docs/deck.png is one)."""
    if folder := os.environ.get("LABELER_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


class Person:
    """Somebody with a phone who knows the right answers."""

    def __init__(self, page, client, is_target):
        self.deck = Deck(page, client, client.get("/api/session")["id"])
        self.page, self.client, self.is_target = page, client, is_target
        self.given = {}

    def knows(self):
        """Return the right answer to the card on top."""
        item = item_of(self.deck)
        path = self.client.get(f"/api/items/{item}")["path"]
        self.given[item] = "yes" if self.is_target[path] else "no"
        return self.given[item]

    def swipe(self):
        before, right = self.deck.card(), self.knows()
        self.deck.swipe((170 if right == "yes" else -170, 10), steps=4, pause_ms=6)
        self.deck.next(before)

    def press(self):
        self.deck.key("ArrowRight" if self.knows() == "yes" else "ArrowLeft")

    def counts(self):
        want = Counter(self.given.values())
        return {k: v for k, v in want.items() if v}


def test_the_whole_way(place, browser, tmp_path):
    options, is_target = place
    with running(*options, cwd=tmp_path) as server:
        assert first_cards(server)[0] < 60
        assert any("drawn" in line.lower() for line in server.lines) == (options == [])
        context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
        page = context.new_page()
        person = Person(page, Client(server.url), is_target)
        deck = person.deck
        the_first_time(person)
        for _ in range(30):
            person.swipe()
        photograph(page, "deck" if options == [] else "deck-aid")
        for _ in range(30):
            person.press()
        deck.stored(**person.counts())
        assert sum(person.counts().values()) == 60
        until(lambda: deck.status()["round"] >= 3, limit_s=60)
        undo_across_a_reload(person)
        without_network(person, context)
        fixed = review_one(person, browser.new_context(viewport={"width": 1200, "height": 900}))
        folder = export(browser.new_context(viewport={"width": 1200, "height": 900}), server.url, tmp_path)
        read_back(folder, person, fixed)
        assert deck.errors == []


def the_first_time(person):
    """Open the link on a phone: the hint shows three gestures, once."""
    person.page.goto(f"{person.client.url}/swipe")
    person.page.wait_for_selector(".hint")
    words = person.page.locator(".hint .word").all_inner_texts()
    assert [w.lower() for w in words] == ["no", "yes", "can’t tell"]
    photograph(person.page, "hint")
    person.page.click("text=Got it")
    person.page.reload()
    person.page.wait_for_selector(READY)
    assert person.page.locator(".hint").count() == 0


def undo_across_a_reload(person):
    """Answer wrongly, reload, undo: the same card is there again."""
    card, item = person.deck.card(), item_of(person.deck)
    before = person.deck.status()["events"]
    person.deck.swipe((170, 10))
    person.deck.next(card)
    until(lambda: person.deck.status()["events"] == before + 1)
    person.page.reload()
    person.deck.card()
    person.page.keyboard.press("z")
    person.page.wait_for_selector(f"{READY}[data-card='{card}']")
    assert item_of(person.deck) == item
    person.deck.stored(**person.counts())
    person.swipe()
    person.deck.stored(**person.counts())


def without_network(person, context):
    """Go on swiping without a network; every answer arrives once it is back."""
    before = person.deck.status()["events"]
    context.set_offline(True)
    for _ in range(6):
        person.swipe()
    person.page.wait_for_selector("text=6 waiting")
    photograph(person.page, "waiting")
    assert person.deck.status()["events"] == before
    context.set_offline(False)
    until(lambda: person.deck.status()["events"] == before + 6, limit_s=40)
    person.deck.stored(**person.counts())


def review_one(person, context):
    """Turn one answer round on the Review page; return its item."""
    page = context.new_page()
    page.goto(f"{person.client.url}/review")
    item = list(person.given)[-1]
    old = person.given[item]
    new = "no" if old == "yes" else "yes"
    tile = page.locator(f"[data-item='{item}']")
    tile.wait_for(timeout=30_000)
    tile.get_by_role("button", name=new).first.click()
    person.given[item] = new
    person.deck.stored(**person.counts())
    context.close()
    return item


def export(context, url, home):
    """Press the button on the Export page; return the folder it names."""
    page = context.new_page()
    page.goto(f"{url}/export")
    page.get_by_role("button", name="Write the files").click(timeout=30_000)
    page.get_by_text("Written", exact=True).wait_for(timeout=30_000)
    folder = Path(page.locator("code").first.inner_text())
    context.close()
    return folder


def read_back(folder, person, fixed):
    """What the files say is what the person said."""
    paths = {item: person.client.get(f"/api/items/{item}")["path"] for item in person.given}
    with open(folder / "labels.csv", encoding="utf-8", newline="") as f:
        rows = {int(r["item"]): r for r in csv.DictReader(f)}
    assert {i: r["label"] for i, r in rows.items()} == person.given
    assert {i: r["path"] for i, r in rows.items()} == paths
    assert {r["source"] for r in rows.values()} == {"person"}
    with open(folder / "events.csv", encoding="utf-8", newline="") as f:
        events = list(csv.DictReader(f))
    assert len(events) == 60 + 3 + 6 + 1  # one undone, one again, six offline, one put right
    assert [e["label"] for e in events if int(e["item"]) == fixed][-1] == person.given[fixed]
    assert all(e["reason"] and e["round"] for e in events if e["card"])
