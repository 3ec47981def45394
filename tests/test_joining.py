"""How people join by links, what each may do, and how access ends."""

import contextlib
import html
import json
import re
import time

import pytest

from benchmarks.server import running
from labeler import loop, members, people
from labeler.door import COOKIE, FRESH_S, Door
from labeler.errors import BadInput, Missing, NotReady
from labeler.nicknames import BETWEEN, offered_name
from labeler.people import new_code, read_code, read_name
from labeler.server import desk, guesses
from labeler.tongue import Words, tables
from tests.served import OWNERS, ROUTES, answer, cards_of, is_problem, served, visit
from tests.test_app import free_port
from tests.test_cli import run

PHONE = "http://192.168.1.5:8501"
HTML = {"accept": "text/html"}
PHONE_LIKE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def phone(app, peer="192.168.1.9", url=PHONE):
    client = visit(app, url=url, peer=peer)
    client.follow_redirects = False
    return client


def join(client, code, name="Anna"):
    return client.post("/join", data={"token": code, "name": name}, headers=HTML)


def joined(app, code, name="Anna", **where):
    client = phone(app, **where)
    assert join(client, code, name).status_code == 303
    return client


# codes and names ---------------------------------------------------------------------------


def test_a_code_holds_ninety_random_bits_and_is_read_however_it_is_typed():
    codes = {new_code() for _ in range(200)}
    assert len(codes) == 200
    for code in codes:
        assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{6}(-[0-9a-hjkmnp-tv-z]{6}){2}", code)
        assert len(people.LETTERS) ** len(code.replace("-", "")) >= 2**80
        assert read_code(code) == code
        assert read_code(" " + code.upper().replace("-", " ").replace("0", "O").replace("1", "l")) == code
    assert len({c for code in codes for c in code}) == 33  # all letters come up, and the dash
    for text in ("", "abc", "x" * 19, "u" * 18, "é" * 18, new_code() + "a", "a" * 43):
        assert read_code(text) is None


def test_only_the_hash_of_a_code_is_stored(ws):
    code, link = people.make_link(ws, "swipe", lasts_s=60)
    dump = "\n".join(ws.store.conn.iterdump())
    assert code not in dump
    assert code.replace("-", "") not in dump
    assert people.hash_token(code) in dump
    assert people.code_of(link.id) == code  # for the page that shows it, as long as this process runs


@pytest.mark.parametrize("text", ["", " \t", "a" * 31, "a\x00b", "ab\u202ecd", "\u200b", "\ud800"])
def test_names_that_cannot_be_shown_are_refused(text):
    with pytest.raises(BadInput):
        read_name(text)


def test_names_are_kept_tidy_and_each_is_somebodys_alone(ws):
    assert read_name("  Zoe\u0308  the   2nd ") == "Zo\u00eb the 2nd"
    for number in (1, 2, 3):
        name = "ANNA" if number == 2 else "anna"
        ws.roster.join(people.hash_token(people.make_link(ws, "swipe", lasts_s=9)[0]), name, f"h{number}")
    assert sorted(p.name for p in ws.roster.people() if p.role == "swipe") == ["ANNA 2", "anna", "anna 3"]


@pytest.mark.parametrize("language", sorted(tables()))
def test_offered_names_can_be_taken_as_they_are_in_every_language(language):
    words = Words(language)
    first, second = (words(key).split(BETWEEN) for key in ("name.first", "name.second"))
    assert len(set(first)) * len(set(second)) > 3000
    assert len(set(first)) == len(first)
    assert len(set(second)) == len(second)
    for one in (*first, *second):
        assert read_name(one) == one
    for _ in range(50):
        assert read_name(name := offered_name(words)) == name


def test_the_offered_name_is_in_the_browsers_language(app, ws, code):
    page = phone(app).get(f"/join?token={code}", headers={**HTML, "accept-language": "es"}).text
    offered = html.unescape(re.search(r'name="name"[^>]*value="([^"]*)"', page)[1])
    words = Words("es")
    second, first = offered.split()
    assert first in words("name.first").split(BETWEEN)
    assert second in words("name.second").split(BETWEEN)


