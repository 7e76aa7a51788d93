"""What drawings cost before and after the lossless mode, and what its try costs: python -m
benchmarks.studies.drawings.measure [--out results] [--repeats 5] [--only drawings]

OUT/drawings.csv: for each picture and quality the bytes of a file of the networks (`before`), with its largest error,
RMSE of the pixels that are seen and MS-SSIM; the same of the default, and whether that is lossless or in reduced
colours; `cost_before` and `cost_exact`: bits a pixel and error at the exchange rate of that quality, of the networks
and of the lossless file; beside them lossless WebP (`webp`: Pillow's usual setting, `webp_strong`: its strongest, of
which ours is `strong`, at effort 2) and an optimised PNG. OUT/drawings_codecs.csv: bytes and RMSE of WebP, AVIF 4:4:4
and PNG with a palette (quantised without dither) at some settings. OUT/drawings_try.csv: seconds of the processor for
photographs and drawings with and without the tries of lossless coding, alternating in one run, and their ratio.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import torch
from PIL import Image

import codec
from benchmarks.codecs.pillow_codecs import Avif, WebP
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import count, told
from benchmarks.report.contact import photograph
from benchmarks.studies.drawings.pictures import PICTURES
from codec import api
from codec.bitstream.container import level_of, read_header
from codec.coding.ratecontrol import lagrangian

QUALITIES = (20, 30, 40, 50, 100)
SIDE = 161  # of MS-SSIM
TRIED = (20, 30, 50, 100)
PALETTES = (2, 4, 8, 16, 32, 64, 128, 256)
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")


def rgba(image: Image.Image) -> np.ndarray:
    """int (H, W, 4), 0 where nothing is seen."""
    pixels = np.asarray(image.convert("RGBA"), int)
    return pixels * (pixels[..., 3:] > 0)


def saved(image: Image.Image, kind: str, **options: object) -> int:
    """Bytes of a file of Pillow's."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return len(out.getvalue())


def sizes(c: codec.Codec, path: Path | None = None) -> pd.DataFrame:
    """One row for each picture and quality. path: where rows are kept while it goes on; pictures that are there, of the
    same weights, are not measured again."""
    rows: list[dict] = []
    if path is not None and path.is_file():
        there = read_frame(path)
        rows = there[there.version == c.decoder_id("vq")].to_dict("records")
    done = {row["picture"] for row in rows}
    for name, make in PICTURES.items():
        if name in done:
            continue
        image = make()
        x, strong = rgba(image), c.encode(image, lossless=True, effort=2)
        others = {
            "strong": len(strong),
            "webp": saved(image, "WEBP", lossless=True),
            "webp_strong": saved(image, "WEBP", lossless=True, method=6, quality=100),
            "png": saved(image, "PNG", optimize=True),
            "header": read_header(strong).header_bytes,
        }
        for quality in QUALITIES:
            data = c.encode(image, quality=quality)
            header, after = read_header(data).header, rgba(c.decode(data))
            lossy = c.encode(image, quality=quality, lossless=False) if header.lossless else data
            before = rgba(c.decode(lossy))
            error = np.abs(before - x)[..., :3]
            if header.exact and np.abs(after - x).max():
                raise SystemExit(f"{name}: a lossless file is not exact")
            position = torch.tensor([float(c.model.position(level_of(quality)))])
            worth = lagrangian(c.model.vqvae.config, position) * float(np.square(error).mean())  # bits a pixel
            size = image.width * image.height / 8
            row = {"picture": name, "size": f"{image.width}x{image.height}", "mode": image.mode, "quality": quality, "before": len(lossy),
                   "max_error": error.max(), "rmse": rms(error), "ms_ssim": similarity(x, before), "after": len(data), "lossless": header.exact,
                   "reduced": header.reduced, "after_rmse": rms((after - x)[..., :3]), "after_ms_ssim": similarity(x, after),
                   "cost_before": round(len(lossy) / size + worth, 4), "cost_exact": round(len(strong) / size, 4)}  # fmt: skip
            rows.append({"version": c.decoder_id("vq"), **row, **others})
        if path is not None:
            write_frame(pd.DataFrame(rows), path)
    return pd.DataFrame(rows)


def rms(error: np.ndarray) -> float:
    return round(float(np.sqrt(np.square(error).mean())), 2)


def similarity(a: np.ndarray, b: np.ndarray) -> float | None:
    """MS-SSIM of the colours, None for small pictures."""
    if min(a.shape[:2]) < SIDE:
        return None
    if (a[..., :3] == b[..., :3]).all():
        return 1.0
    return round(api.ms_ssim(a[..., :3].astype(np.uint8), b[..., :3].astype(np.uint8)), 4)


def rivals() -> pd.DataFrame:
    """One row for each picture, codec and setting; alpha is left out, and what it hides is black."""
    rows = []
    for name, make in PICTURES.items():
        x = rgba(make())[..., :3].astype(np.uint8)
        for kind in (WebP(), Avif()):
            for setting in kind.settings[::2]:
                data = kind.encode(x, setting)
                rows.append((name, kind.name, setting, len(data), rms(kind.decode(data).astype(int) - x), kind.version))
        for colours in PALETTES:
            image = Image.fromarray(x).quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
            error = np.asarray(image.convert("RGB")).astype(int) - x
            size = saved(image, "PNG", optimize=True)
            rows.append((name, "png, palette", colours, size, rms(error), f"Pillow {PIL.__version__}"))
    return pd.DataFrame(rows, columns=["picture", "codec", "setting", "bytes", "rmse", "version"])


def tries(c: codec.Codec, repeats: int) -> pd.DataFrame:
    """One row for each picture and quality: median seconds of both, in turns, and the median of their ratios."""
    rows = []
    pictures = {name: photograph(name) for name in PHOTOGRAPHS} | {
        name: np.asarray(PICTURES[name]()) for name in ("text", "plot")
    }
    for name, x in pictures.items():
        for quality in TRIED:
            seconds: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(2 * repeats + 2):  # the first two are not counted
                tried = turn % 2 == 1
                start = time.process_time()
                data = c.encode(x, quality=quality, lossless=None if tried else False)
                seconds[tried].append(time.process_time() - start)
            without, tried_s = (np.array(seconds[key][1:]) for key in (False, True))
            rows.append({"version": c.decoder_id("vq"), "picture": name, "photograph": name in PHOTOGRAPHS, "quality": quality, "lossless": read_header(data).header.exact, "reduced": read_header(data).header.reduced,
                         "without_s": round(float(np.median(without)), 4), "with_s": round(float(np.median(tried_s)), 4),
                         "ratio": round(float(np.median(tried_s / without)), 3)})  # fmt: skip
    return pd.DataFrame(rows)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.drawings.measure", description=__doc__.split(":")[0])
    ap.add_argument("--out", type=Path, default=Path("results"))
    ap.add_argument("--repeats", type=count, default=5, help="of the timing")
    names = ("drawings", "drawings_codecs", "drawings_try")
    ap.add_argument("--only", nargs="*", choices=names, help="some of the tables")
    args = ap.parse_args()
    torch.set_num_threads(1)
    c = codec.load(threads=1)
    args.out.mkdir(parents=True, exist_ok=True)
    tables = {
        "drawings": lambda: sizes(c, args.out / "drawings.csv.part"),
        "drawings_codecs": rivals,
        "drawings_try": lambda: tries(c, args.repeats),
    }
    for name in args.only or tables:
        found = tables[name]()
        write_frame(found, args.out / f"{name}.csv")
        (args.out / f"{name}.csv.part").unlink(missing_ok=True)
        print(found.to_string(index=False))


if __name__ == "__main__":
    main()
