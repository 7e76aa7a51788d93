"""From latents to sections of bytes and back: prior, trellis and entropy coder put together.

Order of symbols in a group's section: pass by pass; within a pass step by step of all walks (codec.coding.trellis; it
must be so: a symbol chooses the table of the next step of its walk); within a step by rising table number, then by
walk. Escapes of a step follow its symbols, by walk. A latent of scale 0 is not coded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import ModuleType

import numpy as np

from codec.bitstream.entropy import Decoder, Encoder, TableSet
from codec.bitstream.tables import KINDS, MAX_ESCAPE, MAX_SYMBOL, SCALES, UNIT, LatentTables, excess_bits
from codec.coding import compiled, heap
from codec.coding.tokens import TokenCoder
from codec.coding.trellis import Trellis, assign, reconstruct, walks
from codec.errors import CodecError, CorruptError
from codec.models.config import VQVAEConfig
from codec.models.exact import Arithmetic
from codec.models.integer_prior import IntegerPrior, Pass

# Where order does not matter, so many are worked on at a time, so that memory stays bounded:
ROWS = 1 << 12  # positions of a pass
TOGETHER = 1 << 16  # latents whose symbols are put in the order of a file


@dataclass(frozen=True)
class Encoded:
    """Sections (tokens, then one for each group), v_hat (C, h, w) int32 in 1/256 step if it was to be kept, and the
    ideal code length of each section in bits."""

    sections: list[bytes]
    v_hat: np.ndarray | None
    bits: list[float]


@dataclass(frozen=True)
class SentPass:
    """What was asked of one pass and answered: residuals r in steps, symbols int16 and table numbers uint8, (P, C)
    each; places: of the walks."""

    asked: Pass
    r: np.ndarray
    symbols: np.ndarray
    table: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Chosen:
    """What the encoder chooses for one pass: symbols int16, kinds uint8 and residuals in steps float32, (P, C) each;
    their ideal code length in bits."""

    symbols: np.ndarray
    kinds: np.ndarray
    values: np.ndarray
    bits: float


@dataclass(frozen=True)
class Measured:
    """Ideal code length in bits, and of every latent, (C, h, w) each: v_hat int32 in 1/256 step, symbol int16 and
    kind uint8."""

    bits: float
    v_hat: np.ndarray
    symbols: np.ndarray
    kinds: np.ndarray


def _sorted(table: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """table (n,), n at least 1 -> places by rising number, equal ones in order; and the numbers that are there,
    with how often."""
    order = np.argsort(table, kind="stable")
    ordered = table[order]
    first = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    cuts = [0, *first.tolist(), len(order)]
    return order, [(int(ordered[a]), b - a) for a, b in pairwise(cuts)]


def _chunks(n: int) -> Iterator[slice]:
    """n rows, so many at a time."""
    return (slice(start, start + ROWS) for start in range(0, n, ROWS))


class LatentCoder:
    """One model's entropy coding. ``arrays``: of an IntegerPrior and a TokenCoder; ``arithmetic``: of the prior. Raises
    CodecError for networks whose sums could be inexact."""

    def __init__(
        self,
        config: VQVAEConfig,
        trellis: Trellis,
        arrays: dict[str, np.ndarray],
        latent: LatentTables,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self.config, self.trellis, self.latent = config, trellis, latent
        try:
            self.tokens, self.prior = TokenCoder(arrays), IntegerPrior(config, arrays, arithmetic)
        except ValueError as error:
            raise CodecError(f"the model cannot be used: {error}") from error
        self._next, self._kind = trellis.next_array, trellis.kind_array
        self._tables, self._limits, self._bits = TableSet(latent.frequencies), latent.limits, latent.bits()
        self._offsets, self._fixed = latent.offsets.astype(np.int32), latent.offsets.astype(np.float32) / UNIT

    @cached_property
    def _values(self) -> np.ndarray:
        """What symbols -MAX_SYMBOL..MAX_SYMBOL of each table stand for, (tables, symbols) int32 in 1/UNIT step."""
        symbols, tables = np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1), np.arange(SCALES * KINDS)[:, None]
        return reconstruct(symbols, tables % KINDS, tables, self.latent.offsets).astype(np.int32)

    def quantise(
        self, v: np.ndarray, tokens: np.ndarray, level: int, weight: np.ndarray
    ) -> tuple[list[SentPass], np.ndarray]:
        """v (C, h, w) float32 in steps, weight (C,): bits a squared step of error is worth -> what each pass sends,
        and v_hat (C, h, w) int32."""
        out: list[SentPass] = []
        v_hat = self._quantise(self._parts(v), tokens, level, weight, out.append, compiled.kernels("assign", v.size))
        assert v_hat is not None
        return out, v_hat

    def _parts(self, v: np.ndarray) -> list[np.ndarray]:
        return [v[g.start : g.stop] for g in self.config.groups]

    def _quantise(
        self,
        v: list[np.ndarray],
        tokens: np.ndarray,
        level: int,
        weight: np.ndarray,
        send: Callable[[SentPass], None],
        loops: ModuleType | None,
        keep: bool = True,
    ) -> np.ndarray | None:
        """Hands each pass to ``send`` when it is quantised -> v_hat, if it is to be kept. v: of each group (C, h, w);
        the list is emptied on the way."""

        def code(p: Pass) -> np.ndarray | None:
            g, part, final = self.config.groups[p.group], v[p.group], p.last and not keep
            heap.release(p.mu.size)  # what the networks have left
            r = p.mu.view(np.float32) if final else np.empty(p.mu.shape, np.float32)  # that mu is not asked for again
            for at in _chunks(len(r)):
                mu = np.divide(p.mu[at], UNIT, dtype=np.float32, casting="unsafe")
                np.subtract(part[:, p.rows[at], p.columns[at]].T, mu, out=r[at])
            if p.number == g.passes - 1:
                v[p.group] = part[:0]
            del part
            places = walks(p.scale)
            symbols, kind = self._assign(r, p.scale, weight[g.start : g.stop], places, loops)
            table = np.multiply(p.scale, np.uint8(KINDS), out=p.scale if final else None)
            table += kind
            if final:
                del kind
            send(SentPass(p, r, symbols, table, places))
            del r, places
            if final:
                return None
            values = np.empty(p.mu.shape, np.int32)
            for at in _chunks(len(values)):
                values[at] = p.mu[at] + reconstruct(symbols[at], kind[at], table[at], self.latent.offsets)
            return values

        return self.prior.run(tokens, level, code, keep)

    def choose(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Chosen:
        """One pass alone: r (P, C) float32 residuals in steps, scale (P, C) uint8 table of each, 0 = not coded, weight
        (C,) float32 bits that a squared step of error is worth."""
        places = walks(scale)
        symbols, kinds = self._assign(r, scale, weight, places, compiled.kernels("assign", r.size))
        table = scale * np.uint8(KINDS) + kinds
        values = (reconstruct(symbols, kinds, table, self.latent.offsets) / UNIT).astype(np.float32)
        return Chosen(symbols, kinds, values, self._cost(symbols, table))

    def _assign(
        self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray, places: np.ndarray, loops: ModuleType | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if loops is None:
            return assign(self.trellis, r, scale, weight, self._bits, self.latent.offsets, places)
        symbols, kinds = np.zeros(r.shape, np.int16), np.zeros(r.shape, np.uint8)
        weight, many = np.ascontiguousarray(weight, np.float32), max(self.trellis.kind) + 1
        loops.assign(
            r.ravel(),
            scale.ravel(),
            weight,
            self._bits,
            self._fixed,
            self._limits,
            places,
            self._next,
            self._kind,
            many,
            symbols.ravel(),
            kinds.ravel(),
        )
        return symbols, kinds

    def measure(self, v: np.ndarray, tokens: np.ndarray, level: int, weight: np.ndarray) -> Measured:
        """What ``quantise`` would send, in planes; in less memory."""
        bits, symbols, kinds = [0.0], np.empty(v.shape, np.int16), np.empty(v.shape, np.uint8)

        def send(sent: SentPass) -> None:
            bits[0] += self.bits([sent])
            p = sent.asked
            at = slice(self.config.groups[p.group].start, self.config.groups[p.group].stop), p.rows, p.columns
            symbols[at], kinds[at] = sent.symbols.T, (sent.table % KINDS).T

        v_hat = self._quantise(self._parts(v), tokens, level, weight, send, compiled.kernels("assign", v.size))
        assert v_hat is not None
        return Measured(bits[0], v_hat, symbols, kinds)

    def bits(self, passes: list[SentPass]) -> float:
        """Ideal code length of what ``quantise`` sends."""
        return sum(self._cost(s.symbols, s.table) for s in passes)

    def _cost(self, all_symbols: np.ndarray, tables: np.ndarray) -> float:
        """Bits of one pass: symbols and table numbers, (P, C) each."""
        total = 0.0
        for at in _chunks(len(all_symbols)):
            symbols, table = all_symbols[at], tables[at]
            costs = self._bits[table, np.clip(symbols, -MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL]
            if (large := np.abs(symbols) > MAX_SYMBOL).any():
                costs[large] += excess_bits(table[large], np.abs(symbols[large]))
            total += float(costs.sum(dtype=np.float64))
        return total

    def encode(
        self,
        v: np.ndarray | list[np.ndarray],
        tokens: np.ndarray,
        level: int,
        weight: np.ndarray,
        keep: bool = True,
    ) -> Encoded:
        """Quantises and codes; see ``quantise``. v: may be a list of the groups' arrays, which is emptied, so that
        each is freed when it is coded. keep: v_hat, which takes memory."""
        parts = v if isinstance(v, list) else self._parts(v)
        heap.release(sum(part.size for part in parts))  # what the analysis has left
        loops = compiled.kernels("assign", sum(part.size for part in parts))
        data, token_bits = self.tokens.encode(tokens)
        bits = [0.0] * len(self.config.groups)
        coders: list = [Encoder() if loops is None else compiled.Encoder(loops) for _ in self.config.groups]

        def send(sent: SentPass) -> None:  # at once: the passes of a large picture together take much memory
            bits[sent.asked.group] += self._cost(sent.symbols, sent.table)
            coder, symbols, table = coders[sent.asked.group], sent.symbols.ravel(), sent.table.ravel()
            if loops is None:
                self._encode_pass(coder, sent.places, symbols, table)
            else:
                coder.latents(self._tables, self._limits, sent.places, table, symbols)

        v_hat = self._quantise(parts, tokens, level, weight, send, loops, keep)
        return Encoded([data, *(c.finish() for c in coders)], v_hat, [token_bits, *bits])

    def _encode_pass(self, coder: Encoder, places: np.ndarray, symbols: np.ndarray, table: np.ndarray) -> None:
        tables, width = KINDS * SCALES, max(1, places.shape[1])
        together = max(1, TOGETHER // width)  # steps that are looked at in one go
        for first in range(0, len(places), together):
            part = places[first : first + together]
            at = part[part >= 0]  # the last step may be short
            s, t = symbols[at], table[at]
            limit, step = self._limits[t], np.arange(len(at)) // width
            order, runs = _sorted((step * tables + t).astype(np.uint16))
            numbers, start = (np.clip(s, -limit, limit) + limit)[order], 0
            escaped = deque(np.flatnonzero(np.abs(s) >= limit).tolist())
            for key, count in [*runs, (len(part) * tables, 0)]:
                while escaped and escaped[0] < key // tables * width:  # of steps that are coded
                    k = escaped.popleft()
                    coder.golomb(int(abs(s[k]) - limit[k]))
                if count:
                    coder.symbols(numbers[start : start + count], self._tables, key % tables)
                start += count

    def decode(self, sections: tuple[bytes | None, ...], h: int, w: int, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Sections (None: cut off) of a picture of h x w positions of y -> tokens (h/2, w/2), v_hat (C, h, w) int32
        in 1/256 step.

        Latents of sections that are missing are what the prior expects of them. Raises CorruptError for symbols no
        encoder writes.
        """
        if len(sections) != 1 + len(self.config.groups) or sections[0] is None:
            raise CorruptError("the number of sections is not that of this model")
        loops = compiled.kernels("decode_pass", h * w * self.config.channels)
        tokens = self.tokens.decode(sections[0], h // 2, w // 2)
        coders: list = [
            None if s is None else Decoder(s) if loops is None else compiled.Decoder(loops, s) for s in sections[1:]
        ]

        def code(p: Pass) -> np.ndarray:
            heap.release(p.mu.size)
            coder = coders[p.group]
            if coder is None:
                return p.mu
            if loops is None:
                self._decode_pass(coder, p.scale, p.mu)
                return p.mu
            coder.latents(
                self._tables,
                self._limits,
                walks(p.scale),
                p.scale.ravel(),
                self._next,
                self._kind,
                self._offsets,
                p.mu.ravel(),
            )
            return p.mu

        v_hat = self.prior.run(tokens, level, code, planar=True)
        assert v_hat is not None
        return tokens, v_hat

    def _decode_pass(self, coder: Decoder, scale: np.ndarray, values: np.ndarray) -> None:
        """scale (P, C); the residuals are added to values (P, C) int32, in 1/UNIT step."""
        places, flat = walks(scale), values.reshape(-1)
        scales, kinds, state = scale.ravel(), self._kind.view(np.uint8), np.zeros(places.shape[1], np.int8)
        for at in places:
            if at[-1] < 0:  # the last step may be short
                at = at[at >= 0]
                state = state[: len(at)]
            t = scales[at]
            t *= np.uint8(KINDS)
            t += kinds[state]
            order, runs = _sorted(t)
            s = np.empty(len(at), np.int32)
            s[order] = np.concatenate([coder.symbols(n, self._tables, k) - self._limits[k] for k, n in runs])
            m = np.abs(s)
            if len(escaped := np.flatnonzero(m >= self._limits[t])):
                for k in escaped:
                    s[k] += np.sign(s[k]) * coder.golomb()
                m = np.abs(s)
                if m.max() > MAX_ESCAPE:
                    raise CorruptError("a latent is outside the range of the format")
                flat[at] += reconstruct(s, self._kind[state], t, self.latent.offsets).astype(np.int32)
            else:
                flat[at] += self._values[t, s + MAX_SYMBOL]
            state = self._next[state, s & 1]
