"""HTTPS connections over real sockets: who takes too long, comes in masses or speaks something else."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import threading
import time

import httpx
import pytest
import uvicorn

from labeler import identity, reach
from labeler.identity import Identity
from labeler.reach import Reach
from labeler.server import connection
from labeler.server.secure import Secure
from tests.certificates import make_certificate
from tests.listening import LIMIT_S, connect, listening, read_all, serve, status_of
from tests.pools import make_pool
from tests.served import awaited, begin

GET = b"GET /api/session HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secure")
    ws = make_pool(folder / "pool", 5, images=True)
    begin(ws)
    files = make_certificate(folder / "tls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "_here", [Reach(identity=Identity(*files))])
        with listening(ws, patch, kind=Secure) as running:
            running.files = files
            yield running
    ws.close()


@pytest.fixture
def limits(monkeypatch):
    """Return a function that sets limits of connections for one test."""
    monkeypatch.setattr(connection, "LOOK_S", 0.02)
    return lambda **named: [monkeypatch.setattr(connection, name, value) for name, value in named.items()]


def trusting(server, **how) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.files[0], **how)


def shake(server, s: socket.socket) -> ssl.SSLSocket:
    return trusting(server).wrap_socket(s, server_hostname="localhost", suppress_ragged_eofs=True)


def status(server) -> int:
    with shake(server, connect(server.port)) as s:
        s.sendall(GET + CLOSE)
        return status_of(read_all(s))


def test_a_client_that_trusts_the_certificate_gets_answers_and_a_secure_cookie(server):
    url = f"https://localhost:{server.port}"
    with httpx.Client(verify=trusting(server), base_url=url) as client:
        reply = client.get("/api/session")
        assert reply.status_code == 200
        assert "Secure" in reply.headers["set-cookie"].split("; ")
        assert client.get("/api/session").headers.get("set-cookie") is None
        assert client.post("/api/labels", json={"events": []}, headers={"origin": url}).status_code == 200
        assert len(client.get("/deck/deck.js").content) > 20_000
    with pytest.raises(httpx.ConnectError), httpx.Client() as stranger:
        stranger.get(f"{url}/api/session")


def test_old_kinds_of_encryption_are_refused(server):
    old = trusting(server)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    with old.wrap_socket(connect(server.port), server_hostname="localhost") as s:
        assert s.version() == "TLSv1.2"
    assert Identity(*server.files).context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_what_is_not_encrypted_is_closed(server):
    for data in (GET + CLOSE, b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"\x00" * 100):
        with connect(server.port) as s:
            s.sendall(data)
            assert b"HTTP/1.1" not in read_all(s)
    assert status(server) == 200


def test_who_begins_to_encrypt_and_says_no_more_is_left(server, limits):
    limits(HEAD_S=0.3)
    with connect(server.port) as silent, connect(server.port) as dribbles:
        silent.sendall(b"\x16\x03\x01")
        over = threading.Event()

        def dribble():
            with contextlib.suppress(OSError):
                for byte in b"\x16\x03\x01\x02\x00" + b"\x01" * 500:
                    dribbles.sendall(bytes([byte]))
                    if over.wait(0.05):
                        break

        thread = threading.Thread(target=dribble)
        thread.start()
        began = time.monotonic()
        assert read_all(silent) == b""
        with contextlib.suppress(OSError):
            assert b"HTTP" not in read_all(dribbles)
        over.set()
        thread.join(LIMIT_S)
    assert time.monotonic() - began < 20  # dribbled to its end it would take 25 s
    assert status(server) == 200


def test_who_is_encrypted_and_says_nothing_is_left(server, limits):
    limits(HEAD_S=0.3)
    with shake(server, connect(server.port)) as s:
        assert read_all(s) == b""


def test_a_head_that_stops_is_told_so(server, limits):
    limits(HEAD_S=0.3)
    with shake(server, connect(server.port)) as s:
        s.sendall(GET)
        assert status_of(read_all(s)) == 408


def test_those_who_have_not_encrypted_yet_are_counted_and_make_room(server, limits, monkeypatch):
    """asyncio by itself tells of a connection only once it is encrypted."""
    monkeypatch.setattr(connection, "most_open", lambda: 4)
    with contextlib.ExitStack() as held:
        silent = [held.enter_context(connect(server.port)) for _ in range(12)]
        assert status(server) == 200
        closed = 0
        for s in silent[:8]:  # the oldest have made room
            s.settimeout(LIMIT_S)
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(1) == b""
            closed += 1
        assert closed == 8
    monkeypatch.undo()
    assert status(server) == 200


def test_lost_connections_are_forgotten(server):
    """Whoever hangs up while keys are agreed on leaves nothing behind, whatever they sent before."""

    def count():
        return sum(type(o) is Secure and o in o.connections for o in gc.get_objects())

    for data in (b"", b"\x16\x03\x01", b"garbage"):
        for _ in range(5):
            with connect(server.port) as s:
                s.sendall(data)
    end = time.monotonic() + LIMIT_S
    while count() and time.monotonic() < end:
        time.sleep(0.02)
    assert count() == 0, "still counted"


def test_a_request_that_comes_with_the_end_of_the_agreement_is_answered_encrypted(server):
    """asyncio hands its first bytes over before it hands over the encrypted connection."""
    for _ in range(8):
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting(server).wrap_bio(into, out, server_hostname="localhost")
        with connect(server.port) as s:
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    if out.pending:
                        s.sendall(out.read())
                    into.write(s.recv(1 << 16))
            client.write(GET + CLOSE)
            s.sendall(out.read())  # the last word of the agreement and the request, in one piece
            answer = b""
            while not answer:
                into.write(s.recv(1 << 16))
                with contextlib.suppress(ssl.SSLWantReadError):
                    answer = client.read(1 << 16)  # raises where it is not encrypted
            assert status_of(answer) == 200


def test_an_answer_that_nobody_reads_is_given_up(server, limits):
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
    config = uvicorn.Config(app, http=Secure, ws="none", lifespan="off", log_level="error")
    with serve(config) as port, shake(server, connect(port)) as lazy:
        lazy.sendall(GET + b"\r\n")
        assert gone.wait(LIMIT_S)


def test_a_renewed_certificate_is_shown_to_the_next_one(server, monkeypatch, tmp_path):
    monkeypatch.setattr(identity, "LOOK_S", -1.0)
    before = shown(server)
    assert shown(server) == before
    for new, old in zip(make_certificate(tmp_path), server.files, strict=True):
        os.replace(new, old)
    assert shown(server) != before
    assert status(server) == 200


def shown(server) -> bytes:
    with connect(server.port) as plain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as s:
            return s.getpeercert(binary_form=True)


def test_many_at_once_are_all_answered(server):
    async def ask_all():
        async with httpx.AsyncClient(verify=trusting(server), timeout=LIMIT_S) as client:
            urls = [f"https://localhost:{server.port}/api/session?x={i}" for i in range(60)]
            return [reply.status_code for reply in await asyncio.gather(*map(client.get, urls))]

    assert awaited(ask_all()) == [200] * 60
