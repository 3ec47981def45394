"""The process that takes images in: `python -m labeler.embedder WORKSPACE`.

It keeps torch, decoding and their load out of the server. Then it embeds pictures for searches: reads
the names of files under cache/incoming, a line each, and says their vectors; words too.
"""

import base64
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from active.arrays import Rows
from labeler import loop, searching
from labeler.child import SAID, WORDS, begin, give_way, orders, say
from labeler.domain import Progress
from labeler.errors import Blocked, Conflict, LabelerError
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.embedding import Encoder

IDLE_S = 300.0  # without a picture to embed for this long, the process ends; it is started again when needed
AGAIN_S = 2.0  # between two tries while the disk, or another process, is in the way


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
    """Take images in, then embed pictures until standard input closes. Returns the exit code."""
    begin()
    ws = Workspace.open(Path(folder))
    ws.relax()
    stop = threading.Event()
    loaded = _Loaded(ws)
    coming = orders(on_end=lambda: _end(stop))
    threading.Thread(target=_answer, args=(ws, loaded, coming), daemon=True).start()
    try:
        _take_in(ws, loaded, stop)
        while not stop.wait(0.5) and time.monotonic() - loaded.used_at < IDLE_S:
            used = ws.registry.in_use()
            if ws.store.examples() and (used is None or ws.store.unembedded_examples(used[0])):
                if loop.embed_examples(ws, loaded.get()):
                    say({"news": True})
                else:
                    stop.wait(5.0)  # its file is broken; another example may come
    except Blocked as e:  # the disk is full, say: the server starts this again after a while
        say({"problem": str(e)})
        return 1
    except LabelerError as e:
        say({"problem": str(e)})
        return SAID
    return 0


def _take_in(ws: Workspace, loaded: _Loaded, stop: threading.Event) -> None:
    """Take in what is new, once no other process does: `labeler index`, or one whose server was killed."""
    while not stop.is_set():
        try:
            loop.prepare(
                ws,
                report=lambda p: say({"progress": asdict(p)}),
                stop=stop,
                load=loaded.get,
                give_way=give_way,
            )
        except (Conflict, Blocked) as e:
            say({"problem": str(e)})
            stop.wait(AGAIN_S)
            continue
        if not stop.is_set():
            n = ws.catalog.count_present()
            _say_progress(Progress("done", n, n, aside=ws.catalog.count_aside()))
        return


def _say_progress(progress: Progress) -> None:
    say({"progress": asdict(progress)})


def _end(stop: threading.Event) -> None:
    """End with the server; the batch in hand may end, what is not committed is taken in again."""
    stop.set()
    time.sleep(0.3)
    os._exit(0)


def _answer(ws: Workspace, loaded: _Loaded, coming: Iterator[str]) -> None:
    """Embed the pictures whose names come in."""
    for name in coming:
        path = ws.folder / "cache" / "incoming" / name
        try:
            row = _row(ws, loaded, path.read_bytes(), is_words=name.endswith(WORDS))[0]
            say({"name": name, "vector": base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")})
        except LabelerError as e:
            say({"name": name, "error": e.error, "do": e.do})
        except Exception as e:  # whatever a picture does to the network, the next one is waiting
            what = "The words" if name.endswith(WORDS) else "The picture"
            say({"name": name, "error": f"{what} can't be used: {e}.", "do": "Try another one."})


def _row(ws: Workspace, loaded: _Loaded, data: bytes, *, is_words: bool) -> Rows:
    """Return the vector of a picture or of words, (1, d)."""
    if is_words:
        encoder = loaded.get()
        searching.check_used(ws, encoder.key)
        return searching.word_row(encoder, data.decode())
    picture = loop.open_picture(ws, data)
    encoder = loaded.get()
    searching.check_used(ws, encoder.key)
    return encoder.encode([picture])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
