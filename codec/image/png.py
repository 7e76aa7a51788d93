"""PNG files before Pillow sees them: what is said about colours and transparency, and a file without what it trips
over.

Pillow refuses files for long texts or for a wrong checksum in a text, scales no transparent colour of 1 to 4 bits,
and does not say what cICP holds.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from codec.errors import PictureError
from codec.image.colour import Encoding, of_cicp, of_gamma
from codec.image.limits import check_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Chunks that say something of the pixels. Those in _COLOURS may be damaged: they are left out then, with a note.
_COLOURS = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTATION = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # texts in which Pillow looks for it
_XMP = _ORIENTATION[1]
_MAX_TEXT = 2**20  # Pillow refuses more
_MAX_PROFILE = 2**24


@dataclass(frozen=True)
class PngFile:
    """A PNG file that was looked through.

    data:     the same picture with the pixels' chunks only; without gray or RGB transparency, which `key` tells.
    depth:    bits of a sample.
    frames:   pictures of an animation.
    key:      the transparent colour as stored, or None.
    icc:      the profile, or None.
    encoding: how colours are coded, None for sRGB or where a profile says it.
    """

    data: bytes
    depth: int
    frames: int
    key: tuple[int, ...] | None
    icc: bytes | None
    encoding: Encoding | None
    notes: tuple[str, ...]
    late_xmp: bytes = b""  # a packet that follows the pixels, where Pillow finds it too late


def scan(file: BinaryIO) -> PngFile:
    """Read a PNG file from its signature on. Its size is checked before pixels are read."""
    out = io.BytesIO()
    out.write(file.read(8))
    said: dict[bytes, bytes] = {}
    notes: list[str] = []
    header = b""
    room = 0
    told: set[bytes] = set()
    seen_pixels = False
    while True:
        head = file.read(8)
        if len(head) < 8:
            break  # Pillow says what is missing
        size, name = struct.unpack(">I4s", head)
        if not header:
            if name != b"IHDR" or size != 13:
                raise PictureError("the PNG file does not begin with its header")
            header = file.read(size)
            out.write(head + header + file.read(4))
            if len(header) < 13:
                break
            width, height, depth, colour = struct.unpack_from(">IIBB", header)
            check_size(width, height)
            if colour not in _CHANNELS:
                raise PictureError(f"PNG files of colour type {colour} are not known")
            # Seven interlaced passes have at most as many filter bytes as rows, each.
            room = 2 * (height * (width * _CHANNELS[colour] * depth // 8 + 8)) + 2**20
        elif name == b"IDAT":
            room -= size
            if room < 0:
                raise PictureError("the PNG file has more data than its pixels need")
            seen_pixels = True
            out.write(head)
            out.write(file.read(size + 4))
        elif name == b"IEND":
            out.write(head + file.read(size + 4) if size == 0 else b"")
            break
        elif name == b"PLTE" or (name == b"tRNS" and colour == 3) or (name[:1].isupper() and name != b"IHDR"):
            if size > 2**16:
                raise PictureError(f"the PNG chunk {name.decode('latin-1')!r} is too long")
            out.write(head + file.read(size + 4))
        elif name in (*_COLOURS, b"tRNS", b"acTL", b"eXIf", *_TEXTS) and size <= _MAX_PROFILE:
            body, check = file.read(size), file.read(4)
            sound = check == struct.pack(">I", zlib.crc32(name + body))
            if name == b"tRNS" and not sound:
                raise PictureError("the transparent colour of the PNG file is damaged")
            if name in _COLOURS and not sound:
                notes.append(f"the damaged PNG chunk {name.decode()} was ignored")
            elif name in _TEXTS or name == b"eXIf":
                exif = name == b"eXIf"
                keyword = name if exif else body.partition(b"\0")[0]
                late_xmp = seen_pixels and name == b"iTXt" and keyword == _XMP and len(body) <= _MAX_TEXT
                if not sound or keyword in told or (seen_pixels and not exif and not late_xmp):
                    continue
                if seen_pixels:
                    said[name] = body
                elif exif or _tells_orientation(name, body):
                    out.write(head + body + check)
                    told.add(keyword)
            elif sound:
                said.setdefault(name, body)
        else:
            _skip(file, size + 4)
    if not header:
        raise PictureError("the PNG file ends before its header")
    data = out.getvalue()
    if b"eXIf" in said:  # it may follow the pixels, and Pillow finds it there only after it has loaded them
        data = data[:33] + _chunk(b"eXIf", said[b"eXIf"]) + data[33:]
    icc, encoding = _colours(said, notes)
    frames = struct.unpack_from(">I", said[b"acTL"])[0] if len(said.get(b"acTL", b"")) == 8 else 1
    key, xmp = _key(said.get(b"tRNS"), colour, depth), _text_of(said.get(b"iTXt", b""))
    return PngFile(data, depth, frames, key, icc, encoding, tuple(notes), xmp)


def size(start: bytes) -> tuple[int, int] | None:
    """From the start of a PNG file: width and height, None if they are not there."""
    return struct.unpack_from(">II", start, 16) if start[12:16] == b"IHDR" and len(start) >= 24 else None


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _skip(file: BinaryIO, size: int) -> None:
    while size > 0:
        got = len(file.read(min(size, 2**20)))
        if not got:
            return
        size -= got


def _key(body: bytes | None, colour: int, depth: int) -> tuple[int, ...] | None:
    count = {0: 1, 2: 3}.get(colour)
    if body is None or count is None or len(body) < 2 * count:
        return None
    return tuple(value & ((1 << depth) - 1) for value in struct.unpack_from(f">{count}H", body))


def _tells_orientation(name: bytes, body: bytes) -> bool:
    """Whether a text is one of those that Pillow reads the orientation from, and not too long for it."""
    keyword, _, rest = body.partition(b"\0")
    if keyword not in _ORIENTATION or len(body) > _MAX_TEXT:
        return False
    if name == b"tEXt":
        return True
    if name == b"iTXt":
        if len(rest) < 2 or rest[0] == 0:
            return True
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        rest = rest[1:]
    return _inflated(rest, _MAX_TEXT) is not None


def _text_of(body: bytes) -> bytes:
    """The text of an iTXt chunk, b"" where it is broken or too long."""
    rest = body.partition(b"\0")[2]
    if len(rest) < 2:
        return b""
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return (_inflated(text, _MAX_TEXT) or b"") if rest[0] else text


def _inflated(data: bytes, limit: int) -> bytes | None:
    engine = zlib.decompressobj()
    try:
        text = engine.decompress(data, limit)
    except zlib.error:
        return None
    return text if engine.eof else None


def _colours(said: dict[bytes, bytes], notes: list[str]) -> tuple[bytes | None, Encoding | None]:
    """The profile or the encoding, by the order of the standard: cICP, iCCP, sRGB, then gAMA and cHRM."""
    cicp = said.get(b"cICP", b"")
    if len(cicp) == 4:
        encoding = of_cicp(cicp[0], cicp[1], notes, narrow=cicp[3] == 0)
        if cicp[2]:
            notes.append(f"the matrix {cicp[2]} of the PNG file is not allowed there and was ignored")
        if encoding is not None or cicp[0] != 2 or cicp[1] != 2:
            return None, encoding
    if b"iCCP" in said:
        profile = _inflated(said[b"iCCP"].partition(b"\0")[2][1:], _MAX_PROFILE)
        if profile is not None:
            return profile, None
        notes.append("the ICC profile is broken and was ignored")
    if b"sRGB" in said:
        return None, None
    gamma = struct.unpack(">I", said[b"gAMA"])[0] / 1e5 if len(said.get(b"gAMA", b"")) == 4 else None
    primaries = None
    if len(said.get(b"cHRM", b"")) == 32:
        primaries = tuple(value / 1e5 for value in struct.unpack(">8I", said[b"cHRM"]))
    return None, of_gamma(gamma, primaries, notes)
