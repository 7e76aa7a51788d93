"""Contact sheets of the semantic stage: python -m benchmarks.report.contact [--out results/semantic] [--only
decoders,steps]

Photographs that come with scikit-image, crops at full size. decoders: one file, four decoders, three rates, and
AVIF and BPG in no fewer bytes. product: the picture of the README. realism, steps, guidance:
one file, with the seed in it. upscaling: made smaller with Pillow's bicubic filter, and enlarged again. Writes
OUT/contact_NAME.png.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

import codec
from benchmarks.codecs import CodecOptions
from benchmarks.codecs.registry import makers
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import read_image
from benchmarks.harness.told import told
from benchmarks.metrics.pictures import rmse
from benchmarks.studies.upscaling import enlarged, shrunk

SIDE = 208  # pixels of a crop
DPI, GAP, HEAD = 100, 8, 30  # pixels between crops, and above each for its label
CROPS = {"astronaut": (150, 6), "chelsea": (96, 40), "coffee": (210, 110)}  # left, top
DECODERS = ("vq", "perceptual", "gan", "ldm")
QUALITY = 20.0  # about 0.01 bits/dim, where the decoders differ most
BPP = (0.04, 0.1)  # bits per pixel of the files whose decoders are shown
RIVALS = ("avif", "bpg-444")


@dataclass(frozen=True)
class Tile:
    """A crop with two short lines above it."""

    head: str
    detail: str
    crop: np.ndarray


def photograph(name: str) -> np.ndarray:
    """A packaged photograph, uint8 (H, W, 3)."""
    spec = find_spec("skimage")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "data"
    found = [] if folder is None else [p for p in (folder / f"{name}.png", folder / f"{name}.jpg") if p.is_file()]
    if not found:
        raise BenchmarkError(f"the photograph {name} of scikit-image is not installed")
    return read_image(found[0])


def cut(name: str, x: np.ndarray) -> np.ndarray:
    """The part of a photograph that is shown."""
    left, top = CROPS[name]
    return x[top : top + SIDE, left : left + SIDE]


def sheet(rows: list[list[Tile]]) -> plt.Figure:
    """Tiles in rows, one picture element on one of the sheet."""
    columns = max(map(len, rows))
    width, height = columns * (SIDE + GAP) + GAP, len(rows) * (SIDE + HEAD + GAP) + GAP
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    for j, row in enumerate(rows):
        for i, tile in enumerate(row):
            x, y = GAP + i * (SIDE + GAP), GAP + j * (SIDE + HEAD + GAP) + HEAD
            figure.figimage(tile.crop, x, height - y - tile.crop.shape[0], origin="upper")
            figure.text(x / width, 1 - (y - HEAD + 1) / height, tile.head, va="top", fontsize=8.5, fontweight="bold")
            figure.text(x / width, 1 - (y - 3) / height, tile.detail, va="bottom", fontsize=7.5, color="#333333")
    return figure


def shown(name: str, x: np.ndarray, head: str, decoded: np.ndarray) -> Tile:
    """A decoded photograph with its error."""
    return Tile(head, f"RMSE {rmse(x, decoded):.2f}", cut(name, decoded))


def original(name: str, x: np.ndarray, data: bytes) -> Tile:
    """The photograph, and how small its file is."""
    return Tile(f"original ({name})", f"file: {len(data)} bytes, {8 * len(data) / x.size:.3f} bits/dim", cut(name, x))


def rival(name: str, x: np.ndarray, size: int) -> tuple[bytes, np.ndarray]:
    """The smallest file of at least so many bytes that another codec makes (its smallest, if all are larger), and its
    picture."""
    other = makers()[name](CodecOptions())
    found, setting = b"", other.search.worst
    while len(found) < size and (other.search.best - setting) * other.search.step >= 0:
        found = other.encode(x, setting)
        setting += other.search.step
    return found, other.decode(found)


def decoders(c: codec.Codec) -> plt.Figure:
    """One file and its pictures in a row, then other codecs in no fewer bytes."""
    rows = []
    for name in ("astronaut", "chelsea", "coffee"):
        x = photograph(name)
        for bpp in BPP:
            data = c.encode(x, target_bpp=bpp, lossless=False)
            row = [original(name, x, data), *(shown(name, x, d, c.decode_array(data, decoder=d)) for d in DECODERS)]
            for other in RIVALS:
                file, decoded = rival(other, x, len(data))
                row.append(Tile(f"{other}, {len(file)} bytes", f"RMSE {rmse(x, decoded):.2f}", cut(name, decoded)))
            rows.append(row)
    return sheet(rows)


def product(c: codec.Codec) -> plt.Figure:
    """What to expect at a tenth of a bit a pixel: other codecs in no fewer bytes, then the two ways to decode one
    file."""
    rows = []
    for name in CROPS:
        x = photograph(name)
        data = c.encode(x, target_bpp=max(BPP), lossless=False)
        row = [Tile(f"original ({name})", f"{x.shape[1]}x{x.shape[0]} pixels", cut(name, x))]
        for other in RIVALS:
            file, decoded = rival(other, x, len(data))
            row.append(Tile(f"{other.removesuffix('-444').upper()}, {len(file)} bytes", "", cut(name, decoded)))
        for decoder in ("vq", "ldm"):
            tile = cut(name, c.decode_array(data, decoder=decoder))
            row.append(Tile(f"LDC {decoder}, {len(data)} bytes", "", tile))
        rows.append(row)
    return sheet(rows)


def knob(option: str, values: tuple[float, ...], names: tuple[str, ...]) -> Callable[[codec.Codec], plt.Figure]:
    """A sheet with a row for each photograph and a column for each value of an option."""

    def draw(c: codec.Codec) -> plt.Figure:
        rows = []
        for name in names:
            x = photograph(name)
            data = c.encode(x, quality=QUALITY, lossless=False)
            tiles = [
                shown(name, x, f"{option} {value:g}", c.decode_array(data, decoder="ldm", **{option: value}))
                for value in values
            ]
            rows.append([original(name, x, data), *tiles])
        return sheet(rows)

    return draw


def upscaling(c: codec.Codec) -> plt.Figure:
    """The original, and three enlargements of a smaller picture."""
    rows = []
    for name, scale in (("astronaut", 4), ("chelsea", 4), ("coffee", 2)):
        x = photograph(name)
        x = x[: x.shape[0] // scale * scale, : x.shape[1] // scale * scale]
        small = shrunk(x, scale)
        tiles = [
            shown(name, x, f"{method} x{scale}", enlarged(c, small, scale, method))
            for method in ("bicubic", "lanczos", "ours")
        ]
        rows.append([*tiles, Tile(f"original ({name})", f"{x.shape[1]}x{x.shape[0]}", cut(name, x))])
    return sheet(rows)


SHEETS: dict[str, Callable[[codec.Codec], plt.Figure]] = {
    "decoders": decoders,
    "product": product,
    "realism": knob("realism", (0, 0.25, 0.5, 0.75, 1), ("astronaut", "chelsea")),
    "steps": knob("steps", (1, 2, 4, 8, 16), ("astronaut", "coffee")),
    "guidance": knob("guidance", (0, 0.5, 1, 1.5, 2, 3), ("astronaut", "coffee")),
    "upscaling": upscaling,
}


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.report.contact", description=__doc__.split("\n\n")[0])
    ap.add_argument("--out", type=Path, default=Path("results/semantic"))
    ap.add_argument("--only", default=",".join(SHEETS), help="names, with commas")
    args = ap.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - set(SHEETS):
        ap.error(f"unknown sheet {sorted(unknown)[0]!r}; known: {', '.join(SHEETS)}")
    c = codec.load(threads=1)
    if missing := set(DECODERS) - set(c.decoders()):
        sys.exit(f"contact: there are no weights of the {sorted(missing)[0]} decoder")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        figure = SHEETS[name](c)
        figure.savefig(args.out / f"contact_{name}.png", dpi=DPI)
        plt.close(figure)


if __name__ == "__main__":
    main()
