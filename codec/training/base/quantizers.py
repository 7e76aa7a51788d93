"""One interface for quantisers of a pass's residuals, for their comparison; and the quantisers that are walks through
a trellis.

A quantiser maps residuals (in steps) whose scale the prior has told to residuals of a code, and knows what the code
costs under frequency tables that are counted from what it sent before. *Rate-aware* assignment minimises bits +
weight * squared error; plain assignment takes the nearest point of the uniform grid, lattice or trellis.
Reconstruction at the centroids (offsets) is counted for both. Code lengths are ideal (-log2 of the probability a
decoder would have at that place), as an arithmetic coder reaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codec.bitstream.tables import KINDS, MAX_SYMBOL, UNIT, LatentTables
from codec.coding.trellis import Trellis, assign, reconstruct


@dataclass(frozen=True)
class Sent:
    """values (P, C) float32: residuals in steps as the decoder has them; bits: ideal code length."""

    values: np.ndarray
    bits: float


class Quantizer(Protocol):
    """What all quantisers offer."""

    name: str
    rate_aware: bool

    def send(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Sent:
        """r (P, C) float32 residuals in steps; scale (P, C) int scale indices, 0: not coded, value 0; weight (C,)
        bits a squared step is worth."""

    def refit(self) -> None:
        """Makes tables (and codebooks) from what was sent since the last call."""


class Counter(Protocol):
    """Counts symbols and makes tables of them (codec.training.base.tables.Counts)."""

    def add(self, table: np.ndarray, symbols: np.ndarray, r: np.ndarray) -> None: ...

    def tables(self) -> LatentTables: ...


@dataclass(frozen=True)
class Choice:
    """symbols, table numbers, values in steps and bits, all of the shape of the residuals; nothing is counted yet."""

    symbols: np.ndarray
    table: np.ndarray
    values: np.ndarray
    bits: np.ndarray


class Trellised:
    """Scalar (one state) and trellis-coded quantisation: what codec.coding.latents sends."""

    def __init__(self, trellis: Trellis, rate_aware: bool, counter: Callable[[], Counter], start: LatentTables) -> None:
        self.name, self.trellis, self.rate_aware, self._counter = trellis.name, trellis, rate_aware, counter
        self.counts = counter()
        self._use(start)

    def _use(self, tables: LatentTables) -> None:
        self.tables, self.bits = tables, tables.bits()

    def choose(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Choice:
        """r, scale (P, C), weight (C,) or (P, C)."""
        if self.rate_aware:
            symbols, kind = assign(self.trellis, r, scale, weight, self.bits, self.tables.offsets)
        else:
            symbols, kind = assign(
                self.trellis,
                r,
                scale,
                np.ones((), np.float32),
                np.zeros_like(self.bits),
                np.zeros_like(self.tables.offsets),
            )
        table = scale * KINDS + kind
        values = (reconstruct(symbols, kind, table, self.tables.offsets) / UNIT).astype(np.float32)
        return Choice(symbols, table, values, self.bits[table, symbols.clip(-MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL])

    def send(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Sent:
        c = self.choose(r, scale, weight)
        self.counts.add(c.table, c.symbols, r)
        return Sent(c.values, float(c.bits.sum(dtype=np.float64)))

    def refit(self) -> None:
        self._use(self.counts.tables())
        self.counts = self._counter()

    def send_some(
        self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray, at: np.ndarray, values: np.ndarray
    ) -> float:
        """Sends the entries ``at`` (k,) of flat r, scale, weight; puts what the decoder has into ``values``; -> bits.
        For the leftovers of vectors."""
        sent = self.send(r[at, None], scale[at, None], weight[at, None])
        values[at] = sent.values[:, 0]
        return sent.bits


def flatten(r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """r, scale (P, C), weight (C,) -> all three flat (P C,), position by position."""
    return r.ravel(), scale.ravel(), np.broadcast_to(weight, r.shape).ravel()


def vectors(scale: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat scale indices (M,) -> places of vectors (N, n), and places (k,), k < n, of coded entries in none.

    Coded entries are sorted by falling scale, equal ones by position and channel, and cut into vectors; the decoder
    knows all scales of a pass and does the same. So the coordinates of a vector have nearly equal sigma, and where
    possible they are channels of one position.
    """
    order = np.argsort(-scale, kind="stable")
    coded = np.count_nonzero(scale > 0)
    whole = coded // n * n
    return order[:whole].reshape(-1, n), order[whole:coded]
