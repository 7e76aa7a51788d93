"""Pictures that are drawn, not photographed: text, lines, a window of a program, a plot, pixel art, flat colours; and
two with a packaged photograph in them. All are made here, from numbers and the fonts of matplotlib."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from benchmarks.report.contact import photograph

WORDS = [
    "the",
    "of",
    "and",
    "a",
    "picture",
    "line",
    "codes",
    "table",
    "white",
    "black",
    "small",
    "large",
    "edge",
    "between",
    "letters",
    "drawn",
    "by",
    "rule",
    "number",
    "of",
    "all",
    "with",
]


def font(size: int) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def text() -> Image.Image:
    """A page of text, black on white, smoothed letters, 800x600."""
    rng, image = np.random.default_rng(1), Image.new("RGB", (800, 600), "white")
    draw, face = ImageDraw.Draw(image), font(14)
    for y in range(10, 580, 19):
        line = ""
        while face.getlength(line) < 720:
            line += WORDS[rng.integers(len(WORDS))] + " "
        draw.text((20, y), line, "black", font=face)
    return image


def lines() -> Image.Image:
    """A line drawing of circles and chords, smoothed, gray, 800x600."""
    rng, image = np.random.default_rng(2), Image.new("L", (1600, 1200), 255)
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y, r = rng.integers(0, 1600), rng.integers(0, 1200), rng.integers(30, 400)
        draw.ellipse((x - r, y - r, x + r, y + r), outline=0, width=3)
        draw.line((x, y, *rng.integers(0, 1200, 2).tolist()), fill=0, width=3)
    return image.resize((800, 600), Image.Resampling.BOX)


def window() -> Image.Image:
    """A window of a program: a bar with a gradient, buttons, a list, text, 1024x768."""
    rng, image = np.random.default_rng(3), Image.new("RGB", (1024, 768), (246, 246, 248))
    draw, face = ImageDraw.Draw(image), font(13)
    for y in range(40):
        draw.line((0, y, 1023, y), fill=(60 + y, 90 + y, 150 + y))
    draw.text((16, 12), "Pictures", "white", font=face)
    draw.rectangle((0, 40, 220, 767), fill=(232, 235, 240), outline=(200, 204, 212))
    for k in range(24):
        draw.text((16, 56 + 28 * k), f"folder {k + 1}", (40, 44, 52), font=face)
    for k in range(8):
        x, y = 250 + 190 * (k % 4), 70 + 60 * (k // 4)
        draw.rounded_rectangle((x, y, x + 160, y + 36), 8, (52, 120, 246), outline=(30, 90, 200))
        draw.text((x + 20, y + 10), WORDS[k], "white", font=face)
    for k in range(26):
        words = " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), 12))
        draw.text((250, 210 + 21 * k), words, (30, 30, 30), font=face)
    return image


def plot() -> Image.Image:
    """A plot by matplotlib, 900x600."""
    rng, figure = np.random.default_rng(4), Figure(figsize=(9, 6), dpi=100)
    axes, canvas = figure.subplots(), FigureCanvasAgg(figure)
    for k in range(5):
        axes.plot(np.cumsum(rng.standard_normal(400)), label=f"walk {k + 1}")
    axes.scatter(rng.integers(0, 400, 60), rng.standard_normal(60) * 12, s=14, c="black", label="points")
    axes.grid(True)
    axes.legend()
    axes.set_title("Random walks")
    with io.BytesIO() as out:
        canvas.print_png(out)
        return Image.open(out).convert("RGB")


def pixel_art() -> Image.Image:
    """Sprites of 16 colours on nothing, each pixel four times as large, with alpha, 512x384."""
    rng, colours = np.random.default_rng(5), np.random.default_rng(6).integers(0, 256, (16, 4))
    colours[:, 3], colours[0] = 255, 0
    small = np.zeros((96, 128), int)
    for _ in range(24):
        half = rng.integers(0, 16, (12, 6)) * (rng.random((12, 6)) < 0.7)
        sprite = np.concatenate([half, half[:, ::-1]], 1)
        y, x = rng.integers(0, 84), rng.integers(0, 116)
        small[y : y + 12, x : x + 12] = sprite
    return Image.fromarray(colours[small].astype(np.uint8).repeat(4, 0).repeat(4, 1))


def dither() -> Image.Image:
    """A ramp in two colours by an ordered dither, 640x400."""
    bayer = np.array([[0]])
    for _ in range(3):
        bayer = np.block([[4 * bayer, 4 * bayer + 2], [4 * bayer + 3, 4 * bayer + 1]])
    y, x = np.mgrid[:400, :640]
    dark = (x + y) / 1040 * 64 > bayer[y % 8, x % 8]
    return Image.fromarray(np.where(dark[..., None], (20, 20, 60), (240, 230, 200)).astype(np.uint8))


def icon() -> Image.Image:
    """A round button with a soft edge, with alpha, 64x64."""
    image = Image.new("RGBA", (512, 512), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((32, 32, 480, 480), fill=(220, 60, 40, 255), outline=(120, 20, 10, 255), width=24)
    draw.polygon([(200, 150), (200, 362), (370, 256)], fill=(255, 255, 255, 255))
    return image.resize((64, 64), Image.Resampling.BOX)


def flat() -> Image.Image:
    """Patches of saturated colours with hard edges, 320x240."""
    levels = np.array([(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)
    patches = np.random.default_rng(7).permutation(np.concatenate([levels] * 6)).reshape(6, 8, 3)
    return Image.fromarray(patches.repeat(40, 0).repeat(40, 1))


def caption() -> Image.Image:
    """A photograph with text on a bar below, 400x300."""
    image = Image.new("RGB", (400, 300), "white")
    image.paste(Image.fromarray(photograph("coffee")).resize((400, 267)), (0, 0))
    ImageDraw.Draw(image).text((10, 274), "a picture of coffee, between letters and lines", "black", font=font(14))
    return image


def viewer() -> Image.Image:
    """The window with a photograph in it, 1024x768."""
    image = window()
    image.paste(Image.fromarray(photograph("chelsea")), (300, 250))
    return image


#: name -> what draws it
PICTURES = {
    "text": text,
    "lines": lines,
    "window": window,
    "plot": plot,
    "pixel art": pixel_art,
    "dither": dither,
    "icon": icon,
    "flat": flat,
    "caption": caption,
    "photograph in a window": viewer,
}
