"""Rate of the chain: what relative entropy coding of its levels would cost, one after the other."""

import math
from collections.abc import Iterator

import torch

from codec.diffusion.sample import Denoiser, Noise, posterior


def prior_bits(x0: torch.Tensor, sigma_max: float) -> torch.Tensor:
    """KL(N(x0, sigma_max^2) || N(0, 1 + sigma_max^2)) in bits, elementwise: the first level, for data of unit
    variance."""
    variance = sigma_max * sigma_max
    return (math.log1p(1 / variance) + (x0.square() - 1) / (1 + variance)) / (2 * math.log(2))


def step_bits(x0: torch.Tensor, denoised: torch.Tensor, sigma_t: float, sigma_s: float) -> torch.Tensor:
    """KL(q(x_s | x_t, x0) || q(x_s | x_t, D)) in bits, elementwise: (SNR(s) - SNR(t)) (x0 - D)^2 / 2 (Kingma et al.
    2021, eq. 13)."""
    return (sigma_s**-2 - sigma_t**-2) / (2 * math.log(2)) * (x0 - denoised).square()


def chain(
    denoise: Denoiser, x0: torch.Tensor, sigmas: torch.Tensor, noise: Noise
) -> Iterator[tuple[float, torch.Tensor, torch.Tensor]]:
    """Progressive lossy coding of x0 (B, ...) (Ho et al. 2020, figure 5): yields (sigma, bits, denoised) for each
    level.

    sigmas (T,) fall and do not reach 0; noise(i), i = 0..T-1, is unit noise for level i. bits (B,), float64, pay for
    the step to this level from the one above, the first for prior_bits: their running sum is the rate at which a
    receiver can show denoised.
    """
    levels = sigmas.tolist()
    assert levels[-1] > 0 and all(t > s for t, s in zip(levels, levels[1:], strict=False)), (
        "sigmas must fall and stay above 0"
    )
    x = x0 + levels[0] * noise(0)
    bits, denoised = prior_bits(x0, levels[0]), x
    for i, sigma in enumerate(levels):
        if i:
            bits = step_bits(x0, denoised, levels[i - 1], sigma)
            x = posterior(x, x0, levels[i - 1], sigma, noise(i))
        denoised = denoise(x, sigma)
        yield sigma, bits.double().flatten(1).sum(1), denoised
