"""First part of the semantic stage: a compact latent s of what a picture lost, its encoder, and the painter that puts
it back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.pointwise import Pointwise
from codec.layers.residual import ResidualBlock

WEAVE, REACH = (
    16,
    2,
)  # pixels of the period that is taken out of what is painted; periods to each side that are averaged
STRIDE = 8  # pixels a side that one position of s stands for


@dataclass(frozen=True)
class PainterConfig:
    """Shape of the painter and of the encoder."""

    latent: int = 12  # channels of s, at 1/8
    width4: int = 64  # channels at 1/4
    blocks4: int = 3  # residual blocks there, after one at the entrance
    width8: int = 128  # channels at 1/8
    blocks8: int = 6  # residual blocks there
    encoder8: int = 3  # residual blocks of the encoder at 1/8
    features: int = 5  # numbers that say what is restored


def unshuffled(x: torch.Tensor, factor: int) -> torch.Tensor:
    """x (B, 3, H, W) in 0..1 -> (B, 3 factor^2, H / factor, W / factor) in -1..1, channels last in memory."""
    return F.pixel_unshuffle(x * 2 - 1, factor).contiguous(memory_format=torch.channels_last)


def without_weave(x: torch.Tensor) -> torch.Tensor:
    """x (B, C, H, W), sides multiples of WEAVE -> the same without what repeats every WEAVE pixels over 2 REACH + 1
    periods, other than its mean: a comb of notches.

    A network that makes pixels out of channels (pixel shuffle) paints the same dots everywhere where it wants texture
    and knows none; in a photograph nothing repeats with the grid."""
    phases = F.pixel_unshuffle(x, WEAVE)
    mean = F.avg_pool2d(F.pad(phases, (REACH,) * 4, mode="replicate"), 2 * REACH + 1, 1)
    mean = mean.unflatten(1, (x.shape[1], -1))
    return x - F.pixel_shuffle((mean - mean.mean(2, keepdim=True)).flatten(1, 2), WEAVE)


class ResidualEncoder(nn.Module):
    """E: x, x_c (B, 3, H, W) in 0..1, sides multiples of 8 -> s (B, latent, H/8, W/8); for training and for the
    likelihood."""

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        a, b = config.width4, config.width8
        self.stem = nn.Conv2d(96, a, 3, padding=1)
        self.block4 = ResidualBlock(a)
        self.down = Pointwise(4 * a, b)
        self.body8 = nn.Sequential(*[ResidualBlock(b) for _ in range(config.encoder8)])
        self.head = Pointwise(b, config.latent)
        self.linear = Pointwise(3 * STRIDE * STRIDE, config.latent, bias=False)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, x_c: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """size (B, 1, 1, 1): root mean square of x - x_c to be expected. The linear path begins as the KLT of x - x_c
        in blocks of 8x8 (codec.training.restoration)."""
        h = self.block4(self.stem(torch.cat([unshuffled(x, 4), unshuffled(x_c, 4)], 1)))
        linear = self.linear(F.pixel_unshuffle((x - x_c) / size, STRIDE).contiguous(memory_format=torch.channels_last))
        return linear + self.head(self.body8(self.down(F.pixel_unshuffle(h, 2))))


class Painter(nn.Module):
    """P: x_c and s -> x_hat, in the pixel domain, so that what x_c says is never lost.

    s ─ linear ─ + ─ x_l
    x_c ─────────┴── 1/4 ─┬─ 1/8 ─ blocks ─ up ─ + ─ blocks ─ x_hat - x_l
                          │    s ──┘             │
                          └──────────────────────┘
    What is added to x_c passes ``without_weave``.
    """

    def __init__(self, config: PainterConfig) -> None:
        super().__init__()
        a, b = config.width4, config.width8
        self.config = config
        self.linear = Pointwise(config.latent, 3 * STRIDE * STRIDE, bias=False)
        self.stem = nn.Conv2d(96, a, 3, padding=1)
        self.block4 = ResidualBlock(a)
        self.down = Pointwise(4 * a, b)
        self.latent = nn.Conv2d(config.latent, b, 3, padding=1, bias=False)
        self.task = nn.Linear(config.features, b, bias=False)
        self.body8 = nn.Sequential(*[ResidualBlock(b) for _ in range(config.blocks8)])
        self.up = Pointwise(b, 4 * a)
        self.body4 = nn.Sequential(*[ResidualBlock(a) for _ in range(config.blocks4)])
        self.head = nn.Conv2d(a, 48, 3, padding=1)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def forward(self, x_c: torch.Tensor, s: torch.Tensor, features: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """x_c (B, 3, H, W) in 0..1, sides multiples of 16, s (B, latent, H/8, W/8), features (B, F), size (B, 1, 1,
        1) of x - x_c -> x_hat (B, 3, H, W), not clipped."""
        linear = size * F.pixel_shuffle(self.linear(s), STRIDE).float()
        x_l = x_c + linear
        h4 = self.block4(self.stem(torch.cat([unshuffled(x_c, 4), unshuffled(x_l, 4)], 1)))
        h8 = self.down(F.pixel_unshuffle(h4, 2)) + self.latent(s) + self.task(features)[:, :, None, None]
        h = F.pixel_shuffle(self.up(self.body8(h8)), 2) + h4
        return x_c + without_weave(linear + size * F.pixel_shuffle(self.head(self.body4(h)).float(), 4))
