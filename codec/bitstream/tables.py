"""Frozen integer frequency tables: what a symbol costs is decided here and nowhere else.

Every table is a row of positive integers that sum to 2**16. They are of the latents, chosen by a scale index and a
quantiser kind; the frequencies of tokens come from a network (codec.models.integer_tokens).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOTAL = 1 << 16
PER_OCTAVE = 8  # scale indices in one octave of sigma
LOG2_SCALE_MIN = (
    -3
)  # log2 of the sigma (in steps) that index 0 stands for; such latents are not coded: their symbol is 0
SCALES = 80
KINDS = 2  # tables of a scale: one for each sub-quantiser of the trellis
UNIT = 256  # integer units of a step in which reconstructions are held
MAX_SYMBOL = 255  # larger magnitudes escape: MAX_SYMBOL, then the excess in Exp-Golomb bits
#: bound of a symbol's magnitude, so that forged files cannot leave the exact range of the arithmetic
MAX_ESCAPE = 1 << 15
MAX_GOLOMB = 20  # leading zeros that are read, so that forged bytes cannot make it run on


def symbol_limit(scale: int) -> int:
    """Largest magnitude in the tables of a scale; it stands for itself and all that is larger (escape)."""
    sigma = 2.0 ** (LOG2_SCALE_MIN + scale / PER_OCTAVE)
    return min(MAX_SYMBOL, 3 + int(5 * sigma))


def normalise(weights: np.ndarray) -> np.ndarray:
    """Non-negative weights (n,) -> positive int32 frequencies (n,) that sum to TOTAL."""
    w = np.maximum(np.asarray(weights, np.float64), 1e-12)
    f = np.maximum(np.floor(w / w.sum() * TOTAL), 1).astype(np.int64)
    f[np.argmax(f)] += TOTAL - f.sum()
    return np.asarray(f, np.int32)


_LIMITS = np.array([symbol_limit(k // KINDS) for k in range(SCALES * KINDS)], np.int64)


def excess_bits(table: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """What a symbol of magnitude above MAX_SYMBOL costs more than MAX_SYMBOL: the difference of their escapes; 0 for
    the others. Table numbers and magnitudes of equal shapes -> float32."""
    limit = _LIMITS[table]
    more = golomb_bits(np.maximum(magnitude, MAX_SYMBOL) - limit) - golomb_bits(MAX_SYMBOL - limit)
    return np.asarray(more, np.float32)


@dataclass(frozen=True)
class LatentTables:
    """frequencies[scale * KINDS + kind]: int32 (2 * limit + 1,), symbols -limit..limit; offsets (SCALES * KINDS, 3)
    int32: what is added to the magnitude of a reconstruction of |symbol| 0, 1, >= 2, in 1/256 step (0 for symbol
    0)."""

    frequencies: tuple[np.ndarray, ...]
    offsets: np.ndarray

    def __post_init__(self) -> None:
        if len(self.frequencies) != SCALES * KINDS or self.offsets.shape != (SCALES * KINDS, 3):
            raise ValueError("wrong number of latent tables")
        for k, f in enumerate(self.frequencies):
            if len(f) != 2 * symbol_limit(k // KINDS) + 1 or f.min() < 1 or int(f.sum()) != TOTAL:
                raise ValueError(f"latent table {k} is not valid")

    @property
    def limits(self) -> np.ndarray:
        """(SCALES * KINDS,) int32: largest magnitude of each table."""
        return np.array([len(f) // 2 for f in self.frequencies], np.int32)

    def bits(self) -> np.ndarray:
        """(SCALES * KINDS, 2 * MAX_SYMBOL + 1) float32: cost of symbols -MAX_SYMBOL..MAX_SYMBOL; symbols beyond a
        limit cost the escape and its bits. Scale 0 costs nothing and takes nothing but 0."""
        symbol = np.abs(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1))
        out = np.empty((len(self.frequencies), len(symbol)), np.float32)
        for k, f in enumerate(self.frequencies):
            limit = len(f) // 2
            cost = -np.log2(f / TOTAL)
            clipped = np.clip(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1), -limit, limit)
            out[k] = cost[clipped + limit] + np.where(symbol >= limit, golomb_bits(symbol - limit), 0)
        out[:KINDS] = np.where(symbol == 0, 0, 1e6)
        return out

    def slopes(self) -> np.ndarray:
        """``bits`` for gradients along the tables of a kind: scale 0 takes the costs of scale 1, which are finite,
        and 2 bits more for symbols other than 0."""
        out = self.bits()
        out[:KINDS] = out[KINDS : 2 * KINDS] + np.where(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1) == 0, 0, 2)
        return out

    def flat(self) -> dict[str, np.ndarray]:
        """Arrays to be stored; ``from_flat`` is the inverse."""
        return {"tables.frequencies": np.concatenate(self.frequencies), "tables.offsets": self.offsets}

    @staticmethod
    def from_flat(arrays: dict[str, np.ndarray]) -> LatentTables:
        sizes = [2 * symbol_limit(k // KINDS) + 1 for k in range(SCALES * KINDS)]
        parts = np.split(arrays["tables.frequencies"], np.cumsum(sizes)[:-1])
        return LatentTables(tuple(np.ascontiguousarray(p) for p in parts), arrays["tables.offsets"])


def golomb_bits(excess: np.ndarray) -> np.ndarray:
    """Length of the Exp-Golomb code (order 0) of non-negative integers, elementwise."""
    e = np.maximum(np.asarray(excess), 0)
    return np.asarray(2 * np.floor(np.log2(e + 1)) + 1)
