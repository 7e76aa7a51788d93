"""codec.models.exact.Arithmetic of wide integers in products of bytes, whose sums have 32 bits: the same integers, by
the instructions that processors have for networks in 8 bits (VNNI), in half the time of float64.

A weight has two digits of 8 bits; an activation has two, or three where one of its layer is large: x = x0 + 256 x1 +
65536 x2, each digit in -128..127. Nothing is rounded, and no sum leaves 32 bits, whatever the activations are.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from codec.models.exact import CLIP, WEIGHT_BITS, Arithmetic
from codec.models.exact_torch import Torch

_LEAST, _MOST = -(1 << 15) - 128, (1 << 15) - 129  # what two digits hold
_LIMIT = 1 << 31


@dataclass(frozen=True)
class Digits:
    """Weights (C, D) of a dense layer. pairs (2 C, 3 D) int8: rows for x0 and x1 of every channel, columns for the
    sums that count 1, 256 and 65536; single (C, 2 D) int8: low and high digits."""

    pairs: torch.Tensor
    single: torch.Tensor

    def whole(self) -> torch.Tensor:
        """(C, D) float64, as codec.models.exact_torch has them."""
        low, high = self.single.to(torch.float64).chunk(2, 1)
        return (low + 256 * high) * 2.0**-WEIGHT_BITS


class Bytes(Torch):
    """Activations are int32, on the CPU. A layer whose sums could leave 32 bits is computed in float64."""

    def load(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(torch.int32)

    def store(self, x: torch.Tensor) -> np.ndarray:
        return x.to(torch.float64).numpy()

    def layer(self, weight: np.ndarray, bias: np.ndarray) -> tuple[torch.Tensor | Digits, torch.Tensor]:
        w, b = (np.asarray(a * 2.0**WEIGHT_BITS, np.int64) for a in (weight, bias))
        wide, whole = (torch.from_numpy(weight), torch.from_numpy(bias)), torch.from_numpy(b.astype(np.int32))
        if weight.ndim > 2:
            fits = (CLIP * np.abs(w).sum((0, 1)) + np.abs(b)).max() < _LIMIT
            return (torch.from_numpy(w.astype(np.int32)), whole) if fits else wide
        low = (w + 128 & 255) - 128
        high = (w - low) >> 8
        sums = 128 * (np.abs(low) + 256 * (np.abs(low) + np.abs(high))).sum(0) + np.abs(b)
        if np.abs(high).max() > 127 or sums.max() >= _LIMIT:
            return wide
        zero = np.zeros_like(low)
        pairs = np.stack([np.hstack([low, high, zero]), np.hstack([zero, low, high])], 1).reshape(2 * len(w), -1)
        digits = (torch.from_numpy(a.astype(np.int8)) for a in (pairs, np.hstack([low, high])))
        return Digits(*digits), whole

    def dense(self, x: torch.Tensor, weight: torch.Tensor | Digits, bias: torch.Tensor) -> torch.Tensor:
        if isinstance(weight, Digits) and not torch.backends.mkldnn.enabled:  # products of bytes would take for ever
            weight, bias = weight.whole(), bias * 2.0**-WEIGHT_BITS
        if isinstance(weight, torch.Tensor):
            return super().dense(x.to(torch.float64), weight, bias.to(torch.float64)).to(torch.int32)
        flat, d = x.reshape(-1, x.shape[-1]), len(bias)
        pairs = flat.to(torch.int16).add_(128).bitwise_xor_(128).view(torch.int8)  # modulo 65536
        ones, middle, large = torch._int_mm(pairs, weight.pairs).split(d, 1)
        out = torch.add(ones, middle, alpha=256).add_(bias).bitwise_right_shift_(WEIGHT_BITS).add_(large, alpha=16)
        least, most = flat.aminmax()
        if least < _LEAST or most > _MOST:
            third = (flat + (1 << 15) + 128).bitwise_right_shift_(16).to(torch.int8)
            large, larger = torch._int_mm(third, weight.single).split(d, 1)
            out.add_(large, alpha=16).add_(larger, alpha=16 << 8)
        return out.view(*x.shape[:-1], d)

    def depthwise(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if weight.dtype == torch.float64:
            return super().depthwise(x.to(torch.float64), weight, bias).to(torch.int32)
        return self._filtered(x, weight, bias).bitwise_right_shift_(WEIGHT_BITS)

    def leaky(self, x: torch.Tensor, clip: int, half: float) -> torch.Tensor:
        return torch.maximum(x, (x + int(8 * half)).bitwise_right_shift_(3), out=x).clamp_(-clip, clip)


@functools.cache
def multiplies_bytes() -> bool:
    """Whether the processor sums products of bytes in 32 bits, and torch uses that. Others sum pairs in 16 bits,
    which saturate: that is tried out, on the largest digits too."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    if not torch.cpu.get_capabilities().get("avx512_vnni", False):
        return False
    rng = np.random.default_rng(0)
    for rows, inner, columns in ((1, 40, 96), (17, 256, 384), (130, 512, 200)):
        for few in ((-128, 127), (-128, 127, 1), (-128,)):
            a, b = (rng.choice(few, size) for size in ((rows, inner), (inner, columns)))
            found = torch._int_mm(*(torch.from_numpy(x.astype(np.int8)) for x in (a, b)))
            if (found.numpy() != a.astype(np.float64) @ b).any():
                return False
    return True


def fastest(device: torch.device | str, arithmetic: str) -> Arithmetic:
    """What computes an arithmetic of codec.models.config soonest on a device."""
    if torch.device(device).type == "cpu" and arithmetic == "wide" and multiplies_bytes():
        return Bytes()
    return Torch(device)
