"""Another look of the encoder: latents moved by a network that sees what their decoded picture lacks."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from codec.layers.block import Block, added
from codec.layers.pointwise import Pointwise
from codec.models.prior import squash

REACH = 5.0  # steps: latents and errors that differ by more are seen as if by so many
START = 0.25  # part of the error of the picture that is added at the start of a training


@dataclass(frozen=True)
class RefinerConfig:
    """channels: of y; width, blocks: of the body at 1/16 resolution."""

    channels: int = 384
    width: int = 384
    blocks: int = 3


class Refiner(nn.Module):
    """v - quantise - v_hat - decode - x_hat - analyse x - x_hat - e, then v moves: a step of the search without
    gradients, learned (iterative amortised inference: Marino, Yue and Mandt 2018).

    v += a e - b (v - v_hat) + body(v_hat, v - v_hat, e), a and b for each channel and level: were the synthesis
    orthonormal, e - (v - v_hat) would be what the quantiser did not know of the error.
    """

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config, c, w = config, config.channels, config.width
        self.stem = Pointwise(3 * c, w)
        self.level = Pointwise(3, w, bias=False)
        self.body = nn.Sequential(*[Block(w) for _ in range(config.blocks)])
        self.head = Pointwise(w, c)
        self.gain = Pointwise(3, 2 * c)
        for part in (self.head, self.gain):
            nn.init.zeros_(part.weight), nn.init.zeros_(part.bias)
        nn.init.constant_(self.gain.bias[:c], START), nn.init.constant_(self.gain.bias[c:], -START)

    def forward(self, v: torch.Tensor, v_hat: torch.Tensor, e: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """v, v_hat, e (B, C, h, w) in steps: latents, what was sent of them, and the linear analysis of what the
        decoded picture lacks; level (B, 3, 1, 1): its features -> v."""
        missed = v - v_hat
        seen = torch.cat([squash(v_hat), missed.clamp(-REACH, REACH), e.clamp(-REACH, REACH)], 1)
        found = self.head(self.body(added(self.stem(seen), self.level(level))))
        with torch.autocast(v.device.type, enabled=False):  # v is large against what moves it
            error, own = self.gain(level.float()).chunk(2, 1)
            return v + (error * e + own * missed + found.float())
