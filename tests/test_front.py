"""A proxy's word and the base path, in front of the guard: who is believed, and what browsers get back."""

import json
import re

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from labeler import people, reach
from labeler.door import COOKIE
from labeler.reach import Reach, read_proxies
from labeler.server import guesses
from labeler.server.front import Front
from labeler.server.guard import Guard
from tests.pools import make_pool
from tests.served import OWNERS, ROUTES, answer, begin, cards_of, is_problem, served, visit
from tests.test_guard import Held

HERE = read_proxies(())
BEHIND = Reach(base="/crowd", public="https://labels.test", proxies=HERE)
PATH = Reach(base="/crowd", proxies=HERE)
PROXY = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
PAGE = {"accept": "text/html"}
ASKED = "http://127.0.0.1:8501"  # as a proxy that passes on no Host asks


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("front"), 60, images=True)
    begin(ws)
    yield ws
    ws.close()


@pytest.fixture
def at(monkeypatch):
    """Return a function that says how the server is reached while the test runs."""
    monkeypatch.setattr(reach, "_here", [])
    return reach.use


@pytest.fixture
def behind(ws, monkeypatch, at):
    at(BEHIND)
    with served(ws, monkeypatch, shared=True) as (app, _):
        yield app


def passed(app, **how):
    """Return a browser whose requests come through the proxy on this machine, from 203.0.113.7."""
    client = visit(app, url=how.pop("url", ASKED), **how)
    client.headers.update(PROXY)
    return client


def owner(app, ws, prefix="/crowd", **how):
    """Return such a browser after it has opened the link; its cookies are sent whatever their path says."""
    client = passed(app, **how)
    reply = client.get(f"{prefix}/api/session?token={people.owner_token(ws)}")
    assert reply.status_code == 200
    client.headers["cookie"] = reply.headers["set-cookie"].split(";")[0]
    return client


def echo(here, at, **how):
    """Return a function that gives the scope which the app behind sees of a request."""

    async def tell(request):
        scope = request.scope
        seen = {name: scope[name] for name in ("path", "scheme", "client")}
        seen["raw"] = scope["raw_path"].decode()
        return JSONResponse(seen | {"host": request.headers.get("host")})

    at(here)
    app = Starlette(routes=[Route("/{rest:path}", tell)], middleware=[Middleware(Front)])
    peer = how.get("peer", "127.0.0.1")

    def ask(path, url="http://127.0.0.1:8501", **headers):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return TestClient(app, base_url=url, client=(peer, 1)).get(path, headers=sent).json()

    return ask


# who is believed ---------------------------------------------------------------------------


def test_a_trusted_proxy_says_who_asks_and_how(at):
    ask = echo(BEHIND, at)
    seen = ask("/crowd/api/session", x_forwarded_for="198.51.100.1, 203.0.113.7", x_forwarded_proto="http")
    assert seen["client"] == ["203.0.113.7", 0]
    assert (seen["scheme"], seen["host"], seen["path"]) == ("https", "labels.test", "/api/session")


def test_without_a_public_address_the_proxy_says_the_scheme(at):
    ask = echo(PATH, at)
    assert (
        ask("/crowd/x", x_forwarded_for="203.0.113.7", x_forwarded_proto="http, https")["scheme"] == "https"
    )
    assert ask("/crowd/x", x_forwarded_for="203.0.113.7", x_forwarded_proto="gopher")["scheme"] == "http"
    assert ask("/crowd/x", x_forwarded_for="203.0.113.7")["scheme"] == "http"
    assert ask("/crowd/x", url="http://x:1", x_forwarded_for="203.0.113.7")["host"] == "x:1"


@pytest.mark.parametrize("here", [Reach(), Reach("0.0.0.0")])
def test_nobody_is_believed_where_no_proxy_was_named(at, here):
    seen = echo(here, at)(
        "/x", x_forwarded_for="203.0.113.7", x_forwarded_proto="https", x_forwarded_host="evil"
    )
    assert (seen["client"], seen["scheme"], seen["host"]) == (["127.0.0.1", 1], "http", "127.0.0.1:8501")


def test_nobody_else_is_believed(at):
    ask = echo(BEHIND, at, peer="192.168.1.9")
    seen = ask("/crowd/x", x_forwarded_for="203.0.113.7", x_forwarded_proto="https")
    assert (seen["client"], seen["scheme"], seen["host"]) == (["192.168.1.9", 1], "http", "127.0.0.1:8501")
    there = Reach(base="/crowd", public="https://labels.test", proxies=read_proxies(["192.168.1.9"]))
    seen = echo(there, at, peer="192.168.1.9")("/crowd/x", x_forwarded_for="203.0.113.7")
    assert (seen["client"], seen["scheme"], seen["host"]) == (["203.0.113.7", 0], "https", "labels.test")


def test_a_browser_on_this_machine_may_come_past_the_proxy(at):
    seen = echo(BEHIND, at)("/crowd/x", url="http://localhost:8501")
    assert (seen["client"], seen["scheme"], seen["host"]) == (["127.0.0.1", 1], "http", "localhost:8501")


