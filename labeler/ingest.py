"""From a folder to items with vectors: scan, decode, embed, all at once and at any time interrupted.

  scan    one thread walks the folder and notes what it meets           files in state 'new'
  decode  threads read them in random order: hash, thumbnail, pixels    items, in chunks
  embed   threads turn pixels into vectors, in the order of item ids    rows, then `embedded`

Each step is committed before the next one counts on it, so a kill at any moment loses only what was
in hand. The first chunk is small and comes before the encoder (torch) is imported: cards can be shown.
"""

import io
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from active.arrays import Rows
from labeler import files, images
from labeler.catalog import Aside, Decoded, FileRow, SeenFile
from labeler.domain import Item, Progress
from labeler.errors import BadInput, Blocked, NotReady, writing
from labeler.files import Unreadable
from labeler.pixels import Held, Pixels, Turn
from labeler.scan import walk
from labeler.vectors import SCATTER_FROM
from labeler.workspace import Workspace

if TYPE_CHECKING:
    from active.embedding import Encoder
    from active.embedding.encoder import Prepared

FIRST_CHUNK, CHUNK = 16, 64  # files whose fate is stored together
SCAN_AHEAD_S = 0.5  # wait so long for the scan at most: the first cards are from all over the folder
BATCH = 32  # images that one thread embeds at a time
FLUSH_ROWS, FLUSH_S = 512, 0.5  # vectors are written when there are so many, or after so long
REPORT_S = 0.25
RATE_S = 10.0  # the rate is that of the last so many seconds

Report = Callable[[Progress], None]


def run(
    ws: Workspace,
    *,
    load: "Callable[[], Encoder]",
    report: Report,
    stop: threading.Event,
    give_way: Callable[[], None] | None = None,
) -> None:
    """Take in what is new, changed or gone in the folder of images, and embed what has no vector.

    load    returns the encoder; called once, in a thread of its own, after the first chunk.
    report  called from this thread a few times a second. While the encoder is not there yet, its
            `done` counts items, then vectors.
    stop    set it to end early, within the time that one batch takes. Nothing is lost.
    give_way  called in each thread that only computes, once the first chunk is stored.

    Whatever goes wrong in a thread (LabelerError from `load`, Blocked by a full disk) is raised here,
    once all of them have ended.
    """
    _Intake(ws, load=load, stop=stop, give_way=give_way or (lambda: None)).run(report)


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of one file, on its way to the catalog."""

    outcome: Decoded | Aside
    thumbnail: bytes | None = None
    held: Held | None = None


def look_outside(ws: Workspace) -> None:
    """Note which files outside the folder of images are gone, changed, or there again: there are few."""
    there, gone = [], []
    for file, path in ws.catalog.outside():
        try:
            found = os.stat(path)
        except OSError:
            gone.append(file)
        else:
            there.append(SeenFile(path, found.st_size, found.st_mtime_ns))
    ws.catalog.note_outside(there)
    ws.catalog.lose_outside(gone)


def count_cores() -> int:
    """Return how many threads of work this process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(16, len(os.sched_getaffinity(0))))
    return max(1, min(16, os.cpu_count() or 1))


