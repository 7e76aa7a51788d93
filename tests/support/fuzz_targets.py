"""What reads foreign bytes, with seeds and with checksums made right again, so that mutants get behind them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from codec.api import UNIT
from codec.bitstream import container
from codec.image import lossless, metadata, read
from codec.image.alpha import pack_alpha, unpack_alpha
from tests.support.damage import reseal
from tests.support.files import chunk, png, psd, tiff
from tests.support.fuzzer import Target
from tests.support.small import small_codec

METADATA = metadata.Metadata(b"MM\0*\0\0\0\x08\0\0", b'<a tiff:Orientation="6"/>')
THUMBNAIL = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 26)
THUMBNAIL += struct.pack(">HHHIIHHIIIbb", 2, 0x201, 4, 1, 56, 0x202, 4, 1, 2, 0, 9, 9)
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 5, 4))


def saved(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS[..., :3].astype(np.uint8)).save(out, kind, **options)
    return out.getvalue()


def pictures() -> list[bytes]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colours = [
        chunk(b"gAMA", struct.pack(">I", 100000)),
        chunk(b"cICP", bytes([9, 16, 0, 1])),
        chunk(b"iCCP", b"p\0\0" + zlib.compress(profile)),
        chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x112, 3, 1, 6, 0, 0)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(b"<x/>")),
    ]
    deep = PIXELS * 257
    files = [png(deep[..., :3], 16, 2, extra) for extra in colours] + [png(deep[..., :2], 16, 4), png(deep, 16, 6)]
    files += [
        png(PIXELS[..., :1] % 4, 2, 0, chunk(b"tRNS", b"\0\1")),
        png(PIXELS[..., :1] % 2, 1, 3, chunk(b"PLTE", bytes(6))),
    ]
    for planes in (False, True):
        for deflate in (False, True):
            files.append(tiff(deep[..., :3], 16, 2, planes=planes, deflate=deflate, tags={34675: (7, profile)}))
    files += [
        tiff(deep, 16, 2, extra=1),
        tiff(PIXELS[..., :1] * 16, 12, 1),
        tiff(deep[..., :1], 16, 0),
        psd(PIXELS[..., :3].astype(np.uint8), 2),
    ]
    files += [
        saved(kind)
        for kind in ("JPEG", "GIF", "AVIF", "WEBP", "JPEG2000", "BMP", "PPM", "ICO", "TGA", "QOI", "SGI", "PCX", "DDS")
    ]
    return files


def mended_png(data: bytes) -> bytes:
    """The same chunks, with their checksums right."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, position = bytearray(data[:8]), 8
    while len(data) - position >= 12:
        size, name = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + size]
        out += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        position += 12 + size
    return bytes(out) + data[position:]


def containers() -> list[bytes]:
    header = container.Header(16, 12, 5, 123, 900, False, 7)
    return [
        container.pack(header, [b"abc", b"defgh" * 9]),
        container.pack(header, [b"x" * 40], pack_alpha(np.zeros((12, 16), np.uint8))),
        lossless.encode(read.load(PIXELS.astype(np.uint8))),
        container.pack(header, [b"abc"], metadata=metadata.pack(METADATA)),
    ]


def resealed(data: bytes) -> bytes:
    """The same bytes under right checksums of header and file. The header is as long as that of the seed with its
    flags."""
    sizes = {seed[5]: container.read_header(seed).header_bytes for seed in containers()}
    if len(data) <= max(sizes.values()):
        return data
    return reseal(data, sizes.get(data[5], min(sizes.values())))


def parsed(data: bytes) -> object:
    container.read_header(data)
    container.parse(data, allow_truncated=True)
    stream = container.parse(data)
    small = stream.header.width * stream.header.height < 2**20
    if stream.alpha and small:
        unpack_alpha(stream.alpha, stream.header.width, stream.header.height)
    metadata.unpack(stream.metadata)
    if stream.header.lossless and small:
        lossless.unpack(stream)
    return stream


def kept(case: bytes) -> object:
    """EXIF and XMP of a foreign picture, cut at an X, made to fit and packed; then as a section itself."""
    exif, _, xmp = case.partition(b"X")
    return metadata.unpack(metadata.section(metadata.Metadata(exif, xmp), 3, 4).data)


def deflated(case: bytes) -> bytes:
    """Whatever a section inflates to, deflated again."""
    try:
        return zlib.compress(zlib.decompressobj().decompress(case, 2**20))
    except zlib.error:
        return case


def unpacked(case: bytes) -> object:
    """A section of a lossless file that no checksum protects."""
    return lossless.unpack(container.Stream(container.lossless_header(5, 4, gray=False, alpha=True), b"", (case,)))


def joined(sections: list[bytes]) -> bytes:
    return b"".join(struct.pack(">H", len(section)) + section for section in sections)


def split(case: bytes, count: int) -> list[bytes]:
    """`count` sections of any bytes whatever."""
    sections, position = [], 0
    for _ in range(count):
        size = int.from_bytes(case[position : position + 2], "big")
        sections.append(case[position + 2 : position + 2 + size])
        position += 2 + size
    return sections


def entropy() -> Target:
    """The entropy decoder of an untrained model, on sections that no checksum protects."""
    codec = small_codec()
    data = codec.encode(np.random.default_rng(2).integers(0, 256, (40, 56, 3)).astype(np.uint8), quality=40)
    stream = container.parse(data)
    count, (h, w) = len(stream.sections), (-(-n // UNIT) * 2 for n in (40, 56))
    coder, level = codec._model.coder, stream.header.level

    def run(case: bytes) -> object:
        return coder.decode(split(case, count), h, w, level)

    return Target("entropy decoding", run, [joined([section or b"" for section in stream.sections])])


def all_targets() -> list[Target]:
    sound = containers()
    return [
        Target("pictures", read.load, pictures(), mended_png),
        Target("containers, checksums mended", parsed, sound, resealed),
        Target("containers", parsed, sound, unchanged=lambda case, made: case in sound),
        Target(
            "alpha", lambda case: unpack_alpha(case, 5, 4), [pack_alpha(PIXELS[..., 0].astype(np.uint8))], mended_png
        ),
        Target("lossless", unpacked, [container.parse(sound[2]).sections[0] or b""]),
        Target("EXIF and XMP", kept, [METADATA.exif + b"X" + METADATA.xmp, THUMBNAIL]),
        Target("metadata", metadata.unpack, [metadata.pack(METADATA)], deflated),
        entropy(),
    ]
