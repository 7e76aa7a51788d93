"""Pillow's picture of a file -> 8-bit sRGB pixels: the one place where pixels are converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile

from codec.image import colour, samples
from codec.image.colour import Encoding
from codec.image.icc import deep_to_srgb, to_srgb
from codec.image.picture import Picture, picture_of

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
_GRAY_MODES = ("1", "L", "LA", "La")


@dataclass(frozen=True)
class Description:
    """What a file says, beside Pillow's picture of it. depth: bits of a PNG sample, in which `key` is told."""

    encoding: Encoding | None = None
    icc: bytes | None = None
    key: tuple[int, ...] | None = None
    depth: int = 8


def from_opened(
    image: Image.Image, known: Description, notes: list[str], again: Callable[[], ImageFile.ImageFile] | None = None
) -> Picture:
    """Orient, split off alpha, convert colours and reduce to 8 bits, in that order."""
    if _is_sixteen_bit(image):  # asked first: what is known of the stored samples is gone after load()
        notes.append("16-bit samples were reduced to 8 bits")
    # Asked before load(), in which Pillow turns TIFF files itself. A PNG file is loaded by the question.
    turned = image.format == "TIFF" and _orientation(image) in _TRANSPOSE
    deep = None
    if isinstance(image, ImageFile.ImageFile) and image.tile and again is not None:
        deep = samples.deep(image, again)
    image.load()
    method = _TRANSPOSE.get(_orientation(image))
    if turned or method is not None:
        notes.append("the EXIF orientation was applied")
    profile = known.icc or image.info.get("icc_profile")
    key = known.key
    if deep is None and (image.mode in ("I", "F") or image.mode.startswith("I;16")):
        depth = "floating-point" if image.mode == "F" else f"{samples.depth_of(image)}-bit"
        notes.append(f"{depth} samples were reduced to 8 bits")
        deep = samples.gray(image)
        stored = image.info.get("transparency")
        if key is None and isinstance(stored, int):
            key = (stored,)
    if deep is not None:
        return _from_deep(deep, method, key, profile, known.encoding, notes, image.mode == "CMYK")
    if key is not None:
        image = image.convert("L") if image.mode == "1" else image.copy()  # its info is about to change
        scaled = tuple(value * 255 // ((1 << known.depth) - 1) for value in key)
        image.info["transparency"] = scaled if len(scaled) == 3 else scaled[0]
    if method is not None:
        image = _transposed(image, method)
    image, alpha = _split_alpha(image, notes)
    gray = image.mode == "L"
    if profile:
        image = to_srgb(image, profile, notes)
    elif known.encoding is not None and image.mode != "CMYK":
        notes.append(known.encoding.note())
        pixels = samples.pixels_of(image)
        converted = colour.to_srgb(pixels[..., None] if gray else pixels, known.encoding)
        image = Image.fromarray(converted[..., 0] if gray else converted)
    if image.mode == "CMYK":
        notes.append("CMYK was converted to RGB")
    if gray:
        rgb = np.repeat(samples.pixels_of(image)[..., None], 3, axis=2)
    else:
        rgb = samples.pixels_of(image if image.mode == "RGB" else image.convert("RGB"))
    return picture_of(rgb, alpha, gray, notes)


def _from_deep(
    deep: np.ndarray,
    method: Image.Transpose | None,
    key: tuple[int, ...] | None,
    profile: bytes | None,
    encoding: Encoding | None,
    notes: list[str],
    inks: bool,
) -> Picture:
    """The picture of uint16 samples, whose colours are converted before they are reduced to 8 bits. inks: they are
    CMYK."""
    gray = deep.shape[2] < 3
    colours = deep if inks else deep[..., : 1 if gray else 3]
    alpha = samples.to_eight(deep[..., -1]) if deep.shape[2] in (2, 4) and not inks else None
    if alpha is None and key is not None:
        alpha = np.where((colours == np.array(key)).all(axis=2), 0, 255).astype(np.uint8)
    eight = None
    if profile:
        eight = deep_to_srgb(colours, profile, notes)
    elif encoding is not None and not inks:
        notes.append(encoding.note())
        eight = colour.to_srgb(colours, encoding)
    if eight is None:
        eight = samples.to_eight(colours)
    if eight.shape[2] == 4:  # inks without a profile that fits
        notes.append("CMYK was converted to RGB")
        size = eight.shape[1], eight.shape[0]
        eight = samples.pixels_of(Image.frombytes("CMYK", size, eight.tobytes()).convert("RGB"))
    rgb = np.repeat(eight, 3, axis=2) if gray else eight
    if method is not None:
        rgb = np.array(Image.fromarray(rgb).transpose(method))
        alpha = None if alpha is None else np.array(Image.fromarray(alpha).transpose(method))
    return picture_of(rgb, alpha, gray, notes)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken EXIF data must not cost the picture
        return 1


def _transposed(image: Image.Image, method: Image.Transpose) -> Image.Image:
    info = image.info  # transpose() keeps it, but a subclass need not
    image = image.transpose(method)
    image.info = info
    return image


def _is_sixteen_bit(image: Image.Image) -> bool:
    """Whether the file holds colour samples of 16 bits, which Pillow reduces."""
    tiles = getattr(image, "tile", ())
    if image.mode not in ("RGB", "RGBA", "LA", "L", "CMYK"):
        return False
    if image.format == "PPM" and tiles:
        return image.mode == "RGB" and isinstance(tiles[0][3], tuple) and int(tiles[0][3][1]) > 255
    if image.format == "BMP":  # whose 16 bits are those of a pixel
        return False
    return samples.sixteen_bit_tiff(image) or any(";16" in str(tile[-1]) for tile in tiles)


def _split_alpha(image: Image.Image, notes: list[str]) -> tuple[Image.Image, np.ndarray | None]:
    """Return the picture as mode L, RGB or CMYK, and its alpha channel (uint8 H W) if it has one."""
    key = image.info.get("transparency")
    if key is not None and image.mode == "RGB" and max(key) > 255:
        image = image.copy()  # its info is about to change, and the caller may own it
        image.info["transparency"] = tuple(value >> 8 for value in key)  # 16-bit key, 8-bit pixels
    if image.mode == "P" or image.mode == "PA":
        return _from_palette(image, key is not None or image.mode == "PA")
    if key is not None and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in _ALPHA_MODES:
        image = image.convert("LA" if image.mode in _GRAY_MODES else "RGBA")
        alpha = samples.pixels_of(image.getchannel("A"))
        return image.convert("L" if image.mode == "LA" else "RGB"), alpha
    if image.mode in _GRAY_MODES:
        return image.convert("L"), None
    if image.mode in ("RGB", "CMYK"):
        return image, None
    notes.append(f"mode {image.mode} was converted to RGB")
    return image.convert("RGB"), None


def _from_palette(image: Image.Image, has_alpha: bool) -> tuple[Image.Image, np.ndarray | None]:
    """A palette picture; one whose colours in use are all gray becomes mode L."""
    image = image.convert("RGBA" if has_alpha else "RGB")
    alpha = samples.pixels_of(image.getchannel("A")) if has_alpha else None
    neutral = all((part[..., :1] == part[..., 1:3]).all() for _, part in samples.strips_of(image))
    return image.getchannel("R") if neutral else image.convert("RGB"), alpha
