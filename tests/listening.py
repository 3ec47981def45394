"""A real server on a real port, in a thread of the test."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import uvicorn

from labeler.server.connection import Connection
from tests import served

LIMIT_S = 30.0  # for whatever a test waits for


@contextlib.contextmanager
def listening(ws, monkeypatch, *, shared=False, kind=Connection) -> Iterator[SimpleNamespace]:
    """Serve a workspace as running.py does; yield its port, desk and app."""
    monkeypatch.setattr(served.desk_module, "Worker", served.Still)
    app, desk = served.build(ws, shared=shared)
    config = uvicorn.Config(
        app, http=kind, ws="websockets-sansio", log_level="warning",
        access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with serve(config) as port:
        yield SimpleNamespace(port=port, desk=desk, app=app, url=f"http://localhost:{port}")


@contextlib.contextmanager
def serve(config: uvicorn.Config) -> Iterator[int]:
    """Run uvicorn in a thread while the block runs; yield its port."""
    server = uvicorn.Server(config)
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio sends small answers at once on TCP only
    bound.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    waited = threading.Event()
    while not server.started and thread.is_alive():
        waited.wait(0.02)
    assert server.started
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)


class Line:
    """A line from a port of its own to a server: it can be cut and joined again, as if the server stopped."""

    def __init__(self, port: int) -> None:
        self._to, self._ends, self._listener = port, [], None
        self._lock = threading.Lock()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def join(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            ends, self._listener, self._ends = [*filter(None, [self._listener]), *self._ends], None, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was cut
            while True:
                here = listener.accept()[0]
                try:
                    ends = here, connect(self._to)
                except OSError:
                    here.close()
                    continue
                with self._lock:
                    if listener is not self._listener:  # cut meanwhile
                        for end in ends:
                            end.close()
                        return
                    self._ends += ends
                for one, other in (ends, ends[::-1]):
                    threading.Thread(target=self._carry, args=[one, other], daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(65536):
                other.sendall(part)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)


def connect(port: int, timeout_s: float = LIMIT_S) -> socket.socket:
    """Return a connection to a port of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout_s)


def read_all(s: socket.socket) -> bytes:
    """Return what comes until the other end closes."""
    out = b""
    with contextlib.suppress(ConnectionResetError):
        while part := s.recv(65536):
            out += part
    return out


def talk(port: int, data: bytes) -> bytes:
    """Return everything that is answered to `data`; it has to make the server close the connection."""
    with connect(port) as s:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            s.sendall(data)
        return read_all(s)


def status_of(answer: bytes) -> int | None:
    """Return the status of the first answer, None for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else None
