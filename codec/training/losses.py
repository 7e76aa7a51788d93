"""Rate-distortion loss over a range of rates."""

import torch


def rate_distortion(
    x: torch.Tensor, x_hat: torch.Tensor, bits: torch.Tensor, lam: torch.Tensor, exponent: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, x_hat (B, 3, H, W) in 0..1, bits (B,), lam (B,) -> (loss, bits per dim (B,), MSE on the 0..255 scale (B,)).

    Per picture bits/pixel + lambda * MSE, over lambda ** exponent: the pictures of a batch have other lambdas, and 0.5
    keeps the gradients of low and high rates of one size. Less of it gives more weight to high rates.
    """
    bpd = bits / x[0].numel()
    mse = (x_hat - x).square().mean((1, 2, 3)) * 65025
    return ((3 * bpd + lam * mse) * (0.01 / lam).pow(exponent)).mean(), bpd, mse
