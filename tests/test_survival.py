"""A real server among thousands of connections, dribblers, floods and bodies of 100 MB: answers go on.

How quickly is measured by benchmarks/survive.py.
"""

import contextlib
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from benchmarks.killable import wait_until
from benchmarks.kills import compare
from labeler import loop
from labeler.images import content_hash
from labeler.server import guard
from tests.listening import LIMIT_S, connect, read_all
from tests.pools import make_pool
from tests.served import URL, answer, begin, whole_server
from tests.test_backup_live import swiping
from tests.test_guard import Held
from tests.test_trouble import Disk, mounted

N = 400
MANY = 10_000  # connections, as far as the limits of this process go
HEAD = "POST /api/labels HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE = 7  # the item whose picture fills a socket's buffers many times over


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Return (workspace, port, process number) of a server in its own process."""
    ws = make_pool(tmp_path_factory.mktemp("survival"), N, images=True)
    begin(ws)
    path = ws.images / ws.catalog.item(LARGE).path
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    Image.fromarray(noise).save(path)
    ws.store.conn.execute(
        "UPDATE items SET hash = ?, width = 1200, height = 900 WHERE id = ?",
        (content_hash(path.read_bytes()), LARGE),
    )
    with whole_server(ws) as url:
        yield ws, int(url.rpartition(":")[2]), int((ws.folder / "server.lock").read_text())
    ws.close()


@pytest.fixture
def port(real):
    return real[1]


@pytest.fixture(scope="module")
def roomy():
    """Let this process open as many files as it may; return how many connections that allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield min(MANY, before[1] - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Person:
    """Somebody who answers over one connection, opened anew whenever the server has closed it."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)

    def request(self, method, path, body=None):
        """Return (status, body)."""
        headers = {"Content-Type": "application/json"}
        for again in (True, False):
            try:
                self.http.request(method, path, None if body is None else json.dumps(body), headers)
                reply = self.http.getresponse()
                return reply.status, reply.read()
            except (ConnectionError, http.client.RemoteDisconnected):
                self.http.close()  # it was idle, and made room for somebody
                assert again
        raise AssertionError


def answers_go_on(port, n=20):
    """Answer and look at tiles, and see that all of it is stored."""
    person = Person(port)
    with contextlib.closing(person.http):
        for i in range(n):
            status, body = person.request("POST", "/api/labels", {"events": [answer(i)]})
            assert (status, json.loads(body)["accepted"]) == (200, 1)
            assert person.request("GET", f"/tiles/{i + 20}?w=256")[0] == 200
    return True


def threads(process):
    return len(os.listdir(f"/proc/{process}/task"))


def memory_mb(process):
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def crowd(port, n, say=b""):
    """Hold n connections that have said something, while the block runs."""
    with contextlib.ExitStack() as held:
        out = []
        for _ in range(n):
            s = held.enter_context(connect(port))
            if say:
                s.sendall(say)
            out.append(s)
        yield out


def is_open(s):
    s.setblocking(False)
    try:
        return bool(s.recv(1))
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


# many --------------------------------------------------------------------------------------


def test_answers_go_on_among_thousands_of_idle_connections(real, roomy):
    _, port, process = real
    before = threads(process)
    with crowd(port, roomy) as idle:
        assert answers_go_on(port)
        assert answers_go_on(port)
        with crowd(port, 50) as more:  # newcomers are let in
            assert answers_go_on(port, 5)
            assert sum(map(is_open, more)) > 25
    assert len(idle) == roomy > 1000
    assert threads(process) <= before + 2


SMALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
from tests.served import whole_server
from labeler.workspace import Workspace
from pathlib import Path
with whole_server(Workspace.open(Path(sys.argv[2]))) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_where_few_files_may_be_open_idle_connections_are_closed_and_accepting_goes_on(tmp_path):
    ws = make_pool(tmp_path, N, images=True)
    begin(ws)
    ws.close()
    command = [sys.executable, "-c", SMALL, "512", str(ws.folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        port = int(server.stdout.readline().rpartition(":")[2])
        for _ in range(2):
            with crowd(port, 700) as idle:
                assert answers_go_on(port, 5)
                assert 100 < sum(map(is_open, idle)) <= 256
        _, said = server.communicate("", timeout=LIMIT_S)
    assert "Traceback" not in said


# slow --------------------------------------------------------------------------------------


def test_slow_readers_hold_no_thread(real):
    _, port, process = real
    before = threads(process)
    ask = f"GET /tiles/{LARGE}?w=full HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with contextlib.ExitStack() as held:
        lazy = []
        for _ in range(16):
            s = held.enter_context(socket.socket())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(LIMIT_S)
            s.connect(("127.0.0.1", port))
            s.sendall(ask)
            lazy.append(s)
        for s in lazy:
            assert s.recv(1) == b"H"  # the answer has begun
        for _ in range(3):
            assert answers_go_on(port, 5)
            for s in lazy:
                assert s.recv(1)
    assert threads(process) <= before + 4


@pytest.mark.parametrize(
    "say",
    [
        HEAD + "X-Slow: a",
        HEAD + "Content-Length: 1000\r\n\r\n{",
        HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
    ids=["heads", "bodies", "chunks"],
)
def test_slow_senders_hold_no_thread(real, say):
    _, port, process = real
    before = threads(process)
    with crowd(port, 300, (HEAD + say).encode()) as slow:
        assert answers_go_on(port, 10)
        for s in slow[:100]:
            s.sendall(b" ")
        assert answers_go_on(port, 10)
    assert threads(process) <= before + 4


# greedy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_a_body_of_100_mb_is_refused_before_it_has_come_and_fills_no_memory(real, how):
    _, port, process = real
    size, block, sent = 100 << 20, b" " * (1 << 20), 0
    before, most = memory_mb(process), 0.0
    with connect(port) as s:
        length = f"Content-Length: {size}" if how == "length" else "Transfer-Encoding: chunked"
        s.sendall(f"{HEAD}{length}\r\n\r\n".encode())
        heard = threading.Event()

        def listen():
            said.append(s.recv(1000))
            heard.set()

        said = []
        thread = threading.Thread(target=listen)
        thread.start()
        with contextlib.suppress(ConnectionError):
            while sent < size and not heard.is_set():
                s.sendall(block if how == "length" else b"%x\r\n%b\r\n" % (len(block), block))
                sent += len(block)
                most = max(most, memory_mb(process))
        assert heard.wait(LIMIT_S)
        thread.join(LIMIT_S)
    assert b" 413 " in said[0]
    assert sent < size
    assert most - before < 20
    assert answers_go_on(port, 3)


UPGRADE = (
    "GET /_stcore/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def test_a_flood_of_foreign_websockets_is_refused_and_none_stays(real):
    _, port, process = real
    before = threads(process)
    with crowd(port, 300, f"{UPGRADE}Origin: http://evil.example\r\n\r\n".encode()) as flood:
        assert answers_go_on(port, 10)
        replies = [read_all(s) for s in flood]  # to the end: each is closed
    assert {r.split(b"\r\n")[0] for r in replies} == {b"HTTP/1.1 403 Forbidden"}
    assert threads(process) <= before + 4


def test_only_so_many_websockets_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "MOST_SOCKETS", 3)

    async def stream(ws):
        await ws.accept()
        with contextlib.suppress(WebSocketDisconnect):
            await ws.receive_text()

    ws = make_pool(tmp_path, 3)
    routes = [WebSocketRoute("/_stcore/stream", stream)]
    app = Starlette(routes=routes, middleware=[Middleware(guard.Guard, desk=Held(ws, shared=False))])
    client = TestClient(app, base_url=URL, client=("127.0.0.1", 1))

    def call():
        return client.websocket_connect("/_stcore/stream", headers={"host": "localhost:8501"})

    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(call()).send_text("x")
        for _ in range(3):  # those have ended, and left their places
            held.enter_context(call())
        with pytest.raises(WebSocketDisconnect), call():
            pass
    with call() as last:
        last.send_text("x")
    ws.close()


# a disk that fills up ----------------------------------------------------------------------


def test_a_real_server_whose_disk_fills_up_while_people_answer_loses_nothing_and_goes_on(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m", "tmpfs") as folder:
        disk, ws, mine = Disk(folder), make_pool(folder, 2000), SimpleNamespace(stored={})
        loop.start_session(ws, "Is it?", ["yes", "no"], "find")
        with whole_server(ws) as url, swiping(url) as (people, more):
            person = Person(int(url.rpartition(":")[2]))
            more(30)
            disk.fill()

            def refused():
                event = answer(len(mine.stored) % 2000)
                status, body = person.request("POST", "/api/labels", {"events": [event]})
                if status == 200:  # the log has room for some more
                    mine.stored[event["id"]] = (event["item"], event["label"])
                return None if status == 200 else (status, json.loads(body))

            status, said = wait_until(refused, "a full disk")
            assert (status, "the disk is full" in said["error"]) == (503, True)
            assert person.request("GET", "/api/session")[0] == 200
            disk.free()
            more(60)
            person.http.close()
        found = compare(ws.folder, [*people, mine])
        assert (found["lost"], found["doubled"]) == (0, 0)
        assert found["events"] >= 90
        assert loop.status(ws)["integrity"] == "ok"
        ws.close()
