"""Vector-quantised hyper tokens: one codebook entry for each 32x32 pixels."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.models.config import VQVAEConfig

POWER = 0.6  # of the standard deviation that scales a component before distances are taken: between MSE (0) and equal weight (1)


class Tokens(nn.Module):
    """Nearest codeword of the leading channels of the linear latents over 2x2 positions.

    codebook (K, D) with D = 4 * token_channels, in units of sd ** (1 - POWER); ``bits`` (K,) holds the cost of a
    codeword for entropy-constrained assignment (Chou, Lookabaugh and Gray 1989), 0 until it is set. The codebook is
    fitted by k-means on training photographs (codec.training.base.start) and stays fixed: it never depends on the
    quality.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.channels = config.token_channels
        self.register_buffer("codebook", torch.zeros(config.tokens, 4 * config.token_channels))
        self.register_buffer("bits", torch.zeros(config.tokens))
        self.register_buffer("bit_weight", torch.zeros(()))

    def features(self, y_linear: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
        """y_linear (B, C, h, w), sd (1, C, 1, 1) -> (B, h/2, w/2, D)."""
        f = y_linear[:, : self.channels] / sd[:, : self.channels] ** POWER
        return F.pixel_unshuffle(f, 2).permute(0, 2, 3, 1)

    @torch.no_grad()
    def assign(self, y_linear: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
        """-> token indices (B, h/2, w/2), int64."""
        f = self.features(y_linear, sd)
        cost = self.codebook.square().sum(1) - 2 * f @ self.codebook.t() + self.bit_weight * self.bits
        return cost.argmin(-1)

    def centroids(self, sd: torch.Tensor) -> torch.Tensor:
        """Codebook in units of each channel's standard deviation, (K, D)."""
        scale = sd[0, : self.channels, 0, 0] ** (POWER - 1)
        return self.codebook * scale.repeat_interleave(4)

    def values(self, tokens: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
        """tokens (B, h/2, w/2) -> what they say of the leading channels, in standard deviations, (B, token_channels,
        h, w)."""
        return F.pixel_shuffle(self.centroids(sd)[tokens].permute(0, 3, 1, 2), 2)
