"""What somebody tries who means harm; docs/security.md lists it all."""

import contextlib
import csv
import json
import threading
import uuid
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from labeler import door, loop, people
from labeler.database import Cursor
from labeler.door import COOKIE, MOST_COOKIES, sign
from labeler.server import guard, guesses
from labeler.server.desk import Desk
from tests.pools import make_pool
from tests.served import answer, begin, cards_of, cookie_of, is_problem, picture, served, visit
from tests.test_app import free_port, start
from tests.test_deck import until

ROOT = Path(__file__).parent.parent
PHONE = "http://192.168.1.5:8501"


@pytest.fixture
def alone(ws, monkeypatch):
    with served(ws, monkeypatch) as (app, _):
        yield app


@pytest.fixture
def shared(ws, monkeypatch):
    with served(ws, monkeypatch, shared=True) as (app, _):
        yield app


def count(ws, table):
    return ws.store.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def phone(app, peer="192.168.1.9", cookie=None):
    client = visit(app, url=PHONE, peer=peer)
    if cookie:
        client.cookies.set(COOKIE, cookie)
    return client


# pretending to be the owner ----------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded",
        "Forwarded", "Forwarded-For", "Via", "X-Real-IP", "X-Client-IP", "X-Cluster-Client-IP",
        "True-Client-IP", "Client-IP", "CF-Connecting-IP", "CF-Ray", "CDN-Loop", "Fly-Client-IP",
        "Fastly-Client-IP", "X-Original-Host", "X-Original-For", "X-Remote-IP", "X-Amzn-Trace-Id",
        "X-Envoy-External-Address", "X-Azure-ClientIP", "X-Appengine-User-IP", "X-ARR-LOG-ID",
        "Tailscale-User-Login", "X-Varnish", "Proxy-Client-IP", "WL-Proxy-Client-IP", "X-ProxyUser-IP",
        "X-Scheme", "Surrogate-Capability",
    ],
)  # fmt: skip
def test_through_a_proxy_nobody_is_the_owner_without_the_link(alone, header):
    for value in ("127.0.0.1", "1.2.3.4", ""):
        assert is_problem(visit(alone).get("/api/session", headers={header: value}), 401)


