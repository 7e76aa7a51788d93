"""Transforms of large pictures in overlapping tiles, so that memory stays bounded; seams vanish because the overlap
covers the receptive field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from codec.coding import heap
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
    size: tuple[int, int],
    function: Callable[[slice, slice], tuple[torch.Tensor, torch.Tensor]],
    step: Callable[[float], None],
    groups: Sequence[int] = (),
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """size: H, W of the padded picture, multiples of 32; function(rows, columns of its pixels) -> (y, tokens) -> y
    (1, C, H/16, W/16) and tokens (1, H/32, W/32) for all of it. groups: how many channels each part of y is to have,
    so that one can be freed before the others; all in one by default."""
    h, w = size[0] // PATCH, size[1] // PATCH
    y: list[torch.Tensor] = []
    tokens = None
    for a, b, lo, hi in spans(h):
        for c, d, left, right in spans(w):
            found, codes = function(slice(lo * PATCH, hi * PATCH), slice(left * PATCH, right * PATCH))
            parts = found.split(list(groups) or found.shape[1], 1)
            if tokens is None:
                y = [part.new_empty(1, part.shape[1], h, w) for part in parts]
                tokens = codes.new_empty(1, h // 2, w // 2)
            for whole, part in zip(y, parts, strict=True):
                whole[:, :, a:b, c:d] = part[:, :, a - lo : b - lo, c - left : d - left]
            tokens[:, a // 2 : b // 2, c // 2 : d // 2] = codes[
                :, (a - lo) // 2 : (b - lo) // 2, (c - left) // 2 : (d - left) // 2
            ]
            step((a * w + (b - a) * d) / (h * w))
    assert tokens is not None
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
                heap.release(out.size)  # what was in use before, and what the last tile has left
                y, x = (a - lo) * PATCH, (c - left) * PATCH
                inner = slice(y, y + here.shape[0]), slice(x, x + here.shape[1])
                tile = v_hat[:, :, lo:hi, left:right]
                if right - left == w:  # of a narrow picture: the layout decides the last bit of a float
                    tile = np.ascontiguousarray(tile.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
                made = function(tile, inner)
            here[:] = made[: here.shape[0], : here.shape[1]]
            step((a * w + (b - a) * d) / (h * w))
    return out
