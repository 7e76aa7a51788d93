"""What an error is worth in bits at a quality level: the weights of the encoder's decisions."""

from __future__ import annotations

import numpy as np
import torch

from codec.models.config import VQVAEConfig
from codec.models.vqvae import VQVAE

#: weight of the rate in the quantiser's decisions at every effort; below 1 because a latent that is zeroed is missed
#: as a context (chosen on validation photographs)
RATE_SHARE = 0.42
#: weight of the rate in what files are compared by: about what bits and error trade at along the qualities of the codec
SLOPE_SHARE = 0.6
#: RATE_SHARE is larger by up to this part below the second anchor: the scale of qualities begins at a smaller size
THRIFT = 0.7


def squared_error(a: np.ndarray, b: np.ndarray) -> float:
    """Sum over all values of two uint8 pictures (H, W, 3), some rows at a time."""
    return sum(float(np.square(x.astype(np.float32) - y).sum(dtype=np.float64)) for x, y in zip(a, b, strict=True))


def lagrangians(config: VQVAEConfig, position: torch.Tensor) -> torch.Tensor:
    """Bits per pixel that one unit of MSE (0..255 scale) is worth; position (B,) among the anchors -> (B,) float64."""
    found = np.exp(np.interp(position.cpu().numpy(), np.arange(config.anchors), np.log(config.lambdas())))
    return torch.from_numpy(found).to(position.device)


def lagrangian(config: VQVAEConfig, position: torch.Tensor) -> float:
    """``lagrangians`` of one position (1,)."""
    return lagrangians(config, position).item()


def thrift(position: torch.Tensor) -> torch.Tensor:
    """Factor of the rate's weight at positions (B,) among the anchors, (B,) float64."""
    return 1 + THRIFT * (1 - position.double()).clamp(min=0)


def worth(config: VQVAEConfig, position: torch.Tensor, share: float = RATE_SHARE) -> float:
    """Bits that a squared error of one, -255..255, of one value is worth at a position (1,) among the anchors."""
    return lagrangian(config, position) / (3 * share * thrift(position).item())


def step_weight(
    log2_igain: torch.Tensor, lam: float | torch.Tensor, share: float | torch.Tensor = RATE_SHARE
) -> torch.Tensor:
    """log2_igain (B, C, 1, 1), lam and share scalars or (B, 1) -> (B, C) float32: bits that a squared step of error is
    worth to the quantiser.

    lambda / 3 times the squared step on the 0..255 scale, as for an orthonormal synthesis, over ``share``.
    """
    return (torch.exp2(log2_igain.detach()[..., 0, 0]) * 255).square() * lam / (3 * share)


@torch.no_grad()
def error_weight(model: VQVAE, position: torch.Tensor, share: float = RATE_SHARE) -> np.ndarray:
    """(C,) float32: ``step_weight`` of a model at a position (1,) among the anchors, with ``thrift``."""
    return (
        step_weight(
            model.interpolate(model.log2_igain, position),
            lagrangian(model.config, position),
            share * thrift(position).item(),
        )[0]
        .cpu()
        .numpy()
    )