def test_what_nginx_sends_when_nobody_tells_it_to_name_the_sender_is_not_the_owner(ws, tmp_path):
    port = free_port()
    with start(ws, port), connection(port) as s:
        s.sendall(b"GET /api/session HTTP/1.0\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % port)
        assert s.makefile("rb").readline().split()[1] == b"401"


def connection(port):
    import socket

    return socket.create_connection(("127.0.0.1", port), 30)


def test_the_link_works_through_a_proxy(alone, ws):
    client = visit(alone, url="https://labels.example")
    client.headers |= {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"}
    assert is_problem(client.get("/api/session"), 401)
    assert client.get(f"/api/session?token={people.owner_token(ws)}").json()["owner"]
    assert client.get("/api/session").json()["owner"]


@pytest.mark.parametrize(
    "host", ["evil.example:8501", "localhost.evil.example", "127.0.0.1.nip.io", "localhost.", "[::1"]
)
def test_a_name_that_is_made_to_point_here_is_not_the_owner(alone, host):
    assert is_problem(visit(alone).get("/api/session", headers={"host": host}), 401)


# guessing ----------------------------------------------------------------------------------


def guess(app, n, peer="192.168.1.9", url="/api/session?token=wrong{}"):
    return [phone(app, peer).get(url.format(i)).status_code for i in range(n)]


def test_guessing_is_slowed_and_the_right_link_still_opens_for_others_and_from_there(shared, ws):
    assert guess(shared, guesses.WRONG + 2) == [401] * guesses.WRONG + [429] * 2
    reply = phone(shared).get("/swipe?token=wrong")
    assert is_problem(reply, 429)
    assert 0 < int(reply.headers["retry-after"]) <= guesses.WITHIN_S
    right = f"/api/session?token={people.owner_token(ws)}"
    assert phone(shared, "192.168.1.10").get("/api/session?token=wrong").status_code == 401
    assert phone(shared, "192.168.1.10").get(right).status_code == 200
    assert phone(shared).get(right).status_code == 200


def test_a_household_guesses_as_one_and_the_next_one_does_not_pay_for_it(shared):
    for i in range(guesses.WRONG):
        assert guess(shared, 1, f"2001:db8:0:1::{i + 1:x}") == [401]
    assert guess(shared, 1, "2001:db8:0:1:ffff::1") == [429]
    assert guess(shared, 1, "2001:db8:0:2::1") == [401]


@pytest.mark.parametrize("signature", ["", f".{'s' * 43}"])
def test_cookies_are_guessed_no_faster_and_an_old_one_is_no_guess(shared, signature):
    tries = [
        phone(shared, cookie=f"{i:043}{signature}").get("/api/session").status_code
        for i in range(guesses.WRONG + 2)
    ]
    assert tries == [401] * guesses.WRONG + [429] * 2
    old = phone(shared, "192.168.1.20", cookie=f"{'o' * 43}{signature}")
    assert {old.get("/api/session").status_code for _ in range(3 * guesses.WRONG)} == {401}


def test_who_may_swipe_does_not_guess_the_owners_link_unnoticed(shared, ws):
    client = phone(shared, cookie=cookie_of(ws))
    tries = [client.get(f"/api/session?token=wrong{i}").status_code for i in range(guesses.WRONG + 1)]
    assert tries == [200] * guesses.WRONG + [429]
    assert client.get("/api/session").status_code == 200


def test_memory_of_guesses_is_bounded_and_the_newest_are_kept(monkeypatch):
    monkeypatch.setattr(guesses, "MOST_ADDRESSES", 50)
    noted = guesses.Guesses()
    for i in range(500):
        noted.wrong(f"10.0.{i // 256}.{i % 256}", "x", again=True)
    assert len(noted._wrong) == 50
    for _ in range(guesses.WRONG * 10):
        noted.wrong("10.9.9.9", "y" * 10_000, again=True)
    assert max(len(sent) for _, sent in noted._wrong.values()) <= guesses.WRONG


# cookies -----------------------------------------------------------------------------------


def test_two_shared_servers_on_one_machine_leave_each_other_their_cookies(ws, tmp_path, monkeypatch):
    other = make_pool(tmp_path / "other", 5)
    begin(other)
    with (
        served(ws, monkeypatch, shared=True) as (one, _),
        served(other, monkeypatch, shared=True) as (two, _),
    ):
        browser = phone(one)
        assert browser.get(f"/api/session?token={people.owner_token(ws)}").status_code == 200
        first = browser.cookies[COOKIE]
        there = phone(two)
        there.cookies = browser.cookies  # ports don't keep cookies apart
        assert is_problem(there.get("/api/session"), 401)
        assert there.get(f"/api/session?token={people.owner_token(other)}").status_code == 200
        assert there.get("/api/session").json()["images"] == 5
        browser.cookies = there.cookies
        assert browser.cookies[COOKIE] == first
        assert browser.get("/api/session").json()["images"] == 60
    other.close()


def test_a_thousand_cookies_cost_a_few_looks(shared, ws, monkeypatch):
    looks = []
    known = type(ws.roster).person_by_token
    monkeypatch.setattr(type(ws.roster), "person_by_token", lambda *a: looks.append(a) or known(*a))
    signer, _ = ws.roster.cookie_key()
    cookie = "; ".join(f"{COOKIE}={sign(f'{i:043}', signer)}" for i in range(1000))
    assert is_problem(phone(shared).get("/api/session", headers={"cookie": cookie}), 401)
    assert len(looks) == MOST_COOKIES


@pytest.mark.parametrize("signature", ["", f".{'s' * 43}"])
def test_a_thousand_invented_cookies_are_refused_without_a_look_into_the_database(
    shared, ws, monkeypatch, signature
):
    monkeypatch.setattr(door, "FRESH_S", 3600)  # else one look a second, for all together
    clients = [phone(shared, f"10.0.{i}.9") for i in range(100)]
    assert is_problem(clients[0].get("/api/session"), 401)
    said, execute, read = [], Cursor.execute, Desk.read
    monkeypatch.setattr(Cursor, "execute", lambda self, *a: said.append(a) or execute(self, *a))
    monkeypatch.setattr(Desk, "read", lambda *a: said.append(a) or read(*a))  # nor do they take a thread
    for i in range(1000):
        headers = {"cookie": f"{COOKIE}={i:043}{signature}"}
        assert is_problem(clients[i % 100].get("/api/session", headers=headers), 401)
    assert said == []
    known = {"cookie": f"{COOKIE}={cookie_of(ws)}"}
    said.clear()
    assert clients[0].get("/api/session", headers=known).status_code == 200
    assert said


def test_requests_that_leave_nothing_leave_nobody(alone, ws):
    before = count(ws, "people")
    for _ in range(20):
        for path in (
            "/api/session",
            "/swipe",
            "/tiles/1",
            "/api/search?item=1",
            "/api/docs",
            "/deck/deck.js",
        ):
            assert visit(alone).get(path).status_code == 200
        assert visit(alone).post("/api/labels", json={"events": []}).status_code == 200
        assert visit(alone).post("/api/labels", json={"events": [{"id": "x"}]}).json()["rejected"]
        assert is_problem(visit(alone).post("/api/undo", json={"id": str(uuid.uuid4())}), 409)
        assert is_problem(visit(alone).get("/api/cards?session=99"), 404)
    assert count(ws, "people") == before
    assert visit(alone).post("/api/labels", json={"events": [answer(1)]}).json()["accepted"] == 1
    assert count(ws, "people") == before + 1


# other people's answers --------------------------------------------------------------------


def test_a_replayed_event_id_neither_reveals_nor_overwrites(alone, ws):
    one, two = visit(alone), visit(alone)
    event = answer(3, "yes")
    assert one.post("/api/labels", json={"events": [event]}).json()["accepted"] == 1
    forged = event | {"item": 4, "label": "no"}
    assert two.post("/api/labels", json={"events": [forged]}).json() == {
        "accepted": 0,
        "duplicates": 1,
        "rejected": [],
    }
    undone = two.post("/api/undo", json={"id": event["id"]})
    assert is_problem(undone, 409)
    assert "yes" not in undone.text
    stored = ws.journal.log(ws.store.session(1))
    assert [(e.item, e.answer) for e in stored] == [(3, "yes")]


def test_nobody_takes_back_what_somebody_else_said(alone, ws):
    one, two = visit(alone), visit(alone)
    one.post("/api/labels", json={"events": [answer(3, "yes")]})
    undo = str(uuid.uuid4())
    assert one.post("/api/undo", json={"id": undo}).status_code == 200
    one.post("/api/labels", json={"events": [answer(3, "yes")]})
    two.post("/api/labels", json={"events": [answer(3, None)]})
    assert is_problem(two.post("/api/undo", json={"id": str(uuid.uuid4())}), 409)
    assert is_problem(
        two.post("/api/undo", json={"id": undo}), 409
    )  # nor hears what an undo gave somebody else
    assert one.get("/api/session").json()["counts"]["yes"] == 1


def test_holding_other_peoples_cards_by_their_number_gets_nothing(alone):
    one, two = visit(alone), visit(alone)
    mine = cards_of(one, n=5)
    have = ",".join(str(c["card"]) for c in mine)
    theirs = cards_of(two, n=5, have=have)
    assert not {c["item"] for c in mine} & {c["item"] for c in theirs}
    assert {c["card"] for c in cards_of(one, n=5)} == {c["card"] for c in mine}


# large and heavy ---------------------------------------------------------------------------


def test_only_pictures_may_be_large(alone):
    big = b" " * (guard.MOST_BYTES + 1)
    for path in (
        "/api/labels",
        "/api/undo",
        "/api/ask",
        "/api/search",
        "/api/examples",
        "/api/sessions",
        "/tiles/1",
    ):
        json_type = {"content-type": "application/json"}
        assert is_problem(visit(alone).post(path, content=big, headers=json_type), 413)
        assert is_problem(visit(alone).post(path, content=iter([big]), headers=json_type))  # says no length
    large = [("image", ("x.png", picture() + bytes(2 << 20)))]
    assert visit(alone).post("/api/search", files=large).status_code in (200, 400)


def test_a_wrong_method_is_answered_like_every_error(alone):
    for path in (
        "/tiles/1",
        "/swipe",
        "/deck/deck.js",
        "/api/session",
        "/api/labels",
        "/tiles",
        "/api/nothing",
    ):
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            assert is_problem(visit(alone).request(method, path), 404, 405)


def test_heavy_requests_leave_threads_to_the_others(alone, ws, monkeypatch):
    go, begun = threading.Event(), threading.Semaphore(0)
    find = loop.neighbours

    def slow(*args, **more):
        begun.release()
        go.wait(30)
        return find(*args, **more)

    monkeypatch.setattr(loop, "neighbours", slow)
    url = "/api/search?item=1"
    client = visit(alone)
    with contextlib.ExitStack() as held:
        held.enter_context(client)  # one event loop for all of them
        threads = [threading.Thread(target=client.get, args=(url,)) for _ in range(8)]
        for t in threads:
            t.start()
        assert begun.acquire(timeout=30)
        assert visit(alone).get("/api/session").status_code == 200
        assert visit(alone).get("/tiles/5").status_code == 200
        go.set()
        for t in threads:
            t.join(30)
        assert not any(t.is_alive() for t in threads)


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":' + b"[" * 100_000, b"[" * 500_000, b'{"events":[{"item":' + b"9" * 5000 + b"}]}",
        b'{"events":' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}", b"", b"null", b"\xff\xfe", b"\x00",
        b'{"events":[],"workspace":"\\ud800"}', b'{"events":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=range(10),
)  # fmt: skip
def test_json_made_to_break_readers_is_refused(alone, body):
    for path in (
        "/api/labels",
        "/api/search",
        "/api/undo",
        "/api/ask",
        "/api/sessions",
        "/api/session/labels",
    ):
        reply = visit(alone).post(path, content=body, headers={"content-type": "application/json"})
        assert is_problem(reply, 400)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_form_of_another_site_could_not_answer_either(alone, ws, kind):
    """A browser sends these types from any site without asking first."""
    body = json.dumps({"events": [answer(1)]})
    reply = visit(alone).post("/api/labels", content=body, headers={"content-type": kind})
    assert is_problem(reply, 400)
    assert count(ws, "events") == 0


