"""Blocks of convolutions: the 1x1 one against a matrix product, and the gradient without gradients of weights."""

import pytest
import torch

from codec.layers.block import Block
from codec.layers.pointwise import Pointwise


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 48, 40, 33)])
def test_a_pointwise_convolution_is_a_matrix_product(shape, threads):
    before = torch.get_num_threads()
    torch.manual_seed(0)
    layer, x = Pointwise(shape[1], 7), torch.randn(shape)
    try:
        torch.set_num_threads(threads)
        got = layer(x)
    finally:
        torch.set_num_threads(before)
    wanted = torch.einsum("dc,bchw->bdhw", layer.weight[:, :, 0, 0].double(), x.double()) + layer.bias[:, None, None]
    assert (got - wanted).abs().max() < 1e-5


def test_the_gradient_of_a_frozen_block():
    torch.manual_seed(1)
    block = Block(24)
    x, out = torch.randn(2, 24, 9, 6, requires_grad=True), torch.randn(2, 24, 9, 6)
    y = block(x)
    (wanted,) = torch.autograd.grad(y, x, out)
    block.requires_grad_(False)
    frozen = block(x)
    (got,) = torch.autograd.grad(frozen, x, out)
    assert type(frozen.grad_fn) is not type(y.grad_fn)  # another way
    assert (frozen - y).abs().max() < 1e-5 and (got - wanted).abs().max() < 1e-5


def test_a_frozen_block_can_be_without_a_gradient():
    block, x = Block(8).requires_grad_(False), torch.randn(1, 8, 4, 4)
    assert not block(x).requires_grad and not block(x.requires_grad_(False)).requires_grad
