"""Lattice quantisers D4 and E8, with exact rate-aware search and true code lengths.

D_n are the integer vectors of even sum; E8 is D8 and D8 + (1/2, ..., 1/2) (Conway and Sloane 1982). A lattice point
is an integer vector k of even sum and a coset h: coordinates k + h / 2. Sent are the coset, then for each coordinate
the parity of k_i, given the parity of the sum so far (that of the last one is known), then k_i given its parity. All
costs are additive along a walk through two states, the parity of the sum so far, so dynamic programming finds the
best point among the best even and the best odd value of each coordinate. With no costs of bits that is Conway and
Sloane's nearest point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codec.bitstream.tables import LOG2_SCALE_MIN, PER_OCTAVE, SCALES, LatentTables
from codec.coding.trellis import SCALAR
from codec.training.base.quantizers import Counter, Sent, Trellised, flatten, vectors

LIMIT = 256  # k is in -LIMIT..LIMIT-1
PSEUDO_COUNT = 40.0  # weight of the first guess against counts
OFFSET_COUNT = 200.0  # the same for reconstruction offsets
MAX_OFFSET = 0.25  # of a step


@dataclass(frozen=True)
class Lattice:
    """name, dimension n, number of cosets of D_n; density: lattice units in a step, such that there is one point to a
    unit of volume."""

    name: str
    n: int
    cosets: int
    density: float


D4 = Lattice("d4", 4, 1, 2**0.25)
E8 = Lattice("e8", 8, 2, 1.0)


@dataclass(frozen=True)
class Costs:
    """Bits, and what is added to magnitudes. symbol (SCALES, cosets, 2 * LIMIT): of k given its parity; parity
    (SCALES, cosets, n, 2, 2): of the parity of k at a place given the parity of the sum before; coset (SCALES,
    cosets): by the scale of the first coordinate; offset (SCALES, cosets, 3): of magnitudes below, up to and above
    one unit, in lattice units."""

    symbol: np.ndarray
    parity: np.ndarray
    coset: np.ndarray
    offset: np.ndarray


def free(lattice: Lattice) -> Costs:
    """Nothing costs anything: for the nearest point."""
    s, c, n = SCALES, lattice.cosets, lattice.n
    return Costs(*(np.zeros(shape, np.float32) for shape in ((s, c, 2 * LIMIT), (s, c, n, 2, 2), (s, c), (s, c, 3))))


def coordinates(k: np.ndarray, coset: np.ndarray) -> np.ndarray:
    """k (..., n), coset (...) -> lattice point in lattice units."""
    return k + np.float32(0.5) * coset[..., None]


def decoded(k: np.ndarray, coset: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The same with offsets: k, scale (N, n), coset (N,) -> (N, n) float32 in lattice units."""
    x = coordinates(k, coset)
    return (x + np.sign(x) * offset[scale, coset[:, None], _size(x)]).astype(np.float32)


def _size(x: np.ndarray) -> np.ndarray:
    """Class of a magnitude: 0: below 1, 1: below 2, 2: the rest."""
    return np.minimum(np.abs(x), 2).astype(np.int64)


def search(
    lattice: Lattice, x: np.ndarray, scale: np.ndarray, weight: np.ndarray, costs: Costs
) -> tuple[np.ndarray, np.ndarray]:
    """x (N, n) in lattice units, scale (N, n), weight (N, n): bits a squared unit is worth -> k (N, n) int32 and
    coset (N,) of the point of least bits + weight * squared error. For every coordinate and parity the nearest value
    and the next one towards 0 are looked at."""
    total, found = [], []
    for h in range(lattice.cosets):
        best, pick = _values(x, scale, weight, costs, h)
        j, k = _even_sum(best, pick, costs.parity[scale, h, np.arange(lattice.n)])
        total.append(j + costs.coset[scale[:, 0], h])
        found.append(k)
    coset = np.stack(total).argmin(0)
    return np.stack(found)[coset, np.arange(len(x))], coset


