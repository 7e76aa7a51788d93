"""Residual block of depthwise and 1x1 convolutions."""

import torch
import torch.nn as nn
import torch.nn.functional as F

SLOPE = 0.125  # of the leaky rectifier: a power of two, so that integer arithmetic can do it by a shift


def leaky(x: torch.Tensor) -> torch.Tensor:
    """Leaky rectifier with slope 1/8; in place where no gradient is wanted, so give it what nobody else has."""
    return F.leaky_relu(x, SLOPE, inplace=not torch.is_grad_enabled())


def added(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """h + x, in place of h where no gradient is wanted: the same sums in less memory. x broadcasts to h."""
    if torch.is_grad_enabled() or torch.result_type(h, x) != h.dtype:
        return h + x
    return h.add_(x)


class Block(nn.Module):
    """x (B, C, H, W) -> (B, C, H, W): 1x1, depthwise 3x3, 1x1, then a 1x1 bottleneck; two residual steps.

    The depthwise block of DCVC-DC (Li, Li and Lu 2023, figure 6), without its normalisation.
    """

    def __init__(self, channels: int, expand: int = 2) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 1)
        self.d = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.b = nn.Conv2d(channels, channels, 1)
        self.f = nn.Conv2d(channels, channels * expand, 1)
        self.g = nn.Conv2d(channels * expand, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = added(self.b(leaky(self.d(leaky(self.a(x))))), x)
        return added(self.g(leaky(self.f(x))), x)
