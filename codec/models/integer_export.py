"""From the trained prior to the integers of codec.models.integer_prior."""

from __future__ import annotations

import numpy as np
import torch

from codec.models.exact import CLIP, FRACTION, ONE, WEIGHT_BITS
from codec.models.prior import Prior
from codec.models.tokens import Tokens

WEIGHT_CLIP = 1 << 16


def export(prior: Prior, tokens: Tokens, sd: torch.Tensor, log2_gain: torch.Tensor) -> dict[str, np.ndarray]:
    """Trained modules -> integer arrays (int32), the whole state of an IntegerPrior."""
    out: dict[str, np.ndarray] = {}

    def weight(name: str, w: torch.Tensor) -> None:
        q = torch.round(w.detach().double() * (1 << WEIGHT_BITS))
        if q.abs().max() > WEIGHT_CLIP:
            raise ValueError(f"weight of {name} is too large for the integer prior")
        out[name] = q.to(torch.int32).numpy()

    def bias(name: str, b: torch.Tensor) -> None:
        out[name] = torch.round(b.detach().double() * (1 << (WEIGHT_BITS + FRACTION))).to(torch.int32).numpy()

    for i, net in enumerate(prior.nets):
        for name, module in net.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                w = module.weight
                weight(f"nets.{i}.{name}.weight", w[:, 0] if module.groups > 1 else w[:, :, 0, 0])
                bias(f"nets.{i}.{name}.bias", module.bias)
    for i, conv in enumerate(prior.smooth):
        weight(f"smooth.{i}.weight", conv.weight[:, 0])
    log2_sd = sd.detach().double().flatten().log2()
    out["log2_spread"] = torch.round((log2_gain.detach().double() + log2_sd) * ONE).to(torch.int32).numpy()
    out["centroids"] = (
        torch.round(tokens.centroids(sd).detach().double() * ONE).clamp(-CLIP, CLIP).to(torch.int32).numpy()
    )
    out["exp2"] = np.round(np.exp2(np.arange(ONE) / ONE) * (1 << 15)).astype(np.int32)
    return out
