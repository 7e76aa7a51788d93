"""Denoiser of the semantic stage: works on s in patches of 2x2, so at 1/16, given the picture that lost detail."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.layers.attention import CrossAttention
from codec.layers.pointwise import Pointwise
from codec.layers.residual import ResidualBlock
from codec.models.context import Context, grid
from codec.models.painter import unshuffled

FOURIER = 16  # frequencies of the embedding of the noise level


@dataclass(frozen=True)
class DenoiserConfig:
    """Shape of the denoiser."""

    latent: int = 48  # channels of s in patches of 2x2
    width: int = 320  # channels of the body
    blocks: int = 8  # modulated blocks
    attend: int = 3  # cross-attention after every so many blocks
    heads: int = 5  # of the cross-attention
    context: int = 64  # size of a context token
    features: int = 6  # numbers that say what is to be restored, and how
    embedding: int = 192  # width of the modulation


def rms(x: torch.Tensor) -> torch.Tensor:
    """x (B, C, h, w) scaled to a mean square of 1 over channels."""
    return x * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-4).to(x.dtype)


class ModulatedBlock(nn.Module):
    """x (B, C, h, w) beside normalisation that the embedding scales and shifts, 3x3 and 1x1 convolutions (adaLN-zero,
    Peebles and Xie 2023)."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.modulate = nn.Linear(embedding, 2 * width)
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = Pointwise(width, width)
        for layer in (self.b, self.modulate):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulate(embedding)[:, :, None, None].chunk(2, 1)
        return x + self.b(F.silu(self.a(torch.addcmul(shift.to(x), rms(x), 1 + scale.to(x)))))


class Denoiser(nn.Module):
    """
    noisy s ────────────────┐            level of noise, what is to be restored
    x_c ─ 1/4 ─ 1/8 ─ 1/16 ─┴ + ─ blocks ──────┘ ─ heads ─ value, log variance
                                    └ cross-attention ─ context tokens
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        c = self.config = config
        self.stem = Pointwise(c.latent, c.width)
        self.see4 = nn.Conv2d(48, 64, 3, padding=1)
        self.see8 = Pointwise(256, 128)
        self.body8 = ResidualBlock(128)
        self.see16 = Pointwise(512, c.width)
        self.embed = nn.Sequential(
            nn.Linear(2 * FOURIER + c.features, c.embedding), nn.SiLU(), nn.Linear(c.embedding, c.embedding), nn.SiLU()
        )
        self.blocks = nn.ModuleList(ModulatedBlock(c.width, c.embedding) for _ in range(c.blocks))
        self.attention = nn.ModuleList(CrossAttention(c.width, c.context, c.heads) for _ in range(c.blocks // c.attend))
        self.head, self.spread = Pointwise(c.width, c.latent), Pointwise(c.width, c.latent)
        for layer in (self.head, self.spread):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: torch.Tensor,
        noise_level: torch.Tensor,
        x_c: torch.Tensor,
        features: torch.Tensor,
        context: Context | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x (B, latent, h, w) of about unit variance; noise_level (B,): log(sigma) / 4; x_c (B, 3, 16 h, 16 w) in
        0..1; features (B, F) -> value and log variance, each (B, latent, h, w), float32."""
        angle = noise_level[:, None] * (torch.pi * 2.0 ** torch.linspace(-2, 3, FOURIER, device=x.device))
        e = self.embed(torch.cat([angle.sin(), angle.cos(), features], 1))
        seen = self.body8(self.see8(F.pixel_unshuffle(F.silu(self.see4(unshuffled(x_c, 4))), 2)))
        h = self.stem(x) + self.see16(F.pixel_unshuffle(F.silu(seen), 2))
        places = grid(*x.shape[2:], 1.0, x.device)
        tokens, positions = (None, None) if context is None else (context.values, context.positions)
        for k, block in enumerate(self.blocks):
            h = block(h, e)
            if (k + 1) % self.config.attend == 0:
                h = h + self.attention[k // self.config.attend](
                    h.permute(0, 2, 3, 1), places, tokens, positions
                ).permute(0, 3, 1, 2)
        h = rms(h)
        return self.head(h).float(), self.spread(h).float()
