"""active.embedding: one suite for every encoder, then what is particular to each."""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active.embedding import Encoder, builtin, load_encoder
from active.embedding import device as device_module
from tests.fakes import MeanColour
from tests.networks import CROPPER, PROCESSOR, pictures, plain_rows, save_network

MOBILENET = "mobilenet_v1_1.0_224"
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


# the suite that every encoder passes -------------------------------------------------------


@pytest.fixture(scope="module", params=["fake", "builtin", "vit", "resnet", "mobilenet"])
def encoder(request: pytest.FixtureRequest, networks: Path) -> Encoder:
    if request.param == "fake":
        return MeanColour()
    if request.param == "builtin":
        return load_encoder("builtin")
    if request.param == "mobilenet":
        return load_encoder(str(request.getfixturevalue("weights_dir") / MOBILENET))
    return load_encoder(str(save_network(networks / f"suite-{request.param}", request.param)))


def test_rows_are_unit_float32(encoder: Encoder) -> None:
    rows = encoder.encode(pictures(20))
    assert rows.shape == (20, encoder.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_nothing_gives_nothing(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_row_does_not_depend_on_its_company(encoder: Encoder) -> None:
    images = pictures(21)
    together = encoder.encode(images)
    alone = np.concatenate([encoder.encode([i]) for i in images])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(encoder.encode(images[::-1])[::-1], together, atol=2e-5)


def test_threads_do_not_disturb_each_other(encoder: Encoder) -> None:
    images = pictures(12)
    want = encoder.encode(images)
    with ThreadPoolExecutor(6) as pool:
        for rows in pool.map(lambda _: encoder.encode(images), range(8)):
            np.testing.assert_allclose(rows, want, atol=2e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (30_000, 10), (3, 2000)])
def test_any_shape_of_image(encoder: Encoder, size: tuple[int, int]) -> None:
    assert np.isfinite(encoder.encode([Image.new("RGB", size, "red")])).all()


def test_the_key_is_a_file_name(encoder: Encoder) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", encoder.key)
    assert encoder.dim > 1
    assert encoder.size_px > 1


def test_equal_images_point_the_same_way_and_others_do_not(encoder: Encoder) -> None:
    a, b = pictures(2)
    rows = encoder.encode([a, a.copy(), b])
    assert rows[0] @ rows[1] > 0.9999
    assert rows[0] @ rows[2] < 0.9999


# networks of transformers ------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "vit",
        "vit classifier",
        "vit without pooler",
        "dinov2",
        "dinov3",
        "resnet",
        "convnext",
        "mobilenet v1",
        "mobilenet v2",
        "clip",
        "siglip",
        "clip vision",
    ],
)
@pytest.mark.parametrize("processor", [PROCESSOR, CROPPER], ids=["squeezed", "cropped"])
def test_the_same_rows_as_transformers(networks: Path, kind: str, processor: dict[str, object]) -> None:
    folder = save_network(networks / f"{kind} {processor['image_processor_type']}", kind, processor)
    encoder = load_encoder(str(folder))
    images = pictures(7)
    rows = encoder.encode(images)
    assert np.sum(rows * plain_rows(folder, images, kind), axis=1).min() > 0.9999  # a grey level may differ
    assert encoder.prepare(images[0]).dtype == np.uint8
    assert (encoder.dim == 12) == (kind == "clip")


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1", "I;16"])
def test_any_mode_of_image(networks: Path, mode: str) -> None:
    odd = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8}
    for processor in (PROCESSOR, PROCESSOR | odd):
        folder = networks / f"modes {processor['image_processor_type']}"
        encoder = load_encoder(str(folder if folder.exists() else save_network(folder, "vit", processor)))
        grey = pictures(1)[0].convert("L")
        image = grey if mode == "L" else grey.convert("I").convert("I;16") if mode == "I;16" else None
        image = image or grey.convert("RGB").convert(mode)
        rows = encoder.encode([image, image.convert("RGB")])
        np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_convolutions_are_fused(networks: Path) -> None:
    encoder = load_encoder(str(save_network(networks / "fused", "resnet")))
    assert {type(m).__name__ for m in encoder._quick.model.modules()} >= {"Fused"}


