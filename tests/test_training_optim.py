"""active.embedding.training.optim: LARS against its formula, and the rates."""

import pytest
import torch
from torch import nn

from active.embedding.training.optim import LARS, groups, optimizer, rates


def test_lars_against_its_formula() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    weight, bias = (p.detach().double().clone() for p in (layer.weight, layer.bias))
    lars = LARS(groups(layer, 0.1), lr=0.5, momentum=0.8, trust=0.02)
    speed_w, speed_b = torch.zeros_like(weight), torch.zeros_like(bias)
    for step in range(4):
        for group in lars.param_groups:
            group["lr"] = 0.5 / (step + 1)
        layer.weight.grad, layer.bias.grad = torch.randn(3, 4), torch.randn(3)
        g_w, g_b = layer.weight.grad.double(), layer.bias.grad.double()
        lars.step()
        local = 0.02 * weight.norm() / (g_w.norm() + 0.1 * weight.norm())
        speed_w = 0.8 * speed_w + 0.5 / (step + 1) * local * (g_w + 0.1 * weight)
        speed_b = 0.8 * speed_b + 0.5 / (step + 1) * g_b
        weight, bias = weight - speed_w, bias - speed_b
    torch.testing.assert_close(layer.weight.double(), weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(layer.bias.double(), bias, rtol=1e-5, atol=1e-6)


def test_lars_moves_weights_of_zero() -> None:
    p = nn.Parameter(torch.zeros(2, 2))
    p.grad = torch.ones(2, 2)
    LARS([{"params": [p]}], lr=0.1).step()
    assert torch.equal(p, torch.full((2, 2), -0.1))


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_biases_and_norms_do_not_decay(name: str) -> None:
    a, b = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    out = optimizer(name, a, b, decay=0.3)
    assert [g["weight_decay"] for g in out.param_groups] == [0.3, 0, 0.3, 0]
    assert [len(g["params"]) for g in out.param_groups] == [1, 1, 1, 3]


def test_rates_rise_and_fall_and_the_backbone_waits() -> None:
    shares = [i / 1000 for i in range(1001)]
    both = [rates(s, 1.0, 0.1) for s in shares]
    assert all(r.backbone == 0 for r, s in zip(both, shares, strict=True) if s <= 0.05)
    assert both[51].backbone > 0
    top = max(range(1001), key=lambda i: both[i].backbone)
    assert shares[top] == pytest.approx(0.1, abs=0.01)
    assert both[top].backbone == pytest.approx(0.1, rel=0.05)
    falling = [r.projector for r in both[60:]]
    assert falling == sorted(falling, reverse=True)
    assert rates(0.5, 1.0, 0.1).projector == pytest.approx(0.5)
    assert 0 < both[-1].projector < 0.01
    fresh = [rates(s, 1.0, 1.0, frozen=0) for s in shares]
    assert all(r.backbone > 0 for r in fresh[1:])
    assert all(r.backbone == pytest.approx(r.projector) for r in fresh[100:-20])
