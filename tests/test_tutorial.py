"""Examples for newcomers: made of settled images, shown before the first card, and counted nowhere."""

import pytest
from streamlit.testing.v1 import AppTest

from labeler import people, tutorial
from labeler.errors import BadInput, NotReady
from tests.served import is_problem, served, visit
from tests.test_joining import HTML, PHONE, join, phone
from tests.test_pages import HOME
from tests.test_thanks import say


def settle(ws, labels="yynnnn"):
    owner = ws.roster.owner().id
    for item, label in enumerate(labels):
        say(ws, owner, item, {"y": "yes", "n": "no"}[label])


def link(ws, role="swipe", **more):
    return people.make_link(ws, role, lasts_s=3600, **more)[0]


def test_examples_have_both_answers_and_are_what_was_settled(ws):
    session = ws.store.session()
    with pytest.raises(NotReady):
        tutorial.make(ws, session)
    settle(ws, "nnnnnn")
    with pytest.raises(NotReady):
        tutorial.make(ws, session)
    settle(ws)
    made = tutorial.make(ws, session)
    assert tutorial.load(ws, session) == made
    assert sorted(one.label for one in made) == [0, 0, 1, 1, 1]
    assert all((one.label == 0) == (one.item < 2) for one in made)
    assert len({one.item for one in made}) == tutorial.MOST
    tutorial.explain(ws, session, ["Green.", "", "", "", ""])
    assert [one.why for one in tutorial.load(ws, session)] == ["Green.", "", "", "", ""]
    with pytest.raises(BadInput):
        tutorial.explain(ws, session, ["x" * 201, "", "", "", ""])
    tutorial.clear(ws, session)
    assert tutorial.load(ws, session) == []


def test_with_several_votes_an_image_is_settled_by_an_owner_or_by_enough_who_agree(ws):
    session = ws.store.set_votes(ws.store.session(), 3)
    a, b, c = (ws.roster.add_person(name, "swipe").id for name in "abc")
    for item in range(8):
        say(ws, a, item, "yes" if item < 4 else "no")
    with pytest.raises(NotReady):
        tutorial.make(ws, session)
    for person in (b, c):
        for item in range(6):
            say(ws, person, item, "yes" if item < 4 else "no")
    assert {one.item for one in tutorial.make(ws, session)} <= set(range(6))


def test_who_joins_sees_them_first_once_and_nothing_is_stored(ws, monkeypatch):
    settle(ws)
    lessons = tutorial.make(ws, ws.store.session())
    tutorial.explain(ws, ws.store.session(), ["Because <b>it is</b> so.", "", "", "", ""])
    with served(ws, monkeypatch, shared=True) as (app, _):
        anna = phone(app)
        where = join(anna, link(ws)).headers["location"]
        assert where == "/learn"
        events = ws.journal.count_events(1)
        first = anna.get(where, headers=HTML).text
        assert "Example 1 of 5" in first
        assert f"/tiles/{lessons[0].item}?" in first
        assert "Because" not in first, "before one's own answer nothing is said"
        right = anna.get(f"/learn?card=1&said={lessons[0].label}").text
        assert f"Right: {['yes', 'no'][lessons[0].label]}" in right
        assert "Because &lt;b&gt;it is" in right
        assert "This one is:" in anna.get(f"/learn?card=2&said={1 - lessons[1].label}").text
        assert "To the pictures" in anna.get("/learn?card=5&said=0").text
        assert anna.get("/learn?card=6").headers["location"] == "/swipe?session=1"
        assert "Example 1 of 5" in anna.get("/learn?card=x&said=99").text
        assert is_problem(anna.post("/learn?card=1&said=0"), 405)
        assert ws.journal.count_events(1) == events
        assert anna.get("/api/session").json()["mine"]["answers"] == 0
        known = ws.roster.named("Anna")
        tablet = join(phone(app), link(ws, person=known.id))
        assert tablet.headers["location"] == "/swipe", "who goes on elsewhere has seen them"
        assert join(phone(app), link(ws, "own"), "Olga").headers["location"] == "/"
        assert visit(app, url=PHONE, peer="192.168.1.9").get("/learn").status_code == 401
        tutorial.clear(ws, ws.store.session())
        assert join(phone(app), link(ws), "Bert").headers["location"] == "/swipe"


def test_where_finds_are_few_the_last_example_says_that_this_is_normal(ws, monkeypatch):
    said = "Most images will not show it: that is normal."
    settle(ws, "yyyy" + "n" * 15)
    session = ws.store.session()
    tutorial.make(ws, session)
    with served(ws, monkeypatch, shared=True) as (app, _):
        anna = phone(app)
        join(anna, link(ws))

        def pages():
            asked = [f"card={card}{more}" for card in range(1, 6) for more in ("", "&said=0", "&said=1")]
            return [query for query in asked if said in anna.get(f"/learn?{query}").text]

        assert pages() == [], "4 of 19"
        say(ws, ws.roster.owner().id, 19, "no")
        assert pages() == [], "a fifth is not below a fifth"
        say(ws, ws.roster.owner().id, 20, "skip")
        assert pages() == []
        say(ws, ws.roster.owner().id, 21, "unsure")
        assert pages() == ["card=5&said=0", "card=5&said=1"]
        spanish = anna.get("/learn?card=5&said=1", headers={"accept-language": "es"}).text
        assert "La mayoría de las imágenes no lo mostrará: es normal." in spanish


def test_the_team_page_makes_them_by_one_press(ws, monkeypatch):
    monkeypatch.setenv("LABELER_WORKSPACE", str(ws.folder))
    test = AppTest.from_file(str(HOME), default_timeout=30)
    test.switch_page("team.py").run()
    press = lambda label: next(b for b in test.button if b.label == label).click().run()  # noqa: E731
    press("Make them from settled images")
    assert any("can be examples" in e.value for e in test.error)
    settle(ws)
    press("Make them from settled images")
    whys = [t for t in test.text_input if t.placeholder == "Why, in a sentence"]
    assert len(whys) == 5
    whys[0].set_value("It is green.")
    press("Save")
    assert tutorial.load(ws, ws.store.session())[0].why == "It is green."
    press("Show none")
    assert not test.exception
    assert tutorial.load(ws, ws.store.session()) == []
