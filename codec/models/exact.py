"""Networks of integers, exact: the arithmetic of the prior, in NumPy here and in PyTorch in codec.models.exact_torch.

Weights and activations are integers held in floating point, in the widths of a profile. Every sum stays below what
that type counts without a gap, so it is exact whatever the order of its terms, the number of threads, the instruction
set or the device; this is checked when a network is made. Activations are clipped, results are rounded by a shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from codec.models.config import ARITHMETICS

FRACTION = 10  # fractional bits of activations, of logarithms and of multiples of a standard deviation
ONE = 1 << FRACTION
WEIGHT_BITS = 12  # fractional bits of weights
CLIP = 1 << 17
_CACHE = 1 << 15  # numbers that stay near the processor


@dataclass(frozen=True)
class Profile:
    """Widths of the arithmetic of a network.

    dtype: what holds the integers; clip, hidden, weight: largest magnitudes of features and the running sum of a
    network, of activations between two layers of a block, and of a weight; shifts: least and
    largest shift behind a layer, negative to the left; half: what is added to x / 8 before it is rounded down; seen,
    tokens, powers, head: fractional bits of latents and of tokens where they enter, of what says the level and which
    positions are there, and of what the head gives.
    """

    dtype: type
    clip: int
    hidden: int
    weight: int
    shifts: tuple[int, int]
    half: float
    seen: int = FRACTION
    tokens: int = FRACTION
    powers: int = FRACTION
    head: int = FRACTION

    def feature(self, x: np.ndarray, fraction: int) -> np.ndarray:
        """Integers with FRACTION fractional bits -> what a network sees of them."""
        if fraction == FRACTION:
            return x
        return np.clip(np.floor(x * 2.0 ** (fraction - FRACTION) + 0.5), -self.clip, self.clip).astype(np.int16)


WIDE = Profile(np.float64, CLIP, CLIP, 1 << 16, (WEIGHT_BITS, WEIGHT_BITS), 0.0)
#: features and running sum have 11 bits, what is between the layers of a block 8, weights 7; a shift for each output
NARROW = Profile(np.float32, 1023, 127, 63, (-8, 23), 0.5, seen=7, tokens=6, powers=9)
PROFILES = dict(zip(ARITHMETICS, (WIDE, NARROW), strict=True))


class Arithmetic(Protocol):
    """What a network is made of, on arrays of one library; x (H, W, C) or (P, C). What is given is an integer, and
    may be overwritten."""

    def load(self, values: np.ndarray) -> Any:
        """Integers -> what the library computes with."""

    def store(self, x: Any) -> np.ndarray:
        """Inverse of ``load``."""

    def layer(self, weight: np.ndarray, bias: np.ndarray) -> tuple[Any, Any]:
        """Weight and bias of a layer, as ``layer`` below makes them -> those that ``dense`` or ``depthwise`` takes."""

    def dense(self, x: Any, weight: Any, bias: Any) -> Any:
        """weight (C, D), bias (D,): (x @ weight + bias), rounded down."""

    def depthwise(self, x: Any, weight: Any, bias: Any) -> Any:
        """weight (3, 3, C), bias (C,): filter of 3x3 positions with zeros outside, plus the bias, rounded down."""

    def leaky(self, x: Any, clip: int, half: float) -> Any:
        """x or, below 0, x / 8 + half, rounded down; then clipped."""

    def add(self, x: Any, y: Any, clip: int) -> Any:
        """x + y, clipped."""

    def at(self, x: Any, places: np.ndarray) -> Any:
        """(H, W, C), places (P,) as row * W + column -> (P, C)."""


class NumPy:
    """Arithmetic in NumPy."""

    def load(self, values: np.ndarray) -> np.ndarray:
        return values

    def store(self, x: np.ndarray) -> np.ndarray:
        return x

    def layer(self, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return weight, bias

    def dense(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        out = x.reshape(-1, x.shape[-1]) @ weight
        out += bias
        return np.floor(out, out=out).reshape(*x.shape[:-1], -1)

    def depthwise(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        out = filtered(x, weight, bias)
        return np.floor(out, out=out)

    def leaky(self, x: np.ndarray, clip: int, half: float) -> np.ndarray:
        low = x * x.dtype.type(0.125)
        if half:
            low += x.dtype.type(half)
        np.maximum(x, np.floor(low, out=low), out=x)
        return _clip(x, clip)

    def add(self, x: np.ndarray, y: np.ndarray, clip: int) -> np.ndarray:
        x += y
        return _clip(x, clip)

    def at(self, x: np.ndarray, places: np.ndarray) -> np.ndarray:
        return x.reshape(-1, x.shape[-1])[places]


def _clip(x: np.ndarray, clip: int) -> np.ndarray:
    np.minimum(x, clip, out=x)
    return np.maximum(x, -clip, out=x)


def filtered(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """x (H, W, C), weight (3, 3, C), zeros outside -> exact sums (H, W, C); a few rows at a time, which is faster."""
    h, w, c = x.shape
    p = np.zeros((h + 2, w + 2, c), x.dtype)
    p[1:-1, 1:-1] = x
    out, rows = np.empty((h, w, c), x.dtype), max(1, _CACHE // (w * c))
    term = np.empty((min(rows, h), w, c), x.dtype)
    for start in range(0, h, rows):
        part = out[start : start + rows]
        n = len(part)
        part[:] = bias
        for i in range(3):
            for j in range(3):
                part += np.multiply(p[start + i : start + i + n, j : j + w], weight[i, j], out=term[:n])
    return out


def layer(arrays: dict[str, np.ndarray], name: str, profile: Profile, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (inputs or 3 x 3, outputs) and bias of a layer, the shift behind it and its rounding included: powers of
    two and halves, and so as exact as integers; then only the floor is left to take.

    largest: magnitude of what the layer sees. Raises ValueError where a sum could be too large to be exact.
    """
    weight, bias = (arrays[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias"))
    shift = arrays.get(f"{name}.shift", np.full(len(bias), WEIGHT_BITS)).astype(np.int64)
    if np.abs(weight).max() > profile.weight or shift.min() < profile.shifts[0] or shift.max() > profile.shifts[1]:
        raise ValueError(f"{name} does not fit the arithmetic of its prior")
    half = np.where(shift > 0, 2.0 ** (shift - 1), 0)
    sums = np.abs(weight).reshape(len(weight), -1).sum(1) * largest + np.abs(bias) + half
    if sums.max() >= 2.0 ** (np.finfo(profile.dtype).nmant + 1):
        raise ValueError(f"the sums of {name} may grow to {sums.max():.0f}, which is not exact")
    scale = 2.0**-shift
    turned = np.ascontiguousarray(np.moveaxis(weight, 0, -1) * scale, profile.dtype)
    return turned, ((bias + half) * scale).astype(profile.dtype)


class Net:
    """One context network; x (H, W, inputs) -> (H, W, 2 n). An output sees ``reach`` positions to every side."""

    def __init__(
        self, arrays: dict[str, np.ndarray], prefix: str, blocks: int, arithmetic: Arithmetic, profile: Profile = WIDE
    ) -> None:
        def loaded(name: str) -> tuple[Any, Any]:
            inner = name.endswith((".d", ".b", ".g"))  # these see what is between two layers
            return arithmetic.layer(*layer(arrays, prefix + name, profile, profile.hidden if inner else profile.clip))

        self._arithmetic, self._profile, self.reach = arithmetic, profile, blocks
        self._stem, self._head = loaded("stem"), loaded("head")
        self._blocks = [[loaded(f"body.{k}.{name}") for name in "adbfg"] for k in range(blocks)]

    def __call__(self, x: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """at (P,): positions asked for, as row * W + column; then the result is (P, 2 n)."""
        use, clip, hidden, half = self._arithmetic, self._profile.clip, self._profile.hidden, self._profile.half
        v = use.leaky(use.dense(use.load(x), *self._stem), clip, half)
        for k, (a, d, b, f, g) in enumerate(self._blocks):
            h = use.leaky(use.dense(v, *a), hidden, half)
            h = use.leaky(use.depthwise(h, *d), hidden, half)
            if at is not None and k + 1 == len(self._blocks):  # from here on no position sees another
                v, h = use.at(v, at), use.at(h, at)
            v = use.add(v, use.dense(h, *b), clip)
            v = use.add(v, use.dense(use.leaky(use.dense(v, *f), hidden, half), *g), clip)
        return _clip(use.store(use.dense(use.leaky(v, clip, half), *self._head)), CLIP)
