"""Slow, greedy and malformed connections, over real sockets. Limits are made short, no more."""

import asyncio
import contextlib
import http.client
import json
import threading
import time

import httpx
import pytest
import uvicorn

from labeler import addresses, reach
from labeler.reach import Reach, read_proxies
from labeler.server import connection, crowding
from tests.listening import LIMIT_S, connect, listening, read_all, serve, status_of, talk
from tests.pools import make_pool
from tests.served import begin

HEAD = b"POST /api/labels HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"events":[]}'
GET = b"GET /api/session HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("connection"), 5, images=True)
    begin(ws)
    with pytest.MonkeyPatch.context() as patch, listening(ws, patch) as running:
        yield running
    ws.close()


@pytest.fixture(scope="module")
def port(server):
    return server.port


@pytest.fixture
def limits(monkeypatch):
    """Return a function that sets limits of connections for one test."""
    monkeypatch.setattr(connection, "LOOK_S", 0.02)
    return lambda **named: [monkeypatch.setattr(connection, name, value) for name, value in named.items()]


def problem_of(answer):
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(body) == {"error", "do"}
    return status_of(answer)


# slow --------------------------------------------------------------------------------------


def test_a_head_that_dribbles_is_ended_and_others_are_answered_meanwhile(port, limits):
    limits(HEAD_S=1.0)
    with connect(port) as slow:
        slow.sendall(GET + b"X-Slow: ")
        over, said = threading.Event(), []

        def dribble():
            with contextlib.suppress(OSError):
                while not over.wait(0.05):
                    slow.sendall(b"a")

        thread = threading.Thread(target=dribble)
        thread.start()
        for _ in range(20):
            assert status_of(talk(port, GET + CLOSE)) == 200
        with contextlib.suppress(OSError):
            said.append(read_all(slow))
        over.set()
        thread.join(LIMIT_S)
    assert not said or not said[0] or problem_of(said[0]) == 408


def test_a_connection_that_says_nothing_is_closed_without_a_word(port, limits):
    limits(HEAD_S=0.2)
    with connect(port) as silent:
        assert read_all(silent) == b""


def test_half_a_head_gets_an_answer_of_408(port, limits):
    limits(HEAD_S=0.2)
    with connect(port) as slow:
        slow.sendall(GET)
        assert problem_of(read_all(slow)) == 408


def test_a_body_that_stops_coming_is_ended_and_nothing_of_it_stored(server, port, limits, caplog):
    limits(BODY_S=0.3)
    before = server.desk.ws.journal.count_events(1)
    event = b'{"events":[{"id":"0b0e7e58-9d2c-4f6e-8f0e-2a54a3c3a8a1","item":1,"label":"yes"}'
    with connect(port) as slow:
        slow.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + event)
        assert problem_of(read_all(slow)) == 408
    form = (
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    )
    with connect(port) as slow:
        slow.sendall(form + b"Content-Length: 1000\r\n\r\n--x\r\n")
        assert problem_of(read_all(slow)) == 408
    assert status_of(talk(port, GET + CLOSE)) == 200
    assert server.desk.ws.journal.count_events(1) == before
    assert "Traceback" not in caplog.text


def test_a_body_that_dribbles_for_too_long_is_ended(port, limits):
    limits(MOST_BODY_S=0.5)
    with connect(port) as slow:
        slow.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < LIMIT_S:
                slow.sendall(b"1\r\n \r\n")
                time.sleep(0.05)
    assert time.monotonic() - began < LIMIT_S


def test_an_answer_that_nobody_reads_is_given_up(limits):
    gone = threading.Event()

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"x" * (1 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await receive()
        gone.set()

    limits(WRITE_S=0.3)
    config = uvicorn.Config(app, http=connection.Connection, ws="none", lifespan="off", log_level="error")
    with serve(config) as port, connect(port) as lazy:
        lazy.sendall(GET + b"\r\n")
        assert gone.wait(LIMIT_S)


# greedy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"a" * 200_000,
        GET + b"X: " + b"a" * 70_000 + b"\r\n" + CLOSE,
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + CLOSE,
        b"GET /" + b"a" * 200_000,
        GET + b"X: y\r\n" * 40_000,
        GET + b"".join(b"X%d: %s\r\n" % (i, b"y" * 1000) for i in range(80)) + CLOSE,
    ],
    ids=["endless value", "long value", "long address", "endless address", "endless lines", "many lines"],
)
def test_a_head_of_more_than_64_kb_is_refused(port, head):
    answer = talk(port, head)
    assert answer == b"" or problem_of(answer) == 431  # a reset may overtake the answer


