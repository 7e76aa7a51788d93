"""Products of bytes give the integers that float64 gives, and processors on which they would not are told apart."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import codec
from codec.coding.stored import read_stored
from codec.models import exact_bytes, integer_export
from codec.models.exact import CLIP, WIDE, Net, NumPy, layer
from codec.models.exact_bytes import Bytes, Digits, fastest, multiplies_bytes
from codec.models.exact_torch import Torch
from tests.support.integers import int_net
from tests.support.small import small_model

RANGES = (900, (1 << 15) - 129, CLIP)  # two digits with room, just two digits, three


def exact_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy((a.numpy().astype(np.int64) @ b.numpy().astype(np.int64)).astype(np.int32))


def saturating_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """As processors without VNNI do it: bytes from 0 to 255, pairs of products summed in 16 bits."""
    above, rows = a.numpy().astype(np.int64) + 128, b.numpy().astype(np.int64)
    pairs = above[:, 0::2, None] * rows[None, 0::2] + above[:, 1::2, None] * rows[None, 1::2]
    sums = pairs.clip(-(1 << 15), (1 << 15) - 1).sum(1) - 128 * rows.sum(0)
    return torch.from_numpy(sums.astype(np.int32))


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """On a processor without the instructions the product itself is NumPy's: what is tested is made of it."""
    if not multiplies_bytes():
        monkeypatch.setattr(torch, "_int_mm", exact_product)


@pytest.mark.parametrize("largest", RANGES)
def test_network_equals_integer_arithmetic(largest):
    model = small_model()
    arrays = integer_export.export(model.prior, model.tokens, model.sd, model.log2_gain)
    rng = np.random.default_rng(0)
    for number in range(5):
        net = Net(arrays, f"nets.{number}.", 1, Bytes(), WIDE)
        x = rng.integers(-largest, largest + 1, (5, 4, arrays[f"nets.{number}.stem.weight"].shape[1]))
        expected = int_net(arrays, number, x, WIDE)
        assert (net(x.astype(np.float64)) == expected).all() and len(np.unique(expected)) > 100
        places = np.array([3, 4, 17])
        assert (net(x.astype(np.float64), places) == expected.reshape(20, -1)[places]).all()


@pytest.mark.parametrize("most", [3000, (1 << 15) - 129], ids=["usual", "largest"])
@pytest.mark.parametrize("largest", RANGES)
@pytest.mark.parametrize("shape", [(1, 2, 1), (7, 40, 3), (66, 256, 34)])
def test_dense_layer_with_the_largest_numbers_it_can_have(shape, largest, most):
    rows, inputs, outputs = shape
    rng, most = np.random.default_rng(sum(shape)), min(most, (1 << 22) // inputs)
    for values in ((-most, most), (-most, -most + 1, 0, 255, 127, 128, most)):
        arrays = {
            "x.weight": rng.choice(values, (outputs, inputs)),
            "x.bias": rng.integers(-(1 << 23), 1 << 23, outputs),
        }
        x = rng.choice((-largest, largest, largest - 1, -1, 127, 128), (rows, inputs)).astype(np.float64)
        if largest == RANGES[1]:
            x[0, 0] = -largest - 257  # the least of two digits
        scaled = layer({k: v.astype(np.int32) for k, v in arrays.items()}, "x", WIDE, CLIP)
        use = Bytes()
        made = use.layer(*scaled)
        assert isinstance(made[0], Digits)
        found = use.store(use.dense(use.load(x), *made))
        assert found.dtype == np.float64
        assert (found == NumPy().dense(x, *scaled)).all()
        with torch.backends.mkldnn.flags(enabled=False):
            assert (use.store(use.dense(use.load(x), *made)) == found).all()


def test_layers_that_do_not_fit_are_computed_in_float64():
    rng, use = np.random.default_rng(1), Bytes()
    large = {"x.weight": np.full((3, 20), 1 << 15, np.int32), "x.bias": np.arange(3, dtype=np.int32)}
    many = {"x.weight": np.full((2, 2000), 32639, np.int32), "x.bias": np.arange(2, dtype=np.int32)}
    for arrays in (large, many):
        scaled = layer(arrays, "x", WIDE, CLIP)
        made = use.layer(*scaled)
        assert isinstance(made[0], torch.Tensor)
        x = rng.integers(-CLIP, CLIP + 1, (9, arrays["x.weight"].shape[1])).astype(np.float64)
        assert (use.store(use.dense(use.load(x), *made)) == NumPy().dense(x, *scaled)).all()


@pytest.mark.parametrize(("most", "dtype"), [(1800, torch.int32), (1830, torch.float64)])
def test_depthwise_layer_with_the_largest_numbers_it_can_have(most, dtype):
    arrays = {"x.weight": np.full((4, 3, 3), most, np.int32), "x.bias": np.array([7, -9, 1 << 20, 0], np.int32)}
    arrays["x.weight"][1::2] *= -1
    scaled, use = layer(arrays, "x", WIDE, CLIP), Bytes()
    made = use.layer(*scaled)
    assert made[0].dtype == dtype
    for value in (-CLIP, CLIP):
        x = np.full((4, 5, 4), value, np.float64)
        assert (use.store(use.depthwise(use.load(x), *made)) == NumPy().depthwise(x, *scaled)).all()


@pytest.mark.slow
def test_the_shipped_model_means_the_same_in_float64(shipped, small):
    """Noise at the best quality takes three digits."""
    coder = shipped.model.coder
    noise = np.random.default_rng(2).integers(0, 256, (64, 96, 3), np.uint8)
    made = []
    integers = read_stored(Path(codec.__file__).parent / "weights" / "vqvae-6.safetensors").integers
    for use in (Bytes(), Torch()):
        nets = [Net(integers, f"nets.{i}.", coder.config.prior_blocks, use) for i in range(len(coder.prior.nets))]
        before, coder.prior.nets = coder.prior.nets, nets
        try:
            made.append([shipped.encode(x, quality=q, lossless=False) for x, q in ((small, 40), (noise, 100))])
        finally:
            coder.prior.nets = before
    assert made[0] == made[1]


@pytest.fixture()
def able(monkeypatch):
    """A processor that says that it has the instructions."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})


def test_what_saturates_is_not_used(able, monkeypatch):
    tried = multiplies_bytes.__wrapped__
    monkeypatch.setattr(torch, "_int_mm", exact_product)
    assert tried()
    monkeypatch.setattr(torch, "_int_mm", saturating_product)
    assert not tried()


def test_processors_without_the_instructions_use_float64(able, monkeypatch):
    tried = multiplies_bytes.__wrapped__
    monkeypatch.setattr(torch, "_int_mm", exact_product)
    assert tried()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx_vnni": True})
    assert not tried()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")  # as ATEN_CPU_CAPABILITY=avx2 has it
    assert not tried()


def test_the_wide_arithmetic_on_the_cpu_is_in_bytes_where_that_is_exact(monkeypatch):
    monkeypatch.setattr(exact_bytes, "multiplies_bytes", lambda: True)
    assert type(fastest("cpu", "wide")) is Bytes
    assert type(fastest("cpu", "narrow")) is Torch and type(fastest("meta", "wide")) is Torch
    monkeypatch.setattr(exact_bytes, "multiplies_bytes", lambda: False)
    assert type(fastest("cpu", "wide")) is Torch


@pytest.mark.slow
def test_a_library_held_to_older_instructions_is_found_out():
    """oneDNN without VNNI under a torch that has AVX-512."""
    code = "from codec.models.exact_bytes import multiplies_bytes; print(multiplies_bytes())"
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    root = Path(codec.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
