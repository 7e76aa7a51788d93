"""What an error is worth to the encoder, by quality."""

import numpy as np
import pytest
import torch

from codec.coding.ratecontrol import RATE_SHARE, THRIFT, error_weight, lagrangian, step_weight, thrift
from tests.support.small import small_model


@pytest.mark.parametrize(
    ("position", "factor"), [(0.0, 1 + THRIFT), (0.5, 1 + THRIFT / 2), (1.0, 1.0), (4.3, 1.0), (7.0, 1.0)]
)
def test_below_the_second_anchor_errors_are_worth_less(position, factor):
    net, at = small_model(), torch.tensor([position])
    assert thrift(at) == pytest.approx(factor)
    plain = step_weight(net.interpolate(net.log2_igain, at), lagrangian(net.config, at), RATE_SHARE)[0].numpy()
    np.testing.assert_allclose(error_weight(net, at), plain / factor, rtol=1e-5)


def test_the_lagrangian_goes_through_those_of_the_anchors():
    config = small_model().config
    found = [lagrangian(config, torch.tensor([float(k)])) for k in range(config.anchors)]
    np.testing.assert_allclose(found, config.lambdas(), rtol=1e-6)
