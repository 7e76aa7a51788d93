"""A network of the semantic stage: from a picture that lost detail (decoded, or enlarged) to one that has it again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.models.context import Context, GridConditioner
from codec.models.denoiser import Denoiser, DenoiserConfig
from codec.models.painter import Painter, PainterConfig, ResidualEncoder

UPSCALES = (2, 4)
THUMBNAIL = 48  # values of a thumbnail for each 32x32 pixels: 4x4 pixels of 3 colours


def thumbnail(x: torch.Tensor) -> torch.Tensor:
    """x (B, 3, H, W) in 0..1, sides multiples of 32 -> (B, 48, H/32, W/32), about -1..1: means over 8x8 pixels."""
    return F.pixel_unshuffle(F.avg_pool2d(x, 8), 4) * 2 - 1


@dataclass(frozen=True)
class Condition:
    """What is known of a picture whose detail is wanted.

    x_c (B, 3, H, W) in 0..1, sides multiples of 32: the picture without it; task (B,) float: 0 .. anchors - 1 the
    quality of the stream it was decoded from, anchors + k: it was enlarged by UPSCALES[k]; context: tokens for
    cross-attention, None for none.
    """

    x_c: torch.Tensor
    task: torch.Tensor
    context: Context | None


class Restorer(nn.Module):
    """
    noise ─ denoiser (one step or more) ─ s ─ painter ─ x_hat
    x_c, task, context ──┴──────────────────────┘

    s is handled in patches of 2x2 positions, (B, 4 * latent, H/16, W/16), divided by ``scale`` (4 * latent,), its
    standard deviation on training photographs: the form that diffusion and samplers see. residual (anchors + 2,):
    root mean square of x - x_c at each quality level and each enlargement.
    """

    def __init__(self, painter: PainterConfig, denoiser: DenoiserConfig, anchors: int, codeword: int) -> None:
        super().__init__()
        assert denoiser.latent == 4 * painter.latent
        self.anchors = anchors
        self.encoder, self.painter, self.denoiser = ResidualEncoder(painter), Painter(painter), Denoiser(denoiser)
        self.hyper = GridConditioner(codeword, denoiser.context)
        self.picture = GridConditioner(THUMBNAIL, denoiser.context)
        self.register_buffer("scale", torch.ones(denoiser.latent))
        self.register_buffer("residual", torch.ones(anchors + len(UPSCALES)))

    def of_stream(self, task: torch.Tensor) -> torch.Tensor:
        """task (B,) -> bool (B,): whether a stream was decoded, not a picture enlarged."""
        return task <= self.anchors - 1

    def features(self, task: torch.Tensor) -> torch.Tensor:
        """task (B,) -> (B, 3 + 2): powers of the level, scaled to -1..1, then one number for each enlargement."""
        stream = self.of_stream(task).float()
        u = (task * (2 / (self.anchors - 1)) - 1) * stream
        kinds = [(task == self.anchors + k).float() for k in range(len(UPSCALES))]
        return torch.stack([u, u * u, u**3, *kinds], 1)

    def size(self, task: torch.Tensor) -> torch.Tensor:
        """task (B,) -> (B, 1, 1, 1): root mean square of x - x_c to be expected, geometric between levels."""
        table, stream = self.residual.log(), self.of_stream(task)
        low = torch.where(stream, task.floor().clamp(max=self.anchors - 2), task).long()
        high = torch.where(stream, low + 1, low).long()
        return torch.lerp(table[low], table[high], task - low).exp()[:, None, None, None]

    def encode(self, x: torch.Tensor, condition: Condition) -> torch.Tensor:
        """x (B, 3, H, W) in 0..1 -> s in patches, in standard deviations."""
        return (
            F.pixel_unshuffle(self.encoder(x, condition.x_c, self.size(condition.task)).float(), 2)
            / self.scale[:, None, None]
        )

    def paint(self, s: torch.Tensor, condition: Condition) -> torch.Tensor:
        """s in patches -> x_hat (B, 3, H, W), not clipped."""
        planes = F.pixel_shuffle(s * self.scale[:, None, None], 2).contiguous(memory_format=torch.channels_last)
        return self.painter(condition.x_c, planes, self.features(condition.task), self.size(condition.task))

    def forward(
        self, x: torch.Tensor, noise_level: torch.Tensor, condition: Condition
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x: noisy s over sqrt(1 + sigma^2); noise_level (B,): log(sigma) / 4 -> value and log variance, for
        codec.diffusion.precondition."""
        return self._denoiser(x, noise_level, condition, 0.0)

    def generate(self, z: torch.Tensor, condition: Condition) -> torch.Tensor:
        """One step: noise z (unit, or zeros) -> s."""
        return self._denoiser(z, z.new_zeros(len(z)), condition, 1.0)[0]

    def _denoiser(
        self, x: torch.Tensor, noise_level: torch.Tensor, condition: Condition, at_once: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        features = F.pad(self.features(condition.task), (0, 1), value=at_once)
        return self.denoiser(x, noise_level, condition.x_c, features, condition.context)
