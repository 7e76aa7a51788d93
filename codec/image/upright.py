"""EXIF and XMP that fit a picture which was turned upright, made 8-bit sRGB, and has no thumbnail.

EXIF is changed in place, so that all else in it stays where it is: makers' notes point into it.
"""

from __future__ import annotations

import re
import struct

ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of a value of a type
_SHORT, _LONG = 3, 4
_WIDTH, _HEIGHT, _ORIENTATION = 0x100, 0x101, 0x112
_EXIF, _COLOUR_SPACE, _PIXEL_X, _PIXEL_Y, _INTEROP = 0x8769, 0xA001, 0xA002, 0xA003, 0xA005
#: (offsets, lengths) of what a directory of a thumbnail holds: JPEG, or strips of pixels.
_THUMBNAILS = ((0x201, 0x202), (0x111, 0x117))
_MOST_NAMES = 16
_MOST = 64  # directories, and strips of one

_TIFF_SPACE, _EXIF_SPACE, _XMP_SPACE, _NOTE_SPACE = (
    f"http://ns.adobe.com/{name}/".encode() for name in ("tiff/1.0", "exif/1.0", "xap/1.0", "xmp/note")
)
_USUAL = {_TIFF_SPACE: (b"tiff",), _EXIF_SPACE: (b"exif",), _XMP_SPACE: (b"xmp", b"xap"), _NOTE_SPACE: (b"xmpNote",)}


def exif(data: bytes, width: int, height: int) -> bytes | None:
    """EXIF (from its byte order mark on) that says orientation 1, sRGB and this size where it says them at all, and
    without thumbnails. None for bytes that are no sound EXIF."""
    order = ORDERS.get(data[:4])
    if order is None:
        return None
    try:
        return _Exif(data, order).upright(width, height)
    except struct.error:  # something lies outside
        return None


class _Exif:
    def __init__(self, data: bytes, order: str) -> None:
        self._data, self._order = bytearray(data), order

    def upright(self, width: int, height: int) -> bytes:
        first = self._number(4)
        fields, end = self._directory(first)
        self._drop_thumbnails(first, end)
        self._set_size(fields, _WIDTH, _HEIGHT, width, height)
        self._set(fields, _ORIENTATION, _SHORT, 1)
        for tag, at in fields:
            if tag == _EXIF:
                self._inner(self._number(at + 8), width, height)
        return bytes(self._data)

    def _inner(self, start: int, width: int, height: int) -> None:
        try:
            fields, _ = self._directory(start)
        except struct.error:  # broken, and nothing of it is changed
            return
        self._set_size(fields, _PIXEL_X, _PIXEL_Y, width, height)
        self._set(fields, _COLOUR_SPACE, _SHORT, 1)
        for tag, at in fields:
            if tag == _INTEROP:
                self._srgb_rules(self._number(at + 8))

    def _srgb_rules(self, start: int) -> None:
        """Not those of the other colour space that cameras have, Adobe RGB."""
        try:
            fields, _ = self._directory(start)
        except struct.error:
            return
        for tag, at in fields:
            if tag == 1 and self._data[at + 8 : at + 11] == b"R03":
                self._data[at + 8 : at + 11] = b"R98"

    def _directory(self, start: int) -> tuple[list[tuple[int, int]], int]:
        """Tags and places of the fields, and where the next directory is told. Raises struct.error."""
        if start < 8:
            raise struct.error("in the header")
        (count,) = struct.unpack_from(f"{self._order}H", self._data, start)
        end = start + 2 + 12 * count
        if end > len(self._data):
            raise struct.error("cut off")
        places = range(start + 2, end, 12)
        return [(struct.unpack_from(f"{self._order}H", self._data, at)[0], at) for at in places], end

    def _drop_thumbnails(self, first: int, end: int) -> None:
        """Zeros in place of all directories after the first, and of what they point to. Raises struct.error where
        that would hit what is needed."""
        holes: list[tuple[int, int]] = []
        seen: set[int] = set()
        if end + 4 > len(self._data):  # nothing is told
            return
        following = self._number(end)
        while following and following not in seen and len(seen) < _MOST:
            seen.add(following)
            try:
                fields, after = self._directory(following)
            except struct.error:
                break
            holes += [(following, min(after + 4, len(self._data))), *self._thumbnails(dict(fields))]
            following = self._number(after) if after + 4 <= len(self._data) else 0
        struct.pack_into(f"{self._order}I", self._data, end, 0)
        for start, stop in holes:
            if start < 8 or (start < end + 4 and stop > first):
                raise struct.error("a thumbnail over the main directory")
            self._data[start:stop] = bytes(stop - start)
        for start, stop in sorted(holes, reverse=True):
            if stop == len(self._data):
                del self._data[start:]

    def _thumbnails(self, fields: dict[int, int]) -> list[tuple[int, int]]:
        found = []
        for offsets, lengths in _THUMBNAILS:
            if offsets in fields and lengths in fields:
                pairs = zip(self._values(fields[offsets]), self._values(fields[lengths]), strict=False)
                found += [(a, min(a + n, len(self._data))) for a, n in pairs if a < len(self._data)]
        return found

    def _values(self, at: int) -> list[int]:
        """Whole numbers of a field."""
        kind, count = struct.unpack_from(f"{self._order}HI", self._data, at + 2)
        letter = {_SHORT: "H", _LONG: "I"}.get(kind)
        if letter is None or not 0 < count <= _MOST:
            return []
        place = at + 8 if count * _SIZES[kind] <= 4 else self._number(at + 8)
        if place + count * _SIZES[kind] > len(self._data):
            return []
        return list(struct.unpack_from(f"{self._order}{count}{letter}", self._data, place))

    def _number(self, at: int) -> int:
        value: int = struct.unpack_from(f"{self._order}I", self._data, at)[0]
        return value

    def _set(self, fields: list[tuple[int, int]], wanted: int, kind: int, value: int) -> None:
        """One number in place of the value of a field, where there is such a field."""
        layout = "HIHH" if kind == _SHORT else "HII"
        rest = (value, 0) if kind == _SHORT else (value,)
        for tag, at in fields:
            if tag == wanted:
                struct.pack_into(f"{self._order}{layout}", self._data, at + 2, kind, 1, *rest)

    def _set_size(self, fields: list[tuple[int, int]], x: int, y: int, width: int, height: int) -> None:
        self._set(fields, x, _LONG, width)
        self._set(fields, y, _LONG, height)