def test_a_reviewer_is_not_told_files_and_answers_of_a_search(shared, ws):
    client = phone(shared, cookie=cookie_of(ws, "review"))
    for reply in (
        client.post("/api/search", json={"like": [1], "k": 5, "about": True}),
        client.post("/api/search", data={"about": "true", "k": "5"}, files=[("image", ("a", picture()))]),
    ):
        assert reply.status_code == 200
        assert [set(r) for r in reply.json()["results"]] == [{"item", "cos", "url"}] * 5


def test_a_form_of_too_many_fields_is_refused(alone):
    many = {"like": [str(i % 50) for i in range(1001)]}
    assert is_problem(visit(alone).post("/api/search", data=many, files=[("image", ("a", b"x"))]), 400)


PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n1\r\n'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x; charset=nonsense", PART), ("multipart/form-data; boundary=", PART),
        ("multipart/form-data; boundary=" + "y" * 200, PART), ("multipart/form-data; boundary=x", PART[:-9]),
        ("multipart/form-data; boundary=x", b"--x\r\nX: y\r\n\r\nabc\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b""), ("multipart/form-data; boundary=\u00e9", PART),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A: b\r\n" * 50_000 + b"\r\n"),
        ("multipart/form-data; boundary=x", PART.replace(b'"a"', b'"../../../etc/passwd\x00"')),
        ("multipart/form-data; boundary=x", FIELD * 1001 + b"--x--\r\n"),
    ],
    ids=range(10),
)  # fmt: skip
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # a form cut off: Python closes its file
def test_forms_made_to_break_readers_are_refused(alone, kind, body):
    for path in ("/api/search", "/api/examples"):
        reply = visit(alone).post(path, content=body, headers={"content-type": kind.encode()})
        assert is_problem(reply, 400)