def test_both_kinds_of_proxies_lead_to_the_same_page(at):
    ask = echo(BEHIND, at)
    for path in ("/crowd/tiles/7", "/tiles/7"):
        assert ask(path, x_forwarded_for="203.0.113.7")["path"] == "/tiles/7"
    for path, raw in (("/crowd/a%2Fb", "/a%2Fb"), ("/%63rowd/a%20b", "/a%20b"), ("/crowdy/x", "/crowdy/x")):
        assert ask(path)["raw"] == raw
    assert ask("/crowd/crowd/x")["path"] == "/crowd/x"


# the whole way -----------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_behind_a_proxy_nobody_gets_in_without_the_link(behind, route):
    method, path, body = route
    for headers in (PROXY, {"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-for": "unknown"}, {}):
        for prefix in ("/crowd", ""):
            for url in (ASKED, "http://localhost:8501", "https://labels.test"):
                reply = visit(behind, url=url).request(method, prefix + path, json=body, headers=headers)
                assert is_problem(reply, 401)
                assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("prefix", ["/crowd", ""], ids=["kept", "stripped"])
def test_the_link_opens_it_and_the_cookie_is_secure_and_stays_below_the_path(behind, ws, prefix):
    client = passed(behind)
    token = people.owner_token(ws)
    page = client.get(f"{prefix}/swipe?session=1&token={token}", headers=PAGE)
    assert page.status_code == 303
    assert page.headers["location"] == "/crowd/swipe?session=1"
    parts = page.headers["set-cookie"].split("; ")
    assert {"Path=/crowd", "Secure", "HttpOnly", "SameSite=Lax"} <= set(parts)
    client.headers["cookie"] = parts[0]
    opened = client.get(f"{prefix}/swipe", headers=PAGE)
    assert opened.status_code == 200
    assert '"/' not in opened.text.replace(
        '"/crowd/', ""
    )  # every address in it is relative, or knows the path
    assert client.get(f"{prefix}/api/session").json()["owner"] is True


def test_past_the_proxy_the_link_opens_it_too(behind, ws):
    client = visit(behind, url="http://localhost:8501")
    reply = client.get(f"/crowd/api/session?token={people.owner_token(ws)}")
    assert reply.status_code == 200
    assert {"Path=/crowd", "HttpOnly"} <= set(reply.headers["set-cookie"].split("; "))
    assert "Secure" not in reply.headers["set-cookie"]


@pytest.mark.parametrize("prefix", ["/crowd", ""], ids=["kept", "stripped"])
def test_addresses_in_answers_lead_below_the_path(behind, ws, prefix):
    client = owner(behind, ws, prefix)
    card = client.get(f"{prefix}/api/cards?n=1").json()["cards"][0]
    assert card["url"].startswith("/crowd/tiles/")
    found = client.get(f"{prefix}/api/search?item=1").json()["results"]
    assert found[0]["url"].startswith("/crowd/tiles/")
    assert client.get(card["url"]).status_code == 200
    assert client.get(f"{prefix}/api/openapi.json").json()["servers"] == [{"url": "/crowd/api"}]
    assert 'href="openapi.json"' in client.get(f"{prefix}/api/docs").text
    moved = client.get(f"{prefix}/api/session/")
    assert moved.status_code == 307
    assert moved.headers["location"] == "https://labels.test/crowd/api/session"


def test_redirects_stay_below_the_path_and_others_are_left_alone(at):
    at(BEHIND)
    for told, moved in {
        "/label": "/crowd/label", "../label": "../label", "//evil.example/": "//evil.example/",
        "https://labels.test/x": "https://labels.test/crowd/x", "https://labels.test.evil/x": "https://labels.test.evil/x",
        "https://elsewhere.test/": "https://elsewhere.test/",
    }.items():  # fmt: skip

        async def leave(request, told=told):
            return RedirectResponse(told)

        app = Starlette(routes=[Route("/x", leave)], middleware=[Middleware(Front)])
        client = TestClient(
            app, base_url=ASKED, client=("127.0.0.1", 1), follow_redirects=False, headers=PROXY
        )
        assert client.get("/crowd/x").headers["location"] == moved


def test_the_path_without_its_slash_leads_to_it(behind):
    reply = passed(behind).get("/crowd?token=a&b=%C3%A9")
    assert (reply.status_code, reply.headers["location"]) == (308, "/crowd/?token=a&b=%C3%A9")


def test_only_the_public_name_may_answer(behind, ws):
    client = owner(behind, ws)
    item = cards_of_crowd(client)[0]
    for url in ("https://labels.test", "https://labels.test:443"):
        reply = client.post("/crowd/api/labels", json={"events": [answer(item)]}, headers={"origin": url})
        assert reply.json()["accepted"] == 1
    for origin in ("https://evil.example", "http://127.0.0.1:8501", "https://labels.test:8501", "null"):
        reply = client.post("/crowd/api/labels", json={"events": []}, headers={"origin": origin})
        assert is_problem(reply, 403)


