"""A small workspace behind the real guard and routes without Streamlit or a child process, or behind all."""

import asyncio
import io
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from labeler import api, loop, workspace
from labeler.domain import Progress
from labeler.door import key_of, sign
from labeler.errors import BadInput
from labeler.files import Unreadable
from labeler.images import decode
from labeler.server import desk as desk_module
from labeler.server.desk import Desk
from labeler.workspace import Workspace
from tests.pools import DIM

ROOT = Path(__file__).parent.parent
URL = "http://localhost:8501"
OWNERS = [
    ("GET", "/api/items/1", None),
    ("POST", "/api/ask", {"items": [1]}),
    ("POST", "/api/sessions", {"question": "Is it?", "labels": ["yes", "no"]}),
    ("POST", "/api/session/labels", {"add": "maybe"}),
    ("POST", "/api/target", {"share": 0.9}),
    ("POST", "/api/examples", None),
    ("GET", "/screen", None),
    ("GET", "/screen/now", None),
    ("GET", "/share", None),
    ("POST", "/share", None),
]
ROUTES = [
    *OWNERS,
    ("GET", "/api/session?x=1", None),
    ("GET", "/api/cards", None),
    ("POST", "/api/labels", {"events": []}),
    ("POST", "/api/undo", {"id": "00000000-0000-4000-8000-000000000000"}),
    ("GET", "/api/search?item=1", None),
    ("POST", "/api/search", {"like": [1]}),
    ("GET", "/api/docs", None),
    ("GET", "/api/openapi.json", None),
    ("GET", "/tiles/1", None),
    ("GET", "/swipe", None),
    ("GET", "/deck/deck.js", None),
]


class Still:
    """Stands where the worker stands: learns when it is told to, embeds a picture by its mean colour."""

    def __init__(self, ws):
        self.ws, self.pokes, self.busy = ws, [], False

    def start(self):
        pass

    def stop(self):
        pass

    def poke(self, session):
        self.pokes.append(session)

    def is_busy(self, session):
        return self.busy

    is_wanted = is_busy

    def state(self):
        return "learning" if self.busy else "idle"

    def progress(self):
        return Progress("done", 1, 1)

    def problem(self):
        return None

    def read(self, text):
        if text != "red":
            raise BadInput("The encoder knows pictures only.", "Choose one that reads text too.")
        return np.eye(1, DIM, dtype=np.float32)

    def embed(self, data):
        try:
            mean = np.asarray(decode(data).image, np.float32).reshape(-1, 3).mean(0)
        except Unreadable as e:
            raise BadInput(f"The picture can't be used: {e.reason}", "Give another one.") from e
        row = np.zeros((1, DIM), np.float32)
        row[0, :3] = mean + 1
        return row / np.linalg.norm(row)


def build(ws, *, shared=False):
    """Return (app, desk): what app.py mounts, on a plain Starlette."""
    desk = Desk()

    @asynccontextmanager
    async def lifespan(_):
        async with desk.serving(ws, shared=shared):
            yield

    nothing = PlainTextResponse("a page")
    app = Starlette(routes=api.routes(desk, nothing), middleware=api.guarded(desk), lifespan=lifespan)
    return app, desk


@contextmanager
def served(ws, monkeypatch, *, shared=False) -> Iterator[tuple[Starlette, Desk]]:
    """Serve a workspace while the block runs."""
    monkeypatch.setattr(desk_module, "Worker", Still)
    app, desk = build(ws, shared=shared)
    with TestClient(app, base_url=URL, client=("127.0.0.1", 50000)):
        yield app, desk


def awaited(coroutine):
    """Return what a coroutine gives, run in a thread: Playwright leaves a loop of its own in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def visit(app, *, peer="127.0.0.1", url=URL) -> TestClient:
    """Return a new browser, without cookies, on an app that is being served."""
    return TestClient(app, base_url=url, client=(peer, 50000), follow_redirects=False)


def cookie_of(ws, role="swipe", name="volunteer"):
    """Return the cookie of somebody new who may only swipe, or only review, or everything."""
    signer, _ = ws.roster.cookie_key()
    secret = secrets.token_urlsafe(32)
    ws.roster.add_person(name, role, key_of("link", secret))
    return sign(secret, signer)


def answer(item, label="yes", card=None, **more):
    """Return one event as the deck sends it."""
    event = {"id": str(uuid.uuid4()), "card": card, "item": item, "label": label, "ms": 812}
    return event | {"at": "2026-11-20T12:00:00.000Z"} | more


def begin(ws, labels=("yes", "no"), goal="find"):
    """Return a new session that has its first round."""
    session = loop.start_session(ws, "Is it?", labels, goal)
    loop.learn(ws, session)
    return session


def cards_of(client, **query):
    reply = client.get("/api/cards", params=query)
    assert reply.status_code == 200
    return reply.json()["cards"]


def picture(colour=(250, 10, 10), format="PNG"):
    out = io.BytesIO()
    Image.new("RGB", (24, 16), colour).save(out, format)
    return out.getvalue()


def is_problem(reply, *statuses):
    body = reply.json()
    assert reply.status_code in (statuses or range(400, 500)), reply.text
    assert set(body) == {"error", "do"}, body
    assert all(isinstance(text, str) and text.strip() for text in body.values())
    return True


_SERVE = """
import os, sys
from labeler import workspace
from labeler.child import Child
start = Child.start
def start_trainer(self):  # what is embedded is all there is
    if "labeler.trainer" in self._command:
        start(self)
Child.start = start_trainer
import app
with workspace.current().lock("server"):
    app.serve(host="127.0.0.1", port=int(sys.argv[1]))
"""


@contextmanager
def whole_server(ws: Workspace) -> Iterator[str]:
    """Serve a workspace by a process of its own, pages included; give its address. Nothing is embedded."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {workspace.ENV: str(ws.folder), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-c", _SERVE, str(port)], cwd=ROOT, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(150):
            try:
                urllib.request.urlopen(f"{url}/api/session", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(10)