def test_a_long_address_within_the_limit_is_read(port):
    have = b",".join(b"%d" % i for i in range(1000))
    assert (
        status_of(talk(port, b"GET /api/cards?have=" + have + b" HTTP/1.1\r\nHost: localhost\r\n" + CLOSE))
        == 200
    )


def test_an_endless_trailer_is_refused(port):
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    answer = talk(port, chunked + b"X: " + b"a" * 70_000 + b"\r\n" * 2)
    assert answer == b"" or problem_of(answer) == 431


def test_requests_sent_ahead_are_answered_in_order_up_to_a_limit(port):
    answers = talk(port, (GET + b"\r\n") * 8 + GET + CLOSE)
    assert answers.count(b"HTTP/1.1 200 OK") == 9
    many = talk(port, (GET + b"\r\n") * 500)
    assert many.count(b"HTTP/1.1 200 OK") <= connection.MOST_WAITING + 2


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_who_sends_far_too_much_hears_413_also_when_it_listens_only_afterwards(port, how):
    size = 30 << 20
    body = b"x" * size if how == "length" else (b"x" * (1 << 20) for _ in range(30))
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    headers = {"Host": "localhost", "Content-Type": "application/json"}
    client.request("POST", "/api/labels", body, headers, encode_chunked=how == "chunked")
    reply = client.getresponse()
    assert (reply.status, set(json.loads(reply.read()))) == (413, {"error", "do"})
    client.close()


def test_the_rest_of_a_refused_body_is_not_read_for_ever(port, limits):
    limits(MOST_REST_BYTES=8 << 20)
    with connect(port) as s, contextlib.suppress(OSError):
        s.sendall(HEAD + b"Content-Length: 9000000000\r\n\r\n")
        for _ in range(9000):
            s.sendall(b"x" * 1_000_000)
        pytest.fail("nine gigabytes were read")


def test_who_waits_for_leave_to_send_is_told_at_once_and_the_connection_ends(port):
    answer = talk(port, HEAD + b"Content-Length: 30000000\r\nExpect: 100-continue\r\n\r\n")
    assert problem_of(answer) == 413


def test_a_newcomer_takes_the_place_of_who_is_idle(port, monkeypatch):
    monkeypatch.setattr(connection, "most_open", lambda: 8)
    idle = [connect(port) for _ in range(20)]
    assert status_of(talk(port, GET + CLOSE)) == 200
    assert len([s for s in idle if read_now(s) is None]) <= 8
    for s in idle:
        s.close()


def read_now(s):
    """Return what has come, b"" for a closed connection, None for an open one with nothing."""
    s.settimeout(0.05)
    try:
        return s.recv(1000)
    except TimeoutError:
        return None
    except ConnectionResetError:
        return b""


def test_one_address_does_not_take_all_places(port, monkeypatch):
    monkeypatch.setattr(connection, "MOST_FROM_ONE", 5)
    monkeypatch.setattr(connection, "is_loopback", lambda host: False)
    idle = [connect(port) for _ in range(20)]
    assert status_of(talk(port, GET + CLOSE)) == 200
    assert len([s for s in idle if read_now(s) is None]) <= 5
    for s in idle:
        s.close()


def test_a_proxy_that_is_trusted_is_not_taken_for_one_household(port, monkeypatch):
    monkeypatch.setattr(connection, "MOST_FROM_ONE", 5)
    monkeypatch.setattr(connection, "is_loopback", lambda host: False)
    monkeypatch.setattr(reach, "_here", [Reach(proxies=read_proxies(["127.0.0.1"]))])
    idle = [connect(port) for _ in range(20)]
    assert status_of(talk(port, GET + CLOSE)) == 200
    assert [read_now(s) for s in idle] == [None] * 20
    for s in idle:
        s.close()