def xmp(data: bytes, width: int, height: int) -> bytes | None:
    """An XMP packet that says orientation 1, sRGB and this size where it says them at all, without thumbnails. None for
    bytes that are not UTF-8, and for a packet that has dozens of names for one name space."""
    try:
        if "\0" in data.rstrip(b"\0").decode():
            return None
    except UnicodeDecodeError:
        return None
    data = data.rstrip(b"\0")
    if any(len(_names(data, space, b"")) > _MOST_NAMES for space in _USUAL):
        return None
    for space, name, value in (
        (_TIFF_SPACE, b"Orientation", 1),
        (_TIFF_SPACE, b"ImageWidth", width),
        (_TIFF_SPACE, b"ImageLength", height),
        (_EXIF_SPACE, b"PixelXDimension", width),
        (_EXIF_SPACE, b"PixelYDimension", height),
        (_EXIF_SPACE, b"ColorSpace", 1),
    ):
        data = _set_property(data, space, name, b"%d" % value)
    for name in _names(data, _XMP_SPACE, b"Thumbnails"):
        data = _without(data, name)
    return data


def _without(data: bytes, name: bytes) -> bytes:
    """A packet without the elements of a name, of which none holds another."""
    begin, end = re.compile(rb"<" + name + rb"[\s>]"), re.compile(rb"</" + name + rb"\s*>")
    kept, at = [], 0
    while (first := begin.search(data, at)) and (last := end.search(data, first.end())):
        kept.append(data[at : first.start()])
        at = last.end()
    return b"".join([*kept, data[at:]])


def has_more(data: bytes) -> bool:
    """Whether a packet says that another part of it lies elsewhere in the file."""
    return any(name in data for name in _names(data, _NOTE_SPACE, b"HasExtendedXMP"))


def _names(data: bytes, space: bytes, name: bytes) -> list[bytes]:
    """How a property of a name space may be called in a packet, ready for regular expressions."""
    declared = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(space) + rb"[\"']", data)
    return [re.escape(prefix + b":" + name) for prefix in sorted({*declared, *_USUAL[space]})]


def _set_property(data: bytes, space: bytes, name: bytes, value: bytes) -> bytes:
    """As an element or as an attribute."""
    for called in _names(data, space, name):
        data = re.sub(rb"(<" + called + rb"(?:\s(?:[^<>]*[^<>/])?)?>)[^<]*", rb"\g<1>" + value, data)
        data = re.sub(rb"(\s" + called + rb"\s*=\s*)(?:\"[^\"<]*\"|'[^'<]*')", rb'\g<1>"' + value + b'"', data)
    return data
