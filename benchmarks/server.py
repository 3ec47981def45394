"""A real `labeler start` in its own process, for benchmarks and tests."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Server:
    """A running server. `url` has no slash at its end; `started` is the moment of the command."""

    url: str
    started: float
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)


class Client:
    """One browser's worth of cookies, over the standard library alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Any:  # Any: JSON
        """Return the JSON answer of a GET."""
        with self._opener.open(self.url + path, timeout=120) as reply:
            return json.loads(reply.read())

    def post(self, path: str, body: object) -> Any:  # Any: JSON
        """Return the JSON answer of a POST of JSON."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with self._opener.open(request, timeout=120) as reply:
            return json.loads(reply.read())

    def post_image(self, path: str, file: Path) -> Any:  # Any: JSON
        """Return the JSON answer of a POST of one image as multipart."""
        edge = "x" * 40
        body = (
            f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{file.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode() + file.read_bytes()
        body += f"\r\n--{edge}--\r\n".encode()
        request = urllib.request.Request(
            self.url + path, body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
        )
        with self._opener.open(request, timeout=120) as reply:
            return json.loads(reply.read())


@contextmanager
def running(
    *options: str, cwd: Path | None = None, address: str = r"http://[\w.\[\]:-]+:\d+"
) -> Iterator[Server]:
    """Run `labeler start OPTIONS --no-browser` until the block ends; ready once its port answers.

    cwd  the folder in which the command is given; None: this one. address: a pattern; what matches it
    first in what is printed becomes the server's `url`, whoever has signed its certificate.
    Without a --port it is some free one: two that look for one from 8501 on may find the same.
    """
    where = () if "--port" in options else ("--port", str(_some_port()))
    command = [sys.executable, "-m", "labeler.cli", "start", "--no-browser", *where, *options]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": path}, cwd=cwd,
    )  # fmt: skip
    server = Server("", started, process)
    said = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.lines.append(line.rstrip())
            met = re.search(address, line)
            if met and not server.url:
                server.url = met.group(0)
                said.set()
        said.set()

    ear = threading.Thread(target=listen, daemon=True)
    ear.start()
    try:
        if not said.wait(60) or not server.url:
            raise RuntimeError("the server did not start:\n" + "\n".join(server.lines))
        _wait_until_open(server)
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        ear.join(timeout=5)
        if process.stdout:
            process.stdout.close()


def _some_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _wait_until_open(server: Server, limit_s: float = 60) -> None:
    """Wait until the port answers: the address is said a moment before."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE  # nothing is told or asked
    while True:
        try:
            urllib.request.urlopen(server.url + "/api/session", timeout=10, context=anybody).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.perf_counter() - server.started > limit_s or server.process.poll() is not None:
                raise
            time.sleep(0.01)
        else:
            return


def first_cards(
    server: Server, n: int = 1, limit_s: float = 60, token: str = ""
) -> tuple[float, Sequence[Any]]:  # Any: JSON
    """Return the seconds from the command to the first answer with a card in it, and its cards."""
    client, link = Client(server.url), f"&token={token}" if token else ""
    while time.perf_counter() - server.started < limit_s:
        try:
            cards = client.get(f"/api/cards?n={n}{link}")["cards"]
        except (urllib.error.URLError, ConnectionError, json.JSONDecodeError):
            cards = []
        if cards:
            return time.perf_counter() - server.started, cards
        time.sleep(0.02)
    raise RuntimeError("no card came:\n" + "\n".join(server.lines))


def settle(client: Client, session: int, seen: int) -> int:
    """Wait until the round after `seen` is there and the worker rests; return its number."""
    for _ in range(2000):
        state = client.get(f"/api/session?session={session}")
        if state["round"] > seen and state["worker"] != "learning":
            return int(state["round"])
        time.sleep(0.02)
    return seen
