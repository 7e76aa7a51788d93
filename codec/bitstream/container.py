"""The file container: header, sections and checksums. FORMAT.md beside this file is its description.

    8A 'L' 'D' 'C' | version | flags | model id | table hash | width | height | level | [seed]
    [alpha size, CRC-16] | [metadata size, CRC-16] | number of sections | (size, CRC-16) of each
    CRC-16 of the header | CRC-32 of the file
    payload: alpha, then the sections in order of importance, then metadata

Three checksums, because three questions are asked: the CRC-16 of the header lets `read_header` trust the
sizes without the payload, the CRC-16 of a section lets a file that was cut keep the sections that are whole,
and the CRC-32 covers everything in a complete file.

Every number that a file can set is bounded before anything is done with it, and nothing is allocated from
a promised size: sections are slices of the bytes that are there.
"""

from __future__ import annotations

import binascii
import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from codec.errors import CorruptError, FormatError, LimitError, UnsupportedError

#: Name of the format, also Pillow's once codec.pillow_plugin has told it.
NAME = "LDC"
SUFFIX = ".ldc"
MIME_TYPE = "image/x-ldc"
MAGIC = b"\x8aLDC"
VERSION = 1
MAX_SIDE = 65535
MAX_PIXELS = 64 * 1024 * 1024
MAX_SECTIONS = 16
MAX_LEVEL = 6400
#: Bound of the promised payload: 16 bytes per pixel of the largest picture. Far above anything useful, it
#: only keeps the arithmetic on damaged sizes small.
MAX_PAYLOAD = 16 * MAX_PIXELS
#: Bytes of the metadata section: EXIF and XMP, deflated.
MAX_METADATA = 65536
#: Longest side of a part of a lossless picture: what WebP holds.
LOSSLESS_SIDE = 16383

_GRAY, _ALPHA, _SEED, _LOSSLESS, _METADATA, _REDUCED = 1, 2, 4, 8, 16, 32
_KNOWN_FLAGS = _GRAY | _ALPHA | _SEED | _LOSSLESS | _METADATA | _REDUCED
_U32_MAX = 2**32 - 1
_VARINT_BYTES = 5  # enough for 32 bits

#: No header is longer: fixed fields, four varints, then size and CRC-16 of alpha, metadata and each section.
MAX_HEADER_BYTES = 4 + 1 + 1 + 4 + 2 + 1 + 2 + 4 + 4 * _VARINT_BYTES + (2 + MAX_SECTIONS) * (_VARINT_BYTES + 2)


def level_of(quality: float) -> int:
    """Quality 0..100 -> level 0..MAX_LEVEL: 64 a unit."""
    return round(64 * quality)


def quality_of(level: int) -> float:
    """Inverse of `level_of`."""
    return level / 64


