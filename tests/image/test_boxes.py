"""Boxes that were written to take time or memory, and what is found in sound ones."""

import struct
import time
import tracemalloc

import pytest

from codec.image import boxes


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


def iloc(version: int, items: list[tuple[int, int, int, list[int]]]) -> bytes:
    """Of items: number, method, base, and where each extent begins after it; fields of 4 bytes, an index of 4."""
    wide = ">I" if version == 2 else ">H"
    body = bytes([version, 0, 0, 0, 0x44, 0x40 | (4 if version else 0)]) + struct.pack(wide, len(items))
    for number, method, base, extents in items:
        body += struct.pack(wide, number) + (struct.pack(">H", method) if version else b"")
        body += struct.pack(">HIH", 0, base, len(extents))
        for k, at in enumerate(extents):
            body += (struct.pack(">I", k + 1) if version else b"") + struct.pack(">II", at, 9)
    return box(b"iloc", body)


def meta(*inner: bytes) -> bytes:
    return box(b"meta", bytes(4) + b"".join(inner))


@pytest.mark.parametrize("version", [0, 1, 2])
def test_places_of_items(version):
    items = [
        (7, 0, 0, [100, 900]),
        (2, 0, 50, [1, 2, 3]),
        (5, 0, 5, []),
        (3, 1 if version else 0, 0, [4]),
        (9, 0, 0, [6]),
    ]
    data = meta(box(b"pitm", bytes(4) + struct.pack(">H", 9)), iloc(version, items))
    assert boxes.avif_items(data) == ([6, 51, 100] if version else [6, 51, 4, 100])
    for cut in range(len(data)):
        boxes.avif_items(data[:cut])


def test_extents_without_bytes_take_no_time():
    count = 2000
    body = bytes(6) + struct.pack(">H", count) + struct.pack(">HHH", 1, 0, 65535) * count
    start = time.perf_counter()
    assert boxes.avif_items(meta(box(b"iloc", body))) == [0] * count
    assert time.perf_counter() - start < 3  # the extents one by one: a minute


@pytest.mark.parametrize("name", [b"iprp", b"ipco", b"meta"])
def test_boxes_in_boxes_take_no_memory(name):
    depth = 50_000
    data = b"".join(struct.pack(">I4s", 8 * (depth - k), name) for k in range(depth))
    tracemalloc.start()
    try:
        assert boxes.avif(data) == (None, 8) and boxes.avif_items(data) == []
        assert boxes.jxl_size(b"\0\0\0\x0cJXL \r\n\x87\n" + data) is None
        assert tracemalloc.get_traced_memory()[1] < 2 * len(data)
    finally:
        tracemalloc.stop()


def test_what_is_looked_for_lies_three_boxes_deep():
    colours = box(b"colr", b"nclx" + struct.pack(">HH", 12, 13) + bytes(3))
    assert boxes.avif(meta(box(b"iprp", box(b"ipco", colours)))) == ((12, 13), 8)
