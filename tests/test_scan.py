"""scan.py: disks that number nothing or stop in the middle. Links, circles and names are in test_ingest."""

import os
from pathlib import Path

import pytest

from labeler import scan
from labeler.catalog import SeenFile
from labeler.scan import walk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.png", "b/c/2.png", "b/3.png", "4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    return tmp_path


def test_paths_have_slashes_between_their_parts(folder: Path) -> None:
    assert sorted(f.path for f in walk(folder)) == ["4.png", "a/1.png", "b/3.png", "b/c/2.png"]


def test_a_disk_that_gives_folders_no_numbers_is_walked_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for network drives on which every inode is 0."""
    real = os.stat

    def unnumbered(path: Path | str) -> os.stat_result:
        found = list(real(path))
        found[1] = 0
        return os.stat_result(found)

    monkeypatch.setattr(scan.os, "stat", unnumbered)
    assert sorted(f.path for f in walk(folder)) == ["4.png", "a/1.png", "b/3.png", "b/c/2.png"]


def test_a_folder_whose_disk_stops_in_the_middle_is_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for a network drive that goes away."""
    real = os.scandir

    class Stopping:
        def __init__(self, path: str) -> None:
            self.entries = real(path)
            self.stops = path.endswith("b")

        def __enter__(self) -> "Stopping":
            return self

        def __exit__(self, *_: object) -> None:
            self.entries.close()

        def __next__(self) -> "os.DirEntry[str]":
            if self.stops:
                raise OSError(5, "Input/output error")
            return next(self.entries)

    monkeypatch.setattr(scan.os, "scandir", Stopping)
    found = {f.path: f for f in walk(folder)}
    assert found["b"] == SeenFile("b", 0, 0)
    assert sorted(found) == ["4.png", "a/1.png", "b"]
