"""Unit noise from a counter: a value depends on the seed and its place only, so that any window, machine and device
sees the same."""

from functools import cache

import numpy as np
import torch

PER_CALL = 8  # values: 16-bit pieces of four 32-bit words

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(
    counter: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], key: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    """Philox4x32-10 (Salmon et al. 2011). counter: four uint64 arrays of 32-bit words that broadcast -> four such
    arrays."""
    c0, c1, c2, c3 = counter
    for i in range(10):
        k0, k1 = (np.uint64((k + i * w) & 0xFFFFFFFF) for k, w in zip(key, (_W0, _W1), strict=True))
        a, b = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (b >> _HALF) ^ c1 ^ k0, b & _LOW, (a >> _HALF) ^ c3 ^ k1, a & _LOW
    return tuple(np.broadcast_arrays(c0, c1, c2, c3))


def unit_noise(seed: int, stream: int, channels: int, rows: tuple[int, int], columns: tuple[int, int]) -> torch.Tensor:
    """Window of a seed's (64 bits) and stream's (32 bits) noise plane; rows, columns: (start, stop) -> float32
    (channels, h, w).

    Philox counter (row, column, channel // 8, stream), key (low, high word of the seed); channel % 8 counts the
    pieces from the low end.
    """
    assert 0 <= seed < 2**64 and 0 <= stream < 2**32
    assert all(0 <= start <= stop <= 2**32 for start, stop in (rows, columns))
    row = np.arange(*rows, dtype=np.uint64)[None, :, None]
    column = np.arange(*columns, dtype=np.uint64)[None, None, :]
    group = np.arange(-(-channels // PER_CALL), dtype=np.uint64)[:, None, None]
    words = philox((row, column, group, np.full((1, 1, 1), stream, np.uint64)), (seed & 0xFFFFFFFF, seed >> 32))
    pieces = np.stack(
        [part for word in words for part in (word & np.uint64(0xFFFF), word >> np.uint64(16))], 1
    )  # (groups, 8, h, w)
    pieces = pieces.reshape(PER_CALL * len(pieces), *pieces.shape[2:])[:channels]  # (channels, h, w)
    return torch.from_numpy(quantiles()[pieces])


@cache
def quantiles() -> np.ndarray:
    """float32 (65536,): normal quantiles of (i + 1/2) / 65536, as multiples of 2^-12, which hide the last bits of a
    maths library."""
    from scipy.special import ndtri  # here, as only those who draw noise need it

    table = np.round(ndtri((np.arange(65536) + 0.5) / 65536) * 4096) / 4096
    table = table.astype(np.float32)
    table.flags.writeable = False
    return table
