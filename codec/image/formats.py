"""Formats that Pillow reads with the help of another package: HEIC and JPEG XL. The extra ``formats`` installs both.

`prepare` is the one place where these packages are imported, when the first such file is met; they then stay registered
with Pillow.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from codec.bitstream import container
from codec.errors import PictureError
from codec.image import boxes, colour
from codec.image.colour import Encoding
from codec.image.limits import check_size


@dataclass(frozen=True)
class Format:
    """A format, the package that reads it, and how its files are told. register: a function of the module to be
    called."""

    name: str
    package: str
    module: str
    register: str | None
    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]


FORMATS = (
    Format("HEIC", "pillow-heif", "pillow_heif", "register_heif_opener", (".heic", ".heif", ".hif"), boxes.is_heic),
    Format("JPEG XL", "pillow-jxl-plugin", "pillow_jxl", None, (".jxl",), boxes.is_jxl),
)
SUFFIXES = tuple(suffix for kind in FORMATS for suffix in kind.suffixes)


def all_suffixes() -> set[str]:
    """Of all pictures that Pillow knows, with and without those packages, but for our own files: in small letters,
    with the dot."""
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind != container.NAME}
    return {*known, *SUFFIXES}


def prepare(start: bytes) -> None:
    """Make Pillow able to open a file that begins so, if it is in one of these formats.

    The size is checked here where the package would decode before it tells it. Raises PictureError that names the
    package which is missing.
    """
    for kind in FORMATS:
        if not kind.begins(start):
            continue
        try:
            module = importlib.import_module(kind.module)
        except ImportError as error:
            raise PictureError(
                f"{kind.name} files are read with the package {kind.package}, which is not installed "
                f"(pip install {kind.package})"
            ) from error
        if kind.register is not None:
            getattr(module, kind.register)()
        if kind.name == "JPEG XL":
            size = boxes.jxl_size(start)
            if size is None:
                raise PictureError("the JPEG XL file does not say its size at its beginning")
            check_size(*size)


def encoding_of(image: Image.Image, notes: list[str]) -> Encoding | None:
    """What is known of the colours of an opened HEIC picture; of one of JPEG XL the wrong orientation is forgotten."""
    if image.format == "HEIF":
        if image.info.get("bit_depth", 8) > 8:
            notes.append(f"{image.info['bit_depth']}-bit samples were reduced to 8 bits")
        codes = image.info.get("nclx_profile")
        if codes and "icc_profile" not in image.info:
            return colour.of_cicp(int(codes["color_primaries"]), int(codes["transfer_characteristics"]), notes)
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        image.info.pop("exif", None)  # the picture was turned by the decoder, and what EXIF says of it has no meaning
    return None