def lossless_parts(width: int, height: int) -> int:
    """Number of sections of a lossless picture: it is cut along its longer side where that is too long for one."""
    return -(-max(width, height) // LOSSLESS_SIDE)


@dataclass(frozen=True)
class Header:
    """What a file says about its picture and its model. `pack` refuses values outside the ranges given.

    width, height: pixels, 1..65535 each, with width * height <= MAX_PIXELS.
    model_id:      number of the model, 0..2**32-1, never reused.
    table_hash:    0..2**32-1, hash of the model's integer tables and networks.
    level:         0..6400, see `level_of`.
    gray:          the decoded picture is 8-bit grayscale.
    seed:          0..2**32-1, seed of the noise of the semantic decoder.
    lossless:      the sections hold the picture itself, coded without loss; no model is needed, and `lossless_header`
                   makes such headers.
    alpha_inside:  of a lossless picture: its alpha is in the sections too. Others have an alpha section.
    reduced:       of a lossless picture: its colours were reduced before, so it is not the one that was given.
    """

    width: int
    height: int
    model_id: int
    table_hash: int
    level: int
    gray: bool = False
    seed: int = 0
    lossless: bool = False
    alpha_inside: bool = False
    reduced: bool = False

    @property
    def exact(self) -> bool:
        """Whether every pixel is as it was given."""
        return self.lossless and not self.reduced


def lossless_header(width: int, height: int, *, gray: bool, alpha: bool, reduced: int | None = None) -> Header:
    """The header of a lossless picture, which is that of no model and of the highest level. reduced: None, or the
    level that was asked for where colours were reduced before."""
    level = MAX_LEVEL if reduced is None else reduced
    return Header(width, height, 0, 0, level, gray, lossless=True, alpha_inside=alpha, reduced=reduced is not None)


@dataclass(frozen=True)
class HeaderInfo:
    """A header with the sizes (bytes) of what follows it."""

    header: Header
    header_bytes: int
    alpha_bytes: int
    section_bytes: tuple[int, ...]
    metadata_bytes: int

    @property
    def alpha(self) -> bool:
        """Whether the picture has alpha."""
        return self.alpha_bytes > 0 or self.header.alpha_inside

    @property
    def file_bytes(self) -> int:
        """Size of the complete file."""
        return self.header_bytes + self.alpha_bytes + sum(self.section_bytes) + self.metadata_bytes


@dataclass(frozen=True)
class Stream:
    """A parsed file. `sections` are in order of importance; None stands for one that was cut off.

    `alpha` is empty for a picture without alpha. sections[0] (the tokens) is never None. `metadata` is the metadata
    section, empty where there is none or it was cut off.
    """

    header: Header
    alpha: bytes
    sections: tuple[bytes | None, ...]
    metadata: bytes = b""


@dataclass(frozen=True)
class _Prefix:
    """Everything before the payload."""

    info: HeaderInfo
    alpha_crc: int
    section_crcs: tuple[int, ...]
    metadata_crc: int
    file_crc: int


def pack(header: Header, sections: Sequence[bytes], alpha: bytes = b"", metadata: bytes = b"") -> bytes:
    """Return the bytes of a file with 1..16 sections (each may be empty) and, where not empty, an alpha section and a
    metadata section of at most MAX_METADATA bytes.

    Raises LimitError for a picture that is too large and ValueError for other values out of range, which
    are mistakes of the caller.
    """
    _check_picture_size(header.width, header.height)
    if not 1 <= len(sections) <= MAX_SECTIONS:
        raise ValueError(f"a file has 1..{MAX_SECTIONS} sections, not {len(sections)}")
    if not 0 <= header.level <= MAX_LEVEL:
        raise ValueError(f"level {header.level} is outside 0..{MAX_LEVEL}")
    for name, value in (("model_id", header.model_id), ("table_hash", header.table_hash), ("seed", header.seed)):
        if not 0 <= value <= _U32_MAX:
            raise ValueError(f"{name} {value} is outside 0..2**32-1")
    if header.alpha_inside and not header.lossless:
        raise ValueError("only a lossless picture has its alpha inside")
    if header.reduced and not header.lossless:
        raise ValueError("only a lossless picture has reduced colours")
    if header.lossless and (alpha or _wrong_lossless(header, tuple(map(len, sections)))):
        raise ValueError("these are not the header and sections of a lossless picture")
    if len(metadata) > MAX_METADATA:
        raise ValueError(f"the metadata section has {len(metadata)} bytes, more than {MAX_METADATA}")
    if len(alpha) + sum(map(len, sections)) + len(metadata) > MAX_PAYLOAD:
        raise LimitError(f"the payload is larger than the {MAX_PAYLOAD} bytes that the format allows")

    flags = _GRAY * bool(header.gray) | _ALPHA * bool(alpha or header.alpha_inside) | _SEED * bool(header.seed)
    flags |= _LOSSLESS * bool(header.lossless) | _METADATA * bool(metadata) | _REDUCED * bool(header.reduced)
    head = bytearray(MAGIC)
    head += bytes((VERSION, flags))
    head += _varint(header.model_id)
    head += struct.pack("<I", header.table_hash)
    head += _varint(header.width) + _varint(header.height)
    head += struct.pack("<H", header.level)
    if header.seed:
        head += _varint(header.seed)
    if alpha:
        head += _size_and_crc(alpha)
    if metadata:
        head += _size_and_crc(metadata)
    head.append(len(sections))
    for section in sections:
        head += _size_and_crc(section)
    head += struct.pack("<H", crc16(head))
    payload = b"".join((alpha, *sections, metadata))
    return bytes(head) + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head))) + payload


def read_header(source: bytes | bytearray | memoryview | BinaryIO) -> HeaderInfo:
    """Read and check the header from bytes or from a binary file at its current position.

    Looks at the first MAX_HEADER_BYTES bytes at most and at no payload, so the sizes are checked against the
    header's CRC-16 but not against the length of the file. Raises FormatError or one of its subclasses.
    """
    data = source.read(MAX_HEADER_BYTES) if hasattr(source, "read") else source[:MAX_HEADER_BYTES]
    return _read_prefix(bytes(data)).info


