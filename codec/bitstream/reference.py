"""Slow decoder of one section's symbols in plain Python: the description of the coder in executable form, and the
oracle in tests."""

from __future__ import annotations

import numpy as np

from codec.bitstream.tables import TOTAL

PRECISION = 24  # bits
MASK = (1 << 64) - 1  # of the state


def cumulative(frequencies: np.ndarray) -> list[int]:
    """Table of positive integers that sum to TOTAL -> left ends of the symbols' intervals in 0..2**24, then 2**24.

    Each symbol gets 1, and what is left of 2**24 is shared in proportion to the frequencies, rounded down on the
    running sum.
    """
    free, out, running = (1 << PRECISION) - len(frequencies), [], 0
    for i, f in enumerate(frequencies):
        out.append(running * free // TOTAL + i)
        running += int(f)
    return [*out, 1 << PRECISION]


class ReferenceDecoder:
    """Range decoder with 64 bits of state over 32-bit little-endian words; zeros follow the last byte."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._low, self._range = 0, MASK
        self._point = self._word() << 32 | self._word()

    def _word(self) -> int:
        word = int.from_bytes(self._data[self._at : self._at + 4].ljust(4, b"\0"), "little")
        self._at += 4
        return word

    def symbol(self, cdf: list[int]) -> int:
        scale = self._range >> PRECISION
        quantile = ((self._point - self._low) & MASK) // scale
        if quantile >> PRECISION:
            raise ValueError("the coded data is not valid")
        s = max(i for i in range(len(cdf) - 1) if cdf[i] <= quantile)
        self._low = (self._low + scale * cdf[s]) & MASK
        self._range = scale * (cdf[s + 1] - cdf[s])
        if self._range < 1 << 32:
            self._low = self._low << 32 & MASK
            self._range <<= 32
            self._point = self._point << 32 & MASK | self._word()
        return s
