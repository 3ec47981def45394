"""What answering costs while a server is beset: by thousands of idle connections, by a backup.

A real `labeler start` on drawn images; 100 clients in a process of their own answer 100 times a second. Each
figure is of a load of so many seconds; the first is of a server that is left in peace.

    peace_p99_ms, peace_p50_ms    in peace; peace_cores  processor time of the server a second, in cores
    idle                          connections that are held open and say nothing; the server closes each after
                                  ten seconds, and it is opened again at once
    idle_opened_s                 how long it took to open them
    idle_renewed_per_s            how many were opened again a second
    idle_p99_ms, idle_p50_ms      while they are held; idle_cores
    idle_kb                       memory of the server for each of them
    slow_p99_ms, slow_cores       while 1,000 connections send a head, or a body, byte by byte
    backup_p99_ms                 while backups are written, one after the other
    backup_s, restore_s           of one of them: backup_mb, most of it vectors
    refused                       answers that were not stored
"""

import argparse
import os
import resource
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.api import ask_again, load, ms
from benchmarks.killable import Killable
from benchmarks.pool import show
from benchmarks.server import Client, running
from labeler.demo import draw_demo
from labeler.workspace import Workspace

IMAGES, WIDE = 600, 50_000
PORT = "8652"
HEAD = b"POST /api/labels HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SLOW = (HEAD + b"X-Slow: a", HEAD + b"Content-Length: 1000\r\n\r\n{")


class Crowd:
    """Connections to a server, opened again whenever they are closed; some say a byte now and then."""

    def __init__(self, port: int, n: int, says: tuple[bytes, ...] = ()) -> None:
        self._at, self._n, self._says = ("127.0.0.1", port), n, says
        self._open = selectors.DefaultSelector()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self.renewed = 0

    def __enter__(self) -> "Crowd":
        began = time.monotonic()
        for _ in range(self._n):
            self._connect()
        self.opened_s = time.monotonic() - began
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for key in list(self._open.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # they are sockets
        self._open.close()

    def _connect(self) -> None:
        s = socket.create_connection(self._at, 30)
        s.setblocking(False)
        if self._says:
            s.send(self._says[self.renewed % len(self._says)])
        self._open.register(s, selectors.EVENT_READ)

    def _hold(self) -> None:
        spoke = time.monotonic()
        while not self._over.is_set():
            for key, _ in self._open.select(0.2):
                self._open.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # as above
                self.renewed += 1
                self._connect()
            if self._says and time.monotonic() - spoke > 1:
                spoke = time.monotonic()
                for key in list(self._open.get_map().values()):
                    try:
                        key.fileobj.send(b" ")  # type: ignore[union-attr]  # as above
                    except OSError:
                        pass  # it is just being closed


@contextmanager
def backing_up(workspace: Path, file: Path) -> Iterator[list[float]]:
    """Write backups, one after the other, while the block runs; yields how many seconds each took."""
    took: list[float] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            began = time.monotonic()
            Killable("backup", str(file), "--workspace", str(workspace)).finish()
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def memory_kb(pid: int) -> float:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def prepare(folder: Path, wide_mb: int) -> list[str]:
    """Draw images, take them in, add vectors that make a backup large; return the options to start with."""
    draw_demo(folder / "images")
    options = ["--images", str(folder / "images"), "--workspace", str(folder / "w")]
    Killable("index", *options, "--encoder", "builtin").finish()
    ws = Workspace.open(folder / "w")
    rng = np.random.default_rng(0)
    for _ in range(wide_mb * 10**6 // (4 * WIDE)):
        row = rng.normal(size=(1, WIDE)).astype(np.float32)
        ws.vectors("wide", WIDE).append(row / np.linalg.norm(row))
    ws.registry.set_embedded("wide", WIDE, len(ws.vectors("wide", WIDE)))
    ws.close()
    return options


def measure(folder: Path, n: int, seconds: float, wide_mb: int) -> dict[str, Any]:  # Any: JSON
    """Return the object that --json prints."""
    options = prepare(folder, wide_mb)
    refused = loads = 0

    def answering() -> dict[str, float]:
        nonlocal refused, loads
        loads += 1
        asked = ask_again(client, f"Is it number {loads}?")  # so that there are cards again
        how = {"rate": 100, "seconds": seconds, "items": IMAGES, "seed": loads, "session": asked}
        options = [word for name, value in how.items() for word in (f"--{name}", str(value))]
        began, began_s = time.monotonic(), processor_s(pid)
        found = load(f"http://127.0.0.1:{PORT}", *options)
        refused += found["refused"]
        cores = (processor_s(pid) - began_s) / (time.monotonic() - began)
        return {"p99_ms": ms(found["answers"], 0.99), "p50_ms": ms(found["answers"], 0.5), "cores": cores}

    out: dict[str, Any] = {}  # Any: JSON
    with running(*options, "--port", PORT) as server:
        client = Client(server.url)
        while client.get("/api/session")["stage"] != "done":
            time.sleep(0.2)
        pid = server.process.pid
        answering()  # the first round, and all that is loaded once
        out |= {f"peace_{k}": v for k, v in answering().items()}
        before = memory_kb(pid)
        with Crowd(int(PORT), n) as idle:
            renewed = idle.renewed
            out |= {"idle": n, "idle_opened_s": idle.opened_s}
            out |= {f"idle_{k}": v for k, v in answering().items()}
            out["idle_renewed_per_s"] = (idle.renewed - renewed) / seconds
            out["idle_kb"] = (memory_kb(pid) - before) / n
        with Crowd(int(PORT), 1000, SLOW):
            out |= {f"slow_{k}": v for k, v in answering().items()}
        file = folder / "backup.zip"
        with backing_up(folder / "w", file) as took:
            out["backup_p99_ms"] = answering()["p99_ms"]
        out |= {"backup_s": float(np.median(took)), "backup_mb": file.stat().st_size / 1e6}
    began = time.monotonic()
    Killable("restore", str(file), "--workspace", str(folder / "back")).finish()
    return out | {"restore_s": time.monotonic() - began, "refused": refused}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survive", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--idle", type=int, default=10_000, help="connections, as far as limits allow")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--wide-mb", type=int, default=400, help="vectors that make the backup large")
    args = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(args.idle, hard - 500)
    print(f"{n} connections", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="labeler-survive-") as name:
        show(measure(Path(name), n, args.seconds, args.wide_mb), as_json=args.json)


if __name__ == "__main__":
    main()
