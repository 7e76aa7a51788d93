"""Convolution of 1x1, by the fast library of the processor."""

import torch
import torch.nn as nn
import torch.nn.functional as F


def pointwise(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (B, C, H, W), weight (D, C, 1, 1), bias (D,) or None -> (B, D, H, W).

    With one thread PyTorch hands a 1x1 convolution to its oldest kernel, which takes two to three times as long as
    oneDNN's on channels that lie side by side. A dilated one goes to oneDNN; dilation does nothing to a 1x1 kernel.
    """
    if x.device.type != "cpu" or torch.compiler.is_exporting():
        return F.conv2d(x, weight, bias)
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, dilation=2)


def planes(x: torch.Tensor) -> torch.Tensor:
    """x with one plane after the other, as lapped filters and pictures want it."""
    return x if x.device.type != "cpu" or torch.compiler.is_exporting() else x.contiguous()


class Pointwise(nn.Conv2d):
    """``pointwise`` with weights of its own."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pointwise(x, self.weight, self.bias)
