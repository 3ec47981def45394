"""The whole server over HTTPS, by itself and behind a real nginx at a path, in a real browser."""

import io
import os
import re
import socket
import ssl
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

from benchmarks.server import running
from labeler import people
from labeler.server import guesses
from labeler.workspace import Workspace
from tests.certificates import make_certificate
from tests.conftest import CHROMIUM
from tests.served import ROUTES, is_problem
from tests.test_deck import PHONE, SEEN, Deck, draw, until

pytestmark = pytest.mark.browser

DOCS = Path(__file__).parent.parent / "docs"
NAME = "labels.example.org"
IMAGES = 150  # several decks hold their cards
PAGE = {"accept": "text/html"}
UPGRADE = {
    "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-protocol": "streamlit, PLACEHOLDER",
}  # fmt: skip
INSIDE = ["/", "/label", "/review", "/static/index.html", "/media/x", "/_stcore/health", "/_stcore/stream"]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def site_config(**changes: str) -> str:
    """Return docs/nginx.conf, changed where this machine is another one than there."""
    text = (DOCS / "nginx.conf").read_text()
    for old, new in changes.values():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def proxied(nginx, folder, *sites):
    """Run nginx with these sites while the block runs."""
    folder.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        ("user root;\n" if os.getuid() == 0 else "")
        + f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{''.join(sites)}}}\n"
    )
    log = folder / "error.log"
    process = subprocess.Popen([nginx, "-e", str(log), "-p", str(folder), "-c", str(folder / "nginx.conf")])
    ports = [int(port) for port in re.findall(r"listen 127.0.0.1:(\d+)", "".join(sites))]
    try:
        for port in ports:
            until(lambda port=port: answers(port) or process.poll() is not None, say=log.read_text)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


def answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def places(tmp_path_factory, nginx):
    """Two servers on the same images. `behind`: nginx passes the path on, as docs/nginx.conf has it.
    `stripped`: nginx takes the path off and speaks HTTPS to the server. `direct`: that one, without nginx."""
    folder = tmp_path_factory.mktemp("proxy")
    draw(folder / "images", IMAGES)
    certificate, key = make_certificate(folder / "tls", names=(NAME, "localhost", "127.0.0.1"))
    ours = {"certificate": ("/etc/letsencrypt/live/labels.example.org/fullchain.pem", str(certificate)),
            "key": ("/etc/letsencrypt/live/labels.example.org/privkey.pem", str(key))}  # fmt: skip
    one, two, outer, other = (free_port() for _ in range(4))
    kept = site_config(
        **ours, listen=("listen 443", f"listen 127.0.0.1:{outer}"),
        to=("proxy_pass http://127.0.0.1:8501;", f"proxy_pass http://127.0.0.1:{one};"),
    )  # fmt: skip
    stripping = site_config(
        **ours, listen=("listen 443", f"listen 127.0.0.1:{other}"),
        to=("proxy_pass http://127.0.0.1:8501;", f"proxy_pass https://127.0.0.1:{two}/;"),
        path=("location /crowd/", "location /bio/labels/"),
    )  # fmt: skip
    images = ("--images", str(folder / "images"))
    origin = f"https://{NAME}:{outer}"
    with ExitStack() as held:
        held.enter_context(proxied(nginx, folder / "nginx", kept, stripping))
        behind = held.enter_context(
            running(
                *images,
                "--workspace",
                str(folder / "a"),
                "--port",
                str(one),
                "--behind-proxy",
                f"{origin}/crowd",
            )
        )
        secure = held.enter_context(
            running(
                *images, "--workspace", str(folder / "b"), "--port", str(two), "--base-path", "bio/labels/",
                "--certificate", str(certificate), "--key", str(key), address=r"https://[\w.:-]+:\d+",
            )
        )  # fmt: skip

        def place(origin, base, ws, server):
            trust = ssl.create_default_context(cafile=certificate)
            port = origin.rpartition(":")[2]
            return SimpleNamespace(
                origin=origin, base=base, url=origin + base, here=f"https://localhost:{port}{base}",
                token=(folder / ws / "owner-token").read_text().strip(), workspace=folder / ws, server=server,
                trust=trust,
            )  # fmt: skip

        yield SimpleNamespace(
            behind=place(origin, "/crowd", "a", behind),
            stripped=place(f"https://{NAME}:{other}", "/bio/labels", "b", secure),
            direct=place(f"https://localhost:{two}", "/bio/labels", "b", secure),
            inner=f"http://127.0.0.1:{one}",
        )


