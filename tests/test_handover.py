"""Handing a question over: somebody becomes an owner, an owner steps back, and one always remains."""

import json
import time

import pytest
from streamlit.testing.v1 import AppTest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from labeler import loop, members, people
from labeler.door import COOKIE, FRESH_S
from labeler.errors import Missing, NotReady
from labeler.workspace import Workspace
from tests.served import OWNERS, answer, cards_of, is_problem
from tests.test_app import free_port, start
from tests.test_cli import run
from tests.test_deck import until
from tests.test_joining import HTML, join, joined, phone
from tests.test_pages import HOME
from tests.test_thanks import say


def link(ws, role="swipe"):
    return people.make_link(ws, role, lasts_s=3600)[0]


def named(ws, name):
    return ws.roster.named(name)


def test_who_is_made_an_owner_may_do_everything_on_the_device_they_have(app, ws):
    anna = joined(app, link(ws), "Anna")
    assert is_problem(anna.get("/screen/now"), 403)
    members.set_role(ws, named(ws, "anna").id, "own")
    time.sleep(FRESH_S)
    assert anna.get("/screen/now").status_code == 200
    assert anna.get("/api/session").json()["owner"]


def test_an_owner_steps_back_once_there_is_another_and_old_links_open_nothing(app, ws):
    token = people.owner_token(ws)
    olga = joined(app, link(ws, "own"), "Olga")
    spare = link(ws, "own")
    assert "You are the only owner" in olga.get("/me", headers=HTML).text
    assert olga.post("/me", data={"do": "back"}, headers=HTML).status_code == 400
    assert named(ws, "Olga").role == "own"
    anna = joined(app, link(ws), "Anna")
    members.set_role(ws, named(ws, "Anna").id, "own")
    assert "Owners are still: Anna" in olga.get("/me", headers=HTML).text
    assert olga.post("/me", data={"do": "back"}, headers=HTML).status_code == 303
    for method, path, body in OWNERS:
        assert is_problem(olga.request(method, path, json=body), 403)
    assert "Step back" not in olga.get("/me", headers=HTML).text
    assert anna.get("/screen/now").status_code == 200
    assert is_problem(phone(app).get(f"/api/session?token={token}"), 401)
    assert join(phone(app), spare).status_code == 410
    assert phone(app).get(f"/api/session?token={people.owner_token(ws)}").json()["owner"]


def test_all_browsers_of_the_owners_own_link_are_one_owner(app, ws):
    token = people.owner_token(ws)
    laptop, tablet = phone(app), phone(app)
    for browser in (laptop, tablet):
        browser.get(f"/api/session?token={token}")
        assert browser.get("/api/session").json()["owner"]
    assert "You are the only owner" in laptop.get("/me", headers=HTML).text
    assert laptop.post("/me", data={"do": "back"}, headers=HTML).status_code == 400
    anna = joined(app, link(ws), "Anna")
    members.set_role(ws, named(ws, "Anna").id, "own")
    time.sleep(FRESH_S)
    assert "whoever came by the owner" in anna.get("/me", headers=HTML).text
    assert "Owners are still: Anna." in laptop.get("/me", headers=HTML).text
    assert laptop.post("/me", data={"do": "back"}, headers=HTML).status_code == 303
    for browser in (laptop, tablet):
        assert is_problem(browser.get("/screen/now"), 403)
    assert [p.name for p in ws.roster.people() if p.role == "own" and p.id != ws.roster.owner().id] == [
        "Anna"
    ]


def test_who_only_swipes_makes_nobody_an_owner(app, ws):
    anna, bert = joined(app, link(ws), "Anna"), joined(app, link(ws), "Bert")
    joined(app, link(ws, "own"), "Olga")
    for one in (anna, bert):
        for wish in ("back", "own", "role"):
            one.post("/me", data={"do": wish, "role": "own", "name": "Carla"}, headers=HTML)
    assert {p.name: p.role for p in ws.roster.people() if p.role == "own"} == {"Olga": "own"}
    assert is_problem(anna.get("/team"), 403)


def test_what_somebody_said_weighs_as_what_they_are_now(ws):
    ws.store.set_votes(ws.store.session(), 3)
    a, b, c = (joined_by_link(ws, "swipe", name) for name in "abc")
    for person, label in ((a, "yes"), (b, "no"), (c, "no")):
        say(ws, person, 5, label)
    say(ws, a, 6, "yes")
    counts = lambda: loop.session_status(ws, ws.store.session())["counts"]  # noqa: E731
    assert (counts()["yes"], ws.journal.count_unfinished(1)) == (1, 1)
    members.set_role(ws, a, "own")
    assert (counts()["yes"], ws.journal.count_unfinished(1)) == (2, 0)
    assert ws.journal.standing(1).tally[0] == 2, "read anew it is the same"
    members.set_role(ws, b, "own")
    members.set_role(ws, a, "review")
    assert (counts()["no"], ws.journal.count_unfinished(1)) == (1, 1)


def test_what_was_done_by_what_people_say_stays_done(ws):
    ws.store.set_votes(ws.store.session(), 15, 2)
    a, b = (ws.roster.add_person(name, "swipe", name * 64).id for name in "ab")
    for item in range(6):
        say(ws, a, item, "no")
    say(ws, b, 9, "yes")
    ws.journal.set_done(1, [0, 1, 2], [])
    members.set_role(ws, b, "own")
    assert ws.journal.votes_of(1, range(10)) == {i: (1, i in (0, 1, 2, 9)) for i in (0, 1, 2, 3, 4, 5, 9)}