class _Intake:
    def __init__(
        self,
        ws: Workspace,
        *,
        load: "Callable[[], Encoder]",
        stop: threading.Event,
        give_way: Callable[[], None],
    ) -> None:
        self._ws = ws
        self._give_way = give_way
        self._root = ws.images
        self._load = load
        self._stop = stop
        self._error: BaseException | None = None
        self._cores = count_cores()
        self._core = threading.Semaphore(self._cores)  # held by a thread that computes
        self._scanned = threading.Event()
        self._first = threading.Event()  # the first chunk is stored, or there is none
        self._all_decoded = threading.Event()
        self._files: queue.SimpleQueue[FileRow | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[_Read] = queue.SimpleQueue()
        self._pixels = Pixels()
        self._encoder: Encoder | None = None
        self._known = ws.catalog.count_items()
        self._is_new = self._known == 0  # then equal files are found when they are stored, decoded by then
        self._embedded = 0

    def run(self, report: Report) -> None:
        roles = [self._scan, self._store, self._embed, *[self._decode] * self._cores]
        threads = [threading.Thread(target=self._play, args=(role,), name=role.__name__) for role in roles]
        for t in threads:
            t.start()
        past: deque[tuple[float, int]] = deque()
        try:
            while any(t.is_alive() for t in threads):
                for t in threads:
                    t.join(REPORT_S / len(threads))
                report(self._progress(past))
        except BaseException as e:  # a database in trouble, say: nobody may go on behind the caller's back
            self._error = self._error or e
            for t in threads:
                t.join()
        if self._error is not None:
            raise self._error
        if not self._stop.is_set():
            n = self._ws.catalog.count_present()
            report(Progress("done", n, n, aside=self._ws.catalog.count_aside()))

    def _play(self, role: Callable[[], None]) -> None:
        """Run one role in its own thread with its own connection; its failure ends all of them."""
        try:
            self._ws.relax()
            role()
        except BaseException as e:  # handed to the caller of run()
            self._error = self._error or e
        finally:
            self._ws.close()

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._error is not None

    def _progress(self, past: deque[tuple[float, int]]) -> Progress:
        catalog, encoder = self._ws.catalog, self._encoder
        done = self._known if encoder is None else self._embedded
        scanned = self._scanned.is_set()
        total = self._known + catalog.count_new() if scanned else None
        stage = "embedding" if encoder is not None else "loading" if scanned else "scanning"
        if past and done < past[-1][1]:
            past.clear()  # from here on vectors are counted, not items
        now = time.monotonic()
        past.append((now, done))
        while now - past[0][0] > RATE_S:
            past.popleft()
        gone_by = now - past[0][0]
        per_s = (done - past[0][1]) / gone_by if gone_by > 1 else None
        left_s = max(0, total - done) / per_s if per_s and total is not None else None
        return Progress(stage, done, total, per_s, left_s, catalog.count_aside())  # type: ignore[arg-type]

    # scan ----------------------------------------------------------------------------------

    def _scan(self) -> None:
        catalog = self._ws.catalog
        scan = catalog.begin_scan()
        batch: list[SeenFile] = []
        n = 0
        for seen in walk(self._root, skip=[self._ws.folder], is_over=self._is_over):
            batch.append(seen)
            n += 1
            if len(batch) >= (1000 if n > 1000 else 200):
                began = time.monotonic()
                catalog.note_files(scan, batch)
                batch.clear()
                # Others write too: who waits for SQLite's lock looks now and then, and must find it free.
                self._stop.wait(time.monotonic() - began)
                if self._is_over():
                    return
        if self._is_over():
            return
        catalog.note_files(scan, batch)
        if n == 0 and catalog.count_files():
            raise NotReady(
                f"{self._root} holds no images any more.",
                "Is its disk connected? Or give another folder with --images.",
            )
        catalog.end_scan(scan)
        look_outside(self._ws)
        self._scanned.set()

    # decode --------------------------------------------------------------------------------

    def _decode(self) -> None:
        gave_way = False
        while (row := self._files.get()) is not None:
            if not gave_way and self._first.is_set():
                self._give_way()
                gave_way = True
            self._pixels.wait_for_room(self._is_over)
            if not self._is_over():
                self._results.put(self._read(row))

    def _read(self, row: FileRow) -> _Read:
        """Return what one file holds. A content that is known already is not decoded again."""
        path = os.path.join(self._root, row.path)
        try:
            with images.room_for(path):
                data = files.read_file(path)
                name = images.content_hash(data)
                known = None if self._is_new else self._ws.catalog.item_by_hash(name)
                item = None if known is None else self._ws.catalog.item(known)
                if item is not None:
                    return _Read(Decoded(row.id, name, item.width, item.height))
                return self._seen(row.id, name, data)
        except Unreadable as e:
            return _Read(Aside(row.id, e.reason))

    def _seen(self, file: int, name: str, data: bytes) -> _Read:
        """Return what the bytes of a file show. Raises Unreadable."""
        turn = Turn(self._core)
        try:
            picture, encoder = self._decoded(data, turn), self._encoder
            held = picture.image if encoder is None else encoder.prepare(picture.image)
            small = images.thumbnail(picture.image) if images.wants_thumbnail(picture) else None
        finally:
            turn.end()
        self._pixels.count(held)
        return _Read(Decoded(file, name, picture.width, picture.height), small, held)

    def _decoded(self, data: bytes, turn: "Turn") -> images.Picture:
        most = self._ws.config.max_megapixels
        return images.decode(data, want_px=self._want_px(), max_megapixels=most, core=turn)

    def _want_px(self) -> int:
        return images.THUMB_PX if self._encoder is None else max(images.THUMB_PX, self._encoder.size_px)

    def _store(self) -> None:
        """Hand files to the decoders and store what comes back, until nothing is new."""
        catalog, in_hand = self._ws.catalog, set[int]()
        self._scanned.wait(SCAN_AHEAD_S)
        size = FIRST_CHUNK
        try:
            while not self._is_over():
                scanned = self._scanned.is_set()  # asked first: what is noted later is seen next time
                if len(in_hand) < 2 * CHUNK:
                    for row in catalog.new_files(len(in_hand) + 2 * CHUNK):
                        if row.id not in in_hand:
                            in_hand.add(row.id)
                            self._files.put(row)
                if not in_hand:
                    if scanned:
                        break
                    self._scanned.wait(0.05)
                    continue
                chunk = self._collect(min(size, len(in_hand)))
                if chunk:
                    self._add(chunk)
                    in_hand -= {r.outcome.file for r in chunk}
                    size = CHUNK
        finally:
            for _ in range(self._cores):
                self._files.put(None)
        if not self._is_over():
            self._all_decoded.set()
            self._first.set()

    def _collect(self, n: int) -> list[_Read]:
        """Return up to n results: fewer when the next one takes long."""
        chunk: list[_Read] = []
        until = time.monotonic() + 0.25
        while len(chunk) < n and (left := until - time.monotonic()) > 0:
            try:
                chunk.append(self._results.get(timeout=left))
            except queue.Empty:
                break
        return chunk

    def _add(self, chunk: Sequence[_Read]) -> None:
        """Store a chunk in one transaction; thumbnails and pixels then find their items."""
        ids = self._ws.catalog.add_decoded([r.outcome for r in chunk])
        for r in chunk:
            item = ids.get(r.outcome.file)
            fresh = item is not None and item >= self._known
            if r.held is not None and not (fresh and item is not None and self._pixels.keep(item, r.held)):
                self._pixels.count(r.held, -1)
            if r.thumbnail is not None and item is not None:
                self._save_tile(item, r.thumbnail)
        with self._pixels.changed:
            self._known = self._ws.catalog.count_items()
            self._pixels.changed.notify_all()
        if ids:
            self._first.set()

    def _save_tile(self, item: int, data: bytes) -> None:
        try:
            files.save_atomic(self._ws.tile(item, images.THUMB_PX), data)
        except OSError:
            pass  # a full disk: the server makes tiles as they are asked for

    # embed ---------------------------------------------------------------------------------

    def _embed(self) -> None:
        while not self._first.wait(0.1):
            if self._is_over():
                return
        encoder = self._load()
        catalog, vectors = self._ws.catalog, self._ws.vectors(encoder.key, encoder.dim)
        registry = self._ws.registry
        done = min(registry.embedded(encoder.key), len(vectors), catalog.count_items())
        vectors.cut(done)
        registry.set_embedded(encoder.key, encoder.dim, done)
        self._embedded = done
        self._encoder = encoder
        out = _Out(done)
        with ThreadPoolExecutor(self._cores, "forward", self._give_way) as pool:
            running: deque[Future[tuple[Rows, list[int]]]] = deque()
            while not self._is_over():
                while len(running) < 2 * self._cores and (n := self._ready(out.next, idle=not running)):
                    running.append(pool.submit(self._rows, encoder, self._inputs(out.next, out.next + n)))
                    out.next += n
                if not running and self._all_decoded.is_set() and out.next >= self._known:
                    break
                self._wait(running)
                while running and running[0].done():
                    rows, gone = running.popleft().result()
                    out.rows.append(rows)
                    out.gone += gone
                if out.is_due() or not running:
                    self._flush(encoder, out)
            self._flush(encoder, out)

    def _ready(self, lo: int, *, idle: bool) -> int:
        """Return how many items from `lo` on to embed next: a whole batch, or what there is when idle."""
        all_decoded = self._all_decoded.is_set()
        n = min(BATCH, self._known - lo)
        return n if n == BATCH or idle or all_decoded else 0

    def _wait(self, running: "deque[Future[tuple[Rows, list[int]]]]") -> None:
        if running:
            try:
                running[0].exception(timeout=0.1)
            except TimeoutError:
                pass
        else:
            with self._pixels.changed:
                self._pixels.changed.wait(0.05)

    def _inputs(self, lo: int, hi: int) -> list[Held | Item]:
        """Return the pixels of items lo to hi, or the items themselves where they must be read again."""
        encoder = self._encoder
        held = [self._pixels.take(i) for i in range(lo, hi)]
        if encoder is not None and encoder.size_px > images.THUMB_PX:  # decoded before its size was known
            held = [None if isinstance(h, Image) else h for h in held]
        if all(h is not None for h in held):
            return [h for h in held if h is not None]
        items = self._ws.catalog.items_between(lo, hi)
        return [item if h is None else h for h, item in zip(held, items, strict=True)]

    def _rows(self, encoder: "Encoder", inputs: "Sequence[Held | Item]") -> tuple[Rows, list[int]]:
        """Return one unit row per input, and the items whose files could not be read any more."""
        gone: list[int] = []
        prepared: dict[int, NDArray[Any]] = {}  # Any: as Held
        for pos, x in enumerate(inputs):
            picture: Held | None
            if isinstance(x, Item):
                picture = self._reread(x)
                if picture is None:
                    gone.append(x.id)
                    picture = self._from_tile(x.id)
            else:
                picture = x
            if picture is not None:
                prepared[pos] = encoder.prepare(picture) if isinstance(picture, Image) else picture
        rows = np.full((len(inputs), encoder.dim), encoder.dim**-0.5, np.float32)
        if prepared:
            # more threads at a time than cores would push each other's numbers out of the cache
            with self._core if getattr(encoder, "uses_cores", True) else nullcontext():
                rows[list(prepared)] = _forward(encoder, list(prepared.values()))
        return rows, gone

    def _reread(self, item: Item) -> Image | None:
        """Return the pixels of an item from its file; None when the file no longer holds this content."""
        most = self._ws.config.max_megapixels
        try:
            picture = images.decode_known(
                os.path.join(self._root, item.path), item.hash, want_px=self._want_px(), max_megapixels=most
            )
        except Unreadable:
            return None
        if images.wants_thumbnail(picture) and not self._ws.tile(item.id, images.THUMB_PX).exists():
            self._save_tile(item.id, images.thumbnail(picture.image))
        return picture.image

    def _from_tile(self, item: int) -> Image | None:
        try:
            return images.decode(self._ws.tile(item, images.THUMB_PX).read_bytes()).image
        except (OSError, Unreadable):
            return None

    def _flush(self, encoder: "Encoder", out: "_Out") -> None:
        """Write finished rows, then say so."""
        out.written_at = time.monotonic()
        if not out.rows:
            return
        rows = np.concatenate(out.rows)
        out.rows.clear()
        try:
            self._ws.vectors(encoder.key, encoder.dim).append(rows)
        except Blocked as e:
            left = self._known - self._embedded
            mb = math.ceil(left * encoder.dim * rows.itemsize / 1e6)
            do = f"{e.do} The vectors of {left:,} images are missing: {mb:,} MB."
            raise Blocked(e.error, do) from e
        if self._embedded < SCATTER_FROM <= self._embedded + len(rows):
            self._keep_scatter(encoder)
        self._ws.registry.set_embedded(encoder.key, encoder.dim, self._embedded + len(rows))
        self._embedded += len(rows)
        if out.gone and self._scanned.is_set():  # before, the scan itself finds what is gone
            self._ws.catalog.mark_absent(out.gone)
        out.gone.clear()

    def _keep_scatter(self, encoder: "Encoder") -> None:
        """Write how rows move when an image is turned, an empty array where that is not known; only once."""
        path = self._ws.scatter_file(encoder.key)
        measure = getattr(encoder, "scatter", None)  # only an encoder of several views has it
        if measure is None or path.exists():
            return
        scatter = measure()
        data = io.BytesIO()
        np.save(data, np.empty((0, 0), np.float32) if scatter is None else scatter)
        with writing(path.name):
            files.save_atomic(path, data.getvalue())


def _forward(encoder: "Encoder", prepared: "list[Prepared]") -> Rows:
    """Return the rows of prepared pictures. Raises BadInput for an encoder whose rows are of no use."""
    other = "Choose another encoder with --encoder."
    try:
        rows = encoder.forward(prepared)
    except ValueError as e:  # NaN or infinity
        raise BadInput(f"The encoder {encoder.key} makes no vectors of these images: {e}", other) from e
    if rows.shape != (len(prepared), encoder.dim):
        raise BadInput(
            f"The encoder {encoder.key} gives vectors of {rows.shape[-1]} numbers, "
            f"where it gave {encoder.dim} before.",
            other,
        )
    return rows


class _Out:
    """Rows that are computed and not written yet. `next` is the first item not handed out."""

    def __init__(self, done: int) -> None:
        self.next = done
        self.rows: list[Rows] = []
        self.gone: list[int] = []
        self.written_at = time.monotonic()

    def is_due(self) -> bool:
        return sum(map(len, self.rows)) >= FLUSH_ROWS or time.monotonic() - self.written_at >= FLUSH_S
