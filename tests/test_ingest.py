"""ingest.py and scan.py: what is in the folder becomes items with vectors, whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labeler import files, images, ingest, pixels
from labeler.catalog import SeenFile
from labeler.config import Config
from labeler.domain import Progress
from labeler.errors import BadInput, Blocked, NotReady
from labeler.scan import is_image_name, walk
from labeler.workspace import Workspace
from tests.fakes import MeanColour

ROOT = Path(ingest.__file__).parent.parent


def paint(path: Path, number: int, size: tuple[int, int] = (24, 16)) -> Path:
    """Save an image whose colour is its number's; PNG keeps it exact."""
    rng = np.random.default_rng(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(int(c) for c in rng.integers(0, 256, 3))).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    return path


@pytest.fixture
def ws(tmp_path: Path, folder: Path) -> Workspace:
    ws = Workspace.open(tmp_path / "ws", Config(images=str(folder)))
    yield ws
    ws.close()


def take_in(
    ws: Workspace, load: Callable[[], MeanColour] = MeanColour, stop: threading.Event | None = None
) -> list[Progress]:
    reports: list[Progress] = []
    ingest.run(ws, load=load, report=reports.append, stop=stop or threading.Event())
    return reports


def rows(ws: Workspace, encoder: MeanColour | None = None) -> np.ndarray:
    encoder = encoder or MeanColour()
    return np.array(ws.vectors(encoder.key, encoder.dim).rows())


def assert_sound(ws: Workspace, root: Path) -> None:
    """Every present item has the vector of its own file's pixels, and a tile if that is smaller."""
    encoder = MeanColour()
    n = ws.catalog.count_items()
    assert ws.registry.embedded(encoder.key) == n == len(rows(ws))
    for item in ws.catalog.items_between(0, n):
        if item.present:
            data = (root / item.path).read_bytes()
            assert images.content_hash(data) == item.hash
            want = encoder.encode([images.decode(data).image])[0]
            np.testing.assert_allclose(rows(ws)[item.id], want, atol=1e-6)
            assert ws.tile(item.id, 512).exists() == (max(item.width, item.height) > 512)


def test_a_folder_becomes_items_with_vectors_and_tiles(ws: Workspace, folder: Path) -> None:
    for i in range(40):
        paint(folder / f"{i % 3}" / "deep" / f"{i}.png", i)
    (folder / "bad.jpg").write_bytes(b"<html>")
    (folder / "notes.txt").write_text("no image")
    reports = take_in(ws)
    assert_sound(ws, folder)
    assert ws.catalog.count_present() == 40
    assert ws.catalog.set_aside() == [("bad.jpg", "This is a web page or a drawing in text, not an image.")]
    assert reports[-1] == Progress("done", 40, 40, aside=1)
    assert all(r.per_s is None or r.per_s >= 0 for r in reports)
    assert not list((ws.folder / "cache").rglob(".*"))


def test_an_empty_folder(ws: Workspace) -> None:
    assert take_in(ws)[-1] == Progress("done", 0, 0, aside=0)


def test_items_come_in_a_random_order(ws: Workspace, folder: Path) -> None:
    for i in range(60):
        paint(folder / f"{i:03}.png", i)
    take_in(ws)
    order = [int(Path(item.path).stem) for item in ws.catalog.items_between(0, 60)]
    assert order != sorted(order)
    assert sorted(order) == list(range(60))


# beginning early ---------------------------------------------------------------------------


def test_items_come_before_the_encoder_and_decoding_goes_on(ws: Workspace, folder: Path) -> None:
    for i in range(150):
        paint(folder / f"{i}.png", i)
    seen: list[int] = []

    def load() -> MeanColour:
        with_own = ws.catalog
        seen.append(with_own.count_items())
        until = time.monotonic() + 20
        while with_own.count_items() < 150 and time.monotonic() < until:
            time.sleep(0.02)
        seen.append(with_own.count_items())
        return MeanColour()

    reports = take_in(ws, load)
    assert 1 <= seen[0] <= ingest.FIRST_CHUNK + ingest.CHUNK
    assert seen[1] == 150
    assert {"loading", "embedding", "done"} >= {r.stage for r in reports} - {"scanning"}
    assert_sound(ws, folder)


