"""labeler train: from a folder of images to an encoder like any other, stopped, gone on with, judged."""

import json
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from active.embedding import load_encoder
from active.embedding.training.options import Options
from labeler import encoders, loop, school
from labeler.cli import cli
from labeler.workspace import Workspace
from tests.networks import save_network
from tests.pools import event


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


def test_from_a_folder_to_an_encoder_like_any_other(here):
    out = run("--epochs", "2", "--json")
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    folder = Path(said["out"])
    assert folder == Path("data/encoders/photos-simclr")
    assert (said["ending"], said["images"], said["judged"]) == ("done", 48, {
        "labels": 0, "before": None, "after": None, "pays": None,
    })  # fmt: skip
    assert load_encoder(str(folder)).key.startswith("builtin-")
    out = CliRunner().invoke(cli, ["index", "--images", "photos", "--encoder", str(folder), "--json"])
    assert json.loads(out.stdout)["encoder"] == load_encoder(str(folder)).key
    again = run("--epochs", "2", "--json")  # there is nothing left to do
    assert json.loads(again.stdout)["steps"] == said["steps"]
    more = run("--epochs", "3")
    assert more.exit_code == 0, more.output
    assert "The training is done." in more.output
    assert "To use it: labeler start --images" in more.output


def test_stopped_it_keeps_what_was_learned_and_goes_on(here):
    ws = Workspace.open(here / "ws", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    stop, lines = threading.Event(), []

    def report(p) -> None:
        lines.append(p)
        stop.set()

    options = Options(here / "new", epochs=6, batch=8, log_s=0.0)
    first = school.train(ws, options, "builtin", report=report, stop=stop)
    assert (first.ending, 0 < first.steps < 36) == ("stopped", True)
    second = school.train(ws, options, "builtin", report=lines.append, stop=threading.Event())
    assert (second.ending, second.steps) == ("done", 36)
    assert [p.step for p in lines] == sorted({p.step for p in lines})
    ws.close()


def test_pictures_are_read_once_and_again_when_the_images_change(here, monkeypatch):
    ws = Workspace.open(here / "ws", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    first = school.pictures(ws, 32, is_over=lambda: False)
    assert sorted(first.ids.tolist()) == list(range(48))
    with monkeypatch.context() as m:
        m.setattr(school, "_picture", lambda ws, item: pytest.fail("read again"))
        assert len(school.pictures(ws, 32, is_over=lambda: False)) == 48
    (here / "photos" / "blobs-00.png").unlink()
    loop.prepare(ws, report=lambda p: None)
    assert len(school.pictures(ws, 32, is_over=lambda: False)) == 47
    ws.close()


def test_it_is_judged_on_labels_that_it_did_not_learn_from(here):
    ws = Workspace.open(here / "ws", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    session = loop.start_session(ws, "Stripes?", ["yes", "no"], "find")
    folder = save_network(here / "net", "resnet")
    assert school.judge(ws, session, folder).pays is None
    person = loop.owner(ws)
    kinds = [loop.item_name(ws, i).startswith("stripes") for i in range(48)]
    loop.record(ws, session, person, [event(i, "yes" if k else "no") for i, k in enumerate(kinds)])
    verdict = school.judge(ws, session, folder)
    assert verdict.labels == 48
    assert 0.3 < verdict.before <= 1
    assert verdict.pays == (verdict.after > verdict.before)
    ws.close()


def test_held_out_is_chance_for_noise_and_near_copies_do_not_help():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.repeat(rows, 5, axis=0)
    is_target = np.repeat(rng.random(60) < 0.5, 5)
    kept_together = school.held_out(rows, is_target, np.repeat(np.arange(60), 5))
    assert kept_together < 0.7
    assert school.held_out(rows, is_target, np.arange(300)) > kept_together + 0.1  # copies told it
    told = rows.copy()
    told[:, 0] = is_target
    assert school.held_out(told, is_target, np.repeat(np.arange(60), 5)) > 0.95


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "nowhere"], "holds no image model"),
        (["--minutes", "1", "--epochs", "1"], "Both minutes and epochs are given."),
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
    assert run("--epochs", "1", "--out", "new").exit_code == 0
    out = run("--epochs", "2", "--out", "new", "--method", "vicreg")
    assert out.exit_code == 1
    assert "new" in out.output
    assert (here / "new" / "encoder.json").exists()


def test_methods_are_those_there_are():
    from active.embedding.training.methods import METHODS
    from labeler import schooling

    assert sorted(schooling.METHODS) == sorted(METHODS)


def test_too_few_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos", 1)
    out = run("--epochs", "1")
    assert out.exit_code == 1
    assert "There are 1 images to learn from." in out.output


def test_ctrl_c_ends_it_and_the_same_command_goes_on(here):
    from tests.test_cli import start_process

    words = [
        "-c",
        "from labeler.cli import main; main()",
        "train",
        "--images",
        "photos",
        "--epochs",
        "400",
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
    assert (here / "new" / "checkpoint.safetensors").exists()
