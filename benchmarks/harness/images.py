"""Pictures to measure: found, read, named and hashed."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.codecs import Image8
from benchmarks.harness.errors import BenchmarkError
from codec.errors import CodecError
from codec.image import read

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".avif")
MIN_SIDE = 16
_CHANGED = re.compile(r"reduced to 8 bits|frames was taken|may have lost detail")  # notes of `codec.image.read`
_RESULTS = ("rd.csv", "run.json")  # a folder with these holds results
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
    """uint8 HWC RGB pixels, upright, in sRGB: those that `codec encode` takes. Alpha, animations and samples of more
    than 8 bits are refused, not silently changed."""
    try:
        picture = read.load(path)
    except CodecError as error:
        raise BenchmarkError(f"{path}: cannot be read as a picture ({error})") from None
    changed = [note for note in picture.notes if _CHANGED.search(note)]
    if picture.alpha is not None:
        changed.append("it has transparent pixels")
    if changed:
        raise BenchmarkError(f"{path}: not measured, because what is coded would be another picture ({changed[0]})")
    if min(picture.height, picture.width) < MIN_SIDE:
        raise BenchmarkError(
            f"{path}: {picture.width}x{picture.height} pixels are too few to measure (both sides need {MIN_SIDE})"
        )
    return picture.rgb


def source_image(path: Path, name: str) -> SourceImage:
    """Read a picture once to learn its size and hash."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}:".encode() + pixels.tobytes()).hexdigest()[:16]
    return SourceImage(path, name, digest, width, height)


def folder_images(folder: Path, out: Path | None = None) -> list[Path]:
    """Picture files below `folder`, by their suffix, in a fixed order.

    Hidden files and folders (as the "._a.png" that macOS leaves) are no pictures, nor is what a benchmark wrote:
    `out`, the folder for the results of this run, and folders of results of earlier ones.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: there is no such folder of images")
    if out is not None and out.resolve() == folder.resolve():
        raise BenchmarkError(f"{out}: results are not written among the pictures; choose another --out")
    paths = [Path(top, name) for top, names in _walk(folder, out) for name in names]
    paths = sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise BenchmarkError(f"{folder}: no images in this folder ({', '.join(SUFFIXES)})")
    return paths


def _walk(folder: Path, out: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Folders with the names of their files, without hidden ones and without results."""
    left_out = None if out is None else out.resolve()
    for top, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [
            name for name in folders
            if not name.startswith(".") and Path(top, name).resolve() != left_out and not _is_results(Path(top, name))
        ]  # fmt: skip
        yield top, [name for name in names if not name.startswith(".")]


def _unreadable(error: OSError) -> None:
    raise BenchmarkError(f"{error.filename}: this folder cannot be read ({error.strerror})") from None


def _is_results(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _RESULTS)


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
