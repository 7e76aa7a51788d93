"""Entropy coder: a range coder over integer frequency tables. The only file that names the library behind it.

What decides the bytes, and so belongs to the format: tables go to the coder as float64 frequencies / 2**16 with
``perfect=False``, bits of escapes as a uniform distribution over 2, words are little-endian uint32, zero bytes at the
end are left out.
"""

from __future__ import annotations

import functools
from typing import Any

import constriction
import numpy as np

from codec.bitstream.reference import PRECISION
from codec.bitstream.tables import MAX_GOLOMB, TOTAL
from codec.errors import CorruptError

_Categorical = constriction.stream.model.Categorical
_EACH = _Categorical(perfect=False)  # a table for each symbol
_BIT = constriction.stream.model.Uniform(2)


class TableSet:
    """Frequency tables by number, made into coder models when first used. A table of one symbol has none: it takes no
    bits."""

    def __init__(self, tables: tuple[np.ndarray, ...]) -> None:
        self._tables = tables
        self.model = functools.cache(self._model)

    @functools.cached_property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """codec.bitstream.reference.cumulative of all tables in one row, uint32, and where each one begins (then the
        end), int64."""
        parts = []
        for table in self._tables:
            running = np.concatenate([[0], np.cumsum(table, dtype=np.int64)])
            parts.append(running * ((1 << PRECISION) - len(table)) // TOTAL + np.arange(len(running)))
        first = np.cumsum([0, *(len(part) for part in parts)])
        return np.concatenate(parts).astype(np.uint32), first.astype(np.int64)

    def _model(self, index: int) -> Any:
        if len(self._tables[index]) == 1:
            return None
        return _Categorical(self._tables[index].astype(np.float64) / TOTAL, perfect=False)


def bits_of(values: np.ndarray, tables: np.ndarray) -> float:
    """Ideal code length of values (n,), of which each has a row of tables (n, K): that of the intervals."""
    free, at = (1 << PRECISION) - tables.shape[1], (np.arange(len(values)), values)
    after = np.cumsum(tables, 1)[at]
    width = after * free // TOTAL - (after - tables[at]) * free // TOTAL + 1
    return float((PRECISION - np.log2(width)).sum())


class Encoder:
    """First in, first out."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def symbols(self, values: np.ndarray, tables: TableSet, index: int) -> None:
        """values (n,) int32 in 0..len(table)-1, all with one table."""
        if (model := tables.model(index)) is not None:
            self._coder.encode(np.ascontiguousarray(values, np.int32), model)

    def each(self, values: np.ndarray, tables: np.ndarray) -> None:
        """values (n,) in 0..K-1, K at least 2, of which each has a row of tables (n, K), frequencies that may be 0."""
        self._coder.encode(np.ascontiguousarray(values, np.int32), _EACH, tables / TOTAL)

    def golomb(self, value: int) -> None:
        """One non-negative integer in Exp-Golomb code, order 0."""
        n = (value + 1).bit_length()
        bits = [0] * (n - 1) + [(value + 1) >> k & 1 for k in reversed(range(n))]
        self._coder.encode(np.array(bits, np.int32), _BIT)

    def finish(self) -> bytes:
        return bytes(self._coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0"))


class Decoder:
    """Inverse of Encoder. It reads zeros past the end and rarely notices damage (CorruptError): check the bytes
    before."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, "<u4").astype(np.uint32))

    def symbols(self, count: int, tables: TableSet, index: int) -> np.ndarray:
        if (model := tables.model(index)) is None:
            return np.zeros(count, np.int32)
        return self._decode(model, count)

    def each(self, tables: np.ndarray) -> np.ndarray:
        """A symbol for each row of tables (n, K)."""
        return self._decode(_EACH, tables / TOTAL)

    def _decode(self, model: object, of: int | np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self._coder.decode(model, of))
        except AssertionError as error:  # the library's answer to a point outside every interval
            raise CorruptError("the coded data is not valid") from error

    def golomb(self) -> int:
        """At most MAX_GOLOMB leading zeros are read."""
        n = 0
        while n < MAX_GOLOMB and not int(self._decode(_BIT, 1)[0]):
            n += 1
        value = 1
        for bit in self._decode(_BIT, n) if n else ():
            value = value << 1 | int(bit)
        return value - 1