# everything that is shown ------------------------------------------------------------------

SCRIPT = "<img src=x onerror=pwned=1><script>pwned=1</script>"


def test_script_in_words_comes_back_as_text_that_no_browser_runs(alone):
    client = visit(alone)
    made = client.post("/api/sessions", json={"question": SCRIPT, "labels": [SCRIPT[:27], "=1+1"]})
    assert made.json()["question"] == SCRIPT
    bad = client.post("/api/labels", json={"events": [answer(1, SCRIPT[:50])]})
    assert SCRIPT[:50] in bad.json()["rejected"][0]["why"]
    for reply in (
        made,
        bad,
        client.get("/tiles/<script>"),
        client.get("/api/<script>"),
        client.get("/tiles/1?w=<b>"),
    ):
        assert reply.headers["content-type"].startswith("application/json")
        assert reply.headers["x-content-type-options"] == "nosniff"
    page = client.get(
        "/nothing<script>?token=<script>", headers={"accept": "text/html", "host": "evil<script>"}
    )
    assert "<script" not in page.text


def test_formulas_stay_exact_for_programs(alone, ws, tmp_path):
    """A spreadsheet would run them; docs/security.md says what to do."""
    formula = '=HYPERLINK("http://evil.example")'
    session = loop.start_session(ws, "Which?", [formula, "+1", "-1", "@x"])
    rename(ws, 0, "=cmd|' !A1.png")
    sent = {"events": [answer(0, formula), answer(1, "-1")]}
    assert visit(alone).post("/api/labels", json=sent).json()["accepted"] == 2
    loop.export(ws, session, format="csv", out=tmp_path / "out", how="copy", predicted_from=None)
    with open(tmp_path / "out" / "labels.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [(r["path"], r["label"]) for r in rows] == [("=cmd|' !A1.png", formula), ("img0001.png", "-1")]


def test_labels_made_to_climb_out_of_an_export_stay_in_it(alone, ws, tmp_path):
    names = ["../../up", "/abs", "..", "C:\\x", "con"]
    session = loop.start_session(ws, "Where?", names)
    sent = {"events": [answer(i, name) for i, name in enumerate(names)]}
    assert visit(alone).post("/api/labels", json=sent).json()["accepted"] == len(names)
    out = tmp_path / "out" / "export"
    report = loop.export(ws, session, format="folders", out=out, how="copy", predicted_from=None)
    assert report.person == len(names)
    written = [p for p in tmp_path.rglob("img*.png") if "images" not in p.parts and "ws" not in p.parts]
    assert len(written) == len(names)
    assert all(out in p.parents for p in written)


# the whole server --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return (workspace, port, the owner's client, token) of a shared server in its own process."""
    ws = make_pool(tmp_path_factory.mktemp("real"), 30, images=True)
    begin(ws)
    port = free_port()
    with start(ws, port, "--host", "0.0.0.0") as (_, client):
        client.follow_redirects = False
        token = people.owner_token(ws)
        assert client.get(f"/?token={token}", headers={"accept": "text/html"}).status_code == 303
        assert client.get("/_stcore/health").status_code == 200
        until(lambda: client.get("/api/session").json()["worker"] == "idle", limit_s=120)  # read all files
        yield ws, port, client, token
        said = (ws.folder / "cache" / "server.log").read_text()
    ws.close()
    links, _, later = said.partition("Ctrl-C stops")
    assert token in links
    assert token not in later
    assert "GET /" not in later


@pytest.mark.parametrize(
    "path",
    [
        "/_stcore/agent/openapi.json", "/_stcore/agent/interact", "/_stcore/agent/mcp", "/_stcore/metrics",
        "/_stcore/script-health-check", "/auth/login", "/auth/logout", "/oauth2callback", "/component/x/y",
        "/app/static/x",
    ],
)  # fmt: skip
def test_what_streamlit_offers_beside_pages_is_off(real, path):
    _, _, client, _ = real
    for method in ("GET", "POST", "OPTIONS"):
        assert is_problem(client.request(method, path), 404)


@pytest.mark.parametrize(
    "path",
    ["/", "/start", "/_stcore/health", "/_stcore/host-config", "/_stcore/stream", "/media/x", "/static/x",
     "/_stcore/upload_file/a/b", "/_stcore/bidi-components/x/y", "/favicon.png"],
)  # fmt: skip
def test_no_page_of_streamlit_answers_a_stranger_or_another_site(real, path):
    _, port, client, _ = real
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        assert httpx.request(method, f"http://localhost:{port}{path}").status_code == 401
        foreign = {"origin": "http://evil.example"}
        assert client.request(method, path, headers=foreign).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/media/..%2f..%2fetc%2fpasswd",
        "/static/..%2findex.html",
        "//etc/passwd",
        "/..%5c..%5cx",
        "/static/%00",
    ],
)
def test_streamlits_paths_lead_nowhere_else(real, path):
    _, _, client, _ = real
    reply = client.get(path)
    assert reply.status_code in (200, 303, 307, 400, 404)
    assert "root:" not in reply.text


