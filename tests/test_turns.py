"""Who can wait a moment waits for the others; answers don't."""

import asyncio
import threading
from contextlib import suppress

import httpx
import pytest

from labeler import loop, people, reach
from labeler.reach import Reach
from labeler.server import desk as desk_module
from labeler.server import turns
from labeler.server.turns import AT_ONCE, Turns
from tests.pools import make_pool
from tests.served import URL, Still, answer, awaited, begin, build

GATED = ("/api/cards", "/api/session", "/join", "/swipe")
WAIT_S = 30


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """No turn ends by the clock, however slow this machine is."""
    monkeypatch.setattr(turns, "LONGEST_S", 3600)


def ask(app, path="/api/cards", method="GET"):
    """Return a task that sends one request through an app."""

    async def nothing(message):
        pass

    return asyncio.create_task(app({"type": "http", "method": method, "path": path}, None, nothing))


class Busy:
    """An app that works on a request until it is told to go on; `now` counts those that it works on."""

    def __init__(self, *, begins=False, leaves=False):
        self.go, self.now, self.most, self.paths = asyncio.Event(), 0, 0, []
        self._begins, self._leaves = begins, leaves

    async def __call__(self, scope, receive, send):
        self.now += 1
        self.most = max(self.most, self.now)
        self.paths.append(scope["path"])
        try:
            if self._begins:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            if self._leaves:
                turns.leave()
            await self.go.wait()
        finally:
            self.now -= 1


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def each_turn_was_given_back_once(front):
    app = front.app = Busy()
    tasks = [ask(front) for _ in range(3 * AT_ONCE)]
    await settle()
    assert app.now == AT_ONCE
    app.go.set()
    await asyncio.gather(*tasks)


async def until(true):
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.01)


def test_few_at_a_time_in_the_order_in_which_they_came():
    async def play():
        app = Busy()
        front = Turns(app)
        tasks = [ask(front, path) for path in GATED * 10]
        await settle()
        assert app.now == AT_ONCE
        app.go.set()
        await asyncio.gather(*tasks)
        assert (app.most, app.paths) == (AT_ONCE, list(GATED * 10))

    awaited(play())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/labels"),
        ("POST", "/api/undo"),
        ("POST", "/join"),
        ("GET", "/tiles/1"),
        ("HEAD", "/swipe"),
    ],
)
def test_others_do_not_wait(method, path):
    async def play():
        app = Busy()
        front = Turns(app)
        tasks = [ask(front) for _ in range(20)]
        await settle()
        tasks += [ask(front, path, method) for _ in range(10)]
        await settle()
        assert app.now == AT_ONCE + 10
        app.go.set()
        await asyncio.gather(*tasks)

    awaited(play())


@pytest.mark.parametrize("how", ["begins", "leaves"])
def test_who_is_being_answered_or_stands_aside_keeps_nobody_waiting(how):
    async def play():
        app = Busy(**{how: True})
        front = Turns(app)
        tasks = [ask(front) for _ in range(3 * AT_ONCE)]
        await settle()
        assert app.now == 3 * AT_ONCE
        app.go.set()
        await asyncio.gather(*tasks)
        await each_turn_was_given_back_once(front)

    awaited(play())


def test_where_a_turn_takes_long_nobody_waits_for_one_until_later(monkeypatch):
    async def play():
        app = Busy()
        front = Turns(app)
        monkeypatch.setattr(turns, "LONGEST_S", 0.05)
        monkeypatch.setattr(turns, "OPEN_S", 3600)
        tasks = [ask(front) for _ in range(3 * AT_ONCE)]
        await settle()
        assert app.now == AT_ONCE
        await until(lambda: app.now == 3 * AT_ONCE)  # those that waited
        tasks += [ask(front, "/join") for _ in range(AT_ONCE)]
        await settle()
        assert app.now == 4 * AT_ONCE  # and who comes now
        app.go.set()
        await asyncio.gather(*tasks)
        monkeypatch.setattr(turns, "LONGEST_S", 3600)
        front._open_until = 0.0
        await each_turn_was_given_back_once(front)

    awaited(play())


