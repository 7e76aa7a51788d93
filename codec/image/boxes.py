"""What files of boxes (AVIF) and JPEG 2000 say of their samples, which Pillow does not tell."""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: Boxes on the way to what is looked for, and the bytes of their own before the inner ones.
_HOLDS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
_DEEPEST = 3  # they lie in each other in this order


def avif(data: bytes) -> tuple[tuple[int, int] | None, int]:
    """From the start of an AVIF file: (primaries, transfer) of ITU-T H.273 if they are said, and bits of a sample."""
    codes, bits = None, 8
    for name, body in _boxes(data):
        if name == b"colr" and bytes(body[:4]) == b"nclx" and len(body) >= 10 and codes is None:
            codes = struct.unpack_from(">HH", body, 4)
        elif name == b"av1C" and len(body) >= 3 and body[2] & 0x40:
            bits = max(bits, 12 if body[2] & 0x20 else 10)
    return codes, bits


def avif_items(data: bytes) -> list[int]:
    """From the start of an AVIF file: where the data of its pictures lie in the file, that of the main one first."""
    boxes = dict(_boxes(data))  # of each kind the last one; these come once
    main = boxes.get(b"pitm", memoryview(b""))[4:]
    items = _locations(boxes.get(b"iloc", memoryview(b"")))
    first = int.from_bytes(main, "big")
    return [at for number, at in sorted(items, key=lambda item: (item[0] != first, item[0]))]


def _locations(body: memoryview) -> list[tuple[int, int]]:
    """Of an iloc box: number and place of each item that lies in the file itself.

    Only the first extent of an item is looked at, so that the time goes with the bytes, of which extents need none.
    """
    at = 0

    def take(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise EOFError
        return int.from_bytes(body[at - size : at], "big")

    items: list[tuple[int, int]] = []
    try:
        version = take(4) >> 24
        sizes = take(2)
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version == 2 else 2
        for _ in range(take(wide)):
            number = take(wide)
            method = take(2) & 15 if version else 0
            take(2)
            start = take(base)
            extents = take(2)
            skipped = index if version else 0
            end = at + extents * (skipped + offset + length)
            take(skipped if extents else 0)
            start += take(offset if extents else 0)
            take(end - at)
            if extents and method == 0:
                items.append((number, start))
    except EOFError:
        pass
    return items


def jpeg2000(data: bytes) -> tuple[int, ...]:
    """From the start of a JPEG 2000 file: the bits of a sample of each channel, or () if that is not there."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 42:
        return ()
    channels = struct.unpack_from(">H", data, at + 40)[0]
    return tuple((size & 127) + 1 for size in data[at + 42 : at + 42 + 3 * channels : 3])


def _boxes(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    return _inner_boxes(memoryview(data), _DEEPEST)


def _inner_boxes(data: memoryview, levels: int) -> Iterator[tuple[bytes, memoryview]]:
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
        if name in _HOLDS and levels:
            yield from _inner_boxes(body[_HOLDS[name] :], levels - 1)
        else:
            yield name, body
        position += size


def is_heic(start: bytes) -> bool:
    """Whether a file begins as one of HEIF with pictures in HEVC."""
    if start[4:8] != b"ftyp":
        return False
    size = min(struct.unpack_from(">I", start)[0], len(start), 256)
    brands = {start[at : at + 4] for at in (8, *range(16, size - 3, 4))}
    return bool(brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}) and start[8:12] != b"avif"


def is_jxl(start: bytes) -> bool:
    """Whether a file begins as one of JPEG XL, with or without boxes."""
    return start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"))


def jxl_size(start: bytes) -> tuple[int, int] | None:
    """From the start of a JPEG XL file: width and height (or the other way round, where it is turned), None if not
    there."""
    if not is_jxl(start):
        return None
    code = start
    if not start.startswith(b"\xff\x0a"):  # in one box, or in parts that begin with their number
        skip = {b"jxlc": 0, b"jxlp": 4}
        code = b"".join(body[skip[name] : skip[name] + 12] for name, body in _boxes(start) if name in skip)
    if not code.startswith(b"\xff\x0a"):
        return None
    bits, at = int.from_bytes(code[2:12], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (at - count) & ((1 << count) - 1)

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side(small)
    ratio = take(3)
    a, b = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    width = height * a // b if ratio else side(small)
    return (width, height) if at <= 8 * len(code[2:12]) else None
