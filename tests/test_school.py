"""labeler train: from a folder of images to an encoder like any other, stopped, gone on with, judged."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from active.embedding import builtin, load_encoder
from active.embedding.training import run as training_run
from active.embedding.training import views as module
from active.embedding.training.options import Options
from labeler import encoders, lessons, loop, school
from labeler.cli import cli
from labeler.domain import Session
from labeler.errors import NotReady
from labeler.workspace import Workspace
from tests.networks import save_network
from tests.pools import event
from tests.test_training_run import free_port

ROOT = Path(__file__).parent.parent


def paint(folder: Path, n: int = 48) -> Path:
    """Draw images of two kinds, stripes and blobs, in any colour."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    x = np.arange(40)
    for i in range(n):
        wave = np.sin(x * rng.uniform(0.3, 1.2))
        light = np.tile(wave, (40, 1)) if i % 2 else np.outer(wave, wave)
        pixels = (light[..., None] * rng.uniform(30, 60, 3) + rng.uniform(80, 160, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{'stripes' if i % 2 else 'blobs'}-{i:02}.png")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos")
    return tmp_path


def run(*words: str):
    return CliRunner().invoke(cli, ["train", "--images", "photos", *words])


def quick(*words: str):
    """Train a network of a few numbers."""
    if not Path("tiny").exists():
        save_network(Path("tiny"), "resnet")
    return run("--from", "tiny", *words)


def test_from_a_folder_to_an_encoder_like_any_other(here):
    out = run("--epochs", "1", "--json")
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    folder = Path(said["out"])
    assert folder == Path("data/encoders/photos-simclr")
    assert (said["ending"], said["images"], said["judged"]["labels"]) == ("done", 48, 0)
    assert said["judged"]["pays"] is None
    assert said["curves"] is None
    assert load_encoder(str(folder)).key.startswith("builtin-")
    again = run("--epochs", "1", "--json")  # there is nothing left to do
    assert json.loads(again.stdout)["steps"] == said["steps"]
    more = run("--epochs", "2")
    assert more.exit_code == 0, more.output
    assert "The training is done." in more.output
    assert "To use it: labeler start --images" in more.output
    assert "--workspace" not in more.output
    out = CliRunner().invoke(cli, ["index", "--images", "photos", "--encoder", str(folder), "--json"])
    assert json.loads(out.stdout)["encoder"] == load_encoder(str(folder)).key


@pytest.mark.parametrize(
    ("views", "words", "has_up"),
    [("1", (), True), ("4", (), False), ("1", ("--no-up",), False), ("4", ("--up",), True)],
)
def test_images_that_are_seen_turned_have_no_up(here, monkeypatch, views, words, has_up):
    index = ["index", "--images", "photos", "--workspace", "ws", "--views", views]
    assert CliRunner().invoke(cli, index).exit_code == 0
    said_of = set()

    def seen(*args, has_up):
        said_of.add(has_up)
        return module.views(*args, has_up=has_up)

    monkeypatch.setattr(training_run, "views", seen)
    out = run("--workspace", "ws", "--epochs", "1", *words)
    assert out.exit_code == 0, out.output
    assert said_of == {has_up}
    said = "an up; for any angle give --no-up." if has_up else "no up; for photographs give --up."
    assert (f"The images are taken to have {said}" in out.output) == (not words)
    assert re.search(r"To use it: labeler start --images \S+ --workspace \S+ws --encoder", out.output)


def test_stopped_it_keeps_what_was_learned_and_goes_on(here):
    ws = Workspace.open(here / "ws", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    network = str(save_network(here / "tiny", "resnet"))
    stop, lines = threading.Event(), []

    def report(p) -> None:
        lines.append(p)
        stop.set()

    options = Options(here / "new", epochs=2, batch=8, log_s=0.0)
    first = school.train(ws, options, network, report=report, stop=stop)
    assert (first.ending, 0 < first.steps < 12) == ("stopped", True)
    second = school.train(ws, options, network, report=lines.append, stop=threading.Event())
    assert (second.ending, second.steps) == ("done", 12)
    assert [p.step for p in lines] == sorted({p.step for p in lines})
    ws.close()


def test_pictures_are_read_once_and_again_when_the_images_change(here, monkeypatch):
    ws = Workspace.open(here / "ws", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    go_on = threading.Event()
    first = lessons.pictures(ws, 32, stop=go_on)
    assert sorted(first.ids.tolist()) == list(range(48))
    with monkeypatch.context() as m:
        m.setattr(lessons, "_picture", lambda ws, item: pytest.fail("read again"))
        assert len(lessons.pictures(ws, 32, stop=go_on)) == 48
    (here / "photos" / "blobs-00.png").unlink()
    loop.prepare(ws, report=lambda p: None)
    assert len(lessons.pictures(ws, 32, stop=go_on)) == 47
    ws.close()


def test_it_is_judged_on_labels_that_it_did_not_learn_from(here):
    ws = Workspace.open(here / "ws", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    session = loop.start_session(ws, "Stripes?", ["yes", "no"], "find")
    folder = here / "net"
    folder.mkdir()
    shutil.copy(builtin.WEIGHTS, folder)
    assert school.judge(ws, session, folder).pays is None
    person = loop.owner(ws)
    kinds = [loop.item_name(ws, i).startswith("stripes") for i in range(48)]
    loop.record(ws, session, person, [event(i, "yes" if k else "no") for i, k in enumerate(kinds)])
    found = school.judge(ws, session, folder)
    assert (found.labels, found.pays) == (48, False)
    assert found.before == pytest.approx(1)  # nothing is better than all right
    blind(ws)
    found = school.judge(ws, session, folder)
    assert found.before < 0.9 < found.after
    assert found.pays
    hashes = [item.hash for item in ws.catalog.items_between(0, 30)]
    school.note(folder, school.TAUGHT, hashes)  # what it was taught with can't judge it
    assert school.judge(ws, session, folder).pays is None
    ws.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "nowhere"], "holds no image model"),
        (["--minutes", "1", "--epochs", "1"], "exclude each other"),
        (["--session", "7"], "session 7"),
        (["--labels", "--method", "dino"], "exclude each other"),
        (["--truth", "folders"], "holds no folder with images in it"),
        (["--out", "photos/new"], "lies inside the images"),
        (["--method", "other"], "Invalid value for '--method'"),
        (["--device", "cuda:9"], "cuda"),
    ],
)
def test_bad_words(here, words, said):
    out = run(*words)
    assert out.exit_code in (1, 2)
    assert said in out.output
    assert "Traceback" not in out.output


