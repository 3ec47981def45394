import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from labeler import people
from labeler.door import COOKIE, Door
from labeler.server import guesses
from labeler.server.guard import Guard
from labeler.server.guesses import Guesses
from tests.pools import make_pool
from tests.served import ROUTES, URL, begin, cards_of, is_problem, served, visit

PHONE = "http://192.168.1.5:8501"
FOREIGN = [
    "http://evil.example", "null", "http://localhost:8502", "http://localhost", "https://localhost.evil.example:8501",
    "file://", "http://127.0.0.1:8501", "", "http://localhost:8501@evil.example", "http://localhost:8501/x",
]  # fmt: skip


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("guard"), 60, images=True)
    begin(ws)
    yield ws
    ws.close()


@pytest.fixture(scope="module")
def app(ws):
    with pytest.MonkeyPatch.context() as patch, served(ws, patch) as (app, _):
        yield app


@pytest.fixture(scope="module")
def shared(ws):
    with pytest.MonkeyPatch.context() as patch, served(ws, patch, shared=True) as (app, _):
        yield app


def ask(client, route, **more):
    method, path, body = route
    return client.request(method, path, json=body, **more)


# who is asking -----------------------------------------------------------------------------


def test_the_first_request_brings_a_cookie_that_scripts_cannot_read(app):
    reply = visit(app).get("/api/session")
    text = reply.headers["set-cookie"]
    assert text.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(text.split("; "))
    assert "Secure" not in text
    assert len(text.split(";")[0].split("=")[1]) >= 22  # 128 bits and more


def test_the_cookie_is_set_once(app):
    client = visit(app)
    client.get("/swipe")
    assert "set-cookie" not in client.get("/api/session").headers
    assert "set-cookie" not in client.get("/api/cards").headers


def test_each_browser_holds_cards_of_its_own_and_keeps_them(app):
    one, two = visit(app), visit(app)
    mine = {c["item"] for c in cards_of(one, n=5)}
    assert not mine & {c["item"] for c in cards_of(two, n=5)}
    assert {c["item"] for c in cards_of(one, n=5)} == mine


def test_somebody_elses_cookie_gives_nothing_away(app):
    one, two = visit(app), visit(app)
    mine = {c["item"] for c in cards_of(one, n=5)}
    cookie = one.cookies[COOKIE]
    two.cookies.set(COOKIE, cookie[:-1] + ("a" if cookie[-1] != "a" else "b"))
    assert not mine & {c["item"] for c in cards_of(two, n=5)}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_nobody_gets_in_without_access(app, shared, route):
    strangers = [
        (app, {"url": PHONE}, {}),
        (app, {"peer": "192.168.1.9"}, {}),
        (app, {"url": "http://evil.example"}, {}),
        (app, {}, {"x-forwarded-for": "1.2.3.4"}),
        (app, {}, {"forwarded": "for=1.2.3.4"}),
        (app, {}, {"x-real-ip": "1.2.3.4"}),
        (app, {}, {"via": "1.1 proxy"}),
        (app, {}, {"x-forwarded-proto": "https"}),
        (app, {"url": PHONE}, {"cookie": f"{COOKIE}={'a' * 43}"}),
        (shared, {}, {}),
        (shared, {"url": PHONE}, {}),
        (shared, {}, {"cookie": f"{COOKIE}={'a' * 43}"}),
        (shared, {}, {"cookie": f"{COOKIE}={'a' * 43}.{'a' * 43}"}),
    ]
    for served_app, where, headers in strangers:
        reply = ask(visit(served_app, **where), route, headers=headers)
        assert is_problem(reply, 401)
        assert "set-cookie" not in reply.headers


def test_a_wrong_token_is_refused_and_guessing_is_slowed(shared, ws):
    client = visit(shared, url=PHONE, peer="192.168.1.10")
    for i in range(guesses.WRONG):
        assert is_problem(client.get(f"/api/session?token=wrong{i}"), 401)
    reply = client.get("/api/session?token=wrong")
    assert is_problem(reply, 429)
    assert 0 < int(reply.headers["retry-after"]) <= guesses.WITHIN_S
    assert client.get(f"/api/session?token={people.owner_token(ws)}").status_code == 200


def test_the_link_opens_a_shared_server_and_is_gone_from_the_address(shared, ws):
    client = visit(shared, url=PHONE, peer="192.168.1.9")
    token = people.owner_token(ws)
    page = client.get(f"/swipe?session=1&token={token}&x=%C3%A9", headers={"accept": "text/html"})
    assert page.status_code == 303
    assert page.headers["location"] == "/swipe?session=1&x=%C3%A9"
    assert token not in page.headers["set-cookie"]
    assert client.get(page.headers["location"], headers={"accept": "text/html"}).status_code == 200
    assert client.get("/api/session").json()["owner"] is True
    assert cards_of(client, n=1)
    again = client.get(f"/swipe?token={token}", headers={"accept": "text/html"})
    assert (again.status_code, again.headers.get("set-cookie")) == (303, None)


