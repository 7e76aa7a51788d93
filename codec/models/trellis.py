"""Quantisers that are walks through a trellis, with rate-aware assignment: scalar (one state) and trellis-coded (4 or 8 states).

Two scalar quantisers share the line: kind 0 reconstructs at q steps, kind 1 at q - sign(q) / 2 steps. Which one is in force follows
from a state that the parity of each symbol drives: trellis-coded quantisation (Marcellin and Fischer 1990) in the form VVC calls
dependent quantisation (Schwarz et al. 2019). A walk goes through up to STEPS latents of a pass, from large scales to small ones, and is a vector
that is quantised as a whole. The encoder finds the walk of least rate-distortion cost (Viterbi); the decoder only follows the states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.bitstream.tables import KINDS, MAX_SYMBOL, excess_bits

STEPS = 128  # latents in a walk
BATCH = 2048  # walks that are searched at a time, so that memory stays bounded
UNIT = 256  # integer units of a step in which reconstructions are held


@dataclass(frozen=True)
class Trellis:
    """next[state][parity of the symbol]; kind[state]. State 0 is the start of every walk."""

    name: str
    next: tuple[tuple[int, int], ...]
    kind: tuple[int, ...]

    @property
    def next_array(self) -> np.ndarray:
        return np.array(self.next, np.int8)

    @property
    def kind_array(self) -> np.ndarray:
        return np.array(self.kind, np.int8)


SCALAR = Trellis("scalar", ((0, 0),), (0,))
TCQ4 = Trellis("tcq4", ((0, 2), (2, 0), (1, 3), (3, 1)), (0, 0, 1, 1))
#: Best of all linear 8-state machines for uniform sources: 1.08 dB of 1.53 possible (4 states: 0.98 dB).
TCQ8 = Trellis("tcq8", ((0, 2), (4, 6), (6, 4), (2, 0), (1, 3), (5, 7), (7, 5), (3, 1)), (0, 0, 0, 0, 1, 1, 1, 1))
TRELLISES = {t.name: t for t in (SCALAR, TCQ4, TCQ8)}


def magnitudes(m: np.ndarray, kind: np.ndarray | int, table: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """|symbol|, kind and table number (elementwise) -> magnitude of the reconstruction in 1/UNIT step, int64."""
    return m * UNIT - (m > 0) * (UNIT // 2) * kind + offsets[table, np.minimum(m, 2)]


def reconstruct(symbols: np.ndarray, kind: np.ndarray | int, table: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Symbols -> residual values in 1/UNIT step, int64."""
    return np.sign(symbols) * magnitudes(np.abs(symbols), kind, table, offsets)


def walks(scale: np.ndarray) -> np.ndarray:
    """scale (P, C), 0 = not coded -> places (steps, W) of the coded latents in the raveled array, all walks side by side.

    The n coded latents in order of falling scale, equal ones in order of place, fill ceil(n / STEPS) walks step by step: all first steps, then
    all second steps. The last step may be short: -1 there.
    """
    flat = scale.ravel()
    count = np.count_nonzero(flat)
    order = np.argsort(-flat.astype(np.int16), kind="stable")[:count]
    width = -(-count // STEPS)
    steps = -(-count // width) if width else 0
    places = np.full(steps * width, -1)
    places[:count] = order
    return places.reshape(steps, width)


MAX_MAGNITUDE = (1 << 14) - 1  # of a symbol, odd; the decoder takes twice as much


def assign(
    trellis: Trellis, r: np.ndarray, scale: np.ndarray, weight: np.ndarray, bits: np.ndarray, offsets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rate-aware symbols of one pass, and the kinds in force: (P, C) int32 each.

    r (P, C) float32: residuals in steps; scale (P, C) int: scale indices, 0 = not coded; weight (C,) or (P, C) float32: bits that a squared step of
    error is worth; bits (tables, 2 * MAX_SYMBOL + 1): costs; offsets: of LatentTables.
    """
    symbols, kinds, places = np.zeros(r.shape, np.int32), np.zeros(r.shape, np.int32), walks(scale)
    r_flat, scale_flat, weight_flat = r.ravel(), scale.ravel(), np.broadcast_to(weight, r.shape).ravel()
    for start in range(0, places.shape[1], BATCH):  # walks do not see each other
        at = places[:, start : start + BATCH]
        coded = at >= 0
        part = r_flat[at]
        cost, choice = _branches(np.abs(part), scale_flat[at], weight_flat[at], bits, offsets, max(trellis.kind) + 1)
        walk, kind = _viterbi(trellis, cost, choice, coded)
        symbols.ravel()[at[coded]] = (walk * np.where(part < 0, -1, 1))[coded]
        kinds.ravel()[at[coded]] = kind[coded]
    return symbols, kinds


def _branches(a: np.ndarray, scale: np.ndarray, weight: np.ndarray, bits: np.ndarray, offsets: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray]:
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


def _viterbi(trellis: Trellis, cost: np.ndarray, choice: np.ndarray, coded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best walk through (kinds, 2, C, P) branch costs -> |symbols| and kinds, (C, P) each; where not coded the state stays and the symbol is 0."""
    states, (channels, positions) = len(trellis.next), cost.shape[2:]
    if states == 1:
        pick = np.where(cost[0, 1] < cost[0, 0], choice[0, 1], choice[0, 0])
        return np.where(coded, pick, 0), np.zeros(coded.shape, np.int32)
    into: list[list[tuple[int, int]]] = [[] for _ in range(states)]
    for s in range(states):
        for parity in (0, 1):
            into[trellis.next[s][parity]].append((s, parity))
    kind = trellis.kind_array.astype(np.int64)
    source = np.array([[b[k][0] for b in into] for k in (0, 1)])  # (2, states)
    branch = np.array([[kind[b[k][0]] * 2 + b[k][1] for b in into] for k in (0, 1)])
    flat_cost, flat_choice = cost.reshape(-1, channels, positions), choice.reshape(-1, channels, positions)
    j = np.full((states, positions), 1e9, np.float32)
    j[0] = 0
    second = np.empty((channels, states, positions), bool)
    all_coded = coded.all(1)
    for c in range(channels):
        f = flat_cost[:, c]
        x, y = j[source[0]], j[source[1]]
        x += f[branch[0]]
        y += f[branch[1]]
        np.less(y, x, out=second[c])
        np.minimum(x, y, out=x)
        j = x if all_coded[c] else np.where(coded[c], x, j)
    state, at = j.argmin(0), np.arange(positions)
    symbols, kinds = np.zeros((channels, positions), np.int16), np.zeros((channels, positions), np.int16)
    for c in reversed(range(channels)):
        which = second[c, state, at].view(np.int8)
        previous, b = source[which, state], branch[which, state]
        if all_coded[c]:
            symbols[c], state = flat_choice[b, c, at], previous
        else:
            symbols[c] = np.where(coded[c], flat_choice[b, c, at], 0)
            state = np.where(coded[c], previous, state)
        kinds[c] = kind[state]
    return symbols, kinds
