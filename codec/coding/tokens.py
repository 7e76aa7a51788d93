"""Hyper tokens from and to the bytes of their section: the frequencies of each come from a network that sees those
around it (codec.models.integer_tokens), wave by wave."""

from __future__ import annotations

import numpy as np

from codec.bitstream.entropy import Decoder, Encoder, bits_of
from codec.models.integer_tokens import PREFIX, IntegerTokenNet, bordered, neighbours, waves

TOGETHER = 256  # tokens that the encoder, who knows all of them, looks at together


class TokenCoder:
    """One model's coding of tokens. ``arrays``: all its integers. Raises ValueError for a network whose sums could be
    inexact."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._net = IntegerTokenNet(arrays)
        self._arrays = {name: values for name, values in arrays.items() if name.startswith(PREFIX)}

    def flat(self) -> dict[str, np.ndarray]:
        """The network's own arrays, to be stored."""
        return self._arrays

    def encode(self, tokens: np.ndarray) -> tuple[bytes, float]:
        """tokens (h, w) int -> bytes, and their ideal length in bits."""
        h, w = tokens.shape
        known, coder, bits = bordered(h, w, self._net.codewords), Encoder(), 0.0
        known[2:, 2:-1] = tokens
        all_rows, all_columns = (np.concatenate(n) for n in zip(*waves(h, w), strict=True))
        for start in range(0, len(all_rows), TOGETHER):
            at = all_rows[start : start + TOGETHER], all_columns[start : start + TOGETHER]
            frequencies, sent = self._net.frequencies(neighbours(known, *at)), tokens[at]
            coder.each(sent, frequencies)
            bits += bits_of(sent, frequencies)
        return coder.finish(), bits

    def decode(self, data: bytes, h: int, w: int) -> np.ndarray:
        """-> tokens (h, w) int64."""
        known, coder = bordered(h, w, self._net.codewords), Decoder(data)
        for rows, columns in waves(h, w):
            known[2 + rows, 2 + columns] = coder.each(self._net.frequencies(neighbours(known, rows, columns)))
        return known[2:, 2:-1].copy()
