from pathlib import Path

import pytest

from tests.pools import make_pool
from tests.served import begin, served, visit


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("light"), 5)
    begin(ws)
    with pytest.MonkeyPatch.context() as patch, served(ws, patch) as (app, _):
        yield visit(app)
    ws.close()


def test_the_light_page_names_each_file_by_its_version(client):
    page = client.get("/swipe")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in ("deck.js", "deck.css"):
        start = page.text.index(f'"deck/{name}?v=') + 1
        url = page.text[start : page.text.index('"', start)]
        kept = client.get(url)
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        fresh = client.get(f"/deck/{name}")
        assert fresh.headers["cache-control"] == "no-cache"
        known = {"if-none-match": fresh.headers["etag"]}
        assert client.get(f"/deck/{name}", headers=known).status_code == 304
    assert client.get("/deck/deck.js").headers["content-type"].startswith("text/javascript")


def test_the_light_page_is_packed_for_those_who_unpack_it(client):
    for path in ("/swipe", "/deck/deck.js"):
        plain, packed = (client.get(path, headers={"accept-encoding": e}) for e in ("identity", "gzip"))
        assert plain.content == packed.content  # httpx has unpacked it
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(plain.content) / 2


def test_the_description_needs_no_network(client):
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("<!doctype", "")
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    paths = client.get("/api/openapi.json").json()["paths"]
    assert {"/session", "/cards", "/labels", "/undo", "/items/{item}", "/search", "/ask"} <= set(paths)
    for path in paths:
        assert path in page.text


def test_every_route_is_in_the_documentation(client):
    text = (Path(__file__).parent.parent / "docs" / "http.md").read_text("utf-8")
    for path, methods in client.get("/api/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} /api{path}" in text, path