# joining -----------------------------------------------------------------------------------


def test_one_scan_a_name_and_the_first_card(app, ws, code):
    client = phone(app)
    page = client.get(f"/join?token={code}", headers=HTML)
    assert page.status_code == 200
    assert "Is it green?" in page.text or ws.store.session().question in page.text
    assert "No e-mail, no tracking" in page.text
    assert "set-cookie" not in page.headers
    answered = join(client, code, "Anna")
    assert (answered.status_code, answered.headers["location"]) == (303, "/swipe")
    cookie = answered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert client.get("/swipe").status_code == 200
    card = cards_of(client, n=1)[0]
    sent = client.post("/api/labels", json={"events": [answer(card["item"], card=card["card"])]})
    assert sent.json()["accepted"] == 1
    (event,) = ws.journal.log(ws.store.session())
    known = ws.roster.person(event.person)
    assert (known.name, known.role) == ("Anna", "swipe")


def test_a_link_to_anywhere_leads_to_the_name_first_and_looking_lets_nobody_in(app, ws, code):
    client = phone(app)
    for path in ("/", "/swipe", "/label", "/deck/deck.js"):
        found = client.get(f"{path}?token={code}", headers=HTML)
        assert (found.status_code, found.headers["location"]) == (303, f"/join?token={code}")
    assert client.get(f"/join?token={code}").status_code == 200  # such as the preview of a messenger
    assert ws.roster.links()[0].used == 0
    assert is_problem(client.get("/api/session"), 401)


def test_a_program_comes_in_by_the_token_alone_and_gets_a_name(app, ws, code):
    client = phone(app)
    assert client.get(f"/api/session?token={code}").json()["owner"] is False
    assert len(cards_of(client, n=3)) == 3
    assert len([p for p in ws.roster.people() if p.role == "swipe"]) == 1


def test_a_code_is_typed_where_there_is_no_camera(app, code):
    client = phone(app)
    page = client.get("/join", headers=HTML)
    assert 'name="token"' in page.text
    typed = code.upper().replace("-", " ")
    assert 'name="name"' in client.get("/join", params={"token": typed}, headers=HTML).text


def test_pressing_twice_makes_one_person_and_a_second_scan_says_who_one_is(app, ws, code):
    client = joined(app, code, "Anna")
    assert join(client, code, "Anna").status_code == 303
    assert [p.name for p in ws.roster.people() if p.role == "swipe"] == ["Anna"]
    assert "You are in as Anna." in client.get(f"/join?token={code}", headers=HTML).text


def test_a_name_that_cannot_be_shown_is_asked_again_and_nobody_is_made(app, ws, code):
    client = phone(app)
    page = join(client, code, "a\u202eb")
    assert page.status_code == 400
    assert "can’t be shown" in page.text or "can&#x27;t be shown" in page.text
    assert ws.roster.links()[0].used == 0
    assert join(client, code, "").status_code == 303  # none given: the one that is offered


def test_script_in_a_nickname_is_text_on_every_page(app, ws, code):
    name = "<script>x()</script>"
    client = joined(app, code, name)
    for path in ("/me", "/join"):
        page = client.get(path, headers=HTML).text
        assert "<script" not in page
        assert "&lt;script&gt;" in page
    assert "script-src" not in client.get("/me", headers=HTML).headers["content-security-policy"]
    assert "default-src 'none'" in client.get("/me", headers=HTML).headers["content-security-policy"]


def test_the_pages_speak_the_browsers_language(app, code):
    client = phone(app)
    page = client.get(f"/join?token={code}", headers=HTML | {"accept-language": "es-MX,es;q=0.9,en;q=0.5"})
    assert '<html lang="es">' in page.text
    assert "Apodo" in page.text
    assert "Nickname" in client.get(f"/join?token={code}", headers=HTML | {"accept-language": "xx"}).text


# what a link may do, and its end -----------------------------------------------------------


