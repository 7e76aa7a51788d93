"""Discriminator of the GAN decoder: real or generated, place by place, given what is known of the picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm

from codec.layers.block import leaky


@dataclass(frozen=True)
class DiscriminatorConfig:
    """channels: of the latents; widths: at 1/4, 1/8 and 1/16; condition: of the projected latents."""

    channels: int = 384
    widths: tuple[int, int, int] = (64, 128, 256)
    condition: int = 64


class Discriminator(nn.Module):
    """x (B, 3, H, W) in 0..1, y_c (B, C, H/16, W/16) of about unit variance -> logits (B, 1, H/16, W/16).

    That of HiFiC (Mentzer et al. 2020, appendix A.2): strided convolutions under spectral normalisation (Miyato et al. 2018), conditioned on the latents; narrower, and
    it begins with a pixel-unshuffle.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        a, b, c = config.widths
        self.stem = spectral_norm(nn.Conv2d(48, a, 3, padding=1))
        self.down8 = spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1))
        self.down16 = spectral_norm(nn.Conv2d(b, c, 4, stride=2, padding=1))
        self.project = nn.Conv2d(config.channels, config.condition, 1)
        self.join = spectral_norm(nn.Conv2d(c + config.condition, c, 3, padding=1))
        self.head = spectral_norm(nn.Conv2d(c, 1, 1))

    def forward(self, x: torch.Tensor, y_c: torch.Tensor) -> torch.Tensor:
        h = leaky(self.stem(F.pixel_unshuffle(x * 2 - 1, 4).contiguous(memory_format=torch.channels_last)))
        h = leaky(self.down16(leaky(self.down8(h))))
        return self.head(leaky(self.join(torch.cat([h, leaky(self.project(y_c))], 1))))
