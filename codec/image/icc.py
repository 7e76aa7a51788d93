"""Colours of a picture with an ICC profile, converted to sRGB."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

from codec.image.colour import srgb_bytes, strips

_LOOKED_AT = (b"kTRC", b"rTRC", b"gTRC", b"bTRC", b"rXYZ", b"gXYZ", b"bXYZ", b"A2B0", b"A2B1")
_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}
#: Columns: red, green and blue of sRGB under D50, as profiles have them.
_SRGB_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def to_srgb(image: Image.Image, icc: bytes, notes: list[str]) -> Image.Image:
    """Convert the colours of an L, RGB or CMYK picture from its profile to sRGB.

    A profile that is broken or belongs to another kind of picture is ignored, with a note. One that changes
    no colour by more than one step is sRGB under some name: the pixels stay as they are, without a note.
    """
    convert = _converter(image.mode, icc, notes)
    return image if convert is None else convert(image)


def _converter(mode: str, icc: bytes, notes: list[str]) -> Callable[[Image.Image], Image.Image] | None:
    """What converts pictures of 8 bits, and a note; None where they stay as they are."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        through_rgb = mode == "L" and profile.profile.xcolor_space == "RGB "  # its tone curve is for the gray values
        source = "RGB" if through_rgb else mode
        if profile.profile.xcolor_space != _SPACES[source]:
            notes.append("the ICC profile does not fit the picture and was ignored")
            return None
        transform = _srgb_transform(profile, source)
        if source != "CMYK" and _changes_nothing(transform, source):
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("the ICC profile is broken and was ignored")
        return None
    notes.append("colours were converted from the ICC profile to sRGB")

    def convert(image: Image.Image) -> Image.Image:
        converted = _applied(image.convert("RGB") if through_rgb else image, transform)
        # A gray profile only bends the tone curve: its sRGB channels agree up to rounding.
        return converted.getchannel("G") if mode == "L" else converted

    return convert


def deep_to_srgb(samples: np.ndarray, icc: bytes, notes: list[str]) -> np.ndarray | None:
    """Convert uint16 samples H W C, C = 1 (gray), 3 or 4 (CMYK), to 8-bit sRGB H W C, of CMYK H W 3.

    A profile of curves and a matrix is worked out in floats. Of any other one what Pillow's engine makes of the
    nearest colours in 8 bits is interpolated. None where the samples stay as they are; see ``to_srgb`` for notes.
    """
    curves = _curves_and_matrix(icc, samples.shape[2])
    if curves is None:
        convert = _converter({1: "L", 3: "RGB", 4: "CMYK"}[samples.shape[2]], icc, notes)
        return None if convert is None else _interpolated(samples, convert)
    axis = np.linspace(0, 65535, 9).round().astype(np.uint16)
    if samples.shape[2] == 1:
        lattice = np.arange(0, 65536, 257, dtype=np.uint16)[None, :, None]
    else:
        lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(1, -1, 3)
    same = lattice.astype(np.float32) / 257
    if np.abs(through(lattice, *curves) - same).max() <= 1.5:
        return None
    notes.append("colours were converted from the ICC profile to sRGB")
    return through(samples, *curves)


