"""A small workspace behind the real guard and routes, without Streamlit and without a child process."""

import uuid
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from labeler import api, loop
from labeler.domain import Progress
from labeler.errors import BadInput
from labeler.images import Unreadable, decode
from labeler.server import desk as desk_module
from labeler.server.desk import Desk
from labeler.server.guard import Guard
from tests.pools import DIM

URL = "http://localhost:8501"


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

    def state(self):
        return "learning" if self.busy else "idle"

    def progress(self):
        return Progress("done", 1, 1)

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

    app = Starlette(routes=api.routes(desk), middleware=[Middleware(Guard, desk=desk)], lifespan=lifespan)
    return app, desk


@contextmanager
def served(ws, monkeypatch, *, shared=False) -> Iterator[tuple[Starlette, Desk]]:
    """Serve a workspace while the block runs."""
    monkeypatch.setattr(desk_module, "Worker", Still)
    app, desk = build(ws, shared=shared)
    with TestClient(app, base_url=URL, client=("127.0.0.1", 50000)):
        yield app, desk


def visit(app, *, peer="127.0.0.1", url=URL) -> TestClient:
    """Return a new browser, without cookies, on an app that is being served."""
    return TestClient(app, base_url=url, client=(peer, 50000), follow_redirects=False)


def answer(item, label="yes", card=None, **more):
    """Return one event as the deck sends it."""
    event = {"id": str(uuid.uuid4()), "card": card, "item": item, "label": label, "ms": 812}
    return event | {"at": "2026-11-20T12:00:00.000Z"} | more


def begin(ws, labels=("yes", "no"), goal="find"):
    """Return a new session that has its first round."""
    session = loop.start_session(ws, "Is it?", labels, goal)
    loop.learn(ws, session)
    return session
