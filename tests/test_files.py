"""files.py: only plain files are opened, and a file is written whole or not at all."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labeler import files
from labeler.files import Unreadable, read_file, save_atomic

# reading -----------------------------------------------------------------------------------


def why_not_read(path: Path | str) -> str:
    with pytest.raises(Unreadable) as e:
        read_file(path)
    return e.value.reason


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    assert why_not_read(tmp_path / "pipe.jpg") == "This is a pipe or a device, not a file."
    assert why_not_read(tmp_path / "device.jpg") == "This is a pipe or a device, not a file."
    assert why_not_read(tmp_path / "folder.jpg") == "This is a folder, not a file."
    assert why_not_read(tmp_path / "empty.jpg") == "The file is empty."
    assert why_not_read(tmp_path / "dangling.jpg") == "This link leads nowhere."
    assert why_not_read(tmp_path / "round.jpg") == "This link leads round in a circle."
    assert why_not_read(tmp_path / "gone.jpg") == "The file is gone."
    assert why_not_read("a\0b.jpg") == "The name of the file can't be used."


def test_a_pipe_put_in_place_after_the_look_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, plain = tmp_path / "a.jpg", tmp_path / "b.jpg"
    os.mkfifo(path)
    plain.write_bytes(b"x")
    real = os.stat
    monkeypatch.setattr(files.os, "stat", lambda p: real(plain if p == path else p))
    assert why_not_read(path) == "This is a pipe or a device, not a file."


def test_too_many_bytes(tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    path.touch()
    os.truncate(path, 3 << 30)  # a hole: takes no space
    assert why_not_read(path) == "The file has 3,072 MB; at most 512 MB are read."


def test_a_file_that_grows_is_read_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 1000)
    real = files._read_exactly

    def slow(f: io.FileIO, size: int) -> bytes:
        data = real(f, size)
        with open(path, "ab") as more:
            more.write(b"y")
        return data

    monkeypatch.setattr(files, "_read_exactly", slow)
    assert why_not_read(path) == "The file is still being written."


@pytest.mark.skipif(os.name == "nt", reason="needs Unix permissions")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    path.chmod(0)
    folder = tmp_path / "locked"
    folder.mkdir(mode=0)
    for p in (tmp_path, *tmp_path.parents):
        if p.name.startswith(("pytest", "popen-")) or p == tmp_path:  # popen-: one of several test processes
            p.chmod(p.stat().st_mode | 0o055)
    code = (
        "import os, sys\n"
        "from labeler.files import Unreadable, read_file\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "for name in sys.argv[1:]:\n"
        "    try: read_file(name)\n"
        "    except Unreadable as e: print(e.reason)\n"
    )
    root = Path(files.__file__).parent.parent
    out = subprocess.run(
        [sys.executable, "-c", code, str(path), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
    ).stdout
    folder.chmod(0o700)
    assert out == "There is no permission to read it.\nThere is no permission to read this folder.\n"


# saving ------------------------------------------------------------------------------------


def test_save_atomic_leaves_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.webp"
    save_atomic(path, b"one")
    save_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.webp"]
    (tmp_path / "c.webp").mkdir()
    with pytest.raises(IsADirectoryError):
        save_atomic(tmp_path / "c.webp", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "c.webp"]


def test_a_file_that_somebody_reads_on_windows_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for Windows, which refuses to replace an open file."""
    real, refused = os.replace, []

    def replace(a: Path, b: Path) -> None:
        if len(refused) < most:
            refused.append(a)
            raise PermissionError(13, "Access is denied")
        real(a, b)

    monkeypatch.setattr(files.os, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    most = 2
    save_atomic(tmp_path / "a.webp", b"one")
    assert (tmp_path / "a.webp").read_bytes() == b"one"
    most = 99
    with pytest.raises(PermissionError):
        save_atomic(tmp_path / "a.webp", b"two")
    assert [p.name for p in tmp_path.iterdir()] == ["a.webp"]
