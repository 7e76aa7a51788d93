"""The one way from a picture to latents in steps and back, against the parts put together by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import codec
from codec.bitstream.container import MAX_LEVEL
from codec.coding.model import decoded, from_steps, pad, position_of, to_steps
from codec.coding.padding import latent_size
from tests.support.small import small_model

ROOT = Path(codec.__file__).parents[1]


@pytest.fixture(scope="module")
def net():
    return small_model().requires_grad_(False)


@pytest.mark.parametrize("level", [0, 700, 3000, MAX_LEVEL])
def test_steps_are_gained_latents(net, level):
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 64, 96), np.uint8))
    asked, last = to_steps(net, x, level), net.config.anchors - 1
    assert asked.position.item() == pytest.approx(level / MAX_LEVEL * last, rel=1e-6)
    y, tokens = net.analyse(x.float() / 255, asked.position)
    low = min(int(asked.position), last - 1)
    t = asked.position.item() - low
    gain, igain = (
        2 ** ((1 - t) * table[low] + t * table[low + 1])[None, :, None, None]
        for table in (net.log2_gain, net.log2_igain)
    )
    torch.testing.assert_close(asked.v, y * gain, rtol=1e-5, atol=1e-6)
    assert torch.equal(asked.tokens, tokens)
    assert torch.equal(to_steps(net, x.float() / 255, level).v, asked.v)
    v_hat = (asked.v[0] * 256).round().int().numpy()
    y_hat = from_steps(net, v_hat, level)
    torch.testing.assert_close(y_hat, torch.from_numpy(v_hat)[None] / 256 * igain, rtol=1e-5, atol=1e-6)
    whole = net.synthesise(y_hat, asked.position)[0].clamp(0, 1).mul(255).round().permute(1, 2, 0)
    assert (decoded(net, v_hat, level) == whole.numpy()).all()


def test_more_share_for_the_rate_is_less_weight_for_the_error(net):
    x = torch.zeros(1, 3, 32, 32)
    assert np.allclose(to_steps(net, x, 3000, 0.6).weight * 2, to_steps(net, x, 3000, 0.3).weight)


def test_padding_repeats_the_border():
    rgb = np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8)
    x = pad(rgb)
    assert x.shape == (1, 3, 64, 64) and latent_size(33, 50) == (4, 4) and latent_size(32, 65) == (2, 6)
    back = x[0].permute(1, 2, 0).numpy()
    assert (back[:33, :50] == rgb).all() and (back[33:, :50] == rgb[-1]).all() and (back[:33, 50:] == rgb[:, -1:]).all()


def test_nobody_else_does_this():
    """Where a level becomes a position, and where latents get their gain."""
    sources = {p: p.read_text() for folder in ("codec", "benchmarks") for p in (ROOT / folder).rglob("*.py")}

    def places(pattern: str) -> set[str]:
        return {str(p.relative_to(ROOT)) for p, text in sources.items() if re.search(pattern, text)}

    # codec.coarse has no torch
    assert places(r"/ MAX_LEVEL \*") == {"codec/coding/model.py", "codec/coarse.py"}
    assert places(r"exp2\((\w+\.)+interpolate\((\w+\.)+log2_gain") == {"codec/models/vqvae.py"}


def test_positions_are_exact_at_the_ends(net):
    assert position_of(net, 0).item() == 0 and position_of(net, MAX_LEVEL).item() == net.config.anchors - 1
