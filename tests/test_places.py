"""places.py: the workspace that a folder of images gets, on any file system, and ports. More in test_cli."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from labeler import loop, places
from labeler.errors import BadInput
from labeler.names import is_portable

ROOT = Path(__file__).parent.parent


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_workspace_has_the_name_of_the_images(here):
    assert places.default_workspace(here / "far" / "photos") == Path("data/photos")
    assert places.default_workspace(Path("/")) == Path("data/images")


@pytest.mark.parametrize(
    "name", ["2024:01", "con", "trip. ", "a\\b", "two\nlines", "ä" * 127 + "x", "x" * 255]
)
def test_a_name_that_some_disk_refuses_is_replaced_and_marked(here, name):
    images = here / "far" / name
    images.mkdir(parents=True)
    folder = places.default_workspace(images)
    assert is_portable(folder.name)
    assert len(os.fsencode(folder.name)) <= 110
    assert folder == places.default_workspace(images)
    assert folder != places.default_workspace(here / "near" / name)
    places.make_workspace(folder, images, encoder=None, batch_size=None).close()
    assert places.default_workspace(images) == folder


def test_a_workspace_that_has_such_a_name_already_is_kept(here):
    images = here / "far" / "2024:01"
    images.mkdir(parents=True)
    places.make_workspace(Path("data/2024:01"), images, encoder=None, batch_size=None).close()
    assert places.default_workspace(images) == Path("data/2024:01")


def test_images_of_another_folder_that_is_long_named_too_get_another_workspace(here):
    name = "x" * 240
    (here / "a" / name).mkdir(parents=True)
    (here / "b" / name).mkdir(parents=True)
    one, two = places.default_workspace(here / "a" / name), places.default_workspace(here / "b" / name)
    assert one != two


def test_a_workspace_among_the_images_is_refused_under_any_name(here):
    (here / "images" / "sub").mkdir(parents=True)
    (here / "link").symlink_to("images")
    for folder in ("images/w", "link/sub/w", "images", "link"):
        with pytest.raises(BadInput, match="inside the images"):
            places.make_workspace(here / folder, here / "images", encoder=None, batch_size=None)


@pytest.mark.parametrize(("port", "free"), [(8501, False), (80, None)])
def test_a_port_that_windows_keeps_is_passed_over(monkeypatch, port, free):
    """Stands in for Windows, which refuses ports of its own with EACCES."""

    class Refusing(places.socket.socket):
        def bind(self, address):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(places.socket, "socket", Refusing)
    if free is None:
        with pytest.raises(BadInput, match="administrator"):
            places.is_free("127.0.0.1", port)
    else:
        assert places.is_free("127.0.0.1", port) is free


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_that_one_start_has_chosen_is_not_chosen_by_another(host):
    """Two starts in one second: the second would print its links, then fail."""
    with places.held_port(host, 20_000) as (first, sockets):
        assert not places.is_free(host, first)
        with places.held_port(host, first) as (second, _):
            assert second > first
        with socket.create_connection(("127.0.0.1", first), timeout=5):
            assert sockets[0].accept()[0].close() is None  # who comes early is not refused
    assert places.is_free(host, first)


# Windows -----------------------------------------------------------------------------------

# What Windows' Python lacks, and programs of ours may have wished for; what our libraries do with the
# system they are on is decided when they are imported. fcntl stays: os.name can't be changed at will.
WITHOUT = """
import importlib, json, os, pkgutil, signal, sys
for name in "numpy PIL.Image sqlite_utils subprocess platform uvicorn fastapi httptools".split():
    importlib.import_module(name)
for name in ("resource", "pwd", "grp", "termios", "tty", "pty"):
    sys.modules[name] = None
for name in ("nice fork forkpty mkfifo mknod getuid geteuid getgid setuid setsid sched_getaffinity "
             "fchmod fchown chown sync getloadavg O_NONBLOCK O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_SYNC killpg "
             "getpgid posix_fadvise posix_fallocate fdatasync pread pwrite sendfile").split():
    if hasattr(os, name):
        delattr(os, name)
for name in "SIGKILL SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGQUIT SIGCHLD SIGPIPE SIGSTOP setitimer alarm".split():
    if hasattr(signal, name):
        delattr(signal, name)
import labeler, active
from labeler.cli import cli
for package in (labeler, active):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name not in {"labeler.ui", "labeler.grids"}:  # Streamlit's
            importlib.import_module(found.name)
for command in json.loads(sys.argv[1]):
    cli.main(command, standalone_mode=False)
"""


def test_the_commands_work_without_what_windows_lacks(here):
    (here / "images" / "sub").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (40, 30), (i * 80, 9, 9)).save(here / "images" / "sub" / f"{i}.png")
    ws = places.make_workspace(here / "w", here / "images", encoder=None, batch_size=None)
    loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    ws.close()
    where = ["--workspace", str(here / "w")]
    commands = [
        ["index", "--images", str(here / "images"), *where],
        ["status", *where],
        ["export", *where, "--format", "folders", "--out", str(here / "out")],
        ["doctor", *where],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(commands)],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Images      3 images, 3 embedded" in done.stdout
    assert (here / "out" / "index.csv").exists()


def test_nothing_forks_and_processes_are_started_the_same_way_everywhere():
    """Threads and forks don't go together, and Windows has none: processes are spawned."""
    for path in [*(ROOT / "labeler").rglob("*.py"), *(ROOT / "active").rglob("*.py"), ROOT / "app.py"]:
        text = path.read_text("utf-8")
        for word in ("os.fork", "preexec_fn", "start_new_session", "os.killpg", "SIGKILL"):
            assert word not in text, f"{path.name} uses {word}"
        assert not re.search(r"^import multiprocessing|multiprocessing import .*(Process|Pool)\b", text, re.M)
        contexts = re.findall(r"get_context\((.*?)\)", text)
        assert contexts == ['"spawn"'] * len(contexts), path.name
