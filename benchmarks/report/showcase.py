"""Pictures at equal bytes through every codec: the contact sheet, and the comparison of the report.

They are pictures of the run, or photographs from installed packages where those of a test set must not be shown.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from benchmarks.codecs import BenchCodec, Image8
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import SourceImage, packaged_images, read_image
from benchmarks.metrics.pictures import rmse

# packaged photographs: file name -> crop that is shown: left, top, side
_CROPS = {"astronaut.png": (92, 0, 288), "grace_hopper.jpg": (120, 40, 288)}
_SIDE = 384  # of the crop of other pictures, from their middle
_MOST = 3  # pictures of a run that are shown
_TILE = 240  # least width of a tile of the contact sheet, for its words
RATES = (0.06, 0.12)  # bits/dim


@dataclass(frozen=True)
class Shown:
    """One codec's crop: `size` bytes for the whole picture, `error` its RMSE there."""

    name: str
    setting: float
    size: int
    error: float
    crop: Image8


@dataclass(frozen=True)
class Showcase:
    """The original crop of a picture and the crops of all codecs at one target size.

    too_large: codecs without a file of at most `target` bytes, and the size of their smallest.
    """

    photograph: str
    rate: float
    target: int
    original: Image8
    shown: tuple[Shown, ...]
    too_large: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture to show. sizes: bytes of files that were measured already, codec -> setting -> bytes."""

    name: str
    path: Path
    sizes: Mapping[str, Mapping[float, int]] = field(default_factory=dict)


def own_pictures(images: Sequence[SourceImage], rows: pd.DataFrame) -> list[Picture]:
    """Up to three pictures of a run, spread evenly over it. rows: of the table, with the sizes of their files."""
    last, count = len(images) - 1, min(_MOST, len(images))
    picks = dict.fromkeys(round(index * last / max(count - 1, 1)) for index in range(count))
    found = []
    for image in (images[pick] for pick in picks):
        sizes: dict[str, dict[float, int]] = {}
        for row in rows[rows.image_hash == image.digest].itertuples():
            sizes.setdefault(row.codec, {})[float(row.setting)] = int(row.bytes)
        found.append(Picture(image.name, image.path, sizes))
    return found


def packaged_pictures() -> list[Picture]:
    """The first photograph of `_CROPS` that an installed package has: one, as such reports are committed."""
    paths = {path.name: path for path in packaged_images()}
    found = [Picture(name, paths[name]) for name in _CROPS if name in paths][:1]
    if not found:
        raise BenchmarkError("no photograph for the contact sheet in the installed packages")
    return found


def fit_bytes(
    codec: BenchCodec,
    image: Image8,
    target: int,
    known: dict[float, bytes] | None = None,
    sizes: Mapping[float, int] | None = None,
) -> tuple[float, bytes]:
    """Setting and file of the best quality that needs at most `target` bytes (bisection on the codec's grid).

    When even the worst quality needs more, that one is returned. known: files of earlier searches, added to. sizes:
    bytes of files that need not be made to know them.
    """
    search, known = codec.search, {} if known is None else known

    def encoded(index: int) -> bytes:
        setting = search.worst + index * search.step
        if setting not in known:
            known[setting] = codec.encode(image, setting)
        return known[setting]

    worst, best = 0, round((search.best - search.worst) / search.step)
    for setting, size in (sizes or {}).items():
        index = round((setting - search.worst) / search.step)
        if size <= target:
            worst = max(worst, min(index, best))
        elif index >= 0:
            best = min(best, max(index - 1, 0))
    while worst < best:
        middle = (worst + best + 1) // 2
        if len(encoded(middle)) <= target:
            worst = middle
        else:
            best = middle - 1
    return search.worst + worst * search.step, encoded(worst)


def make_showcases(
    codecs: Mapping[str, BenchCodec], pictures: Sequence[Picture], say: Callable[[str], None]
) -> list[Showcase]:
    """Each picture at each of `RATES` bits/dim; a codec that fails is left out with a sentence. codecs: by the names
    of the table, whatever they call themselves."""
    cases, told = [], set()
    with tqdm(total=len(pictures) * len(codecs), unit="comparison", disable=None, file=sys.stderr, leave=False) as bar:
        for picture in pictures:
            image = read_image(picture.path)
            cut = _cut(picture.path.name, image)
            targets = [round(rate * image.size / 8) for rate in RATES]
            shown: list[list[Shown]] = [[] for _ in RATES]
            too_large: list[list[tuple[str, int]]] = [[] for _ in RATES]
            for name, codec in codecs.items():
                known: dict[float, bytes] = {}
                try:
                    for k, target in enumerate(targets):
                        setting, data = fit_bytes(codec, image, target, known, picture.sizes.get(name))
                        if len(data) > target:
                            too_large[k].append((name, len(data)))
                            continue
                        decoded = codec.decode(data)
                        shown[k].append(Shown(name, setting, len(data), rmse(image, decoded), decoded[cut]))
                except (Exception, SystemExit) as error:  # a codec may raise anything; the others are still shown
                    if name not in told:
                        say(f"{name} is left out of the comparison of {picture.name}: {error}")
                    told.add(name)
                bar.update()
            cases += [
                Showcase(
                    picture.name,
                    rate,
                    target,
                    image[cut],
                    tuple(sorted(found, key=lambda item: item.error)),
                    tuple(large),
                )
                for rate, target, found, large in zip(RATES, targets, shown, too_large, strict=True)
            ]
    return cases


def _cut(name: str, image: Image8) -> tuple[slice, slice]:
    """The part of a picture that is shown: a square."""
    height, width = image.shape[:2]
    if name in _CROPS and min(height, width) > sum(_CROPS[name][1:]):
        left, top, side = _CROPS[name]
    else:
        side = min(_SIDE, height, width)
        left, top = (width - side) // 2, (height - side) // 2
    return slice(top, top + side), slice(left, left + side)


def without_file(case: Showcase) -> str:
    """A sentence about the codecs that have no file so small, or nothing."""
    if not case.too_large:
        return ""
    return "No file so small: " + ", ".join(f"{name} (smallest {size} bytes)" for name, size in case.too_large)


def contact_sheet(case: Showcase, path: Path, columns: int = 4) -> None:
    """One crop per codec at equal bytes, lowest RMSE first, pixels unscaled; codecs without such a file in a line
    below."""
    side, gap, text = case.original.shape[0], 10, 40
    wide = max(side, _TILE)
    tiles = [("original", f"{case.photograph}, crop", case.original)]
    tiles += [
        (f"{item.name}, setting {item.setting:g}", f"{item.size} bytes, RMSE {item.error:.2f}", item.crop)
        for item in case.shown
    ]
    rows = -(-len(tiles) // columns)
    title, small = ImageFont.load_default(15), ImageFont.load_default(13)
    width = columns * (wide + gap) + gap
    below = _lines(without_file(case), small, width - 2 * gap)
    height = rows * (side + gap + text) + gap + 26 + 20 * len(below)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (gap, 8),
        f"Equal bytes: at most {case.target} for the whole picture ({case.rate:g} bits/dim)",
        "black",
        title,
    )
    for index, (head, detail, crop) in enumerate(tiles):
        x, y = gap + index % columns * (wide + gap), 32 + index // columns * (side + gap + text)
        sheet.paste(Image.fromarray(crop), (x, y))
        draw.text((x, y + side + 3), head, "black", title)
        draw.text((x, y + side + 21), detail, "#555555", small)
    for index, line in enumerate(below):
        draw.text((gap, height - 24 - 20 * (len(below) - 1 - index)), line, "#555555", small)
    sheet.save(path)


def _lines(text: str, font: Any, width: int) -> list[str]:
    """Text in lines of at most so many pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        lines[-1:] = [longer] if not lines or font.getlength(longer) <= width else [lines[-1], word]
    return lines
