"""Analysis and synthesis transforms: a lapped KLT with a nonlinear path beside it."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.block import Block, added
from codec.layers.lapped import Lapped
from codec.layers.pointwise import Pointwise, planes
from codec.models.config import PATCH, VQVAEConfig
from codec.models.filter import Filter


def level_features(level: torch.Tensor, anchors: int) -> torch.Tensor:
    """level (B,) in 0..anchors-1 -> (B, 3, 1, 1): its first three powers, scaled to -1..1."""
    u = level * (2 / (anchors - 1)) - 1
    return torch.stack([u, u * u, u**3], 1)[:, :, None, None]


def _scales(channels: int) -> nn.Conv2d:
    """What the level multiplies channels with, beside 1: nothing at the start."""
    conv = nn.Conv2d(3, channels, 1, bias=False)
    nn.init.zeros_(conv.weight)
    return conv


def _by_level(h: torch.Tensor, shift: torch.Tensor, scales: nn.Conv2d | None, level: torch.Tensor) -> torch.Tensor:
    """h with what the level adds to it, and multiplies it with if there are scales; in place where no gradient is
    wanted."""
    if scales is not None:
        h = h * (1 + scales(level))
    return added(h, shift)


class Analysis(nn.Module):
    """g_a: x (B, 3, H, W) in -0.5..0.5, H and W multiples of 16 -> y and its linear part, each (B, C, H/16, W/16)."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        c, w8, w16 = config.channels, config.width8, config.width16
        self.lapped = Lapped(PATCH)
        self.klt = Pointwise(3 * PATCH * PATCH, c, bias=False)
        self.stem = Pointwise(192, w8)
        self.level8 = Pointwise(3, w8, bias=False)
        self.scale8 = _scales(w8) if config.scales else None
        self.body8 = nn.Sequential(*[Block(w8) for _ in range(config.enc8)])
        self.down = Pointwise(4 * w8, w16)
        self.level16 = Pointwise(3, w16, bias=False)
        self.scale16 = _scales(w16) if config.scales else None
        self.body16 = nn.Sequential(*[Block(w16) for _ in range(config.enc16)])
        self.head = Pointwise(w16, c)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        return self.klt(F.pixel_unshuffle(self.lapped(x), PATCH))

    def nonlinear(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """What is added to y, in units of each channel's standard deviation."""
        h = self.body8(_by_level(self.stem(F.pixel_unshuffle(x, 8)), self.level8(level), self.scale8, level))
        h = self.body16(_by_level(self.down(F.pixel_unshuffle(h, 2)), self.level16(level), self.scale16, level))
        return self.head(h)


class Synthesis(nn.Module):
    """g_s: y_hat (B, C, h, w) and y_hat / sd -> x_hat (B, 3, 16h, 16w) in about -0.5..0.5."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        c, w8, w16 = config.channels, config.width8, config.width16
        self.lapped = Lapped(PATCH)
        self.klt = Pointwise(c, 3 * PATCH * PATCH, bias=False)
        self.stem = Pointwise(c, w16)
        self.level16 = Pointwise(3, w16, bias=False)
        self.scale16 = _scales(w16) if config.scales else None
        self.body16 = nn.Sequential(*[Block(w16) for _ in range(config.dec16)])
        self.up = Pointwise(w16, 4 * w8)
        self.level8 = Pointwise(3, w8, bias=False)
        self.scale8 = _scales(w8) if config.scales else None
        self.body8 = nn.Sequential(*[Block(w8) for _ in range(config.dec8)])
        self.head = Pointwise(w8, 192)
        self.lapped8 = Lapped(8)
        self.filter = Filter(config.filter_width, config.filter_blocks, w8) if config.filter_blocks else None
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def linear(self, y_hat: torch.Tensor) -> torch.Tensor:
        return self.lapped(F.pixel_shuffle(planes(self.klt(y_hat)), PATCH))

    def features(self, y_norm: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """What the nonlinear path knows of the picture, (B, width8, 2h, 2w)."""
        h = self.body16(_by_level(self.stem(y_norm), self.level16(level), self.scale16, level))
        return self.body8(_by_level(F.pixel_shuffle(self.up(h), 2), self.level8(level), self.scale8, level))

    def picture(self, y_hat: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """x_hat before the filter; its linear part in float32 also under autocast, as it carries the picture."""
        with torch.autocast(y_hat.device.type, enabled=False):
            linear = self.linear(y_hat.float())
        return added(linear, self.lapped8(F.pixel_shuffle(planes(self.head(features)), 8).float()))
