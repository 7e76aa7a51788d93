"""Quantisers that are walks through a trellis, with rate-aware assignment: scalar (one state) and trellis-coded (4 to
256 states).

Two scalar quantisers share the line: kind 0 reconstructs at q steps, kind 1 at q - sign(q) / 2 steps. Which one is in
force follows from a state that the parity of each symbol drives: trellis-coded quantisation (Marcellin and Fischer
1990) in the form VVC calls dependent quantisation (Schwarz et al. 2019). A walk goes through up to STEPS latents of a
pass, from small scales to large ones, and is a vector that is quantised as a whole. The encoder finds the walk of
least rate-distortion cost (Viterbi); the decoder only follows the states.

The order matters: as long as all symbols are 0 a walk stays in state 0, whose kind has its zero where the prior
expects the latent. Small scales, where nearly all symbols are 0, come while that is so; after the first odd symbol
zeros cost more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.tables import KINDS, MAX_SYMBOL, SCALES, UNIT, excess_bits

STEPS = 256  # latents in a walk
BATCH = 512  # walks that are searched at a time, so that memory stays bounded
CHUNK = 1 << 20  # latents that are sorted at a time, likewise


@dataclass(frozen=True)
class Trellis:
    """next[state][parity of the symbol]; kind[state]. State 0 is the start of every walk. Of two states or more,
    those that lead to state s are s // 2 and s // 2 + states / 2."""

    name: str
    next: tuple[tuple[int, int], ...]
    kind: tuple[int, ...]

    @property
    def next_array(self) -> np.ndarray:
        return np.array(self.next, np.uint8)

    @property
    def kind_array(self) -> np.ndarray:
        return np.array(self.kind, np.int8)

    @property
    def sources(self) -> np.ndarray:
        """(2, states): the two states that lead to a state."""
        states = np.arange(len(self.kind))
        return np.stack([states // 2, states // 2 + len(states) // 2])

    @property
    def branches(self) -> np.ndarray:
        """(2, states): twice the kind, plus the parity, of the symbols that lead from there to a state."""
        source = self.sources
        return self.kind_array[source].astype(np.int64) * 2 + (self.next_array[source, 1] == np.arange(len(self.kind)))


def _odd(bits: int) -> int:
    return bits.bit_count() & 1


def convolutional(h0: int, h1: int) -> Trellis:
    """Trellis of the convolutional code h0(D) kind = h1(D) parity over sequences of kinds and parities (parity check
    form of Ungerboeck 1982; bit i of a polynomial, here written in octal, is the coefficient of D^i). A state is the
    last m bits u, newest lowest, of the code's free sequence, parity = h0(D) u and kind = h1(D) u."""
    states = 1 << (h0.bit_length() - 1)
    forward = tuple(tuple((2 * s + (p ^ _odd(s & h0 >> 1))) % states for p in (0, 1)) for s in range(states))
    return Trellis(f"tcq{states}", forward, tuple(_odd(s & h1 >> 1) for s in range(states)))


SCALAR = Trellis("scalar", ((0, 0),), (0,))
#: Found by a search for the gain on uniform sources, of which 1.53 dB are possible; tests/coding/test_trellis.py
#: measures it.
TCQ4, TCQ8, TCQ32, TCQ128, TCQ256 = (
    convolutional(*h) for h in ((0o5, 0o2), (0o13, 0o4), (0o61, 0o12), (0o237, 0o124), (0o513, 0o256))
)
TRELLISES = {t.name: t for t in (SCALAR, TCQ4, TCQ8, TCQ32, TCQ128, TCQ256)}


def magnitudes(m: np.ndarray, kind: np.ndarray | int, table: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """|symbol|, kind and table number (elementwise) -> magnitude of the reconstruction in 1/UNIT step, int64."""
    return np.asarray(m, np.int64) * UNIT - (m > 0) * (UNIT // 2) * kind + offsets[table, np.minimum(m, 2)]


def reconstruct(symbols: np.ndarray, kind: np.ndarray | int, table: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Symbols -> residual values in 1/UNIT step, int64."""
    return np.sign(symbols) * magnitudes(np.abs(symbols), kind, table, offsets)


def walks(scale: np.ndarray) -> np.ndarray:
    """scale (P, C) uint8, 0 = not coded -> places (steps, W) int32 of the coded latents in the raveled array, all
    walks side by side.

    The n coded latents in order of rising scale, equal ones in order of place, fill ceil(n / STEPS) walks step by
    step: all first steps, then all second steps. The last step may be short: -1 there.
    """
    flat = scale.ravel()
    count = np.zeros(SCALES, np.int64)
    for start in range(0, len(flat), CHUNK):
        count += np.bincount(flat[start : start + CHUNK], minlength=SCALES)
    count[0] = 0
    coded, following = int(count.sum()), np.cumsum(count) - count
    width = -(-coded // STEPS)
    steps = -(-coded // width) if width else 0
    places = np.full(steps * width, -1, np.int32)
    for start in range(0, len(flat), CHUNK):
        part = flat[start : start + CHUNK]
        order = np.argsort(part, kind="stable").astype(np.int32)
        ends = np.cumsum(np.bincount(part, minlength=SCALES))
        for k in np.flatnonzero(np.diff(ends)) + 1:
            run = order[ends[k - 1] : ends[k]]
            places[following[k] : following[k] + len(run)] = run + np.int32(start)
            following[k] += len(run)
    return places.reshape(steps, width)


MAX_MAGNITUDE = (1 << 14) - 1  # of a symbol, odd; the decoder takes twice as much


def assign(
    trellis: Trellis,
    r: np.ndarray,
    scale: np.ndarray,
    weight: np.ndarray,
    bits: np.ndarray,
    offsets: np.ndarray,
    places: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Rate-aware symbols of one pass, int16, and the kinds in force, uint8: (P, C) each.

    r (P, C) float32: residuals in steps; scale (P, C) uint8: scale indices, 0 = not coded; weight (C,) or (P, C)
    float32: bits that a squared step of error is worth; bits (tables, 2 * MAX_SYMBOL + 1): costs; offsets: of
    LatentTables; places: ``walks(scale)``, if it is known.
    """
    symbols, kinds = np.zeros(r.shape, np.int16), np.zeros(r.shape, np.uint8)
    if places is None:
        places = walks(scale)
    r_flat, scale_flat, weights = r.ravel(), scale.ravel(), np.broadcast_to(weight, r.shape)
    for start in range(0, places.shape[1], BATCH):  # walks do not see each other
        at = places[:, start : start + BATCH]
        coded = at >= 0
        part, w = r_flat[at], weights[at // r.shape[1], at % r.shape[1]]
        cost, choice = _branches(np.abs(part), scale_flat[at], w, bits, offsets, max(trellis.kind) + 1)
        walk, kind = _viterbi(trellis, cost, choice, coded)
        symbols.ravel()[at[coded]] = (walk * np.where(part < 0, -1, 1))[coded]
        kinds.ravel()[at[coded]] = kind[coded]
    return symbols, kinds


def _branches(
    a: np.ndarray, scale: np.ndarray, weight: np.ndarray, bits: np.ndarray, offsets: np.ndarray, kinds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least cost and its |symbol| for every kind and parity: a, scale, weight (S, W) -> (kinds, 2, S, W) each."""
    cost = np.empty((kinds, 2, *a.shape), np.float32)
    choice = np.empty((kinds, 2, *a.shape), np.int16)
    half_bits = bits[:, MAX_SYMBOL:]
    fixed = offsets.astype(np.float32) / UNIT
    for kind in range(kinds):
        table = scale * KINDS + kind
        for parity in (0, 1):
            near = parity + 2 * np.rint((a + (0.5 * kind - parity)) / 2)
            near = np.clip(near, parity, MAX_MAGNITUDE - 1 + parity).astype(np.int32)
            large = near > MAX_SYMBOL  # rare
            best = None
            for m in (near, np.maximum(near - 2, parity)):
                value = m - (m > 0) * np.float32(0.5 * kind) + fixed[table, np.minimum(m, 2)]
                j = weight * np.square(a - value) + half_bits[table, np.minimum(m, MAX_SYMBOL)]
                if large.any():
                    j[large] += excess_bits(table[large], m[large])
                if best is None:
                    best, pick = j, m
                else:
                    pick = np.where(j < best, m, pick)
                    best = np.minimum(j, best)
            cost[kind, parity], choice[kind, parity] = best, pick
    return cost, choice


def _viterbi(
    trellis: Trellis, cost: np.ndarray, choice: np.ndarray, coded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best walks through (kinds, 2, S, W) branch costs -> |symbols| and kinds, (S, W) each; in the last step, where
    not coded, both are 0."""
    states, (steps, width) = len(trellis.next), coded.shape
    if states == 1:
        pick = np.where(cost[0, 1] < cost[0, 0], choice[0, 1], choice[0, 0])
        return np.where(coded, pick, 0), np.zeros(coded.shape, np.int32)
    source, branch, kind = trellis.sources, trellis.branches, trellis.kind_array
    flat_cost, flat_choice = cost.reshape(-1, steps, width), choice.reshape(-1, steps, width)
    j = np.full((states, width), 1e9, np.float32)
    j[0] = 0
    ways = np.empty((2, states, width), np.float32)
    by_source, before = (
        ways.reshape(2, states // 2, 2, width),
        j.reshape(2, states // 2, 1, width),
    )  # views: states next to each other have the same sources
    second = np.zeros((steps, states, width), bool)
    widths = [*[width] * (steps - 1), int(np.count_nonzero(coded[-1]))]
    for s, w in enumerate(widths):
        np.take(flat_cost[:, s], branch, 0, out=ways, mode="clip")
        by_source += before
        np.less(ways[1, :, :w], ways[0, :, :w], out=second[s, :, :w])
        np.minimum(ways[0, :, :w], ways[1, :, :w], out=j[:, :w])
    state, at = j.argmin(0), np.arange(width)
    symbols, kinds = np.zeros((steps, width), np.int16), np.zeros((steps, width), np.int16)
    for s in reversed(range(steps)):
        w = widths[s]
        now = state[:w]
        which = second[s, now, at[:w]].view(np.int8)
        symbols[s, :w] = flat_choice[branch[which, now], s, at[:w]]
        state[:w] = source[which, now]
        kinds[s, :w] = kind[state[:w]]
    return symbols, kinds