def test_who_fails_or_hangs_up_gives_the_turn_back():
    async def play():
        async def broken(scope, receive, send):
            raise OSError("no")

        front = Turns(broken)
        for _ in range(3 * AT_ONCE):
            with pytest.raises(OSError, match="no"):
                await ask(front)
        app = front.app = Busy()
        tasks = [ask(front) for _ in range(3 * AT_ONCE)]
        await settle()
        assert app.now == AT_ONCE
        for task in (*tasks[:2], *tasks[-2:]):  # two that are worked on, two that wait
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await settle()
        assert app.now == AT_ONCE
        tasks[2].cancel()  # and the one that gets its turn in the same moment
        tasks[AT_ONCE + 2].cancel()
        await settle()
        assert app.now == AT_ONCE
        app.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await each_turn_was_given_back_once(front)

    awaited(play())


# in the whole server -----------------------------------------------------------------------


@pytest.fixture
def ws(tmp_path):
    ws = make_pool(tmp_path, 200)
    begin(ws)
    yield ws
    ws.close()


def play(ws, monkeypatch, visits):
    """Run visits(desk, client) against the routes of a shared server, as its owner."""
    monkeypatch.setattr(desk_module, "Worker", Still)
    app, desk = build(ws, shared=True)

    async def run():
        async with desk.serving(ws, shared=True):
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 50000))
            async with httpx.AsyncClient(transport=transport, base_url=URL, timeout=WAIT_S) as client:
                reply = await client.get(f"{reach.current().base}/api/session?token={people.owner_token(ws)}")
                assert reply.status_code == 200
                client.headers["cookie"] = reply.headers["set-cookie"].split(";")[0]
                await visits(desk, client)

    awaited(run())


@pytest.mark.parametrize("base", ["", "/crowd"])
@pytest.mark.parametrize("path", GATED)
def test_an_answer_passes_those_who_come(ws, monkeypatch, base, path):
    """While the disk keeps fetches waiting, few are worked on; answers go ahead, and the rest follow."""
    monkeypatch.setattr(reach, "_here", [])
    reach.use(Reach(base=base))

    async def visits(desk, client):
        go_on = threading.Event()
        stuck = desk.writer.submit(lambda _: go_on.wait(WAIT_S))
        fetches = [asyncio.create_task(client.get(f"{base}/api/cards?n=1")) for _ in range(20)]
        await until(lambda: len(desk.writer._later) == AT_ONCE)
        late = asyncio.create_task(client.get(base + path))
        body = {"events": [answer(1)]}
        sent = asyncio.create_task(client.post(f"{base}/api/labels", json=body))
        await until(lambda: len(desk.writer._soon) == 1)
        await asyncio.sleep(0.1)
        assert len(desk.writer._later) == AT_ONCE
        assert not late.done()
        go_on.set()
        stuck.result(WAIT_S)
        replies = await asyncio.gather(sent, late, *fetches)
        assert {reply.status_code for reply in replies} <= {200}
        assert replies[0].json()["accepted"] == 1

    play(ws, monkeypatch, visits)


def test_while_the_database_is_locked_people_still_see_the_page_to_join(ws, monkeypatch):
    monkeypatch.setattr(turns, "LONGEST_S", 0.05)

    async def visits(desk, client):
        go_on = threading.Event()
        desk.writer.submit(lambda _: go_on.wait(WAIT_S))
        fetches = [asyncio.create_task(client.get("/api/cards?n=1")) for _ in range(40)]
        await until(lambda: desk.writer._later)
        assert (await asyncio.wait_for(client.get("/join"), WAIT_S)).status_code == 200
        assert not any(task.done() for task in fetches)
        go_on.set()
        assert {reply.status_code for reply in await asyncio.gather(*fetches)} == {200}

    play(ws, monkeypatch, visits)


def test_who_waits_for_a_round_stands_aside(ws, monkeypatch):
    async def visits(desk, client):
        monkeypatch.setattr("labeler.server.cards.ROUND_WAIT_S", WAIT_S)
        monkeypatch.setattr("labeler.server.cards.MOST_WAIT", 2 * AT_ONCE)
        desk.worker.busy = True
        fetches = [asyncio.create_task(client.get("/api/cards?n=1")) for _ in range(2 * AT_ONCE)]
        await until(lambda: desk.waiting == 2 * AT_ONCE)
        assert (await asyncio.wait_for(client.get("/api/session"), WAIT_S)).status_code == 200
        assert not any(task.done() for task in fetches)
        desk.worker.busy = False
        assert {reply.status_code for reply in await asyncio.gather(*fetches)} == {200}
        assert len(loop.sessions(ws)) == 1

    play(ws, monkeypatch, visits)