def cards_of_crowd(client):
    return [c["item"] for c in client.get("/crowd/api/cards?n=2").json()["cards"]]


def test_guesses_are_counted_by_who_the_proxy_says_and_the_senders_own_word_counts_nothing(behind):
    def guess(n, sender, claims=""):
        client = visit(behind, url=ASKED)
        said = f"{claims}, {sender}" if claims else sender
        return client.get(f"/crowd/api/session?token=wrong{n}", headers={"x-forwarded-for": said}).status_code

    statuses = [guess(n, "203.0.113.9", f"198.51.100.{n}") for n in range(guesses.WRONG + 1)]
    assert statuses == [401] * guesses.WRONG + [429]
    assert guess(0, "203.0.113.10") == 401  # the neighbour behind the same proxy
    assert guess(0, "203.0.113.9") == 429


def test_a_swiper_behind_the_proxy_stays_a_swiper(behind, ws):
    client = passed(behind)
    code = people.make_link(ws, "swipe", lasts_s=60)[0]
    reply = client.get(f"/crowd/api/session?token={code}")
    client.headers["cookie"] = reply.headers["set-cookie"].split(";")[0]
    assert client.get("/crowd/api/session").json()["owner"] is False
    for method, path, body in OWNERS:
        assert is_problem(client.request(method, f"/crowd{path}", json=body), 400, 403)
    assert client.get("/crowd/label", headers=PAGE).status_code == 403


@pytest.mark.parametrize("prefix", ["/crowd", ""], ids=["kept", "stripped"])
def test_a_volunteer_joins_below_the_path_and_carries_on_elsewhere(behind, ws, prefix):
    client = passed(behind)
    code = people.make_link(ws, "swipe", lasts_s=60)[0]
    first = client.get(f"{prefix}/swipe?token={code}", headers=PAGE)
    assert (first.status_code, first.headers["location"]) == (303, f"/crowd/join?token={code}")
    asked = client.get(f"{prefix}/join?token={code}", headers=PAGE)
    assert 'action="/crowd/join"' in asked.text
    sent = {"token": code, "name": f"Ada {prefix}"}
    came = client.post(f"{prefix}/join", data=sent, headers={"origin": "https://labels.test"})
    assert (came.status_code, came.headers["location"]) == (303, "/crowd/swipe")
    assert {"Path=/crowd", "Secure", "HttpOnly"} <= set(came.headers["set-cookie"].split("; "))
    client.headers["cookie"] = came.headers["set-cookie"].split(";")[0]
    me = client.get(f"{prefix}/me", headers=PAGE)
    assert set(re.findall(r'(?:action|href)="(/[^"]*)"', me.text)) == {
        "/crowd/me",
        "/crowd/swipe",
        "/crowd/board",
    }
    more = client.post(f"{prefix}/me", data={"do": "elsewhere"}, headers={"origin": "https://labels.test"})
    assert "https://labels.test/crowd/join?token=" in more.text


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({"origin": "https://labels.test"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://127.0.0.1:8501"}, False),
        ({"origin": "https://labels.test", "cookie": ""}, False),
    ],
)
@pytest.mark.parametrize("prefix", ["/crowd", ""], ids=["kept", "stripped"])
def test_a_websocket_opens_for_the_public_name_alone(ws, at, headers, opens, prefix):
    async def stream(socket):
        await socket.accept()
        await socket.send_text(json.dumps([socket.scope["scheme"], socket.scope["client"][0]]))
        await socket.close()

    at(BEHIND)
    desk = Held(ws, True)
    visitor = desk.door.admit([])
    desk.door.enter(ws, visitor)
    desk.door.refresh()
    routes = [WebSocketRoute("/_stcore/stream", stream)]
    app = Starlette(routes=routes, middleware=[Middleware(Front), Middleware(Guard, desk=desk)])
    client = TestClient(app, base_url=ASKED, client=("127.0.0.1", 1))
    sent = {"host": "127.0.0.1:8501", "cookie": f"{COOKIE}={visitor.cookie}"} | PROXY | headers
    call = client.websocket_connect(f"{prefix}/_stcore/stream", headers=sent)
    if opens:
        with call as socket:
            assert json.loads(socket.receive_text()) == ["wss", "203.0.113.7"]
    else:
        with pytest.raises(WebSocketDisconnect), call:
            pass


def test_without_a_proxy_nothing_changes(ws, monkeypatch, at):
    at(Reach())
    with served(ws, monkeypatch) as (app, _):
        client = visit(app)
        first = client.get("/api/session").headers["set-cookie"]
        assert "Path=/;" in first
        assert "Secure" not in first
        assert cards_of(client, n=1)[0]["url"].startswith("/tiles/")
        assert client.get("/crowd/api/session").text == "a page"  # an address like any other