def test_uploads_need_streamlits_own_token_and_a_page_that_is_open(real):
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    _, port, client, _ = real
    one = {"file": ("x.png", b"x")}
    assert client.put("/_stcore/upload_file/a/b", files=one).status_code == 403
    headers = {"x-xsrftoken": client.cookies["_streamlit_xsrf"]}
    assert client.put("/_stcore/upload_file/a/b", files=one, headers=headers).status_code == 400
    cookie = "; ".join(f"{k}={v}" for k, v in client.cookies.items())
    with connect(f"ws://localhost:{port}/_stcore/stream", additional_headers={"cookie": cookie}) as socket:
        begin = BackMsg()
        begin.rerun_script.query_string = ""
        socket.send(begin.SerializeToString())
        said = ForwardMsg.FromString(socket.recv(timeout=30))
        while said.WhichOneof("type") != "new_session":
            said = ForwardMsg.FromString(socket.recv(timeout=30))
        url = f"/_stcore/upload_file/{said.new_session.initialize.session_id}/b"
        assert client.put(url, files=one).status_code == 403
        assert client.put(url, files=one, headers=headers).status_code == 204
        with connection(port) as s:
            many = {"cookie": cookie, "content-length": str(51 << 20), "host": f"localhost:{port}"} | headers
            lines = "".join(f"{k}: {v}\r\n" for k, v in many.items())
            s.sendall(f"PUT {url} HTTP/1.1\r\n{lines}\r\n".encode())
            assert b" 413 " in s.makefile("rb").readline()


