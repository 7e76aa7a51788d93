"""EXIF and XMP: taken from pictures, kept in a section of a file, and given back. FORMAT.md describes the section."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageFile

from codec.bitstream.container import MAX_METADATA
from codec.errors import CorruptError, LimitError
from codec.image import upright

#: Bytes of EXIF and XMP together, before they are deflated.
MAX_INFLATED = 2**20
EXIF_START = b"Exif\0\0"  # in JPEG and in Pillow's records, not in the section
_EXIF, _XMP = 1, 2
_HEAD = struct.Struct("<BI")  # of a part: its kind and size
#: Tags of a TIFF file that tell of the picture, not of how its pixels lie in the file.
_DESCRIBING = (
    *(0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298),  # what it shows, who made it
    *(0x4746, 0x4749, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # ratings, and words of Windows
)


@dataclass(frozen=True)
class Metadata:
    """exif: from its byte order mark on. xmp: a packet in UTF-8. Both are empty where there is none."""

    exif: bytes = b""
    xmp: bytes = b""

    @property
    def names(self) -> str:
        """What is there, for people."""
        return " and ".join(name for name, part in (("EXIF", self.exif), ("XMP", self.xmp)) if part)

    def apply(self, image: Image.Image) -> Image.Image:
        """Tell a picture of Pillow's, in its `info`."""
        if self.exif:
            image.info["exif"] = EXIF_START + self.exif
        if self.xmp:
            image.info["xmp"] = self.xmp
        return image


NOTHING = Metadata()


def of_image(image: Image.Image) -> Metadata:
    """What Pillow found in a file, as it is there; of a TIFF file the tags that do not tell how pixels lie in it."""
    found = image.info.get("xmp", b"")
    if isinstance(found, str):
        found = found.encode()
    return Metadata(_exif_of(image), bytes(found) if isinstance(found, (bytes, bytearray)) else b"")


def _exif_of(image: Image.Image) -> bytes:
    exif, profile = image.info.get("exif"), image.info.get("Raw profile type exif")
    try:
        if exif is None and isinstance(profile, str):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
        elif exif is None and image.format == "TIFF":
            kept = describing(image.getexif())
            exif = kept.tobytes() if len(kept) else b""
        elif exif is None and not isinstance(image, ImageFile.ImageFile) and image.getexif():
            exif = image.getexif().tobytes()
    except MemoryError:
        raise
    except Exception:  # Pillow's readers raise many types: it is kept as broken, and said to be so if it is wanted
        return b"?"
    return re.sub(b"^(Exif\0\0)+", b"", exif) if isinstance(exif, bytes) else b""


def describing(exif: Image.Exif) -> Image.Exif:
    """The part of EXIF, read from a TIFF file or to be written to one, that says nothing of how pixels lie in it. Empty
    where there is nothing of the kind."""
    kept = Image.Exif()
    for tag in _DESCRIBING:
        if tag in exif:
            kept[tag] = exif[tag]
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        values = {k: v for k, v in exif.get_ifd(ifd).items() if k != ExifTags.IFD.Interop}
        if values:
            kept[ifd] = values
    return kept


@dataclass(frozen=True)
class Section:
    """The bytes of a metadata section, empty where there is nothing to keep, and what could not be kept."""

    data: bytes = b""
    notes: tuple[str, ...] = ()


def section(found: Metadata, width: int, height: int) -> Section:
    """What is kept of the metadata of a picture that was turned upright and has this size now.

    Orientation, sizes and colour space say what the picture is now, thumbnails are gone. What is broken is left out,
    with a note. Raises LimitError for more than fits a section.
    """
    if max(len(found.exif), len(found.xmp)) > MAX_INFLATED:
        raise LimitError(
            f"{found.names} have {len(found.exif) + len(found.xmp)} bytes, more than the {MAX_INFLATED} that a file "
            "holds; drop the metadata to encode the picture"
        )
    notes = []
    exif = upright.exif(found.exif, width, height) if found.exif else b""
    xmp = upright.xmp(found.xmp, width, height) if found.xmp else b""
    notes += ["the EXIF data is broken and was dropped"] if exif is None else []
    notes += ["the XMP data is broken or not in UTF-8, and was dropped"] if xmp is None else []
    if xmp and upright.has_more(xmp):
        notes.append("the extended part of the XMP data was dropped")
    data = pack(Metadata(exif or b"", xmp or b""))
    return Section(data, tuple(notes))


def pack(metadata: Metadata) -> bytes:
    """The bytes of a section, b"" for no metadata. Raises LimitError for more than fits."""
    parts = ((_EXIF, metadata.exif), (_XMP, metadata.xmp))
    plain = b"".join(_HEAD.pack(kind, len(part)) + part for kind, part in parts if part)
    data = zlib.compress(plain, 9) if plain else b""
    if len(plain) > MAX_INFLATED or len(data) > MAX_METADATA:
        raise LimitError(
            f"{metadata.names} have {len(data)} bytes when compressed ({len(plain)} before), more than the "
            f"{MAX_METADATA} ({MAX_INFLATED}) that a file holds; drop the metadata to encode the picture"
        )
    return data


def unpack(data: bytes) -> Metadata:
    """Inverse of `pack`. Raises CorruptError for bytes that no writer makes; never takes more than MAX_INFLATED."""
    if not data:
        return NOTHING
    engine = zlib.decompressobj()
    try:
        plain = engine.decompress(data, MAX_INFLATED + 1)
    except zlib.error as error:
        raise CorruptError("the metadata section cannot be decoded") from error
    if len(plain) > MAX_INFLATED or not engine.eof or engine.unused_data:
        raise CorruptError("the metadata section cannot be decoded")
    parts: dict[int, bytes] = {}
    at = 0
    while at < len(plain):
        if len(plain) - at < _HEAD.size:
            raise _not_ours()
        kind, size = _HEAD.unpack_from(plain, at)
        at += _HEAD.size
        if kind not in (_EXIF, _XMP) or max(parts, default=0) >= kind or not 0 < size <= len(plain) - at:
            raise _not_ours()
        parts[kind] = plain[at : at + size]
        at += size
    found = Metadata(parts.get(_EXIF, b""), parts.get(_XMP, b""))
    if not parts or (found.exif and not found.exif.startswith(tuple(upright.ORDERS))) or not _is_text(found.xmp):
        raise _not_ours()
    return found


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _not_ours() -> CorruptError:
    return CorruptError("the metadata section does not hold EXIF and XMP")