def _values(
    x: np.ndarray, scale: np.ndarray, weight: np.ndarray, costs: Costs, h: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least cost of a coordinate and its k for both parities: (2, N, n) each."""
    best, pick = np.empty((2, *x.shape), np.float32), np.empty((2, *x.shape), np.int32)
    coset = np.full(len(x), h)
    for parity in (0, 1):
        near = parity + 2 * np.rint((x - 0.5 * h - parity) / 2).astype(np.int32)
        near = near.clip(parity - LIMIT, LIMIT - 2 + parity)
        inner = near - 2 * np.sign(near + 0.5 * h).astype(np.int32)
        j = [
            weight * np.square(x - decoded(k, coset, scale, costs.offset)) + costs.symbol[scale, h, k + LIMIT]
            for k in (near, inner)
        ]
        pick[parity], best[parity] = np.where(j[1] < j[0], inner, near), np.minimum(*j)
    return best, pick


def _even_sum(best: np.ndarray, pick: np.ndarray, parity_bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """best, pick (2, N, n), parity_bits (N, n, 2, 2) -> least cost (N,) of a vector of even sum, and the vector (N,
    n)."""
    _, count, n = best.shape
    j = np.array([[0.0], [np.inf]], np.float32).repeat(count, 1)  # by the parity of the sum so far
    odd = np.empty((n, 2, count), bool)  # whether the value that leads to a state is odd
    for i in range(n):
        new = np.empty_like(j)
        for s in (0, 1):
            even_way = j[s] + best[0, :, i] + parity_bits[:, i, s, 0]
            odd_way = j[1 - s] + best[1, :, i] + parity_bits[:, i, 1 - s, 1]
            odd[i, s] = odd_way < even_way
            new[s] = np.minimum(odd_way, even_way)
        j = new
    state, rows, k = np.zeros(count, np.int64), np.arange(count), np.empty((count, n), np.int32)
    for i in reversed(range(n)):
        p = odd[i, state, rows].astype(np.int64)
        k[:, i], state = pick[p, rows, i], state ^ p
    return j[0], k


def nearest(lattice: Lattice, x: np.ndarray) -> np.ndarray:
    """x (N, n) -> nearest lattice points (N, n), lattice units."""
    scale = np.ones(x.shape, np.int64)
    return coordinates(*search(lattice, x, scale, np.ones_like(x), free(lattice)))


def sums_before(k: np.ndarray) -> np.ndarray:
    """k (N, n) -> parity of the sum of the coordinates before each one, (N, n)."""
    return (np.cumsum(k, 1) - k) & 1


def bits(k: np.ndarray, coset: np.ndarray, scale: np.ndarray, costs: Costs) -> np.ndarray:
    """Code length of each vector, (N,)."""
    h, place = coset[:, None], np.arange(k.shape[1])
    each = costs.symbol[scale, h, k + LIMIT] + costs.parity[scale, h, place, sums_before(k), k & 1]
    return each.sum(1, dtype=np.float64) + costs.coset[scale[:, 0], coset]


class LatticeCounts:
    """Counts of everything that is sent; before anything is, the guess is a Laplacian of the scale's sigma."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.symbol, self.parity, self.coset, self.error = (
            np.zeros_like(a, np.float64) for a in vars(free(lattice)).values()
        )
        self.number = np.zeros_like(self.error)

    def add(self, x: np.ndarray, k: np.ndarray, coset: np.ndarray, scale: np.ndarray) -> None:
        h, point = np.broadcast_to(coset[:, None], k.shape), coordinates(k, coset)
        np.add.at(self.symbol, (scale, h, k + LIMIT), 1)
        np.add.at(self.parity, (scale, h, np.broadcast_to(np.arange(k.shape[1]), k.shape), sums_before(k), k & 1), 1)
        np.add.at(self.coset, (scale[:, 0], coset), 1)
        at = (scale, h, _size(point))
        np.add.at(self.error, at, np.sign(point) * (x - point))
        np.add.at(self.number, at, point != 0)

    def costs(self) -> Costs:
        lattice = self.lattice
        sigma = 2.0 ** (LOG2_SCALE_MIN + np.arange(SCALES) / PER_OCTAVE) * lattice.density
        k = np.arange(-LIMIT, LIMIT)
        size = np.abs(k + 0.5 * np.arange(lattice.cosets)[:, None])
        guess = np.exp(
            -np.sqrt(2) * (size - size.min(1, keepdims=True)) / sigma[:, None, None]
        )  # (SCALES, cosets, 2 LIMIT)
        guess = 0.999 * guess / guess.sum(2, keepdims=True) + 0.001 / (
            1 + size**2
        )  # a heavy tail, so that nothing is impossible
        mirrored = np.stack(
            [np.roll(self.symbol[:, 0, ::-1], 1, 1), *(self.symbol[:, h, ::-1] for h in range(1, lattice.cosets))], 1
        )
        mass = (self.symbol + mirrored) / 2 + PSEUDO_COUNT * guess
        given = np.empty_like(mass)
        odd = np.empty((SCALES, lattice.cosets))
        for p in (0, 1):
            part = guess[..., p::2].sum(2)
            given[..., p::2] = mass[..., p::2] / mass[..., p::2].sum(2, keepdims=True)
            odd = part / guess.sum(2)
        parity = self.parity + PSEUDO_COUNT / 2 * np.stack([1 - odd, odd], -1)[:, :, None, None]
        parity = parity / parity.sum(-1, keepdims=True)
        parity[:, :, -1] = np.eye(2)
        coset = self.coset + PSEUDO_COUNT / 2
        coset = coset / coset.sum(1, keepdims=True)
        with np.errstate(divide="ignore"):
            lengths = [-np.log2(a).astype(np.float32) for a in (given, parity, coset)]
        offset = (self.error / (self.number + OFFSET_COUNT)).clip(-MAX_OFFSET, MAX_OFFSET)
        return Costs(*lengths, offset.astype(np.float32))


class LatticeQuantizer:
    """Vectors of coded latents of nearly equal scale are lattice points; fewer than n of a pass are left over, for a
    scalar quantiser."""

    def __init__(self, lattice: Lattice, rate_aware: bool, counter: Callable[[], Counter], start: LatentTables) -> None:
        self.name, self.lattice, self.rate_aware = lattice.name, lattice, rate_aware
        self.rest = Trellised(SCALAR, rate_aware, counter, start)
        self.counts = LatticeCounts(lattice)
        self.costs = self.counts.costs()

    def send(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Sent:
        shape = r.shape
        r, scale, weight = flatten(r, scale, weight)
        at, left = vectors(scale, self.lattice.n)
        values = np.zeros(r.shape, np.float32)
        total = self.rest.send_some(r, scale, weight, left, values)
        if len(at):
            x, s = r[at] * np.float32(self.lattice.density), scale[at]
            if self.rate_aware:
                k, coset = search(self.lattice, x, s, weight[at] / np.float32(self.lattice.density) ** 2, self.costs)
            else:
                k, coset = search(self.lattice, x, s, np.ones_like(x), free(self.lattice))
            self.counts.add(x, k, coset, s)
            values[at] = decoded(k, coset, s, self.costs.offset) / self.lattice.density
            total += float(bits(k, coset, s, self.costs).sum())
        return Sent(values.reshape(shape), total)

    def refit(self) -> None:
        self.costs = self.counts.costs()
        self.counts = LatticeCounts(self.lattice)
        self.rest.refit()
