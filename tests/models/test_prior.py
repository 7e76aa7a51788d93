"""The integer prior: exact against Python's own integers, close to the floating-point prior it was made from."""

import numpy as np
import pytest
import torch

from codec.models import integer_export
from codec.models.exact import CLIP, FRACTION, ONE, WEIGHT_BITS, NumPy
from codec.models.exact_torch import Torch
from codec.models.integer_prior import IntegerPrior
from codec.models.prior import pass_masks
from codec.models.transforms import level_features
from tests.support.small import CONFIG, small_model

LEVEL = 4321


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def arrays(model):
    return integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)


def int_net(arrays: dict, number: int, x: np.ndarray) -> np.ndarray:
    """One context network in arbitrary-precision integers; x (H, W, C) of Python ints."""

    def layer(name: str) -> tuple[np.ndarray, np.ndarray]:
        key = f"nets.{number}.{name}"
        return arrays[f"{key}.weight"].astype(object), arrays[f"{key}.bias"].astype(object)

    def shift(v):
        return (v + (1 << (WEIGHT_BITS - 1))) // (1 << WEIGHT_BITS)

    def clip(v):
        return np.clip(v, -CLIP, CLIP)

    def dense(v, name):
        w, b = layer(name)
        return shift(v @ w.T + b)

    def leaky(v):
        return np.maximum(v, v // 8)

    def depthwise(v, name):
        w, b = layer(name)
        p = np.pad(v, ((1, 1), (1, 1), (0, 0)))
        h, wide, _ = v.shape
        out = sum(p[i : i + h, j : j + wide] * w[:, i, j] for i in range(3) for j in range(3))
        return shift(out + b)

    x = clip(leaky(dense(x, "stem")))
    h = clip(leaky(dense(x, "body.0.a")))
    h = clip(leaky(depthwise(h, "body.0.d")))
    x = clip(x + dense(h, "body.0.b"))
    x = clip(x + dense(clip(leaky(dense(x, "body.0.f"))), "body.0.g"))
    return clip(dense(leaky(x), "head"))


@pytest.mark.parametrize("arithmetic", [NumPy(), Torch()], ids=["numpy", "torch"])
def test_network_equals_unbounded_integer_arithmetic(arrays, arithmetic):
    prior = IntegerPrior(CONFIG, arrays, arithmetic)
    rng = np.random.default_rng(0)
    for number in range(5):
        inputs = arrays[f"nets.{number}.stem.weight"].shape[1]
        x = rng.integers(-CLIP, CLIP + 1, (5, 4, inputs))
        expected = int_net(arrays, number, x.astype(object)).astype(np.float64)
        assert (prior.nets[number](x.astype(np.float64)) == expected).all()
        places = np.array([3, 4, 17])
        assert (prior.nets[number](x.astype(np.float64), places) == expected.reshape(20, -1)[places]).all()


def run(prior: IntegerPrior, tokens: np.ndarray, v: np.ndarray) -> tuple[list, np.ndarray]:
    seen = []

    def code(p):
        seen.append(p)
        g = CONFIG.groups[p.group]
        return v[g.start : g.stop, p.rows, p.columns].T

    return seen, prior.run(tokens, LEVEL, code)


@pytest.fixture(scope="module")
def example(arrays):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, CONFIG.tokens, (3, 4))
    v = rng.integers(-1500, 1500, (CONFIG.channels, 6, 8))
    return tokens, v, *run(IntegerPrior(CONFIG, arrays), tokens, v)


def test_passes_cover_every_latent_once(example):
    _, v, seen, v_hat = example
    assert (v_hat == v).all()
    hits = np.zeros(v.shape, int)
    for p in seen:
        g = CONFIG.groups[p.group]
        hits[g.start : g.stop, p.rows, p.columns] += 1
    assert (hits == 1).all()


def test_threads_change_nothing(arrays, example):
    tokens, v, seen, _ = example
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again, _ = run(IntegerPrior(CONFIG, arrays, Torch()), tokens, v)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(seen, again, strict=True):
        assert (a.mu == b.mu).all() and (a.scale == b.scale).all()


def test_close_to_the_floating_point_prior(model, example):
    tokens, v, seen, _ = example
    position = torch.tensor([LEVEL / 6400 * (CONFIG.anchors - 1)])
    spread = model.sd * torch.exp2(model.interpolate(model.log2_gain, position))
    values = model.tokens.values(torch.from_numpy(tokens)[None], model.sd)
    with torch.no_grad():
        out = model.prior(
            torch.from_numpy(v / 256.0).float()[None],
            spread,
            values,
            level_features(position, CONFIG.anchors),
            lambda part, mu, ls, group, mask: part * mask,
        )
    for p in seen:
        g = CONFIG.groups[p.group]
        mu = out.mu[0, g.start : g.stop, p.rows, p.columns].numpy().T
        ls = out.log2_sigma[0, g.start : g.stop, p.rows, p.columns].numpy().T
        assert np.abs(p.mu / 256 - mu).max() < 0.02 * max(1, np.abs(mu).max())
        index = np.clip((ls + 3) * 8, 0, 79)
        assert np.abs(p.scale - index).max() < 0.8


def test_later_symbols_do_not_change_earlier_passes(arrays, example):
    """Causality: what a pass is given depends on the passes before only."""
    tokens, v, seen, _ = example
    for k in range(1, len(seen)):
        p, g = seen[k], CONFIG.groups[seen[k].group]
        changed = v.copy()
        changed[g.start : g.stop, p.rows, p.columns] += 300
        again, _ = run(IntegerPrior(CONFIG, arrays), tokens, changed)
        for a, b in zip(seen[: k + 1], again[: k + 1], strict=True):
            assert (a.mu == b.mu).all() and (a.scale == b.scale).all()


def test_weights_that_do_not_fit_are_refused(model):
    wide = small_model(1)
    with torch.no_grad():
        wide.prior.nets[0].stem.weight[0, 0] = 40.0
    with pytest.raises(ValueError, match="too large"):
        integer_export.export(wide.prior, wide.tokens, wide.sd, wide.log2_gain)


def test_sums_stay_exact_in_float64(arrays):
    """The largest sum any input could give is below 2**53."""
    for name, w in arrays.items():
        if name.endswith("weight") and name.startswith("nets"):
            bias = arrays[name.replace("weight", "bias")].astype(np.int64)
            rows = np.abs(w.astype(np.int64)).reshape(len(w), -1).sum(1)
            assert int((rows * CLIP + np.abs(bias)).max()) < 2**53
    assert FRACTION == 10 and ONE == 1024


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_masks_partition_the_positions(passes):
    for h, w in ((1, 1), (2, 2), (3, 5), (6, 4)):
        assert (pass_masks(h, w, passes).sum(0) == 1).all()
