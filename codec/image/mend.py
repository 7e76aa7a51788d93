"""Pictures that Pillow gets wrong: JPEG files without their end, JPEG 2000 of other depths than 8."""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image

from codec.errors import PictureError


def with_end(data: bytes) -> bytes | None:
    """A JPEG file that ends without its end marker, mended, or None where pixels are missing as well.

    libjpeg makes up what is missing and does not say so. If what is made up depends on what follows the data,
    it was needed.
    """
    data = data.rstrip(b"\xff")
    noise = bytes(random.Random(1).choices(range(255), k=256))
    pixels = []
    for tail in (b"", noise):
        with Image.open(io.BytesIO(data + tail + b"\xff\xd9"), formats=("JPEG",)) as image:
            pixels.append(np.asarray(image))
    return data + b"\xff\xd9" if np.array_equal(pixels[0], pixels[1]) else None


def scale_jpeg2000(image: Image.Image, depths: tuple[int, ...]) -> None:
    """Scale what Pillow shifts to 8 or 16 bits, and refuse what it gets wrong (white of more bits becomes black)."""
    if not depths or set(depths) == {8}:
        return
    depth = depths[0]
    wide = image.mode == "I;16" and depth > 8
    if len(set(depths)) > 1 or image.mode in ("P", "PA") or (depth > 8 and not wide):
        raise PictureError(
            f"JPEG 2000 with {max(depths)} bits a sample is not read rightly by Pillow; convert it first"
        )
    image.load()
    bits = 16 if wide else 8
    top, white = ((1 << depth) - 1) << (bits - depth), (1 << bits) - 1
    table = [min(white, (value * white + top // 2) // top) for value in range(1 << bits)]
    pixels = np.array(table, np.uint16 if wide else np.uint8)[np.asarray(image)]
    image.im = Image.fromarray(pixels).im
