"""Thanks are true: finds belong to who saw them first, and no share is named that nobody knows."""

import contextlib
import random
import re
import uuid
from datetime import UTC, datetime

import pytest

from benchmarks.server import running
from labeler import loop, people
from labeler.domain import LabelEvent
from labeler.server.thanking import thanks
from labeler.tongue import Words
from tests.pools import make_pool
from tests.served import answer, begin, served
from tests.test_app import free_port
from tests.test_deck import READY
from tests.test_joining import PHONE_LIKE, joined

EN, ES = Words("en"), Words("es")
ESTIMATE = {"share": 0.92, "low": 0.85, "high": 0.968, "total": 30, "total_high": 34, "next_finds": 2.0}


def say(ws, person, item, label):
    event = LabelEvent(str(uuid.uuid4()), item, label, datetime.now(UTC))
    ws.journal.add_events(ws.store.session(), person, [event])


def facts(**other):
    return {"goal": "find", "found": 27, "estimate": ESTIMATE} | other


def test_a_find_is_whose_yes_came_first_for_as_long_as_most_say_so(ws):
    a, b, c = (ws.roster.add_person(name, "swipe").id for name in "abc")
    finds = lambda: [ws.journal.finds_of(1, one) for one in (a, b, c)]  # noqa: E731
    say(ws, a, 3, "yes")
    say(ws, b, 3, "yes")
    assert finds() == [1, 0, 0]
    say(ws, c, 4, "no")
    say(ws, b, 4, "yes")
    say(ws, a, 4, "yes")
    assert finds() == [1, 1, 0], "saying what others said already brings nothing"
    say(ws, a, 3, "no")  # of two who differ the newest counts: it is no find any more
    assert finds() == [0, 1, 0]
    say(ws, c, 3, "yes")
    assert finds() == [0, 2, 0], "of those who say so now, b was first"
    say(ws, b, 3, None)
    assert finds() == [0, 1, 1]
    assert ws.journal.newest_finds(1, 5) == [3, 4]
    say(ws, c, 3, None)
    say(ws, a, 9, "yes")
    assert finds() == [1, 1, 0]
    assert ws.journal.newest_finds(1, 5) == [9, 4]
    assert ws.journal.newest_finds(1, 1) == [9]


def test_finds_kept_event_by_event_are_those_that_are_counted_anew(ws):
    rng = random.Random(3)
    everybody = [ws.roster.add_person(f"p{i}", "own" if i == 0 else "swipe").id for i in range(5)]
    for _ in range(150):
        label = rng.choice(["yes", "yes", "no", "unsure", "skip", None])
        say(ws, rng.choice(everybody), rng.randrange(12), label)
        ws.journal.finds_of(1, 1)  # fed one by one
    with ws.journal._standing_now(1) as kept:
        anew = ws.journal.standing(1)
        assert +kept.first == +anew.first
        assert kept.finders == anew.finders
        assert set(kept.finders) == {item for item, n in kept.now.items() if n == 0} != set()
        assert sum(kept.first.values()) == len(kept.finders) == kept.tally[0]


def test_the_words_say_what_is_known_and_no_more():
    assert thanks(EN, facts(), 0, 0) == ""
    assert thanks(EN, facts(), 40, 3) == (
        "Your 40 answers found 3 that nobody had found before. Together we have found about 92 %"
        " (95 % sure: 85 to 97 %)."
    )
    early = facts(estimate=ESTIMATE | {"next_finds": 30.0})
    for unknown in (facts(estimate=None), early):
        said = thanks(EN, unknown, 1200, 1)
        assert said == "Your 1,200 answers found one that nobody had found before. Found together so far: 27."
        said = thanks(EN, unknown, 1200, 1, has_gold=True)  # one more would tell that a card was none
        assert said == "Your 1,200 answers found one that nobody had found before."
    nothing = thanks(EN, facts(estimate=None, found=0), 40, 0)
    assert nothing == "Your 40 answers tell the program where to look, and where not to."
    assert "%" not in thanks(EN, facts(goal="classify"), 40, 3)
    assert "92 %" in thanks(ES, facts(), 40, 3) != thanks(EN, facts(), 40, 3)


def test_volunteers_are_thanked_on_their_page_and_with_the_figures_and_owners_are_not(ws, monkeypatch):
    code = people.make_link(ws, "swipe", lasts_s=3600)[0]
    with served(ws, monkeypatch, shared=True) as (app, _):
        anna = joined(app, code)
        assert anna.get("/api/session").json()["thanks"] == ""
        cards = anna.get("/api/cards", params={"n": 3}).json()["cards"]
        labels = ("yes", "yes", "no")
        said = [answer(c["item"], label, c["card"]) for c, label in zip(cards, labels, strict=True)]
        anna.post("/api/labels", json={"events": said})
        known = anna.get("/api/session", headers={"accept-language": "es"}).json()
        assert known["mine"] | {"answers": 3, "found": 2, "first": 2} == known["mine"]
        assert known["thanks"].startswith("Con tus 3 respuestas aparecieron 2")
        assert "Your 3 answers found 2 that nobody had found before." in anna.get("/me").text
        loop.set_state(ws, ws.store.session(), "closed", "")
        assert "Found together so far: 2." in anna.get("/api/session").json()["thanks"]
        owner = joined(app, people.make_link(ws, "own", lasts_s=3600)[0], "Olga")
        owner.post("/api/labels", json={"events": [answer(1, "yes")]})
        assert owner.get("/api/session").json()["thanks"] == ""


@pytest.mark.browser
def test_the_deck_thanks_after_forty_answers_and_at_the_end_and_is_in_nobodys_way(tmp_path, browser):
    ws = make_pool(tmp_path, 44, images=True)
    begin(ws)
    options = ["--workspace", str(ws.folder), "--share", "--port", str(free_port())]
    with running(*options) as server, contextlib.closing(browser.new_context(**PHONE_LIKE)) as context:
        link = re.search(r"http://\S+/join\?token=\S+", "\n".join(server.lines))[0]
        page = context.new_page()
        page.goto(link)
        page.get_by_role("button", name="Start").tap()
        page.wait_for_url("**/swipe*")
        sent = {"data": {"events": [answer(i, "yes" if i == 30 else "no") for i in range(39)]}}
        base = page.url.partition("/swipe")[0]
        assert context.request.post(f"{base}/api/labels", **sent).json()["accepted"] == 39
        page.reload()
        page.wait_for_selector(READY)
        assert page.locator(".toast").is_hidden()
        page.keyboard.press("ArrowLeft")
        page.locator(".toast", has_text="Your 40 answers found one that nobody had found before.").wait_for()
        toast = page.locator(".toast").bounding_box()
        at = [toast["x"] + toast["width"] / 2, toast["y"] + toast["height"] / 2]
        assert page.evaluate("([x, y]) => !document.elementFromPoint(x, y).closest('.toast')", at)
        end = page.locator(".state .thanks")
        for _ in range(300):
            if end.is_visible():
                break
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(100)
        end.get_by_text("Found together so far: 1.").wait_for()
    ws.close()
