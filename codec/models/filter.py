"""Filter in the pixel domain behind g_s: repairs what quantisation does to edges that the fixed grid of the transform
does not follow."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.block import Block, added
from codec.layers.pointwise import Pointwise, planes

GRID = 16  # pixels a side of the transform's grid: errors depend on the place in it
FACTOR = 4  # the filter works at 1/4 resolution


class Filter(nn.Module):
    """Residual network over the decoded picture, with the features that g_s has of it; the counterpart of the loop
    filters of HEVC and VVC.

    Every layer but one bias map is the same at every place, so that it learns from few pictures.
    """

    def __init__(self, width: int, blocks: int, features: int) -> None:
        """features: channels of g_s at 1/8 resolution."""
        super().__init__()
        values = FACTOR * FACTOR
        self.reach = -(-blocks * FACTOR // GRID) * GRID  # pixels beyond which it sees nothing
        self.stem = Pointwise(3 * values, width)
        self.features = Pointwise(features * values // 64, width, bias=False)
        self.level = Pointwise(3, width, bias=False)
        self.place = nn.Parameter(torch.zeros(1, width, GRID // FACTOR, GRID // FACTOR))
        self.body = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.head = Pointwise(width, 3 * values)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def seen(self, start: int, stop: int, n: int) -> tuple[int, int]:
        """Pixels start..stop of n along an axis -> those that have to be there, on the grid."""
        return max(0, start // GRID * GRID - self.reach), min(n, -(-stop // GRID) * GRID + self.reach)

    def forward(self, x: torch.Tensor, features: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """x (B, 3, H, W) in about -0.5..0.5, H and W multiples of 16; features (B, C, H/8, W/8); level (B, 3, 1, 1)
        -> correction (B, 3, H, W)."""
        h = self.stem(F.pixel_unshuffle(x, FACTOR))
        h = added(added(h, self.features(F.pixel_shuffle(features, 8 // FACTOR))), self.level(level))
        place = self.place.to(h.dtype)  # with float32 here, autocast converts and adds in all blocks: twice their time
        h = added(h, place.repeat(1, 1, x.shape[2] // GRID, x.shape[3] // GRID))
        return F.pixel_shuffle(planes(self.head(self.body(h))), FACTOR)
