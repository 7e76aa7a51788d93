"""From the trained prior to the integers of codec.models.integer_prior, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from codec.models.exact import CLIP, FRACTION, ONE, WEIGHT_BITS
from codec.models.narrow import Layer
from codec.models.prior import Prior
from codec.models.tokens import Tokens

WEIGHT_CLIP = 1 << 16


def layers(prior: Prior) -> Iterator[tuple[str, nn.Conv2d | Layer]]:
    """The layers that the integers hold, by name."""
    return ((name, m) for name, m in prior.named_modules() if isinstance(m, (nn.Conv2d, Layer)))


def export(prior: Prior, tokens: Tokens, sd: torch.Tensor, log2_gain: torch.Tensor) -> dict[str, np.ndarray]:
    """Trained modules -> integer arrays (int32), the whole state of an IntegerPrior."""
    out: dict[str, np.ndarray] = {}

    def integers(x: torch.Tensor) -> np.ndarray:
        return torch.round(x.detach()).to(torch.int32).numpy()

    for name, module in layers(prior):
        if isinstance(module, Layer):
            (w, b), out[f"{name}.shift"] = module.integers(), integers(module.shift)
        else:
            w, b = module.weight.double() * (1 << WEIGHT_BITS), module.bias
            if w.abs().max() > WEIGHT_CLIP:
                raise ValueError(f"weight of {name}.weight is too large for the integer prior")
            b = None if b is None else b.double() * (1 << (WEIGHT_BITS + FRACTION))
        out[f"{name}.weight"] = integers(w[:, 0] if module.groups > 1 else w[:, :, 0, 0])
        if b is not None:
            out[f"{name}.bias"] = integers(b)
    log2_sd = sd.detach().double().flatten().log2()
    out["log2_spread"] = integers((log2_gain.detach().double() + log2_sd) * ONE)
    out["centroids"] = integers((tokens.centroids(sd).detach().double() * ONE).round().clamp(-CLIP, CLIP))
    out["exp2"] = np.round(np.exp2(np.arange(ONE) / ONE) * (1 << 15)).astype(np.int32)
    return out


@torch.no_grad()
def restore(prior: Prior, arrays: dict[str, np.ndarray]) -> None:
    """Sets the networks to the values of the integers: the inverse of ``export``."""
    for name, module in layers(prior):
        weight_bits, bias_bits = WEIGHT_BITS, torch.tensor(WEIGHT_BITS + FRACTION)
        if isinstance(module, Layer):
            module.shift.copy_(torch.from_numpy(arrays[f"{name}.shift"]))
            weight_bits, bias_bits = 0, module.shift
        weight = torch.from_numpy(arrays[f"{name}.weight"].astype(np.float32))
        module.weight.copy_(weight.view_as(module.weight) * 2.0**-weight_bits)
        if module.bias is not None:
            module.bias.copy_(torch.from_numpy(arrays[f"{name}.bias"].astype(np.float32)) * torch.exp2(-bias_bits))
