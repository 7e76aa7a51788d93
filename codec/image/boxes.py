"""What files of boxes (AVIF) and JPEG 2000 say of their samples, which Pillow does not tell."""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: Boxes on the way to what is looked for, and the bytes of their own before the inner ones.
_HOLDS = {b"meta": 4, b"iprp": 0, b"ipco": 0}


def avif(data: bytes) -> tuple[tuple[int, int] | None, int]:
    """From the start of an AVIF file: (primaries, transfer) of ITU-T H.273 if they are said, and bits of a sample."""
    codes, bits = None, 8
    for name, body in _boxes(data):
        if name == b"colr" and body[:4] == b"nclx" and len(body) >= 10 and codes is None:
            codes = struct.unpack_from(">HH", body, 4)
        elif name == b"av1C" and len(body) >= 3 and body[2] & 0x40:
            bits = max(bits, 12 if body[2] & 0x20 else 10)
    return codes, bits


def jpeg2000(data: bytes) -> tuple[int, ...]:
    """From the start of a JPEG 2000 file: the bits of a sample of each channel, or () if that is not there."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 42:
        return ()
    channels = struct.unpack_from(">H", data, at + 40)[0]
    return tuple((size & 127) + 1 for size in data[at + 42 : at + 42 + 3 * channels : 3])


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while len(data) - position >= 8:
        size, name = struct.unpack_from(">I4s", data, position)
        start = 8
        if size == 1 and len(data) - position >= 16:
            size, start = struct.unpack_from(">Q", data, position + 8)[0], 16
        if size == 0:
            size = len(data) - position
        if size < start:
            return
        body = data[position + start : position + size]
        if name in _HOLDS:
            yield from _boxes(body[_HOLDS[name] :])
        else:
            yield name, body
        position += size
