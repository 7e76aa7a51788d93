"""A matrix of small files: format x kind of pixels x depth x colours x orientation. The pixels that must come out are
computed here from the samples, with none of the package's code and no Pillow."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import ImageCms

from codec.image import read
from tests.support.files import chunk, png, tiff

ORIENTATIONS = range(1, 9)
#: Linear Display P3 -> linear sRGB.
P3 = np.array([[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]])


def sample(height: int, width: int, channels: int, top: int) -> np.ndarray:
    """Both ends of the range, and what lies between."""
    values = np.random.default_rng(top + channels).integers(0, top + 1, (height, width, channels))
    values[0, 0], values[-1, -1] = 0, top
    return values


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As a viewer shows stored pixels, from the words of the EXIF standard: where row 0 and column 0 are."""
    if orientation > 4:
        pixels = np.swapaxes(pixels, 0, 1)  # row 0 is at the left or right
    upside_down, mirrored = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[
        orientation
    ]
    return pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def srgb(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)


def linear_profile() -> bytes:
    """sRGB's primaries, and light as it is."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at, curve = len(data), b"curv\0\0\0\0\0\0\0\0"
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", data, 128)[0], 12):
        if data[entry + 1 : entry + 4] == b"TRC":
            data[entry + 4 : entry + 12] = struct.pack(">II", at, len(curve))
    data += curve
    data[0:4] = struct.pack(">I", len(data))
    return bytes(data)


PROFILE = linear_profile()


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def chrm(*values: int) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *values))


def decoded(v: np.ndarray) -> np.ndarray:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def by_p3(light: np.ndarray) -> np.ndarray:
    return light @ P3.T if light.shape[2] == 3 else light


#: Name -> chunks of a PNG, and what they make of samples in 0..1.
COLOURS = {
    "plain": (b"", lambda v: v),
    "srgb": (chunk(b"sRGB", b"\0") + gama(100000), lambda v: v),
    "usual gamma": (gama(45455), lambda v: v),
    "gamma 1": (gama(100000), srgb),
    "gamma 1.8": (gama(55556), lambda v: srgb(v**1.8)),
    "primaries": (gama(45455) + chrm(31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000), lambda v: srgb(by_p3(v**2.2)) if v.shape[2] == 3 else srgb(v**2.2)),
    "cicp": (chunk(b"cICP", b"\x0c\x0d\0\x01"), lambda v: srgb(by_p3(decoded(v)))),
    "profile": (chunk(b"iCCP", b"p\0\0" + zlib.compress(PROFILE)), srgb),
}  # fmt: skip


def exif(orientation: int) -> bytes:
    return chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x112, 3, 1, orientation, 0, 0))


@dataclass
class Cell:
    """A file, the colours (in 0..1 of sRGB) and alpha (0..255) to come out, and what its rounding may cost."""

    name: str
    data: bytes
    rgb: np.ndarray
    alpha: np.ndarray | None
    gray: bool


def png_cells(colours: str) -> Iterator[Cell]:
    chunks, shown = COLOURS[colours]
    kinds = [(0, 1, depth, key) for depth in (1, 2, 4, 8, 16) for key in (False, True)]
    kinds += [(2, 3, depth, key) for depth in (8, 16) for key in (False, True)]
    kinds += [(4, 2, 8, False), (4, 2, 16, False), (6, 4, 8, False), (6, 4, 16, False)]
    kinds += [(3, 1, depth, key) for depth in (1, 2, 4, 8) for key in (False, True)]
    for colour, channels, depth, key in kinds:
        top = (1 << depth) - 1
        samples = sample(3, 5, channels, top)
        alpha, before = None, chunks
        values = samples[..., : channels - 1 + channels % 2] / top
        if colour == 3:
            palette = np.random.default_rng(depth).integers(0, 256, (top + 1, 3))
            before += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
            values = palette[samples[..., 0]] / 255
            if key:
                hidden = np.arange(top + 1) * 255 // (top + 1)
                before += chunk(b"tRNS", hidden.astype(np.uint8).tobytes())
                alpha = hidden[samples[..., 0]]
        elif key:
            chosen = samples[1, 2]
            before += chunk(b"tRNS", chosen.astype(">u2").tobytes())
            alpha = np.where((samples == chosen).all(axis=2), 0, 255)
        elif channels % 2 == 0:
            alpha = np.floor(samples[..., -1] * 255 / top + 0.5)
        for orientation in ORIENTATIONS:
            turn = exif(orientation) if orientation > 1 else b""
            name = f"png {colour=} {depth=} {key=} {orientation=}"
            seen = None if alpha is None else turned(alpha, orientation)
            yield Cell(
                name,
                png(samples, depth, colour, before + turn),
                turned(shown(values), orientation),
                seen,
                colour in (0, 4),
            )


def tiff_cells(profile: bool) -> Iterator[Cell]:
    kinds = [(1, 1, depth, None) for depth in (1, 2, 4, 8, 12, 16)] + [
        (0, 1, depth, None) for depth in (1, 2, 4, 8, 16)
    ]
    kinds += [(2, 3, 8, None), (2, 3, 16, None), (2, 4, 8, 2), (2, 4, 16, 2), (2, 4, 8, 0), (2, 4, 16, 0)]
    for photometric, channels, depth, extra in kinds:
        for order in "<>":
            for planes in (False, True) if channels > 1 else (False,):
                for deflate in (False, True):
                    if depth == 12 and (deflate or order == ">"):
                        continue  # not read by Pillow
                    if (depth == 16 and photometric == 0 and order == ">") or (extra == 0 and planes):
                        continue
                    top = (1 << depth) - 1
                    samples = sample(3, 5, channels, top)
                    values = samples[..., :3] / top
                    values = 1 - values if photometric == 0 else values
                    alpha = np.floor(samples[..., 3] * 255 / top + 0.5) if extra == 2 else None
                    for orientation in ORIENTATIONS:
                        tags = {274: (3, [orientation])} | ({34675: (7, PROFILE)} if profile else {})
                        data = tiff(
                            samples,
                            depth,
                            photometric,
                            order=order,
                            planes=planes,
                            deflate=deflate,
                            extra=extra,
                            tags=tags,
                        )
                        name = f"tiff {photometric=} {channels=} {depth=} {extra=} {order=} {planes=} {deflate=} {orientation=}"
                        shown = turned(srgb(values) if profile else values, orientation)
                        yield Cell(
                            name, data, shown, None if alpha is None else turned(alpha, orientation), channels == 1
                        )


def check(cells: Iterator[Cell], slack: float) -> int:
    wrong, count = [], 0
    for cell in cells:
        count += 1
        try:
            picture = read.load(cell.data)
        except Exception as error:
            wrong.append(f"{cell.name}: {error}")
            continue
        wanted = (
            np.broadcast_to(cell.rgb * 255, picture.rgb.shape) if cell.rgb.shape[:2] == picture.rgb.shape[:2] else None
        )
        if wanted is None or np.abs(picture.rgb - wanted).max() > slack:
            wrong.append(f"{cell.name}: {'size' if wanted is None else np.abs(picture.rgb - wanted).max()}")
        opaque = cell.alpha is None or (cell.alpha == 255).all()
        if opaque != (picture.alpha is None) or (not opaque and (picture.alpha != cell.alpha).any()):
            wrong.append(f"{cell.name}: alpha")
        if cell.gray and not picture.gray:
            wrong.append(f"{cell.name}: gray")
    assert not wrong, f"{len(wrong)} of {count} wrong\n" + "\n".join(wrong[:20])
    return count


@pytest.mark.parametrize("colours", COLOURS)
def test_png(colours):
    plain = colours in ("plain", "srgb", "usual gamma")
    assert check(png_cells(colours), 0.501 if plain else 1.5) == 208


@pytest.mark.parametrize("profile", [False, True])
@pytest.mark.slow
def test_tiff(profile):
    assert check(tiff_cells(profile), 1.5 if profile else 0.501) == 632