def test_a_route_takes_the_token_without_a_redirect(shared, ws):
    client = visit(shared, url=PHONE)
    reply = client.get(f"/api/cards?n=1&token={people.owner_token(ws)}")
    assert reply.status_code == 200
    assert client.get("/api/session").status_code == 200
    assert client.post("/api/labels", json={"events": []}).status_code == 200


def test_a_planted_cookie_does_not_become_the_owners(shared, ws):
    planted = "p" * 43
    client = visit(shared, url=PHONE)
    client.get(f"/api/session?token={people.owner_token(ws)}", headers={"cookie": f"{COOKIE}={planted}"})
    again = visit(shared, url=PHONE).get("/api/session", headers={"cookie": f"{COOKIE}={planted}"})
    assert again.status_code == 401


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example/", "///evil.example", "/%2fevil.example"]
)
def test_the_redirect_never_leaves_this_server(shared, ws, path):
    url = f"{PHONE}{path}?token={people.owner_token(ws)}"
    reply = visit(shared, url=PHONE).get(url, headers={"accept": "text/html"})
    assert reply.status_code == 303
    target = reply.headers["location"]
    assert target.startswith("/")
    assert target[1] not in "/\\"


def test_a_stranger_who_opens_a_page_gets_a_page(shared):
    reply = visit(shared, url=PHONE).get("/swipe", headers={"accept": "text/html"})
    assert reply.status_code == 401
    assert reply.headers["content-type"].startswith("text/html")
    assert "link" in reply.text


def test_over_https_the_cookie_is_secure(app):
    client = visit(app, url="https://localhost:8501")
    assert "Secure" in client.get("/swipe").headers["set-cookie"]


# other sites -------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_a_foreign_origin_is_refused(app, route):
    for origin in FOREIGN:
        assert is_problem(ask(visit(app), route, headers={"origin": origin}), 403), origin
    for site in ("cross-site", "same-site"):
        assert is_problem(ask(visit(app), route, headers={"sec-fetch-site": site}), 403)
    assert ask(visit(app), route, headers={"origin": URL, "sec-fetch-site": "same-origin"}).status_code != 403


def test_a_link_on_another_site_may_lead_here_but_not_post_or_embed(app):
    leads = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    client = visit(app)
    assert client.get("/swipe", headers=leads).status_code == 200
    assert is_problem(client.post("/api/labels", json={"events": []}, headers=leads), 403)
    assert is_problem(client.get("/swipe", headers=leads | {"sec-fetch-dest": "iframe"}), 403)
    assert is_problem(client.get("/tiles/1", headers=leads | {"sec-fetch-mode": "no-cors"}), 403)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost", "http://localhost"), ("localhost:80", "http://localhost"), ("LOCALHOST:8501", URL),
     ("[::1]:8501", "http://[::1]:8501")],
)  # fmt: skip
def test_the_same_origin_is_recognised_however_it_is_written(app, host, origin):
    assert visit(app).get("/api/session", headers={"host": host, "origin": origin}).status_code == 200


def test_two_hosts_are_one_too_many(app):
    client = visit(app)
    reply = client.get("/api/session", headers=[("host", "localhost:8501"), ("host", "evil.example")])
    assert is_problem(reply, 400)


def test_answers_carry_the_headers_that_protect_them(app):
    for path in ("/swipe", "/api/session", "/tiles/1", "/deck/deck.js", "/api/nothing"):
        headers = visit(app).get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"]
    assert visit(app).get("/api/session").headers["cache-control"] == "no-store"


# WebSockets --------------------------------------------------------------------------------


class Held:
    """A desk with a door and nothing else."""

    stamp = "1f2e3d4c"

    def __init__(self, ws, shared):
        self.ws, self.door, self.guesses = ws, Door(ws, shared=shared), Guesses()

    async def read(self, fn):
        return fn(self.ws)

    async def refresh(self):
        self.door.refresh()

    async def enter(self, visitor):
        return self.door.enter(self.ws, visitor)


@pytest.mark.parametrize(
    ("shared", "headers", "opens"),
    [
        (False, {}, True),
        (False, {"origin": URL}, True),
        (False, {"origin": "http://evil.example"}, False),
        (False, {"origin": "http://localhost:3000"}, False),
        (False, {"host": "evil.example:8501", "origin": "http://evil.example:8501"}, False),
        (False, {"x-forwarded-for": "1.2.3.4"}, False),
        (False, {"sec-fetch-site": "cross-site"}, False),
        (True, {}, False),
        (True, {"cookie": f"{COOKIE}={'a' * 43}"}, False),
    ],
)
def test_a_websocket_from_elsewhere_is_refused(ws, shared, headers, opens):
    async def stream(socket):
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    routes = [WebSocketRoute("/_stcore/stream", stream)]
    guarded = Starlette(routes=routes, middleware=[Middleware(Guard, desk=Held(ws, shared))])
    client = TestClient(guarded, base_url=URL, client=("127.0.0.1", 1))
    call = client.websocket_connect("/_stcore/stream", headers={"host": "localhost:8501"} | headers)
    if opens:
        with call as socket:
            assert socket.receive_text() == "hello"
    else:
        with pytest.raises(WebSocketDisconnect), call:
            pass