def parse(
    data: bytes | bytearray | memoryview, *, max_bytes: int | None = None, allow_truncated: bool = False
) -> Stream:
    """Check a file and take it apart.

    max_bytes:       read the file as if it ended after so many bytes (progressive decoding); what lies
                     behind is not looked at.
    allow_truncated: accept a file that is shorter than its header says.

    In both cases the sections that are whole are checked and kept, the first one that is not and all after
    it become None; alpha and sections[0] must be whole; metadata that is not is left out. A file of full length must
    be sound in every byte, whatever the flags. A lossless file must be whole: parts of it are no coarser picture.
    Raises FormatError (not one of our files), UnsupportedError, LimitError, CorruptError.
    """
    view = memoryview(data)
    prefix = _read_prefix(bytes(view[:MAX_HEADER_BYTES]))
    info = prefix.info
    shortened = False
    if max_bytes is not None and max_bytes < len(view):
        shortened = True
        if max_bytes < 0:
            raise ValueError("max_bytes must not be negative")
        view = view[:max_bytes]
    if len(view) > info.file_bytes:
        # how many is not said: a file is read no further than a byte behind its end
        raise CorruptError("bytes are left over after the end of the compressed picture")
    if len(view) < info.file_bytes:
        if info.header.lossless:
            raise CorruptError(
                f"too little of the file is there ({len(view)} of {info.file_bytes} bytes): it is coded without loss, "
                "and parts of it give no coarser picture"
            )
        if not (shortened or allow_truncated):
            raise CorruptError(
                f"the file is cut short ({len(view)} of {info.file_bytes} bytes); "
                "--allow-truncated makes a coarser picture of it (allow_truncated=True in Python)"
            )
    else:
        # The CRC-32 skips its own four bytes, which are the last ones before the payload.
        crc = zlib.crc32(view[info.header_bytes :], zlib.crc32(view[: info.header_bytes - 4]))
        if crc != prefix.file_crc:
            raise CorruptError("the file is damaged (its CRC-32 does not match)")
    return _take_apart(view, prefix)


def crc16(data: bytes | bytearray | memoryview) -> int:
    """CRC-16/CCITT-FALSE: polynomial 1021, start FFFF, no reflection; b'123456789' gives 29B1."""
    return binascii.crc_hqx(data, 0xFFFF)


def _take_apart(view: memoryview, prefix: _Prefix) -> Stream:
    """Cut the payload into alpha and sections, checking each that is whole."""
    info = prefix.info
    start = info.header_bytes
    alpha = _piece(view, start, info.alpha_bytes, prefix.alpha_crc, "alpha section")
    if alpha is None:
        name = "alpha section" if info.alpha_bytes else "header"
        raise CorruptError(_too_short(view, start + info.alpha_bytes, name))
    start += info.alpha_bytes
    sections: list[bytes | None] = []
    for number, (size, crc) in enumerate(zip(info.section_bytes, prefix.section_crcs, strict=True)):
        cut_before = bool(sections) and sections[-1] is None
        sections.append(None if cut_before else _piece(view, start, size, crc, f"section {number}"))
        start += size
        if sections[0] is None:
            raise CorruptError(_too_short(view, start, "first section"))
    metadata = _piece(view, start, info.metadata_bytes, prefix.metadata_crc, "metadata section")
    return Stream(info.header, alpha, tuple(sections), metadata or b"")


def _piece(view: memoryview, start: int, size: int, crc: int, name: str) -> bytes | None:
    """Return view[start : start + size] if it is all there, else None."""
    if start + size > len(view):
        return None
    piece = bytes(view[start : start + size])
    if size and crc16(piece) != crc:
        raise CorruptError(f"the file is damaged ({name}: CRC-16 does not match)")
    return piece


def _too_short(view: memoryview, needed: int, name: str) -> str:
    return f"too little of the file is there: {len(view)} bytes, and its {name} ends at {needed}"


