"""Where things are: the workspace that a command means, its folder of images, a free port, the site."""

import errno
import importlib.util
import os
import shlex
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from labeler import names
from labeler.config import load_config
from labeler.drives import is_inside, same_place
from labeler.errors import BadInput, NotReady
from labeler.schema import version
from labeler.workspace import DATABASE, SERVER_LOCK, SETTINGS, Workspace, held_by

DATA = Path("data")  # workspaces land here, relative to where the command runs
DEMO = "demo"
LOW_DISK_BYTES = 1 << 30
PORTS_TRIED = 100
WAITING = 128  # connections that may wait until the server takes the port over
PRIVILEGED_PORTS = 1023
MOST_NAME_BYTES = 100  # of a workspace's name: files with longer ones lie beside and below it
BROWSER_TRIES = 150


# the images --------------------------------------------------------------------------------


def check_images(folder: Path) -> Path:
    """Return the absolute path of a folder of images. Raises BadInput for what can't be one."""
    images = Path(os.path.abspath(folder))
    if not images.exists():
        raise BadInput(f"There is no folder {images}.", "Check the name given to --images.")
    if not images.is_dir():
        raise BadInput(f"{images} is a file.", "Give the folder that holds it to --images.")
    try:
        with os.scandir(images) as entries:
            next(entries, None)
    except PermissionError as e:
        raise BadInput(f"The folder {images} may not be read.", "Change its permissions, or copy it.") from e
    except OSError as e:
        raise BadInput(f"The folder {images} can't be read: {e.strerror}.", "Check the disk.") from e
    return images


# the workspace -----------------------------------------------------------------------------


def default_workspace(images: Path) -> Path:
    """Return `data/<name of the folder>`, with a short hash of its path where that name is taken.

    images  absolute. A name is taken by a workspace of other images and by any folder that is no
    workspace. A workspace whose images were moved here keeps its name. A name that some file
    system refuses, or that is long, gets the hash too.
    """
    name = images.name or "images"
    mark = blake2b(os.fsencode(images), digest_size=3).hexdigest()
    folder = DATA / name
    is_plain = names.is_portable(name) and len(os.fsencode(name)) <= MOST_NAME_BYTES
    if (is_plain or folder.exists()) and _fits(folder, images):
        return folder
    return DATA / f"{names.shortened(names.portable(name), MOST_NAME_BYTES)}-{mark}"


def start_words(ws: Workspace) -> str:
    """Return the options of `labeler start` that name a workspace's images, and itself where need be."""
    words = ["--images", str(ws.images)]
    if ws.folder.absolute() != default_workspace(ws.images).absolute():
        words += ["--workspace", str(ws.folder)]
    return shlex.join(words)


def _fits(folder: Path, images: Path) -> bool:
    if not folder.exists():
        return True
    if folder.is_dir() and not any(folder.iterdir()):
        return not same_place(folder, images)
    if not is_workspace(folder):
        return False
    if not (folder / SETTINGS).exists():
        return True  # killed while it was being made
    return load_config(folder / SETTINGS).images is not None and _is_of(folder, images)


def _is_of(workspace: Path, images: Path) -> bool:
    """Return whether a workspace is of these images: none yet, this folder, or it before it moved."""
    before = load_config(workspace / SETTINGS).images
    if before is None or same_place(Path(before), images):
        return True
    return not Path(before).exists() and _were_moved(workspace, images)


def _were_moved(folder: Path, images: Path) -> bool:
    """Return whether most of the first files that a workspace knows are found in `images`."""
    ws = Workspace.open(folder)
    paths = [i.path for i in ws.catalog.items_between(0, 20) if i.is_of_folder]
    ws.close()
    return sum((images / p).is_file() for p in paths) * 2 > len(paths)


def is_workspace(folder: Path) -> bool:
    """Return whether a folder is a workspace."""
    return (folder / DATABASE).is_file()


def make_workspace(
    folder: Path,
    images: Path,
    *,
    encoder: str | None = None,
    views: int | None = None,
    device: str | None = None,
    batch_size: int | None = None,
) -> Workspace:
    """Return the workspace in `folder`, opened for these images; it is created when it is not there.

    encoder  as `encoders.stored` gives it.

    None keeps what the workspace is set to. Raises BadInput when the folder holds something else.
    """
    _check_apart(folder, images)
    version(folder / DATABASE)  # a later version's is refused before its settings are read
    if folder.is_dir() and not is_workspace(folder) and any(p.name != "images" for p in folder.iterdir()):
        raise BadInput(
            f"{folder} holds other things and is no workspace.", "Give a new folder to --workspace."
        )
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file.", "Give a folder to --workspace.")
    before = load_config(folder / SETTINGS).images
    if is_workspace(folder) and not _is_of(folder, images):
        raise BadInput(f"{folder} belongs to other images, those in {before}.", "Give another --workspace.")
    config = load_config(
        folder / SETTINGS,
        images=str(images),
        encoder=encoder,
        views=views,
        device=device,
        batch_size=batch_size,
    )
    return Workspace.open(folder, config)