def test_decoding_waits_when_enough_is_held(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "HELD_IMAGES", 20)
    for i in range(200):
        paint(folder / f"{i}.png", i)

    def load() -> MeanColour:
        time.sleep(1)
        assert ws.catalog.count_items() <= 20 + ingest.count_cores()
        return MeanColour()

    take_in(ws, load)
    assert_sound(ws, folder)


def test_torch_is_not_imported_before_the_first_items(ws: Workspace, folder: Path) -> None:
    for i in range(30):
        paint(folder / f"{i}.png", i)
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from labeler import ingest\n"
        "from labeler.workspace import Workspace\n"
        "from tests.fakes import MeanColour\n"
        "ws = Workspace.open(Path(sys.argv[1]))\n"
        "def load():\n"
        "    assert ws.catalog.count_items() >= 16\n"
        "    assert not {'torch', 'transformers', 'faiss', 'sklearn', 'streamlit'} & set(sys.modules)\n"
        "    return MeanColour()\n"
        "ingest.run(ws, load=load, report=lambda p: None, stop=threading.Event())\n"
    )
    subprocess.run([sys.executable, "-c", code, str(ws.folder)], check=True, cwd=ROOT)
    assert_sound(ws, folder)


class LargeEyes(MeanColour):
    """Wants more pixels than a thumbnail has."""

    key, size_px = "large-eyes", 900

    def prepare(self, image: Image.Image) -> np.ndarray:
        assert min(image.size) >= 900
        return super().prepare(image)


def test_an_encoder_that_wants_more_than_was_kept_reads_again(ws: Workspace, folder: Path) -> None:
    for i in range(3):
        paint(folder / f"{i}.jpg", i, (2000, 1900))

    def load() -> MeanColour:
        while ws.catalog.count_items() < 3:
            time.sleep(0.01)
        return LargeEyes()

    take_in(ws, load)
    assert ws.registry.embedded("large-eyes") == 3


# changes between two runs ------------------------------------------------------------------


