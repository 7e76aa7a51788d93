"""What is known of a hyper token before it is sent, in exact integer arithmetic: frequencies of all codewords, from the
tokens around it that were sent before.

The formulas are those of codec.models.token_net, which trains the same network in floating point.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from codec.bitstream.tables import TOTAL
from codec.models.exact import CLIP, FRACTION, ONE, WIDE, NumPy, layer

#: rows and columns from a token to those that its network sees, in this order
NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
#: tokens of one wave, which know nothing of each other, have the same SKEW * row + column: all neighbours are in waves
#: before
SKEW = 2
LAYERS = ("stem", "a", "b", "head")
PREFIX = "token_net."


def waves(h: int, w: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the tokens of each wave, by rising row."""
    for wave in range(SKEW * (h - 1) + w):
        rows = np.arange(max(0, -(-(wave - w + 1) // SKEW)), min(h - 1, wave // SKEW) + 1)
        if len(rows):
            yield rows, wave - SKEW * rows


def bordered(h: int, w: int, none: int) -> np.ndarray:
    """int64 tokens of a picture that are not known yet, with the border that ``neighbours`` needs: all are ``none``."""
    return np.full((h + 2, w + 3), none, np.int64)


def neighbours(tokens: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """tokens: as ``bordered``, places (P,) -> what each place's NEIGHBOURS hold, (P, n)."""
    return np.stack([tokens[2 + rows + i, 2 + columns + j] for i, j in NEIGHBOURS], 1)


class IntegerTokenNet:
    """``arrays`` as made by codec.models.token_net.export, with those of codec.models.integer_export."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        """Raises ValueError for arrays that the arithmetic does not hold exactly."""
        centroids = arrays["centroids"].astype(np.float64)
        self.codewords, d = centroids.shape
        self._seen = np.zeros((self.codewords + 1, d + 1))  # of a codeword, or of the place outside the picture
        self._seen[:-1, :-1], self._seen[-1, -1] = centroids, ONE
        self._use = NumPy()
        self._stem, self._a, self._b, self._head = (layer(arrays, PREFIX + name, WIDE, CLIP) for name in LAYERS)
        self._exp2 = arrays["exp2"].astype(np.int32) << 9

    def logits(self, known: np.ndarray) -> np.ndarray:
        """known (P, n): neighbours -> log2 of the probabilities but for a constant, (P, K) int32, FRACTION fractional
        bits."""
        use, clip = self._use, WIDE.clip
        x = use.leaky(use.dense(self._seen[known].reshape(len(known), -1), *self._stem), clip, WIDE.half)
        h = use.leaky(use.dense(x, *self._a), clip, WIDE.half)
        x = use.leaky(use.add(x, use.dense(h, *self._b), clip), clip, WIDE.half)
        return np.clip(use.dense(x, *self._head), -CLIP, CLIP).astype(np.int32)

    def frequencies(self, known: np.ndarray) -> np.ndarray:
        """known (P, n) -> integers (P, K) as float64, some of them 0; a row sums to TOTAL, of which the likeliest
        codeword (the first of them) has what rounding leaves."""
        logits = self.logits(known)
        best = logits.argmax(1)
        rows = np.arange(len(best))
        logits -= logits[rows, best][:, None]
        share = (self._exp2[logits & (ONE - 1)] >> np.minimum(-(logits >> FRACTION), 31)).astype(np.float64)
        # at most 2^41 over at most 2^35: rounding to 53 bits does not reach the next integer
        found = np.floor(share * TOTAL / share.sum(1, keepdims=True))
        found[rows, best] += TOTAL - found.sum(1)
        return found
