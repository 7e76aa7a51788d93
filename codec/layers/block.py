"""Residual block of depthwise and 1x1 convolutions."""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from codec.layers.pointwise import Pointwise, pointwise

SLOPE = 0.125  # of the leaky rectifier: a power of two, so that integer arithmetic can do it by a shift


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky rectifier with slope 1/8; in place where no gradient is wanted, so give it what nobody else has."""
    return F.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())


def added(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """h + x, in place of h where no gradient is wanted: the same sums in less memory. x broadcasts to h."""
    if torch.is_grad_enabled():
        return h + x
    return h.to(torch.result_type(h, x)).add_(x)  # sums of two types are slow


def shifted(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A depthwise convolution of odd size as a sum of shifted pictures, for a compiler to fuse with its neighbours."""
    h, w = x.shape[2:]
    reach = conv.kernel_size[0] // 2
    padded, weight = F.pad(x, (reach,) * 4), conv.weight.to(x.dtype)
    assert conv.bias is not None
    out = conv.bias.to(x.dtype)[:, None, None]
    for i in range(conv.kernel_size[0]):
        for j in range(conv.kernel_size[1]):
            out = out + weight[:, :, i, j, None] * padded[:, :, i : i + h, j : j + w]
    return out


class Block(nn.Module):
    """x (B, C, H, W) -> (B, C, H, W): 1x1, depthwise 3x3, 1x1, then a 1x1 bottleneck; two residual steps.

    The depthwise block of DCVC-DC (Li, Li and Lu 2023, figure 6), without its normalisation. shifts: the depthwise
    convolution as ``shifted``; faster where the block is compiled for a card, its gradient most of all.
    """

    shifts = False

    def __init__(self, channels: int, expand: int = 2) -> None:
        super().__init__()
        self.a = Pointwise(channels, channels)
        self.d = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.b = Pointwise(channels, channels)
        self.f = Pointwise(channels, channels * expand)
        self.g = Pointwise(channels * expand, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        searching = x.requires_grad and torch.is_grad_enabled() and not self.a.weight.requires_grad
        if searching and not torch.is_autocast_enabled(x.device.type):
            return _Frozen.apply(x, self)
        h = leaky(self.a(x))
        h = shifted(self.d, h) if self.shifts else self.d(h)
        x = added(self.b(leaky(h)), x)
        return added(self.g(leaky(self.f(x))), x)


class _Frozen(torch.autograd.Function):
    """A block whose weights take no gradient: an encoder's search. Only what the rectifiers gave is kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, block: Block) -> torch.Tensor:
        a = leaky(block.a(x))  # no gradient is wanted inside a function
        d = leaky(block.d(a))
        y = added(block.b(d), x)
        f = leaky(block.f(y))
        ctx.block = block
        ctx.save_for_backward(a, d, f)
        return added(block.g(f), y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, out: torch.Tensor) -> tuple[torch.Tensor, None]:
        block, (a, d, f) = ctx.block, ctx.saved_tensors
        y = _back(block.f, _rectified(_back(block.g, out), f)).add_(out)
        h = _rectified(_back(block.b, y), d)
        h = F.conv2d(h, block.d.weight.flip(2, 3), padding=1, groups=len(block.d.weight))
        return _back(block.a, _rectified(h, a)).add_(y), None


def _back(layer: Pointwise, out: torch.Tensor) -> torch.Tensor:
    """Gradient behind a 1x1 convolution -> before it."""
    return pointwise(out, layer.weight.transpose(0, 1), None)


def _rectified(out: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Gradient behind ``leaky`` -> before it, in its place; it has the sign of the result."""
    return torch.ops.aten.leaky_relu_backward.grad_input(out, result, SLOPE, True, grad_input=out)
