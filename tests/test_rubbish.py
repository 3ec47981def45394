import pytest
from starlette.testclient import TestClient

from labeler import loop
from labeler.server import guard
from tests.pools import make_pool
from tests.served import ROUTES, URL, begin, is_problem, served, visit


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("rubbish"), 60, images=True)
    begin(ws)
    with pytest.MonkeyPatch.context() as patch, served(ws, patch) as (app, _):
        yield app
    ws.close()


@pytest.fixture
def client(app):
    return visit(app)


POSTS = sorted({path for method, path, _ in ROUTES if method == "POST" and path.startswith("/api")})
RUBBISH = [
    b"", b"\x00", b"{", b"null", b"[]", b"7", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"events": NaN}',
    b'{"id": 1e999}', b'{"id": ' + b"9" * 5000 + b"}", b'{"events": {"a": 1}}', b'{"items": []}',
    b'{"items": [99999999999999999999999]}', b'{"items": [NaN]}', b'{"items": [Infinity]}',
    b'{"question": 7, "labels": {}}', b'{"id": "\\ud800"}', b'{"like": [true]}',
    b'{"question": "' + b"x" * 301 + b'", "labels": ["a", "b"]}',
]  # fmt: skip


@pytest.mark.parametrize("path", POSTS)
def test_a_malformed_body_is_refused_with_a_sentence(client, path):
    for body in RUBBISH:
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            assert is_problem(client.post(path, content=body, headers={"content-type": kind}), 400), body[:40]
        assert is_problem(client.post(path, content=body), 400)


@pytest.mark.parametrize(
    "query",
    ["n=0", "n=-1", "n=x", "n=1.5", "n=10000000000000000000000000", "n=NaN", "n=", "have=x", "have=1,,2",
     "have=-1", "have=" + "1," * 9000 + "1", "have=" + ",".join(["1"] * 1001), "have=99999999999999999999",
     "session=x", "session=0", "session=-1", "session=99999999999999999999999", "have=1%00"],
)  # fmt: skip
def test_a_malformed_query_is_refused_with_a_sentence(client, query):
    assert is_problem(client.get(f"/api/cards?{query}"), 400)


@pytest.mark.parametrize("query", ["", "item=x", "item=-1", "item=1&k=0", "item=1&k=x", f"item={10**20}"])
def test_a_malformed_search_is_refused_with_a_sentence(client, query):
    assert is_problem(client.get(f"/api/search?{query}"), 400)


@pytest.mark.parametrize("item", ["x", "-1", 10**20, 60, "1%00", "..%2fsession"])
def test_an_unknown_item_is_refused_with_a_sentence(client, item):
    assert is_problem(client.get(f"/api/items/{item}"), 400, 404)


@pytest.mark.parametrize("path", POSTS)
def test_a_huge_body_is_refused(client, path):
    most = guard.MOST_PICTURE_BYTES if path.startswith(guard.PICTURE_ROUTES) else guard.MOST_BYTES
    headers = {"content-type": "application/json", "content-length": str(most + 1)}
    assert is_problem(client.post(path, content=b"{}", headers=headers), 413)

    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(most // (1 << 16) + 2):
            yield b" " * (1 << 16)

    kind = "application/json"
    if path in guard.PICTURE_ROUTES:
        kind = "multipart/form-data; boundary=x"
    assert is_problem(client.post(path, content=chunks(), headers={"content-type": kind}), 413)


def test_other_addresses_and_methods_are_refused_with_a_sentence(client):
    assert is_problem(client.get("/api/nothing"), 404)
    assert is_problem(client.get("/api/labels"), 405)
    assert is_problem(client.delete("/api/session"), 405)
    assert is_problem(client.options("/api/cards"), 405)
    assert client.head("/tiles/1").status_code == 200
    assert client.head("/tiles/1").content == b""
    assert client.head("/swipe").status_code == 200


def test_a_bug_is_a_sentence_too(app, monkeypatch):
    monkeypatch.setattr(loop, "session_status", lambda *_: 1 / 0)
    client = TestClient(app, base_url=URL, client=("127.0.0.1", 1), raise_server_exceptions=False)
    reply = client.get("/api/session")
    assert reply.status_code == 500
    assert "division" not in reply.text
    assert set(reply.json()) == {"error", "do"}
