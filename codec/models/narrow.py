"""The networks of the prior in narrow arithmetic, for training: what codec.models.exact computes with its NARROW
profile, with gradients as if nothing were rounded or clipped on the way (Bengio et al. 2013; Jacob et al. 2018).

Everything here is in whole numbers held in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.block import SLOPE
from codec.models.exact import NARROW


class Rounded(torch.autograd.Function):
    """Nearest integers, halves up; the gradient passes."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (x + 0.5).floor_()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def rounded(x: torch.Tensor) -> torch.Tensor:
    """``Rounded`` of x."""
    return Rounded.apply(x)


def clipped(x: torch.Tensor, limit: int = NARROW.clip) -> torch.Tensor:
    """Within the range of an activation; no gradient from outside."""
    return x.clamp(-limit, limit)


def feature(x: torch.Tensor, fraction: int) -> torch.Tensor:
    """What a network sees of x: an integer with so many fractional bits."""
    return clipped(rounded(x * 2**fraction))


def leaky(x: torch.Tensor, limit: int = NARROW.hidden) -> torch.Tensor:
    """Integers -> integers: x, or x / 8 rounded."""
    return clipped(rounded(F.leaky_relu(x, SLOPE)), limit)


class Layer(nn.Module):
    """A 1x1 convolution, or a depthwise one of 3x3 positions: rounded((weight * x) * 2**-shift + bias).

    weight: integers up to NARROW.weight when rounded; bias (outputs,): in units of the output; shift (outputs,).
    """

    shift: torch.Tensor

    def __init__(self, inputs: int, outputs: int, depthwise: bool = False) -> None:
        super().__init__()
        self.groups, side = (outputs, 3) if depthwise else (1, 1)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // self.groups, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("shift", torch.zeros(outputs))

    def integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias, which has as many fractional bits as the shift takes away."""
        return rounded(self.weight.clamp(-NARROW.weight, NARROW.weight)), rounded(self.bias * torch.exp2(self.shift))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (weight, bias), unit = self.integers(), torch.exp2(-self.shift)
        weight = weight * unit[:, None, None, None]
        return rounded(F.conv2d(x, weight, bias * unit, padding=weight.shape[-1] // 2, groups=self.groups))

    @torch.no_grad()
    def settle(self) -> None:
        """Weight and bias become what they stand for."""
        weight, bias = self.integers()
        self.weight.copy_(weight), self.bias.copy_(bias * torch.exp2(-self.shift))

    @torch.no_grad()
    def take(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Sets shifts, then weights, to what comes nearest to a layer of real numbers on integers."""
        largest = weight.abs().flatten(1).amax(1).clamp(min=1e-9)
        self.shift.copy_(torch.floor(torch.log2(NARROW.weight / largest)).clamp(*NARROW.shifts))
        self.weight.copy_(weight * torch.exp2(self.shift)[:, None, None, None])
        self.bias.copy_(bias)


class NarrowBlock(nn.Module):
    """codec.layers.block.Block on integers."""

    def __init__(self, channels: int, expand: int = 2) -> None:
        super().__init__()
        self.a, self.d = Layer(channels, channels), Layer(channels, channels, depthwise=True)
        self.b, self.f = Layer(channels, channels), Layer(channels, channels * expand)
        self.g = Layer(channels * expand, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = clipped(x + self.b(leaky(self.d(leaky(self.a(x))))))
        return clipped(x + self.g(leaky(self.f(x))))


class NarrowNet(nn.Module):
    """codec.models.prior.ContextNet on integers: features (B, inputs, h, w) -> raw outputs (B, n, h, w) each, in real
    numbers."""

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.stem = Layer(inputs, width)
        self.body = nn.Sequential(*[NarrowBlock(width) for _ in range(blocks)])
        self.head = Layer(width, 2 * outputs)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.head(leaky(self.body(leaky(self.stem(features), NARROW.clip)), NARROW.clip))
        return (out * 2.0**-NARROW.head).chunk(2, 1)
