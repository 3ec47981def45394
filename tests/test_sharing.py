"""A server that is shared while it runs: nobody comes in without a link from that moment on."""

import re

import httpx
import pytest
from streamlit.testing.v1 import AppTest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from labeler import crew, people
from labeler.door import COOKIE
from labeler.errors import Conflict
from labeler.server import running, sharing
from labeler.workspace import ENV
from tests.served import ROUTES, answer, cards_of, is_problem, served, visit
from tests.test_app import free_port, start
from tests.test_joining import HTML
from tests.test_pages import HOME


def test_one_press_opens_it_to_the_network_and_shuts_it_to_who_has_no_link(ws):
    try:
        host = sharing._network_address()
    except Conflict:
        pytest.skip("This computer is in no network, so it can't be opened to one.")
    port = free_port()
    with start(ws, port) as (_, client):
        outside = f"http://{host}:{port}"
        with pytest.raises(httpx.ConnectError):
            httpx.get(outside)
        card, _ = cards_of(client, n=2)  # without a link: this computer is the owner
        client.post("/api/labels", json={"events": [answer(card["item"], "yes", card["card"])]})
        stream = f"ws://localhost:{port}/_stcore/stream"
        cookie = f"{COOKIE}={client.cookies[COOKIE]}"
        with connect(stream, additional_headers={"cookie": cookie}, open_timeout=60) as open_page:
            asked = client.get("/share", headers=HTML)
            assert "From that moment everybody needs a link, you too" in asked.text
            assert client.post("/share", headers={"origin": "http://evil.example"}).status_code == 403
            done = client.post("/share", headers=HTML)
            link = re.search(rf"{outside}/\?token=[\w-]+", done.text)[0]
            open_page.send(b"")
            with pytest.raises(ConnectionClosed):
                list(open_page)

        with httpx.Client(base_url=f"http://localhost:{port}") as here:
            for method, path, body in ROUTES:
                assert is_problem(here.request(method, path, json=body), 401)
            here.cookies.set(COOKIE, cookie.partition("=")[2])
            assert is_problem(here.get("/api/session"), 401), "what the machine alone has given opens nothing"
        mine = client.get("/api/session").json()
        assert (mine["owner"], mine["mine"]["answers"]) == (True, 1), "the browser that shared it goes on"
        shown = client.get("/screen/now").json()["join"]
        with httpx.Client(base_url=outside, follow_redirects=False) as phone:
            assert is_problem(phone.get("/api/session"), 401)
            assert phone.get("/join", params={"token": shown["code"]}, headers=HTML).status_code == 200
            phone.post("/join", data={"token": shown["code"], "name": "Anna"}, headers=HTML)
            assert phone.get("/swipe", headers=HTML).status_code == 200
            assert is_problem(phone.post("/share"), 403)
        with httpx.Client(follow_redirects=True) as mine:
            mine.get(link.replace("/?", "/swipe?"), headers=HTML)
            assert mine.get(f"{outside}/api/session").json()["owner"]
        again = client.post("/share", headers=HTML)
        assert "shared already" in again.text
        assert "token=" not in again.text
        assert ws.address == outside


def test_where_it_cannot_listen_nothing_changes(ws, monkeypatch):
    async def taken(host):
        assert is_problem(visit(app).get("/api/session"), 401), "strict before it listens"
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(running, "_listen", [taken])
    with served(ws, monkeypatch) as (app, desk):
        owner = visit(app)
        assert "already in use" in owner.post("/share", headers=HTML).text
        assert desk.door.shared is False
        assert owner.get("/api/session").json()["owner"]
        assert [link.role for link in ws.roster.links()] == []
        assert len(ws.roster.people()) == 1


def test_without_a_network_nothing_changes(ws, monkeypatch):
    monkeypatch.setattr(running, "_listen", [None])
    monkeypatch.setattr(sharing.places, "reachable", lambda host: "127.0.0.1")
    with served(ws, monkeypatch) as (app, desk):
        assert is_problem(visit(app).post("/share"), 409)
        assert desk.door.shared is False


def test_a_server_that_is_not_ours_to_open_says_how_to_start_one(ws, monkeypatch):
    with served(ws, monkeypatch) as (app, _):
        assert "labeler start --share" in visit(app).post("/share", headers=HTML).text


def test_team_says_which_link_is_which_and_withdraws_those_of_earlier_starts(ws, monkeypatch):
    monkeypatch.setenv(ENV, str(ws.folder))
    monkeypatch.setattr(people, "_codes", {})
    for how in ("start", "invite", "share", "start"):
        _, newest = people.make_link(ws, "swipe", lasts_s=60, made_with=how)
    newest_alone = {newest.id: people._codes[newest.id]}  # the processes of the others have ended
    monkeypatch.setattr(people, "_codes", newest_alone)
    monkeypatch.setattr(crew, "address", lambda ws: "http://192.168.1.5:8501")
    test = AppTest.from_file(str(HOME), default_timeout=30)
    test.switch_page("team.py").run()
    assert not test.exception
    listed = [t.value for t in test.text if "made 2" in t.value]
    assert [("start --share" in t, "QR code is shown" in t) for t in listed] == [
        (True, True), (False, False), (False, False), (True, False),
    ]  # fmt: skip
    assert any("stays in" in c.value for c in test.caption)
    next(b for b in test.button if b.label == "Withdraw the 2 links of earlier starts").click().run()
    assert not test.exception
    assert [link.made_with for link in ws.roster.links() if not link.withdrawn] == ["start", "invite"]
    assert not any("earlier" in b.label for b in test.button)
