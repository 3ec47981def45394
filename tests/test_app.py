import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from labeler import people
from labeler.door import COOKIE
from tests.pools import make_pool
from tests.served import answer, begin, is_problem

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "sklearn", "modAL", "transformers", "faiss", "pandas", "streamlit"}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("app"), 40, images=True)
    begin(ws)
    people.owner_token(ws)
    yield ws
    ws.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def running(ws, command, port):
    """Yield a process that serves, and a client, once it answers; end it afterwards."""
    env = os.environ | {"LABELER_WORKSPACE": str(ws.folder), "PYTHONPATH": str(ROOT)}
    log = ws.folder / "cache" / "server.log"
    with open(log, "w") as out:
        process = subprocess.Popen(command, cwd=ws.folder, env=env, stdout=out, stderr=subprocess.STDOUT)
    client = httpx.Client(base_url=f"http://localhost:{port}", timeout=30)
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                client.get("/swipe")
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield process, client
    finally:
        client.close()
        process.kill()
        process.wait()


def start(ws, port, *options):
    command = [sys.executable, "-m", "labeler.cli", "start", "--port", str(port), "--no-browser", *options]
    return running(ws, command, port)


def test_nothing_heavy_is_imported_before_the_first_card():
    code = "import sys; from labeler import places; places.load_site(); print(*sys.modules)"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    assert not loaded & HEAVY


def test_app_is_small_and_streamlit_finds_it():
    from streamlit.web.server.app_discovery import discover_asgi_app

    assert len((ROOT / "app.py").read_text("utf-8").splitlines()) <= 60
    found = discover_asgi_app(ROOT / "app.py")
    assert (found.is_asgi_app, found.app_name) == (True, "app")


def test_one_port_serves_pages_deck_tiles_and_interface(ws):
    port = free_port()
    with start(ws, port) as (process, client):
        assert "text/html" in client.get("/").headers["content-type"]
        assert "frame-ancestors" in client.get("/").headers["content-security-policy"]
        card = client.get("/api/cards?n=1").json()["cards"][0]
        assert client.get(card["url"]).headers["content-type"] == "image/webp"
        assert client.get("/deck/deck.js").status_code == 200
        for path in ("/api", "/api/nothing", "/tiles", "/tiles/0/1", "/deck", "/deck/a/b", "/swipe/x"):
            assert is_problem(client.get(path), 404)
        event = answer(card["item"], "yes", card["card"])
        assert client.post("/api/labels", json={"events": [event]}).json()["accepted"] == 1
        assert_guarded(port, client)
        client.close()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.wait(timeout=20)
        assert time.monotonic() - began < 5  # 2 s on a machine that does nothing else
    said = (ws.folder / "cache" / "server.log").read_text()
    assert "Traceback" not in said
    assert "GET /" not in said


def opens(stream, **how):
    try:
        with connect(stream, **how):
            return True
    except InvalidStatus as e:
        if e.response.status_code not in (401, 403):
            raise
        return False


def assert_guarded(port, client):
    """Streamlit's own addresses and its WebSocket stand behind the same guard."""
    local, foreign = f"http://localhost:{port}", {"origin": "http://evil.example"}
    for path in ("/", "/_stcore/health", "/_stcore/host-config", "/start"):
        assert client.get(path, headers=foreign).status_code == 403
        assert client.get(path, headers={"x-forwarded-for": "1.2.3.4"}).status_code == 401
        assert httpx.get(f"{local}{path}", headers={"host": f"evil.example:{port}"}).status_code == 401
    stream = f"ws://localhost:{port}/_stcore/stream"
    assert opens(stream, origin=local)
    assert not opens(stream, origin="http://evil.example")
    assert not opens(stream, additional_headers={"x-real-ip": "1.2.3.4"})


def test_a_shared_server_needs_the_link_even_from_here(ws):
    port = free_port()
    with start(ws, port, "--host", "0.0.0.0") as (_, client):
        for path in ("/", "/api/session", "/_stcore/health", "/swipe", "/tiles/1"):
            assert client.get(path).status_code == 401
        assert not opens(f"ws://localhost:{port}/_stcore/stream")
        page = client.get(f"/?token={people.owner_token(ws)}", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/")
        assert client.get("/").status_code == 200
        cookie = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
        assert opens(f"ws://localhost:{port}/_stcore/stream", additional_headers=cookie)


def test_streamlit_run_serves_the_same(ws):
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), "--server.port", str(port)]
    with running(ws, command, port) as (_, client):
        assert client.get("/api/session").json()["question"] == "Is it?"
        assert client.get("/").status_code == 200
        assert client.get("/api/cards?n=1").json()["cards"]
        assert client.get("/api/session", headers={"host": "evil.example"}).status_code == 401