def test_who_swipes_may_answer_and_nothing_else(app, code):
    client = joined(app, code)
    for method, path, body in [*OWNERS, ("GET", "/", None), ("GET", "/label", None), ("GET", "/team", None)]:
        assert is_problem(client.request(method, path, json=body), 403)
    assert is_problem(client.get("/api/search?item=1"), 403)
    assert is_problem(client.post("/api/search", json={"like": [1]}), 403)
    assert client.get("/api/session").json()["problem"] is None
    assert not {"reason", "p_chosen", "score"} & set(cards_of(client, n=1)[0])


def test_reviewers_may_search_and_owners_everything(app, ws):
    reviewer = joined(app, people.make_link(ws, "review", lasts_s=60)[0], "Rita")
    assert reviewer.get("/api/search?item=1").status_code != 403
    for method, path, body in OWNERS:
        assert is_problem(reviewer.request(method, path, json=body), 403)
    owner = phone(app)
    answered = join(owner, people.make_link(ws, "own", lasts_s=60)[0], "Olga")
    assert answered.headers["location"] == "/"
    assert owner.get("/api/items/1").status_code == 200


def test_a_link_ends_at_its_time_and_at_its_number_and_when_it_is_withdrawn(app, ws):
    expired = people.make_link(ws, "swipe", lasts_s=0.2)[0]
    once = people.make_link(ws, "swipe", lasts_s=60, most=1)[0]
    gone, link = people.make_link(ws, "swipe", lasts_s=60)
    time.sleep(0.3)
    joined(app, once)
    ws.roster.withdraw(link.id)
    for code, why in ((expired, "has expired"), (once, "as often as it may"), (gone, "was withdrawn")):
        client = phone(app)
        assert is_problem(client.get(f"/api/session?token={code}"), 401)
        page = client.get(f"/join?token={code}", headers=HTML)
        assert page.status_code == 410
        assert why in page.text
        assert join(client, code).status_code == 410
    assert len([p for p in ws.roster.people() if p.role == "swipe"]) == 1


def test_a_limit_holds_when_many_come_at_once(app, ws):
    from concurrent.futures import ThreadPoolExecutor

    code = people.make_link(ws, "swipe", lasts_s=60, most=5)[0]
    clients = [phone(app, peer=f"192.168.1.{i}") for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda c: join(c, code, "kid"), clients))
    states = [a.status_code for a in answers]
    assert sorted(states) == [303] * 5 + [410] * 11
    names = [p.name for p in ws.roster.people() if p.role == "swipe"]
    assert len(set(names)) == 5


def test_who_came_by_a_withdrawn_link_stays_unless_they_are_sent_away_too(app, ws):
    code, link = people.make_link(ws, "swipe", lasts_s=60)
    client = joined(app, code)
    assert client.get("/api/session").status_code == 200
    ws.roster.withdraw(link.id)
    time.sleep(FRESH_S + 0.1)
    assert client.get("/api/session").status_code == 200
    ws.roster.withdraw(link.id, everybody=True)
    time.sleep(FRESH_S + 0.1)
    assert is_problem(client.get("/api/session"), 401)


def test_who_was_sent_away_is_told_so_after_a_reload_and_who_guesses_is_told_nothing(app, ws, code):
    gone = [joined(app, code, f"kid {i}") for i in range(guesses.WRONG + 2)]  # of one classroom
    erased = joined(app, code, "Eve")
    for i in range(len(gone)):
        members.send_away(ws, ws.roster.named(f"kid {i}").id)
    members.erase(ws, ws.roster.named("Eve").id)
    time.sleep(FRESH_S + 0.1)
    for client in gone:
        assert client.get("/api/session").json() == {
            "error": "Your access has ended.", "do": "Ask whoever invited you.",
        }  # fmt: skip
        assert client.get("/tiles/1").status_code == 401
    page = gone[0].get("/swipe", headers=HTML | {"accept-language": "es"})
    assert "Tu acceso ha terminado." in page.text
    assert (page.status_code, "labeler start" in page.text) == (401, False)
    guess = phone(app)
    guess.cookies.set(COOKIE, "x" * 43)
    for client in (erased, guess, phone(app)):
        told = client.get("/api/session")
        assert is_problem(told, 401)
        assert told.json()["error"] == "This server needs its link."
    assert join(gone[0], code, "Ann").status_code == 303, "an open link lets them in anew"
    assert gone[0].get("/api/session").json()["mine"]["name"] == "Ann"


