"""Transforms of large pictures in overlapping tiles, so that memory stays bounded; seams vanish because the overlap
covers the receptive field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from codec.models.alike import Alike
from codec.models.config import PATCH

if TYPE_CHECKING:
    import torch

TILE = 64  # positions of y a side
HALO = 8  # positions of context on each inner side; analysis sees less than 7, synthesis with its filter at most 7


def spans(n: int, tile: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """n positions -> (start, stop) to keep and (low, high) to compute, along one axis; all even, as tokens need
    pairs. tile: even, None is TILE."""
    tile = tile or TILE
    for start in range(0, n, tile):
        stop = min(start + tile, n)
        yield start, stop, max(0, start - HALO), min(n, stop + HALO)


def analyse(
    x: torch.Tensor,
    function: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    step: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """x (1, 3, H, W), H and W multiples of 32; function(tile) -> (y, tokens) -> both for the whole picture."""
    h, w = x.shape[2] // PATCH, x.shape[3] // PATCH
    y = tokens = None
    for a, b, lo, hi in spans(h):
        for c, d, left, right in spans(w):
            part, codes = function(x[:, :, lo * PATCH : hi * PATCH, left * PATCH : right * PATCH])
            if y is None:
                y = part.new_empty(1, part.shape[1], h, w)
                tokens = codes.new_empty(1, h // 2, w // 2)
            y[:, :, a:b, c:d] = part[:, :, a - lo : b - lo, c - left : d - left]
            tokens[:, a // 2 : b // 2, c // 2 : d // 2] = codes[
                :, (a - lo) // 2 : (b - lo) // 2, (c - left) // 2 : (d - left) // 2
            ]
            step((a * w + (b - a) * d) / (h * w))
    return y, tokens


def synthesise(
    v_hat: np.ndarray,
    function: Callable[[np.ndarray, tuple[slice, slice]], np.ndarray],
    step: Callable[[float], None],
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """v_hat (1, C, h, w); function(tile, rows and columns of its pixels that are wanted) -> uint8 (those, 3) -> uint8
    (H, W, 3).
    size: H, W of the picture, None: all, 16 h and 16 w.

    Tiles that are alike are made once.
    """
    h, w = v_hat.shape[2:]
    out = np.empty((*(size or (h * PATCH, w * PATCH)), 3), np.uint8)
    known = Alike([v_hat[0].transpose(1, 2, 0)])
    for a, b, lo, hi in spans(h):
        for c, d, left, right in spans(w):
            here = out[a * PATCH : b * PATCH, c * PATCH : d * PATCH]
            made = known.find((slice(lo, hi), slice(left, right)), (a - lo, b - a, c - left, d - c), here)
            if made is None:
                y, x = (a - lo) * PATCH, (c - left) * PATCH
                inner = slice(y, y + here.shape[0]), slice(x, x + here.shape[1])
                made = function(v_hat[:, :, lo:hi, left:right], inner)
            here[:] = made[: here.shape[0], : here.shape[1]]
            step((a * w + (b - a) * d) / (h * w))
    return out