def test_another_trainings_folder_is_not_gone_on_with(here):
    assert quick("--epochs", "1", "--out", "new").exit_code == 0
    out = quick("--epochs", "2", "--out", "new", "--method", "vicreg")
    assert out.exit_code == 1
    assert "new" in out.output
    assert (here / "new" / "encoder.json").exists()


def test_too_few_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos", 1)
    out = run("--epochs", "1")
    assert out.exit_code == 1
    assert "There are 1 images to learn from." in out.output


def labeled(here: Path) -> tuple[Workspace, Session]:
    """Return the workspace that commands take for the photos, with all of them labeled."""
    ws = Workspace.open(here / "data" / "photos", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    session = loop.start_session(ws, "Stripes?", ["yes", "no"], "find")
    kinds = [loop.item_name(ws, i).startswith("stripes") for i in range(ws.catalog.count_items())]
    events = [event(i, "yes" if k else "no") for i, k in enumerate(kinds)]
    loop.record(ws, session, loop.owner(ws), events)
    return ws, session


def blind(ws: Workspace) -> None:
    """Let the encoder in use have seen nothing but noise."""
    key, dim, n = ws.registry.in_use()
    rows = np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)
    vectors = ws.vectors(key, dim)
    vectors.cut(0)
    vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_labels_teach_an_encoder_that_is_kept_only_if_it_pays(here):
    shutil.rmtree(here / "photos")
    paint(here / "photos", 160)
    ws, session = labeled(here)
    network = save_network(here / "net", "resnet")
    out = run("--labels", "--from", str(network), "--epochs", "2", "--json")
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    assert said["judged"]["before"] == pytest.approx(1)
    assert (said["judged"]["pays"], said["out"]) == (False, None)
    assert not list((here / "data").glob("encoders/*"))
    assert ws.registry.trainings() == []
    blind(ws)
    out = run("--labels", "--from", str(network), "--epochs", "2")
    assert out.exit_code == 0, out.output
    assert "To use it: labeler start --images" in out.output
    kept = here / "data/encoders/photos-labels"
    assert load_encoder(str(kept)).key != load_encoder(str(network)).key
    assert json.loads((kept / "judged.json").read_text())["pays"]
    assert ws.registry.trainings() == [str(kept)]
    assert len(json.loads((kept / "taught.json").read_text())) == 128  # four of five labels
    assert school.judge(ws, session, kept).pays is None  # the fifth is too few
    again = run("--labels", "--from", str(kept), "--out", str(kept))
    assert "is the encoder to begin with, which stays as it is" in again.output
    ws.close()


