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
        self.a = nn.Conv2d(channels, channels, 1)
        self.d = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.b = nn.Conv2d(channels, channels, 1)
        self.f = nn.Conv2d(channels, channels * expand, 1)
        self.g = nn.Conv2d(channels * expand, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = leaky(self.a(x))
        h = shifted(self.d, h) if self.shifts else self.d(h)
        x = added(self.b(leaky(h)), x)
        return added(self.g(leaky(self.f(x))), x)
