"""active.embedding.builtin and how it is trained (benchmarks): the network, what it learns from, the run."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from active.embedding.builtin import Builtin
from active.embedding.network import BLOCKS, DIM, SIDE_PX, fitting, layers, network
from benchmarks import lessons, teacher, train_builtin
from benchmarks.changed import views
from benchmarks.drawn import KINDS, Pen, chance, draw, noise
from benchmarks.student import Student
from tests.test_embedding import pictures


def learned(seed: int = 0) -> Student:
    """A student whose norms have seen something: none is the identity."""
    torch.manual_seed(seed)
    student = Student()
    student.train()
    with torch.no_grad():
        for norm in (m for m in student.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.6, 1.2)
            norm.bias.uniform_(-0.2, 0.2)
        for _ in range(2):
            student(torch.rand(4, 3, SIDE_PX, SIDE_PX) * 2 - 1)
    return student.eval()


@pytest.fixture(scope="module")
def student() -> Student:
    return learned()


@pytest.fixture(scope="module")
def weights(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("builtin") / "w.safetensors"
    save_file({k: v.half() for k, v in student.weights().items()}, file)
    return file


# the network -------------------------------------------------------------------------------


def test_folded_it_computes_what_was_trained(student: Student) -> None:
    x = torch.rand(3, 3, SIDE_PX, SIDE_PX) * 2 - 1
    with torch.no_grad():
        *_, want = maps = student(x)
        got = network(student.weights())(x)
    assert [tuple(m.shape[1:]) for m in maps] == lessons.map_shapes()
    assert want.shape == (3, DIM, 7, 7)
    assert float(want.std()) > 0.05
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_it_is_small(weights: Path) -> None:
    assert weights.stat().st_size < 8_000_000
    assert len(layers()) == 1 + 2 * len(BLOCKS)


@pytest.mark.usefixtures("in_float32")
def test_the_fast_form_gives_the_rows_of_the_plain_one(weights: Path) -> None:
    encoder, images = Builtin(weights), pictures(11)
    pixels = torch.from_numpy(np.stack([encoder.prepare(i) for i in images])).permute(0, 3, 1, 2)
    with torch.no_grad():
        want = network(load_file(weights))(pixels.float() / 127.5 - 1).mean((2, 3)).numpy()
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(images), want, atol=2e-4)
    assert {type(m).__name__ for m in encoder._quick.model.modules()} >= {"Fused"}


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (30_000, 10), (3, 2000)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_any_kind_of_image(weights: Path, size: tuple[int, int], mode: str) -> None:
    rows = Builtin(weights).encode([Image.new("RGB", size, "red").convert(mode)])
    assert rows.shape == (1, DIM)
    assert abs(np.linalg.norm(rows) - 1) < 1e-5


def test_a_grey_image_is_seen_as_the_same_in_colour(weights: Path) -> None:
    grey = pictures(1)[0].convert("L")
    rows = Builtin(weights).encode([grey, grey.convert("RGB")])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_other_weights_have_another_key(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({k: v.half() for k, v in learned(1).weights().items()}, other)
    assert Builtin(weights).key != Builtin(other).key


def test_bad_weights_are_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no file"):
        Builtin(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut off or damaged"):
        Builtin(cut)
    numbers = load_file(weights)
    numbers["0.bias"] = numbers["0.bias"][:-1]
    other = tmp_path / "other.safetensors"
    save_file(numbers, other)
    assert not fitting(numbers)
    with pytest.raises(ValueError, match="not those of the built-in network"):
        Builtin(other)


# what it learns from -----------------------------------------------------------------------


def test_drawn_pictures_are_the_same_for_a_seed_and_differ_from_each_other() -> None:
    a, b = (draw(8, torch.Generator().manual_seed(3), 48) for _ in range(2))
    other = draw(8, torch.Generator().manual_seed(4), 48)
    assert a.shape == (8, 3, 48, 48)
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    flat = a.flatten(1).float()
    assert (flat.std(1) > 2).all()
    assert torch.cdist(flat, flat).fill_diagonal_(9e9).min() > 100


@pytest.mark.parametrize("kind", sorted(set(KINDS), key=lambda k: k.__name__))
def test_every_kind_draws_finite_colours(kind: object) -> None:
    for seed in range(3):
        picture = kind(Pen(4, torch.Generator().manual_seed(seed), 40))  # type: ignore[operator]
        assert picture.shape == (4, 3, 40, 40)
        assert torch.isfinite(picture).all()
        assert picture.min() > -0.5
        assert picture.mean() < 1.5


def test_noise_is_standard_and_cells_keep_their_chance() -> None:
    pen = Pen(5, torch.Generator().manual_seed(0), 64)
    field = noise(pen)
    torch.testing.assert_close(field.mean((1, 2)), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(field.std((1, 2)), torch.ones(5), atol=1e-3, rtol=0)
    cell = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    drawn = chance(cell, salt=4.0)
    assert drawn[0, 0] == drawn[1, 1] != drawn[0, 1]
    assert 0 <= float(drawn.min()) <= float(drawn.max()) < 1


def test_views_are_seeded_in_range_and_new_each_time() -> None:
    given = draw(16, torch.Generator().manual_seed(0), 64)
    rng = torch.Generator().manual_seed(5)
    first, second = views(given, rng, 56), views(given, rng, 56)
    again = views(given, torch.Generator().manual_seed(5), 56)
    assert first.shape == (16, 3, 56, 56)
    assert 0 <= float(first.min()) <= float(first.max()) <= 1
    assert torch.equal(first, again)
    assert (first - second).abs().mean((1, 2, 3)).min() > 1e-3
    plain = F.interpolate(given.float() / 255, (56, 56), mode="bilinear", antialias=True, align_corners=False)
    assert torch.equal(views(given, rng, 56, whole=1.0), plain)
    mixed = views(given, rng, 56, whole=0.5)
    assert 0 < int((mixed == plain).all(dim=3).all(dim=2).all(dim=1).sum()) < 16


def collections(folder: Path) -> Path:
    """A few drawn files where the real ones would be, aid too."""
    given = draw(40, torch.Generator().manual_seed(9), 64).permute(0, 2, 3, 1).numpy()
    for i, picture in enumerate(given):
        name = (
            f"hirise/crater/ESP_{i // 4:06d}_1950_RED-{i:04d}.jpg" if i % 2 else f"clothing/hat/{i:03d}.jpg"
        )
        for at in (name, f"aid/Port/{i}.jpg"):
            (folder / at).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / at, quality=90)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lessons")
    lessons.pack(collections(folder), folder / "pack.npz")
    return folder / "pack.npz"


def test_a_pack_holds_both_collections_and_never_aid(packed: Path) -> None:
    pixels, names = lessons.read(packed)
    assert pixels.shape == (40, 3, lessons.SIDE_PX, lessons.SIDE_PX)
    assert {n.split("/")[0] for n in names} == {"hirise", "clothing"}
    assert pixels.std() > 10


def test_what_is_cut_from_one_image_is_held_out_together() -> None:
    names = [f"hirise/ESP_{i:06d}_1950_RED-{k:04d}.jpg" for i in range(300) for k in range(3)]
    held = np.array([lessons.is_held(n) for n in names]).reshape(300, 3)
    assert (held.min(1) == held.max(1)).all()
    assert 10 < held[:, 0].sum() < 60


def test_drawn_pictures_after_a_stop_are_those_of_no_stop() -> None:
    whole = lessons.Drawn(6, 2, seed=1, device=torch.device("cpu"))
    for step in range(2):
        whole.renew(step)
    begun = lessons.Drawn(6, 2, seed=1, device=torch.device("cpu"), step=2)
    assert torch.equal(whole.pictures, begun.pictures)


# the losses, each against an obvious version ------------------------------------------------


def test_unexplained_is_a_share_of_variance() -> None:
    t = torch.randn(50, 6) * 3 + 2
    assert float(teacher.unexplained(t, t)) == 0
    assert float(teacher.unexplained(t.mean(0).expand_as(t), t)) == pytest.approx(1, rel=1e-5)


def test_neighbourhoods_against_a_slow_version() -> None:
    a, b = torch.randn(7, 5), torch.randn(7, 5)

    def shares(rows: torch.Tensor, i: int) -> np.ndarray:
        off = (rows - rows.mean(0)).double().numpy()
        off /= np.linalg.norm(off, axis=1, keepdims=True)
        power = np.exp([off[i] @ off[j] / teacher.WARMTH for j in range(7) if j != i])
        return np.asarray(power / power.sum())

    want = np.mean([sum(p * np.log(p / q)) for p, q in ((shares(b, i), shares(a, i)) for i in range(7))])
    assert float(teacher.neighbourhoods(a, b)) == pytest.approx(want, rel=1e-3)
    assert float(teacher.neighbourhoods(b, b)) == pytest.approx(0, abs=1e-5)


def test_agreement_counts_common_neighbours() -> None:
    rows = torch.randn(30, 8)
    assert teacher.agreement(rows, rows.clone()) == 1
    assert teacher.agreement(rows @ torch.linalg.qr(torch.randn(8, 8))[0], rows) == 1
    chance_of_one = teacher.NEAR / 29
    assert abs(teacher.agreement(torch.randn(30, 8), rows) - chance_of_one) < 0.2


# the run -----------------------------------------------------------------------------------


class SmallTeacher(nn.Module):
    """Maps of the right shapes from random weights, quickly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.convs = nn.ModuleList(
            nn.Conv2d(3, wide, 224 // side, 224 // side) for wide, side, _ in lessons.map_shapes()
        )

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> teacher.Maps:
        return [conv(x).relu() for conv in self.convs]


def options(packed: Path, out: Path, *more: str) -> argparse.Namespace:
    small = [
        "--batch",
        "4",
        "--room",
        "8",
        "--fresh",
        "4",
        "--draw-every",
        "4",
        "--every",
        "2",
        "--exam",
        "4",
    ]
    args = train_builtin.parser().parse_args(["--data", str(packed), "--out", str(out), *small, *more])
    args.device = "cpu"
    return args


@pytest.mark.parametrize(
    "more", [(), ("--keep", "16", "--new", "2", "--draw-every", "3")], ids=["new views", "kept views"]
)
def test_a_run_goes_on_exactly_where_it_stopped(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    cpu, guide = torch.device("cpu"), SmallTeacher()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_builtin.train(options(packed, whole, "--steps", "4", *more), guide, cpu)
    real = train_builtin.progress
    args = options(packed, parts, "--steps", "4", *more)

    def stop_at_two(args: argparse.Namespace, run: train_builtin.Run) -> float:
        args.stop_s = 1e-9 if run.step == 2 else 0.0
        return real(args, run)

    monkeypatch.setattr(train_builtin, "progress", stop_at_two)
    assert train_builtin.train(args, guide, cpu)["step"] == 2
    monkeypatch.setattr(train_builtin, "progress", real)
    args.stop_s = 0.0
    assert train_builtin.train(args, guide, cpu)["step"] == 4
    a, b = (load_file(d / "student.safetensors") for d in (whole, parts))
    assert fitting(a)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert Builtin(whole / "student.safetensors").encode(pictures(2)).shape == (2, DIM)
    logs = [[json.loads(line) for line in (d / "log.jsonl").read_text().splitlines()] for d in (whole, parts)]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]] == [2, 4]
    assert logs[0][1]["row"] == logs[1][1]["row"]
    parts_of_a_line = {"row", "near", "map1", "map6", "near_drawn", "missed_drawn", "images_per_s"}
    assert parts_of_a_line <= logs[0][0].keys()


