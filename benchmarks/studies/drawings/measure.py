"""What drawings cost before and after the lossless mode, and what its try costs: python -m
benchmarks.studies.drawings.measure [--out results] [--repeats 5]

OUT/drawings.csv: for each picture and quality the bytes of a file that may not be lossless (as all were before), with
its largest error and RMSE of the pixels that are seen, the bytes of the default, whether that is lossless, and beside
it lossless WebP (`webp`: Pillow's usual setting, `webp_strong`: its strongest, of which ours is `strong`, at effort
2) and an optimised PNG. OUT/drawings_try.csv: seconds of the processor for photographs and drawings with and without
the try, alternating in one run, and their ratio.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

import codec
from benchmarks.report.contact import photograph
from benchmarks.studies.drawings.pictures import PICTURES
from codec.bitstream.container import read_header

QUALITIES = (20, 50, 80, 100)
TRIED = (20, 50, 80, 90, 100)
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


def sizes(c: codec.Codec) -> pd.DataFrame:
    """One row for each picture and quality."""
    rows = []
    for name, make in PICTURES.items():
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
            lossy, data = (c.encode(image, quality=quality, lossless=choice) for choice in (False, None))
            error = np.abs(rgba(c.decode(lossy)) - x)[..., :3]
            exact = read_header(data).header.lossless
            if exact and np.abs(rgba(c.decode(data)) - x).max():
                raise SystemExit(f"{name}: a lossless file is not exact")
            row = {"picture": name, "size": f"{image.width}x{image.height}", "mode": image.mode, "quality": quality, "before": len(lossy),
                   "max_error": error.max(), "rmse": round(float(np.sqrt(np.square(error).mean())), 2), "after": len(data), "lossless": exact}  # fmt: skip
            rows.append({"version": c.decoder_id("vq"), **row, **others})
    return pd.DataFrame(rows)


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
            rows.append({"version": c.decoder_id("vq"), "picture": name, "photograph": name in PHOTOGRAPHS, "quality": quality, "lossless": read_header(data).header.lossless,
                         "without_s": round(float(np.median(without)), 4), "with_s": round(float(np.median(tried_s)), 4),
                         "ratio": round(float(np.median(tried_s / without)), 3)})  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.drawings.measure", description=__doc__.split(":")[0])
    ap.add_argument("--out", type=Path, default=Path("results"))
    ap.add_argument("--repeats", type=int, default=5, help="of the timing")
    args = ap.parse_args()
    torch.set_num_threads(1)
    c = codec.load(threads=1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name, found in (("drawings", sizes(c)), ("drawings_try", tries(c, args.repeats))):
        found.to_csv(args.out / f"{name}.csv", index=False, lineterminator="\n")
        print(found.to_string(index=False))


if __name__ == "__main__":
    main()
