"""active.embedding.hub: names, the cache, and a download from a hub that this test plays on this machine."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from active.embedding import hub, load_encoder
from tests.networks import pictures, save_network

ROOT = Path(__file__).parent.parent
NAME = "someone/tiny-vit"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """A hub with one network: a folder's files, and what was asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder, self.asked = folder, []
        self.refuse: dict[str, tuple[int, dict[str, str]]] = {}  # part of a path → status, headers
        self.sizes: dict[str, int] = {}
        self.page: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def fetched(self) -> set[str]:
        return {p.rpartition("/")[2] for verb, p in self.asked if verb == "GET" and "/resolve/" in p}


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        hub_, path = self.server, self.path.partition("?")[0]
        hub_.asked.append((self.command, path))
        status, headers, body = 404, {"X-Error-Code": "RepoNotFound"}, b""
        refused = [v for part, v in hub_.refuse.items() if part in path]
        if refused:
            status, headers = refused[0]
        elif hub_.page is not None:
            status, headers, body = 200, {"Content-Type": "text/html"}, hub_.page
        elif path == f"/api/models/{NAME}":
            status, headers, body = 200, {"Content-Type": "application/json"}, self._listing()
        elif path.startswith(f"/{NAME}/resolve/"):
            body = (hub_.folder / path.split("/", 5)[5]).read_bytes()
            etag = hashlib.sha256(body).hexdigest()
            status, headers = 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _listing(self) -> bytes:
        folder = self.server.folder
        files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
        siblings = [{"rfilename": f.relative_to(folder).as_posix(), "size": f.stat().st_size} for f in files]
        for s in siblings:
            s["size"] = self.server.sizes.get(s["rfilename"], s["size"])
        config = folder / "config.json"
        timm = config.exists() and "pretrained_cfg" in config.read_text()
        more = {"library_name": "timm"} if timm else {}
        return json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings} | more).encode()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("hub") / "vit", "vit")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's own cache or log-in is looked at; the hub is one that isn't there."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    point(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "cache"


