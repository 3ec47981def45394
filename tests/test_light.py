import base64
import hashlib
import html
import io
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labeler import loop
from labeler.server import light
from tests.pools import make_pool
from tests.served import begin, served, visit


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("light"), 5)
    begin(ws)
    with pytest.MonkeyPatch.context() as patch, served(ws, patch) as (app, desk):
        client = visit(app)
        client.app, client.desk = app, desk
        yield client
    ws.close()


def opened(client, path="/swipe", **headers):
    """Return the page as a browser that is opened gets it."""
    return client.get(path, headers={"accept": "text/html"} | headers)


def begun(page):
    """Return what the page tells its deck to begin with."""
    found = re.findall(r'<script type="application/json" id="labeler-start">(.*?)</script>', page.text)
    return json.loads(found[0]) if found else None


def held(client):
    return client.desk.ws.dealing.held(1, time.time())


def test_the_light_page_names_each_file_by_its_version(client):
    page = client.get("/swipe")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for name in ("deck.js", "pack.js", "take.js", "labeler.webmanifest", "icon.svg"):
        start = page.text.index(f"deck/{name}?v=")
        url = "/" + page.text[start : page.text.index('"', start)]
        kept = client.get(url)
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        fresh = client.get(f"/deck/{name}")
        assert fresh.headers["cache-control"] == "no-cache"
        known = {"if-none-match": fresh.headers["etag"]}
        assert client.get(f"/deck/{name}", headers=known).status_code == 304
    assert client.get("/deck/deck.js").headers["content-type"].startswith("text/javascript")


def test_the_style_is_in_the_page_and_the_policy_names_it_alone(client):
    page = opened(client)
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'self' 'sha256-{mark}';" in page.headers["content-security-policy"]
    assert len(re.findall(r"<script(?! type=\"application/json\")", page.text)) == 1  # deck.js


def test_the_page_brings_its_first_card_along_which_is_leased_by_asking_for_it(client):
    page = opened(client)
    start = begun(page)
    card = start["card"]
    assert f'<link rel="preload" as="image" href="{html.escape(card["url"])}"' in page.text
    assert page.text.index('rel="preload"') < page.text.index("<style>")
    assert page.headers["link"].startswith(f"<{card['url']}>; rel=preload; as=image")
    assert card["item"] in held(client)
    assert start["session"] == client.get("/api/session").json() | {"per_minute": 0}
    assert page.headers["cache-control"] == "private, no-cache"
    again = begun(opened(client))
    assert again["card"] == card  # a reload shows the same one
    assert again["page"] != start["page"]
    assert client.get("/api/cards?n=1").json()["cards"][0]["card"] == card["card"]


@pytest.mark.parametrize(
    "ahead",
    [
        {"sec-purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}, {"purpose": "prefetch"},
        {"x-moz": "prefetch"}, {"x-purpose": "preview"}, {"accept": "*/*"}, {"accept": "image/avif"},
    ],
)  # fmt: skip
def test_a_look_ahead_takes_no_card_and_leaves_nobody(client, ahead):
    stranger = visit(client.app)
    before = held(client), client.desk.ws.store.conn.execute("SELECT count(*) FROM people").fetchone()
    page = opened(stranger, **ahead)
    assert page.status_code == 200
    assert begun(page) is None
    assert 'rel="preload"' not in page.text
    assert (
        held(client),
        client.desk.ws.store.conn.execute("SELECT count(*) FROM people").fetchone(),
    ) == before


def test_what_a_browser_keeps_holds_no_card_and_nobodys_words(client):
    opened(client)
    before = held(client)
    for path in ("/swipe?shell", "/swipe?shell=1&session=1"):
        page = opened(client, path)
        assert begun(page) is None
        assert "Is it?" not in page.text
    assert client.head("/swipe", headers={"accept": "text/html"}).status_code == 200
    assert held(client) == before


@pytest.mark.parametrize("session", ["99", "0", "-1", "x", "9" * 30, "1.0", "\u0661"])
def test_a_session_that_is_not_there_leaves_it_to_the_deck_to_say_so(client, session):
    page = client.get("/swipe", params={"session": session}, headers={"accept": "text/html"})
    assert page.status_code == 200
    assert begun(page) is None


def test_script_in_the_question_stays_a_word_in_the_page(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 5)
    evil = "</script><script>alert(1)</script><!--"
    loop.learn(ws, loop.start_session(ws, evil, ("yes", "no"), "find"))
    with served(ws, monkeypatch) as (app, _):
        page = opened(visit(app))
    assert begun(page)["session"]["question"] == evil
    assert "alert(1)</script>" not in page.text
    assert page.text.count("<script") == 2
    ws.close()


# to be installed, and to open without a network --------------------------------------------------


def test_the_manifest_names_icons_of_the_size_it_says(client):
    manifest = client.get("/deck/labeler.webmanifest")
    assert manifest.headers["content-type"] == "application/manifest+json"
    told = manifest.json()
    assert (told["start_url"], told["display"]) == ("../swipe", "standalone")
    sizes = set()
    for icon in told["icons"]:
        reply = client.get(f"/deck/{icon['src']}")
        assert reply.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            image = Image.open(io.BytesIO(reply.content))
            assert f"{image.width}x{image.height}" == icon["sizes"]
            sizes.add((image.width, icon.get("purpose")))
            if icon.get("purpose"):  # a mask may cut everything beyond 0.4 of the width from the middle
                whole, px = np.asarray(image.convert("RGB")).astype(int), image.width
                far = np.hypot(*(np.mgrid[:px, :px] - (px - 1) / 2)) > 0.4 * px
                assert np.abs(whole[far] - whole[0, 0]).max() < 12
    assert sizes == {(192, None), (512, None), (192, "maskable"), (512, "maskable")}


def test_the_service_worker_is_another_one_whenever_what_it_keeps_changes(client, tmp_path, monkeypatch):
    told = client.get("/deck/keeper.js")
    assert told.headers["service-worker-allowed"] == "../swipe"
    assert told.headers["cache-control"] == "no-cache"
    page = client.get("/swipe").text
    for name in light.SHELL:
        (version,) = set(re.findall(rf"{re.escape(name)}\?v=(\w+)", page))
        assert f'"{name}?v={version}"' in told.text
    folder = tmp_path / "deck"
    shutil.copytree(light.FOLDER, folder)
    monkeypatch.setattr(light, "FOLDER", folder)
    seen = {told.text}
    try:
        more = {
            "deck.js": "void 1;",
            "pack.js": "void 2;",
            "deck.html": "<!--3-->",
            "deck.css": ".four { color: red; }",
        }
        for name, text in more.items():
            with (folder / name).open("a") as f:
                f.write(f"\n{text}\n")
            forget()
            seen.add(client.get("/deck/keeper.js").text)
        assert len(seen) == 5
    finally:
        forget()


def forget():
    for known in (light._assets, light._page, light._policy):
        known.cache_clear()


def test_the_light_page_is_packed_for_those_who_unpack_it(client):
    for path in ("/swipe?shell", "/deck/deck.js"):
        plain, packed = (client.get(path, headers={"accept-encoding": e}) for e in ("identity", "gzip"))
        assert plain.content == packed.content  # httpx has unpacked it
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) < len(plain.content) / 2
    whole = opened(client, **{"accept-encoding": "gzip"})
    assert int(whole.headers["content-length"]) < len(whole.content) / 2


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
