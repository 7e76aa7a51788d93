"""The inner loops of codec.coding.latents and codec.coding.trellis, compiled. They give what the NumPy code there
gives, bit for bit, and are tested against it; codec.coding.compiled says when they are loaded. One file, because
numba's cache looks at the file of a function only.

No fast math: float arithmetic is that of NumPy, in its order and its types.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from codec.bitstream.reference import PRECISION
from codec.bitstream.tables import KINDS, MAX_ESCAPE, MAX_GOLOMB, MAX_SYMBOL, UNIT
from codec.coding.trellis import MAX_MAGNITUDE

LANES = 32  # walks that are searched side by side; the compiler makes vectors of the loop over them, and none of a loop over 16
INVALID, OUTSIDE = 1, 2  # what decode_pass answers to forged data
_BITS, _WORD = np.uint64(PRECISION), np.uint64(32)
_TOTAL, _SMALL = np.uint64(1 << PRECISION), np.uint64(1 << 32)
_TABLES = 512  # more than there are

_compile = njit(cache=True, nogil=True)


@_compile
def _read(state, words, left, width):
    """Takes the symbol of an interval off; state: low, range, point, place of the next word."""
    scale = state[1] >> _BITS
    state[0] += scale * uint64(left)
    state[1] = scale * uint64(width)
    if state[1] < _SMALL:
        state[0] <<= _WORD
        state[1] <<= _WORD
        word = uint64(0)
        if state[3] < uint64(len(words)):
            word = uint64(words[state[3]])
        state[2] = state[2] << _WORD | word
        state[3] += uint64(1)


@_compile
def _symbol(state, words, cdf, a, n):
    """Next symbol by the table of n symbols at cdf[a:], -1 for a point outside every interval."""
    if n == 1:
        return 0
    quantile = (state[2] - state[0]) // (state[1] >> _BITS)
    if quantile >= _TOTAL:
        return -1
    low, high = 0, n  # cdf[a + low] <= quantile < cdf[a + high]
    while high - low > 1:
        middle = (low + high) >> 1
        if uint64(cdf[a + middle]) <= quantile:
            low = middle
        else:
            high = middle
    left = cdf[a + low]
    _read(state, words, left, cdf[a + low + 1] - left)
    return low


@_compile
def _bit(state, words):
    quantile = (state[2] - state[0]) // (state[1] >> _BITS)
    if quantile >= _TOTAL:
        return -1
    one = 1 if quantile >> uint64(PRECISION - 1) else 0
    _read(state, words, one << (PRECISION - 1), 1 << (PRECISION - 1))
    return one


@_compile
def _golomb(state, words):
    """See codec.bitstream.entropy.Decoder.golomb; -1 for invalid data."""
    n = 0
    while n < MAX_GOLOMB:
        one = _bit(state, words)
        if one < 0:
            return -1
        if one:
            break
        n += 1
    value = 1
    for _ in range(n):
        one = _bit(state, words)
        if one < 0:
            return -1
        value = value << 1 | one
    return value - 1


@_compile
def decode_pass(state, words, cdf, first, limits, places, scale, following, kind_of, offsets, values):
    """Decodes the symbols of a pass and adds their residuals to values (n,) int32, which holds the means. -> 0,
    INVALID or OUTSIDE."""
    steps, width = places.shape
    walk_state, table, order, symbols = (
        np.zeros(width, np.int64),
        np.empty(width, np.int64),
        np.empty(width, np.int64),
        np.empty(width, np.int64),
    )
    count = np.empty(_TABLES, np.int64)
    for step in range(steps):
        n = 0
        count[:] = 0
        while n < width and places[step, n] >= 0:
            t = scale[places[step, n]] * KINDS + kind_of[walk_state[n]]
            table[n] = t
            count[t + 1] += 1
            n += 1
        for t in range(1, _TABLES):
            count[t] += count[t - 1]
        for i in range(n):
            order[count[table[i]]] = i
            count[table[i]] += 1
        for k in range(n):
            i = order[k]
            t = table[i]
            s = _symbol(state, words, cdf, first[t], first[t + 1] - first[t] - 1)
            if s < 0:
                return INVALID
            symbols[i] = s - limits[t]
        for i in range(n):
            if abs(symbols[i]) >= limits[table[i]]:
                more = _golomb(state, words)
                if more < 0:
                    return INVALID
                if symbols[i] > 0:
                    symbols[i] += more
                elif symbols[i] < 0:
                    symbols[i] -= more
        for i in range(n):
            if abs(symbols[i]) > MAX_ESCAPE:
                return OUTSIDE
        for i in range(n):
            s = symbols[i]
            if s:
                m = abs(s)
                size = m * UNIT - kind_of[walk_state[i]] * (UNIT // 2) + offsets[table[i], min(m, 2)]
                values[places[step, i]] += size if s > 0 else -size
            walk_state[i] = following[walk_state[i], s & 1]
    return 0


@_compile
def _write(state, words, left, width):
    """state: low, range, place of the next word."""
    scale = state[1] >> _BITS
    low = state[0] + scale * uint64(left)
    if low < state[0]:
        _carry(state, words)
    state[0], state[1] = low, scale * uint64(width)
    if state[1] < _SMALL:
        words[state[2]] = uint32(low >> _WORD)
        state[2] += uint64(1)
        state[0] <<= _WORD
        state[1] <<= _WORD


@_compile
def _carry(state, words):
    k = np.int64(state[2]) - 1
    while words[k] == uint32(0xFFFFFFFF):
        words[k] = 0
        k -= 1
    words[k] += uint32(1)


@_compile
def encode_symbol(state, words, cdf, a, n, s):
    if n > 1:
        _write(state, words, cdf[a + s], cdf[a + s + 1] - cdf[a + s])


@_compile
def encode_golomb(state, words, value):
    n, half = 0, 1 << (PRECISION - 1)
    while (value + 1) >> (n + 1):
        n += 1
    for _ in range(n):
        _write(state, words, 0, half)
    for k in range(n, -1, -1):
        _write(state, words, half if (value + 1) >> k & 1 else 0, half)


@_compile
def seal(state, words):
    """Writes the last word."""
    low = state[0] + (_SMALL - uint64(1))
    if low < state[0]:
        _carry(state, words)
    words[state[2]] = uint32(low >> _WORD)
    state[2] += uint64(1)


@_compile
def encode_pass(state, words, cdf, first, limits, places, table, symbols):
    """Codes the symbols of a pass; table and symbols (n,). The words must have room."""
    steps, width = places.shape
    order, count = np.empty(width, np.int64), np.empty(_TABLES, np.int64)
    for step in range(steps):
        n = 0
        count[:] = 0
        while n < width and places[step, n] >= 0:
            count[table[places[step, n]] + 1] += 1
            n += 1
        for t in range(1, _TABLES):
            count[t] += count[t - 1]
        for i in range(n):
            t = table[places[step, i]]
            order[count[t]] = i
            count[t] += 1
        for k in range(n):
            at = places[step, order[k]]
            t = table[at]
            inside = min(max(symbols[at], -limits[t]), limits[t])
            encode_symbol(state, words, cdf, first[t], first[t + 1] - first[t] - 1, inside + limits[t])
        for i in range(n):
            at = places[step, i]
            if abs(symbols[at]) >= limits[table[at]]:
                encode_golomb(state, words, np.int64(abs(symbols[at]) - limits[table[at]]))


@_compile
def _golomb_bits(value):
    n = 0
    while (value + 1) >> (n + 1):
        n += 1
    return 2 * n + 1


@_compile
def _advance(cost, j, new, second, step, branch):
    """One step of all states: least costs ``new`` from those before, and which of the two ways they came."""
    states = len(j)
    for s in range(states):
        k, b, c = s >> 1, branch[0, s], branch[1, s]
        for lane in range(LANES):
            x, y = cost[b, lane] + j[k, lane], cost[c, lane] + j[k + states // 2, lane]
            second[step, s, lane] = 1 if y < x else 0
            new[s, lane] = y if y < x else x


@_compile
def assign(r, scale, weight, bits, fixed, limits, places, following, kind_of, kinds, symbols, chosen):
    """Best walks of a pass; the arrays of codec.coding.trellis.assign, flat, weight (channels,) or (n,), fixed:
    offsets in steps, float32; symbols int16 and chosen (the kinds) uint8 are written to. ``kinds``: how many there
    are."""
    states = len(kind_of)
    half, (steps, width), channels = states // 2, places.shape, len(weight)
    branch = np.empty((2, states), np.int64)
    for s in range(states):
        for way in range(2):
            source = s // 2 + way * half
            branch[way, s] = kind_of[source] * 2 + (1 if following[source, 1] == s else 0)
    cost, choice = np.zeros((4, LANES), np.float32), np.zeros((steps, 4, LANES), np.int16)
    j, new, second = (
        np.empty((states, LANES), np.float32),
        np.empty((states, LANES), np.float32),
        np.empty((steps, states, LANES), np.uint8),
    )
    zero, two = np.float32(0), np.float32(2)
    for start in range(0, width, LANES):
        lanes = min(LANES, width - start)
        j[:] = np.float32(1e9)
        j[0] = zero
        for step in range(steps):
            active = 0
            for lane in range(lanes):
                at = places[step, start + lane]
                if at < 0:
                    break
                active += 1
                a, w = np.float32(abs(r[at])), np.float64(weight[at % channels])
                for kind in range(kinds):
                    t = scale[at] * KINDS + kind
                    for parity in range(2):
                        near = np.float32(parity) + two * np.rint((a + np.float32(0.5 * kind - parity)) / two)
                        near = min(max(near, np.float32(parity)), np.float32(MAX_MAGNITUDE - 1 + parity))
                        m = np.int64(near)
                        large, best, pick = m > MAX_SYMBOL, np.inf, m
                        for turn in range(2):
                            if turn:
                                m = max(m - 2, parity)
                            value = np.float64(m) + np.float64(fixed[t, min(m, 2)])
                            if m > 0:
                                value = (np.float64(m) - 0.5 * kind) + np.float64(fixed[t, min(m, 2)])
                            d = np.float64(a) - value
                            c = w * (d * d) + np.float64(bits[t, MAX_SYMBOL + min(m, MAX_SYMBOL)])
                            if large:
                                more = _golomb_bits(max(m, MAX_SYMBOL) - limits[t]) - _golomb_bits(
                                    MAX_SYMBOL - limits[t]
                                )
                                c += np.float64(more)
                            if turn == 0 or c < best:
                                best, pick = c, m
                        cost[kind * 2 + parity, lane] = np.float32(best)
                        choice[step, kind * 2 + parity, lane] = pick
            if states == 1:
                for lane in range(active):
                    at = places[step, start + lane]
                    m = np.int32(choice[step, 1, lane] if cost[1, lane] < cost[0, lane] else choice[step, 0, lane])
                    symbols[at] = -m if r[at] < zero else m
                    chosen[at] = 0
                continue
            _advance(cost, j, new, second, step, branch)
            if active == lanes:
                j, new = new, j
            else:  # the other walks have ended
                for s in range(states):
                    for lane in range(active):
                        j[s, lane] = new[s, lane]
        if states == 1:
            continue
        for lane in range(lanes):
            state = 0
            for s in range(1, states):
                if j[s, lane] < j[state, lane]:
                    state = s
            for step in range(steps - 1, -1, -1):
                at = places[step, start + lane]
                if at < 0:
                    continue
                way = np.int64(second[step, state, lane])
                m = np.int32(choice[step, branch[way, state], lane])
                state = (state >> 1) + way * half
                symbols[at] = -m if r[at] < zero else m
                chosen[at] = kind_of[state]