def test_nothing_is_read_again_when_nothing_changed(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(10):
        paint(folder / f"{i}.png", i)
    (folder / "bad.png").write_bytes(b"x")
    take_in(ws)
    before = rows(ws)
    monkeypatch.setattr(files, "read_file", lambda path: pytest.fail(f"{path} was read"))
    take_in(ws)
    assert np.array_equal(rows(ws), before)


def test_equal_files_are_one_item(ws: Workspace, folder: Path) -> None:
    data = paint(folder / "a.png", 1).read_bytes()
    for name in ("b.png", "c.jpg", "sub/d.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    paint(folder / "other.png", 2)
    take_in(ws)
    assert (ws.catalog.count_items(), ws.catalog.count_duplicates(), len(rows(ws))) == (2, 3, 2)


def test_a_renamed_file_and_a_moved_folder_keep_their_items(
    ws: Workspace, folder: Path, tmp_path: Path
) -> None:
    for i in range(6):
        paint(folder / f"{i}.png", i)
    take_in(ws)
    hashes = [i.hash for i in ws.catalog.items_between(0, 6)]
    (folder / "3.png").rename(folder / "renamed.png")
    (folder / "sub").mkdir()
    (folder / "4.png").rename(folder / "sub" / "4.png")
    take_in(ws)
    assert [i.hash for i in ws.catalog.items_between(0, 99)] == hashes
    assert ws.catalog.count_present() == 6
    assert {"renamed.png", "sub/4.png"} <= {i.path for i in ws.catalog.items_between(0, 6)}

    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    again = Workspace.open(ws.folder, Config(images=str(moved)))
    take_in(again)
    assert [i.hash for i in again.catalog.items_between(0, 99)] == hashes
    assert again.catalog.count_present() == 6
    assert_sound(again, moved)
    again.close()


def test_changed_content_is_a_new_item_and_the_old_one_leaves(ws: Workspace, folder: Path) -> None:
    for i in range(4):
        paint(folder / f"{i}.png", i)
    take_in(ws)
    old = next(i for i in ws.catalog.items_between(0, 4) if i.path == "2.png")
    paint(folder / "2.png", 77, (30, 30))
    take_in(ws)
    items = ws.catalog.items_between(0, 99)
    assert len(items) == 5
    assert not items[old.id].present
    assert (items[4].path, items[4].present, items[4].width) == ("2.png", True, 30)
    assert_sound(ws, folder)


def test_a_vanished_file_leaves_and_comes_back(ws: Workspace, folder: Path) -> None:
    for i in range(4):
        paint(folder / f"{i}.png", i)
    take_in(ws)
    data = (folder / "1.png").read_bytes()
    (folder / "1.png").unlink()
    take_in(ws)
    assert ws.catalog.count_present() == 3
    (folder / "1.png").write_bytes(data)
    take_in(ws)
    assert (ws.catalog.count_present(), ws.catalog.count_items()) == (4, 4)
    assert_sound(ws, folder)


def test_a_bad_file_is_tried_again_when_it_changes(ws: Workspace, folder: Path) -> None:
    whole = paint(folder / "a.png", 1, (200, 200)).read_bytes()
    (folder / "a.png").write_bytes(whole[:60])
    take_in(ws)
    assert [p for p, _ in ws.catalog.set_aside()] == ["a.png"]
    (folder / "a.png").write_bytes(whole)
    take_in(ws)
    assert not ws.catalog.set_aside()
    assert_sound(ws, folder)


@pytest.mark.parametrize("keep_tile", [True, False])
def test_an_item_without_vector_whose_file_vanished(ws: Workspace, folder: Path, keep_tile: bool) -> None:
    for i in range(5):
        paint(folder / f"{i}.png", i, (600, 20))

    def never() -> MeanColour:
        raise ValueError("no encoder")

    with pytest.raises(ValueError, match="no encoder"):
        take_in(ws, never)
    assert ws.catalog.count_items() == 5
    lost = ws.catalog.items_between(0, 5)[3]
    (folder / lost.path).unlink()
    if not keep_tile:
        ws.tile(lost.id, 512).unlink()
    take_in(ws)
    colour = np.random.default_rng(int(Path(lost.path).stem)).integers(0, 256, 3) + 1.0
    want = colour / np.linalg.norm(colour) if keep_tile else np.full(3, 3**-0.5)
    np.testing.assert_allclose(rows(ws)[3], want, atol=0.03)
    assert ws.catalog.absent() == [3]
    assert_sound(ws, folder)


def test_a_file_that_vanishes_or_changes_after_the_scan(ws: Workspace, folder: Path) -> None:
    for i in range(5):
        paint(folder / f"{i}.png", i)
    with pytest.raises(ValueError, match="not yet"):
        take_in(ws, lambda: (_ for _ in ()).throw(ValueError("not yet")))
    first, second = ws.catalog.items_between(0, 2)

    def load() -> MeanColour:
        time.sleep(0.5)  # the scan is over
        (folder / first.path).unlink()
        paint(folder / second.path, 1234, (60, 60))
        return MeanColour()

    take_in(ws, load)
    assert ws.catalog.absent() == [first.id, second.id]
    take_in(ws)
    assert ws.catalog.count_items() == 6
    assert_sound(ws, folder)


def test_another_encoder_starts_from_the_files(ws: Workspace, folder: Path) -> None:
    for i in range(50):
        paint(folder / f"{i}.png", i)
    take_in(ws)

    class Other(MeanColour):
        key = "other"

    take_in(ws, Other)
    assert ws.registry.embedded("other") == 50
    assert np.array_equal(rows(ws, Other()), rows(ws))


def test_lost_tiles_come_back_with_the_next_reading(ws: Workspace, folder: Path) -> None:
    for i in range(20):
        paint(folder / f"{i}.png", i, (600, 20))
    take_in(ws)
    vectors = ws.vectors(MeanColour.key, 3)
    vectors.cut(5)  # as if the disk had lost the end of the file
    for item in range(20):
        ws.tile(item, 512).unlink()
    take_in(ws)
    assert [ws.tile(i, 512).exists() for i in range(20)] == [False] * 5 + [True] * 15
    assert ws.registry.embedded(MeanColour.key) == 20 == len(rows(ws))


# being stopped -----------------------------------------------------------------------------


class Slow(MeanColour):
    def forward(self, prepared: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.05)
        return super().forward(prepared)


def test_stopped_anywhere_it_goes_on_where_it_was(ws: Workspace, folder: Path) -> None:
    for i in range(200):
        paint(folder / f"{i}.png", i)
    for _ in range(4):
        stop = threading.Event()
        threading.Timer(0.5, stop.set).start()
        began = time.monotonic()
        take_in(ws, Slow, stop)
        assert time.monotonic() - began < 2.5
    take_in(ws)
    assert ws.catalog.count_items() == 200
    assert_sound(ws, folder)


KILLED = """
import sys, threading, time
from pathlib import Path
from typing import Any
from labeler import ingest
from labeler.workspace import Workspace
from tests.fakes import MeanColour
class Slow(MeanColour):
    def forward(self, prepared):
        time.sleep(0.01)
        return super().forward(prepared)
ingest.FLUSH_ROWS = 32
ws = Workspace.open(Path(sys.argv[1]))
print("go", flush=True)
ingest.run(ws, load=Slow, report=lambda p: None, stop=threading.Event())
print("end", flush=True)
"""


def test_killed_at_any_moment_nothing_is_lost_or_doubled(ws: Workspace, folder: Path) -> None:
    for i in range(400):
        paint(folder / f"{i % 7}" / f"{i}.png", i)
    rng = np.random.default_rng(0)
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(ws.folder)], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(float(rng.uniform(0.02, 0.9)))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert ws.registry.embedded(MeanColour.key) <= ws.catalog.count_items()
        assert ws.registry.embedded(MeanColour.key) <= len(ws.vectors(MeanColour.key, 3))
    take_in(ws)
    assert ws.catalog.count_items() == 400
    assert len({i.hash for i in ws.catalog.items_between(0, 400)}) == 400
    assert_sound(ws, folder)


def test_an_encoder_that_fails_ends_it_all_at_once(ws: Workspace, folder: Path) -> None:
    for i in range(100):
        paint(folder / f"{i}.png", i)

    class Broken(MeanColour):
        def forward(self, prepared: list[np.ndarray]) -> np.ndarray:
            raise BadInput("The encoder broke.")

    with pytest.raises(BadInput, match="broke"):
        take_in(ws, Broken)
    assert ws.registry.embedded(MeanColour.key) == 0
    take_in(ws)
    assert_sound(ws, folder)


def test_tiles_that_can_not_be_saved_stop_nothing(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_atomic", full)
    paint(folder / "a.png", 1)
    take_in(ws)
    assert len(rows(ws)) == 1


def test_a_folder_that_is_gone_or_suddenly_empty_changes_nothing(ws: Workspace, folder: Path) -> None:
    paint(folder / "a.png", 1)
    take_in(ws)
    (folder / "a.png").rename(folder.parent / "kept.png")
    with pytest.raises(NotReady, match="holds no images any more"):
        take_in(ws)
    folder.rmdir()
    with pytest.raises(NotReady, match="can't be read"):
        take_in(ws)
    assert ws.catalog.count_present() == 1


# scanning ----------------------------------------------------------------------------------


def paths(root: Path, **options: object) -> list[str]:
    return sorted(f.path for f in walk(root, **options))


def test_names_that_are_taken_for_images() -> None:
    for name in ("a.jpg", "a.JPEG", "a.b.Tif", "ü.png", "a.AVIF", "a.webp", "a.gif", "a.bmp"):
        assert is_image_name(name)
    for name in ("a", "a.txt", ".jpg", ".hidden.jpg", "a.jpg.part", "jpg"):
        assert not is_image_name(name)


def test_circles_of_links_hidden_things_and_the_workspace(folder: Path) -> None:
    paint(folder / "a.png", 1)
    paint(folder / "sub" / "b.PNG", 2)
    paint(folder / ".hidden" / "c.png", 3)
    paint(folder / ".d.png", 4)
    paint(folder / "ws" / "cache" / "e.webp", 5)
    outside = paint(folder.parent / "outside" / "f.png", 6)
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "self").symlink_to(folder / "sub")
    (folder / "self.png").symlink_to(folder)
    (folder / "out").symlink_to(outside.parent)
    (folder / "twice").symlink_to(outside.parent)
    (folder / "link.png").symlink_to(outside)
    (folder / "dangling.png").symlink_to(folder / "nothing")
    (folder / "round.jpg").symlink_to(folder / "round.jpg")
    (folder / "plain").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe.jpg")
    found = paths(folder, skip=[folder / "ws"])
    assert [p for p in found if p not in ("out/f.png", "twice/f.png")] == [
        "a.png", "dangling.png", "link.png", "pipe.jpg", "round.jpg", "self.png", "sub/b.PNG",
    ]  # fmt: skip
    assert len(found) == 8


def test_a_folder_that_is_also_linked_keeps_its_own_name(folder: Path) -> None:
    paint(folder / "m" / "a.png", 1)
    for name in ("a", "z"):
        (folder / name).symlink_to(folder / "m")
    assert paths(folder) == ["m/a.png"]


def test_what_a_scan_notes(folder: Path) -> None:
    path = paint(folder / "a.png", 1)
    os.utime(path, ns=(5, 1_700_000_000_123_456_789))
    assert list(walk(folder)) == [SeenFile("a.png", path.stat().st_size, 1_700_000_000_123_456_789)]


def test_a_walk_ends_when_it_is_over(folder: Path) -> None:
    for i in range(5):
        paint(folder / f"{i}" / "a.png", i)
    assert paths(folder, is_over=lambda: True) == []


def test_odd_things_are_listed_with_their_reasons(ws: Workspace, folder: Path) -> None:
    paint(folder / "fine.png", 1)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "nothing")
    (folder / "folder.jpg").symlink_to(folder)
    (folder / "empty.tif").touch()
    take_in(ws)
    assert ws.catalog.set_aside() == [
        ("dangling.jpg", "This link leads nowhere."),
        ("empty.tif", "The file is empty."),
        ("folder.jpg", "This is a folder, not a file."),
        ("pipe.jpg", "This is a pipe or a device, not a file."),
    ]
    assert_sound(ws, folder)


