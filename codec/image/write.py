"""Pictures out: decoded pixels become a Pillow image, and the bytes of a file in any format that Pillow writes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from codec.errors import PictureError

DEFAULT_FORMAT = "PNG"
#: Formats whose writer in Pillow keeps 8 bits of alpha; for all others a picture with alpha is flattened.
_KEEPS_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA")
_KEEPS_GRAY_ALPHA = ("PNG", "TIFF", "JPEG2000", "TGA")
#: The picture was compressed once; a second loss should be small or, where the format can, none.
_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


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
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise PictureError(f"pictures cannot be written as '{path.suffix}'; take .png, .webp, .tif or .jpg")
    return kind


def to_bytes(image: Image.Image, kind: str = DEFAULT_FORMAT) -> SavedPicture:
    """Write an image of mode L, LA, RGB or RGBA in the format `kind` (a result of `format_of`).

    Raises PictureError when the format cannot hold the picture (WebP ends at 16383 pixels, for one).
    """
    notes: tuple[str, ...] = ()
    if "A" in image.getbands():
        if kind not in _KEEPS_ALPHA:
            image = _on_white(image)
            notes = (f"{kind} has no alpha channel here: transparent parts were put on white",)
        elif image.mode == "LA" and kind not in _KEEPS_GRAY_ALPHA:
            image = image.convert("RGBA")
    out = io.BytesIO()
    try:
        image.save(out, kind, **_OPTIONS.get(kind, {}))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's writers raise many types
        detail = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"the picture cannot be written as {kind}: {detail}") from error
    return SavedPicture(out.getvalue(), notes)


def _on_white(image: Image.Image) -> Image.Image:
    mode = image.mode[:-1]  # LA -> L, RGBA -> RGB
    flat = Image.new(mode, image.size, "white")
    flat.paste(image.convert(mode), mask=image.getchannel("A"))
    return flat
