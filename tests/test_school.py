"""labeler train: from a folder of images to an encoder like any other, stopped, gone on with, judged."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from active.embedding import load_encoder
from active.embedding.training.finetune import Tuning
from active.embedding.training.options import Options
from labeler import encoders, loop, school
from labeler.cli import cli
from labeler.domain import Session
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


def test_from_a_folder_to_an_encoder_like_any_other(here):
    out = run("--epochs", "2", "--json")
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    folder = Path(said["out"])
    assert folder == Path("data/encoders/photos-simclr")
    assert (said["ending"], said["images"], said["judged"]["labels"]) == ("done", 48, 0)
    assert said["judged"]["pays"] is None
    assert said["curves"] is None
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


def labeled(here: Path) -> tuple[Workspace, Session]:
    """Return the workspace that commands take for the photos, with all of them labeled."""
    ws = Workspace.open(here / "data" / "photos", encoders.Config(images=str(here / "photos")))
    loop.prepare(ws, report=lambda p: None)
    session = loop.start_session(ws, "Stripes?", ["yes", "no"], "find")
    kinds = [loop.item_name(ws, i).startswith("stripes") for i in range(48)]
    events = [event(i, "yes" if k else "no") for i, k in enumerate(kinds)]
    loop.record(ws, session, loop.owner(ws), events)
    return ws, session


def test_labels_teach_an_encoder_which_is_kept_only_if_it_pays(here, monkeypatch):
    ws, _ = labeled(here)
    network = save_network(here / "net", "resnet")
    scores = iter([0.5, 0.6, 0.9, 0.8, 0.95])  # start and epoch, twice; before and after the first time

    def score(work, rows, judged):
        return next(scores)

    with monkeypatch.context() as m:  # real learning, scores that are known
        m.setattr("active.embedding.training.finetune._Work.score", score)
        out = run("--labels", "--from", str(network), "--epochs", "1", "--json")
    assert out.exit_code == 0, out.output
    said = json.loads(out.stdout)
    assert said["judged"]["watched"] == [0.5, 0.6]
    assert (said["judged"]["before"], said["judged"]["after"], said["judged"]["pays"]) == (0.9, 0.8, False)
    assert said["out"] is None
    assert not (here / "data/encoders/photos-labels").exists()
    out = run("--labels", "--from", str(network), "--epochs", "3")
    assert out.exit_code == 0, out.output
    kept = here / "data/encoders/photos-labels"
    assert ("keep the one in use" in out.output) != kept.exists()
    assert "average precision is" in out.output
    assert ws.registry.trainings() == ([str(kept)] if kept.exists() else [])
    ws.close()


def test_labels_of_an_encoder_that_pays_are_a_folder_like_any_other(here, monkeypatch):
    ws, session = labeled(here)
    network = save_network(here / "net", "resnet")
    scores = iter([0.5, 0.6, 0.8, 0.9])
    monkeypatch.setattr("active.embedding.training.finetune._Work.score", lambda *_: next(scores))
    verdict = school.teach(
        ws, session, str(network), here / "new", Tuning(epochs=1),
        report=lambda n, score: None, stop=threading.Event(),
    )  # fmt: skip
    assert (verdict.pays, verdict.watched) == (True, (0.5, 0.6))
    assert load_encoder(str(here / "new")).key != load_encoder(str(network)).key
    assert json.loads((here / "new" / "judged.json").read_text())["after"] == 0.9
    ws.close()


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
    out = run("--epochs", "1", "--truth", "folders", "--json")
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
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    command += [f"--master-port={free_port()}", "-m", "labeler.cli", "train", "--images", "photos"]
    done = subprocess.run(
        [*command, "--epochs", "2", "--out", "new", "--json"],
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
