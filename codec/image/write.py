"""Pictures out: decoded pixels become a Pillow image, and the bytes of a file in any format that Pillow writes."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageChops, PngImagePlugin

from codec.bitstream.container import NAME
from codec.errors import PictureError
from codec.image.metadata import EXIF_START, NOTHING, Metadata, describing

DEFAULT_FORMAT = "PNG"
#: Formats whose writer in Pillow keeps 8 bits of alpha; for all others a picture with alpha is flattened.
_KEEPS_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA", "ICO", "ICNS", "QOI", "DDS", "SGI")
_KEEPS_GRAY_ALPHA = ("PNG", "TIFF", "JPEG2000", "TGA")
#: The picture was compressed once; a second loss should be small or, where the format can, none.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "MPO": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
#: Formats that are known to hold any picture, or whose loss everybody knows. Files of others are read again.
_TRUSTED = ("PNG", "TIFF", "BMP", "DIB", "PPM", "TGA", "WEBP", "JPEG", "MPO", "AVIF", "JPEG2000")
#: Formats whose writer in Pillow takes EXIF and XMP.
_KEEPS_METADATA = ("PNG", "JPEG", "MPO", "TIFF", "WEBP", "AVIF")
_JPEG_EXIF, _JPEG_XMP = 65533, 65504  # bytes that a JPEG file holds of each
_TIFF_XMP = 700  # a tag
#: Written by Pillow's PPM as what they are not: of other samples.
_NOT_WRITTEN = (".pbm", ".pfm")
_ICNS_SIDES = (32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class SavedPicture:
    """The bytes of a picture file, and what could not be kept."""

    data: bytes
    notes: tuple[str, ...] = ()


def assemble(rgb: np.ndarray, gray: bool, alpha: np.ndarray | None) -> Image.Image:
    """Return a PIL image of mode L, LA, RGB or RGBA from `rgb` (uint8 H W 3) and `alpha` (uint8 H W).

    For a gray picture the rounded mean of the three channels is taken: a decoder's channels may differ in
    the last bit, and the mean is nearest to all of them.
    """
    if gray:
        total = rgb[..., 0].astype(np.uint16) + rgb[..., 1] + rgb[..., 2]
        image = Image.fromarray(((total + 1) // 3).astype(np.uint8))
    else:
        image = Image.fromarray(np.ascontiguousarray(rgb))
    if alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha)))
    return image


def format_of(path: Path) -> str:
    """Return Pillow's name of the format that a file name stands for; PNG without suffix.

    Raises PictureError for a suffix that Pillow does not write.
    """
    if not path.suffix:
        return DEFAULT_FORMAT
    suffix = path.suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE or kind == NAME or suffix in _NOT_WRITTEN:
        raise PictureError(f"pictures cannot be written as '{path.suffix}'; take .png, .webp, .tif or .jpg")
    return kind


def for_file(image: Image.Image, path: Path, metadata: Metadata = NOTHING) -> SavedPicture:
    """``to_bytes`` in the format that a file name stands for. Raises PictureError as it and ``format_of`` do."""
    if path.suffix.lower() == ".pgm" and image.mode not in ("L", "LA"):
        raise PictureError("a .pgm file has no colours; take .ppm")
    return to_bytes(image, format_of(path), metadata)


def to_bytes(image: Image.Image, kind: str = DEFAULT_FORMAT, metadata: Metadata = NOTHING) -> SavedPicture:
    """Write an image of mode L, LA, RGB or RGBA, with EXIF and XMP, in the format `kind` (a result of `format_of`).

    Raises PictureError when the format cannot hold the picture (WebP ends at 16383 pixels, for one).
    """
    notes: list[str] = []
    options = _options(kind, image.size, notes)
    if "A" in image.getbands():
        if kind not in _KEEPS_ALPHA:
            image = _on_white(image)
            notes.append(f"{kind} has no alpha channel here: transparent parts were put on white")
        elif image.mode == "LA" and kind not in _KEEPS_GRAY_ALPHA:
            image = image.convert("RGBA")
    if kind == "QOI" and image.mode == "L":
        image = image.convert("RGB")
    told = _told(kind, metadata, notes)
    try:
        out = _saved(image, kind, {**options, **told})
    except PictureError:
        if not told:
            raise
        out = _saved(image, kind, options)
        notes.append(f"the {metadata.names} data cannot be written as {kind} and was left out")
    if kind not in _TRUSTED:
        notes += _lost(image, kind, out)
    return SavedPicture(out.getvalue(), tuple(notes))


def _saved(image: Image.Image, kind: str, options: dict[str, Any]) -> io.BytesIO:
    out = io.BytesIO()
    try:
        image.save(out, kind, **options)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's writers raise many types
        detail = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"the picture cannot be written as {kind}: {detail}") from error
    return out


def _told(kind: str, metadata: Metadata, notes: list[str]) -> dict[str, Any]:
    """EXIF and XMP as the writer takes them, where it does."""
    exif, xmp = metadata.exif and EXIF_START + metadata.exif, metadata.xmp
    if kind not in _KEEPS_METADATA:
        exif = xmp = b""
    tags = _tags(exif) if kind == "TIFF" else None
    if kind == "TIFF" and tags is None:
        exif = b""
    elif kind in ("JPEG", "MPO"):
        exif, xmp = exif if len(exif) <= _JPEG_EXIF else b"", xmp if len(xmp) <= _JPEG_XMP else b""
    lost = Metadata(b"" if exif else metadata.exif, b"" if xmp else metadata.xmp).names
    if lost:
        notes.append(f"{kind} does not hold this {lost} data here: it was left out")
    if kind == "PNG" and xmp:
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return {"pnginfo": info, **({"exif": exif} if exif else {})}
    if kind == "TIFF" and (exif or xmp):
        tags = Image.Exif() if tags is None else tags
        plain = {"compression": "raw"} if exif else {}  # Pillow's writer of compressed files knows no inner directories
        if xmp:
            tags[_TIFF_XMP] = xmp
        return {"exif": tags, **plain}
    return {name: part for name, part in (("exif", exif), ("xmp", xmp)) if part}


def _tags(exif: bytes) -> Image.Exif | None:
    """EXIF as tags of a TIFF file, None for what Pillow cannot read."""
    found, kept = Image.Exif(), Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.load(exif)
            kept.load(describing(found).tobytes())  # Pillow's writer takes what it has read
            return kept
    except Exception:  # of many types, for forged bytes
        return None


def _options(kind: str, size: tuple[int, int], notes: list[str]) -> dict[str, Any]:
    """What the writer is told. PictureError for icons that would get another size."""
    if kind == "ICO":
        if max(size) > 256:
            raise PictureError(f"ICO holds pictures of at most 256x256 pixels, this one has {size[0]}x{size[1]}")
        return {"sizes": [size]}
    if kind == "ICNS":
        if size[0] != size[1] or size[0] not in _ICNS_SIDES:
            sides = ", ".join(map(str, _ICNS_SIDES))
            raise PictureError(f"ICNS holds squares with sides of {sides}, this picture has {size[0]}x{size[1]}")
        notes.append("ICNS holds the picture in other sizes as well")
    return _OPTIONS.get(kind, {})


def _lost(image: Image.Image, kind: str, file: BinaryIO) -> list[str]:
    """What a file that was written does not hold of the picture. PictureError where that is its size."""
    try:
        file.seek(0)
        with Image.open(file) as again:
            if kind == "ICNS":
                side, scale = _stored(again, image.width)
                again.size = side, side  # type: ignore[misc]
                again.load(scale)  # type: ignore[call-arg]
            size, result = again.size, again.convert(image.mode)
    except MemoryError:
        raise
    except Exception:  # there is no reader, or it needs another program
        return [f"{kind} files cannot be read again here: what they lose is not known"]
    if size != image.size:
        raise PictureError(f"{kind} would make {size[0]}x{size[1]} pixels of {image.size[0]}x{image.size[1]}")
    worst = max(high for _, high in _extrema(ImageChops.difference(image, result)))
    return [f"{kind} cannot hold all of these colours: they are off by up to {worst}"] if worst else []


def _stored(icons: Image.Image, pixels: int) -> tuple[int, int]:
    """Side and scale under which the icon of so many pixels a side is kept."""
    sizes: list[tuple[int, int, int]] = icons.info["sizes"]
    return next((side, scale) for side, _, scale in sizes if side * scale == pixels)


def _extrema(image: Image.Image) -> list[tuple[int, int]]:
    return [band.getextrema() for band in image.split()]  # type: ignore[misc]


def _on_white(image: Image.Image) -> Image.Image:
    mode = image.mode[:-1]  # LA -> L, RGBA -> RGB
    flat = Image.new(mode, image.size, "white")
    flat.paste(image.convert(mode), mask=image.getchannel("A"))
    return flat
