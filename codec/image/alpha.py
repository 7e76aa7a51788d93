"""The alpha channel as bytes, without loss, and the pixels that it hides."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from codec.errors import CorruptError
from codec.image import limits
from codec.image.png import SIGNATURE


def pack_alpha(alpha: np.ndarray) -> bytes:
    """Code an alpha channel (uint8 H W) without loss, as an 8-bit grayscale PNG."""
    out = io.BytesIO()
    # A Pillow image made here has no metadata, so the PNG is IHDR, IDAT and IEND only.
    Image.fromarray(np.ascontiguousarray(alpha)).save(out, "PNG", optimize=True)
    return out.getvalue()


def unpack_alpha(data: bytes, width: int, height: int) -> np.ndarray:
    """Inverse of `pack_alpha`: uint8 H W. CorruptError unless `data` is such a PNG of exactly this size.

    The chunks are checked before Pillow sees them: with the size fixed by the caller and no chunk but pixel
    data, a forged file cannot ask for more memory than the picture itself needs.
    """
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = SIGNATURE + _png_chunk(b"IHDR", ihdr)
    if not data.startswith(start) or not _only_pixel_chunks(data, len(start)):
        raise CorruptError("the alpha section is not a grayscale PNG of the picture's size")
    with limits.decoding("the alpha section"), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        pixels = np.array(image)
    if pixels.dtype != np.uint8 or pixels.shape != (height, width):
        raise CorruptError("the alpha section is not a grayscale PNG of the picture's size")
    return pixels


def fill_hidden(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """`rgb` (uint8 H W 3) with other pixels where `alpha` (uint8 H W) is 0: smooth ones, which cost next to nothing.

    They go on from the visible ones around them; where there are none at all, the mean colour is left. `rgb` itself
    is returned where nothing is hidden.
    """
    if alpha is None or alpha.all():
        return rgb
    return _filled(rgb, alpha > 0)


def _filled(rgb: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What is not seen is taken from the picture at half the size, filled in the same way."""
    if seen.all():
        return rgb
    if not seen.any():
        return np.full_like(rgb, rgb.mean(axis=(0, 1)).round())
    height, width = seen.shape
    h, w = -(-height // 2), -(-width // 2)
    total = np.zeros((h, w, 3), np.uint16)
    count = np.zeros((h, w, 1), np.uint16)
    for y in (0, 1):
        for x in (0, 1):
            part = seen[y::2, x::2, None]
            rows, columns = part.shape[:2]
            total[:rows, :columns] += rgb[y::2, x::2] * part
            count[:rows, :columns] += part
    mean = (total + count // 2) // np.maximum(count, 1)
    small = Image.fromarray(_filled(mean.astype(np.uint8), count[..., 0] > 0))
    large = np.asarray(small.resize((2 * w, 2 * h), Image.Resampling.BILINEAR))[:height, :width]
    return np.where(seen[..., None], rgb, large)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _only_pixel_chunks(data: bytes, position: int) -> bool:
    """Whether IDAT chunks, then IEND, then the end of the data follow from `position` on."""
    while len(data) - position >= 12:
        size, name = struct.unpack_from(">I4s", data, position)
        position += 12 + size
        if name == b"IEND":
            return size == 0 and position == len(data)
        if name != b"IDAT":
            return False
    return False
