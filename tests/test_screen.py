"""The page for a whole room: for owners, always up to date, also over a restart of the server."""

import contextlib
import re

import httpx
import pytest

from benchmarks.server import running
from labeler import people, reach
from labeler.door import COOKIE, key_of
from labeler.server import screening
from tests.served import answer, is_problem, served, visit
from tests.test_app import free_port
from tests.test_deck import comes_true
from tests.test_joining import HTML, PHONE, joined

WALL = {"viewport": {"width": 1920, "height": 1080}}


@pytest.fixture
def app(ws, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, _):
        reach.use(reach.Reach("0.0.0.0", 8501))
        yield app


def link(ws, role="swipe", **more):
    return people.make_link(ws, role, lasts_s=3600, **more)[0]


def test_the_screen_is_for_owners_and_shows_no_link_of_more_than_swipe(app, ws):
    own, review = link(ws, "own"), link(ws, "review")
    owner = joined(app, own, "Olga")
    for path in ("/screen", "/screen/now"):
        for other in (joined(app, link(ws)), joined(app, review, "Rita")):
            assert is_problem(other.get(path), 403)
        assert is_problem(visit(app, url=PHONE, peer="192.168.1.9").get(path), 401)
    for made in ws.roster.links():
        if made.role == "swipe":
            ws.roster.withdraw(made.id)
    shown = owner.get("/screen/now").json()
    assert shown["join"] is None
    assert "page Team" in shown["hint"]
    code = link(ws)
    link(ws, most=5, session=None)
    newest = (
        link(ws, "review"),
        link(ws, session=ws.store.add_session("Two?", ("a", "b"), "find", ws.config).id),
    )
    ws.store.use_session(ws.store.session(1))
    reply = owner.get("/screen/now", params={"session": 1})
    assert not any(other in reply.text for other in (own, review, *newest))
    assert reply.json()["join"]["code"] != code, "the newest one"
    assert "script" not in owner.get("/screen").headers["content-security-policy"].replace(
        "script-src 'self'", ""
    )


def test_it_says_what_people_have_done_in_the_owners_language(app, ws):
    owner = joined(app, link(ws, "own"), "Olga")
    anna = joined(app, link(ws))
    anna.post("/api/labels", json={"events": [answer(i, "yes" if i < 9 else "no") for i in range(12)]})
    shown = owner.get("/screen/now", headers={"accept-language": "es"}).json()
    figures = {one["word"]: one["value"] for one in shown["figures"]}
    assert figures == {
        "participan ahora": "1", "respuestas por minuto": "12", "encontradas": "9", "ya vistas": "20 %",
    }  # fmt: skip
    assert [int(re.search(r"tiles/(\d+)", url)[1]) for url in shown["finds"]] == list(range(8, 0, -1))
    assert (shown["together"], shown["band"]) == ("", None), "nothing is known yet of the share"
    assert shown["join"]["picture"].startswith("data:image/svg+xml")


def test_a_share_has_no_middle_while_finds_still_come_often():
    known = {"share": 0.9, "low": 0.7, "high": 0.99, "next_finds": 2.0}
    assert screening._band(known) == [0.7, 0.9, 0.99]
    assert screening._band(known | {"next_finds": 30.0}) == [0.7, None, 0.99]
    assert screening._band(None) is None


def test_agreement_is_there_where_several_are_asked_and_not_counted_at_every_look(ws, monkeypatch):
    ws.store.set_votes(ws.store.session(), 2)
    looks = []
    whole = screening.disputes.agree
    monkeypatch.setattr(screening.disputes, "agree", lambda *a: looks.append(1) or whole(*a))
    with served(ws, monkeypatch) as (app, _):
        owner = visit(app)
        for name in "ab":
            person = ws.roster.add_person(name, "swipe", key_of("here", name * 43))
            assert person
        events = lambda no: [answer(i, "yes" if i < 4 else "no") for i in range(9) if i != no]  # noqa: E731
        for name in "ab":
            client = visit(app)
            client.cookies.set(COOKIE, name * 43)
            client.post("/api/labels", json={"events": events(ord(name) - 97)})
        for _ in range(3):
            figures = {one["word"]: one["value"] for one in owner.get("/screen/now").json()["figures"]}
            assert figures["agreement (of 1)"] == "1.00"
    assert len(looks) == 1


@pytest.mark.browser
def test_a_wall_shows_the_code_follows_answers_and_outlives_a_restart(ws, browser):
    options = ["--workspace", str(ws.folder), "--share", "--port", str(free_port())]
    with contextlib.closing(browser.new_context(**WALL)) as context:
        page = context.new_page()
        with running(*options) as server:
            said = "\n".join(server.lines)
            code = re.search(r"/join\?token=(\S+)", said)[1]
            page.goto(re.search(r"on this computer: (\S+)", said)[1].replace("/?", "/swipe?"))
            base = page.url.partition("/swipe")[0]
            page.goto(f"{base}/screen")
            page.locator(".code", has_text=code).wait_for()
            assert page.locator(".qr").bounding_box()["width"] > 400
            found = page.locator(".figure", has_text="found").locator("b")
            assert found.text_content() == "0"
            page.evaluate("window.here = true")
            with httpx.Client(base_url=base, headers=HTML) as client:
                client.post("/join", data={"token": code, "name": "Anna"})
                client.post("/api/labels", json={"events": [answer(i, "yes") for i in range(3)]})
            page.locator(".figure b", has_text="3").first.wait_for()
            comes_true(
                page, "[...document.querySelectorAll('.tile')].filter((i) => i.naturalWidth).length === 3"
            )
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        page.locator(".away").wait_for()
        assert found.text_content() == "3"
        with running(*options) as server:
            page.locator(".away").wait_for(state="hidden")
            code = re.search(r"/join\?token=(\S+)", "\n".join(server.lines))[1]
            page.locator(".code", has_text=code).wait_for()
            assert page.evaluate("window.here")
