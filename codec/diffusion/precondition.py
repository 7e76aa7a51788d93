"""Between network and denoiser: scalings, the weight of the loss and the levels to train at. Data have unit variance
per channel."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Preconditioned:
    """Denoiser of a network: D = v / (v + sigma^2) x + c_out F, with (F, log v) = network(c_in x, c_noise).

    c_in, c_out, c_noise are those of Karras et al. 2022, table 1, for unit variance. Their c_skip, the Wiener filter
    of data of variance 1, becomes that of a variance v which the network predicts for every latent: smooth places
    have little to restore and textures much, and a network narrower than the latent has channels could not say so by
    adding. Plain x-prediction (Li and He 2025), which has to carry every channel through the network, was worse than
    the fixed filter at low noise.

    network(c_in x (B, C, h, w), c_noise (B,), **conditions) -> F, log v, each (B, C, h, w).
    """

    network: Callable[..., tuple[torch.Tensor, torch.Tensor]]

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, **conditions: Any) -> torch.Tensor:
        """x = x0 + sigma n, of shape (B, C, h, w); sigma > 0 is one level or (B,) -> estimate of x0."""
        s = (
            torch.full((len(x),), sigma, dtype=torch.float64, device=x.device)
            if not isinstance(sigma, torch.Tensor)
            else sigma.double()
        )
        assert s.shape == (len(x),)
        c_in = (1 + s.square()).rsqrt()
        c_in, c_out, log_variance = (c.to(x.dtype)[:, None, None, None] for c in (c_in, s * c_in, 2 * s.log()))
        value, log_v = self.network(c_in * x, (s.log() / 4).to(x.dtype), **conditions)
        return (log_v - log_variance).sigmoid() * x + c_out * value


def loss_weight(sigma: torch.Tensor, limit: float) -> torch.Tensor:
    """(1 + sigma^2) / sigma^2, weight of the squared error (Karras et al. 2022, table 1), clipped as min-SNR (Hang et
    al. 2023)."""
    return ((1 + sigma.square()) / sigma.square()).clamp(max=limit)


def draw_sigmas(
    uniforms: torch.Tensor, mean: float, deviation: float, sigma_min: float, sigma_max: float
) -> torch.Tensor:
    """uniforms (B,) in 0..1, stratified if the caller wants -> sigmas (B,) with ln sigma ~ N(mean, deviation^2),
    clipped into the range."""
    normal = torch.special.ndtri(uniforms.double())
    return (mean + deviation * normal).exp().clamp(sigma_min, sigma_max).to(uniforms.dtype)
