"""The one background worker: a thread that learns, and a child process that embeds.

The child (`python -m labeler.worker WORKSPACE`) keeps torch, decoding and their load out of the
process that answers people. It speaks lines of JSON: progress and vectors out, pictures in. It
ends when its standard input closes, so it never outlives the server.
"""

import base64
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from active.arrays import Rows
from labeler import learning, loop
from labeler.domain import Progress
from labeler.errors import BadInput, LabelerError, NotReady
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.embedding import Encoder

log = logging.getLogger("labeler.worker")

SAID = 3  # the child's exit code after an error that a person has to mend; starting it again would not help
RESTARTS = 5  # times that a child which died is started again before people are told to look
QUIET_S = 3.0  # after the start, in which imports would be in the way of the first card and page
PICTURE_WAIT_S = 60.0  # how long a picture may wait for its vector
_running: "list[Worker]" = []


def current() -> "Worker | None":
    """Return the worker of this process, None where no server runs."""
    return _running[-1] if _running else None


class Worker:
    """Learns after every batch and looks after the child that embeds."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._wake = threading.Event()
        self._lock = threading.Lock()  # around the two sets and what is being learned
        self._stop = threading.Event()
        self._sessions: set[int] = set()  # in use since the start
        self._due: set[int] = set()  # to be looked at
        self._learning: int | None = None
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._serve, name="learner", daemon=True)
        self._child = Child(ws, on_news=self._news)

    def start(self) -> None:
        """Start learning for the newest session, and taking images in."""
        _running.append(self)
        self._child.start()
        self._thread.start()

    def stop(self) -> None:
        """End both, within a second."""
        self._stop.set()
        self._wake.set()
        self._child.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=0.2)  # a daemon: what it was computing is not missed
        if self in _running:
            _running.remove(self)

    def poke(self, session: int) -> None:
        """Look at this session now: answers came, or cards are short."""
        with self._lock:
            self._sessions.add(session)
            self._due.add(session)
        self._wake.set()

    def is_busy(self, session: int) -> bool:
        """Return whether a round for this session is being made or about to be."""
        return self._learning == session or session in self._due

    def state(self) -> Literal["idle", "embedding", "learning"]:
        """Return what is being done now; learning comes first."""
        if self._learning is not None or self._due:
            return "learning"
        return "embedding" if self._child.is_embedding() else "idle"

    def progress(self) -> Progress:
        """Return how far taking images in has come."""
        return self._child.progress

    def problem(self) -> str | None:
        """Return what went wrong in the background, in a sentence or two, or None."""
        return self._child.problem or self._problem

    def embed(self, data: bytes, timeout_s: float = PICTURE_WAIT_S) -> Rows:
        """Return the vector of a picture, (1, d), by the encoder in use. Waits for the child.

        Raises BadInput for a picture that can't be read, NotReady when there is no encoder in time.
        """
        return self._child.embed(data, timeout_s)

    # the learning thread -------------------------------------------------------------------

    def _news(self) -> None:
        """Something joined the pool: every session that is in use may want a round."""
        with self._lock:
            self._due.update(self._sessions)
        self._wake.set()

    def _serve(self) -> None:
        started = time.monotonic()
        known = warm = False
        while not self._stop.is_set():
            try:
                if not known:
                    for session in loop.sessions(self._ws)[:1]:
                        self.poke(session.id)
                    known = True
                self._wake.wait(timeout=1.0)
                self._wake.clear()
                while (number := self._next()) is not None:
                    self._learn(number)
                if not warm and time.monotonic() - started > QUIET_S:
                    warm = self._warm_up()
            except Exception as e:  # a database in trouble, say: the thread has to outlive it
                log.exception("the learner stumbled")
                self._problem = f"Learning stumbled ({type(e).__name__}: {e}). It is tried again."
                self._stop.wait(1.0)
        self._ws.close()

    def _next(self) -> int | None:
        """Return the next session to look at, noted as being learned; None: there is none."""
        with self._lock:
            self._learning = self._due.pop() if self._due else None
            return self._learning

    def _learn(self, number: int) -> None:
        """Make a round if one is due. What fails is kept for `problem`, logged, and tried again later."""
        ws = self._ws
        if self._stop.is_set():
            return
        try:
            session = loop.get_session(ws, number)
            loop.link_examples(ws, session)
            used = ws.catalog.encoder()
            if ws.store.examples(number) and (used is None or ws.store.unembedded_examples(used[0])):
                self._child.ensure()
            if learning.needs_round(ws, session, now=time.time()):
                learning.learn(ws, session, now=time.time())
            self._problem = None
        except LabelerError as e:
            self._problem = str(e)
        except Exception as e:  # a bug must not stop the deck: it goes on with the cards it has
            log.exception("learning failed for session %s", number)
            self._problem = (
                f"Learning failed ({type(e).__name__}: {e}). The deck goes on; see the server's log."
            )

    def _warm_up(self) -> bool:
        """Import what learning needs, once the first cards are out; return True when done."""
        if not self._ws.store.rounds(max(self._sessions, default=0), last=1):
            return False
        import modAL.models  # noqa: F401
        import sklearn.linear_model  # noqa: F401

        gc.collect()
        gc.freeze()
        return True


class Child:
    """The process that takes images in and embeds, seen from the server."""

    def __init__(self, ws: Workspace, on_news: "Any") -> None:  # Any: a callable without arguments
        self._ws = ws
        self._on_news = on_news
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[Rows]] = {}
        self._stopping = False
        self._died = 0
        self.progress = Progress("scanning", 0, None)
        self.problem: str | None = None

    def start(self) -> None:
        """Start the process and the thread that listens to it."""
        with self._lock:
            self._spawn()

    def _spawn(self) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labeler.worker", str(self._ws.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=env,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self._process,), name="child", daemon=True).start()

    def ensure(self) -> None:
        """Start the process again if it has ended for want of work."""
        with self._lock:
            if not self._stopping and self._process is not None and self._process.poll() == 0:
                self._spawn()

    def stop(self) -> None:
        """End the process: asked first, made to after a second."""
        self._stopping = True
        process = self._process
        if process is None:
            return
        with self._lock:
            if process.stdin:
                try:
                    process.stdin.close()
                except OSError:
                    pass  # it is gone already
        try:
            process.wait(timeout=0.6)
        except subprocess.TimeoutExpired:
            process.kill()

    def is_embedding(self) -> bool:
        """Return whether images are still being taken in."""
        return self.problem is None and self.progress.stage != "done"

    def embed(self, data: bytes, timeout_s: float) -> Rows:
        """Return the vector of a picture, (1, d)."""
        name = uuid.uuid4().hex
        future: Future[Rows] = Future()
        incoming = self._ws.folder / "cache" / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        path = incoming / name
        path.write_bytes(data)
        self._waiting[name] = future
        try:
            with self._lock:
                if self._process is None or self._process.poll() is not None:
                    self._spawn()
                pipe = self._process.stdin if self._process else None
                assert pipe is not None
                pipe.write(name + "\n")
                pipe.flush()
            return future.result(timeout_s)
        except (TimeoutError, OSError) as e:
            raise NotReady("The encoder gave no answer in time.", "Try again in a moment.") from e
        finally:
            self._waiting.pop(name, None)
            path.unlink(missing_ok=True)

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                self._heard(json.loads(line))
            except (json.JSONDecodeError, KeyError, TypeError):
                log.info("child: %s", line.rstrip())
        code = process.wait()
        with self._lock:
            for pipe in (process.stdin, process.stdout):
                try:
                    if pipe:
                        pipe.close()
                except OSError:
                    pass  # what was still to be written has no reader any more
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(NotReady("The encoder stopped.", "Try again in a moment."))
        if self._stopping or code == 0:
            return
        self._died += 1
        if self.problem is None:
            self.problem = f"Taking images in stopped (exit code {code}). See the server's log."
        log.error("the child that embeds ended with code %s (%s times)", code, self._died)
        if code != SAID and self._died <= RESTARTS:
            time.sleep(min(30, 2**self._died))
            with self._lock:
                if not self._stopping and self._process is process:
                    self.problem = None
                    self._spawn()

    def _heard(self, message: dict[str, Any]) -> None:  # Any: JSON
        if "progress" in message:
            before = self.progress
            self.progress = Progress(**message["progress"])
            if self.progress.done != before.done or self.progress.stage != before.stage:
                self._on_news()
        elif "problem" in message:
            self.problem = str(message["problem"])
        elif "news" in message:
            self._on_news()
        elif "name" in message:
            future = self._waiting.get(message["name"])
            if future is None or future.done():
                return
            if "vector" in message:
                row = np.frombuffer(base64.b64decode(message["vector"]), np.float32)
                future.set_result(row.reshape(1, -1))
            else:
                future.set_exception(BadInput(message["error"], message["do"]))


# inside the child --------------------------------------------------------------------------

IDLE_S = 300.0  # without a picture to embed for this long, the child ends; it is started again when needed


class _Loaded:
    """The encoder, loaded once by whoever needs it first."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None
        self.used_at = time.monotonic()

    def get(self) -> "Encoder":
        """Return the encoder. Raises BadInput when it can't be loaded."""
        with self._lock:
            if self._encoder is None:
                self._encoder = loop.load_encoder(self._ws)
            self.used_at = time.monotonic()
            return self._encoder


