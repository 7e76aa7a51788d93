"""The lattice quantiser on tensors finds the points of the encoder's own, and prices them as it does."""

import numpy as np
import pytest
import torch

from codec.bitstream.tables import LOG2_SCALE_MIN, PER_OCTAVE, SCALES
from codec.training.base import lattice, torch_lattice
from codec.training.base.lattice import D4, E8
from codec.training.base.quantizers import vectors
from codec.training.base.torch_lattice import LatticeSender

SHAPE = (333, 30)


def source(
    seed: int, shape: tuple[int, int] = SHAPE, factor: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Laplacian residuals of all scales, a third not coded, and weights."""
    rng = np.random.default_rng(seed)
    scale = rng.integers(0, SCALES, shape) * (rng.random(shape) < 0.7)
    r = rng.laplace(0, factor * 2.0 ** (LOG2_SCALE_MIN + scale / PER_OCTAVE - 0.5))
    return torch.from_numpy(r).float(), torch.from_numpy(scale), torch.from_numpy(rng.uniform(1, 15, shape)).float()


def fitted(which: lattice.Lattice) -> LatticeSender:
    sender = LatticeSender(which)
    for seed in range(3):
        r, scale, weight = source(seed)
        sender.quantise(r, scale, weight, scale.float())
    sender.count()
    return sender


@pytest.fixture(scope="module", params=[D4, E8], ids=lambda which: which.name)
def sender(request) -> LatticeSender:
    return fitted(request.param)


@pytest.mark.parametrize(
    ("shape", "factor"), [((333, 30), 1), ((1500, 48), 1), ((50, 16), 20), ((7, 3), 1), ((4, 4), 0), ((2, 2), 1)]
)
def test_same_points_and_bits(sender, shape, factor):
    which = sender.lattice
    r, scale, weight = source(10, shape, factor)
    scale = scale * (factor > 0)
    at, left = vectors(scale.numpy().ravel(), which.n)
    found, over = torch_lattice.vectors(scale, which.n)
    assert np.array_equal(found, at) and np.array_equal(over, left)
    x, s = r.numpy().ravel()[at] * np.float32(which.density), scale.numpy().ravel()[at]
    w = weight.numpy().ravel()[at] / np.float32(which.density) ** 2
    k, coset = lattice.search(which, x, s, w, sender.costs)
    kt, ct = sender.search(*(torch.from_numpy(a.T.copy()) for a in (x, s, w)))
    assert np.array_equal(kt.T, k) and np.array_equal(ct, coset)
    values, bits = sender.quantise(r, scale, weight, scale.float())
    expected = np.zeros(r.numel(), np.float32)
    expected[at] = lattice.decoded(k, coset, s, sender.costs.offset) / which.density
    expected[left] = np.rint(r.numpy().ravel()[left])
    np.testing.assert_allclose(values.flatten(), expected, rtol=1e-6)
    np.testing.assert_allclose(
        bits.flatten()[found].double().sum(1), lattice.bits(k, coset, s, sender.costs), rtol=1e-5
    )
    assert not bits[scale == 0].any() and not bits.flatten()[over].any()


def test_bits_are_linear_between_scales_and_take_gradients_there(sender):
    r, scale, weight = source(11)
    scale = torch.where(scale > 0, scale.clamp(max=SCALES - 2), 0)
    octave = (scale + 0.25).requires_grad_()
    values, bits = sender.quantise(r, scale, weight, octave)
    assert not values.requires_grad and values.shape == bits.shape == r.shape
    low, high = (sender.quantise(r, scale, weight, scale + float(i))[1] for i in (0, 1))
    torch.testing.assert_close(bits.detach(), torch.lerp(low, high, 0.25))
    bits.sum().backward()
    assert octave.grad.isfinite().all() and not octave.grad[scale == 0].any()
    assert octave.grad.sum().item() == pytest.approx((high - low).sum().item(), rel=1e-3)
    assert (octave.grad != 0).float().mean() > 0.5


@pytest.mark.parametrize("octave", [-20.0, 0.4, SCALES + 5.0])
def test_bits_are_finite_beyond_the_scales(sender, octave):
    r, scale, weight = source(12)
    where = torch.full(r.shape, octave, requires_grad=True)
    bits = sender.quantise(r, scale, weight, where)[1]
    bits.sum().backward()
    assert bits.isfinite().all() and where.grad.isfinite().all()


def test_counting_lowers_the_cost():
    r, scale, weight = source(13)

    def cost(sender: LatticeSender) -> float:
        values, bits = sender.quantise(r, scale, weight, scale.float())
        return float((bits + weight * (r - values).square() * (scale > 0)).sum())

    for which in (D4, E8):
        assert cost(fitted(which)) < cost(LatticeSender(which))


def test_some_vectors_are_counted_and_a_part_is_forgotten():
    sender = LatticeSender(E8)
    r, scale, weight = source(14, (2000, 48))
    sender.quantise(r, scale, weight, scale.float())
    counted = sender.counts.symbol.sum()
    assert 0.9 * 2 / 3 * 256 * 48 < counted < 1.2 * 256 * 48
    assert counted == sender.counts.parity.sum() == 8 * sender.counts.coset.sum()
    sender.count()
    assert sender.counts.symbol.sum() == pytest.approx(0.8 * counted)


def test_state_goes_on_in_another(sender):
    twin = LatticeSender(sender.lattice)
    twin.restore(sender.state())
    r, scale, weight = source(15)
    for _ in range(2):
        a, b = (s.quantise(r, scale, weight, scale + 0.3) for s in (sender, twin))
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
        for one in (sender, twin):
            one.count()
