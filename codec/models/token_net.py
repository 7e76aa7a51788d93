"""The network that knows hyper tokens from those around them, in floating point, for training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from codec.models.exact import FRACTION, WEIGHT_BITS
from codec.models.integer_tokens import LAYERS, NEIGHBOURS, PREFIX

WIDTH = 192  # of the shipped network


class TokenNet(nn.Module):
    """
    centroids of the neighbours ─ stem ─ leaky ─┬─ a ─ leaky ─ b ─ + ─ leaky ─ head ─ log2 probabilities
                                                └──────────────────┘
    centroids (K, D): what the codewords say, in standard deviations. Begins with equal probabilities.
    """

    def __init__(self, centroids: torch.Tensor, width: int = WIDTH) -> None:
        super().__init__()
        k, d = centroids.shape
        seen = torch.zeros(k + 1, d + 1)
        seen[:-1, :-1], seen[-1, -1] = centroids, 1.0
        self.register_buffer("seen", seen, persistent=False)
        self.stem = nn.Linear(len(NEIGHBOURS) * (d + 1), width)
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.head = nn.Linear(width, k)
        for m in (self.b, self.head):
            nn.init.zeros_(m.weight), nn.init.zeros_(m.bias)

    def forward(self, known: torch.Tensor) -> torch.Tensor:
        """known (P, n) int64: neighbours, K where there is none -> log2 of the probabilities but for a constant,
        (P, K)."""
        x = _leaky(self.stem(self.seen[known].flatten(1)))
        return self.head(_leaky(x + self.b(_leaky(self.a(x)))))


def _leaky(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.125)


def export(net: TokenNet) -> dict[str, np.ndarray]:
    """-> integer arrays (int32) of codec.models.integer_tokens. Raises ValueError for weights that are too large for
    them; IntegerTokenNet looks at the sums."""
    out = {}
    for name in LAYERS:
        m = getattr(net, name)
        for part, bits in (("weight", WEIGHT_BITS), ("bias", WEIGHT_BITS + FRACTION)):
            values = torch.round(getattr(m, part).detach().double().cpu() * (1 << bits))
            if values.abs().max() >= 2**31:
                raise ValueError(f"{PREFIX}{name}.{part} is too large for integers")
            out[f"{PREFIX}{name}.{part}"] = values.to(torch.int32).numpy()
    return out
