"""What an error is worth in bits at a quality level: the weights of the encoder's decisions."""

from __future__ import annotations

import numpy as np
import torch

from codec.models.config import VQVAEConfig
from codec.models.vqvae import VQVAE

#: weight of the rate in the quantiser's decisions; below 1 because a latent that is zeroed is missed as a context (chosen on validation photographs)
RATE_SHARE = 0.5


def lagrangian(config: VQVAEConfig, position: torch.Tensor) -> float:
    """Bits per pixel that one unit of MSE (0..255 scale) is worth; position (1,) among the anchors."""
    return float(np.exp(np.interp(position.item(), np.arange(config.anchors), np.log(config.lambdas()))))


def step_weight(log2_igain: torch.Tensor, lam: float | torch.Tensor) -> np.ndarray:
    """log2_igain (B, C, 1, 1), lam scalar or (B, 1) -> (B, C) float32: bits that a squared step of error is worth to the quantiser.

    lambda / 3 times the squared step on the 0..255 scale, as for an orthonormal synthesis, over RATE_SHARE.
    """
    return ((torch.exp2(log2_igain.detach()[..., 0, 0]) * 255).square() * lam / (3 * RATE_SHARE)).cpu().numpy()


@torch.no_grad()
def error_weight(model: VQVAE, position: torch.Tensor) -> np.ndarray:
    """(C,) float32: ``step_weight`` of a model at a position (1,) among the anchors."""
    return step_weight(model.interpolate(model.log2_igain, position), lagrangian(model.config, position))[0]
