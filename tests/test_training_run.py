"""active.embedding.training.run: it learns, goes on exactly, notices a collapse; processes agree."""

import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from active.embedding import training
from active.embedding.training import run
from active.embedding.training.backbones import Backbone
from active.embedding.training.checkpoint import load_tensors, save_tensors
from active.embedding.training.objective import Objective, Seen
from active.embedding.training.options import Options, Progress, Result
from active.embedding.training.pictures import Pictures, pack
from active.embedding.training.run import Training, train
from active.embedding.training.state import Collapse
from active.methods import METHODS

ROOT = Path(__file__).parent.parent


class Tiny(Backbone):
    """Two convolutions at 16 px."""

    side_px, dim, kind, key = 16, 12, "tiny", "tiny-1"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1),
            nn.BatchNorm2d(12),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x * 2 - 1)).mean((2, 3))

    def save(self, folder: Path) -> None:
        save_tensors(folder / "tiny.safetensors", self.state_dict())


def drawn(n: int = 48) -> list[tuple[int, Image.Image]]:
    """Soft patches of colour, with ids that are no rows."""
    rng = np.random.default_rng(1)
    small = [rng.integers(0, 256, (3, 3, 3), np.uint8) for _ in range(n)]
    return [(100 + 2 * i, Image.fromarray(a).resize((24, 20))) for i, a in enumerate(small)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    torch.set_num_threads(1)
    return pack(drawn(), tmp_path_factory.mktemp("pictures"), side_px=16)


def options(out: Path, **more: object) -> Options:
    small = {
        "method": "simclr",
        "epochs": 4,
        "batch": 8,
        "log_s": 0,
        "device": "cpu",
        "threads": 1,
        "way": 1.0,
    }
    return Options(out=out, **(small | more))


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def stopped_at(step: int, pictures: Pictures, opts: Options) -> Result:
    stop = threading.Event()

    def watch(line: Progress) -> None:
        if line.step == step:
            stop.set()

    return train(pictures, Tiny(), opts, report=watch, stop=stop)


def test_it_learns_and_tells(pictures: Pictures, tmp_path: Path) -> None:
    told: list[Progress] = []
    network = Tiny()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    result = train(pictures, network, options(tmp_path, epochs=12, rate=3e-3), report=told.append)
    assert (result.ending, result.steps, result.images) == ("done", 72, 48)
    assert [line["step"] for line in lines(tmp_path)] == [t.step for t in told] == list(range(1, 73))
    losses = [t.loss for t in told]
    assert np.mean(losses[-10:]) < np.mean(losses[4:9]) - 0.1
    assert told[0].rate == 0
    assert told[0].anchor == 0
    assert told[-1].anchor > 0
    assert all(t.images_per_s > 0 and t.feature_std > 0.01 for t in told)
    assert told[-1].share == 1
    assert told[-1].epoch == 12
    saved = load_file(tmp_path / "tiny.safetensors")
    assert not torch.equal(saved["layers.0.weight"], before["layers.0.weight"])
    assert all(torch.equal(saved[k], v) for k, v in network.state_dict().items())
    about = json.loads((tmp_path / "encoder.json").read_text())
    assert about == {"kind": "tiny", "trained_from": "tiny-1", "method": "simclr", "images": 48}
    near = json.loads((tmp_path / "neighbours.json").read_text())
    assert near["step"] == 72
    assert len(near["images"]) == len(near["start"]) == len(near["now"]) == 10
    assert {len(n) for n in near["now"]} == {8}
    assert {i for n in near["now"] for i in n} <= set(pictures.ids.tolist())
    assert all(i not in n for i, n in zip(near["images"], near["now"], strict=True))
    assert 0 < result.same_neighbours <= 1


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("method", METHODS)
def test_a_network_in_half_precision_learns_as_in_full(
    pictures: Pictures, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = train(pictures, Tiny(), options(tmp_path / "full", method=method, epochs=1))
    monkeypatch.setattr(run, "half", lambda device: torch.autocast("cpu", torch.bfloat16))
    half = train(pictures, Tiny(), options(tmp_path / "half", method=method, epochs=1))
    assert half.ending == "done"
    assert half.last.loss != full.last.loss
    assert half.last.loss == pytest.approx(full.last.loss, rel=0.05)


def test_a_checkpoint_of_another_version_is_one_sentence(pictures: Pictures, tmp_path: Path) -> None:
    train(pictures, Tiny(), options(tmp_path, epochs=1))
    path = tmp_path / "checkpoint.bin"
    tensors, about = load_tensors(path)
    name = next(k for k in tensors if k.startswith("backbone."))
    wrong = [
        (tensors, None),
        (tensors, {k: v for k, v in about.items() if k != "step"}),
        ({k: v for k, v in tensors.items() if k != name}, about),
        (tensors | {name: torch.zeros(3)}, about),
    ]
    for parts, said in wrong:
        save_tensors(path, parts, said)
        with pytest.raises(ValueError, match=r"is damaged or of another version|holds a training with"):
            train(pictures, Tiny(), options(tmp_path, epochs=2))


def test_what_is_written_lies_between_the_start_and_what_was_learned(
    pictures: Pictures, tmp_path: Path
) -> None:
    start = Tiny().state_dict()
    for way in (0.25, 1.0):
        train(pictures, Tiny(), options(tmp_path / str(way), rate=3e-3, share=1.0, way=way))
    part, whole = (load_file(tmp_path / str(way) / "tiny.safetensors") for way in (0.25, 1.0))
    moved = 0.0
    for name, value in whole.items():
        if not value.is_floating_point():
            continue
        torch.testing.assert_close(part[name], torch.lerp(start[name], value, 0.25), rtol=1e-4, atol=1e-5)
        moved += float((value - start[name]).abs().sum())
    assert moved > 0.1


def test_a_training_of_a_version_that_turned_all_images_goes_on(pictures: Pictures, tmp_path: Path) -> None:
    train(pictures, Tiny(), options(tmp_path, epochs=1))
    path = tmp_path / "checkpoint.bin"
    tensors, about = load_tensors(path)
    assert about["same"].pop("has_up") is False
    save_tensors(path, tensors, about)
    with pytest.raises(ValueError, match=r"holds a training of images that have no up \(--no-up\)"):
        train(pictures, Tiny(), options(tmp_path, epochs=2, has_up=True))
    assert train(pictures, Tiny(), options(tmp_path, epochs=2)).steps == 2 * about["step"]


@pytest.mark.usefixtures("in_float32")
def test_a_heavy_anchor_stays_nearer_to_the_start(pictures: Pictures, tmp_path: Path) -> None:
    free, light, heavy = (
        train(pictures, Tiny(), options(tmp_path / str(a), anchor=a, rate=0.01, share=1.0, epochs=6))
        for a in (0.0, 0.01, 30.0)
    )
    assert free.last is not None
    assert light.last is not None
    assert heavy.last is not None
    assert free.last.anchor == 0
    assert 0 < heavy.last.anchor < 0.8 * light.last.anchor


@pytest.mark.parametrize("optimizer", ["adamw", "lars"])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_goes_on_exactly_where_it_stopped(
    pictures: Pictures, tmp_path: Path, method: str, optimizer: str
) -> None:
    whole = options(tmp_path / "whole", method=method, optimizer=optimizer, epochs=2)
    train(pictures, Tiny(), whole)
    parts = replace(whole, out=tmp_path / "parts")
    for step in (5, 9):
        result = stopped_at(step, pictures, parts)
        assert (result.ending, result.steps) == ("stopped", step)
    result = train(pictures, Tiny(), parts)
    assert (result.ending, result.steps) == ("done", 12)
    a, about_a = load_tensors(whole.out / "checkpoint.bin")
    b, about_b = load_tensors(parts.out / "checkpoint.bin")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert about_a["collapse"] == about_b["collapse"]
    assert [line["loss"] for line in lines(whole.out)] == [line["loss"] for line in lines(parts.out)]
    names = {p.name for p in parts.out.iterdir()}
    assert names == {
        "checkpoint.bin",
        "encoder.json",
        "log.jsonl",
        "neighbours.json",
        "tiny.safetensors",
    }


def test_what_is_done_after_a_checkpoint_is_done_again(pictures: Pictures, tmp_path: Path) -> None:
    """A training that was killed: its log is longer than its checkpoint."""
    whole, killed = options(tmp_path / "whole", epochs=1), options(tmp_path / "killed", epochs=1)
    train(pictures, Tiny(), whole)
    stopped_at(3, pictures, killed)
    with open(killed.out / "log.jsonl", "a") as f:
        f.write(json.dumps({"step": 4, "loss": 9}) + '\n{"step": 5, "lo')
    train(pictures, Tiny(), killed)
    assert [line["loss"] for line in lines(whole.out)] == [line["loss"] for line in lines(killed.out)]


def test_minutes_follow_the_clock(pictures: Pictures, tmp_path: Path) -> None:
    told: list[Progress] = []
    result = train(pictures, Tiny(), options(tmp_path, epochs=None, minutes=0.03), report=told.append)
    assert result.ending == "done"
    assert result.minutes == pytest.approx(0.03, abs=0.03)
    assert [t.share for t in told] == sorted(t.share for t in told)
    assert told[-1].share == 1
    again = train(pictures, Tiny(), options(tmp_path, epochs=None, minutes=0.03))
    assert (again.steps, again.last) == (result.steps, None)  # nothing is left to do


class Together(Objective):
    """Pulls all pictures together: what no method should do."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.projector = nn.Linear(width, 4)

    def forward(self, one: Tensor, two: Tensor, slow: tuple[Tensor, Tensor] | None = None) -> Seen:
        unit = nn.functional.normalize(torch.cat([one, two]), dim=1)
        apart = (unit - unit.mean(0)).square().sum(1).mean()
        return Seen(100 * apart + self.projector(unit).mean() * 0, self.projector(one))


def test_a_collapse_is_noticed(pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "together", "Together")
    monkeypatch.setattr("active.embedding.training.run.load_method", lambda _: Together)
    opts = options(tmp_path, method="together", epochs=100, rate=0.03, share=1.0, anchor=0.0)
    result = train(pictures, Tiny(), opts)
    assert result.ending == "collapsed"
    assert result.steps < 500
    assert "all images became alike" in result.note
    assert "No encoder was written" in result.note
    assert not (tmp_path / "encoder.json").exists()
    assert not (tmp_path / "tiny.safetensors").exists()
    assert lines(tmp_path)[-1]["feature_std"] < 0.1 * lines(tmp_path)[0]["feature_std"]


def test_numbers_that_are_none_end_it_too() -> None:
    assert "no longer a number" in (Collapse().see(float("nan"), [1, 1]) or "")
    watch = Collapse()
    assert all(watch.see(1.0, [0.5 + 0.4 * (i % 2), 0.3]) is None for i in range(100))


def test_a_table_names_every_method() -> None:
    here = Path(training.__file__).parent
    assert all((here / f"{name}.py").exists() for name in METHODS)
    script = (
        "import sys, active.methods\nassert not {'torch', 'kornia', 'numpy'} & set(sys.modules)\n"
        "import active.embedding.training.options\nassert not {'torch', 'kornia'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


# what can go wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"method": "moco"}, "no method moco. Give one of simclr, simsiam, vicreg, dino"),
        ({"optimizer": "sgd"}, "no optimizer sgd"),
        ({"minutes": 3.0}, "Both minutes and epochs"),
        ({"epochs": -1}, "epochs is -1"),
        ({"epochs": None, "minutes": float("nan")}, "minutes is nan"),
        ({"batch": 1}, "The batch is 1"),
        ({"anchor": -1.0}, "anchor is -1"),
        ({"way": 0.0}, "way is 0"),
        ({"way": 1.1}, "way is 1.1"),
    ],
)
def test_bad_options(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        options(tmp_path, **wrong)


def test_another_training_in_the_folder_is_not_mixed_up(pictures: Pictures, tmp_path: Path) -> None:
    train(pictures, Tiny(), options(tmp_path, epochs=1))
    with pytest.raises(
        ValueError, match=r"holds a training with method simclr, not vicreg. Give another folder"
    ):
        train(pictures, Tiny(), options(tmp_path, epochs=1, method="vicreg"))
    (tmp_path / "checkpoint.bin").write_bytes(b"half")
    with pytest.raises(ValueError, match="is damaged. Delete it"):
        train(pictures, Tiny(), options(tmp_path, epochs=1))


def test_an_unknown_device(pictures: Pictures, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="can't compute on cuda"):
        train(pictures, Tiny(), options(tmp_path, device="cuda"))


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file may become larger: what a full disk is to a program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_earlier_checkpoint(pictures: Pictures, tmp_path: Path) -> None:
    opts = options(tmp_path, epochs=1)
    stopped_at(3, pictures, opts)
    before = (tmp_path / "checkpoint.bin").read_bytes()
    with no_room(100_000), pytest.raises(ValueError, match="The disk is full: .*checkpoint.bin"):
        train(pictures, Tiny(), opts)
    assert (tmp_path / "checkpoint.bin").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert train(pictures, Tiny(), opts).steps == 6


# several processes -------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def torchrun(script: str, *args: str) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [*command, f"--master-port={free_port()}", script, *args],
        check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


TWO = """
import sys, threading
from pathlib import Path
import torch
from torch.nn import functional as F
from active.embedding.training import processes
from active.embedding.training.checkpoint import save_tensors
from active.embedding.training.pictures import pack
from active.embedding.training.run import train
from active.embedding.training.simclr import nt_xent
from active.embedding.training.vicreg import vicreg
from tests.test_training_run import Tiny, drawn, options

out = Path(sys.argv[1])
with processes.joined(torch.device("cpu")):
    me = processes.rank()
    images = drawn() if me == 0 else iter(lambda: 1 / 0, 0)  # the first process alone decodes
    pictures = pack(images, out / "pictures", side_px=16)

    # a loss over all rows, and its gradient
    torch.manual_seed(3)
    x, weight = torch.randn(2, 8, 5), torch.randn(5, 4)
    for name, loss_of in (("simclr", nt_xent), ("vicreg", vicreg)):
        whole = weight.clone().requires_grad_()
        want = loss_of(x[0] @ whole, x[1] @ whole)
        want.backward()
        mine = weight.clone().requires_grad_()
        part = x[:, me * 4 : me * 4 + 4]
        loss = loss_of(processes.gathered(part[0] @ mine), processes.gathered(part[1] @ mine))
        loss.backward()
        processes.average([mine.grad])
        torch.testing.assert_close(loss, want)
        torch.testing.assert_close(mine.grad, whole.grad, rtol=1e-4, atol=1e-6)

    def run(name, stop_at=None):
        stop, network = threading.Event(), Tiny()
        watch = lambda line: stop.set() if line.step == stop_at else None
        result = train(pictures, network, options(out / name, epochs=3), report=watch, stop=stop)
        save_tensors(out / f"{name}-{me}.safetensors", network.state_dict())
        return result

    assert run("whole").steps == 9  # 48 pictures, 2 processes, 8 each
    assert run("parts", stop_at=4).ending == "stopped"
    assert run("parts").ending == "done"
"""


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    torchrun(str(script), str(tmp_path))
    a, b, c = (load_file(tmp_path / f"{n}.safetensors") for n in ("whole-0", "whole-1", "parts-1"))
    assert all(torch.equal(a[k], b[k]) and torch.equal(a[k], c[k]) for k in a)
    whole, parts = (lines(tmp_path / n) for n in ("whole", "parts"))
    assert [line["step"] for line in whole] == list(range(1, 10))
    assert [line["loss"] for line in whole] == [line["loss"] for line in parts]
    pictures = Pictures(tmp_path / "pictures")
    with pytest.raises(ValueError, match="with processes 2, not 1"):
        Training(pictures, Tiny(), options(tmp_path / "whole", epochs=3), torch.device("cpu"))