@pytest.fixture(scope="module")
def browser(driver, chromium):
    """Return a Chromium to which the name in docs/nginx.conf is this machine."""
    args = [*CHROMIUM, f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    launched = driver.chromium.launch(executable_path=chromium, args=args)
    yield launched
    launched.close()


@pytest.fixture
def phone(browser):
    """Return a phone's browser that accepts a certificate which nobody has signed."""
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, ignore_https_errors=True)
    context.add_init_script(SEEN)
    yield context
    context.close()


@pytest.fixture(params=["behind", "stripped", "direct"])
def place(request, places):
    return getattr(places, request.param)


def noise(width, height) -> bytes:
    """Return a picture of width × height × 3 bytes."""
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue()


def test_what_is_printed_opens_it(places):
    said = "\n".join(places.behind.server.lines)
    assert f"\n  {places.behind.url}/?token={places.behind.token}\n" in said
    assert f"{places.behind.url}/swipe?token={places.behind.token}" in said
    port = places.inner.rpartition(":")[2]
    assert f"Past the proxy, on this computer: http://localhost:{port}/crowd/?token=" in said
    said = "\n".join(places.direct.server.lines)
    assert f"\n  {places.direct.url}/?token={places.direct.token}\n" in said


def test_a_phone_walks_through_all_of_it(place, phone):
    page = phone.new_page()
    asked, sockets, frames, errors = [], [], [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("websocket", lambda s: (sockets.append(s.url), s.on("framereceived", lambda _: frames.append(1))))
    deck = Deck(page, None, None)

    def counts():
        fetch = "url => fetch(url).then((r) => r.json())"
        return page.evaluate(fetch, f"{place.base}/api/session")["counts"]

    def swipe(way, label):
        card, before = deck.card(), counts().get(label, 0)
        deck.swipe(way)
        deck.next(card)
        until(lambda: counts().get(label, 0) == before + 1, say=counts)

    # the owner's link leads to the page to label
    page.goto(f"{place.url}/?token={place.token}")
    deck.card()
    assert page.url == f"{place.url}/label"
    assert sockets == [f"{place.url.replace('https', 'wss')}/_stcore/stream"]
    assert frames
    swipe((170, 20), "yes")

    # the light deck, through the path without its slash
    assert page.goto(f"{place.url}?session=1").url == f"{place.url}/?session=1"
    page.goto(f"{place.url}/swipe")
    swipe((-170, 20), "no")

    # a grid of tiles on a page of Streamlit's, opened by its own way between pages
    page.goto(f"{place.url}/label/")
    page.locator(".st-key-nav a", has_text="Review").click()
    page.locator(".tile img").first.wait_for()
    assert page.url == f"{place.url}/review"
    until(lambda: page.locator(".tile img").first.evaluate("i => i.naturalWidth") > 0)

    assert errors == []
    outside = [
        url for url in asked if not url.startswith((f"{place.url}/", f"{place.url}?", "data:", "blob:"))
    ]
    assert outside == []
    cookies = {c["name"]: c for c in phone.cookies()}
    assert set(cookies) == {"labeler_client", "_streamlit_xsrf"}
    assert all(c["secure"] and c["path"] == place.base and c["sameSite"] == "Lax" for c in cookies.values())
    assert cookies["labeler_client"]["httpOnly"]


def test_a_volunteer_joins_through_nginx(places, phone):
    place = places.behind
    ws = Workspace.open(place.workspace)
    code = people.make_link(ws, "swipe", lasts_s=600)[0]
    ws.close()
    page = phone.new_page()
    page.goto(people.join_url(place.url, code))
    page.get_by_role("button").click()
    Deck(page, None, None).card()
    assert page.url == f"{place.url}/swipe"
    (cookie,) = phone.cookies()
    assert (cookie["secure"], cookie["path"], cookie["httpOnly"]) == (True, "/crowd", True)
    assert page.goto(f"{place.url}/label").status == 403


def test_a_client_that_trusts_the_certificate_uses_the_interface(place):
    with httpx.Client(verify=place.trust, base_url=place.here, timeout=60) as client:
        assert client.get(f"/api/session?token={place.token}").json()["owner"] is True
        until(lambda: client.get("/api/session").json()["embedded"] == IMAGES, limit_s=60)
        card = client.get("/api/cards?n=1").json()["cards"][0]
        assert card["url"].startswith(f"{place.base}/tiles/")
        tile = client.get(f"https://localhost:{client.base_url.port}{card['url']}")
        assert tile.headers["content-type"] == "image/webp"
        picture = noise(3000, 2300)
        assert len(picture) > 20_000_000  # nginx takes 1 MB by itself
        found = client.post("/api/search", files={"image": ("noise.bmp", picture)})
        assert len(found.json()["results"]) == 50, found.text
        assert client.get("/api/openapi.json").json()["servers"] == [{"url": f"{place.base}/api"}]
    with pytest.raises(httpx.ConnectError), httpx.Client() as stranger:
        stranger.get(f"{place.here}/api/session")


def test_without_the_link_nothing_is_reached(place):
    with httpx.Client(verify=place.trust, base_url=place.here, timeout=60) as client:
        for method, path, body in ROUTES:
            assert is_problem(client.request(method, path, json=body), 401)
        for path in INSIDE:
            page = client.get(path, headers=PAGE)
            assert (page.status_code, "needs its link" in page.text) == (401, True), path
        assert client.get("/_stcore/stream", headers=UPGRADE | {"origin": place.origin}).status_code == 403
        assert not client.cookies
        opened = client.get(f"/swipe?token={place.token}", headers=PAGE)
        assert (opened.status_code, opened.headers["location"]) == (303, f"{place.base}/swipe")
        assert client.get("/swipe", headers=PAGE).status_code == 200
        foreign = UPGRADE | {"origin": "https://evil.example"}
        assert client.get("/_stcore/stream", headers=foreign).status_code == 403
        foreign = {"origin": "https://evil.example"}
        assert is_problem(client.post("/api/labels", json={"events": []}, headers=foreign), 403)


def test_past_the_proxy_the_link_is_needed_too(places):
    for path in ("/crowd/api/session", "/api/session"):
        assert is_problem(httpx.get(places.inner + path), 401)


def test_who_guesses_through_nginx_is_counted_whatever_they_claim(places):
    """The last test of this file: for a minute from now, nobody here guesses more."""
    with httpx.Client(verify=places.behind.trust, base_url=places.behind.here) as client:

        def guess(n):
            claims = {
                "x-forwarded-for": f"198.51.100.{n}",
                "x-real-ip": f"198.51.100.{n}",
                "forwarded": f"for={n}.1.1.1",
            }
            return client.get(f"/api/session?token=wrong{n}", headers=claims).status_code

        assert [guess(n) for n in range(guesses.WRONG + 1)] == [401] * guesses.WRONG + [429]
        assert client.get(f"/api/session?token={places.behind.token}").status_code == 200


def test_the_config_that_is_shown_is_the_one_that_is_tested():
    shown = re.search(r"```nginx\n(.*?)```", (DOCS / "sharing.md").read_text(), re.DOTALL)
    assert shown[1] == (DOCS / "nginx.conf").read_text()
