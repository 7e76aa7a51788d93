"""Samples of more than 8 bits, of which Pillow keeps the upper 8 or does not know the scale."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from codec.errors import PictureError
from codec.image.colour import strips

_BITS, _PHOTOMETRIC, _PLANES, _FORMAT = 258, 262, 284, 339  # tags of TIFF
_NATIVE, _OTHER = ("L", "B") if sys.byteorder == "little" else ("B", "L")


def deep(image: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> np.ndarray | None:
    """The samples of a file that was opened but not loaded, uint16 H W C, 65535 is white, or None where 8 bits are all.

    C is 1 (gray), 2 (gray and alpha), 3, 4 (with alpha, or CMYK by the image's mode). `image` may be left loaded.
    again: opens the same file once more.
    """
    if image.format == "TIFF":
        _mend_tiff(image)
    raw = {_rawmode(tile) for tile in image.tile}
    if image.format not in ("PNG", "TIFF") or not any(";16" in name for name in raw):
        return None
    if image.mode not in ("RGB", "RGBA", "CMYK"):
        return None
    if raw == {"LA;16B"}:  # four bytes a pixel, as they are
        _set_rawmode(image, lambda name: "RGBA")
        image.load()
        return np.asarray(np.asarray(image).view(">u2"), np.uint16)
    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and _tag(image, _PLANES, 1) == 2
        and any(name[-1] == "N" for name in raw)
    ):
        return np.asarray(np.stack(list(_planes(image)), axis=-1), np.uint16)
    other = again()
    if image.format == "TIFF":
        _mend_tiff(other)
    _set_rawmode(image, lambda name: name.replace("RGBa", "RGBA"))
    _set_rawmode(other, _lower)
    image.load()
    samples = np.empty((image.height, image.width, len(image.getbands())), np.uint16)
    for rows, upper in strips_of(image):
        samples[rows] = upper
        samples[rows] <<= 8
    other.load()
    for rows, lower in strips_of(other):
        samples[rows] |= lower
    if any("RGBa" in name for name in raw):
        for _, part in strips(samples):
            alpha = np.maximum(part[..., 3:], 1).astype(np.uint64)
            part[..., :3] = np.minimum((part[..., :3].astype(np.uint64) * 65535 + alpha // 2) // alpha, 65535)
    return samples


def _planes(image: TiffImagePlugin.TiffImageFile) -> Iterator[np.ndarray]:
    """The separate planes of a compressed file, of which libtiff hands Pillow the upper bytes only: each is made a
    gray TIFF file of its own."""
    tags, prefix, file = image.tag_v2, image.tag_v2.prefix, image.fp
    assert file is not None  # it was not loaded
    order = "<" if prefix == b"II" else ">"
    start, length = (324, 325) if 324 in tags else (273, 279)
    count = len(image.getbands())
    each = len(tags[start]) // _tag(image, 277, count)
    for band in range(count):
        strips = []
        for at, size in zip(tags[start][band * each :][:each], tags[length][band * each :][:each], strict=True):
            file.seek(at)
            strips.append(file.read(size))
        values = {number: [int(tags[number])] for number in (256, 257, 259, 266, 278, 317, 322, 323) if number in tags}
        values |= {
            _BITS: [16],
            _PHOTOMETRIC: [1],
            277: [1],
            length: [len(strip) for strip in strips],
            start: [0] * each,
        }
        if 274 in tags:
            values[274] = [int(tags[274])]
        after = 8 + 2 + 12 * len(values) + 4
        body = after + (8 * each if each > 1 else 0)
        values[start] = [body + sum(map(len, strips[:index])) for index in range(each)]
        entries, lists = b"", b""
        for number, numbers in sorted(values.items()):
            several = each > 1 and number in (start, length)
            place = after + len(lists) if several else numbers[0]
            lists += struct.pack(f"{order}{each}I", *numbers) if several else b""
            # a SHORT would lie in the first half of the place, in either order; LONG is allowed where we use it
            entries += struct.pack(f"{order}HHII", number, 4, len(numbers), place)
        head = prefix + struct.pack(f"{order}HIH", 42, 8, len(values))
        data = head + entries + bytes(4) + lists + b"".join(strips)
        with Image.open(io.BytesIO(data), formats=("TIFF",)) as plane:
            yield np.asarray(plane).astype(np.uint16)


def gray(image: Image.Image) -> np.ndarray:
    """A loaded gray picture of mode I, I;16 or F -> uint16 H W 1, 65535 is white. PictureError for other ranges."""
    samples = np.asarray(image)
    if samples.dtype.kind == "f":
        if not (samples.min() >= 0 and samples.max() <= 1):  # also false for NaN
            raise PictureError("floating-point samples must lie in [0, 1]")
        scaled = np.rint(samples * np.float64(65535))
    else:
        highest = _highest(image)
        if samples.min() < 0 or samples.max() > 65535:
            raise PictureError("integer samples of more than 16 bits are not supported")
        if samples.max() > highest:
            raise PictureError(f"a sample lies above the {highest} that the file says is white")
        scaled = samples if highest == 65535 else (samples.astype(np.uint32) * 65535 + highest // 2) // highest
    scaled = scaled.astype(np.uint16)[..., None]
    if image.format == "TIFF" and _tag(image, _PHOTOMETRIC, 1) == 0:
        scaled = 65535 - scaled
    return np.asarray(scaled)


def to_eight(samples: np.ndarray) -> np.ndarray:
    """uint16 (H, W, ...) -> uint8, rounded."""
    out = np.empty(samples.shape, np.uint8)
    for rows, part in strips(samples):
        out[rows] = (part.astype(np.uint32) + 128) // 257
    return out


def strips_of(image: Image.Image) -> Iterator[tuple[slice, np.ndarray]]:
    """The pixels of a loaded picture, a band of rows at a time: Pillow takes twice the memory to hand out all."""
    step = max(1, 2**18 // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), np.asarray(image.crop((0, top, image.width, bottom)))


def pixels_of(image: Image.Image) -> np.ndarray:
    """A loaded picture of 8 bits -> uint8 (H, W) or (H, W, C), the caller's own."""
    bands = len(image.getbands())
    out = np.empty((image.height, image.width) if bands == 1 else (image.height, image.width, bands), np.uint8)
    for rows, part in strips_of(image):
        out[rows] = part
    return out


def depth_of(image: Image.Image) -> int:
    """Bits of a gray sample, as the file says."""
    return min(_tag(image, _BITS, 16), 16) if image.format == "TIFF" else 16


def sixteen_bit_tiff(image: Image.Image) -> bool:
    return image.format == "TIFF" and _tag(image, _BITS, 8) == 16


def _highest(image: Image.Image) -> int:
    return int(2 ** depth_of(image) - 1)


def _tag(image: Image.Image, number: int, default: int) -> int:
    tags = getattr(image, "tag_v2", None)
    value = default if tags is None else tags.get(number, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _mend_tiff(image: ImageFile.ImageFile) -> None:
    """Name the bits of separate planes, which Pillow forgets where they are not compressed."""
    if _tag(image, _FORMAT, 1) == 2:
        raise PictureError("signed samples are not supported")
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    if any(tile[0] == "libtiff" for tile in image.tile):  # which has put the bytes in order; Pillow turns them again
        _set_rawmode(image, lambda name: name.replace("F;32BF", "F;32NF"))
    if _tag(image, _BITS, 8) != 16:
        return
    order = "B" if image.tag_v2.prefix == b"MM" else "L"
    _set_rawmode(image, lambda name: f"{name};16{order}" if len(name) == 1 else name)


def _lower(name: str) -> str:
    """The mode that makes Pillow take the other byte of each sample."""
    order = {"N": _OTHER, "L": "B", "B": "L"}[name[-1]]
    return name[:-1].replace("RGBa", "RGBA") + order


def _rawmode(tile: Any) -> str:
    args = tile[3]
    return str(args[0] if isinstance(args, tuple) else args)


def _set_rawmode(image: ImageFile.ImageFile, change: Callable[[str], str]) -> None:
    tiles = []
    for tile in image.tile:
        name = change(_rawmode(tile))
        tiles.append(tile._replace(args=(name, *tile.args[1:]) if isinstance(tile.args, tuple) else name))
    image.tile = tiles