def point(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def server(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(shutil.copytree(vit, tmp_path / "served"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    point(monkeypatch, server.url)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def why(name: str = NAME) -> str:
    with pytest.raises(ValueError) as e:  # noqa: PT011  # the sentence is what is looked at
        hub.fetch(name)
    return str(e.value)


# names -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["facebook/dinov2-small", "a/b", "google/siglip2_v1.0-x"])
def test_names(name: str) -> None:
    assert hub.is_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "builtin", "a/b/c", "/a/b", "./a", "../a", "a/", "/a", "a/..", "a--b/c", "a/b-", "a\\b", "C:/a", "",
        "a b/c", "~/nets", "a/" + "b" * 100, "a/b\n",
    ],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    assert not hub.is_name(text)


def test_a_folder_that_exists_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.is_name("nets/vit")
    (tmp_path / "nets" / "vit").mkdir(parents=True)
    assert not hub.is_name("nets/vit")


# downloading -------------------------------------------------------------------------------


def test_only_what_a_network_needs_is_downloaded_and_once(server: Hub, cache: Path, vit: Path) -> None:
    for junk in ("pytorch_model.bin", "code.py", "model.onnx", "README.md", "onnx/model.safetensors"):
        (server.folder / junk).parent.mkdir(exist_ok=True)
        (server.folder / junk).write_bytes(b"x")
    (server.folder / "open_clip_model.safetensors").write_bytes(b"the same again, for another library")
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model"):
        (server.folder / name).write_text(name)  # what is the same is fetched once
    said: list[str] = []
    folder = hub.fetch(NAME, said.append)
    want = {"config.json", "preprocessor_config.json", "model.safetensors"}
    want |= {"tokenizer.json", "vocab.json", "merges.txt", "spiece.model"}
    assert {p.name for p in folder.iterdir()} == server.fetched == want
    assert said == [f"Downloading {NAME} (1 MB) into {cache}."]
    assert (folder / "model.safetensors").read_bytes() == (vit / "model.safetensors").read_bytes()

    server.asked.clear()
    assert hub.fetch(NAME, said.append) == hub.cached(NAME) == folder
    assert server.asked == []
    assert len(said) == 1


def test_a_downloaded_network_is_loaded_by_its_name(server: Hub, vit: Path) -> None:
    folder = hub.fetch(NAME)
    server.asked.clear()
    encoder = load_encoder(NAME)
    assert encoder.key.startswith("someone-tiny-vit-")
    assert encoder.key == load_encoder(str(folder)).key
    np.testing.assert_allclose(encoder.encode(pictures()), load_encoder(str(vit)).encode(pictures()))
    assert server.asked == []


def test_a_name_that_was_not_downloaded_is_not_downloaded_on_the_way(server: Hub) -> None:
    with pytest.raises(
        ValueError, match="is neither a folder nor downloaded, and this step downloads nothing"
    ):
        load_encoder(NAME)
    assert server.asked == []


def test_a_bar_runs_only_where_somebody_is_told(server: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.fetch(NAME)
    assert capfd.readouterr() == ("", "")
    assert issubclass(hub._bar(False), hub._bar(True))


def test_weights_in_parts(server: Hub) -> None:
    whole = server.folder / "model.safetensors"
    parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    for part in parts:
        (server.folder / part).write_bytes(whole.read_bytes() + part.encode())
    whole.unlink()
    index = {"metadata": {}, "weight_map": {"a": parts[0], "b": parts[1]}}
    (server.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    folder = hub.fetch(NAME)
    assert server.fetched >= {*parts, "model.safetensors.index.json"}
    (folder / parts[1]).unlink()
    assert hub.cached(NAME) is None
    server.asked.clear()
    assert hub.fetch(NAME) == folder
    assert not any("config" in path for verb, path in server.asked if verb == "GET" and "resolve" in path)


def test_a_download_that_broke_off_goes_on(server: Hub) -> None:
    server.refuse["model.safetensors"] = (403, {})
    assert NAME in why()
    assert hub.cached(NAME) is None
    server.refuse.clear()
    assert hub.fetch(NAME) == hub.cached(NAME)


# a network on this machine asks nobody -----------------------------------------------------

OFFLINE = """
import socket, sys
from active.embedding import hub, load_encoder
def no(*args, **kwargs): raise AssertionError("a request")
socket.socket.connect = socket.getaddrinfo = no
print(hub.fetch(sys.argv[1]))
print(load_encoder(sys.argv[1]).dim)
try: hub.fetch("no/such")
except ValueError as e: print(e)
"""


def test_it_works_offline(server: Hub, cache: Path) -> None:
    folder = hub.fetch(NAME)
    env = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, NAME], capture_output=True, text=True, cwd=ROOT, env=env, check=False
    )
    assert done.stderr == ""
    found, dim, refused = done.stdout.splitlines()
    assert (Path(found), dim) == (folder, "24")
    assert refused == hub.absent("no/such", "the hub can't be reached")


# what can go wrong -------------------------------------------------------------------------


def test_no_connection_says_which_files_to_copy_where() -> None:
    assert why("facebook/dinov2-small") == (
        "facebook/dinov2-small is neither a folder nor downloaded, and the hub can't be reached. Copy its "
        "files config.json, preprocessor_config.json and model.safetensors (to search by words also "
        "tokenizer.json and tokenizer_config.json) into a folder dinov2-small, "
        "and give the path of that folder instead."
    )


def test_a_page_that_wants_one_to_log_in_is_not_the_hub(server: Hub) -> None:
    server.page = b"<html>Welcome to the hotel</html>"
    assert "is neither a folder nor downloaded, and what answers is not the hub. Copy its files" in why()


def test_an_unknown_name(server: Hub) -> None:
    assert why("someone/else") == (
        "The hub has no network called someone/else, or a private one. Check the name; for a private one, "
        "run: hf auth login."
    )


def test_a_network_that_is_not_given_to_everybody(server: Hub) -> None:
    server.refuse["/resolve/"] = (403, {"X-Error-Code": "GatedRepo"})
    assert why() == (
        f"{NAME} is given out only to those who agreed to its terms. Agree on its page on the hub, "
        "run: hf auth login, and try again."
    )
    assert hub.cached(NAME) is None


def test_a_hub_that_refuses(server: Hub) -> None:
    server.refuse["/api/"] = (418, {})
    assert why() == f"The hub answers with the status 418 for {NAME}. Try again later."


def test_networks_that_can_not_be_used_are_not_downloaded(server: Hub) -> None:
    def without(name: str) -> str:
        kept = (server.folder / name).read_bytes()
        (server.folder / name).unlink()
        sentence = why()
        (server.folder / name).write_bytes(kept)
        return sentence

    (server.folder / "pytorch_model.bin").write_bytes(b"x")
    end = "Choose another network."
    assert without("model.safetensors") == (
        f"{NAME} has no weights in the safetensors format; others may run code. {end}"
    )
    assert without("preprocessor_config.json") == (
        f"{NAME} is no network for images: it has no preprocessor_config.json. Choose another one."
    )
    (server.folder / "config.json").write_text('{"architecture": "resnet18", "pretrained_cfg": {}}')
    (server.folder / "preprocessor_config.json").unlink()
    if not hub.has_timm():
        assert why() == (
            f"{NAME} is a network of timm, which isn't installed here. Install timm and torchvision, "
            "or choose a network of transformers."
        )
    (server.folder / "config.json").unlink()
    assert "it has no config.json" in why()
    assert server.fetched == set()


def test_a_disk_that_is_too_full_is_said_first(server: Hub, cache: Path) -> None:
    server.sizes["model.safetensors"] = 10**18
    assert why().startswith(f"There is no room for {NAME} in {cache} (1000000000.0 GB; ")
    assert why().endswith(" are free). Free some, or set HF_HOME to a folder on another disk.")
    assert server.fetched == set()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "There is no room for someone/tiny-vit in {cache}. "
            "Free some, or set HF_HOME to a folder on another disk.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "{cache}"),
            "{cache} can't be written to. Set HF_HOME to a folder that can.",
        ),
        (
            RuntimeError("Data error: no CAS\nmore"),
            "The download of someone/tiny-vit broke off (Data error: no CAS). Try again.",
        ),
    ],
    ids=["full", "locked", "broken"],
)
def test_downloads_that_break_off(
    server: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    if isinstance(error, PermissionError):
        error = PermissionError(*error.args[:2], str(cache))

    def breaks(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", breaks)
    assert why() == sentence.format(cache=cache)
