"""Pictures without loss: the sections of a lossless file are WebP's lossless coding (VP8L), which browsers decode too.

A section is the data of a VP8L chunk (RFC 9649, section 3) of the picture or, where a side is too long for WebP, of a
part of it. Alpha is in there with the colours. Nothing here needs a model or torch.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from codec.bitstream.container import LOSSLESS_SIDE, Header, Stream, lossless_header, pack, parse
from codec.errors import CodecError, CorruptError, UnsupportedError
from codec.image import limits, metadata
from codec.image.picture import Picture
from codec.image.samples import pixels_of
from codec.image.write import assemble

_RIFF = struct.Struct("<4sI4s4sI")  # what a WebP file has before the data of its only chunk
_SIGNATURE = 0x2F
#: A look at bands of so many rows, a sixteenth of the picture but at least LEAST rows, tells of most photographs that
#: it is not worth the time to code them whole.
_BAND, _LEAST = 4, 64
#: How many times too high the looks may be: at bands, which miss what is repeated from row to row, and at the whole.
_DOUBT, _LESS_DOUBT = 8, 3


def encode(picture: Picture, *, effort: int = 1, keep_hidden: bool = False, kept: bytes = b"") -> bytes:
    """Picture -> bytes of a lossless file.

    effort: 1..9; from 2 on WebP's strongest, up to ten times slower, for a file about 0.2 % smaller.
    keep_hidden: keep the colours under alpha 0; else they become black, which costs next to nothing.
    kept: the metadata section, from `codec.image.metadata.section`.

    Raises CodecError where Pillow has no WebP.
    """
    if not features.check("webp"):
        raise CodecError("a lossless file needs a Pillow with WebP")
    return sealed(picture, pixels_in(picture, keep_hidden), effort, kept)


def encode_within(
    picture: Picture, most: int, *, effort: int = 1, keep_hidden: bool = False, kept: bytes = b""
) -> bytes | None:
    """As ``encode``, but None where the file would have more than ``most`` bytes, or Pillow has no WebP.

    For a photograph this is seen by a look at a few of its rows, in a hundredth of the time that the networks take.
    """
    if not features.check("webp"):
        return None
    pixels = pixels_in(picture, keep_hidden)
    if _look(pixels, bands=True) > _DOUBT * most or _look(pixels, bands=False) > _LESS_DOUBT * most:
        return None
    data = sealed(picture, pixels, effort, kept)
    return data if len(data) <= most else None


def decode(data: bytes, *, max_bytes: int | None = None) -> Image.Image:
    """Inverse of ``encode``: PIL image of mode L, LA, RGB or RGBA. Raises FormatError."""
    stream = parse(data, max_bytes=max_bytes)
    rgb, alpha = unpack(stream)
    return metadata.unpack(stream.metadata).apply(assemble(rgb, stream.header.gray, alpha))


def decode_array(data: bytes) -> np.ndarray:
    """As ``decode``: uint8 (H, W, 3), without alpha."""
    return unpack(parse(data))[0]


def unpack(stream: Stream) -> tuple[np.ndarray, np.ndarray | None]:
    """The pixels of a lossless file: uint8 (H, W, 3), and alpha (H, W) or None.

    The sizes in the sections are compared with the header before WebP's decoder sees them, so a forged file cannot ask
    for more memory than a picture of the header's size needs. Raises CorruptError, UnsupportedError without WebP.
    """
    if not features.check("webp"):
        raise UnsupportedError("the file is coded without loss, which needs a Pillow with WebP")
    header = stream.header
    metadata.unpack(stream.metadata)  # refused where it is wrong, as all else
    channels = 3 + header.alpha_inside
    sections = [section or b"" for section in stream.sections]
    for section, (height, width) in zip(sections, _shapes(header), strict=True):
        if not _is_vp8l(section, height, width, header.alpha_inside):
            raise CorruptError("a lossless section is not of the picture's size and kind")
    pixels = np.empty((header.height, header.width, channels), np.uint8)
    for section, part in zip(sections, parts(pixels), strict=True):
        part[...] = _decoded(section, part.shape)
    return pixels[..., :3], pixels[..., 3] if header.alpha_inside else None


def seen(picture: Picture) -> np.ndarray:
    """uint8 (H, W, 3): the colours of a picture, black where alpha is 0."""
    return picture.rgb if picture.alpha is None else np.where(picture.alpha[..., None] > 0, picture.rgb, 0)


def sealed(picture: Picture, pixels: np.ndarray, effort: int, kept: bytes = b"", reduced: int | None = None) -> bytes:
    """The file of pixels (H, W, 3 or 4), which are those of the picture unless ``reduced`` is the level asked for."""
    sections = [webp(part, 5 if effort == 1 else 6, 100) for part in parts(pixels)]
    alpha = picture.alpha is not None
    header = lossless_header(picture.width, picture.height, gray=picture.gray, alpha=alpha, reduced=reduced)
    return pack(header, sections, metadata=kept)


def pixels_in(picture: Picture, keep_hidden: bool) -> np.ndarray:
    """uint8 (H, W, 3 or 4): what is coded of a picture, with its alpha."""
    rgb = picture.rgb if keep_hidden else seen(picture)
    return rgb if picture.alpha is None else np.dstack([rgb, picture.alpha])


def parts(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Views of a picture (H, W, C), cut along its longer side into parts that WebP holds."""
    height, width = pixels.shape[:2]
    for start in range(0, max(height, width), LOSSLESS_SIDE):
        stop = start + LOSSLESS_SIDE
        yield pixels[start:stop] if height > width else pixels[:, start:stop]


