"""Drawings in fewer colours, coded without loss: better than the networks where a picture is flat and has sharp edges.

The colours are those of a palette (Pillow: maximum coverage, then k-means), each pixel takes the nearest one, without
dither. Alpha stays as it is. Nothing here needs a model or torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, features

from codec.image import lossless
from codec.image.picture import Picture

#: Numbers of colours that are tried.
LADDER = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)
#: Of a drawing at least this part of the pixels is as the one to the left of it; of most photographs less than .3.
FLAT = 0.5
#: Its squared error is to be at most this part of the other file's: a palette makes bands of what is smooth, which
#: looks worse than its error says.
CLEARLY = 0.7
_EVERY = 16  # rows of which one is looked at
_SETTLED = 500  # k-means ends when fewer than one of so many pixels change
_HEADER = 28  # bytes of a header, about
_QUICK = 4, 80  # method and quality of WebP: five to ten times as fast as the final ones, but
_SMALLER = 1.06  # about so much larger at most


def encode_within(
    picture: Picture,
    most: int,
    error: Callable[[], float],
    *,
    level: int,
    effort: int = 1,
    keep_hidden: bool = False,
    kept: bytes = b"",
) -> bytes | None:
    """Picture -> bytes of a file of at most ``most`` bytes with a clearly smaller error than another file has, or None.

    The number of colours is the largest that fits; it is found by bisection with WebP's faster coding.
    error: gives the mean squared error (0..255 scale) of the other file as ``squared_error`` counts it. Not called
        where no palette fits or the picture is not flat, so seldom for photographs.
    level: of the quality that was asked for, 0..6400; kept in the header.
    effort, keep_hidden, kept: as in ``lossless.encode``.
    """
    pixels = lossless.pixels_in(picture, keep_hidden)
    if not features.check("webp") or _flatness(pixels) < FLAT:
        return None
    shown = shown_in(picture, keep_hidden)
    colours = pixels[..., :3][shown]
    if not len(colours):
        return None
    distinct = Image.fromarray(colours[None]).getcolors(LADDER[-1])
    rungs = [count for count in LADDER if distinct is None or count < len(distinct)]

    def drawn(count: int) -> np.ndarray:
        out = pixels.copy()
        out[..., :3][shown] = quantised(colours, count)
        return out

    def about(rung: int) -> int:
        sections = (lossless.webp(part, *_QUICK) for part in lossless.parts(drawn(rungs[rung])))
        return _HEADER + sum(map(len, sections)) + len(kept)

    low, high = -1, len(rungs)  # the last rung that fits, the first that does not
    least = 0  # bytes of the latter
    while high - low > 1:
        middle = 0 if low < 0 else (low + high) // 2  # first the smallest: mostly nothing fits
        if (size := about(middle)) <= most:
            low = middle
        else:
            high, least = middle, size
    for rung in range(high if 0 < least <= _SMALLER * most else low, max(low - 2, -1), -1):
        found = drawn(rungs[rung])
        data = lossless.sealed(picture, found, effort, kept, reduced=level)
        if len(data) <= most:
            better = squared_error(picture, found[..., :3], keep_hidden) < CLEARLY * error()
            return data if better else None
    return None


def quantised(colours: np.ndarray, count: int) -> np.ndarray:
    """uint8 (N, 3) -> the same, each the nearest of ``count`` colours, 2..256. Gray stays gray."""
    image = Image.fromarray(colours[None]).quantize(
        count, Image.Quantize.MAXCOVERAGE, kmeans=max(1, len(colours) // _SETTLED), dither=Image.Dither.NONE
    )
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    found: np.ndarray = palette[np.asarray(image)[0]]
    return found


def squared_error(picture: Picture, rgb: np.ndarray, keep_hidden: bool = False) -> float:
    """Mean over the values of the pixels that are seen (of all, with ``keep_hidden``), rgb uint8 (H, W, 3); 0 if there
    are none."""
    shown = shown_in(picture, keep_hidden)
    total = sum(
        float(np.square(x[s].astype(np.float32) - y[s]).sum(dtype=np.float64))
        for x, y, s in zip(picture.rgb, rgb, shown, strict=True)
    )
    return total / max(1, 3 * int(shown.sum()))


def margin(picture: Picture, rgb: np.ndarray, psnr: float, keep_hidden: bool = False) -> float:
    """dB that rgb has more than a PSNR that is wanted, by ``squared_error``; finite."""
    return 10 * math.log10(255**2 / max(squared_error(picture, rgb, keep_hidden), 1e-12)) - psnr


def shown_in(picture: Picture, keep_hidden: bool) -> np.ndarray:
    """bool (H, W): the pixels that count in an error."""
    if picture.alpha is None or keep_hidden:
        return np.ones(picture.rgb.shape[:2], bool)
    return picture.alpha > 0


def _flatness(pixels: np.ndarray) -> float:
    """The part of pixels (H, W, C) that is as the one to the left, by a look at some of the rows."""
    rows = pixels[(len(pixels) - 1) // 2 % _EVERY :: _EVERY]
    return float((rows[:, 1:] == rows[:, :-1]).all(-1).mean()) if rows.shape[1] > 1 else 0.0
