"""The fastest form of a network: bfloat16 where the processor multiplies it and the rows stay the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from active.embedding import load_encoder
from active.embedding.quick import NATIVE, Quick, computes_bfloat16, quickest
from tests.networks import pictures, save_network


def given_bfloat16(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr("active.embedding.quick.computes_bfloat16", lambda: there)


def linear(weights: torch.Tensor) -> torch.nn.Linear:
    out = torch.nn.Linear(8, 4, bias=False)
    out.weight = torch.nn.Parameter(weights, requires_grad=False)
    return out


def rows_of(form: Quick) -> np.ndarray:
    x = torch.rand(5, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.inference_mode():
        return torch.nn.functional.normalize(form.model(x.to(form.dtype)).float(), dim=1).numpy()


def weights(seed: int = 1) -> torch.Tensor:
    return torch.rand(4, 8, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_bfloat16_is_taken_where_the_processor_has_it_and_the_network_is_left_alone(monkeypatch):
    given_bfloat16(monkeypatch, True)
    plain = linear(weights())
    form = quickest(plain, rows_of)
    assert form.dtype == torch.bfloat16
    assert plain.weight.dtype == torch.float32
    assert np.sum(rows_of(form) * rows_of(Quick(plain, torch.float32)), axis=1).min() > 0.999


def test_without_it_the_network_stays_in_float32(monkeypatch):
    given_bfloat16(monkeypatch, False)
    plain = linear(weights())
    assert quickest(plain, rows_of) == (plain, torch.float32)


def test_rows_that_would_turn_too_far_keep_float32(monkeypatch):
    given_bfloat16(monkeypatch, True)
    # what tells pictures apart is lost beside a number that all have in common
    plain = torch.nn.Sequential(linear(weights() * 1e-3), Common())
    assert quickest(plain, rows_of).dtype == torch.float32


def test_a_network_that_can_not_compute_in_it_keeps_float32(monkeypatch):
    given_bfloat16(monkeypatch, True)
    assert quickest(torch.nn.Sequential(linear(weights()), OnlyFloat32()), rows_of).dtype == torch.float32


def test_what_this_processor_has_is_what_torch_says():
    known = torch.cpu.get_capabilities()
    assert computes_bfloat16() == any(known.get(name, False) for name in NATIVE)


@pytest.mark.parametrize("kind", ["vit", "resnet", "clip", "siglip", "dinov2", "convnext", "mobilenet v1"])
def test_networks_of_transformers_give_nearly_the_same_rows_in_it(kind, tmp_path: Path, monkeypatch):
    folder, images = str(save_network(tmp_path / kind, kind)), pictures(12)
    given_bfloat16(monkeypatch, False)
    plain = load_encoder(folder)
    given_bfloat16(monkeypatch, True)
    quick = load_encoder(folder)
    assert (quick.key, quick.dim) == (plain.key, plain.dim)
    assert quick._quick.dtype == torch.bfloat16
    rows = quick.encode(images)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.sum(rows * plain.encode(images), axis=1).min() > 0.998
    assert (rows != plain.encode(images)).any()


class Common(torch.nn.Module):
    """Takes away what it added: nothing changes but by rounding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + 1) - 1


class OnlyFloat32(torch.nn.Module):
    """An operation that is there in float32 alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32:
            raise RuntimeError('"special" not implemented for BFloat16')
        return x