def test_kept_views_are_seen_again_as_they_were_put_in_and_make_room(tmp_path: Path) -> None:
    kept = lessons.Kept(tmp_path / "views.bin", 4)
    view = torch.rand(6, 3, SIDE_PX, SIDE_PX) * 2 - 1
    maps = [torch.rand(6, *shape) * 6 for shape in lessons.map_shapes()]
    kept.put(0, view, maps)  # the last two take the places of the first two
    again = lessons.Kept(tmp_path / "views.bin", 4)
    x, its = again.take(torch.tensor([4, 5, 2, 3]))
    torch.testing.assert_close(x, view[[4, 5, 2, 3]], atol=1 / 255, rtol=0)
    for got, want in zip(its, maps, strict=True):
        torch.testing.assert_close(got, want[[4, 5, 2, 3]], atol=3.01 / 255, rtol=0)


def test_apart_each_stage_learns_for_itself() -> None:
    student, x = learned(), torch.rand(2, 3, SIDE_PX, SIDE_PX)
    for apart, reaches_back in ((True, False), (False, True)):
        student.zero_grad(set_to_none=True)
        student(x, apart)[-1].sum().backward()
        assert (student.steps[0].conv.weight.grad is not None) == reaches_back
        assert student.steps[-1].conv.weight.grad is not None