def test_what_is_needed_is_not_written_over(here):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").write_text("all of it")
    out = quick("--epochs", "1", "--out", "mine")
    assert (out.exit_code, "holds other things" in out.output) == (1, True)
    assert quick("--epochs", "1", "--out", "new").exit_code == 0
    assert CliRunner().invoke(cli, ["index", "--images", "photos", "--encoder", "new"]).exit_code == 0
    before = (here / "new" / "model.safetensors").read_bytes()
    out = quick("--epochs", "2", "--out", "new")
    assert "is the encoder in use, which stays as it is" in out.output
    assert (here / "new" / "model.safetensors").read_bytes() == before


def test_two_trainings_at_once_are_refused(here):
    ws, _ = labeled(here)
    with ws.lock("training"):
        for words in ([], ["--labels"]):
            out = run("--epochs", "1", *words)
            assert (out.exit_code, "works on" in out.output) == (1, True), out.output
    ws.close()


def test_a_disk_without_room_for_the_pictures_says_how_much_they_take(here, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    out = run("--epochs", "1")
    assert out.exit_code == 1
    assert "take 2 MB of disk; 0 MB are free" in out.output


def test_a_disk_that_is_not_connected_any_more(here):
    ws, _ = labeled(here)
    for path in list((here / "photos").iterdir())[:10]:
        path.unlink()
    with pytest.raises(NotReady, match="10 of 48 images can't be read any more"):
        lessons.pictures(ws, 32, stop=threading.Event())
    ws.close()


def test_a_training_that_goes_on_keeps_its_pictures(here):
    assert quick("--epochs", "1", "--out", "new").exit_code == 0
    paint(here / "more", 3)
    for path in (here / "more").iterdir():
        path.rename(here / "photos" / f"new-{path.name}")
    out = quick("--epochs", "2", "--out", "new", "--json")
    assert out.exit_code == 0, out.output
    assert json.loads(out.stdout)["images"] == 48


def test_a_damaged_checkpoint_and_a_full_disk_are_one_sentence(here, monkeypatch):
    assert quick("--epochs", "1", "--out", "new").exit_code == 0
    checkpoint = here / "new" / "checkpoint.bin"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    out = quick("--epochs", "2", "--out", "new")
    assert (out.exit_code, "is damaged" in out.output, "Traceback" in out.output) == (1, True, False)
    checkpoint.unlink()

    def full(*where: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("active.embedding.training.checkpoint.os.replace", full)
        out = quick("--epochs", "1", "--out", "other")
    assert (out.exit_code, "The disk is full" in out.output) == (1, True), out.output


def test_too_few_labels_teach_nothing(here):
    ws, session = labeled(here)
    for item in [i for i in range(48) if not loop.item_name(ws, i).startswith("stripes")][2:]:
        loop.correct(ws, session, loop.owner(ws), item, None)
    ws.close()
    out = run("--labels")
    assert out.exit_code == 1
    assert "too few labels" in out.output
    assert "Traceback" not in out.output


def test_with_the_truth_plays_tell_what_it_brought(here):
    for path in sorted((here / "photos").iterdir()):
        folder = path.parent / path.name.split("-")[0]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    out = quick("--epochs", "1", "--truth", "folders", "--json")
    assert out.exit_code == 0, out.output
    curves = json.loads(out.stdout)["curves"]
    assert curves["plays"] == 2
    for name in ("before", "after"):
        shares = curves[name]
        assert len(shares) == len(curves["times"]) == 20
        assert shares == sorted(shares)
        assert shares[-1] == 1.0  # 2 K cards are the whole pool
    assert json.loads(Path("data/encoders/photos-simclr/curves.json").read_text()) == curves


def test_two_processes_of_torchrun_train_one_encoder(here):
    save_network(here / "tiny", "resnet")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [
        f"--master-port={free_port()}",
        "-m",
        "labeler.cli",
        "train",
        "--images",
        "photos",
        "--from",
        "tiny",
    ]
    done = subprocess.run(
        [*command, "--from", "tiny", "--epochs", "2", "--out", "new", "--json"],
        check=False, capture_output=True, text=True, cwd=here, env=env, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)  # once
    assert (said["ending"], said["images"], said["steps"]) == ("done", 48, 2)
    assert load_encoder(str(here / "new")).dim > 0


def test_ctrl_c_ends_it_and_the_same_command_goes_on(here):
    from tests.test_cli import start_process

    words = [
        "-c",
        "from labeler.cli import main; main()",
        "train",
        "--images",
        "photos",
        "--from",
        str(save_network(here / "tiny", "resnet")),
        "--epochs",
        "4000",
        "--out",
        "new",
    ]
    process = start_process(*words, cwd=here)
    log = here / "new" / "log.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        threading.Event().wait(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    assert (here / "new" / "checkpoint.bin").exists()
