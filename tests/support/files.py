"""Picture files written by hand, for what Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np


def chunk(name: bytes, body: bytes, check: int | None = None) -> bytes:
    """A chunk of PNG; with `check` in place of its right checksum."""
    right = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", right if check is None else check)


def packed(samples: np.ndarray, depth: int) -> list[bytes]:
    """Rows of integers, H W C, as big-endian bits."""
    height = samples.shape[0]
    values = samples.reshape(height, -1).astype(np.uint32)
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


def png(samples: np.ndarray, depth: int, colour: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG file of integer samples H W C. before, after: chunks around the pixels."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in packed(samples, depth)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", body) + after + chunk(b"IEND", b"")


def tiff(
    samples: np.ndarray,
    depth: int,
    photometric: int,
    *,
    order: str = "<",
    planes: bool = False,
    deflate: bool = False,
    extra: int | None = None,
    tags: dict[int, tuple[int, Sequence[int] | bytes]] | None = None,
) -> bytes:
    """A TIFF file of integer samples H W C, in strips of two rows. tags: number -> (type, values), to be added."""
    height, width, channels = samples.shape
    parts = [samples[..., c : c + 1] for c in range(channels)] if planes else [samples]
    strips = []
    for part in parts:
        for top in range(0, height, 2):
            rows = part[top : top + 2]
            data = rows.astype(f"{order}u2").tobytes() if depth == 16 else b"".join(packed(rows, depth))
            strips.append(zlib.compress(data) if deflate else data)
    fields: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [depth] * channels), 259: (3, [8 if deflate else 1]),
        262: (3, [photometric]), 273: (4, [0] * len(strips)), 277: (3, [channels]), 278: (4, [2]),
        279: (4, [len(strip) for strip in strips]), 284: (3, [2 if planes else 1]), **(tags or {}),
    }  # fmt: skip
    if extra is not None:
        fields[338] = (3, [extra])
    size = {1: 1, 3: 2, 4: 4, 7: 1}
    start = 8 + 2 + 12 * len(fields) + 4
    long = sum(len(values) * size[kind] for kind, values in fields.values() if len(values) * size[kind] > 4)
    offset = start + long + len(fields)  # each long value may need a byte to an even place
    offsets = []
    for strip in strips:
        offsets.append(offset)
        offset += len(strip)
    fields[273] = (4, offsets)
    entries, values_after = b"", b""
    for number, (kind, values) in sorted(fields.items()):
        letter = {1: "B", 3: "H", 4: "I", 7: "B"}[kind]
        value = struct.pack(f"{order}{len(values)}{letter}", *values)
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(f"{order}I", start + len(values_after))
            values_after += value + bytes(len(value) % 2)
        entries += struct.pack(f"{order}HHI", number, kind, len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", len(fields)) + entries + struct.pack(f"{order}I", 0)
    body = head + directory + values_after
    return body.ljust(start + long + len(fields), b"\0") + b"".join(strips)


def psd(samples: np.ndarray, layers: int) -> bytes:
    """A Photoshop file, uint8 H W 3, with layers of one pixel and the merged picture."""
    height, width = samples.shape[:2]
    records, pixels = b"", b""
    for _ in range(layers):
        records += struct.pack(">4I", 0, 0, 1, 1) + struct.pack(">H", 3)
        records += b"".join(struct.pack(">hI", c, 3) for c in range(3))
        records += b"8BIMnorm\xff\0\0\0" + struct.pack(">I", 12) + bytes(8) + b"\x01A\0\0"
        pixels += struct.pack(">HB", 0, 9) * 3
    inner = struct.pack(">h", layers) + records + pixels
    inner += bytes(len(inner) % 2)
    section = struct.pack(">I", len(inner)) + inner
    head = b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, height, width, 8, 3) + bytes(8)
    merged = struct.pack(">H", 0) + samples.transpose(2, 0, 1).tobytes()
    return head + struct.pack(">I", len(section)) + section + merged


def lut_profile(channels: int, grid: int = 17) -> bytes:
    """An ICC profile of tables (A2B0 of type mft2) to Lab: of RGB samples that are linear light, or of CMYK ones whose
    curve is sRGB's."""
    axis = np.linspace(0, 1, grid)
    nodes = np.stack(np.meshgrid(*[axis] * channels, indexing="ij"), axis=-1)
    coded = nodes if channels == 3 else (1 - nodes[..., :3]) * (1 - nodes[..., 3:])
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    part = light @ matrix.T / matrix.sum(axis=1)
    f = np.where(part > (6 / 29) ** 3, np.cbrt(part), part / (3 * (6 / 29) ** 2) + 4 / 29)
    lab = [(116 * f[..., 1] - 16) * 652.8, (500 * (f[..., 0] - f[..., 1]) + 128) * 256]
    lab.append((200 * (f[..., 1] - f[..., 2]) + 128) * 256)
    table = np.rint(np.stack(lab, axis=-1)).clip(0, 65535).astype(">u2").tobytes()
    x = np.linspace(0, 1, 4096)
    curve = np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055) if channels == 3 else x
    inputs = np.rint(curve * 65535).astype(">u2").tobytes() * channels
    body = b"mft2\0\0\0\0" + bytes([channels, 3, grid, 0])
    body += struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9))) + struct.pack(">HH", len(x), 2)
    body += inputs + table + struct.pack(">6H", *[0, 65535] * 3)
    head = bytes(4) + b"\0\0\0\0\x02\x40\0\0" + (b"scnrRGB " if channels == 3 else b"prtrCMYK") + b"Lab "
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    head = head.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(body)) + body
    return struct.pack(">I", len(head)) + head[4:]
