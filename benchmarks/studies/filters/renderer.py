"""A filter behind g_s with less arithmetic: what lies around is looked at at 1/8 resolution, and what it says steers a
pointwise network at 1/4."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.block import Block, added, leaky
from codec.models.filter import FACTOR, GRID

LOW = 8  # pixels a side of a position of the body


class Pointwise(nn.Module):
    """1x1 convolutions with a residual step, between them a scale and a shift for each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.f = nn.Conv2d(channels, 2 * channels, 1)
        self.g = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, h: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return added(self.g(leaky(self.f(torch.addcmul(added(shift, h), h, scale)))), h)


class Renderer(nn.Module):
    """Residual network over the decoded picture: a body at 1/8 resolution, and pointwise layers at 1/4 whose inputs it
    scales and shifts, after the renderer of PULSE (arXiv 2609.18602)."""

    def __init__(self, width: int, blocks: int, inner: int, layers: int, features: int) -> None:
        """width, blocks: of the body; inner, layers: of the pointwise network; features: channels of g_s at 1/8."""
        super().__init__()
        self.reach = -(-blocks * LOW // GRID) * GRID
        self.stem = nn.Conv2d(3 * LOW * LOW, width, 1)
        self.features = nn.Conv2d(features, width, 1, bias=False)
        self.level = nn.Conv2d(3, width, 1, bias=False)
        self.place = nn.Parameter(torch.zeros(1, width, GRID // LOW, GRID // LOW))
        self.body = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.near = nn.Conv2d(3 * FACTOR * FACTOR, inner, 1)
        finer = (LOW // FACTOR) ** 2
        self.steer = nn.Conv2d(width, finer * 2 * layers * inner, 1)
        self.layers = nn.ModuleList([Pointwise(inner) for _ in range(layers)])
        self.head = nn.Conv2d(inner, 3 * FACTOR * FACTOR, 1)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor, features: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """As ``Filter``."""
        place = self.place.repeat(1, 1, x.shape[2] // GRID, x.shape[3] // GRID)
        h = added(self.stem(F.pixel_unshuffle(x, LOW)), self.features(features))
        h = self.body(added(added(h, self.level(level)), place))
        steer = F.pixel_shuffle(self.steer(h), LOW // FACTOR).chunk(2 * len(self.layers), 1)
        y = self.near(F.pixel_unshuffle(x, FACTOR))
        for k, layer in enumerate(self.layers):
            y = layer(y, steer[2 * k], steer[2 * k + 1])
        return F.pixel_shuffle(self.head(y), FACTOR)