def test_guessing_codes_is_slowed_and_the_right_one_still_opens_from_elsewhere(app, code):
    client = phone(app, peer="10.0.0.1")
    states = [client.get("/join", params={"token": new_code()}).status_code for _ in range(guesses.WRONG + 2)]
    assert states[: guesses.WRONG] == [200] * guesses.WRONG
    assert states[-1] == 429
    assert join(client, new_code()).status_code == 429
    assert joined(app, code, peer="10.0.0.2").get("/api/session").status_code == 200


def test_a_thousand_joins_from_one_address_are_told_when_to_come_back(ws, code, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, parts):
        now = [0.0]
        monkeypatch.setattr(parts, "_joins", desk.Rates(desk.AT_ONCE, desk.PER_S, clock=lambda: now[0]))
        client = phone(app, peer="203.0.113.7")
        states, waits = [], []
        for i in range(desk.AT_ONCE + 5):  # all in one moment
            client.cookies.clear()
            answered = join(client, code, f"kid {i}")
            states.append(answered.status_code)
            waits += [int(answered.headers["retry-after"])] if answered.status_code == 429 else []
        assert states == [303] * desk.AT_ONCE + [429] * 5
        assert waits == [1, 1, 1, 2, 2]
        assert joined(app, code, peer="203.0.113.8").get("/api/session").status_code == 200
        other = phone(app, peer="203.0.113.7")
        assert is_problem(other.get(f"/api/session?token={code}"), 429)
        now[0] = 5.0
        states = [join(phone(app, peer="203.0.113.7"), code, f"late {i}").status_code for i in range(16)]
        assert states == [303] * 15 + [429]
        states = []
        for i in range(1000):
            now[0] = 1000 + 0.06 * i
            client.cookies.clear()
            states.append(join(client, code, f"bot {i}").status_code)
        assert set(states) == {303, 429}
        assert 475 <= states.count(303) <= 480  # a lecture hall, then 180 in that minute


def test_wrong_and_shut_codes_take_nobodys_turn_to_join(ws, code, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, parts):
        monkeypatch.setattr(parts, "_joins", desk.Rates(3, 0.001))
        guess = phone(app, peer="203.0.113.7")
        shut = people.make_link(ws, "swipe", lasts_s=0)[0]
        for _ in range(5):
            join(guess, new_code())
            assert join(guess, shut).status_code == 410
        for name in ("Ann", "Bo", "Cem"):
            joined(app, code, name, peer="203.0.113.7")
        assert join(phone(app, peer="203.0.113.7"), code).status_code == 429


def test_a_post_from_another_site_joins_nobody(app, ws, code):
    client = phone(app)
    found = client.post("/join", data={"token": code, "name": "x"}, headers={"origin": "http://evil.example"})
    assert is_problem(found, 403)
    assert ws.roster.links()[0].used == 0


def test_without_a_link_there_is_the_page_to_join_and_nothing_else(app):
    client = phone(app)
    assert client.get("/join", headers=HTML).status_code == 200
    for method, path, body in [*ROUTES, ("GET", "/me", None), ("GET", "/", None)]:
        assert is_problem(client.request(method, path, json=body), 401)


def test_being_on_the_same_machine_proves_nothing_once_it_is_shared(app, ws):
    here = visit(app)  # localhost, a loopback peer
    assert is_problem(here.get("/api/session"), 401)
    assert here.get(f"/api/session?token={people.owner_token(ws)}").json()["owner"]


