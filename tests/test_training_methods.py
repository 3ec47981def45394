"""active.embedding.training's methods: each loss against the paper's formula, written out as loops."""

import math

import pytest
import torch
from torch import nn

from active.embedding.training import dino, objective, simclr, simsiam, vicreg
from active.methods import METHODS, load_method


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cos(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def test_nt_xent() -> None:
    one, two = rows(5, 4, seed=1), rows(5, 4, seed=2)
    z = [v for pair in zip(one.tolist(), two.tolist(), strict=True) for v in pair]  # 2k-1 and 2k are a pair
    total = 0.0
    for i in range(10):
        j = i ^ 1
        others = sum(math.exp(cos(z[i], z[k]) / 0.3) for k in range(10) if k != i)
        total -= math.log(math.exp(cos(z[i], z[j]) / 0.3) / others)
    assert float(simclr.nt_xent(one, two, 0.3)) == pytest.approx(total / 10, rel=1e-5)


def test_simsiam_distance() -> None:
    p, z = rows(6, 4, seed=1).requires_grad_(), rows(6, 4, seed=2).requires_grad_()
    loss = simsiam.distance(p, z)
    want = -sum(cos(a, b) for a, b in zip(p.tolist(), z.tolist(), strict=True)) / 6
    assert loss.item() == pytest.approx(want, rel=1e-5)
    loss.backward()
    assert p.grad is not None
    assert z.grad is None


def test_vicreg() -> None:
    one, two = rows(7, 3, seed=1) * 0.5, rows(7, 3, seed=2)
    n, d = one.shape

    def varied(z: list[list[float]]) -> float:
        out = 0.0
        for j in range(d):
            mean = sum(r[j] for r in z) / n
            var = sum((r[j] - mean) ** 2 for r in z) / (n - 1)
            out += max(0, 1 - math.sqrt(var + 1e-4)) / d
        return out

    def apart(z: list[list[float]]) -> float:
        mean = [sum(r[j] for r in z) / n for j in range(d)]
        out = 0.0
        for i in range(d):
            for j in range(d):
                if i != j:
                    out += (sum((r[i] - mean[i]) * (r[j] - mean[j]) for r in z) / (n - 1)) ** 2 / d
        return out

    a, b = one.tolist(), two.tolist()
    alike = sum((a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(d)) / n / d
    want = 25 * alike + 25 * (varied(a) + varied(b)) / 2 + apart(a) + apart(b)
    assert float(vicreg.vicreg(one, two)) == pytest.approx(want, rel=1e-5)


def test_dino_surprise() -> None:
    said, slow, centre = rows(4, 5, seed=1), rows(4, 5, seed=2), rows(5, seed=3)

    def shares(values: list[float], warmth: float) -> list[float]:
        power = [math.exp(v / warmth) for v in values]
        return [p / sum(power) for p in power]

    total = 0.0
    for i in range(4):
        target = shares((slow[i] - centre).tolist(), 0.04)
        total -= sum(t * math.log(s) for t, s in zip(target, shares(said[i].tolist(), 0.1), strict=True))
    assert float(dino.surprise(said, slow, centre)) == pytest.approx(total / 4, rel=1e-4)


def test_dino_follows_and_centres() -> None:
    torch.manual_seed(0)
    method = dino.DINO(6)
    assert method.momentum(0) == pytest.approx(dino.KEEPS)
    assert method.momentum(1) == 1
    slow = rows(4, 6, seed=1), rows(4, 6, seed=2)
    said = torch.cat([method.slow_head(s) for s in slow]).mean(0).detach()
    method.train()(rows(4, 6), rows(4, 6), slow).loss.backward()
    torch.testing.assert_close(method.centre, 0.1 * said)
    assert all(p.grad is None for p in method.slow_head.parameters())
    before, now = method.slow_head.classes.clone(), method.head.classes.data
    now += 1
    method.follow(0.75)
    torch.testing.assert_close(method.slow_head.classes, 0.75 * before + 0.25 * now)


def test_spread() -> None:
    assert float(objective.spread(rows(2000, 16))) == pytest.approx(1, abs=0.05)
    assert float(objective.spread(torch.ones(9, 4) * 3)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_and_takes_both_views_alike(name: str) -> None:
    """The contract: a number, gradients for the features, and the loss falls."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    method = load_method(name)(12).train()
    assert isinstance(method, objective.Objective)
    pictures, net = rows(16, 8), nn.Linear(8, 12)
    free = [p for p in [*method.parameters(), *net.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=1e-3)
    losses = []
    slow = (rows(16, 12, seed=8), rows(16, 12, seed=9)) if method.momentum(0) is not None else None
    with torch.no_grad():
        for _ in range(20):  # DINO's centre settles
            method(rows(16, 12, seed=1), rows(16, 12, seed=2), slow)
    for _ in range(12):
        one, two = (net(pictures + 0.3 * rows(16, 8, seed=k)) for k in (0, 1))
        seen = method(one, two, slow)
        assert seen.rows.shape[0] == 16
        optimizer.zero_grad()
        seen.loss.backward()
        assert net.weight.grad is not None
        optimizer.step()
        losses.append(seen.loss.item())
    assert sum(losses[-3:]) < sum(losses[1:4])