def _check_apart(folder: Path, images: Path) -> None:
    """Raise BadInput for a workspace inside the images: nothing is ever written there."""
    if is_inside(folder, images):
        raise BadInput(
            f"The workspace {folder} would lie inside the images, where nothing is written.",
            "Give another place with --workspace, or start from another folder.",
        )


def find_workspace(folder: Path | None) -> Workspace:
    """Return the workspace in `folder`, for None the one under `data` that was started last.

    Raises NotReady when there is none: looking never creates one.
    """
    if folder is None:
        found = workspaces()
        if not found:
            raise NotReady(
                "There is no workspace under data.", "Run labeler start first, or give --workspace."
            )
        folder = found[0]
    if not is_workspace(folder):
        raise NotReady(f"{folder} is no workspace.", "Run labeler start first, or give another --workspace.")
    return Workspace.open(folder)


def workspaces(under: Path = DATA) -> list[Path]:
    """Return the workspaces in a folder: first those that are served just now, then the one started last.

    Looking at one changes nothing.
    """
    found = [p.parent for p in under.glob(f"*/{DATABASE}")]
    return sorted(found, key=lambda folder: (is_served(folder), _used(folder)), reverse=True)


def is_served(folder: Path) -> bool:
    """Return whether a server runs on the workspace in a folder."""
    return held_by(folder, "server") is not None


def _used(folder: Path) -> float:
    files = (folder / SERVER_LOCK, folder / SETTINGS)  # written by each start, and by whatever changes it
    return max((f.stat().st_mtime for f in files if f.exists()), default=0.0)


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, or of the first one above it that is there."""
    place = Path(os.path.abspath(folder))
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


# the server --------------------------------------------------------------------------------


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there. Raises BadInput for a host that is not this machine's."""
    held = _listen(host, port)
    for s in held or ():
        s.close()
    return held is not None


def free_port(host: str, port: int) -> int:
    """Return `port`, or the next free one after it. Raises BadInput when there is none near."""
    with held_port(host, port) as (found, _):
        return found


@contextmanager
def held_port(host: str, port: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """Give `port`, or the next free one after it, and the sockets that listen there, for the server to take.

    Who connects before it does waits. So two starts in one moment never mean the same port.
    Raises BadInput when there is none near.
    """
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
        held = _listen(host, candidate)
        if held is not None:
            try:
                yield candidate, held
            finally:
                for s in held:
                    s.close()
            return
    raise BadInput(f"No port from {port} on is free.", "Give another one with --port.")


def _listen(host: str, port: int) -> list[socket.socket] | None:
    """Return sockets that listen at all addresses of a host; None: something else does at one of them.

    Raises BadInput for a host that is not this machine's.
    """
    held: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                s = socket.socket(family, kind, proto)
                held.append(s)
                if os.name == "posix":  # elsewhere it would let two programs have one port
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind(address)
                s.listen(WAITING)
            except OSError as e:
                if len(held) < 2 or e.errno == errno.EADDRINUSE:
                    raise
                held.pop().close()  # such as ::1 of "localhost" where there is no IPv6
    except OSError as e:
        for s in held:
            s.close()
        if e.errno == errno.EADDRINUSE:
            return None
        if e.errno == errno.EACCES and port > PRIVILEGED_PORTS:
            return None  # Windows keeps ranges of ports for itself
        if e.errno == errno.EACCES:
            raise BadInput(f"Port {port} needs an administrator's rights.", "Give one above 1023.") from e
        raise BadInput(
            f"{host} is not an address of this machine.", "Give 127.0.0.1 or 0.0.0.0 to --host."
        ) from e
    return held


def reachable(host: str) -> str:
    """Return what other devices, or this one's browser, call a server that listens on `host`."""
    if host in ("127.0.0.1", "::1", "localhost"):
        return "localhost"
    if host not in ("0.0.0.0", "::", ""):
        return f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing; tells which address would be used
            return str(s.getsockname()[0])
        except OSError:
            return socket.gethostname()


def open_browser(url: str, host: str, port: int) -> None:
    """Open a browser, from a thread, once the server answers; does nothing where there is no screen."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return

    def wait() -> None:
        import webbrowser

        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        for _ in range(BROWSER_TRIES):
            try:
                socket.create_connection((here, port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                webbrowser.open(url)
                return

    threading.Thread(target=wait, name="browser", daemon=True).start()


def load_site() -> ModuleType:
    """Return app.py as a module: beside `labeler` in a checkout, in `labeler/site` in an installed wheel."""
    here = Path(__file__).resolve().parent
    for folder in (here / "site", here.parent):
        path = folder / "app.py"
        if path.is_file():
            spec = importlib.util.spec_from_file_location("app", path)
            assert spec is not None  # it is a .py file
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise NotReady("The pages are missing from this installation.", "Install labeler again.")
