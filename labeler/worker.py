"""The one background worker: two processes, one that learns and one that takes images in.

Neither shares an interpreter with the server, so that answering never waits for computing. Both are
started again when they die; the deck goes on meanwhile with the cards it has.
"""

import base64
import threading
import uuid
from concurrent.futures import Future
from typing import Any, Literal

import numpy as np

from active.arrays import Rows
from labeler import loop
from labeler.child import ONE_THREAD, SAID, WORDS, Child
from labeler.domain import Progress
from labeler.errors import BadInput, NotReady, writing
from labeler.workspace import Workspace

PICTURE_WAIT_S = 60.0  # how long a picture may wait for its vector
_running: "list[Worker]" = []


def current() -> "Worker | None":
    """Return the worker of this process, None where no server runs."""
    return _running[-1] if _running else None


class Worker:
    """What the server knows of both processes, and what it tells them."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._lock = threading.Lock()  # around what is to be learned, and by whom
        self._sessions: set[int] = set()  # in use since the start
        self._due: set[int] = set()  # to be looked at
        self._learning: int | None = None
        self._progress = Progress("scanning", 0, None)
        self._problems: dict[str, str] = {}  # of each process
        self._waiting: dict[str, Future[Rows]] = {}  # pictures by the names of their files
        self._trainer = Child(
            "labeler.trainer", ws.folder, env=ONE_THREAD,
            on_message=self._trainer_said, on_end=self._trainer_ended,
        )  # fmt: skip
        self._embedder = Child(
            "labeler.embedder", ws.folder, on_message=self._embedder_said, on_end=self._embedder_ended
        )

    def start(self) -> None:
        """Start learning for the newest session, and taking images in."""
        _running.append(self)
        loop.note_problem(self._ws, None)
        self._trainer.start()
        self._embedder.start()

    def stop(self) -> None:
        """End both, within a second and a half."""
        for child in (self._trainer, self._embedder):
            child.stop()
        loop.note_problem(self._ws, None)
        if self in _running:
            _running.remove(self)

    def poke(self, session: int) -> None:
        """Look at this session now: answers came, or cards are short."""
        with self._lock:
            self._sessions.add(session)
            self._due.add(session)
        self._next()

    def is_busy(self, session: int) -> bool:
        """Return whether a round for this session is being made or about to be."""
        return self._trainer.pid is not None and self.is_wanted(session)

    def is_wanted(self, session: int) -> bool:
        """Return the same, also while the process that makes it is being started again."""
        return self._learning == session or session in self._due

    def state(self) -> Literal["idle", "embedding", "learning"]:
        """Return what is being done now; learning comes first."""
        if self._trainer.pid is not None and (self._learning is not None or self._due):
            return "learning"
        busy = "embedder" not in self._problems and self._progress.stage != "done"
        return "embedding" if busy else "idle"

    def progress(self) -> Progress:
        """Return how far taking images in has come."""
        return self._progress

    def problem(self) -> str | None:
        """Return what went wrong in the background, in a sentence or two, or None."""
        return self._problems.get("embedder") or self._problems.get("trainer")

    def embed(self, data: bytes, timeout_s: float = PICTURE_WAIT_S) -> Rows:
        """Return the vector of a picture, (1, d), by the encoder in use. Waits for the process.

        Raises BadInput for a picture that can't be read, NotReady when there is no encoder in time.
        """
        return self._asked(uuid.uuid4().hex, data, timeout_s)

    def read(self, text: str, timeout_s: float = PICTURE_WAIT_S) -> Rows:
        """Return the vector of words, (1, d), as `embed`. Raises BadInput where the encoder reads none."""
        return self._asked(uuid.uuid4().hex + WORDS, text.encode(), timeout_s)

    def _asked(self, name: str, data: bytes, timeout_s: float) -> Rows:
        """Return what the process that embeds makes of a picture, or of words."""
        future: Future[Rows] = Future()
        incoming = self._ws.folder / "cache" / "incoming"
        path = incoming / name
        self._waiting[name] = future
        try:
            with writing("The query"):
                incoming.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            self._embedder.start()
            self._embedder.tell(name)
            return future.result(timeout_s)
        except (TimeoutError, OSError) as e:
            raise NotReady("The encoder gave no answer in time.", "Try again in a moment.") from e
        finally:
            self._waiting.pop(name, None)
            path.unlink(missing_ok=True)

    def _says(self, who: str, problem: str | None) -> None:
        """Note what is wrong with a process, None: nothing; `labeler status` reads it from the workspace."""
        if self._problems.get(who) == problem:
            return
        if problem:
            self._problems[who] = problem
        else:
            self._problems.pop(who, None)
        loop.note_problem(self._ws, self.problem())

    # the process that learns ---------------------------------------------------------------

    def _next(self) -> None:
        """Order the next session to be learned, unless one is being learned."""
        with self._lock:
            if self._learning is not None or not self._due or self._trainer.pid is None:
                return
            self._learning = self._due.pop()
            try:
                self._trainer.tell(str(self._learning))
            except OSError:  # it has just died, and is started again
                self._due.add(self._learning)
                self._learning = None

    def _trainer_said(self, message: dict[str, Any]) -> None:  # Any: JSON
        if "ready" in message:
            with self._lock:
                self._sessions.update(message["ready"])
                self._due.update(self._sessions)
        elif "learned" in message:
            with self._lock:
                self._learning = None
            self._says("trainer", message["problem"])
            if message["waits"]:
                self._embedder.start()
        self._next()

    def _trainer_ended(self, code: int) -> None:
        with self._lock:
            if self._learning is not None:
                self._due.add(self._learning)
                self._learning = None
        self._says("trainer", f"Learning stopped (exit code {code}). The deck goes on; it is started again.")

    # the process that embeds ---------------------------------------------------------------

    def _embedder_said(self, message: dict[str, Any]) -> None:  # Any: JSON
        if "problem" in message or "progress" in message:
            self._says("embedder", message.get("problem"))
        if "progress" in message:
            before, self._progress = self._progress, Progress(**message["progress"])
            if (before.done, before.stage) != (self._progress.done, self._progress.stage):
                self._news()
        elif "news" in message:
            self._news()
        elif "name" in message:
            self._embedded(message)

    def _news(self) -> None:
        """Something joined the pool: every session that is in use may want a round."""
        with self._lock:
            self._due.update(self._sessions)
        self._next()

    def _embedded(self, message: dict[str, Any]) -> None:  # Any: JSON
        future = self._waiting.get(message["name"])
        if future is None or future.done():
            return
        if "vector" in message:
            row = np.frombuffer(base64.b64decode(message["vector"]), np.float32)
            future.set_result(row.reshape(1, -1))
        else:
            future.set_exception(BadInput(message["error"], message["do"]))

    def _embedder_ended(self, code: int) -> None:
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(NotReady("The encoder stopped.", "Try again in a moment."))
        if code == 0:
            self._progress = Progress("done", self._progress.done, self._progress.total)
        elif code != SAID or "embedder" not in self._problems:
            self._says(
                "embedder", f"Taking images in stopped (exit code {code}). It is started again by itself."
            )
