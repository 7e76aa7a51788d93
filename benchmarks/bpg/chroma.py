"""Chroma decimation and interpolation, with the filters of bpgenc and bpgdec.

Only the siting is normative in BPG; the filters are part of what "BPG at RMSE x" means, so they are
bpgenc's and bpgdec's own (libbpg 0.9.8). Edges are replicated.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.bpg.container import PixelFormat

_DOWN = (2, -4, -8, 17, 57, 57, 17, -8, -4, 2)  # /128, output k from inputs 2k-4 .. 2k+5
_UP_CENTRED = (2, -6, 18, 57, -10, 4, -1)  # /64, output 2k from k-3 .. k+3; reversed for 2k+1
_UP_COSITED = (-1, 4, -11, 40, 40, -11, 4, -1)  # /64, output 2k+1 from k-3 .. k+4; output 2k is input k


def _filter_rows(plane: NDArray[np.int64], taps: tuple[int, ...], before: int) -> NDArray[np.int64]:
    """Correlate along the last axis; output k starts at input k - before; edges replicated."""
    padded = np.pad(plane, ((0, 0), (before, len(taps) - 1 - before)), mode="edge")
    width = plane.shape[1]
    return sum(tap * padded[:, start : start + width] for start, tap in enumerate(taps))


def _down_rows(plane: NDArray[np.int64]) -> NDArray[np.int64]:
    return _filter_rows(plane, _DOWN, 4)[:, ::2]


def _up_rows(plane: NDArray[np.int64], cosited: bool, width: int) -> NDArray[np.int64]:
    """Twice as wide, scaled by 64, cut to `width`."""
    if cosited:
        even, odd = 64 * plane, _filter_rows(plane, _UP_COSITED, 3)
    else:
        even, odd = _filter_rows(plane, _UP_CENTRED, 3), _filter_rows(plane, _UP_CENTRED[::-1], 3)
    return np.stack([even, odd], axis=2).reshape(plane.shape[0], -1)[:, :width]


def _clip(plane: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.clip(plane, 0, 255).astype(np.uint8)


def decimate(plane: NDArray[np.uint8], pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Chroma plane at the size of `pixel_format` (centred siting only: what bpgenc writes)."""
    if pixel_format is PixelFormat.YUV444:
        return plane
    rows = _down_rows(plane.astype(np.int64))
    if pixel_format is PixelFormat.YUV422_CENTRED:
        return _clip((rows + 64) >> 7)
    if pixel_format is not PixelFormat.YUV420_CENTRED:
        raise ValueError(f"{pixel_format.name} is not written here")
    columns = _down_rows(((rows + 1) >> 1).T).T
    return _clip((columns + (1 << 12)) >> 13)


def interpolate(plane: NDArray[np.uint8], pixel_format: PixelFormat, width: int, height: int) -> NDArray[np.uint8]:
    """Chroma plane at picture size: vertical pass first, unrounded; one rounding after the horizontal pass."""
    if pixel_format is PixelFormat.YUV444:
        return plane
    cosited = pixel_format in (PixelFormat.YUV420_COSITED, PixelFormat.YUV422_COSITED)
    values, bits = plane.astype(np.int64), 6
    if pixel_format.chroma_format_idc == 1:
        values, bits = _up_rows(values.T, False, height).T, 12
    return _clip((_up_rows(values, cosited, width) + (1 << (bits - 1))) >> bits)
