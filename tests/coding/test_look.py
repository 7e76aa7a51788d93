"""The encoder's other look: what it moves, in tiles, and when it is not followed."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from codec import manifest, zoo
from codec.bitstream.container import level_of
from codec.coding import look, ratecontrol, search, tiles
from codec.coding.model import Base, pad
from codec.errors import CodecError
from codec.models.refiner import START, Refiner, RefinerConfig
from codec.training.data.photos import drawn
from tests.support.small import CONFIG, small_coder, small_model

LEVEL = 3200


def refiner(seed: int = 0, head: float = 0.3) -> Refiner:
    """Random weights, the head's too."""
    torch.manual_seed(seed)
    net = Refiner(RefinerConfig(CONFIG.channels, 16, 2))
    with torch.no_grad():
        net.head.weight.normal_(0, head)
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def example():
    """Model, picture of 40x6 positions, what effort 1 would send of it, what it sends, and that decoded."""
    net = small_model().requires_grad_(False)
    base = Base(0, 0, CONFIG, net, small_coder(net)[0])
    x = pad(np.random.default_rng(0).integers(0, 256, (640, 96, 3), np.uint8))
    asked = base.to_steps(x, LEVEL)
    sent = base.coder.measure(asked.v[0].numpy(), asked.tokens[0].numpy(), LEVEL, asked.weight)
    return base, x, asked, sent, base.decoded(sent.v_hat, LEVEL)


def moved(example, net: Refiner) -> torch.Tensor:
    base, x, asked, sent, x_hat = example
    return look.looked(base, net, x, x_hat, asked.v, sent.v_hat, asked.position)


def test_at_the_start_it_adds_what_the_quantiser_did_not_know(example):
    base, x, asked, sent, x_hat = example
    lacks = (x.float() - torch.from_numpy(x_hat).permute(2, 0, 1)[None]) / 255
    e = base.vqvae.g_a.linear(lacks) * torch.exp2(base.vqvae.interpolate(base.vqvae.log2_gain, asked.position))
    missed = asked.v - torch.from_numpy(sent.v_hat)[None] / 256
    assert torch.allclose(moved(example, refiner(head=0.0)) - asked.v, START * (e - missed), atol=1e-4)


def test_tiles_leave_no_seams(example, monkeypatch):
    net, whole = refiner(), moved(example, refiner())
    monkeypatch.setattr(tiles, "TILE", 8)
    assert (moved(example, net) - whole).abs().max() < 1e-4 * (whole - example[2].v).abs().max()
    monkeypatch.setattr(tiles, "HALO", 0)
    assert (moved(example, net) - whole).abs().max() > 1e-2 * (whole - example[2].v).abs().max()


def test_it_looks_at_what_effort_1_sends(example):
    base, x, asked, sent, x_hat = example
    done = list[float]()
    seen = look.again(base, refiner(), x, asked, LEVEL, done.append)
    assert torch.equal(seen.v, moved(example, refiner())) and seen.bits == sent.bits
    assert seen.error == np.square(x_hat.astype(float) - x[0].permute(1, 2, 0).numpy()).sum()
    assert all(0 <= share <= 1 for share in done) and done[-1] == 1


def test_what_takes_much_more_and_is_worse_is_not_sent(example):
    """Latents eight times as large, which take more bits, against effort 1 with more or less error."""
    base, x, asked, sent, x_hat = example
    tokens = asked.tokens[0].numpy()
    pixels = x[0].permute(1, 2, 0).numpy()
    more = base.coder.encode(8 * asked.v[0].numpy(), tokens, LEVEL, asked.weight)
    bits, error = sum(more.bits[1:]), ratecontrol.squared_error(pixels, base.decoded(more.v_hat, LEVEL))
    assert bits > look.GROWTH * sent.bits
    worth = ratecontrol.worth(CONFIG, asked.position, ratecontrol.SLOPE_SHARE)
    before = error + (bits - sent.bits) / worth  # of a picture that cost as much with the bits of effort 1
    for change, worse in ((0.99, True), (1.01, False)):
        seen = look.Look(asked.v, sent.bits, before * change)
        assert look.is_worse(base, x, seen, more, LEVEL, asked.position) == worse
    assert not look.is_worse(base, x, look.Look(asked.v, bits / 1.1, 0.0), more, LEVEL, asked.position)


@pytest.mark.parametrize(("quality", "strength", "size"), [(45, 14, 0.6), (20, 25, 1.5)])
def test_grain_costs_no_more_than_at_effort_1(shipped, monkeypatch, quality, strength, size):
    """A look spends much on it; without the second thought it would be worse."""
    noise = gaussian_filter(np.random.default_rng(5).standard_normal((128, 128)), size)
    gray = np.linspace(60, 190, 128)[:, None] + strength * noise / noise.std()
    grain = gray[:, :, None].repeat(3, 2).clip(0, 255).round().astype(np.uint8)
    usual, found = (cost(shipped, grain, quality, effort) for effort in (1, 2))
    monkeypatch.setattr(look, "GROWTH", np.inf)
    assert found < 1.002 * usual < cost(shipped, grain, quality, 2) - 0.003 * usual


def test_without_a_refiner_the_gradient_does_it():
    assert search.plan_of(2, True).look and not search.plan_of(2, True).walk
    assert search.plan_of(2, False).walk and not any(search.plan_of(effort, False).look for effort in range(1, 10))
    assert not search.plan_of(1, False) and not search.plan_of(1, True)
    assert search.plan_of(3, False) == search.plan_of(3, True)


def cost(shipped, picture: np.ndarray, quality: float, effort: int) -> float:
    """Bits and error together, at what they trade at."""
    data = shipped.encode(picture, quality=quality, effort=effort, lossless=False)
    model, error = shipped.model, np.square(shipped.decode_array(data).astype(float) - picture).sum()
    worth = ratecontrol.worth(model.config, model.position(level_of(quality)), ratecontrol.SLOPE_SHARE)
    return 8 * len(data) + worth * error


def test_more_effort_costs_less(shipped, small):
    costs = [cost(shipped, small, 60, effort) for effort in (1, 2, 3)]
    assert costs[1] < 0.99 * costs[0] and costs[2] < 0.995 * costs[1]


@pytest.mark.parametrize("quality", [20, 60, 95])
def test_a_look_at_drawings_does_no_harm(shipped, quality):
    """Flat and saturated colours with an edge or a ramp: nobody looks at what comes of the look."""
    pictures = drawn(np.random.default_rng(3), 6, 64)
    usual, found = (np.array([cost(shipped, x, quality, effort) for x in pictures]) for effort in (1, 2))
    assert (found < 1.03 * usual).all() and found.sum() < 1.01 * usual.sum()


def test_it_is_stored_in_bytes(tmp_path):
    net = refiner()
    zoo.write_refiner(tmp_path / "refiner-0.safetensors", net)
    again = zoo.read_refiner(tmp_path / "refiner-0.safetensors")
    assert again.config == net.config
    for name, value in net.state_dict().items():
        assert (again.state_dict()[name] - value).abs().max() <= value.abs().max() / 250 + 1e-7, name
    (tmp_path / "refiner-0.safetensors").write_bytes(b"nothing")
    with pytest.raises(CodecError, match="refiner-0"):
        zoo.read_refiner(tmp_path / "refiner-0.safetensors")


def test_the_package_has_one():
    there = manifest.read()
    assert zoo.read_refiner(there.refiners[there.default]).config.channels == 384
    assert 4 not in there.refiners
