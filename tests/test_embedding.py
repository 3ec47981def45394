"""active.embedding: one suite for every encoder, then what is particular to each."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from active.embedding import Encoder, load_encoder
from active.embedding import device as device_module
from tests.fakes import MeanColour

MOBILENET = "mobilenet_v1_1.0_224"
ROOT = Path(__file__).parent.parent

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32},
    "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": MEAN, "image_std": STD,
}  # fmt: skip
CROPPER = PROCESSOR | {
    "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 36}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
}  # fmt: skip


def pictures(n: int = 5, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        small = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3), np.uint8)
        out.append(Image.fromarray(small).resize(tuple(rng.integers(20, 200, 2)), Image.Resampling.BICUBIC))
    return out


def save_network(folder: Path, kind: str, processor: dict[str, object] = PROCESSOR) -> Path:
    """Save a small network with random weights, as its maker would, and return its folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        transformers.logging.disable_progress_bar()
        torch.manual_seed(0)
        sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        vision = sizes | {"image_size": 32, "patch_size": 8}
        if kind == "vit":
            model = transformers.ViTModel(transformers.ViTConfig(**vision))
        elif kind == "vit classifier":
            model = transformers.ViTForImageClassification(transformers.ViTConfig(**vision))
        elif kind == "dinov2":
            model = transformers.Dinov2Model(transformers.Dinov2Config(**vision))
        elif kind == "resnet":
            config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
            model = transformers.ResNetModel(config)
        elif kind == "clip":
            text = sizes | {"vocab_size": 50}
            model = transformers.CLIPModel(
                transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
            )
        elif kind == "siglip":
            text = sizes | {"vocab_size": 50}
            model = transformers.SiglipModel(
                transformers.SiglipConfig(text_config=text, vision_config=vision)
            )
        elif kind == "clip vision":
            model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision))
        else:
            model = transformers.BertModel(transformers.BertConfig(**sizes, vocab_size=50))
        for module in model.modules():  # a network that has learned something: no batch norm is the identity
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2)
        model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def plain_rows(folder: Path, images: list[Image.Image], kind: str) -> np.ndarray:
    """The rows as transformers' own documentation would have one compute them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers

        model = transformers.AutoModel.from_pretrained(folder).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        out = []
        with torch.inference_mode():
            for image in images:
                x = processor(image, return_tensors="pt")["pixel_values"]
                if kind in ("clip", "siglip"):
                    row = model.get_image_features(pixel_values=x)
                    row = getattr(row, "pooler_output", row)
                elif kind == "vit classifier":
                    row = model(pixel_values=x).last_hidden_state[:, 0]
                else:
                    row = model(pixel_values=x).pooler_output
                out.append(row.flatten(1).numpy()[0])
    rows = np.array(out)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


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
    "kind", ["vit", "vit classifier", "dinov2", "resnet", "clip", "siglip", "clip vision"]
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


def test_convolutions_are_fused(networks: Path) -> None:
    encoder = load_encoder(str(save_network(networks / "fused", "resnet")))
    assert {type(m).__name__ for m in encoder._model.modules()} >= {"Fused"}


def test_what_can_not_be_fused_stays_plain(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_network(networks / "plain", "resnet")
    fused = load_encoder(str(folder))
    monkeypatch.setattr(
        "active.embedding.fused.fuse", lambda model: (_ for _ in ()).throw(RuntimeError("no oneDNN"))
    )
    plain = load_encoder(str(folder))
    assert not {type(m).__name__ for m in plain._model.modules()} & {"Fused"}
    np.testing.assert_allclose(plain.encode(pictures()), fused.encode(pictures()), atol=1e-5)
    assert plain.key == fused.key


def test_a_fusion_that_changes_the_rows_is_not_used(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(model: object) -> int:
        next(iter(model.parameters())).data += 1
        return 1

    folder = save_network(networks / "spoiled", "resnet")
    want = load_encoder(str(folder)).encode(pictures())
    monkeypatch.setattr("active.embedding.fused.fuse", spoil)
    np.testing.assert_allclose(load_encoder(str(folder)).encode(pictures()), want, atol=1e-5)


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


@pytest.mark.data
def test_mobilenet_gives_the_rows_of_transformers(weights_dir: Path) -> None:
    folder = weights_dir / MOBILENET
    encoder = load_encoder(str(folder))
    assert (encoder.dim, encoder.size_px) == (1024, 256)
    images = pictures(10)
    np.testing.assert_allclose(encoder.encode(images), plain_rows(folder, images, "mobilenet"), atol=2e-3)


# folders that are none ---------------------------------------------------------------------


def why(folder: Path) -> str:
    with pytest.raises(ValueError) as e:  # noqa: PT011  # the sentence is what is looked at
        load_encoder(str(folder))
    return str(e.value)


def test_folders_that_hold_no_network(networks: Path, tmp_path: Path) -> None:
    assert why(tmp_path / "nothing") == f"There is no folder {tmp_path / 'nothing'}."
    assert why(tmp_path) == f"{tmp_path} holds no config.json, so it is no image network of transformers."
    (tmp_path / "config.json").write_text("{")
    assert why(tmp_path) == f"{tmp_path / 'config.json'} can't be read as JSON."

    def changed(name: str) -> Path:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return shutil.copytree(save_network(networks / "whole", "vit"), tmp_path / name)

    folder = changed("no processor")
    (folder / "preprocessor_config.json").unlink()
    assert "holds no preprocessor_config.json" in why(folder)

    folder = changed("no weights")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert why(folder) == f"{folder} holds no weights in the safetensors format."

    folder = changed("cut off")
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size // 2)
    assert why(folder) == f"The weights {folder / 'model.safetensors'} are cut off or damaged."

    folder = changed("own code")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoModel": "code.Net", "AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert why(folder).startswith("transformers can't load")
    assert not (tmp_path / "ran").exists()

    folder = changed("other sizes")
    config = json.loads((folder / "config.json").read_text()) | {"hidden_size": 48}
    (folder / "config.json").write_text(json.dumps(config))
    assert str(folder) in why(folder)

    folder = changed("weights of another network")
    shutil.copy(save_network(networks / "donor", "resnet") / "model.safetensors", folder)
    assert "don't fit its config.json" in why(folder)


def test_a_network_that_reads_text(networks: Path) -> None:
    assert "takes no images" in why(save_network(networks / "bert", "bert"))


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
    assert encoder.key == "builtin-stats-1"
    assert encoder.dim <= 256


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