@pytest.mark.usefixtures("in_float32")
def test_what_can_not_be_fused_stays_plain(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_network(networks / "plain", "resnet")
    fused = load_encoder(str(folder))
    monkeypatch.setattr(
        "active.embedding.fused.fuse", lambda model: (_ for _ in ()).throw(RuntimeError("no oneDNN"))
    )
    plain = load_encoder(str(folder))
    assert not {type(m).__name__ for m in plain._quick.model.modules()} & {"Fused"}
    np.testing.assert_allclose(plain.encode(pictures()), fused.encode(pictures()), atol=1e-5)
    assert plain.key == fused.key


@pytest.mark.usefixtures("in_float32")
def test_a_fusion_that_changes_the_rows_is_not_used(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(model: object) -> int:
        next(iter(model.parameters())).data += 1
        return 1

    folder = save_network(networks / "spoiled", "resnet")
    want = load_encoder(str(folder)).encode(pictures())
    monkeypatch.setattr("active.embedding.fused.fuse", spoil)
    np.testing.assert_allclose(load_encoder(str(folder)).encode(pictures()), want, atol=1e-5)


@pytest.mark.usefixtures("in_float32")
def test_a_processor_that_does_more_is_used_itself(networks: Path) -> None:
    odd = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8}
    folder = save_network(networks / "odd", "resnet", PROCESSOR | odd)
    encoder = load_encoder(str(folder))
    images = pictures(6)
    assert encoder.prepare(images[0]).dtype == np.float32
    np.testing.assert_allclose(encoder.encode(images), plain_rows(folder, images, "resnet"), atol=1e-4)


def test_the_key_follows_weights_and_settings_not_the_place(networks: Path, tmp_path: Path) -> None:
    folder = save_network(networks / "my net (v2)", "vit")
    key = load_encoder(str(folder)).key
    assert re.fullmatch(r"my-net-v2-?-[0-9a-f]{8}", key)
    copied = shutil.copytree(folder, tmp_path / folder.name)
    assert load_encoder(str(copied)).key == key
    (copied / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | {"image_mean": [0.5] * 3}))
    assert load_encoder(str(copied)).key != key


@pytest.mark.usefixtures("in_float32")
@pytest.mark.data
def test_mobilenet_gives_the_rows_of_transformers(weights_dir: Path) -> None:
    folder = weights_dir / MOBILENET
    encoder = load_encoder(str(folder))
    assert (encoder.dim, encoder.size_px) == (1024, 256)
    images = pictures(10)
    np.testing.assert_allclose(encoder.encode(images), plain_rows(folder, images, "mobilenet"), atol=2e-3)


def test_loading_prints_nothing(networks: Path) -> None:
    folder = save_network(networks / "quiet", "vit classifier")
    code = "import sys; from active.embedding import load_encoder; load_encoder(sys.argv[1])"
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=env,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_the_builtin_imports_no_transformers() -> None:
    code = (
        "import sys; import active.embedding; assert 'torch' not in sys.modules\n"
        "active.embedding.load_encoder('builtin'); assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# the builtin -------------------------------------------------------------------------------


def test_builtin_is_small_and_stable() -> None:
    encoder = load_encoder("builtin")
    assert encoder.key == "builtin-1-510da727"  # vectors on people's disks are filed under it
    assert encoder.dim == 1024
    assert builtin.WEIGHTS.stat().st_size < 8e6


def test_builtin_tells_stripes_by_their_direction_and_width() -> None:
    y, x = np.mgrid[0:64, 0:64]

    def stripes(at: np.ndarray) -> Image.Image:
        return Image.fromarray((127 + 100 * np.sin(at)).astype(np.uint8)).convert("RGB")

    encoder = load_encoder("builtin")
    rows = encoder.encode([stripes(x), stripes(x + 1.0), stripes(y), stripes(x / 4)])
    assert rows[0] @ rows[1] > max(rows[0] @ rows[2], rows[0] @ rows[3]) + 0.05


def test_builtin_tells_colours() -> None:
    encoder = load_encoder("builtin")
    rows = encoder.encode([Image.new("RGB", (64, 64), c) for c in ("#1040a0", "#1545a5", "#308030")])
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.05


def test_small_batches_are_what_the_network_sees(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(save_network(networks / "batches", "vit")))
    sizes: list[int] = []
    real = encoder._run
    monkeypatch.setattr(encoder, "_run", lambda x: sizes.append(len(x)) or real(x))
    encoder.encode(pictures(2 * device_module.BATCH + 1))
    assert sizes == [device_module.BATCH] * 2 + [1]
