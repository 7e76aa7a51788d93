"""Noise schedules: levels sigma of a variance exploding process, falling, with 0 at the end."""

import math

import torch


def karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> torch.Tensor:
    """n steps -> sigmas (n + 1,) from sigma_max over sigma_min to 0 (Karras et al. 2022, eq. 5)."""
    assert n >= 1 and 0 < sigma_min <= sigma_max
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return _with_zero((first + ramp * (last - first)) ** rho)


def log_uniform(n: int, sigma_min: float, sigma_max: float) -> torch.Tensor:
    """n steps -> sigmas (n + 1,), a geometric row from sigma_max to sigma_min, then 0."""
    assert n >= 1 and 0 < sigma_min <= sigma_max
    return _with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n, dtype=torch.float64).exp())


def _with_zero(sigmas: torch.Tensor) -> torch.Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()
