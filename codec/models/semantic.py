"""The semantic stage around its network: what is restored, in which units, from which conditions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.models.context import Context, GridConditioner
from codec.models.denoiser import Denoiser, DenoiserConfig

UPSCALES = (2, 4)
THUMBNAIL = 48  # values of a thumbnail for each 32x32 pixels: 4x4 pixels of 3 colours


def thumbnail(x: torch.Tensor) -> torch.Tensor:
    """x (B, 3, H, W) in 0..1, H and W multiples of 32 -> (B, 48, H/32, W/32), about -1..1: means over 8x8 pixels."""
    return F.pixel_unshuffle(F.avg_pool2d(x, 8), 4) * 2 - 1


@dataclass(frozen=True)
class Condition:
    """What is known of a picture whose clean latents are wanted.

    y_c (B, C, h, w): latents (at the top level) of the degraded picture; task (B,) float: 0 .. anchors - 1 the quality of the stream it was decoded from, anchors + k: it was
    enlarged by UPSCALES[k]; context: tokens for cross-attention, None for none.
    """

    y_c: torch.Tensor
    task: torch.Tensor
    context: Context | None


class Semantic(nn.Module):
    """Residual r = (y - y_c) / scale of about unit variance, and the network that predicts it.

    scale (anchors + 2, C): root mean square of y - y_c for each channel at each quality level and each enlargement, measured on training photographs; sd (C,): standard deviation of y.
    """

    def __init__(self, config: DenoiserConfig, anchors: int, codeword: int) -> None:
        super().__init__()
        self.anchors = anchors
        self.network = Denoiser(config)
        self.hyper = GridConditioner(codeword, config.context)
        self.picture = GridConditioner(THUMBNAIL, config.context)
        self.register_buffer("scale", torch.ones(anchors + len(UPSCALES), config.channels))
        self.register_buffer("sd", torch.ones(config.channels))

    def scales(self, task: torch.Tensor) -> torch.Tensor:
        """task (B,) -> (B, C, 1, 1), geometric between levels."""
        table, last = self.scale.log(), self.anchors - 1
        low = torch.where(task > last, task, task.floor().clamp(max=last - 1)).long()
        high = torch.where(task > last, low, low + 1).long()
        t = (task - low)[:, None]
        return torch.lerp(table[low], table[high], t).exp()[:, :, None, None]

    def features(self, task: torch.Tensor) -> torch.Tensor:
        """task (B,) -> (B, 3 + 2): powers of the level, scaled to -1..1, then one number for each enlargement."""
        stream = (task <= self.anchors - 1).float()
        u = (task * (2 / (self.anchors - 1)) - 1) * stream
        kinds = [(task == self.anchors + k).float() for k in range(len(UPSCALES))]
        return torch.stack([u, u * u, u**3, *kinds], 1)

    def normalised(self, y_c: torch.Tensor) -> torch.Tensor:
        """y_c as the network sees it: in standard deviations, compressed where it is large."""
        return torch.asinh(2 * y_c / self.sd[None, :, None, None]) / 2

    def forward(self, x: torch.Tensor, noise_level: torch.Tensor, condition: Condition) -> tuple[torch.Tensor, torch.Tensor]:
        """x (B, C, h, w): noisy residual over sqrt(1 + sigma^2); noise_level (B,): log(sigma) / 4 -> value and log variance, each (B, C, h, w), for
        codec.diffusion.precondition."""
        return self.network(x, noise_level, self.normalised(condition.y_c), self.features(condition.task), condition.context)

    def generate(self, z: torch.Tensor, condition: Condition) -> torch.Tensor:
        """One pass: noise z (B, C, h, w), or zeros -> residual, for decoders without a diffusion process."""
        value, log_variance = self(z, z.new_zeros(len(z)), condition)
        return value + (log_variance / 2).exp() * z
