"""Discriminator on frozen features of a picture (projected GAN, Sauer et al. 2021), told which picture it was
restored from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Head(nn.Module):
    """features (B, C, h, w) of unit length over channels, x_c (B, 3, H, W) in 0..1 -> logits (B, 1, h, w)."""

    def __init__(self, channels: int, stride: int, width: int) -> None:
        super().__init__()
        self.stride = stride
        self.gain = channels**0.5
        self.a = spectral_norm(nn.Conv2d(channels, width, 1))
        self.known = spectral_norm(nn.Conv2d(3 * stride * stride, width, 1))
        self.b = spectral_norm(nn.Conv2d(2 * width, width, 3, padding=1))
        self.c = spectral_norm(nn.Conv2d(width, 1, 1))

    def forward(self, features: torch.Tensor, x_c: torch.Tensor) -> torch.Tensor:
        known = self.known(F.pixel_unshuffle(x_c * 2 - 1, self.stride))
        h = F.leaky_relu(torch.cat([self.a(features * self.gain), known], 1), 0.2)
        return self.c(F.leaky_relu(self.b(h), 0.2))


class ProjectedDiscriminator(nn.Module):
    """One head for each layer of features."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int = 96) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(c, s, width) for c, s in zip(channels, strides, strict=True))

    def forward(self, features: Sequence[torch.Tensor], x_c: torch.Tensor) -> list[torch.Tensor]:
        return [head(f, x_c) for head, f in zip(self.heads, features, strict=True)]