def test_where_nobody_is_idle_a_newcomer_is_told_when_to_come_back(limits, monkeypatch):
    go, come = threading.Event(), threading.Semaphore(0)

    async def app(scope, receive, send):
        come.release()
        await asyncio.to_thread(go.wait, LIMIT_S)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(connection, "most_open", lambda: 3)
    config = uvicorn.Config(app, http=connection.Connection, ws="none", lifespan="off", log_level="error")
    with serve(config) as port, contextlib.ExitStack() as held:
        busy = [held.enter_context(connect(port)) for _ in range(3)]
        for s in busy:
            s.sendall(GET + CLOSE)
            assert come.acquire(timeout=LIMIT_S)
        answer = talk(port, GET + CLOSE)
        assert problem_of(answer) == 503
        assert b"retry-after: 10" in answer
        go.set()
        assert [status_of(read_all(s)) for s in busy] == [204] * 3


def test_there_is_room_for_phones_and_files():
    assert 16 <= crowding.most_open() <= crowding.MOST_OPEN


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True), ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.168.1.5", "192.168.1.6", False), ("::ffff:192.168.1.5", "192.168.1.5", True),
        ("fe80::1%eth0", "fe80::2%eth0", True), ("", "x", False),
    ],
)  # fmt: skip
def test_a_household_counts_as_one_address(one, other, same):
    assert (addresses.neighbourhood(one) == addresses.neighbourhood(other)) == same


# malformed ---------------------------------------------------------------------------------

CHUNKS = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"
MALFORMED = {
    "both lengths": HEAD + b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "two lengths": HEAD + b"Content-Length: 13\r\nContent-Length: 14\r\n\r\n" + BODY,
    "a list of lengths": HEAD + b"Content-Length: 13, 13\r\n\r\n" + BODY,
    "a signed length": HEAD + b"Content-Length: +13\r\n\r\n" + BODY,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "a length beyond numbers": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "two codings": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKS,
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "a folded line": GET + b"X: a\r\n b\r\n" + CLOSE,
    "lines without CR": GET.replace(b"\r", b"") + b"\n",
    "NUL in a header": GET + b"X: a\x00b\r\n" + CLOSE,
    "NUL in the address": b"GET /tiles/1\x00 HTTP/1.1\r\nHost: localhost\r\n" + CLOSE,
    "other letters in the address": "GET /tiles/é HTTP/1.1\r\nHost: localhost\r\n".encode() + CLOSE,
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "a proxy's method": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n" + CLOSE,
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n" + CHUNKS,
}


@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED)
def test_what_two_servers_could_read_in_two_ways_is_refused(port, request_):
    answer = talk(port, request_)
    assert problem_of(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "path",
    [
        "/tiles/../api/session", "/tiles/%2e%2e", "/tiles/..%2f..%2fetc%2fpasswd", "/tiles/%00",
        "/tiles/1%00", "/tiles/%d9%a1", "/tiles/%ff%fe", "/tiles/%", "/tiles/%zz", "/tiles//1",
        "/tiles/" + "9" * 20_000,
        "/deck/../guard.py", "/deck/..%2fguard.py", "/deck/%2e%2e/api.py", "/deck/%252e%252e/api.py",
        "/api/%2e%2e/session", "/api/..%5c..%5csession", "/tiles/1/../../etc/passwd", "/api/%0A0", "/%0a",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_its_place(port, path):
    answer = talk(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + CLOSE)
    assert problem_of(answer) == 404


def test_the_log_holds_no_addresses_whoever_turns_it_on(server, caplog):
    import logging

    logger = logging.getLogger("uvicorn.access")
    logger.setLevel(logging.INFO)
    logger.addHandler(caplog.handler)
    try:
        assert httpx.get(f"{server.url}/api/session?token=secret").status_code == 200
    finally:
        logger.removeHandler(caplog.handler)
    assert "secret" not in caplog.text
