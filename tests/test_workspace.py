import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from labeler import workspace
from labeler.config import Config
from labeler.errors import BadInput, Conflict, NotReady
from labeler.workspace import Workspace


def test_a_workspace_is_made_once_and_opened_again(tmp_path):
    made = Workspace.open(tmp_path / "deep" / "ws", Config(images="/some where/ß", batch_size=7))
    made.close()
    again = Workspace.open(tmp_path / "deep" / "ws")
    assert again.config == made.config
    assert (again.folder / "labeler.db").exists()
    again.close()


def test_each_thread_has_its_own_connection(tmp_path):
    ws = Workspace.open(tmp_path)
    other = []
    thread = threading.Thread(target=lambda: (other.append(ws.store.conn), ws.close()))
    thread.start()
    thread.join()
    assert other[0] is not ws.store.conn
    ws.close()


def test_a_broken_toml_is_said_with_its_name(tmp_path):
    (tmp_path / "labeler.toml").write_text("batch_size = [")
    with pytest.raises(BadInput, match="not valid TOML"):
        Workspace.open(tmp_path)
    (tmp_path / "labeler.toml").write_text("colour = 1")
    with pytest.raises(BadInput, match="'colour', which is unknown"):
        Workspace.open(tmp_path)


def test_a_file_in_the_place_of_the_workspace_is_said(tmp_path):
    (tmp_path / "ws").write_text("x")
    with pytest.raises(BadInput, match="can't be written"):
        Workspace.open(tmp_path / "ws")


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    ws = Workspace.open(tmp_path)
    code = (
        "import sys; from pathlib import Path; from labeler.workspace import Workspace\n"
        "with Workspace.open(Path(sys.argv[1])).lock('index'):\n  print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(Conflict, match=f"Process {other.pid} works on"), ws.lock("index"):
        pass
    other.kill()
    other.communicate()
    with ws.lock("index"):
        pass
    ws.close()


def test_the_current_workspace_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(workspace.ENV, raising=False)
    with pytest.raises(NotReady, match="LABELER_WORKSPACE is not set"):
        workspace.current()
    monkeypatch.setenv(workspace.ENV, str(tmp_path / "ws"))
    assert workspace.current() is workspace.current()
    workspace.current().close()


def test_no_folder_of_images_is_said(tmp_path):
    ws = Workspace.open(tmp_path)
    with pytest.raises(NotReady, match="names no folder of images"):
        _ = ws.images
    ws.close()


def test_many_processes_may_open_a_new_workspace_at_once(tmp_path):
    code = "import sys, pathlib, labeler.workspace as w; w.Workspace.open(pathlib.Path(sys.argv[1]))"
    for n in range(3):
        folder = str(tmp_path / str(n))
        all_of_them = [subprocess.Popen([sys.executable, "-c", code, folder]) for _ in range(5)]
        assert [p.wait(60) for p in all_of_them] == [0] * 5


def test_the_lock_of_windows_keeps_the_number_readable(tmp_path, monkeypatch):
    """Windows' own branch, over a stand-in for msvcrt that locks bytes as it does."""
    locked = set()

    def locking(fd, mode, n):
        place = os.fstat(fd).st_ino, os.lseek(fd, 0, os.SEEK_CUR)
        if place in locked:
            raise PermissionError(13, "Permission denied")
        locked.add(place)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    real = workspace.lock_file

    def as_on_windows(fd):
        with monkeypatch.context() as m:
            m.setattr(workspace.os, "name", "nt")
            real(fd)

    monkeypatch.setattr(workspace, "lock_file", as_on_windows)
    ws = Workspace.open(tmp_path)
    with ws.lock("server"):
        assert (tmp_path / "server.lock").read_bytes() == str(os.getpid()).encode()
        with pytest.raises(Conflict, match=f"Process {os.getpid()} works on"), ws.lock("server"):
            pass
    ws.close()
