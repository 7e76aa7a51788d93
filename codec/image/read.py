"""Pictures in: whatever can be opened becomes 8-bit sRGB pixels.

`load` is the one place where pixels are converted. What could not be kept as it was is said in `Picture.notes`,
one short phrase each.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from codec.bitstream.container import MAX_PIXELS, MAX_SIDE
from codec.errors import LimitError, PictureError
from codec.image.icc import to_srgb

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Known to Pillow by name only, or run through another program.
_UNREADABLE = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
_ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
_GRAY_MODES = ("1", "L", "LA", "La")


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as the codec takes them.

    rgb:   uint8, H W 3, sRGB; the three channels are equal when `gray` is True.
    alpha: uint8, H W, or None when every pixel is opaque.
    gray:  the source had no colour.
    notes: what was converted or dropped on the way, for people.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    gray: bool
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        return self.rgb.shape[0]


def load(image: Any) -> Picture:
    """Turn any of these into a Picture:

    - a path (str or os.PathLike), the bytes of a picture file, or an open binary file;
    - a PIL image (of an animation, the frame it stands at);
    - a numpy array, uint8, H W (gray) or H W C with C = 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA;
    - a torch tensor, C H W with C as above, float in [0, 1] or uint8;
    - a Picture, which is returned as it is.

    Sides 1..65535 and at most MAX_PIXELS pixels, else LimitError, which for files comes before any pixel
    is decoded. PictureError for what cannot be read or has another form.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, (str, os.PathLike)):
        try:
            with open(image, "rb") as file:
                return _load_file(file)
        except OSError as error:
            raise PictureError(f"cannot open {os.fspath(image)!r}: {error.strerror or error}") from error
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _load_file(io.BytesIO(image))
    if isinstance(image, Image.Image):
        with _pillow_errors():
            return _from_pil(image, [])
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if hasattr(image, "detach") and hasattr(image, "numpy"):  # a torch tensor, told without importing torch
        return _from_array(_tensor_to_hwc(image))
    if hasattr(image, "read"):
        return _load_file(image)
    raise PictureError(f"a picture cannot be made from {type(image).__name__}")


