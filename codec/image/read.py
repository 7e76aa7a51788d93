"""Pictures in: whatever can be opened becomes 8-bit sRGB pixels.

`load` is the one place where pixels are converted. What could not be kept as it was is said in `Picture.notes`,
one short phrase each.
"""

from __future__ import annotations

import io
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from codec.bitstream.container import MAGIC, MAX_PIXELS, MAX_SIDE, NAME
from codec.errors import LimitError, PictureError
from codec.image import av1, boxes, colour, formats, limits, metadata, png, samples
from codec.image.colour import Encoding
from codec.image.icc import deep_to_srgb, to_srgb
from codec.image.metadata import NOTHING, Metadata

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Known to Pillow by name only, run through another program, or our own.
_UNREADABLE = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF", NAME)
_ALPHA_MODES = ("LA", "La", "RGBA", "RGBa", "PA")
_GRAY_MODES = ("1", "L", "LA", "La")
#: Formats of which more is known from the file than from Pillow's picture of it.
_LOOKED_INTO = ("AVIF", "JPEG2000", "PNG", "TIFF")
_ITEMS = 16  # pictures in an AVIF file that are asked for their colours
_START = 2**20  # bytes of a file in which its description is looked for


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as the codec takes them.

    rgb:   uint8, H W 3, sRGB; the three channels are equal when `gray` is True.
    alpha: uint8, H W, or None when every pixel is opaque.
    gray:  the source had no colour.
    notes: what was converted or dropped on the way, for people.
    metadata: EXIF and XMP as they were in the source; `codec.image.metadata.section` makes them fit the pixels.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    gray: bool
    notes: tuple[str, ...] = ()
    metadata: Metadata = NOTHING

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
        except LimitError:  # which is a ValueError
            raise
        except ValueError as error:  # a NUL, or what the file system cannot encode
            raise PictureError(f"cannot open {os.fspath(image)!r}: this is no name of a file") from error
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _load_file(io.BytesIO(image))
    if isinstance(image, Image.Image):
        with _pillow_errors():
            return _from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if hasattr(image, "detach") and hasattr(image, "numpy"):  # a torch tensor, told without importing torch
        return _from_array(_tensor_to_hwc(image))
    if hasattr(image, "read"):
        return _load_file(image)
    raise PictureError(f"a picture cannot be made from {type(image).__name__}")


def pixels_of(file: BinaryIO) -> int:
    """Pixels that an open file promises, 0 where it says nothing; `load` tells why. None is decoded. The file stands at
    its start again. Raises LimitError as `load` does."""
    file.seek(0)
    try:
        with _pillow_errors():
            width, height = _promised(file)
            check_size(width, height)
            return width * height
    except PictureError:
        return 0
    finally:
        file.seek(0)


def _promised(file: BinaryIO) -> tuple[int, int]:
    """Width and height of an open file. Those that Pillow decodes to know them, or refuses for a text, say it
    themselves."""
    start = file.read(_START)
    file.seek(0)
    formats.prepare(start, check_size)
    size = png.size(start) if start.startswith(png.SIGNATURE) else boxes.jxl_size(start)
    if size is not None:
        return size
    with Image.open(file) as image:
        return image.size


def has_picture_suffix(path: Path) -> bool:
    """Whether a file is named like a picture that `load` can read."""
    suffix = path.suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    return suffix in formats.SUFFIXES or (kind in Image.OPEN and kind not in _UNREADABLE)


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Turn what Pillow raises into PictureError or LimitError, and keep its warnings off the terminal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PictureError, LimitError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError("not a picture in a format that Pillow reads") from error
    except Image.DecompressionBombError as error:
        raise limits.exceeded() from error
    except Exception as error:  # Pillow's readers raise many types, from OSError to SyntaxError
        # Its messages can span lines; one line is what a caller can print.
        detail = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"the picture cannot be read: {detail}") from error


def _load_file(file: BinaryIO) -> Picture:
    with _pillow_errors():
        if isinstance(file.read(0), str):
            raise PictureError("the file is open as text, not as binary")
        try:
            file.seek(0)
        except (AttributeError, io.UnsupportedOperation):
            file = io.BytesIO(file.read())
        return _from_file(file, [])


