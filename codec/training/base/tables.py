"""Frequency tables: analytic to begin with, then counted from what the encoder really sends."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from codec.bitstream.tables import (
    KINDS,
    LOG2_SCALE_MIN,
    MAX_SYMBOL,
    PER_OCTAVE,
    SCALES,
    LatentTables,
    normalise,
    symbol_limit,
)

PSEUDO_COUNT = 40.0  # weight of the analytic table against counts


def analytic_row(scale: int, kind: int) -> np.ndarray:
    """(2 * limit + 1,) probabilities: half Gaussian, half Laplacian of the scale's sigma, integrated over the cells
    between reconstructions."""
    sigma, limit = 2.0 ** (LOG2_SCALE_MIN + scale / PER_OCTAVE), symbol_limit(scale)
    m = np.arange(limit + 1)
    value = m - 0.5 * kind * (m > 0)
    edge = np.concatenate([[0], (value[1:] + value[:-1]) / 2, [np.inf]])
    gauss, laplace = 2 * ndtr(-edge / sigma), np.exp(-edge * np.sqrt(2) / sigma)
    mass = -np.diff(0.5 * gauss + 0.5 * laplace)  # of |symbol|
    half = mass[1:] / 2
    return np.concatenate([half[::-1], mass[:1], half])


def analytic_tables() -> LatentTables:
    rows = tuple(normalise(analytic_row(k // KINDS, k % KINDS)) for k in range(SCALES * KINDS))
    return LatentTables(rows, np.zeros((SCALES * KINDS, 3), np.int32))


class Counts:
    """Counts of |symbol| for every table, and of the errors that reconstruction offsets can take away."""

    def __init__(self) -> None:
        self.magnitude = np.zeros((SCALES * KINDS, MAX_SYMBOL + 1))
        self.error = np.zeros((SCALES * KINDS, 3))
        self.number = np.zeros((SCALES * KINDS, 3))

    def add(self, table: np.ndarray, symbols: np.ndarray, r: np.ndarray) -> None:
        """Table numbers, symbols and residuals in steps, of equal shapes."""
        m = np.abs(symbols)
        self.magnitude += _histogram(table, np.minimum(m, MAX_SYMBOL), MAX_SYMBOL + 1)
        at = m > 0
        table, m = table[at], m[at]
        error = r[at] * np.sign(symbols[at]) - (m - 0.5 * (table % KINDS))
        self.error += _histogram(table, np.minimum(m, 2), 3, error)
        self.number += _histogram(table, np.minimum(m, 2), 3)

    def decay(self, factor: float) -> None:
        """Forgets a part: for tables that follow a model in training."""
        for a in (self.magnitude, self.error, self.number):
            a *= factor

    def tables(self) -> LatentTables:
        """Counts smoothed by the analytic tables; symmetric."""
        rows = []
        for k, count in enumerate(self.magnitude):
            prior, limit = analytic_row(k // KINDS, k % KINDS), symbol_limit(k // KINDS)
            mass = np.concatenate([count[:limit], count[limit:].sum(keepdims=True)])
            mass += PSEUDO_COUNT * np.concatenate([prior[limit : limit + 1], prior[limit + 1 :] * 2])
            rows.append(normalise(np.concatenate([mass[:0:-1] / 2, mass[:1], mass[1:] / 2])))
        offsets = np.round(256 * self.error / (self.number + 200)).clip(-64, 64).astype(np.int32)
        return LatentTables(tuple(rows), offsets)


def _histogram(rows: np.ndarray, columns: np.ndarray, width: int, weights: np.ndarray | None = None) -> np.ndarray:
    flat = (rows.astype(np.int64) * width + columns).ravel()
    return np.bincount(flat, None if weights is None else weights.ravel(), SCALES * KINDS * width).reshape(-1, width)