def test_the_owners_link_opens_in_a_browser_that_joined_before(app, ws, code):
    client = joined(app, code, "Anna")
    assert client.get(f"/?token={people.owner_token(ws)}", headers=HTML).status_code in (302, 303, 307)
    assert client.get("/api/session").json()["owner"] is True
    assert client.get("/", headers=HTML).status_code == 200


@pytest.mark.parametrize("path", ["/join", "/swipe"])
def test_a_link_with_more_rights_lets_somebody_in_anew_who_joined_before(app, ws, code, path):
    client = joined(app, code, "Anna")
    review = people.make_link(ws, "review", lasts_s=60)[0]
    page = client.get(f"{path}?token={review}", headers=HTML)
    page = client.get(page.headers["location"], headers=HTML) if page.status_code == 303 else page
    assert 'name="name"' in page.text
    assert join(client, review, "Rita").status_code == 303
    assert client.get("/disputes", headers=HTML).status_code == 200
    assert join(client, review, "Rita").status_code == 303  # a second press
    assert [p.name for p in ws.roster.people() if p.role == "review"] == ["Rita"]


def test_a_program_gets_more_rights_by_the_token_alone(app, ws, code):
    client = joined(app, code, "Anna")
    review = people.make_link(ws, "review", lasts_s=60)[0]
    assert is_problem(client.get("/api/search?item=1"), 403)
    assert client.get(f"/api/session?token={review}").status_code == 200
    assert client.get("/api/search?item=1").status_code != 403


def test_a_link_never_takes_rights_away_from_who_opens_it(app, ws, code):
    client = phone(app)
    owns, gone = people.make_link(ws, "own", lasts_s=60)[0], people.make_link(ws, "own", lasts_s=0)[0]
    join(client, owns, "Olga")
    anna = ws.roster.add_person("Anna", "swipe")
    for other in (code, people.make_link(ws, "review", lasts_s=60)[0], members.link_of(ws, anna)):
        assert "You are in as Olga." in client.get(f"/join?token={other}", headers=HTML).text
        assert join(client, other, "x").headers["location"] == "/"
        client.get(f"/swipe?token={other}", headers=HTML)
        assert client.get("/api/items/1").status_code == 200
    swiper = joined(app, code, "Bo")
    assert "You are in as Bo." in swiper.get(f"/join?token={gone}", headers=HTML).text


def test_a_personal_link_lets_its_person_in_where_somebody_else_was(app, ws, code):
    tablet = joined(app, code, "Anna")
    bo = ws.roster.add_person("Bo", "swipe")
    personal = members.link_of(ws, bo)
    assert "go on as Bo" in tablet.get(f"/join?token={personal}", headers=HTML).text
    assert join(tablet, personal, "").status_code == 303
    assert "Bo" in tablet.get("/me", headers=HTML).text


def test_who_is_sent_away_while_they_are_looked_up_is_not_remembered(ws, code, monkeypatch):
    door = Door(ws, shared=True)
    eve, _ = door.join(ws, code, "Eve")
    find = ws.roster.person_by_token

    def late(key):
        found = find(key)
        ws.roster.send_away(eve.person.id)
        door.refresh()
        return found

    monkeypatch.setattr(ws.roster, "person_by_token", late)
    door.look_up([eve.cookie], direct=False)
    assert door.known([eve.cookie], direct=False) is None
    monkeypatch.setattr(ws.roster, "person_by_token", find)
    assert door.look_up([eve.cookie], direct=False) is None
    ann, _ = door.join(ws, code, "Ann")
    door.look_up([ann.cookie], direct=False)
    assert door.known([ann.cookie], direct=False).person.name == "Ann"  # memory goes on working


