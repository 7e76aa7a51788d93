"""From latents to sections of bytes and back: prior, trellis and entropy coder put together.

Order of symbols in a group's section: pass by pass; within a pass step by step of all walks (codec.coding.trellis; it must be so: a symbol
chooses the table of the next step of its walk); within a step by rising table number, then by walk. Escapes of a step follow its symbols, by
walk. A latent of scale 0 is not coded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import numpy as np

from codec.bitstream.entropy import Decoder, Encoder, TableSet
from codec.bitstream.tables import KINDS, MAX_SYMBOL, UNIT, LatentTables, TokenTables, excess_bits
from codec.coding import compiled
from codec.coding.trellis import Trellis, assign, reconstruct, walks
from codec.errors import CorruptError
from codec.models.config import VQVAEConfig
from codec.models.exact import Arithmetic
from codec.models.integer_prior import IntegerPrior, Pass

MAX_ESCAPE = (
    1 << 15
)  # bound of a symbol's magnitude, so that forged files cannot leave the exact range of the arithmetic


@dataclass(frozen=True)
class Encoded:
    """Sections (tokens, then one for each group), v_hat (C, h, w) int32 in 1/256 step, and the ideal code length of each section in bits."""

    sections: list[bytes]
    v_hat: np.ndarray
    bits: list[float]


@dataclass(frozen=True)
class Sent:
    """What was asked of one pass and answered: residuals r in steps, symbols and table numbers, (P, C) each."""

    asked: Pass
    r: np.ndarray
    symbols: np.ndarray
    table: np.ndarray


@dataclass(frozen=True)
class Measured:
    """Ideal code length in bits, and of every latent, (C, h, w) each: v_hat int32 in 1/256 step, symbol int16 and kind uint8."""

    bits: float
    v_hat: np.ndarray
    symbols: np.ndarray
    kinds: np.ndarray


def _runs(table: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """table (n,) -> (number, places with it) by rising number; places in rising order."""
    order = np.argsort(table, kind="stable")
    ordered = table[order]
    cuts = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(order)]
    for a, b in pairwise(cuts):
        yield int(ordered[a]), order[a:b]


class LatentCoder:
    """One model's entropy coding. ``arrays`` and ``arithmetic`` are those of an IntegerPrior."""

    def __init__(
        self,
        config: VQVAEConfig,
        trellis: Trellis,
        arrays: dict[str, np.ndarray],
        latent: LatentTables,
        token: TokenTables,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self.config, self.trellis, self.latent, self.token = config, trellis, latent, token
        self.prior = IntegerPrior(config, arrays, arithmetic)
        self._next, self._kind = trellis.next_array, trellis.kind_array
        self._tables, self._limits, self._bits = TableSet(latent.frequencies), latent.limits, latent.bits()
        classes = len(token.within)
        self._contexts = TableSet(tuple(token.contexts.reshape(-1, classes)))
        self._within = TableSet(token.within)
        self._offsets, self._fixed = latent.offsets.astype(np.int32), latent.offsets.astype(np.float32) / UNIT

    # tokens

    def _walk_tokens(self, tokens: np.ndarray, code) -> None:
        """Raster walk; code(context number, token place) -> token."""
        none = len(self.token.within)
        cls = np.full((tokens.shape[0] + 1, tokens.shape[1] + 1), none)
        for i in range(tokens.shape[0]):
            for j in range(tokens.shape[1]):
                t = code(int(cls[i + 1, j]) * (none + 1) + int(cls[i, j + 1]), (i, j))
                tokens[i, j], cls[i + 1, j + 1] = t, self.token.class_of[t]

    def encode_tokens(self, tokens: np.ndarray, loops: ModuleType | None = None) -> tuple[bytes, float]:
        """(H/32, W/32) int -> bytes, ideal bits. loops: compiled ones, None for NumPy, here and below."""
        coder, first, bits = Encoder() if loops is None else compiled.Encoder(loops), self.token.first, [0.0]

        def code(context: int, at: tuple[int, int]) -> int:
            t = int(tokens[at])
            c = int(self.token.class_of[t])
            coder.symbols(np.array([c], np.int32), self._contexts, context)
            coder.symbols(np.array([t - first[c]], np.int32), self._within, c)
            p = (
                self.token.contexts.reshape(-1, len(first))[context, c]
                * float(self.token.within[c][t - first[c]])
                / 2.0**32
            )
            bits[0] -= np.log2(p)
            return t

        self._walk_tokens(tokens.copy(), code)
        return coder.finish(), bits[0]

    def decode_tokens(self, data: bytes, h: int, w: int, loops: ModuleType | None = None) -> np.ndarray:
        """-> (h, w) int64."""
        tokens, first = np.empty((h, w), np.int64), self.token.first
        if loops is not None:
            compiled.Decoder(loops, data).tokens(self._contexts, self._within, first, self.token.class_of, tokens)
            return tokens
        coder = Decoder(data)

        def code(context: int, at: tuple[int, int]) -> int:
            c = int(coder.symbols(1, self._contexts, context)[0])
            return int(first[c]) + int(coder.symbols(1, self._within, c)[0])

        self._walk_tokens(tokens, code)
        return tokens

    # latents

    def quantise(
        self, v: np.ndarray, tokens: np.ndarray, level: int, weight: np.ndarray
    ) -> tuple[list[Sent], np.ndarray]:
        """v (C, h, w) float32 in steps, weight (C,): bits a squared step of error is worth -> what each pass sends, and v_hat (C, h, w) int32."""
        out: list[Sent] = []
        v_hat = self._quantise(v, tokens, level, weight, out.append, compiled.kernels("assign", v.size))
        return out, v_hat

    def _quantise(
        self,
        v: np.ndarray,
        tokens: np.ndarray,
        level: int,
        weight: np.ndarray,
        send: Callable[[Sent], None],
        loops: ModuleType | None,
    ) -> np.ndarray:
        """Hands each pass to ``send`` when it is quantised -> v_hat."""

        def code(p: Pass) -> np.ndarray:
            g = self.config.groups[p.group]
            r = v[g.start : g.stop, p.rows, p.columns].T - p.mu.astype(np.float32) / UNIT
            symbols, kind = self._assign(r, p.scale, weight[g.start : g.stop], loops)
            table = p.scale * KINDS + kind
            send(Sent(p, r, symbols, table))
            return p.mu + reconstruct(symbols, kind, table, self.latent.offsets)

        return self.prior.run(tokens, level, code)

    def _assign(
        self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray, loops: ModuleType | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if loops is None:
            return assign(self.trellis, r, scale, weight, self._bits, self.latent.offsets)
        symbols, kinds = np.zeros(r.shape, np.int32), np.zeros(r.shape, np.int32)
        weight, many = np.ascontiguousarray(weight, np.float32), max(self.trellis.kind) + 1
        loops.assign(
            r.ravel(),
            scale.ravel(),
            weight,
            self._bits,
            self._fixed,
            self._limits,
            walks(scale),
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

        def send(sent: Sent) -> None:
            bits[0] += self.bits([sent])
            p = sent.asked
            at = slice(self.config.groups[p.group].start, self.config.groups[p.group].stop), p.rows, p.columns
            symbols[at], kinds[at] = sent.symbols.T, (sent.table % KINDS).T

        v_hat = self._quantise(v, tokens, level, weight, send, compiled.kernels("assign", v.size))
        return Measured(bits[0], v_hat, symbols, kinds)

    def bits(self, passes: list[Sent]) -> float:
        """Ideal code length of what ``quantise`` sends."""
        return sum(float(self._costs(s).sum(dtype=np.float64)) for s in passes)

    def _costs(self, s: Sent) -> np.ndarray:
        costs = self._bits[s.table, np.clip(s.symbols, -MAX_SYMBOL, MAX_SYMBOL) + MAX_SYMBOL]
        if (large := np.abs(s.symbols) > MAX_SYMBOL).any():
            costs[large] += excess_bits(s.table[large], np.abs(s.symbols[large]))
        return costs

    def encode(self, v: np.ndarray, tokens: np.ndarray, level: int, weight: np.ndarray) -> Encoded:
        """Quantises and codes; see ``quantise``."""
        loops = compiled.kernels("assign", v.size)
        data, token_bits = self.encode_tokens(tokens, loops)
        bits = [0.0] * len(self.config.groups)
        coders: list = [Encoder() if loops is None else compiled.Encoder(loops) for _ in self.config.groups]

        def send(sent: Sent) -> None:  # at once: the passes of a large picture together take much memory
            bits[sent.asked.group] += float(self._costs(sent).sum(dtype=np.float64))
            coder, places, symbols, table = (
                coders[sent.asked.group],
                walks(sent.asked.scale),
                sent.symbols.ravel(),
                sent.table.ravel(),
            )
            if loops is None:
                self._encode_pass(coder, places, symbols, table)
            else:
                coder.latents(self._tables, self._limits, places, table.astype(np.int32), symbols)

        v_hat = self._quantise(v, tokens, level, weight, send, loops)
        return Encoded([data, *(c.finish() for c in coders)], v_hat, [token_bits, *bits])

    def _encode_pass(self, coder: Encoder, places: np.ndarray, symbols: np.ndarray, table: np.ndarray) -> None:
        for at in places:
            at = at[at >= 0]
            s, t = symbols[at], table[at]
            limit = self._limits[t]
            inside = np.clip(s, -limit, limit)
            for number, run in _runs(t):
                coder.symbols(inside[run] + limit[run[0]], self._tables, number)
            for k in np.flatnonzero(np.abs(s) >= limit):
                coder.golomb(int(abs(s[k]) - limit[k]))

    def decode(self, sections: tuple[bytes | None, ...], h: int, w: int, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Sections (None: cut off) of a picture of h x w positions of y -> tokens (h/2, w/2), v_hat (C, h, w) int32 in 1/256 step.

        Latents of sections that are missing are what the prior expects of them. Raises CorruptError for symbols no encoder writes.
        """
        if len(sections) != 1 + len(self.config.groups) or sections[0] is None:
            raise CorruptError("the number of sections is not that of this model")
        loops = compiled.kernels("decode_pass", h * w * self.config.channels)
        tokens = self.decode_tokens(sections[0], h // 2, w // 2, loops)
        coders: list = [
            None if s is None else Decoder(s) if loops is None else compiled.Decoder(loops, s) for s in sections[1:]
        ]

        def code(p: Pass) -> np.ndarray:
            coder = coders[p.group]
            if coder is None:
                return p.mu
            if loops is None:
                return p.mu + self._decode_pass(coder, p.scale)
            values = p.mu.copy()
            coder.latents(
                self._tables,
                self._limits,
                walks(p.scale),
                p.scale.ravel(),
                self._next,
                self._kind,
                self._offsets,
                values.ravel(),
            )
            return values

        return tokens, self.prior.run(tokens, level, code)

    def _decode_pass(self, coder: Decoder, scale: np.ndarray) -> np.ndarray:
        """scale (P, C) -> residuals in 1/UNIT step, (P, C) int64."""
        places = walks(scale)
        symbols, kind = np.zeros(scale.size, np.int32), np.zeros(scale.size, np.int8)
        table, state = scale.ravel() * KINDS, np.zeros(places.shape[1], np.int8)
        for at in places:
            at = at[at >= 0]
            state = state[: len(at)]
            kind[at] = self._kind[state]
            table[at] += kind[at]
            t = table[at]
            limit = self._limits[t]
            s = np.empty(len(at), np.int64)
            for number, run in _runs(t):
                s[run] = coder.symbols(len(run), self._tables, number) - limit[run[0]]
            for k in np.flatnonzero(np.abs(s) >= limit):
                s[k] += np.sign(s[k]) * coder.golomb()
            if np.abs(s).max() > MAX_ESCAPE:
                raise CorruptError("a latent is outside the range of the format")
            symbols[at] = s
            state = self._next[state, s & 1]
        return reconstruct(symbols, kind, table, self.latent.offsets).reshape(scale.shape)
