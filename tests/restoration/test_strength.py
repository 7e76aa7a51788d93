"""How strongly is painted at which quality, and what is held back."""

import numpy as np
import pytest
import torch

from codec.models.restorer import Condition
from codec.restoration import restore
from codec.restoration.strength import ENLARGED, PLAIN, STRENGTHS, Strength, said, strength, without_dots
from tests.support.small import network


def fine(level: float, side: int = 128) -> torch.Tensor:
    """A checkerboard of pixels of so many grey levels."""
    i = torch.arange(side)
    return (level / 255 * (-1.0) ** (i[:, None] + i)).expand(1, 3, -1, -1)


def rms(x: torch.Tensor) -> float:
    return 255 * x.square().mean().sqrt().item()


def test_faint_dots_go_and_strong_texture_stays():
    """A checkerboard is all of what the blur takes away: r^2 / (r^2 + level^2) of it is left."""
    for r in (1.0, 10.0, 40.0):
        left = rms(without_dots(fine(r), 10.0)[..., 8:-8, 8:-8])
        assert left == pytest.approx(r * r**2 / (r**2 + 100), rel=1e-3)


def test_what_is_coarse_stays_however_faint():
    wave = (2 / 255 * torch.sin(torch.arange(128.0) * (2 * torch.pi / 32))).expand(1, 3, 128, 128)
    assert rms(without_dots(wave, 10.0) - wave) < 0.05 * rms(wave)
    flat = torch.full((1, 3, 64, 64), 0.1)
    assert torch.allclose(without_dots(flat, 10.0), flat, atol=1e-7)


def test_strong_texture_beside_faint_dots_keeps_its_own():
    """A picture of both: far from the border each is treated as if it were alone, and nothing beyond two blocks is
    seen."""
    both = fine(1.0).clone()
    both[..., 64:] = fine(40.0)[..., 64:]
    out = without_dots(both, 10.0)
    assert torch.allclose(out[..., :40], without_dots(fine(1.0), 10.0)[..., :40], atol=1e-7)
    assert rms(out[..., 96:-8]) > 0.9 * rms(both[..., 96:-8])


def test_a_border_of_the_picture_is_not_darkened():
    assert without_dots(torch.ones(1, 3, 32, 32), 10.0).min() > 0.999


@pytest.mark.parametrize("name", ["gan", "ldm", "perceptual", "one of somebody else"])
def test_strength_follows_the_quality_without_jumps(name):
    rows = STRENGTHS.get(name, PLAIN)
    for place, row in rows:
        assert strength(name, place, 8) == row
    (a, first), (b, second) = rows[:2]
    half = strength(name, (a + b) / 2, 8)
    assert half.emphasis == pytest.approx((first.emphasis + second.emphasis) / 2)
    assert half.dots == pytest.approx((first.dots + second.dots) / 2)
    assert strength(name, 2.0, 8) == Strength(1.1) and strength(name, 7.0, 8) == rows[-1][1]


def test_an_enlargement_has_its_own():
    assert [strength(name, 8.0 + k, 8) for name in ("gan", "ldm") for k in (0, 1)] == [*ENLARGED, *ENLARGED]


def test_what_is_said_names_what_is_not_plain():
    assert said("perceptual") == "emphasis 0.85/1/1.1/1.2/1.4"
    assert "noise 0.5/" in said("ldm") and "dots 10/" in said("gan") and said("gan") != said("ldm")


@pytest.mark.parametrize(
    "name, task, scale",
    [("gan", 0.0, 0.5), ("ldm", 0.7, 0.5), ("ldm", 1.05, 0.75), ("ldm", 3.0, 1.0), ("ldm", 8.0, 1.0)],
)
def test_noise_of_one_step(monkeypatch, name, task, scale):
    """Less of it at low qualities, all of it at others and in a picture that was enlarged."""
    seen = []
    net = network()
    monkeypatch.setattr(net, "generate", lambda z, condition: seen.append(z) or z)
    x = torch.full((1, 3, 256, 256), 0.5)
    known = restore.Known(Condition(x, torch.tensor([task]), None), None)
    restore.restore(name, net, known, restore.Options(), 3, lambda done: None)
    assert float(seen[0].std()) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("task", [0.7, 3.0, 8.0, 9.0])
def test_dots_are_held_back_at_low_qualities_only(monkeypatch, task):
    """Of a painter that paints a faint checkerboard everywhere."""
    net = network()
    monkeypatch.setattr(net, "paint", lambda s, condition: condition.x_c + fine(2.0)[..., :64, :64])
    x = torch.full((1, 3, 64, 64), 0.5)
    known = restore.Known(Condition(x, torch.tensor([task]), None), None)
    painted = rms(restore.restore("gan", net, known, restore.Options(), 0, lambda done: None) - x)
    by = strength("gan", task, 8)
    assert painted == pytest.approx(2 * by.emphasis * (4 / 104 if task < 1 else 1), rel=0.05)


def test_realism_goes_straight_to_what_is_held_back(small_codec):
    data = small_codec.encode(np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8), quality=5)
    vq, all_of_it = (small_codec.decode_array(data, decoder="gan", realism=r).astype(float) for r in (0, 1))
    assert np.array_equal(vq, small_codec.decode_array(data))
    for realism in (0.25, 0.75):
        here = small_codec.decode_array(data, decoder="gan", realism=realism)
        assert np.abs(here - ((1 - realism) * vq + realism * all_of_it)).max() <= 0.5 + 0.5 * realism
