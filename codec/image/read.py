"""Pictures in: whatever can be opened becomes 8-bit sRGB pixels.

What could not be kept as it was is said in `Picture.notes`, one short phrase each.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from codec.bitstream.container import MAGIC, NAME
from codec.errors import LimitError, PictureError
from codec.image import arrays, av1, boxes, colour, formats, limits, mend, metadata, png
from codec.image.limits import check_size
from codec.image.picture import Picture
from codec.image.pixels import Description, from_opened

#: Known to Pillow by name only, run through another program, or our own.
_UNREADABLE = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF", NAME)
#: Formats of which more is known from the file than from Pillow's picture of it.
_LOOKED_INTO = ("AVIF", "JPEG2000", "PNG", "TIFF")
_ITEMS = 16  # pictures in an AVIF file that are asked for their colours
_START = 2**20  # bytes of a file in which its description is looked for


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
        return arrays.from_array(image)
    if hasattr(image, "detach") and hasattr(image, "numpy"):  # a torch tensor, told without importing torch
        return arrays.from_tensor(image)
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
    formats.prepare(start)
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
    known, late_xmp = Description(), b""
    if start.startswith(MAGIC):
        raise PictureError("this is an .ldc file; decode it first")
    formats.prepare(start)
    if start.startswith(png.SIGNATURE):
        found = png.scan(file)
        file = io.BytesIO(found.data)
        known, late_xmp = Description(found.encoding, found.icc, found.key, found.depth), found.late_xmp
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
                known = Description(colour.of_cicp(*codes, notes))
            if bits > 8:
                notes.append(f"{bits}-bit samples were reduced to 8 bits")
        elif image.format in ("HEIF", "JXL"):
            known = Description(formats.encoding_of(image, notes))
        elif image.format == "JPEG2000":
            mend.scale_jpeg2000(image, boxes.jpeg2000(start))
        try:
            return replace(from_opened(image, known, notes, lambda: Image.open(file)), metadata=taken)
        except OSError:
            if image.format not in ("JPEG", "MPO"):
                raise
            file.seek(0)
            whole = mend.with_end(file.read())
            if whole is None:
                raise
    notes.append("the end of the JPEG file is missing: the picture may have lost detail")
    with Image.open(io.BytesIO(whole)) as image:
        return replace(from_opened(image, known, notes, lambda: Image.open(io.BytesIO(whole))), metadata=taken)


def _said_in_av1(start: bytes, file: BinaryIO) -> tuple[int, int] | None:
    """What the streams of an AVIF file say of colours, which counts where its boxes say nothing."""
    before, found = file.tell(), None
    for at in boxes.avif_items(start)[:_ITEMS]:
        file.seek(at)
        found = found or av1.colours(file.read(1024))
    file.seek(before)
    return found


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
    return replace(from_opened(image, Description(encoding), notes), metadata=taken)
