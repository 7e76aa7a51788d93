"""One photograph at equal bytes through every codec: the contact sheet, and the pictures of the report.

Only photographs from installed packages are shown, never those of a test set.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.codecs import BenchCodec, Image8
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.metrics.pictures import rmse

# file name -> crop that is shown: left, top, side
_CROPS = {"astronaut.png": (92, 0, 288), "grace_hopper.jpg": (120, 40, 288)}
RATES = (0.06, 0.12)  # bits/dim


@dataclass(frozen=True)
class Shown:
    """One codec's crop: `size` bytes for the whole photograph, `error` its RMSE there."""

    name: str
    setting: float
    size: int
    error: float
    crop: Image8


@dataclass(frozen=True)
class Showcase:
    """The photograph's original crop and the crops of all codecs at one target size."""

    photograph: str
    rate: float
    target: int
    original: Image8
    shown: tuple[Shown, ...]


def fit_bytes(
    codec: BenchCodec, image: Image8, target: int, known: dict[float, bytes] | None = None
) -> tuple[float, bytes]:
    """Setting and file of the best quality that needs at most `target` bytes (bisection on the codec's grid).

    When even the worst quality needs more, that one is returned: the caller shows its size. known: files of earlier searches, added to.
    """
    search, known = codec.search, {} if known is None else known

    def encoded(setting: float) -> bytes:
        if setting not in known:
            known[setting] = codec.encode(image, setting)
        return known[setting]

    worst, best = 0, round((search.best - search.worst) / search.step)
    found = (search.worst, encoded(search.worst))
    while worst < best:
        middle = (worst + best + 1) // 2
        setting = search.worst + middle * search.step
        data = encoded(setting)
        if len(data) <= target:
            worst, found = middle, (setting, data)
        else:
            best = middle - 1
    return found


def make_showcases(codecs: Iterable[BenchCodec], say: Callable[[str], None]) -> list[Showcase]:
    """The first known photograph at each of `RATES` bits/dim; a codec that fails is left out with a sentence."""
    path = next((path for name in _CROPS for path in packaged_images() if path.name == name), None)
    if path is None:
        raise BenchmarkError("no photograph for the contact sheet in the installed packages")
    image = read_image(path)
    left, top, side = _CROPS[path.name]
    cut = (slice(top, top + side), slice(left, left + side))
    ready = [(codec, dict[float, bytes]()) for codec in codecs]
    cases = []
    for rate in RATES:
        target = round(rate * image.size / 8)
        shown = []
        for codec, known in ready:
            try:
                setting, data = fit_bytes(codec, image, target, known)
                decoded = codec.decode(data)
            except Exception as error:  # a codec may raise anything; the others are still shown
                say(f"{codec.name} is left out of the contact sheet: {error}")
                continue
            shown.append(Shown(codec.name, setting, len(data), rmse(image, decoded), decoded[cut]))
        shown.sort(key=lambda item: item.error)
        cases.append(Showcase(path.name, rate, target, image[cut], tuple(shown)))
    return cases


def contact_sheet(case: Showcase, path: Path, columns: int = 4) -> None:
    """One crop per codec at equal bytes, lowest RMSE first, pixels unscaled."""
    side, gap, text = case.original.shape[0], 10, 40
    tiles = [("original", f"{case.photograph}, crop", case.original)]
    for item in case.shown:
        over = "" if item.size <= case.target else " (its smallest file)"
        tiles.append(
            (f"{item.name}, setting {item.setting:g}", f"{item.size} bytes{over}, RMSE {item.error:.2f}", item.crop)
        )
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + gap + text) + gap + 26), "white")
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(15), ImageFont.load_default(13)
    draw.text(
        (gap, 8),
        f"Equal bytes: at most {case.target} for the whole photograph ({case.rate:g} bits/dim)",
        "black",
        title,
    )
    for index, (head, detail, crop) in enumerate(tiles):
        x, y = gap + index % columns * (side + gap), 32 + index // columns * (side + gap + text)
        sheet.paste(Image.fromarray(crop), (x, y))
        draw.text((x, y + side + 3), head, "black", title)
        draw.text((x, y + side + 21), detail, "#555555", small)
    sheet.save(path)
