"""Pictures to measure: found, read, named and hashed."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from benchmarks.codecs import Image8
from benchmarks.harness.errors import BenchmarkError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".avif")
MIN_SIDE = 16
_PACKAGED = {  # photographs inside installed packages: package -> files
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "skimage": ("data/astronaut.png", "data/coffee.png"),
}


@dataclass(frozen=True)
class SourceImage:
    """A readable picture: where it is, its name in the tables, the hash of its pixels."""

    path: Path
    name: str
    digest: str
    width: int
    height: int


def read_image(path: Path) -> Image8:
    """uint8 HWC RGB pixels, upright. Alpha and more than 8 bits are refused, not silently changed."""
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("RGB", "L", "P", "1", "CMYK", "YCbCr") or "transparency" in picture.info:
                raise BenchmarkError(f"{path}: pictures of mode {picture.mode} (alpha or over 8 bits) are not measured")
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except BenchmarkError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds on damaged files
        raise BenchmarkError(f"{path}: cannot be read as a picture ({type(error).__name__})") from None
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise BenchmarkError(
            f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few to measure (both sides need {MIN_SIDE})"
        )
    return pixels


def source_image(path: Path, name: str) -> SourceImage:
    """Read a picture once to learn its size and hash."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}:".encode() + pixels.tobytes()).hexdigest()[:16]
    return SourceImage(path, name, digest, width, height)


def folder_images(folder: Path) -> list[Path]:
    """Picture files below `folder`, by their suffix, in a fixed order."""
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: there is no such folder of images")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise BenchmarkError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    return paths


def packaged_images() -> list[Path]:
    """Photographs that come with installed packages."""
    paths = []
    for package, files in _PACKAGED.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            paths += [path for file in files if (path := Path(spec.origin).parent / file).is_file()]
    if not paths:
        raise BenchmarkError("no photographs found in installed packages; give a folder with --images")
    return paths