def _shapes(header: Header) -> list[tuple[int, int]]:
    """Height and width of the parts."""
    empty = np.empty((header.height, header.width, 0), np.uint8)
    return [(part.shape[0], part.shape[1]) for part in parts(empty)]


def _look(pixels: np.ndarray, bands: bool) -> float:
    """About how many bytes a lossless file would have, by WebP's fast coding of bands or of the whole."""
    total = 0.0
    for part in parts(pixels):
        height = part.shape[0]
        period = min(16 * _BAND, height * _BAND // _LEAST)
        rows = np.arange(height)
        if bands and period > _BAND:
            rows = rows[(rows + period // 2) % period < _BAND]
        total += len(webp(part[rows], 1, 25)) * height / len(rows)
    return total


def webp(pixels: np.ndarray, method: int, quality: int) -> bytes:
    """The VP8L data of pixels (H, W, 3 or 4)."""
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(out, "WEBP", lossless=True, exact=True, method=method, quality=quality)
    data = out.getvalue()
    riff, _, kind, chunk, size = _RIFF.unpack_from(data)
    if (riff, kind, chunk) != (b"RIFF", b"WEBP", b"VP8L"):
        raise CodecError("this Pillow does not write a plain lossless WebP file")
    return data[_RIFF.size : _RIFF.size + size]


def _is_vp8l(section: bytes, height: int, width: int, alpha: bool) -> bool:
    """Whether VP8L data begins as that of a picture of this size. A part may be opaque where the picture is not."""
    if len(section) < 5 or section[0] != _SIGNATURE:
        return False
    size = (width - 1) | (height - 1) << 14
    return int.from_bytes(section[1:5], "little") in (size, size | alpha << 28)


def _decoded(section: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """VP8L data -> uint8 (H, W, 3 or 4) of this shape."""
    padded = section + bytes(len(section) % 2)
    riff = _RIFF.pack(b"RIFF", 12 + len(padded), b"WEBP", b"VP8L", len(section))
    with limits.decoding("a lossless section"), Image.open(io.BytesIO(riff + padded), formats=("WEBP",)) as image:
        mode = "RGBA" if shape[2] == 4 else "RGB"
        pixels = pixels_of(image if image.mode == mode else image.convert(mode))
    if pixels.shape != shape:
        raise CorruptError("a lossless section is not of the picture's size and kind")
    return pixels