def _curves_and_matrix(icc: bytes, channels: int) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Of a profile that has no more: a table of light for each channel, and the matrix to sRGB's light."""
    tags = _tags(icc)
    names = ("kTRC",) if icc[16:20] == b"GRAY" else ("rTRC", "gTRC", "bTRC")
    if icc[16:20] not in (b"GRAY", b"RGB ") or (icc[16:20] == b"GRAY" and channels == 3) or channels == 4:
        return None
    if "A2B0" in tags or "A2B1" in tags:
        return None
    curves = [_curve(tags.get(name, b"")) for name in names]
    matrix = np.eye(3)
    if len(names) == 3:
        columns = [_xyz(tags.get(name, b"")) for name in ("rXYZ", "gXYZ", "bXYZ")]
        if any(column is None for column in columns) or icc[20:24] != b"XYZ ":
            return None
        matrix = np.linalg.inv(_SRGB_XYZ) @ np.array(columns, float).T
    tables = [curve for curve in curves if curve is not None]
    if len(tables) < len(names):
        return None
    if channels == 1:
        tables, matrix = tables[len(tables) // 2 :][:1], np.eye(1)  # of RGB curves the green one
    return tables, matrix


def _interpolated(samples: np.ndarray, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """uint16 samples H W C -> uint8, linear in the simplex of the C + 1 colours of 8 bits around each: black to white
    takes grays only."""
    height, width, channels = samples.shape
    out = np.empty((height, width, 1 if channels == 1 else 3), np.uint8)
    for rows, part in strips(samples, 2**16):
        base, rest = np.divmod(part, np.uint16(257))
        rank = np.argsort(np.argsort(-rest.astype(np.int32), axis=2, kind="stable"), axis=2)
        falling = -np.sort(-rest.astype(np.float32) / 257, axis=2)
        total = np.zeros((*part.shape[:2], out.shape[2]), np.float32)
        for k in range(channels + 1):
            corner = np.minimum(base + (rank < k), 255).astype(np.uint8)
            mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
            image = Image.frombytes(mode, (width, len(part)), corner.tobytes())
            found = np.asarray(convert(image)).reshape(total.shape)
            before = falling[..., k - 1] if k else 1
            after = falling[..., k] if k < channels else 0
            total += np.asarray(before - after)[..., None] * found
        out[rows] = np.rint(total)
    return out


def through(samples: np.ndarray, tables: list[np.ndarray], matrix: np.ndarray) -> np.ndarray:
    """uint16 samples through a table of light for each channel, and a matrix to sRGB's light -> uint8."""
    out = np.empty(samples.shape, np.uint8)
    for rows, coded in strips(samples):
        light = np.stack([table[coded[..., c]] for c, table in enumerate(tables)], axis=-1)
        out[rows] = srgb_bytes(light @ matrix.T.astype(np.float32))
    return out


def _tags(icc: bytes) -> dict[str, bytes]:
    """The elements of a profile that are looked at here."""
    if len(icc) < 132:
        return {}
    count = min(struct.unpack_from(">I", icc, 128)[0], (len(icc) - 132) // 12, 1000)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(count))
    return {name.decode(): icc[at : at + size] for name, at, size in entries if name in _LOOKED_AT}


def _xyz(tag: bytes) -> np.ndarray | None:
    if tag[:4] != b"XYZ " or len(tag) < 20:
        return None
    return np.frombuffer(tag, ">i4", 3, 8) / 65536


def _curve(tag: bytes) -> np.ndarray | None:
    """The light of each of 65536 levels, float32, or None for what is no curve."""
    x = np.linspace(0, 1, 65536)
    kind = tag[:4]
    if kind == b"curv" and len(tag) >= 12:
        count = struct.unpack_from(">I", tag, 8)[0]
        if count > (len(tag) - 12) // 2:
            return None
        values = np.frombuffer(tag, ">u2", count, 12)
        if count < 2:
            return np.asarray(x ** (values[0] / 256 if count else 1), np.float32)
        return np.interp(x, np.linspace(0, 1, count), values / 65535).astype(np.float32)
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}.get(tag[9] if len(tag) > 9 else 9, 0)
    if kind != b"para" or not count or len(tag) < 12 + 4 * count:
        return None
    g, a, b, c, d, e, f = np.concatenate([np.frombuffer(tag, ">i4", count, 12) / 65536, np.zeros(7 - count)])
    if count == 1:
        return np.asarray(x**g, np.float32)
    power = np.maximum(a * x + b, 0) ** g
    if count < 5:  # below -b/a it is flat: at 0, or at the third offset
        if a == 0:
            return None
        return np.asarray(np.where(x >= -b / a, power, 0) + c, np.float32)
    return np.asarray(np.where(x >= d, power + e, c * x + f), np.float32)


def _srgb_transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    result = ImageCms.applyTransform(image, transform)
    assert result is not None  # it is for a transform in place only
    return result


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
    result = np.asarray(_applied(source, transform))
    return int(np.abs(result.astype(np.int16) - lattice).max()) <= 1
