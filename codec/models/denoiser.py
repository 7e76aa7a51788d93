"""Network of the semantic stage: convolutions over latents at 1/16, with cross-attention to context tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.attention import CrossAttention
from codec.models.context import Context, grid

FOURIER = 16  # frequencies of the embedding of the noise level


@dataclass(frozen=True)
class DenoiserConfig:
    """channels: of the latents; width, blocks, kernel: of the depthwise blocks; attend: cross-attention after every so many blocks; heads; context: size of a
    context token; features: numbers that say what is to be restored; embedding: width of the modulation."""

    channels: int = 384
    width: int = 320
    blocks: int = 12
    kernel: int = 5
    attend: int = 4
    heads: int = 5
    context: int = 64
    features: int = 5
    embedding: int = 192


def rms(x: torch.Tensor) -> torch.Tensor:
    """x (..., C) scaled to a mean square of 1 over channels."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-4)


class ModulatedBlock(nn.Module):
    """Depthwise convolution, normalisation scaled and shifted by the embedding, 1x1 bottleneck (ConvNeXt, Liu et al. 2022; adaLN-zero, Peebles and Xie 2023).

    x (B, h, w, W): 1x1 convolutions are linear layers here, which on one thread is several times faster.
    """

    def __init__(self, width: int, kernel: int, embedding: int) -> None:
        super().__init__()
        self.d = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.modulate = nn.Linear(embedding, 2 * width)
        self.f = nn.Linear(width, 2 * width)
        self.g = nn.Linear(2 * width, width)
        for layer in (self.g, self.modulate):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulate(embedding)[:, None, None].chunk(2, -1)
        h = rms(self.d(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return x + self.g(F.silu(self.f(torch.addcmul(shift, h, 1 + scale))))


class Denoiser(nn.Module):
    """
    x (noisy residual) ─┐                 level of noise, what is to be restored
    y_c (condition)  ───┴ stem ─ blocks ──────┘ ─ heads ─ value, log variance
                                   └ cross-attention ─ context tokens
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = nn.Linear(2 * c.channels, c.width)
        self.embed = nn.Sequential(nn.Linear(2 * FOURIER + c.features, c.embedding), nn.SiLU(), nn.Linear(c.embedding, c.embedding), nn.SiLU())
        self.blocks = nn.ModuleList(ModulatedBlock(c.width, c.kernel, c.embedding) for _ in range(c.blocks))
        self.attention = nn.ModuleList(CrossAttention(c.width, c.context, c.heads) for _ in range(c.blocks // c.attend))
        self.head, self.spread = nn.Linear(c.width, c.channels), nn.Linear(c.width, c.channels)
        for layer in (self.head, self.spread):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor, noise_level: torch.Tensor, y_c: torch.Tensor, features: torch.Tensor, context: Context | None) -> tuple[torch.Tensor, torch.Tensor]:
        """x, y_c (B, C, h, w) of about unit variance; noise_level (B,): log(sigma) / 4; features (B, F) -> value and log variance, each (B, C, h, w)."""
        angle = noise_level[:, None] * (torch.pi * 2.0 ** torch.linspace(-2, 3, FOURIER, device=x.device))
        e = self.embed(torch.cat([angle.sin(), angle.cos(), features], 1))
        h = self.stem(torch.cat([x, y_c], 1).permute(0, 2, 3, 1))  # (B, h, w, W) from here
        places = grid(*x.shape[2:], 1.0, x.device)
        tokens, positions = (None, None) if context is None else (context.values, context.positions)
        for k, block in enumerate(self.blocks):
            h = block(h, e)
            if (k + 1) % self.config.attend == 0:
                h = h + self.attention[k // self.config.attend](h, places, tokens, positions)
        h = rms(h)
        return self.head(h).permute(0, 3, 1, 2), self.spread(h).permute(0, 3, 1, 2)