def test_the_websocket_opens_for_the_owners_own_page_alone(real):
    _, port, client, _ = real
    stream = f"ws://localhost:{port}/_stcore/stream"
    cookie = f"{COOKIE}={client.cookies[COOKIE]}"
    wrong = [
        ({}, None), ({"cookie": f"{COOKIE}={'a' * 43}"}, None), ({"cookie": cookie}, "http://evil.example"),
        ({"cookie": f"{COOKIE}={'a' * 43}.{'a' * 43}"}, None), ({"cookie": cookie[:-43] + 43 * "a"}, None),
        ({"cookie": cookie}, "null"), ({"cookie": cookie}, "http://localhost:1"),
        ({"cookie": cookie, "sec-fetch-site": "cross-site"}, None),
    ]  # fmt: skip
    for headers, origin in wrong:
        with pytest.raises(InvalidStatus), connect(stream, additional_headers=headers, origin=origin):
            pass
    with connect(stream, additional_headers={"cookie": cookie}, origin=f"http://localhost:{port}") as socket:
        socket.send(b"\xff" * 1000)  # no message of Streamlit's
        with pytest.raises(ConnectionClosed):
            list(socket)
    assert client.get("/_stcore/health").status_code == 200


def rename(ws, item, name):
    """Give an image another name, as whoever made the collection might have."""
    old = ws.catalog.item(item).path
    (ws.images / old).rename(ws.images / name)
    ws.catalog.conn.execute("UPDATE files SET path = ? WHERE path = ?", (name, old))
    ws.catalog.conn.commit()


EVIL = "<img src=x onerror=pwned=%d>"
TRICKS = "![a](http://evil.example/a.png) [b](javascript:pwned=9) <script>pwned=8</script> :red[c] $d$"


@pytest.mark.browser
def test_nothing_that_is_shown_runs_or_fetches(real, browser):
    ws, port, client, token = real
    question, labels = f"{EVIL % 1} {TRICKS}", [EVIL % 2, "![e](http://evil.example/e.png)"]
    made = client.post("/api/sessions", json={"question": question, "labels": labels}).json()
    for item in range(4):
        rename(ws, item, f"{EVIL % 3}{item}.png")
    sent = [answer(i, labels[i % 2]) for i in range(4)]
    assert client.post(f"/api/labels?session={made['id']}", json={"events": sent}).json()["accepted"] == 4
    pictures = [("image", (f"{EVIL % 4}.png", picture()))]
    assert client.post("/api/examples", files=pictures).status_code == 200
    page = browser.new_context(viewport={"width": 1200, "height": 1000}).new_page()
    asked, dialogs = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("dialog", lambda d: dialogs.append(d.message))
    page.goto(f"http://localhost:{port}/swipe?token={token}")
    shown = {"swipe": EVIL % 1, "label": EVIL % 1, "start": EVIL % 4, "review": EVIL % 2, "export": EVIL % 2}
    for name, text in shown.items():
        page.goto(f"http://localhost:{port}/{name}")
        page.get_by_text(text).first.wait_for(timeout=30_000)
        assert page.evaluate("window.pwned ?? null") is None, name
        assert page.locator("img[src='x'], [onerror], a[href^='javascript']").count() == 0, name
    page.goto(f"http://localhost:{port}/search?item=1")
    example = page.locator(".example img").first
    example.wait_for(timeout=30_000)
    assert example.get_attribute("alt") == f"{EVIL % 3}1.png"
    assert page.evaluate("window.pwned ?? null") is None
    assert not [url for url in asked if "evil" in url or token in url][1:]  # the link itself, once
    assert dialogs == []
    page.context.close()


def test_limits_hold_in_the_real_server(real):
    _, port, _, _ = real
    with connection(port) as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000)
        with contextlib.suppress(ConnectionResetError):
            assert b" 431 " in s.makefile("rb").readline()
