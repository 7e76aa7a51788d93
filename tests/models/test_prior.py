"""The integer prior, in both of its arithmetics: exact against Python's own integers, close to the floating-point prior
it was made from."""

import dataclasses

import numpy as np
import pytest
import torch

from codec.models import integer_export
from codec.models.config import ARITHMETICS, model_config
from codec.models.exact import CLIP, NARROW, ONE, PROFILES, WIDE, Net, NumPy, layer
from codec.models.exact_torch import Torch
from codec.models.integer_prior import IntegerPrior
from codec.models.prior import pass_masks
from codec.models.transforms import level_features
from tests.support.integers import int_net
from tests.support.small import CONFIG, narrow_model, small_model

LEVEL = 4321


@pytest.fixture(scope="module", params=ARITHMETICS)
def model(request):
    return narrow_model() if request.param == "narrow" else small_model()


@pytest.fixture(scope="module")
def arrays(model):
    return integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)


@pytest.mark.parametrize("kind", [object, np.int64], ids=["unbounded", "int64"])
@pytest.mark.parametrize("dtype", [None, np.float64], ids=["own", "float64"])
@pytest.mark.parametrize("arithmetic", [NumPy(), Torch()], ids=["numpy", "torch"])
def test_network_equals_integer_arithmetic(model, arrays, arithmetic, dtype, kind):
    profile = PROFILES[model.config.arithmetic]
    used = profile if dtype is None else dataclasses.replace(profile, dtype=dtype)
    rng = np.random.default_rng(0)
    for number in range(5):
        net = Net(arrays, f"nets.{number}.", 1, arithmetic, used)
        inputs = arrays[f"nets.{number}.stem.weight"].shape[1]
        x = rng.integers(-profile.clip, profile.clip + 1, (5, 4, inputs))
        expected = int_net(arrays, number, x.astype(kind), profile).astype(np.float64)
        assert (net(x.astype(used.dtype)) == expected).all() and len(np.unique(expected)) > 100
        places = np.array([3, 4, 17])
        assert (net(x.astype(used.dtype), places) == expected.reshape(20, -1)[places]).all()


def test_narrow_training_computes_the_same_integers():
    model = narrow_model()
    arrays = integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)
    rng = np.random.default_rng(0)
    for number, net in enumerate(model.prior.nets):
        x = rng.integers(-NARROW.clip, NARROW.clip + 1, (6, 7, net.stem.weight.shape[1]))
        with torch.no_grad():
            m, s = net(torch.from_numpy(x).float().permute(2, 0, 1)[None])
        found = torch.cat([m, s], 1)[0].permute(1, 2, 0).numpy() * ONE
        assert (found.clip(-CLIP, CLIP) == int_net(arrays, number, x, NARROW)).all()


def test_export_and_restore_are_inverse(model, arrays):
    again = type(model.prior)(model.config)
    integer_export.restore(again, arrays)
    back = integer_export.export(again, model.tokens, model.sd, model.log2_gain)
    assert set(back) == set(arrays) and all((back[k] == arrays[k]).all() for k in arrays)
    for a, b in zip(model.prior.nets.parameters(), again.nets.parameters(), strict=True):
        assert (a - b).abs().max() <= (0 if model.config.arithmetic == "narrow" else 2.0**-13)


def run(prior: IntegerPrior, tokens: np.ndarray, v: np.ndarray) -> tuple[list, np.ndarray]:
    seen = []

    def code(p):
        seen.append(p)
        g = CONFIG.groups[p.group]
        return v[g.start : g.stop, p.rows, p.columns].T

    return seen, prior.run(tokens, LEVEL, code)


@pytest.fixture(scope="module")
def example(model, arrays):
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, CONFIG.tokens, (3, 4))
    v = rng.integers(-1500, 1500, (CONFIG.channels, 6, 8))
    return tokens, v, *run(IntegerPrior(model.config, arrays), tokens, v)


def test_passes_cover_every_latent_once(example):
    _, v, seen, v_hat = example
    assert (v_hat == v).all()
    hits = np.zeros(v.shape, int)
    for p in seen:
        g = CONFIG.groups[p.group]
        hits[g.start : g.stop, p.rows, p.columns] += 1
    assert (hits == 1).all()


def test_threads_change_nothing(model, arrays, example):
    tokens, v, seen, _ = example
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again, _ = run(IntegerPrior(model.config, arrays, Torch()), tokens, v)
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


def test_later_symbols_do_not_change_earlier_passes(model, arrays, example):
    """Causality: what a pass is given depends on the passes before only."""
    tokens, v, seen, _ = example
    for k in range(1, len(seen)):
        p, g = seen[k], CONFIG.groups[seen[k].group]
        changed = v.copy()
        changed[g.start : g.stop, p.rows, p.columns] += 300
        again, _ = run(IntegerPrior(model.config, arrays), tokens, changed)
        for a, b in zip(seen[: k + 1], again[: k + 1], strict=True):
            assert (a.mu == b.mu).all() and (a.scale == b.scale).all()


def test_weights_that_do_not_fit_are_refused():
    wide = small_model(1)
    with torch.no_grad():
        wide.prior.nets[0].stem.weight[0, 0] = 40.0
    with pytest.raises(ValueError, match="too large"):
        integer_export.export(wide.prior, wide.tokens, wide.sd, wide.log2_gain)


def one_layer(weight: int, inputs: int, bias: int = 0, shift: int = 1) -> dict[str, np.ndarray]:
    values = {"weight": np.full((2, inputs), weight), "bias": np.full(2, bias), "shift": np.full(2, shift)}
    return {f"x.{name}": value.astype(np.int32) for name, value in values.items()}


def test_sums_that_may_not_be_exact_are_refused():
    """The largest sum that any input could give stays below 2**24, with the half of the rounding."""
    inputs = 2**11
    rest = 2**24 - 63 * 127 * inputs
    layer(one_layer(63, inputs, rest - 2), "x", NARROW, 127)
    for bad in (one_layer(-63, inputs, 1 - rest), one_layer(63, 2 * inputs)):
        with pytest.raises(ValueError, match=r"sums of x may grow to \d+, which is not exact"):
            layer(bad, "x", NARROW, 127)
    wide = {k: v for k, v in one_layer(1 << 16, 1 << 21).items() if "shift" not in k}
    layer(wide, "x", WIDE, 1 << 15)
    with pytest.raises(ValueError, match="not exact"):
        layer(wide, "x", WIDE, CLIP)
    for bad in (one_layer(64, 1), one_layer(1, 1, shift=24), one_layer(1, 1, shift=-9)):
        with pytest.raises(ValueError, match="does not fit"):
            layer(bad, "x", NARROW, 127)


def test_an_arithmetic_of_a_later_version_is_refused():
    stored = dataclasses.asdict(CONFIG)
    assert model_config({k: v for k, v in stored.items() if k != "arithmetic"}) == CONFIG
    with pytest.raises(ValueError, match="no arithmetic 'wider'"):
        model_config({**stored, "arithmetic": "wider"})


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_masks_partition_the_positions(passes):
    for h, w in ((1, 1), (2, 2), (3, 5), (6, 4)):
        assert (pass_masks(h, w, passes).sum(0) == 1).all()
