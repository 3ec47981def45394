"""active.embedding.device: which device, how many images at once, and what a GPU may not change.

There is no GPU here: a `Gpu` computes on the processor, in real float16, and its memory is made short.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from active.embedding import device as device_module
from active.embedding import load_encoder
from active.embedding.device import BatchSize, Cpu, Gpu, ShortOfMemory, pick
from active.embedding.pretrained import load_pretrained
from active.embedding.views import Views
from tests.networks import pictures, save_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("device") / "vit", "vit")


# which device ------------------------------------------------------------------------------


def why(name: str) -> str:
    with pytest.raises(ValueError) as e:  # noqa: PT011  # the sentence is what is looked at
        pick(name)
    return str(e.value)


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch):
    there = {"cuda", "mps"}
    monkeypatch.setattr(device_module, "_fault", lambda kind: None if kind in there else "not there")
    assert pick("auto") == torch.device("cuda")
    there.remove("cuda")
    assert pick("auto") == torch.device("mps")
    there.clear()
    assert pick("auto") == pick("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CUDA", "", "cuda:0:1", "meta", "mps:1"])
def test_unknown_devices(name):
    assert why(name) == f"There is no device {name}. Give auto, cpu, cuda, cuda:1 or mps."


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    end = "Give auto or cpu."
    assert (
        why("cuda") == f"The device cuda can't be used: the installed torch is built for the CPU alone. {end}"
    )
    assert why("mps") == f"The device mps can't be used: torch sees no GPU of a Mac here. {end}"
    assert pick("auto") == CPU

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why("cuda:1") == f"The device cuda:1 can't be used: torch sees no CUDA device here. {end}"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device_module, "_compute", lambda name: None)
    assert pick("cuda:1") == torch.device("cuda:1")
    assert why("cuda:2") == f"The device cuda:2 can't be used: there is only cuda:0 to cuda:1. {end}"

    def too_old(name: str) -> None:
        raise RuntimeError("no kernel image is available\nmore lines")

    monkeypatch.setattr(device_module, "_compute", too_old)
    assert why("cuda") == f"The device cuda can't be used: no kernel image is available. {end}"
    assert pick("auto") == CPU


def test_load_encoder_takes_the_device(vit: Path):
    want = load_encoder(str(vit), device="cpu")
    assert isinstance(want._on, Cpu)
    assert load_encoder(str(vit)).key == want.key
    for name in ("builtin", str(vit)):
        for views in (1, 4):
            with pytest.raises(ValueError, match="There is no device gpu"):
                load_encoder(name, views, "gpu")


# how many images at once -------------------------------------------------------------------


def settle(seconds_per_image) -> BatchSize:
    size = BatchSize()
    for _ in range(40):
        size.took(size.now, seconds=size.now * seconds_per_image(size.now))
    return size


@pytest.mark.parametrize(
    ("seconds_per_image", "settles_at"),
    [
        (lambda n: 1.0, 16),
        (lambda n: 1 / min(n, 64), 64),
        (lambda n: 1 / n, BatchSize.MOST),
        (lambda n: 1 / n if n <= 128 else n, 128),
    ],
)
def test_the_batch_doubles_until_it_is_no_faster(seconds_per_image, settles_at):
    assert settle(seconds_per_image).now == settles_at


def test_a_slow_first_pass_and_batches_that_are_not_full_mislead_nobody():
    size = BatchSize()
    size.took(size.now, seconds=100.0)
    for _ in range(10):
        size.took(3, seconds=1e-9)
    size.took(size.now, seconds=1.0)
    assert size.now == 16
    size.took(size.now, seconds=1.0)
    assert size.now == 32


def test_the_batch_halves_without_memory_and_stays():
    size = BatchSize()
    for _ in range(3):
        size.took(16, seconds=1.0)
    size.was_too_big(32)
    assert size.now == 16
    for _ in range(9):
        size.took(16, seconds=1e-9)
    assert size.now == 16
    size.was_too_big(32)  # another thread's batch, stacked before
    assert size.now == 16
    size.was_too_big(2)
    assert size.now == 1


# rows on a GPU -----------------------------------------------------------------------------


def sums(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)[:, :2] + 0.5


def numbers(n: int) -> list[np.ndarray]:
    return list(np.arange(3 * n, dtype=np.float32).reshape(n, 3))


def short(limit: int, error: RuntimeError, sizes: list[int]):
    """Return a network that has memory for `limit` images."""

    def see(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        if len(x) > limit:
            raise error
        return sums(x)

    return see


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory (9 GB)")],
    ids=["cuda", "mps"],
)
@pytest.mark.parametrize("limit", [1, 5, 16])
def test_work_goes_on_when_memory_runs_out(error, limit):
    gpu, sizes = Gpu(CPU), []
    rows = gpu.rows(short(limit, error, sizes), numbers(300))
    np.testing.assert_array_equal(rows, Cpu().rows(sums, numbers(300)))
    assert gpu.batch.now <= limit < 2 * max(gpu.batch.now, 8)
    sizes.clear()
    gpu.rows(short(limit, error, sizes), numbers(50))
    assert max(sizes) <= limit  # it has learned


def test_no_room_for_one_image_is_said():
    gpu, sizes = Gpu(CPU), []
    with pytest.raises(ShortOfMemory) as e:
        gpu.rows(short(0, torch.OutOfMemoryError("full"), sizes), numbers(40))
    assert str(e.value) == "cpu has too little memory free. End what else uses it, or give the device cpu."
    assert sizes == [16, 8, 4, 2, 1]


def test_another_fault_is_no_lack_of_memory():
    with pytest.raises(RuntimeError, match="a fault"):
        Gpu(CPU).rows(short(0, RuntimeError("a fault"), []), numbers(40))


def test_no_room_for_the_network_is_said(vit: Path, monkeypatch):
    def full(self: torch.nn.Module, *args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as m:
        m.setattr("active.embedding.pretrained.load_model", lambda path: (Full(), []))
        m.setattr(Full, "to", full)
        with pytest.raises(ShortOfMemory, match="too little memory"):
            load_pretrained(str(vit), Gpu(CPU))


class Full(torch.nn.Module):
    """A network that there is no room for."""


def test_one_thread_at_a_time():
    inside, most = [], []
    lock = threading.Lock()

    def see(x: torch.Tensor) -> torch.Tensor:
        with lock:
            inside.append(1)
            most.append(len(inside))
        out = sums(x)
        with lock:
            inside.pop()
        return out

    gpu = Gpu(CPU)
    with ThreadPoolExecutor(6) as pool:
        for rows in pool.map(lambda _: gpu.rows(see, numbers(200)), range(12)):
            np.testing.assert_array_equal(rows, Cpu().rows(sums, numbers(200)))
    assert max(most) == 1


# float16 -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("kind", ["vit", "resnet", "clip", "siglip", "dinov2"])
def test_float16_gives_nearly_the_same_rows(tmp_path: Path, kind: str):
    folder = str(save_network(tmp_path / kind, kind))
    plain, quick = load_pretrained(folder), load_pretrained(folder, Gpu(CPU))
    assert quick._on.half
    images = pictures(40)
    rows = quick.encode(images)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.sum(rows * plain.encode(images), axis=1).min() > 0.995
    assert (rows != plain.encode(images)).any()  # float16 was really at work
    assert (quick.key, quick.dim, quick.size_px) == (plain.key, plain.dim, plain.size_px)
    assert not {type(m).__name__ for m in quick._quick.model.modules()} & {"Fused"}


@pytest.mark.usefixtures("in_float32")
def test_a_network_beyond_float16_stays_in_float32(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = save_network(tmp_path / "large", "vit")
    weights = load_file(folder / "model.safetensors")
    for name, w in weights.items():
        if ".intermediate." in name or ".fc1." in name:
            w *= 1e7
        elif (".output.dense." in name and "attention" not in name) or ".fc2." in name:
            w *= 1e-7
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    plain, gpu = load_pretrained(str(folder)), load_pretrained(str(folder), Gpu(CPU))
    assert not gpu._on.half
    np.testing.assert_allclose(gpu.encode(pictures()), plain.encode(pictures()), atol=1e-5)


def test_an_image_beyond_float16_later_ends_float16():
    weights = torch.full((3, 2), 1000.0)
    gpu = Gpu(CPU)
    small, large = numbers(2), [np.full(3, 1e4, np.float32)]

    def see(x: torch.Tensor) -> torch.Tensor:
        return x @ weights  # in float16 where autocast is on

    gpu.half = True
    gpu.rows(see, small)
    assert gpu.half
    np.testing.assert_allclose(gpu.rows(see, large), [[3e7, 3e7]])
    assert not gpu.half


def test_float16_that_turns_the_rows_or_is_not_there_is_not_used():
    rows = np.eye(2, dtype=np.float32)
    gpu = Gpu(CPU)
    gpu.use_half(lambda: rows, rows)
    assert gpu.half
    gpu.use_half(lambda: rows[::-1], rows)
    assert not gpu.half
    gpu.use_half(lambda: (_ for _ in ()).throw(RuntimeError("not implemented for 'Half'")), rows)
    assert not gpu.half


def test_views_on_a_gpu(vit: Path):
    images = pictures(5)
    want = Views(load_pretrained(str(vit)), 4).encode(images)
    got = Views(load_pretrained(str(vit), Gpu(CPU)), 4).encode(images)
    assert np.sum(want * got, axis=1).min() > 0.995