def main(folder: str) -> int:
    """Take images in, then answer for pictures until standard input closes. Returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    if hasattr(os, "nice"):
        os.nice(10)
    ws = Workspace.open(Path(folder))
    ws.relax()
    stop = threading.Event()
    loaded = _Loaded(ws)
    threading.Thread(target=_answer, args=(ws, loaded, stop), daemon=True).start()

    def report(p: Progress) -> None:
        _say({"progress": asdict(p)})

    try:
        loop.prepare(ws, report=report, stop=stop, load=loaded.get)
        if not stop.is_set():
            n = ws.catalog.count_present()
            report(Progress("done", n, n, aside=ws.catalog.count_aside()))
        while not stop.wait(0.5) and time.monotonic() - loaded.used_at < IDLE_S:
            used = ws.catalog.encoder()
            if ws.store.examples() and (used is None or ws.store.unembedded_examples(used[0])):
                if loop.embed_examples(ws, loaded.get()):
                    _say({"news": True})
                else:
                    stop.wait(5.0)  # its file is broken; another example may come
    except LabelerError as e:
        _say({"problem": str(e)})
        return SAID
    return 0


_mouth = threading.Lock()


def _say(message: dict[str, Any]) -> None:  # Any: JSON
    with _mouth:
        try:
            print(json.dumps(message), flush=True)
        except BrokenPipeError:  # the server was killed
            os._exit(0)


def _answer(ws: Workspace, loaded: _Loaded, stop: threading.Event) -> None:
    """Embed the pictures whose names come in, one a line; end with the input."""
    for line in sys.stdin:
        name = line.strip()
        path = ws.folder / "cache" / "incoming" / name
        try:
            picture = loop.open_picture(ws, path.read_bytes())
            row = loaded.get().encode([picture])[0]
            _say({"name": name, "vector": base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")})
        except LabelerError as e:
            _say({"name": name, "error": e.error, "do": e.do})
        except Exception as e:  # whatever a picture does to the network, the next one is waiting
            _say({"name": name, "error": f"The picture can't be used: {e}.", "do": "Try another one."})
    stop.set()
    ws.close()
    time.sleep(0.3)  # the batch in hand may end; what is not committed is taken in again
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