ODD_NAMES = [
    "new\nline.png", "quote\"'.png", "<script>alert(1)<.png", "\u202egnp.exe.png", "é.png", "e\u0301.png",
    " .png", "%2e%2e.png", "a" * 251 + ".png", "\\back.png", "日本.png", os.fsdecode(b"\xff\xfe\x80.png"),
]  # fmt: skip


def test_odd_names(ws: Workspace, folder: Path) -> None:
    for i, name in enumerate(ODD_NAMES):
        paint(folder / "sub" / name, i)
    (folder / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"<html>")
    odd = folder / os.fsdecode(b"folder\xe9")
    paint(odd / "z.png", 99)
    take_in(ws)
    assert ws.catalog.count_present() == len(ODD_NAMES) + 1
    assert_sound(ws, folder)
    for path, _ in ws.catalog.set_aside():
        path.encode("utf-8")
    take_in(ws)
    assert ws.catalog.count_items() == len(ODD_NAMES) + 1


@pytest.mark.skipif(os.name == "nt", reason="needs Unix permissions")
def test_a_folder_without_permission_is_listed(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(folder / "a.png", 1)
    paint(folder / "locked" / "b.png", 2)
    real_scan, real_access = os.scandir, os.access

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real_scan(path)

    with monkeypatch.context() as m:
        m.setattr(os, "scandir", scandir)
        m.setattr(os, "access", lambda p, mode: not str(p).endswith("locked") and real_access(p, mode))
        take_in(ws)
    assert ws.catalog.set_aside() == [("locked", "There is no permission to read this folder.")]
    take_in(ws)
    assert not ws.catalog.set_aside()
    assert ws.catalog.count_present() == 2


def test_one_thread_per_core_within_reason() -> None:
    assert 1 <= ingest.count_cores() <= 16


@pytest.mark.parametrize("uses_cores", [True, False])
def test_what_computes_takes_turns_but_for_what_a_graphics_card_computes(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, uses_cores: bool
) -> None:
    monkeypatch.setattr(ingest, "count_cores", lambda: 1)
    monkeypatch.setattr(pixels, "HELD_IMAGES", 40)
    decode, lock = images._decode_open, threading.Lock()
    now, together = [0], [0]

    def busy(work: Callable[[], Any]) -> Any:
        with lock:
            now[0] += 1
            together[0] = max(together[0], now[0])
        try:
            time.sleep(0.001)
            return work()
        finally:
            with lock:
                now[0] -= 1

    class Encoder(MeanColour):
        def forward(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
            return busy(lambda: MeanColour.forward(self, prepared))

    Encoder.uses_cores = uses_cores  # type: ignore[attr-defined]
    monkeypatch.setattr(images, "_decode_open", lambda *a: busy(lambda: decode(*a)))
    for i in range(300):
        paint(folder / f"{i}.png", i)
    take_in(ws, Encoder)
    monkeypatch.undo()
    assert together == [1 if uses_cores else 2]
    assert_sound(ws, folder)


def test_a_content_that_was_known_before_is_not_decoded_again(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        paint(folder / f"{i}.png", i)
    take_in(ws)
    for i in range(20):
        (folder / f"again{i}.png").write_bytes((folder / f"{i}.png").read_bytes())
    paint(folder / "new.png", 99)
    decoded = []
    decode = images.decode
    monkeypatch.setattr(images, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    take_in(ws)
    assert len(decoded) == 1
    assert ws.catalog.count_items() == 21
    assert ws.catalog.count_duplicates() == 20


@pytest.mark.load
def test_many_files_are_scanned_in_seconds_and_the_first_items_come_early(
    ws: Workspace, folder: Path
) -> None:
    source = paint(folder.parent / "one.png", 1)
    for i in range(20_000):
        (folder / f"{i % 50}").mkdir(exist_ok=True)
        os.link(source, folder / f"{i % 50}" / f"{i}.png")
    began = time.monotonic()
    first: list[float] = []

    def load() -> MeanColour:
        first.append(time.monotonic() - began)
        return MeanColour()

    take_in(ws, load)
    assert first[0] < 3
    assert (ws.catalog.count_items(), ws.catalog.count_duplicates()) == (1, 19_999)


def test_when_the_database_is_in_trouble_every_thread_has_ended_before_that_is_said(ws, folder):
    """Else whoever tries again would take the same images in twice at once."""
    for i in range(200):
        paint(folder / f"{i}.png", i)
    before = set(threading.enumerate())

    def report(p: Progress) -> None:
        raise Blocked("ws/labeler.db is locked by another program.", "Wait.")

    with pytest.raises(Blocked, match="is locked"):
        ingest.run(ws, load=MeanColour, report=report, stop=threading.Event())
    assert set(threading.enumerate()) == before
    take_in(ws)
    assert len(rows(ws)) == ws.catalog.count_items() == 200


class Fickle(MeanColour):
    """An encoder that goes wrong after the first images."""

    key = "fickle-3"

    def __init__(self, wrong: np.ndarray | Exception) -> None:
        self.wrong, self.calls = wrong, 0

    def forward(self, prepared: Sequence[Any]) -> np.ndarray:
        self.calls += 1
        if self.calls == 1:
            return super().forward(prepared)
        if isinstance(self.wrong, Exception):
            raise self.wrong
        return np.repeat(self.wrong, len(prepared), axis=0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            np.full((1, 4), 0.5, np.float32),
            "The encoder fickle-3 gives vectors of 4 numbers, where it gave 3 before. "
            "Choose another encoder with --encoder.",
        ),
        (
            ValueError("rows hold NaN or infinity."),
            "The encoder fickle-3 makes no vectors of these images: rows hold NaN or infinity. "
            "Choose another encoder with --encoder.",
        ),
    ],
)
def test_an_encoder_whose_vectors_are_of_no_use_is_named_and_what_it_saw_stays(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, wrong: np.ndarray | Exception, says: str
) -> None:
    monkeypatch.setattr(ingest, "BATCH", 1)
    for i in range(40):
        paint(folder / f"{i}.png", i)
    with pytest.raises(BadInput) as e:
        take_in(ws, lambda: Fickle(wrong))
    assert str(e.value) == says
    take_in(ws)
    assert_sound(ws, folder)