def test_the_question_of_the_link_is_meant_where_none_is_named(app, ws):
    first = ws.store.session()
    code = people.make_link(ws, "swipe", lasts_s=60, session=first.id)[0]
    newer = loop.new_session(ws, "Is it new?", ("yes", "no"))
    loop.learn(ws, newer)
    invited, other = joined(app, code, "Ann"), joined(app, people.make_link(ws, "swipe", lasts_s=60)[0], "Bo")
    for client, asked in ((invited, first), (other, newer)):
        assert client.get("/api/session").json()["id"] == asked.id
        start = re.search(r'id="labeler-start">(.+?)</script>', client.get("/swipe", headers=HTML).text)[1]
        assert json.loads(start)["session"]["id"] == asked.id
        (card,) = cards_of(client, n=1)
        assert ws.dealing.session_of(card["card"]) == asked.id
        before = ws.journal.count_events(asked.id)
        client.post("/api/labels", json={"events": [answer(59)]})  # without a card
        assert ws.journal.count_events(asked.id) == before + 1
        assert client.get(f"/api/session?session={newer.id}").json()["id"] == newer.id
    owner = phone(app)
    join(owner, people.make_link(ws, "own", lasts_s=60, session=first.id)[0], "Olga")
    assert owner.get("/api/session").json()["id"] == newer.id


# several devices of one person -------------------------------------------------------------


def test_a_personal_link_carries_on_elsewhere_once_as_the_same_person(app, ws, code):
    first = joined(app, code, "Anna")
    page = first.post("/me", data={"do": "elsewhere"}, headers=HTML).text
    personal = re.search(r"/join\?token=([0-9a-z-]+)", page)[1]
    second = phone(app, peer="192.168.1.77")
    assert "go on as Anna" in second.get(f"/join?token={personal}", headers=HTML).text
    assert join(second, personal, "somebody else").status_code == 303
    assert join(phone(app), personal).status_code == 410
    held = {c["item"] for c in cards_of(first, n=5)}
    others = {c["item"] for c in cards_of(second, n=5)}
    assert not held & others  # a card is one device's
    for client, items in ((first, held), (second, others)):
        events = [answer(item) for item in items]
        assert client.post("/api/labels", json={"events": events}).json()["accepted"] == 5
    (number,) = {e.person for e in ws.journal.log(ws.store.session())}
    assert ws.roster.person(number).name == "Anna"
    again = {c["item"] for c in cards_of(first, n=20)}
    assert not again & (held | others)


def test_who_leaves_needs_a_link_again(app, code):
    client = joined(app, code)
    assert "You have left." in client.post("/me", data={"do": "leave"}, headers=HTML).text
    assert is_problem(client.get("/api/session"), 401)


def test_a_name_can_be_changed(app, ws, code):
    client = joined(app, code)
    assert client.post("/me", data={"do": "name", "name": "Bo"}, headers=HTML).status_code == 303
    assert "Bo" in client.get("/me", headers=HTML).text
    assert client.post("/me", data={"do": "name", "name": "\u202e"}, headers=HTML).status_code == 400
    assert [p.name for p in ws.roster.people() if p.role == "swipe"] == ["Bo"]


@pytest.mark.parametrize("how", ["send_away", "erase", "leave"])
def test_the_cards_of_who_has_no_access_any_more_are_dealt_to_others(app, ws, code, how):
    ann, bob = joined(app, code, "Ann"), joined(app, code, "Bob")
    held = {c["item"] for c in cards_of(ann, n=20)}
    held |= {c["item"] for c in ann.post("/api/pack", json={"n": 40}).json()["cards"]}
    assert len(held) == 60
    assert cards_of(bob, n=5) == []
    if how == "leave":
        ann.post("/me", data={"do": "leave"}, headers=HTML)
    else:
        getattr(members, how)(ws, ws.roster.named("Ann").id)
    assert ws.dealing.held(ws.store.session().id, time.time()) == []


def test_who_leaves_on_one_device_keeps_what_another_one_holds(app, ws, code):
    phone_, tablet = joined(app, code, "Ann"), phone(app)
    assert join(tablet, members.link_of(ws, ws.roster.named("Ann")), "").status_code == 303
    cards_of(phone_, n=5)
    held = [c["item"] for c in cards_of(tablet, n=5)]
    phone_.post("/me", data={"do": "leave"}, headers=HTML)
    assert ws.dealing.held(ws.store.session().id, time.time()) == sorted(held)


# what is kept ------------------------------------------------------------------------------