def _read_prefix(data: bytes) -> _Prefix:
    """Read everything before the payload from the first bytes of a file."""
    if data[: len(MAGIC)] != MAGIC:
        what = "it is empty" if not data else "it does not begin with 8A 'LDC'"
        raise FormatError(f"not an LDC file: {what}")
    reader = _Reader(data)
    reader.take(len(MAGIC))
    version, flags = reader.take(1)[0], reader.take(1)[0]
    if version != VERSION:
        raise UnsupportedError(f"the file has format version {version}, this program reads version {VERSION}")
    if flags & ~_KNOWN_FLAGS:
        raise UnsupportedError(f"the file uses features that this program does not know (flags {flags:#04x})")

    model_id = reader.varint()
    (table_hash,) = reader.unpack("<I")
    width, height = reader.varint(), reader.varint()
    (level,) = reader.unpack("<H")
    seed = reader.varint() if flags & _SEED else 0
    lossless = bool(flags & _LOSSLESS)
    alpha_bytes, alpha_crc = reader.size_and_crc() if flags & _ALPHA and not lossless else (0, 0)
    metadata_bytes, metadata_crc = reader.size_and_crc() if flags & _METADATA else (0, 0)
    count = reader.take(1)[0]
    if not 1 <= count <= MAX_SECTIONS:
        raise CorruptError(f"the header is damaged (it promises {count} sections, 1..{MAX_SECTIONS} are possible)")
    sizes_and_crcs = [reader.size_and_crc() for _ in range(count)]
    covered = reader.position
    (header_crc,) = reader.unpack("<H")
    (file_crc,) = reader.unpack("<I")

    # Before the ranges: a flipped bit should be called damage, not a picture that is too large.
    if crc16(data[:covered]) != header_crc:
        raise CorruptError("the header is damaged (its CRC-16 does not match)")
    _check_picture_size(width, height)
    if level > MAX_LEVEL:
        raise CorruptError(f"the header is damaged (level {level} is above {MAX_LEVEL})")
    no_alpha = flags & _ALPHA and alpha_bytes == 0 and not lossless
    if (flags & _SEED and seed == 0) or no_alpha or (flags & _METADATA and metadata_bytes == 0):
        raise CorruptError("the header is damaged (a flag announces a field that is empty)")
    if metadata_bytes > MAX_METADATA:
        raise LimitError(f"the file promises more than the {MAX_METADATA} bytes of metadata that the format allows")
    section_bytes = tuple(size for size, _ in sizes_and_crcs)
    if alpha_bytes + sum(section_bytes) + metadata_bytes > MAX_PAYLOAD:
        raise LimitError(f"the file promises more than the {MAX_PAYLOAD} payload bytes that the format allows")
    header = Header(
        width,
        height,
        model_id,
        table_hash,
        level,
        bool(flags & _GRAY),
        seed,
        lossless,
        bool(lossless and flags & _ALPHA),
        bool(flags & _REDUCED),
    )
    if header.reduced and not lossless:
        raise CorruptError("the header is damaged (its colours are reduced, but it is not that of a lossless picture)")
    if lossless and _wrong_lossless(header, section_bytes):
        raise CorruptError("the header is damaged (it is not that of a lossless picture)")
    return _Prefix(
        info=HeaderInfo(header, reader.position, alpha_bytes, section_bytes, metadata_bytes),
        alpha_crc=alpha_crc,
        section_crcs=tuple(crc for _, crc in sizes_and_crcs),
        metadata_crc=metadata_crc,
        file_crc=file_crc,
    )


def _wrong_lossless(header: Header, section_bytes: tuple[int, ...]) -> bool:
    """Whether a lossless file has a model, another level (unless its colours are reduced), a seed, too few or too many
    sections, or an empty one."""
    fields = header.model_id, header.table_hash, header.level, header.seed
    parts = lossless_parts(header.width, header.height)
    return (
        fields != (0, 0, header.level if header.reduced else MAX_LEVEL, 0)
        or len(section_bytes) != parts
        or 0 in section_bytes
    )


def _check_picture_size(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise LimitError(
            f"a picture of {width}x{height} pixels is outside the limits "
            f"(sides of 1..{MAX_SIDE}, at most {MAX_PIXELS} pixels)"
        )


def _varint(value: int) -> bytes:
    """7 bits per byte, lowest first, the high bit set on all bytes but the last (LEB128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def _size_and_crc(piece: bytes) -> bytes:
    """The header entry of a section: its size and, unless that is 0, its CRC-16."""
    return _varint(len(piece)) + (struct.pack("<H", crc16(piece)) if piece else b"")


class _Reader:
    """Reads header fields one after the other; CorruptError at the end of the bytes."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    @property
    def position(self) -> int:
        return self._file.tell()

    def take(self, count: int) -> bytes:
        taken = self._file.read(count)
        if len(taken) < count:
            raise CorruptError("the file ends inside its header")
        return taken

    def unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def varint(self) -> int:
        """Inverse of `_varint`; longer forms of the same number and more than 32 bits are refused."""
        value = 0
        for index in range(_VARINT_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                if (byte == 0 and index > 0) or value > _U32_MAX:
                    break
                return value
        raise CorruptError("the header is damaged (a number is not written in its shortest form or too large)")

    def size_and_crc(self) -> tuple[int, int]:
        size = self.varint()
        return size, self.unpack("<H")[0] if size else 0
