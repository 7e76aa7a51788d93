"""Denoisers made of denoisers."""

import torch

from codec.diffusion.sample import Denoiser


def classifier_free(conditional: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """D_u + scale (D_c - D_u) (Ho and Salimans 2022); scale 1 is the conditional one alone."""
    if scale == 1:
        return conditional

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.lerp(unconditional(x, sigma), conditional(x, sigma), scale)

    return denoise