def test_all_that_is_kept_of_somebody_can_be_exported_and_erased(app, ws, code):
    client = joined(app, code, "Anna")
    items = [c["item"] for c in cards_of(client, n=3)]
    client.post("/api/labels", json={"events": [answer(item) for item in items]})
    (number,) = [p.id for p in ws.roster.people() if p.name == "Anna"]
    kept = members.kept_of(ws, number)
    assert (kept["name"], kept["role"], len(kept["devices"])) == ("Anna", "swipe", 1)
    assert [e["item"] for e in kept["events"]] == items
    assert all(e["path"] and e["label"] == "yes" for e in kept["events"])
    assert members.erase(ws, number) == 0
    assert "Anna" not in "\n".join(ws.store.conn.iterdump())
    time.sleep(FRESH_S + 0.1)
    assert is_problem(client.get("/api/session"), 401)
    assert ws.journal.counts(ws.store.session())["yes"] == 3
    assert members.erase(ws, number, with_answers=True) == 3
    assert ws.journal.counts(ws.store.session())["yes"] == 0
    assert ws.journal.count_events(ws.store.session().id) == 6  # nothing is deleted


def test_the_owner_cannot_be_erased_and_nobody_is_missing(ws):
    with pytest.raises(NotReady):
        members.erase(ws, loop.owner(ws))
    for wish in (members.erase, members.kept_of, members.send_away):
        with pytest.raises(Missing):
            wish(ws, 999)


def test_links_and_people_on_the_command_line(ws, tmp_path):
    where = ("--workspace", ws.folder)
    made = json.loads(run("invite", *where, "--uses", "2", "--url", "https://l.example", "--json").stdout)
    assert read_code(made["url"].removeprefix("https://l.example/join?token="))
    assert (made["role"], made["most"], made["used"], made["shut"]) == ("swipe", 2, 0, None)
    said = run("invite", *where, "--role", "own").stdout
    assert "/join?token=" in said
    listed = json.loads(run("invite", *where, "--list", "--json").stdout)["links"]
    assert [link["role"] for link in listed] == ["own", "swipe"]
    assert "token" not in json.dumps(listed)
    assert "lets nobody in" in run("invite", *where, "--withdraw", made["link"]).stdout
    assert "was withdrawn" in run("invite", *where, "--list").stdout
    run("invite", *where, "--withdraw", "99", code=1)
    for none in ("0", "-1", "ealier", "9" * 5000):
        run("invite", *where, "--withdraw", none, code=2)
    run("invite", *where, "--and-people", code=2)
    anna = ws.roster.add_person("Anna", "swipe", "hash").id
    ws.journal.add_events(ws.store.session(), anna, [])
    assert [p["name"] for p in json.loads(run("people", *where, "--json").stdout)["people"]][-1] == "Anna"
    out = tmp_path / "anna.json"
    run("people", *where, "--export", anna, "--out", out)
    assert json.loads(out.read_text("utf-8"))["name"] == "Anna"
    assert out.stat().st_mode & 0o077 == 0
    assert "Anna has no access any more." in run("people", *where, "--send-away", anna).stdout
    assert f"Person {anna} is erased." in run("people", *where, "--erase", anna).stdout
    run("people", *where, "--export", 999, code=1)
    run("people", *where, "--erase", anna, "--export", anna, code=2)


