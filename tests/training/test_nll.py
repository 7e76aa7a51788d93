"""The variational bound: its parts on a small untrained model, and the pixel likelihood against a sum over all
values."""

import numpy as np
import pytest

from codec.training.restoration import nll
from tests.support.small import network

pytestmark = pytest.mark.slow


def test_pixel_likelihood_sums_to_one():
    x_hat = np.full((1, 1, 1), 250, np.uint8)
    bits = [nll.pixel_bits(np.full((1, 1, 1), v, np.uint8), x_hat) for v in range(256)]
    # each value may choose its own scale here, so the sum is at least 1 for every single scale; the 5 bits for the
    # choice make it less
    assert np.sum(2.0 ** -np.array(bits)) <= 1


def test_pixel_bits_of_a_perfect_guess_are_few():
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert nll.pixel_bits(x, x) / x.size < 0.5
    assert nll.pixel_bits(x, x[::-1]) / x.size > 6


def test_parts_of_the_bound(small_codec):  # noqa: F811
    x = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    points, bound = nll.measure(small_codec, network(), "noise", x, 60.0)
    assert bound.total == pytest.approx(bound.stream + bound.latents + bound.pixels)
    assert bound.total > 7  # of uniform noise nobody can say much
    rates = [p.bits_per_dim for p in points]
    assert rates == sorted(rates) and {p.part for p in points} == {"perceptual", "semantic"}
    assert points[-1].bits_per_dim == pytest.approx(bound.stream + bound.latents, rel=1e-6)
    assert rates[4] == pytest.approx(bound.stream) or points[4].part == "semantic"
