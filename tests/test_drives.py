"""drives.py: network drives told by what each system says of them, and two names of one place.

Windows and Macs are not here: their paths and texts are, through the functions that read those.
"""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from labeler import doctor, drives, places
from labeler.cli import cli
from labeler.drives import (
    is_inside,
    kind_from_mac,
    kind_from_mounts,
    kind_on_windows,
    network_kind,
    same_place,
)

LINUX = r"""sysfs /sys sysfs rw,nosuid,nodev,noexec,relatime 0 0
/dev/nvme0n1p2 / ext4 rw,relatime,errors=remount-ro 0 0
systemd-1 /net autofs rw,relatime,fd=29,pgrp=1,timeout=0,minproto=5,maxproto=5,direct 0 0
server:/export/home /net nfs4 rw,relatime,vers=4.2,rsize=1048576,hard,proto=tcp,addr=10.0.0.2 0 0
//nas/photos /mnt/my\040photos cifs rw,relatime,vers=3.1.1,cache=strict,username=ann,uid=0 0 0
/dev/sda1 /mnt/my\040photos/stick vfat rw,relatime,fmask=0022 0 0
ann@host:/data /home/ann/far fuse.sshfs rw,nosuid,nodev,relatime,user_id=1000 0 0
/dev/sdb1 /media/usb fuseblk rw,nosuid,nodev,relatime,user_id=0 0 0
C:\134 /mnt/c 9p rw,noatime,dirsync,aname=drvfs;path=C:\;uid=1000;gid=1000,mmap,access=client 0 0
tmpfs /tmp tmpfs rw,nosuid,nodev 0 0
portal /run/user/1000/doc fuse.portal rw,nosuid,nodev,relatime 0 0
"""
MAC = """/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//ann@nas._smb._tcp.local/My%20Photos on /Volumes/My Photos (smbfs, nodev, nosuid, mounted by ann)
server:/export on /private/nfs (nfs, nodev, nosuid)
/dev/disk5s1 on /Volumes/STICK (on a key) (msdos, local, nodev, nosuid, noowners, noatime, fskit)
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/", "ext4"), ("/home/ann", "ext4"), ("/net/photos", "nfs4"), ("/network", "ext4"),
        ("/mnt/my photos", "cifs"), ("/mnt/my photos/2024", "cifs"), ("/mnt/my photos/stick/a", "vfat"),
        ("/home/ann/far/w", "fuse.sshfs"), ("/media/usb", "fuseblk"), ("/mnt/c/Users/ann", "9p"),
    ],
)  # fmt: skip
def test_linux(place, kind):
    assert kind_from_mounts(LINUX, place) == kind


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/Users/ann", "apfs"), ("/Volumes/My Photos/w", "smbfs"), ("/private/nfs", "nfs"),
        ("/Volumes/STICK (on a key)/w", "msdos"), ("/Volumes/My", "apfs"),
    ],
)  # fmt: skip
def test_mac(place, kind):
    assert kind_from_mac(MAC, place) == kind


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (r"C:\Users\ann\w", None), (r"\\nas\photos\w", "network share"), (r"Z:\w", "network share"),
        (r"\\?\C:\Users\ann", None), (r"\\?\Z:\w", "network share"), (r"\\?\UNC\nas\photos", "network share"),
        (r"\\wsl.localhost\Ubuntu\home", "network share"), ("c:/Users/ann", None),
    ],
)  # fmt: skip
def test_windows(place, kind):
    asked = []

    def drive_type(root):
        asked.append(root)
        return 4 if root == "Z:\\" else 3

    assert kind_on_windows(place, drive_type) == kind
    assert all(len(root) == 3 and root.endswith(":\\") for root in asked)


def test_this_machine_is_asked_and_text_that_makes_no_sense_is_no_network():
    assert network_kind(Path("/")) is None or network_kind(Path("/")) in drives.NETWORK
    for text in ("", "\n", "a b", "nonsense\nnfs", "x /y"):
        assert kind_from_mounts(text, "/y/z") is None
        assert kind_from_mac(text, "/y/z") is None


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_drive_is_said_in_two_sentences(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(drives.sys, "platform", "linux")
    monkeypatch.setattr(drives, "_mounts", lambda: f"/dev/sda / ext4 rw 0 0\nx {tmp_path} {kind} rw 0 0\n")
    text = drives.warning(tmp_path / "not there yet" / "w")
    assert text.startswith(
        f"{tmp_path / 'not there yet' / 'w'} is on a network drive or shared folder ({kind})"
    )
    assert text.count(". ") == 1
    assert "--workspace" in text
    assert drives.warning(tmp_path.parent) is None


def test_a_link_to_a_network_drive_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(drives.sys, "platform", "linux")
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to("far")
    monkeypatch.setattr(drives, "_mounts", lambda: f"x {tmp_path / 'far'} nfs rw 0 0\n")
    assert network_kind(tmp_path / "link" / "w") == "nfs"
    assert network_kind(tmp_path) is None


def test_one_place_under_two_names(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    assert same_place(tmp_path / "a", tmp_path / "link")
    assert same_place(tmp_path / "link" / "new", tmp_path / "a" / "new")
    assert not same_place(tmp_path / "a", tmp_path)
    assert is_inside(tmp_path / "link" / "b" / "new" / "er", tmp_path / "a")
    assert is_inside(tmp_path / "a", tmp_path / "a")
    assert not is_inside(tmp_path / "ab", tmp_path / "a")
    assert not is_inside(tmp_path, tmp_path / "a")


def test_where_capitals_do_not_tell_names_apart(tmp_path, monkeypatch):
    """Stands in for a Mac's or Windows' disk: the system says that both names are one folder."""
    (tmp_path / "Photos").mkdir()
    real = os.path.samefile

    def samefile(a, b):
        return real(str(a).replace("photos", "Photos"), str(b).replace("photos", "Photos"))

    monkeypatch.setattr(drives.os.path, "samefile", samefile)
    assert same_place(tmp_path / "photos", tmp_path / "Photos")
    assert is_inside(tmp_path / "photos" / "w", tmp_path / "Photos")


def test_the_commands_say_so_before_the_database_is_opened(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(drives.sys, "platform", "linux")
    monkeypatch.setattr(drives, "_mounts", lambda: f"x {tmp_path} nfs4 rw 0 0\n")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.png")
    where = ["--workspace", str(tmp_path / "w")]
    opened = []
    monkeypatch.setattr(places, "make_workspace", lambda *a, **k: opened.append(a) or 1 / 0)
    done = CliRunner().invoke(cli, ["index", "--images", str(tmp_path / "images"), *where])
    assert opened
    assert f"Warning: {tmp_path / 'w'} is on a network drive or shared folder (nfs4)" in done.stderr
    found = {f.what: f for f in doctor.examine(tmp_path / "w", "127.0.0.1", 8501)}
    assert found["drive"].state == "note"
    assert "nfs4" in found["drive"].text
    monkeypatch.setattr(drives, "_mounts", lambda: "x / ext4 rw 0 0\n")
    assert {f.what: f for f in doctor.examine(tmp_path / "w", "127.0.0.1", 8501)}["drive"].state == "ok"
