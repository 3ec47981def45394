"""active.embedding.training.backbones: what is unfolded, trained and written is what the encoders read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from active.embedding import load_encoder
from active.embedding.builtin import Builtin, load_weights
from active.embedding.network import DIM, SIDE_PX, fitting, network
from active.embedding.training.backbones import Transformers, Unfolded, load_backbone
from tests.test_builtin import learned
from tests.test_embedding import CROPPER, pictures, save_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    file = tmp_path_factory.mktemp("builtin") / "w.safetensors"
    save_file({k: v.half() for k, v in learned().weights().items()}, file)
    return file


def seen(n: int = 4, seed: int = 0) -> torch.Tensor:
    small = torch.rand((n, 3, 9, 9), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (SIDE_PX, SIDE_PX), mode="bilinear")


def test_unfolded_and_calibrated_it_computes_the_same(weights: Path) -> None:
    x = seen()
    with torch.no_grad():
        want = network(load_weights(weights))(x * 2 - 1).mean((2, 3))
        backbone = Unfolded(weights).eval()
        torch.testing.assert_close(backbone(x), want, rtol=1e-4, atol=1e-5)
        backbone.calibrate(seen(6, seed=1))
        torch.testing.assert_close(backbone(x), want, rtol=1e-3, atol=1e-4)
        first = backbone.steps[0]
        out = first.conv(seen(6, seed=1) * 2 - 1)
        torch.testing.assert_close(first.norm.running_mean, out.mean((0, 2, 3)))
        torch.testing.assert_close(first.norm.weight, (out.var((0, 2, 3)) + first.norm.eps).sqrt())
        on_sample = backbone(seen(6, seed=1))
        backbone.train()
        torch.testing.assert_close(backbone(seen(6, seed=1)), on_sample, rtol=0.02, atol=0.02)


def test_between_two_networks_lie_their_folded_weights(weights: Path) -> None:
    start, other = Unfolded(weights), Unfolded(weights)
    for network_, seed in ((start, 1), (other, 2)):
        network_.calibrate(seen(6, seed=seed))
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.1)
    for share in (0.0, 0.3, 1.0):
        middle = other.between(start, share).folded()
        for name, mine in other.folded().items():
            want = torch.lerp(start.folded()[name], mine, share)
            torch.testing.assert_close(middle[name], want, rtol=1e-4, atol=1e-5)


def test_folded_again_it_is_the_file_it_was(weights: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(weights))
    backbone.calibrate(seen(6))
    backbone.save(tmp_path)
    a, b = load_file(weights), load_file(tmp_path / "builtin.safetensors")
    assert fitting(b)
    for k in a:
        assert b[k].dtype == torch.float16
        torch.testing.assert_close(a[k], b[k], rtol=2e-3, atol=1e-4)
    images = pictures(3)
    old, new = Builtin(weights).encode(images), Builtin(tmp_path / "builtin.safetensors").encode(images)
    assert (old * new).sum(1).min() > 0.9999
    assert load_backbone(str(tmp_path)).key == Builtin(tmp_path / "builtin.safetensors").key


def test_from_random_numbers(tmp_path: Path) -> None:
    one, two, other = Unfolded(None, seed=1), Unfolded(None, seed=1), Unfolded(None, seed=2)
    assert one.is_fresh
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.steps[0].conv.weight, other.steps[0].conv.weight)
    one.train()(seen())
    one.save(tmp_path)
    assert Builtin(tmp_path / "builtin.safetensors").encode(pictures(2)).shape == (2, DIM)


@pytest.mark.usefixtures("in_float32")
@pytest.mark.parametrize("kind", ["vit", "vit classifier", "resnet", "dinov2", "clip", "siglip"])
def test_a_network_of_transformers_is_seen_and_written_as_its_encoder_sees_it(
    kind: str, tmp_path: Path
) -> None:
    folder = save_network(tmp_path / "from", kind, CROPPER)
    backbone = load_backbone(str(folder)).eval()
    assert isinstance(backbone, Transformers)
    assert backbone.side_px == 32
    encoder, images = load_encoder(str(folder)), pictures(3)
    assert backbone.key == encoder.key

    def rows() -> np.ndarray:
        x = torch.from_numpy(np.stack([encoder.prepare(i) for i in images])).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            return torch.nn.functional.normalize(backbone(x), dim=1).numpy()

    np.testing.assert_allclose(rows(), encoder.encode(images), atol=1e-4)
    loss = backbone.train()(torch.rand(2, 3, 32, 32)).square().sum()
    loss.backward()
    with torch.no_grad():
        for p in backbone.parameters():
            if p.grad is not None:
                p -= 0.02 * p.grad.sign() * p.abs().mean()
    backbone.eval().save(tmp_path / "to")
    backbone.save(tmp_path / "to")  # the next one takes its place
    saved = load_encoder(str(tmp_path / "to"))
    np.testing.assert_allclose(rows(), saved.encode(images), atol=1e-4)
    assert np.abs(saved.encode(images) - encoder.encode(images)).max() > 1e-4
    assert saved.dim == encoder.dim
    assert not list((tmp_path / "to").glob("*.part"))
    assert (
        json.loads((tmp_path / "to" / "preprocessor_config.json").read_text())["image_mean"]
        == CROPPER["image_mean"]
    )


def test_what_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no folder"):
        load_backbone(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="There is no file"):
        load_backbone(str(tmp_path / "none.safetensors"))
