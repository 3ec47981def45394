"""Where folders lie: whether two names lead to one place, one inside another, or to a network drive."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

# File systems whose files lie on another machine, or outside a virtual one. SQLite's locks and its
# shared memory don't work over them, or only until something goes wrong.
NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "smbnetfs", "afs", "afpfs", "ncpfs"),
        *("9p", "ceph", "ceph-fuse", "glusterfs", "lustre", "beegfs", "gpfs", "pvfs2", "moosefs", "juicefs"),
        *(
            "davfs",
            "davfs2",
            "webdav",
            "sshfs",
            "curlftpfs",
            "rclone",
            "gvfsd-fuse",
            "s3fs",
            "goofys",
            "gcsfuse",
        ),
        *("blobfuse", "blobfuse2", "onedrive", "google-drive-ocamlfuse"),
        *("drvfs", "virtiofs", "vboxsf", "prl_fs", "vmhgfs", "vmhgfs-fuse"),
    }
)
_WINDOWS_REMOTE = 4  # DRIVE_REMOTE, of GetDriveTypeW
_ON = re.compile(r"^.+? on (/.*) \(([\w.+-]+)[,)]", re.MULTILINE)


def warning(folder: Path) -> str | None:
    """Return two sentences if a workspace in `folder` would lie on a network drive, else None."""
    kind = network_kind(folder)
    if kind is None:
        return None
    return (
        f"{folder} is on a network drive or shared folder ({kind}), where the database may lock up "
        "or lose answers. "
        "Give a folder on a disk of this computer to --workspace; the images may stay where they are."
    )


def network_kind(folder: Path) -> str | None:
    """Return the kind of network drive that a folder is on, or would be; None for a disk of this machine."""
    place = os.path.realpath(folder)
    if sys.platform == "win32":
        return kind_on_windows(place, _windows_drive_type)
    kind = (
        kind_from_mounts(_mounts(), place) if sys.platform == "linux" else kind_from_mac(_mac_mounts(), place)
    )
    return kind if kind is not None and kind.removeprefix("fuse.") in NETWORK else None


def kind_from_mounts(mounts: str, place: str) -> str | None:
    """Return the kind of file system that holds an absolute path, by the text of Linux's /proc/mounts."""
    found = []
    for line in mounts.split("\n"):
        parts = line.split(" ")
        if len(parts) >= 3:
            found.append((_unescaped(parts[1]), parts[2]))
    return _nearest(found, place)


def kind_from_mac(mounts: str, place: str) -> str | None:
    """Return the kind of file system that holds an absolute path, by what a Mac's `mount` prints."""
    return _nearest(_ON.findall(mounts), place)


def kind_on_windows(place: str, drive_type: Callable[[str], int]) -> str | None:
    """Return "network share" for a Windows path to one, or on a letter that stands for one, else None.

    drive_type  Windows' GetDriveTypeW: 4 for the root of a drive that is elsewhere.
    """
    plain = re.sub(r"^\\\\[?.]\\(?=[A-Za-z]:)", "", place)  # the long form of a path on a drive
    if plain.startswith("\\\\"):
        return "network share"
    is_remote = drive_type(PureWindowsPath(plain).drive + "\\") == _WINDOWS_REMOTE
    return "network share" if is_remote else None


def same_place(a: Path, b: Path) -> bool:
    """Return whether two paths lead to the same place, also where capitals don't tell names apart."""
    try:
        return os.path.samefile(a, b)
    except OSError:  # one is not there
        return os.path.realpath(a) == os.path.realpath(b)


def is_inside(place: Path, folder: Path) -> bool:
    """Return whether a place, there or not, is `folder` or lies below it."""
    real = Path(os.path.realpath(place))
    return any(same_place(above, folder) for above in (real, *real.parents))


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def _mac_mounts() -> str:
    try:
        done = subprocess.run(["/sbin/mount"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return os.fsdecode(done.stdout)


def _windows_drive_type(root: str) -> int:
    if sys.platform != "win32":
        return 0
    import ctypes

    return int(ctypes.windll.kernel32.GetDriveTypeW(root))


def _nearest(mounts: list[tuple[str, str]], place: str) -> str | None:
    """Return the kind of the deepest mount above a path; of two in one place the later, which hides one."""
    best, kind = -1, None
    path = PurePosixPath(place)
    for point, what in mounts:
        depth = len(PurePosixPath(point).parts)
        if depth >= best and path.is_relative_to(point):
            best, kind = depth, what
    return kind


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)
