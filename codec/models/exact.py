"""Networks of integers, exact: the arithmetic of the prior, in NumPy here and in PyTorch in codec.models.exact_torch.

Weights and activations are integers held in float64. Every sum stays far below 2**53, so it is exact whatever the
order of its terms, the number of threads, the instruction set or the device. Activations have FRACTION fractional
bits and are clipped to CLIP, weights have WEIGHT_BITS; results are rounded by a shift.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

FRACTION = 10  # fractional bits of activations, of logarithms and of multiples of a standard deviation
ONE = 1 << FRACTION
WEIGHT_BITS = 12  # fractional bits of weights
CLIP = 1 << 17
_CACHE = 1 << 15  # numbers that stay near the processor


class Arithmetic(Protocol):
    """What a network is made of, on arrays of one library; x (H, W, C) or (P, C). What is given is an integer, and
    may be overwritten."""

    def load(self, values: np.ndarray) -> Any:
        """float64 array -> the library's."""

    def store(self, x: Any) -> np.ndarray:
        """Inverse of ``load``."""

    def dense(self, x: Any, weight: Any, bias: Any) -> Any:
        """weight (C, D), bias (D,): (x @ weight + bias), rounded down."""

    def depthwise(self, x: Any, weight: Any, bias: Any) -> Any:
        """weight (3, 3, C), bias (C,): filter of 3x3 positions with zeros outside, plus the bias, rounded down."""

    def leaky(self, x: Any) -> Any:
        """x or, below 0, x / 8, rounded down; then clipped."""

    def add(self, x: Any, y: Any) -> Any:
        """x + y, clipped."""

    def at(self, x: Any, places: np.ndarray) -> Any:
        """(H, W, C), places (P,) as row * W + column -> (P, C)."""


class NumPy:
    """Arithmetic in NumPy."""

    def load(self, values: np.ndarray) -> np.ndarray:
        return values

    def store(self, x: np.ndarray) -> np.ndarray:
        return x

    def dense(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        out = x.reshape(-1, x.shape[-1]) @ weight
        out += bias
        return np.floor(out, out=out).reshape(*x.shape[:-1], -1)

    def depthwise(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        out = filtered(x, weight, bias)
        return np.floor(out, out=out)

    def leaky(self, x: np.ndarray) -> np.ndarray:
        low = x * 0.125
        np.maximum(x, np.floor(low, out=low), out=x)
        return _clip(x)

    def add(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x += y
        return _clip(x)

    def at(self, x: np.ndarray, places: np.ndarray) -> np.ndarray:
        return x.reshape(-1, x.shape[-1])[places]


def _clip(x: np.ndarray) -> np.ndarray:
    np.minimum(x, CLIP, out=x)
    return np.maximum(x, -CLIP, out=x)


def filtered(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """x (H, W, C), weight (3, 3, C), zeros outside -> exact sums (H, W, C); a few rows at a time, which is faster."""
    h, w, c = x.shape
    p = np.zeros((h + 2, w + 2, c))
    p[1:-1, 1:-1] = x
    out, rows = np.empty((h, w, c)), max(1, _CACHE // (w * c))
    term = np.empty((min(rows, h), w, c))
    for start in range(0, h, rows):
        part = out[start : start + rows]
        n = len(part)
        part[:] = bias
        for i in range(3):
            for j in range(3):
                part += np.multiply(p[start + i : start + i + n, j : j + w], weight[i, j], out=term[:n])
    return out


class Net:
    """One context network; x (H, W, inputs) -> (H, W, 2 n). An output sees ``reach`` positions to every side.

    The shift behind each layer and its rounding are part of the weights: a power of two and a half, and so as exact
    as integers; then only the floor is left to take.
    """

    def __init__(self, arrays: dict[str, np.ndarray], prefix: str, blocks: int, arithmetic: Arithmetic) -> None:
        def layer(name: str) -> tuple[Any, Any]:
            weight, bias = (arrays[f"{prefix}{name}.{part}"] for part in ("weight", "bias"))
            turned = np.moveaxis(weight, 0, -1) * 2.0**-WEIGHT_BITS
            return arithmetic.load(np.ascontiguousarray(turned)), arithmetic.load(bias * 2.0**-WEIGHT_BITS + 0.5)

        self._arithmetic, self.reach = arithmetic, blocks
        self._stem, self._head = layer("stem"), layer("head")
        self._blocks = [[layer(f"body.{k}.{name}") for name in "adbfg"] for k in range(blocks)]

    def __call__(self, x: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """at (P,): positions asked for, as row * W + column; then the result is (P, 2 n)."""
        use = self._arithmetic
        v = use.leaky(use.dense(use.load(x), *self._stem))
        for k, (a, d, b, f, g) in enumerate(self._blocks):
            h = use.leaky(use.dense(v, *a))
            h = use.leaky(use.depthwise(h, *d))
            if at is not None and k + 1 == len(self._blocks):  # from here on no position sees another
                v, h = use.at(v, at), use.at(h, at)
            v = use.add(v, use.dense(h, *b))
            v = use.add(v, use.dense(use.leaky(use.dense(v, *f)), *g))
        return _clip(use.store(use.dense(use.leaky(v), *self._head)))
