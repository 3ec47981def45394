"""A process of our own that speaks lines of JSON: started, heard, told things, started again when it dies.

It ends when its standard input closes, so it never outlives the server.
"""

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

log = logging.getLogger("labeler.child")

SAID = 3  # the exit code after an error that a person has to mend; starting again would not help
WORDS = ".words"  # ends the names of files to embed that hold words, not a picture
LONGEST_WAIT_S = 30.0  # between a death and the next start
LIVES_S = 60.0  # a process that lived this long starts again without a long wait
NICE = 5  # how far our processes leave the cores to those that answer
STOP_S = 0.6  # how long a process may take to end by itself


# Matrices here are small: a second thread waits more than it helps, tenfold while torch has the cores.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def take_one_thread() -> None:
    """Let the libraries that this process loads from now on compute with one thread, unless told otherwise.

    For the server: people who search share its cores with those who swipe. Among a million images with
    20 people searching, the slowest in a hundred took 196 ms with two threads each, 125 with one.
    """
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)


class Child:
    """Looks after `python -m MODULE FOLDER`.

    env  more environment variables for it.
    on_message  called with each message, on_end with the exit code, after 0 too; both in a thread.
    """

    def __init__(
        self,
        module: str,
        folder: Path,
        *,
        env: Mapping[str, str] = MappingProxyType({}),
        on_message: Callable[[dict[str, Any]], None],  # Any: JSON
        on_end: Callable[[int], None],
    ) -> None:
        self._env = {**env, "HF_HUB_OFFLINE": "1"}
        self._command = [sys.executable, "-m", module, str(folder)]
        self._on_message, self._on_end = on_message, on_end
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._deaths = 0  # since it last lived long enough

    @property
    def pid(self) -> int | None:
        """Return the number of the process, None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the process if it is not running."""
        with self._lock:
            if self._stopping.is_set() or self.pid is not None:
                return
            root = str(Path(__file__).resolve().parent.parent)
            paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
            env = os.environ | self._env | {"PYTHONPATH": os.pathsep.join(paths)}
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, encoding="utf-8", env=env,
            )  # fmt: skip
            threading.Thread(target=self._listen, args=(self._process,), name="child", daemon=True).start()

    def tell(self, line: str) -> None:
        """Send one line. Raises OSError when nobody is there to read it."""
        with self._lock:
            if self._process is None or self._process.stdin is None or self._process.stdin.closed:
                raise BrokenPipeError("The process is not running.")
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """End the process: asked first, made to soon after."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        with self._lock:
            _close(process.stdin)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        started = time.monotonic()
        assert process.stdout is not None
        for line in process.stdout:
            try:
                message = json.loads(line)
            except json.JSONDecodeError:
                log.info("%s: %s", self._command[2], line.rstrip())
            else:
                self._on_message(message)
        code = process.wait()
        with self._lock:
            _close(process.stdin)
            _close(process.stdout)
        if self._stopping.is_set():
            return
        self._on_end(code)
        if code in (0, SAID):
            return
        self._deaths = 1 if time.monotonic() - started > LIVES_S else self._deaths + 1
        log.error("%s ended with code %s (%s times)", self._command[2], code, self._deaths)
        if not self._stopping.wait(min(LONGEST_WAIT_S, 2 ** (self._deaths - 1))):
            self.start()


def _close(pipe: Any) -> None:  # Any: a text pipe, or None
    try:
        if pipe:
            pipe.close()
    except OSError:
        pass  # what was still to be written has no reader any more


# inside the process ------------------------------------------------------------------------

_mouth = threading.Lock()


def begin() -> None:
    """Leave Ctrl-C to the server, and the processor, as far as NICE says, to whoever answers people."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(NICE)


def give_way() -> None:
    """Let this thread, on Linux, work only while nothing else wants the core.

    A nice process keeps the core until its time slice ends, 3 ms for each of the four threads and processes
    that an answer goes through. For threads that only compute: one that held the database's lock and
    got no core would keep everybody waiting.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a container may forbid it
            os.setpriority(os.PRIO_PROCESS, 0, 10)
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def say(message: dict[str, Any]) -> None:  # Any: JSON
    """Send a message to the server."""
    with _mouth:
        try:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()
        except (BrokenPipeError, ValueError):  # the server was killed
            os._exit(0)


def orders(on_end: Callable[[], None]) -> Iterator[str]:
    """Yield the lines that the server sends, each once it is wanted.

    on_end  called in a thread as soon as the server closes the pipe or dies, whatever is going on.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line.strip())
        on_end()

    threading.Thread(target=listen, name="orders", daemon=True).start()
    while True:
        yield lines.get()