def test_the_student_begins_with_maps_of_the_teachers_size() -> None:
    student = Student()
    x = torch.randn(16, 3, SIDE_PX, SIDE_PX)
    maps = [torch.rand(16, *shape) * (i + 1) for i, shape in enumerate(lessons.map_shapes())]
    student.set_out(maps)
    for mine, its in zip(student(x), maps, strict=True):
        assert 0.4 * its.mean() < mine.mean() < 2.5 * its.mean()


def test_from_folded_weights_it_begins_with_the_network_they_are() -> None:
    weights, x = learned().weights(), torch.rand(8, 3, SIDE_PX, SIDE_PX) * 2 - 1
    student = Student()
    student.take(weights, x)
    student.eval()
    for name, tensor in student.weights().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(student(x)[-1], network(weights)(x), rtol=1e-3, atol=1e-3)
        student.train()  # what the norms hold is what they see
        torch.testing.assert_close(student(x)[-1], network(weights)(x), rtol=0.05, atol=0.05)


def test_a_run_may_begin_with_the_weights_of_another(packed: Path, tmp_path: Path) -> None:
    cpu, guide = torch.device("cpu"), SmallTeacher()
    train_builtin.train(options(packed, tmp_path / "one", "--steps", "2"), guide, cpu)
    begin = tmp_path / "one" / "student.safetensors"
    more = ("--steps", "1", "--begin", str(begin), "--rate", "1e-9", "--apart", "0")
    train_builtin.train(options(packed, tmp_path / "two", *more), guide, cpu)
    one, two = load_file(begin), load_file(tmp_path / "two" / "student.safetensors")
    assert not all(torch.equal(one[k], two[k]) for k in one)
    image = pictures(3)
    mine, its = (Builtin(tmp_path / d / "student.safetensors").encode(image) for d in ("one", "two"))
    assert float((mine * its).sum(1).min()) > 0.9  # but for what one batch's norms add


