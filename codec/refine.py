"""Encoder search: iterative refinement of the latents against the decoder (Campos et al. 2019; Yang, Bamler and Mandt 2020)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from codec.models.prior import gaussian_bits
from codec.models.transforms import level_features
from codec.zoo import PerceptualModel

#: gradient steps at efforts 1..9
STEPS = (0, 3, 5, 8, 12, 18, 27, 40, 60)
RATE_LR = 0.12  # of Adam, in quantiser steps


def lagrangian(model: PerceptualModel, position: torch.Tensor) -> float:
    """Bits per pixel that one unit of MSE (0..255 scale) is worth at a level (1,) among the anchors."""
    config = model.config
    return float(np.exp(np.interp(position.item(), np.arange(config.anchors), np.log(config.lambdas()))))


@torch.no_grad()
def error_weight(model: PerceptualModel, position: torch.Tensor) -> np.ndarray:
    """(C,) float32: bits that a squared step of error in y is worth, if the synthesis were orthonormal."""
    igain = torch.exp2(model.vqvae.interpolate(model.vqvae.log2_igain, position))
    return ((igain[0, :, 0, 0] * 255).square() * (lagrangian(model, position) / 3)).cpu().numpy()


def refine(
    model: PerceptualModel, x: torch.Tensor, v: torch.Tensor, tokens: torch.Tensor, position: torch.Tensor, effort: int, step: Callable[[float], None]
) -> torch.Tensor:
    """Gradient descent on bits + lambda * error over v (1, C, h, w) in steps; x (1, 3, H, W) uint8. -> refined v.

    The rate is that of v with uniform noise, the decoder sees rounded values with a straight-through gradient.
    """
    net, count = model.vqvae, STEPS[effort - 1]
    target, lam = x.float() / 255, lagrangian(model, position)
    features = level_features(position, model.config.anchors)
    igain = torch.exp2(net.interpolate(net.log2_igain, position))
    spread = net.sd * torch.exp2(net.interpolate(net.log2_gain, position))
    values = net.tokens.values(tokens, net.sd)
    noise = torch.Generator(device="cpu").manual_seed(0)

    def quantize(part, mu, log2_sigma, group, mask):
        d = part - mu
        return (part + (d.round() - d).detach()) * mask

    with torch.enable_grad():
        v = v.detach().clone().requires_grad_(True)
        opt = torch.optim.Adam([v], lr=RATE_LR, betas=(0.9, 0.98))
        for turn in range(count):
            opt.param_groups[0]["lr"] = RATE_LR * (1 - turn / count)
            out = net.prior(v, spread, values, features, quantize)
            noisy = v + torch.rand(v.shape, generator=noise).to(v.device) - 0.5
            bits = gaussian_bits(noisy, out.mu, out.log2_sigma).sum()
            x_hat = net.synthesise(out.v_hat * igain, position)
            loss = bits + lam / 3 * F.mse_loss(x_hat, target, reduction="sum") * 65025
            opt.zero_grad()
            loss.backward()
            opt.step()
            step(0.5 + 0.5 * (turn + 1) / count)
    return v.detach()
