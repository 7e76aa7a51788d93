"""The narrow arithmetic from weights to files: the same bytes and codes whatever computes them."""

import dataclasses

import numpy as np
import pytest
import torch

from codec import zoo
from codec.coding.latents import LatentCoder
from codec.coding.trellis import TCQ128
from codec.errors import CodecError
from codec.models.exact import NARROW, Net, NumPy
from codec.models.exact_torch import Torch
from codec.models.narrow import Layer
from codec.training.base.tables import analytic_tables
from tests.support.integers import int_net
from tests.support.small import CONFIG, narrow_model, small_coder

LEVELS = (0, 3000, 6400)


class Oracle:
    """A network in NumPy's int64: no floating point at all."""

    reach = CONFIG.prior_blocks

    def __init__(self, arrays: dict[str, np.ndarray], number: int) -> None:
        self._arrays, self._number = arrays, number

    def __call__(self, x: np.ndarray, at: np.ndarray) -> np.ndarray:
        whole = x.astype(np.int64)
        assert (whole == x).all() and np.abs(whole).max() <= NARROW.clip
        found = int_net(self._arrays, self._number, whole, NARROW)
        return found.reshape(-1, found.shape[-1])[at]


@pytest.fixture(scope="module")
def model():
    return narrow_model()


@pytest.fixture(scope="module")
def made(model):
    return small_coder(model)


def coders(coder: LatentCoder, arrays: dict[str, np.ndarray]) -> dict[str, LatentCoder]:
    """float32 in NumPy and in PyTorch, float64, and int64."""
    found = {}
    for name, arithmetic in {"float32": None, "torch": Torch(), "float64": None, "int64": None}.items():
        found[name] = LatentCoder(coder.config, TCQ128, arrays, analytic_tables(), arithmetic)
    nets, wider = range(len(coder.prior.nets)), dataclasses.replace(NARROW, dtype=np.float64)
    found["float64"].prior.profile = wider
    found["float64"].prior.nets = [Net(arrays, f"nets.{i}.", CONFIG.prior_blocks, NumPy(), wider) for i in nets]
    found["int64"].prior.nets = [Oracle(arrays, i) for i in nets]
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_files_are_the_same_in_every_arithmetic(made, level):
    rng = np.random.default_rng(level)
    v = rng.laplace(0, 4, (CONFIG.channels, 10, 8)).astype(np.float32)
    v[0, 0, 0] = 900  # needs an escape
    tokens = rng.integers(0, CONFIG.tokens, (5, 4))
    each = coders(*made)
    sent = {
        name: coder.encode(v, tokens, level, np.full(CONFIG.channels, 8, np.float32)) for name, coder in each.items()
    }
    first = sent["float32"]
    assert all(other.sections == first.sections for other in sent.values())
    for name, coder in each.items():
        got, v_hat = coder.decode(tuple(first.sections), 10, 8, level)
        assert (got == tokens).all() and (v_hat == first.v_hat).all(), name


def test_the_weights_file_keeps_it(model, made, tmp_path):
    coder, arrays = made
    stored = {**arrays, **coder.latent.flat(), **coder.tokens.flat()}
    zoo.write_model(tmp_path / "model.safetensors", model, "tcq128", stored)
    again = zoo.read_model(tmp_path / "model.safetensors", 1000)
    assert again.config == dataclasses.replace(CONFIG, arithmetic="narrow") == model.config
    for a, b in zip(model.prior.parameters(), again.vqvae.prior.parameters(), strict=True):
        assert (a - b).abs().max() < 2.0**-12
    rng = np.random.default_rng(2)
    v, tokens = rng.laplace(0, 4, (CONFIG.channels, 6, 6)).astype(np.float32), rng.integers(0, CONFIG.tokens, (3, 3))
    given = v, tokens, 5000, np.full(CONFIG.channels, 8, np.float32)
    assert again.coder.encode(*given).sections == coder.encode(*given).sections


def test_a_weights_file_whose_sums_are_not_exact_is_refused(model, made, tmp_path):
    coder, arrays = made
    bias = arrays["nets.1.body.0.f.bias"].copy()
    bias[3] = 2**24 - 1000
    stored = {**arrays, "nets.1.body.0.f.bias": bias, **coder.latent.flat(), **coder.tokens.flat()}
    zoo.write_model(tmp_path / "model.safetensors", model, "tcq128", stored)
    with pytest.raises(CodecError, match=r"cannot be used: the sums of nets\.1\.body\.0\.f may grow"):
        zoo.read_model(tmp_path / "model.safetensors", 1000)


def test_rounding_passes_gradients_and_clipping_stops_them():
    layer = Layer(2, 1)
    layer.take(torch.tensor([[0.5, -0.25]])[:, :, None, None], torch.tensor([0.125]))
    assert layer.shift.item() == 6 and layer.weight.flatten().tolist() == [32, -16] and layer.bias.item() == 0.125
    x = torch.tensor([[10.3, 7.0]])[:, :, None, None].requires_grad_()
    found = layer(x)
    assert found.item() == np.floor(10.3 * 0.5 - 7 * 0.25 + 0.125 + 0.5)
    found.sum().backward()
    assert x.grad.flatten().tolist() == [0.5, -0.25]
    with torch.no_grad():
        layer.weight[0, 0] = 80.0
    weight, bias = layer.integers()
    assert weight.flatten().tolist() == [63, -16] and bias.item() == 8
    layer.zero_grad()
    weight.sum().backward()
    assert layer.weight.grad.flatten().tolist()[0] == 0
