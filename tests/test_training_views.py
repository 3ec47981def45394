"""active.embedding.training.views: what two looks at a picture have in common, and what not."""

import colorsys

import pytest
import torch

from active.embedding.training import views as module
from active.embedding.training.views import views


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(n: int = 8, channels: int = 3, side: int = 40) -> torch.Tensor:
    """Soft patches of colour, as bytes."""
    small = torch.rand((n, channels, 5, 5), generator=rng(9))
    big = torch.nn.functional.interpolate(small, (side, side), mode="bicubic", antialias=True)
    return (big.clamp(0, 1) * 255).byte()


def test_views_are_in_range_and_differ_from_each_other() -> None:
    pictures = smooth()
    before = pictures.clone()
    one, two = views(pictures, rng(1), 32), views(pictures, rng(2), 32)
    assert one.shape == (8, 3, 32, 32)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert float((one - two).abs().mean()) > 0.03
    assert torch.equal(pictures, before)
    assert torch.equal(one, views(pictures, rng(1), 32))


def test_a_grey_picture_stays_exactly_grey() -> None:
    pictures = smooth(16)
    pictures[::2] = pictures[::2, :1]
    for seed in range(20):
        out = views(pictures, rng(seed), 32)
        assert torch.equal(out[::2, 0], out[::2, 1])
        assert torch.equal(out[::2, 0], out[::2, 2])
    assert (out[1::2, 0] - out[1::2, 1]).abs().amax((1, 2)).min() > 0.01


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_channels_are_not_mixed(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLURRED", 0)
    flat = torch.arange(channels).reshape(1, -1, 1, 1).expand(4, -1, 20, 20).mul(20).add(40).byte()
    out = views(flat, rng(3), 16)
    assert out.shape == (4, channels, 16, 16)
    steps = out.mean((2, 3)).diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))  # brighter and darker alike
    assert out.std((2, 3)).max() < 1e-4


def turns(n: int, **how: bool) -> torch.Tensor:
    """Return how n views show one picture, (n, 2, 2), in parts of it; without those that look at a fold."""
    side = 64
    along = torch.linspace(0, 255, side).round().byte()
    picture = torch.stack(
        [along.expand(side, side), along.expand(side, side).T, torch.zeros(side, side).byte()]
    )
    out = views(picture.expand(n, -1, -1, -1), rng(4), side, **how)[:, :, 24:40, 24:40]  # no reflection
    by_x, by_y = out.diff(dim=3).mean((2, 3))[:, :2], out.diff(dim=2).mean((2, 3))[:, :2]
    turn = torch.stack([by_x, by_y], 2) * (side - 1)
    return turn[torch.linalg.det(turn).abs() > 0.3]  # the others look at the fold of a reflection


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of the same colours."""
    monkeypatch.setattr(module, "RECOLOURED", 0)
    monkeypatch.setattr(module, "BLURRED", 0)


@pytest.mark.usefixtures("plain")
def test_any_angle_mirrored_or_not_and_an_area_of_a_half_to_all() -> None:
    turn = turns(400)
    assert len(turn) > 320
    area = torch.linalg.det(turn)
    assert 0.48 < float(area.abs().min()) < 0.6
    assert 0.9 < float(area.abs().max()) < 1.02
    assert 0.35 < float((area < 0).float().mean()) < 0.65
    angle = torch.atan2(turn[:, 0, 1], turn[:, 0, 0])
    assert torch.histc(angle, 8, -torch.pi, torch.pi).min() > 15


@pytest.mark.usefixtures("plain")
def test_a_picture_that_has_an_up_is_hardly_turned_and_mirrored_left_for_right() -> None:
    turn = turns(400, has_up=True)
    assert len(turn) > 380
    mirrored = torch.linalg.det(turn) < 0
    assert 0.35 < float(mirrored.float().mean()) < 0.65
    down = turn[:, 1] / turn[:, 1].norm(dim=1, keepdim=True)  # of the picture, in the view
    angle = torch.rad2deg(torch.atan2(down[:, 0].abs(), down[:, 1]))
    assert 7 < float(angle.max()) < 11


def test_colours_against_a_slow_version() -> None:
    """Brightness, contrast around the mean light, saturation towards the light: by the pixel."""
    x, u = torch.rand((5, 3, 4, 4), generator=rng(1)) * 0.2 + 0.3, torch.rand((5, 5), generator=rng(2))
    u[:, 3], u[:, 4] = (1 - 0.4) / 1.1, 0  # no hue; all are recoloured
    out = module._recoloured(x, u, torch.ones(5).bool())
    light = [0.299, 0.587, 0.114]
    for i in range(5):
        bright, contrast, saturation, _ = (0.4 + 1.1 * u[i, :4]).tolist()
        lights = (x[i] * torch.tensor(light)[:, None, None]).sum(0)
        toned = lights + saturation * (x[i] - lights)
        want = (bright * (contrast * toned + (1 - contrast) * lights.mean())).clamp(0, 1)
        torch.testing.assert_close(out[i], want)


def test_hue_turns_around_grey() -> None:
    third = module._turn(torch.full((1, 1, 1), 2 * torch.pi / 3))[0]
    red = torch.tensor([1.0, 0.0, 0.0])
    assert colorsys.rgb_to_hsv(*(third @ red).tolist())[0] == pytest.approx(1 / 3, abs=1e-3)
    torch.testing.assert_close(third @ torch.ones(3), torch.ones(3))