def _from_file(file: BinaryIO, notes: list[str], still: bool = False) -> Picture:
    """The picture of an open file. still: of an animation its first frame is meant, and this needs no note."""
    start = file.read(_START)
    file.seek(0)
    known, late_xmp = _Known(), b""
    if start.startswith(MAGIC):
        raise PictureError("this is an .ldc file; decode it first")
    formats.prepare(start, check_size)
    if start.startswith(png.SIGNATURE):
        found = png.scan(file, check_size)
        file = io.BytesIO(found.data)
        known, late_xmp = _Known(found.encoding, found.icc, found.key, found.depth), found.late_xmp
        if found.frames > 1 and not still:
            notes.append(f"the first of {found.frames} frames was taken")
        notes += found.notes
    with Image.open(file) as image:
        if image.format in _UNREADABLE:
            raise PictureError(f"{image.format} files are not pictures of pixels")
        check_size(*image.size)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format == "PSD":  # its frames are layers, and what is open is all of them
            notes.append(f"the merged picture of {frames} layers was taken")
        elif frames > 1 and image.format == "HEIF":  # it stands at the main one, wherever that is
            notes.append(f"the main one of {frames} pictures was taken")
        elif frames > 1:
            if not still:
                notes.append(f"the first of {frames} frames was taken")
            image.seek(0)
        taken = metadata.of_image(image)
        taken = replace(taken, xmp=taken.xmp or late_xmp)
        if image.format == "AVIF":
            codes, bits = boxes.avif(start)
            codes = _said_in_av1(start, file) if codes is None else codes
            if codes is not None and "icc_profile" not in image.info:
                known = _Known(colour.of_cicp(*codes, notes))
            if bits > 8:
                notes.append(f"{bits}-bit samples were reduced to 8 bits")
        elif image.format in ("HEIF", "JXL"):
            known = _Known(formats.encoding_of(image, notes))
        elif image.format == "JPEG2000":
            _mend_jpeg2000(image, boxes.jpeg2000(start))
        try:
            return replace(_from_opened(image, known, notes, lambda: Image.open(file)), metadata=taken)
        except OSError:
            if image.format not in ("JPEG", "MPO"):
                raise
            file.seek(0)
            whole = _with_end(file.read())
            if whole is None:
                raise
    notes.append("the end of the JPEG file is missing: the picture may have lost detail")
    with Image.open(io.BytesIO(whole)) as image:
        return replace(_from_opened(image, known, notes, lambda: Image.open(io.BytesIO(whole))), metadata=taken)


@dataclass(frozen=True)
class _Known:
    """What a file says, beside Pillow's picture of it. depth: bits of a PNG sample, in which `key` is told."""

    encoding: Encoding | None = None
    icc: bytes | None = None
    key: tuple[int, ...] | None = None
    depth: int = 8


def _said_in_av1(start: bytes, file: BinaryIO) -> tuple[int, int] | None:
    """What the streams of an AVIF file say of colours, which counts where its boxes say nothing."""
    before, found = file.tell(), None
    for at in boxes.avif_items(start)[:_ITEMS]:
        file.seek(at)
        found = found or av1.colours(file.read(1024))
    file.seek(before)
    return found


def _with_end(data: bytes) -> bytes | None:
    """A JPEG file that ends without its end marker, mended, or None where pixels are missing as well.

    libjpeg makes up what is missing and does not say so. If what is made up depends on what follows the data,
    it was needed.
    """
    data = data.rstrip(b"\xff")
    noise = bytes(random.Random(1).choices(range(255), k=256))
    pixels = []
    for tail in (b"", noise):
        with Image.open(io.BytesIO(data + tail + b"\xff\xd9"), formats=("JPEG",)) as image:
            pixels.append(np.asarray(image))
    return data + b"\xff\xd9" if np.array_equal(pixels[0], pixels[1]) else None


