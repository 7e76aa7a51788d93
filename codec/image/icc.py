"""Colours of a picture with an ICC profile, converted to sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms


def to_srgb(image: Image.Image, icc: bytes, notes: list[str]) -> Image.Image:
    """Convert the colours of an L, RGB or CMYK picture from its profile to sRGB.

    A profile that is broken or belongs to another kind of picture is ignored, with a note. One that changes
    no colour by more than one step is sRGB under some name: the pixels stay as they are, without a note.
    """
    space = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}[image.mode]
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if image.mode == "L" and profile.profile.xcolor_space == "RGB ":
            return _gray_through_rgb(image, profile, notes)
        if profile.profile.xcolor_space != space:
            notes.append("the ICC profile does not fit the picture and was ignored")
            return image
        transform = _srgb_transform(profile, image.mode)
        if image.mode != "CMYK" and _changes_nothing(transform, image.mode):
            return image
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("the ICC profile is broken and was ignored")
        return image
    notes.append("colours were converted from the ICC profile to sRGB")
    # A gray profile only bends the tone curve: its sRGB channels agree up to rounding.
    return converted.getchannel("G") if image.mode == "L" else converted


def _gray_through_rgb(image: Image.Image, profile: ImageCms.ImageCmsProfile, notes: list[str]) -> Image.Image:
    """A gray picture with an RGB profile: its tone curve applies to the gray values."""
    transform = _srgb_transform(profile, "RGB")
    if _changes_nothing(transform, "RGB"):
        return image
    converted = ImageCms.applyTransform(image.convert("RGB"), transform)
    notes.append("colours were converted from the ICC profile to sRGB")
    return converted.getchannel("G")


def _srgb_transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a lattice of colours comes out of the transform within one step of where it went in."""
    if mode == "L":
        levels = np.arange(256, dtype=np.uint8)[None]  # 1 256
        lattice = np.repeat(levels[..., None], 3, axis=2)
        source = Image.fromarray(levels)
    else:
        axis = np.linspace(0, 255, 9).round().astype(np.uint8)
        lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(1, -1, 3)
        source = Image.fromarray(lattice)
    result = np.asarray(ImageCms.applyTransform(source, transform))
    return int(np.abs(result.astype(np.int16) - lattice).max()) <= 1
