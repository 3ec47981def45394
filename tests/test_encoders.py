"""Changing the encoder of a workspace; the list of encoders, what each has seen, and how it is removed."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from active.embedding import hub
from active.embedding.builtin import WEIGHTS
from labeler import encoders, loop, overview, vectors
from labeler.cli import cli
from labeler.config import Config
from labeler.errors import BadInput, Blocked, Conflict, NotReady
from labeler.workspace import Workspace
from tests.fakes import MeanColour
from tests.pools import DIM, KEY, make_pool


class Darkness(MeanColour):
    """Another encoder, of other numbers and another length."""

    key, dim = "darkness-4", 4

    def forward(self, prepared):
        rows = np.array([[*(300 - p), 1] for p in prepared], np.float32).reshape(-1, 4)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(120):
        Image.new("RGB", (24, 16), tuple(map(int, rng.integers(0, 256, 3)))).save(
            tmp_path / "pictures" / f"{i}.png"
        )
    ws = Workspace.open(tmp_path / "ws", Config(images=str(tmp_path / "pictures")))
    yield ws
    ws.close()


def prepare(ws: Workspace, encoder: MeanColour, stop_at: int | None = None) -> None:
    """Take images in with an encoder as `loop.load_encoder` would note it; stop once it has seen so many."""
    stop = threading.Event()

    def report(p) -> None:
        if stop_at is not None and p.stage == "embedding" and p.done >= stop_at:
            stop.set()

    def load() -> MeanColour:
        ws.registry.choose(encoder.key, encoder.dim)
        return encoder

    loop.prepare(ws, report=report, stop=stop, load=load)


def test_people_label_on_with_the_old_encoder_until_the_new_one_has_seen_as_much(ws, monkeypatch):
    prepare(ws, MeanColour())
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    first = loop.learn(ws, session)
    ws.registry.choose(Darkness.key, Darkness.dim)
    for seen in (0, 50, 119):
        ws.registry.set_embedded(Darkness.key, Darkness.dim, seen)
        assert ws.registry.in_use() == (MeanColour.key, 3, 120)
        assert ws.registry.coming() == (Darkness.key, 4, seen)
        assert loop.status(ws)["next_encoder"] == {"key": Darkness.key, "embedded": seen}
        assert loop.status(ws)["embedded"] == 120
        assert loop.learn(ws, session).encoder == MeanColour.key
    prepare(ws, Darkness())
    assert ws.registry.in_use() == (Darkness.key, 4, 120)
    assert ws.registry.coming() is None
    made = loop.learn(ws, session)
    assert (made.encoder, made.pool) == (Darkness.key, first.pool)
    assert overview.check(ws) == []
    assert len(ws.vectors(MeanColour.key, 3)) == 120


def test_a_change_that_was_cut_off_goes_on_and_loses_nothing(ws, monkeypatch):
    monkeypatch.setattr("labeler.ingest.FLUSH_ROWS", 16)
    prepare(ws, MeanColour())

    class Slow(Darkness):
        def forward(self, prepared):
            threading.Event().wait(0.3)
            return super().forward(prepared)

    prepare(ws, Slow(), stop_at=16)
    key, _, seen = ws.registry.coming()
    assert (key, 0 < seen < 120) == (Darkness.key, True)
    assert ws.registry.in_use()[0] == MeanColour.key
    again = Workspace.open(ws.folder, ws.config)
    assert again.registry.coming() == (Darkness.key, 4, seen)
    prepare(again, Darkness())
    assert again.registry.in_use() == (Darkness.key, 4, 120)
    assert overview.check(again) == []
    again.close()


def test_who_changes_his_mind_has_the_old_one_at_once(ws):
    prepare(ws, MeanColour())
    ws.registry.choose(Darkness.key, Darkness.dim)
    ws.registry.choose(MeanColour.key, 3)
    assert ws.registry.in_use() == (MeanColour.key, 3, 120)
    assert ws.registry.coming() is None
    prepare(ws, Darkness())
    ws.registry.choose(MeanColour.key, 3)  # it has seen all: nothing to wait for
    assert ws.registry.in_use() == (MeanColour.key, 3, 120)


def test_a_full_disk_says_how_much_is_needed_and_the_change_goes_on_after(ws, monkeypatch):
    prepare(ws, MeanColour())

    def full(self, rows):
        with vectors.writing(f"The file {self.path.name}"):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(vectors.Vectors, "append", full)
        with pytest.raises(Blocked) as e:
            prepare(ws, Darkness())
    assert "No space left on device" in e.value.error
    assert e.value.do == "Free some space; then try again. The vectors of 120 images are missing: 1 MB."
    assert ws.registry.in_use() == (MeanColour.key, 3, 120)
    prepare(ws, Darkness())
    assert ws.registry.in_use() == (Darkness.key, 4, 120)


def test_what_an_encoder_saw_is_removed_with_all_that_was_made_of_it(tmp_path):
    ws = make_pool(tmp_path)
    rows = ws.vectors(KEY, DIM).rows()
    ws.registry.use("other", DIM)
    ws.vectors("other", DIM).append(rows)
    ws.registry.set_embedded("other", DIM, len(rows))
    made = [ws.cache / f"{name}.npz" for name in (f"pca-{KEY}-512", f"sample-{KEY}-100-3", "pca-other-512")]
    ws.cache.mkdir(parents=True, exist_ok=True)
    for path in made:
        path.write_bytes(b"x")
    with pytest.raises(NotReady, match="other is in use"):
        encoders.remove(ws, "other")
    with pytest.raises(BadInput, match="is no encoder of this workspace"):
        encoders.remove(ws, "../labeler")
    with ws.lock("index"), pytest.raises(Conflict):
        encoders.remove(ws, KEY)
    assert encoders.remove(ws, KEY) == 4 * DIM * len(rows) + 2
    assert [p.exists() for p in made] == [False, False, True]
    assert not ws.vectors(KEY, DIM).path.exists()
    assert [key for key, *_ in ws.registry.all()] == ["other"]
    session = loop.start_session(ws, "Is it?", ["yes", "no"], "find")
    assert loop.learn(ws, session).encoder == "other"
    assert overview.check(ws) == []
    ws.close()


def test_an_encoder_on_its_way_is_not_removed(tmp_path):
    ws = make_pool(tmp_path)
    ws.registry.choose("other", DIM)
    with pytest.raises(NotReady, match="other is in use"):
        encoders.remove(ws, "other")
    ws.close()


def test_the_list_names_what_is_there_measures_it_and_counts_its_vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ws = make_pool(tmp_path)
    ws.close()
    said = CliRunner().invoke(cli, ["encoders", "--workspace", str(ws.folder), "--json"])
    assert said.exit_code == 0, said.output
    builtin, kept = json.loads(said.output)["encoders"]
    assert builtin["name"] == "builtin"
    assert builtin["state"] == "not used"
    assert 0 < builtin["ms"] < 1000
    assert (builtin["weights_bytes"] is not None) == WEIGHTS.exists()
    assert (kept["name"], kept["key"], kept["state"]) == (None, KEY, "in use")
    assert (kept["embedded"], kept["disk_bytes"], kept["dim"]) == (200, 4 * DIM * 200, DIM)
    words = CliRunner().invoke(cli, ["encoders", "--workspace", str(ws.folder)]).output
    assert "images a second by one core" in words
    assert "in use: 200 vectors on disk, 6.4 KB (colours-8)" in words


def test_the_list_goes_without_a_workspace_and_says_why_one_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    said = CliRunner().invoke(cli, ["encoders", "--encoder", "model"])
    assert said.exit_code == 0, said.output
    assert said.output.startswith("\nbuiltin\n")
    assert "can't be used: " in said.output
    assert "preprocessor_config.json" in said.output
    missing = CliRunner().invoke(cli, ["encoders", "--encoder", "nowhere"])
    assert (missing.exit_code, "holds no image model" in missing.output) == (1, True)


def test_status_says_in_words_that_a_change_is_on_its_way(tmp_path):
    ws = make_pool(tmp_path)
    ws.registry.choose("other", DIM)
    ws.close()
    words = CliRunner().invoke(cli, ["status", "--workspace", str(ws.folder)]).output
    assert "the new encoder has seen 0 of 200 images" in words


def unreachable(name: str) -> None:
    raise ValueError(hub.absent(name, "the hub can't be reached"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--device", "gpu"], "The device is 'gpu'."),
        (["--encoder", "nobody/nothing", "--views", "1"], "Copy its files config.json"),
        (["--encoder", "photos"], "holds no image model"),
    ],
)
def test_what_can_be_no_encoder_is_told_before_anything_is_made(tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("active.embedding.hub._listed", unreachable)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "a.png")
    for command in ("index", "start"):
        more = ["--no-browser"] if command == "start" else []
        out = CliRunner().invoke(cli, [command, "--images", "photos", *flags, *more])
        assert out.exit_code == 1
        assert said in out.output
    assert not (tmp_path / "data" / "photos" / "labeler.db").exists()


def test_a_name_on_the_hub_is_kept_and_found_again_without_a_request(tmp_path, monkeypatch, weights_dir):
    monkeypatch.chdir(tmp_path)
    folder = weights_dir / "mobilenet_v1_1.0_224"
    monkeypatch.setattr(hub, "cached", lambda name: folder if name == "google/mobilenet" else None)
    monkeypatch.setattr("active.embedding.hub._listed", unreachable)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "photos" / "a.png")
    out = CliRunner().invoke(cli, ["index", "--images", "photos", "--encoder", "google/mobilenet"])
    assert out.exit_code == 0, out.output
    out = CliRunner().invoke(cli, ["index", "--images", "photos", "--json"])
    assert json.loads(out.stdout)["encoder"].startswith("mobilenet")
    out = CliRunner().invoke(cli, ["encoders", "--json"])
    one = json.loads(out.stdout)["encoders"][1]
    assert (one["name"], one["state"], one["embedded"]) == ("google/mobilenet", "in use", 1)
    assert one["weights_bytes"] > 1e6