def test_the_links_of_earlier_starts_are_withdrawn_at_once_and_who_came_stays(app, ws):
    where = ("--workspace", ws.folder)
    makes = ("start", "share", "invite", "start", "team", None)
    made = [people.make_link(ws, "swipe", lasts_s=60, made_with=how) for how in makes]
    client = joined(app, made[0][0], "Anna")
    listed = run("invite", *where, "--list").stdout
    assert re.search(r"1  swipe   made [\d-]+ [\d:]+ by labeler start --share; 1 came, open until", listed)
    for how in ("when the running server was shared", "by labeler invite", "on the page Team"):
        assert listed.count(how) == 1
    assert "QR code" not in listed, "no server runs"
    said = run("invite", *where, "--withdraw", "earlier").stdout
    assert said.splitlines() == [
        "Link 2 lets nobody in any more.",
        "Link 1 lets nobody in any more.",
        "Who came that way stays in. To send somebody away: labeler people --send-away ID",
    ]
    assert [link.id for link in ws.roster.links() if not link.withdrawn] == [6, 5, 4, 3]
    time.sleep(FRESH_S + 0.1)
    assert client.get("/api/session").status_code == 200
    assert "No link of an earlier start" in run("invite", *where, "--withdraw", "earlier").stdout
    people.make_link(ws, "swipe", lasts_s=60, made_with="start")
    joined(app, made[3][0], "Bo")
    gone = run("invite", *where, "--withdraw", "earlier", "--and-people", "--json").stdout
    assert json.loads(gone) == {"withdrawn": [4]}
    (device,) = ws.roster.kept_of(ws.roster.named("Bo").id)["devices"]
    assert device["ended_at"]


def test_share_excludes_a_host_that_nobody_can_reach(ws):
    found = run("start", "--workspace", ws.folder, "--share", "--host", "127.0.0.1", code=2)
    assert "Leave one out." in found.output


# what the owner changes while people are on ------------------------------------------------


def test_a_paused_question_deals_cards_to_the_owner_alone_and_takes_late_answers(app, ws, code):
    client, session = joined(app, code), ws.store.session()
    card = cards_of(client, n=1)[0]
    loop.set_state(ws, session, "paused", "Back at ten.")
    assert cards_of(client, n=5) == []
    told = client.get("/api/session").json()
    assert (told["state"], told["notice"]) == ("paused", "Back at ten.")
    sent = client.post("/api/labels", json={"events": [answer(card["item"], card=card["card"])]})
    assert sent.json()["accepted"] == 1
    owner = phone(app)
    assert cards_of(owner, n=5, token=people.owner_token(ws))
    loop.set_state(ws, session, "open", "")
    assert cards_of(client, n=5)
    for state, notice in (("gone", ""), ("open", "x" * 301)):
        with pytest.raises(BadInput):
            loop.set_state(ws, session, state, notice)


def test_a_question_put_in_other_words_keeps_its_answers_and_is_found_by_both(ws):
    session = ws.store.session()
    ws.journal.add_events(session, loop.owner(ws), [])
    loop.set_question(ws, session, "  Is it really green? ")
    assert ws.store.session().question == "Is it really green?"
    assert [words for words, _ in ws.store.wordings(session.id)] == [session.question]
    for words in (session.question, "Is it really green?"):
        assert loop.start_session(ws, words, ("yes", "no")).id == session.id
    with pytest.raises(BadInput):
        loop.set_question(ws, session, " ")


def test_a_phone_joins_by_one_scan_is_told_of_a_pause_and_goes_on_by_itself(ws, browser):
    """A real server and a browser on a phone: from the link to the cards."""
    options = ["--workspace", str(ws.folder), "--share", "--port", str(free_port())]
    with running(*options) as server, contextlib.closing(browser.new_context(**PHONE_LIKE)) as context:
        link = re.search(r"http://\S+/join\?token=\S+", "\n".join(server.lines))[0]
        (listed,) = run("invite", "--workspace", ws.folder, "--list").stdout.splitlines()
        assert listed.endswith("Its QR code is shown now.")
        page = context.new_page()
        page.goto(link)
        page.get_by_role("button", name="Start").tap()
        page.wait_for_url("**/swipe*")
        card = page.locator(".card[data-place='0'] img")
        card.wait_for()
        (known,) = [p for p in ws.roster.people() if p.role == "swipe"]
        assert known.name
        loop.set_state(ws, ws.store.session(), "paused", "Back at ten.")
        page.locator(".hint .btn").tap()
        while not page.get_by_text("Paused for now").is_visible():
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(200)
        page.get_by_text("Back at ten.").wait_for()
        loop.set_state(ws, ws.store.session(), "open", "")
        card.wait_for(timeout=30_000)