def _mend_jpeg2000(image: Image.Image, depths: tuple[int, ...]) -> None:
    """Scale what Pillow shifts to 8 or 16 bits, and refuse what it gets wrong (white of more bits becomes black)."""
    if not depths or set(depths) == {8}:
        return
    depth = depths[0]
    wide = image.mode == "I;16" and depth > 8
    if len(set(depths)) > 1 or image.mode in ("P", "PA") or (depth > 8 and not wide):
        raise PictureError(
            f"JPEG 2000 with {max(depths)} bits a sample is not read rightly by Pillow; convert it first"
        )
    image.load()
    bits = 16 if wide else 8
    top, white = ((1 << depth) - 1) << (bits - depth), (1 << bits) - 1
    table = [min(white, (value * white + top // 2) // top) for value in range(1 << bits)]
    pixels = np.array(table, np.uint16 if wide else np.uint8)[np.asarray(image)]
    image.im = Image.fromarray(pixels).im


def _from_pil(image: Image.Image) -> Picture:
    """A picture of Pillow's. One that was opened but not loaded is read from its file, of which more is known."""
    check_size(*image.size)
    file = getattr(image, "fp", None)
    if (
        isinstance(image, ImageFile.ImageFile)
        and image.format in _LOOKED_INTO
        and image.tile
        and image.tell() == 0
        and file is not None
        and not file.closed
    ):
        before = file.tell()
        try:
            file.seek(0)
            with Image.open(file) as fresh:
                untouched = fresh.format == image.format and fresh.size == image.size and fresh.info == image.info
            file.seek(0)
            if untouched:
                return _from_file(file, [], still=True)
        finally:
            file.seek(before)
    notes: list[str] = []
    taken = metadata.of_image(image)
    encoding = formats.encoding_of(image, notes)
    if image.format == "PNG" and not {"icc_profile", "srgb"} & set(image.info):
        encoding = colour.of_gamma(image.info.get("gamma"), image.info.get("chromaticity"), notes)
    return replace(_from_opened(image, _Known(encoding), notes), metadata=taken)


def _from_opened(
    image: Image.Image, known: _Known, notes: list[str], again: Callable[[], ImageFile.ImageFile] | None = None
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
    return _picture(rgb, alpha, gray, notes)


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
    return _picture(rgb, alpha, gray, notes)


def _picture(rgb: np.ndarray, alpha: np.ndarray | None, gray: bool, notes: list[str]) -> Picture:
    opaque = alpha is None or bool((alpha == 255).all())
    return Picture(rgb, None if opaque else alpha, gray, tuple(notes))


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


def check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PictureError("the picture has no pixels")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise LimitError(
            f"the picture is too large: {width}x{height} (sides of at most {MAX_SIDE}, at most {MAX_PIXELS} pixels)"
        )


def _from_array(array: np.ndarray) -> Picture:
    array = np.asarray(array)  # np.matrix has two axes whatever is done to it
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
    # a plain picture is not copied: nothing here writes into it
    rgb = np.repeat(array[..., :1], 3, axis=2) if gray else np.ascontiguousarray(array[..., :3])
    return _picture(rgb, alpha, gray, [])


def _tensor_to_hwc(tensor: Any) -> np.ndarray:
    """C H W tensor, float in [0, 1] or uint8 -> H W C uint8 array."""
    if any(getattr(tensor, name, False) for name in ("is_meta", "is_quantized", "is_nested")):
        raise PictureError("a picture cannot be made from a meta, quantized or nested tensor")
    try:
        values = tensor.detach().cpu()
        values = (values.to_dense() if str(values.layout) != "torch.strided" else values).resolve_neg()
        # numpy has no bfloat16; float32 holds every float16 and bfloat16 exactly
        array: np.ndarray = np.asarray((values.float() if values.is_floating_point() else values).numpy())
    except MemoryError:
        raise
    except Exception as error:  # of torch, or of another library's tensor
        raise PictureError(f"the tensor cannot be read: {' '.join(str(error).split())[:200]}") from error
    if array.ndim != 3 or not 1 <= array.shape[0] <= 4:
        raise PictureError(f"a picture tensor must have shape C H W with C = 1..4, not {tuple(array.shape)}")
    array = array.transpose(1, 2, 0)
    check_size(array.shape[1], array.shape[0])
    if array.dtype.kind == "f":
        # What rounding errors push over the edge is clipped; another value range is a mistake to be told.
        slack = 0.5 / 255
        if not (array.min() >= -slack and array.max() <= 1 + slack):
            raise PictureError("a picture tensor must have values in [0, 1]")
        array = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    return array
