"""Product codebooks with entropy-constrained assignment (Chou, Lookabaugh and Gray 1989).

Coded latents of a pass are sorted into classes of nearly equal scale; in each class, vectors of 4 or 2 latents in
units of their sigma are coded by one codeword, at the cost of its counted frequency. Codebooks start from k-means on
residuals of training photographs and are refined by the generalised Lloyd iteration with the cost the quantiser has
in use. Plain assignment gets codebooks by k-means (Linde, Buzo and Gray 1980). A vector no codeword is near sends an
escape and goes to a scalar quantiser, as do classes whose sigma is too large for a codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codec.bitstream.tables import KINDS, LOG2_SCALE_MIN, PER_OCTAVE, TOTAL, LatentTables
from codec.coding.trellis import SCALAR
from codec.training.base.quantizers import Counter, Sent, Trellised, flatten

WIDTH = 2  # scale indices in a class
DIMENSIONS = (4,) * 12 + (
    2,
) * 8  # of the vectors of each class: sigma below 1 step, then below 4 steps; classes above are scalar
CODEWORDS = 512  # at most
SAMPLES = 20000  # vectors of a class that a codebook is fitted to
ROUNDS = 6  # Lloyd iterations in each refit, and as many of k-means at the start
FAR = 1.0  # plain assignment escapes when an error is more than so many steps


def sigmas(scale: np.ndarray) -> np.ndarray:
    """Scale indices -> sigma in steps, float32."""
    return np.exp2(LOG2_SCALE_MIN + scale.astype(np.float32) / PER_OCTAVE)


@dataclass(frozen=True)
class Codebook:
    """words (K, n) in units of sigma; bits (K + 1,): cost of each, and of the escape."""

    words: np.ndarray
    bits: np.ndarray

    def nearest(self, u: np.ndarray, a: np.ndarray, rate: bool) -> tuple[np.ndarray, np.ndarray]:
        """u, a (N, n): vectors in sigmas and worth of squared errors there -> index of the best word, and its cost a
        (u - word)^2 (+ bits if ``rate``)."""
        best, cost = np.empty(len(u), np.int64), np.empty(len(u), np.float32)
        columns = np.concatenate([-2 * self.words, self.words**2], 1).T
        for rows in range(0, len(u), 4096):
            part = slice(rows, rows + 4096)
            j = np.concatenate([a[part] * u[part], a[part]], 1) @ columns
            if rate:
                j += self.bits[:-1]
            best[part] = j.argmin(1)
            cost[part] = j[np.arange(len(j)), best[part]] + (a[part] * u[part] ** 2).sum(1)
        return best, cost

    def lloyd(self, u: np.ndarray, a: np.ndarray, rate: bool, escaped: int = 0) -> Codebook:
        """One iteration: assignment, centroids, frequencies (``escaped``: vectors that took the escape); words that
        nobody takes go."""
        index, _ = self.nearest(u, a, rate)
        count = np.bincount(index, minlength=len(self.words))
        used = np.flatnonzero(count)
        mass = np.stack([np.bincount(index, a[:, d], len(self.words)) for d in range(u.shape[1])], 1)
        moment = np.stack([np.bincount(index, a[:, d] * u[:, d], len(self.words)) for d in range(u.shape[1])], 1)
        p = np.append(count[used], escaped) + 0.5
        return Codebook((moment[used] / mass[used]).astype(np.float32), -np.log2(p / p.sum()).astype(np.float32))


def entropy(frequencies: np.ndarray) -> float:
    """Bits of a symbol of a frequency table."""
    p = frequencies / TOTAL
    return float(-(p * np.log2(p)).sum())


class CodebookQuantizer:
    """ECVQ when rate-aware, k-means codebooks and nearest words when not."""

    name = "ecvq"

    def __init__(self, rate_aware: bool, counter: Callable[[], Counter], start: LatentTables, seed: int = 0) -> None:
        self.rate_aware, self.seed = rate_aware, seed
        self.scalar = Trellised(SCALAR, rate_aware, counter, start)
        self.books: dict[int, Codebook] = {}
        self._seen: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {c: [] for c in range(len(DIMENSIONS))}
        # plain codebooks are as fine as the scalar quantiser: one word for each of its typical vectors; frequencies
        # thin out the rate-aware ones
        self._size = [
            2 ** (n * entropy(start.frequencies[int((c + 0.5) * WIDTH) * KINDS])) for c, n in enumerate(DIMENSIONS)
        ]

    def send(self, r: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> Sent:
        shape = r.shape
        r, scale, weight = flatten(r, scale, weight)
        values, single, total = np.zeros(r.shape, np.float32), scale > 0, 0.0
        for c, n in enumerate(DIMENSIONS):
            at = np.flatnonzero((scale > 0) & (scale // WIDTH == c))
            at = at[: len(at) // n * n].reshape(-1, n)
            if len(at):
                sigma = sigmas(scale[at])
                u, a = r[at] / sigma, (weight[at] if self.rate_aware else 1) * sigma**2
                index, escape = self._choose(c, r[at], scale[at], weight[at], u, a)
                self._seen[c].append((u, a, escape))
                if c in self.books:
                    total += float(self.books[c].bits[np.where(escape, -1, index)].sum(dtype=np.float64))
                    coded = at[~escape]
                    values[coded] = self.books[c].words[index[~escape]] * sigma[~escape]
                    single[coded] = False
        total += self.scalar.send_some(r, scale, weight, np.flatnonzero(single), values)
        return Sent(values.reshape(shape), total)

    def _choose(
        self, c: int, r: np.ndarray, scale: np.ndarray, weight: np.ndarray, u: np.ndarray, a: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, n) each -> index of the word of each vector, and whether it escapes instead (all do, as long as there
        is no codebook)."""
        if c not in self.books:
            return np.zeros(len(r), np.int64), np.ones(len(r), bool)
        book = self.books[c]
        index, cost = book.nearest(u, a, self.rate_aware)
        if not self.rate_aware:
            return index, (np.abs(u - book.words[index]) * sigmas(scale) > FAR).any(1)
        other = self.scalar.choose(r, scale, weight)
        return index, book.bits[-1] + (other.bits + weight * (r - other.values) ** 2).sum(1) < cost

    def refit(self) -> None:
        rng = np.random.default_rng(self.seed)
        for c, seen in self._seen.items():
            if not seen:
                continue
            u, a, escape = (np.concatenate(parts) for parts in zip(*seen, strict=True))
            if c in self.books:
                u, a = u[~escape], a[~escape]
            escaped = int(escape.sum()) if c in self.books else 0
            pick = rng.permutation(len(u))[:SAMPLES]
            escaped = round(escaped * len(pick) / max(len(u), 1))
            u, a = u[pick], a[pick]
            if c not in self.books:
                size = self._size[c] * (8 if self.rate_aware else 1)
                count = min(CODEWORDS, max(1, round(size)), len(u))
                book = Codebook(u[:count].copy(), np.zeros(count + 1, np.float32))
                for _ in range(ROUNDS):
                    book = book.lloyd(u, a, False)
                self.books[c] = book
            for _ in range(ROUNDS if len(u) else 0):
                self.books[c] = self.books[c].lloyd(u, a, self.rate_aware, escaped)
        self._seen = {c: [] for c in self._seen}
        self.scalar.refit()