def has_picture_suffix(path: Path) -> bool:
    """Whether a file is named like a picture that `load` can read."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    return kind in Image.OPEN and kind not in _UNREADABLE


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Turn what Pillow raises into PictureError or LimitError, and keep its warnings off the terminal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PictureError, LimitError, MemoryError):
        raise
    except Image.UnidentifiedImageError as error:
        raise PictureError("not a picture in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise LimitError(f"the picture has more than {MAX_PIXELS} pixels") from error
    except Exception as error:  # Pillow's readers raise many types, from OSError to SyntaxError
        # Its messages can span lines; one line is what a caller can print.
        detail = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"the picture cannot be read: {detail}") from error


def _load_file(file: BinaryIO) -> Picture:
    with _pillow_errors(), Image.open(file) as image:
        if image.format in _UNREADABLE:
            raise PictureError(f"{image.format} files are not pictures of pixels")
        notes: list[str] = []
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"the first of {frames} frames was taken")
            image.seek(0)
        return _from_pil(image, notes)


def _from_pil(image: Image.Image, notes: list[str]) -> Picture:
    """Orient, split off alpha, reduce to 8 bits and convert colours, in that order."""
    check_size(*image.size)
    if _is_sixteen_bit_rgb(image):  # asked first: what is known of the stored samples is gone after load()
        notes.append("16-bit samples were reduced to 8 bits")
    if _orientation(image) in _TRANSPOSE:  # asked before load(), in which Pillow turns TIFF files itself
        notes.append("the EXIF orientation was applied")
    image.load()
    method = _TRANSPOSE.get(_orientation(image))
    if method is not None:
        image = _transposed(image, method)
    profile = image.info.get("icc_profile")
    image, alpha = _split_alpha(image, notes)
    gray = image.mode == "L"
    if profile:
        image = to_srgb(image, profile, notes)
    if image.mode == "CMYK":
        notes.append("CMYK was converted to RGB")
    rgb = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return _picture(rgb, alpha, gray, notes)


def _picture(rgb: np.ndarray, alpha: np.ndarray | None, gray: bool, notes: list[str]) -> Picture:
    opaque = alpha is None or bool((alpha == 255).all())
    return Picture(rgb, None if opaque else alpha, gray, tuple(notes))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF data must not cost the picture
        return 1


def _transposed(image: Image.Image, method: Image.Transpose) -> Image.Image:
    info = image.info  # transpose() keeps it, but a subclass need not
    image = image.transpose(method)
    image.info = info
    return image


def _is_sixteen_bit_rgb(image: Image.Image) -> bool:
    """Whether the file holds RGB samples of 16 bits, of which Pillow keeps the high byte."""
    tiles = getattr(image, "tile", ())
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[-1]) for tile in tiles)


def _split_alpha(image: Image.Image, notes: list[str]) -> tuple[Image.Image, np.ndarray | None]:
    """Return the picture as mode L, RGB or CMYK, and its alpha channel (uint8 H W) if it has one."""
    key = image.info.get("transparency")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        samples = np.asarray(image)
        alpha = np.where(samples == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None
        notes.append("floating-point samples were reduced to 8 bits" if image.mode == "F" else
                     "16-bit samples were reduced to 8 bits")
        return Image.fromarray(_eight_bits(samples)), alpha
    if key is not None and image.mode == "RGB" and max(key) > 255:
        image = image.copy()  # its info is about to change, and the caller may own it
        image.info["transparency"] = tuple(value >> 8 for value in key)  # 16-bit key, 8-bit pixels
    if image.mode == "P" or image.mode == "PA":
        return _from_palette(image, key is not None or image.mode == "PA")
    if key is not None and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in _ALPHA_MODES:
        image = image.convert("LA" if image.mode in _GRAY_MODES else "RGBA")
        alpha = np.array(image.getchannel("A"))
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
    alpha = np.array(image.getchannel("A")) if has_alpha else None
    pixels = np.asarray(image)
    neutral = (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
    return image.getchannel("R") if neutral else image.convert("RGB"), alpha


def _eight_bits(samples: np.ndarray) -> np.ndarray:
    """Scale 16-bit integers (or floats in [0, 1]) of shape H W to uint8, rounding to the nearest."""
    low, high = samples.min(), samples.max()
    if samples.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise PictureError("floating-point samples must lie in [0, 1]")
        return np.rint(samples * 255).astype(np.uint8)
    if low < 0 or high > 65535:
        raise PictureError("integer samples of more than 16 bits are not supported")
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PictureError("the picture has no pixels")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise LimitError(
            f"the picture is too large: {width}x{height} "
            f"(sides of at most {MAX_SIDE}, at most {MAX_PIXELS} pixels)"
        )


def _from_array(array: np.ndarray) -> Picture:
    if array.dtype != np.uint8:
        raise PictureError(f"a picture array must be uint8, not {array.dtype}")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4:
        raise PictureError(f"a picture array must have shape H W or H W C with C = 1..4, not {array.shape}")
    height, width, channels = array.shape
    check_size(width, height)
    gray = channels < 3
    alpha = np.array(array[..., -1]) if channels in (2, 4) else None
    rgb = np.repeat(array[..., :1], 3, axis=2) if gray else np.array(array[..., :3])
    return _picture(rgb, alpha, gray, [])


def _tensor_to_hwc(tensor: Any) -> np.ndarray:
    """C H W tensor, float in [0, 1] or uint8 -> H W C uint8 array."""
    array = tensor.detach().cpu()
    # numpy has no bfloat16; float32 holds every float16 and bfloat16 exactly
    array = (array.float() if array.is_floating_point() else array).numpy()
    if array.ndim != 3 or not 1 <= array.shape[0] <= 4:
        raise PictureError(f"a picture tensor must have shape C H W with C = 1..4, not {tuple(array.shape)}")
    array = array.transpose(1, 2, 0)
    if array.dtype.kind == "f" and array.size:
        # What rounding errors push over the edge is clipped; another value range is a mistake to be told.
        slack = 0.5 / 255
        if not (array.min() >= -slack and array.max() <= 1 + slack):
            raise PictureError("a picture tensor must have values in [0, 1]")
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return array