def test_pools_are_drawn_from_by_their_shares() -> None:
    pools = [
        (torch.full((n, 3, 8, 8), n, dtype=torch.uint8), share) for n, share in ((5, 0.5), (7, 0.2), (9, 0.3))
    ]
    got = lessons.batch(pools, 4000, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    for n, share in ((5, 0.5), (7, 0.2), (9, 0.3)):
        assert float((got == n).float().mean()) == pytest.approx(share, abs=0.04)


def test_it_learns(packed: Path, tmp_path: Path) -> None:
    args = options(packed, tmp_path, "--steps", "12", "--every", "4", "--batch", "8")
    train_builtin.train(args, SmallTeacher(), torch.device("cpu"))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["map1"] < 0.8 * log[0]["map1"]


def test_the_rate_rises_then_falls() -> None:
    rates = [train_builtin.rate_now(p, 1.0) for p in (0, 0.015, 0.03, 0.5, 0.8, 1.0)]
    assert rates[0] < rates[1] < rates[2] == rates[3] == 1
    assert rates[3] > rates[4] > rates[5] > 0


def test_the_mean_of_two_runs_is_a_network_between_them(weights: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.safetensors", tmp_path / "mean.safetensors"
    save_file({k: v.half() for k, v in learned(1).weights().items()}, other)
    train_builtin.write_mean([weights, other], out)
    one, two, mean = load_file(weights), load_file(other), load_file(out)
    assert mean.keys() == one.keys()
    for name, w in mean.items():
        assert w.dtype == torch.float16
        torch.testing.assert_close(
            w.float(), (one[name].float() + two[name].float()) / 2, atol=2e-3, rtol=2e-3
        )
    assert Builtin(out).encode(pictures(2)).shape == (2, DIM)
