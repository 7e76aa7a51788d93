"""Samplers: functions (denoise, x, sigmas, ..., callback) -> x0.

All walk down sigmas (n + 1,), which fall to 0; x starts as sigmas[0] times unit noise. Step i = 1..n leads from
sigmas[i - 1] to sigmas[i]; after it, callback(i, n, denoised) gets the estimate that the step began with. The last
step returns its estimate.
"""

import math
from collections.abc import Callable, Iterator

import torch

Denoiser = Callable[[torch.Tensor, float], torch.Tensor]  # (x, sigma) -> estimate of x0
Noise = Callable[[int], torch.Tensor]  # i -> unit noise for level i
Callback = Callable[[int, int, torch.Tensor], None]


def heun(denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, callback: Callback | None = None) -> torch.Tensor:
    """Second-order steps along the probability flow, two evaluations each (Karras et al. 2022, algorithm 1)."""
    for i, n, t, s in _steps(sigmas):
        denoised = denoise(x, t)
        slope = (x - denoised) / t
        euler = x + (s - t) * slope
        if s > 0:
            x = x + (s - t) / 2 * (slope + (euler - denoise(euler, s)) / s)
        else:
            x = denoised
        if callback:
            callback(i, n, denoised)
    return x


def dpmpp_2m(
    denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, callback: Callback | None = None
) -> torch.Tensor:
    """DPM-Solver++(2M), one evaluation a step (Lu et al. 2022, algorithm 2, with alpha = 1 and lambda = -ln sigma)."""
    before, h_before = None, 0.0
    for i, n, t, s in _steps(sigmas):
        denoised = denoise(x, t)
        d = denoised
        if s > 0:  # the step to 0 is infinite in lambda: first order
            h = math.log(t / s)
            if before is not None:
                d = denoised + h / (2 * h_before) * (denoised - before)
            before, h_before = denoised, h
        x = s / t * x + (1 - s / t) * d
        if callback:
            callback(i, n, denoised)
    return x


def ancestral(
    denoise: Denoiser, x: torch.Tensor, sigmas: torch.Tensor, noise: Noise, callback: Callback | None = None
) -> torch.Tensor:
    """Draws each level from q(x_s | x_t, x0 = denoised) (Ho et al. 2020, eq. 6 and 7, variance exploding); noise(i)
    for i = 1..n-1."""
    for i, n, t, s in _steps(sigmas):
        denoised = denoise(x, t)
        x = posterior(x, denoised, t, s, noise(i)) if s > 0 else denoised
        if callback:
            callback(i, n, denoised)
    return x


def posterior(x: torch.Tensor, x0: torch.Tensor, t: float, s: float, noise: torch.Tensor) -> torch.Tensor:
    """x at level t -> a draw from q(x_s | x_t, x0) at level 0 < s <= t: mean x0 + s^2/t^2 (x - x0), variance s^2 (1 -
    s^2/t^2)."""
    ratio = (s / t) ** 2
    return x0 + ratio * (x - x0) + s * math.sqrt(1 - ratio) * noise


def _steps(sigmas: torch.Tensor) -> Iterator[tuple[int, int, float, float]]:
    """(i, n, sigmas[i - 1], sigmas[i]) for i = 1..n."""
    levels = sigmas.tolist()
    assert len(levels) > 1 and levels[-1] == 0 and all(t > s for t, s in zip(levels, levels[1:], strict=False)), (
        "sigmas must fall to 0"
    )
    for i in range(1, len(levels)):
        yield i, len(levels) - 1, levels[i - 1], levels[i]