def test_an_image_that_an_owner_had_ended_is_asked_again_when_they_step_back(app, ws):
    ws.store.set_votes(ws.store.session(), 15, 2)
    olga, otto = (joined(app, link(ws, "own"), name) for name in ("Olga", "Otto"))
    (card,) = cards_of(olga, n=1)
    olga.post("/api/labels", json={"events": [answer(card["item"], "no", card["card"])]})
    assert ws.journal.votes_of(1, [card["item"]]) == {card["item"]: (1, True)}
    assert olga.post("/me", data={"do": "back"}, headers=HTML).status_code == 303
    until(lambda: ws.journal.votes_of(1, [card["item"]]) == {card["item"]: (1, False)})
    members.set_role(ws, named(ws, "Olga").id, "own")  # elsewhere, such as on the command line
    time.sleep(FRESH_S)
    otto.get("/api/session")
    until(lambda: ws.journal.votes_of(1, [card["item"]]) == {card["item"]: (1, True)})


def test_what_an_owner_had_said_counts_on_when_they_are_erased(ws):
    ws.store.set_votes(ws.store.session(), 2)
    olga, ann = (ws.roster.add_person(name, role, name).id for name, role in (("o", "own"), ("a", "swipe")))
    say(ws, olga, 5, "no")
    say(ws, ann, 5, "yes")

    def figures(known):
        counts = loop.session_status(known, known.store.session())["counts"]
        return counts, known.journal.votes_of(1, [5]), known.journal.answers(1).owned.tolist()

    before = figures(ws)
    assert before[0] == {"yes": 0, "no": 1, "unsure": 0, "skip": 0}
    members.erase(ws, olga)
    again = Workspace.open(ws.folder)
    assert figures(ws) == figures(again) == before
    again.close()
    assert ws.roster.other_owners(loop.owner(ws)) == []


def test_one_owner_always_remains(ws):
    owner = ws.roster.owner()
    with pytest.raises(NotReady):
        members.set_role(ws, owner.id, "swipe")
    a = joined_by_link(ws, "own")
    b = ws.roster.add_person("b", "own").id  # without a device nobody comes in
    with pytest.raises(NotReady):
        members.set_role(ws, a, "swipe")
    members.set_role(ws, b, "swipe")
    with pytest.raises(Missing):
        ws.roster.named("nobody")


def test_the_command_hands_over_and_gives_a_personal_link(app, ws):
    where = ("--workspace", str(ws.folder))
    joined(app, link(ws), "Anna")
    said = run("people", "--role", "anna", "own", *where).output
    assert "Anna may do everything from now on" in said
    code = said.partition("token=")[2].split()[0]
    tablet = phone(app)
    join(tablet, code)
    assert tablet.get("/api/session").json()["owner"]
    assert join(phone(app), code).status_code == 410, "it works once"
    number = named(ws, "Anna").id
    assert "only owner" in run("people", "--role", str(number), "review", *where, code=1).output
    joined(app, link(ws, "own"), "Olga")
    told = json.loads(run("people", "--role", str(number), "review", *where, "--json").output)
    assert (told["name"], told["role"]) == ("Anna", "review")
    assert "/join?token=" in told["url"]
    assert run("people", "--role", "Anna", "king", *where, code=2)


def test_the_team_page_hands_over_and_shows_the_link_once(ws, monkeypatch):
    monkeypatch.setenv("LABELER_WORKSPACE", str(ws.folder))
    monkeypatch.setattr("labeler.crew.address", lambda ws: "http://here:1")
    known = ws.roster.add_person("Anna", "swipe", "a" * 64)
    test = AppTest.from_file(str(HOME), default_timeout=30)
    test.switch_page("team.py").run()
    next(s for s in test.selectbox if s.key == "who").set_value(known.id).run()
    next(s for s in test.selectbox if s.key == f"may{known.id}").set_value("own").run()
    next(b for b in test.button if b.label == "Set what they may do").click().run()
    assert not test.exception
    assert ws.roster.person(known.id).role == "own"
    shown = lambda: [t.value for t in test.text if "/join?token=" in t.value]  # noqa: E731
    assert len(shown()) == 1
    test.run()
    assert shown() == []


def test_a_page_that_is_open_ends_with_the_access_that_opened_it(ws):
    port = free_port()
    with start(ws, port, "--share") as (_, client):
        olga = joined_over_http(ws, client, "own", "Olga")
        other = joined_over_http(ws, client, "own", "Otto")
        stream = f"ws://localhost:{port}/_stcore/stream"
        with (
            connect(stream, additional_headers={"cookie": olga}) as hers,
            connect(stream, additional_headers={"cookie": other}) as his,
        ):
            members.set_role(ws, named(ws, "Olga").id, "swipe")
            time.sleep(FRESH_S)
            for socket in (hers, his):
                socket.send(b"")
            with pytest.raises(ConnectionClosed) as closed:
                list(hers)
            assert closed.value.rcvd.code == 1008
            his.ping().wait(20)
        with pytest.raises(InvalidStatus), connect(stream, additional_headers={"cookie": olga}):
            pass


def joined_by_link(ws, role, name="a"):
    """Return the number of somebody who came by a link of this role."""
    return ws.roster.join(people.hash_token(link(ws, role)), name, name * 64)[0].id


def joined_over_http(ws, client, role, name):
    """Let somebody in at a real server; return the Cookie header of their browser."""
    reply = client.post("/join", data={"token": link(ws, role), "name": name}, headers=HTML)
    cookie = f"{COOKIE}={reply.cookies[COOKIE]}"
    client.cookies.clear()
    return cookie
