"""How strongly the ldm decoder should paint: python -m benchmarks.studies.emphasis --images DIR --weights-cache HUB
[--out results]

Writes OUT/emphasis.csv: means over pictures for each quality and each factor of what is painted into the vq picture
(1: what the network says; codec.restoration.strength has the default, noise and dots are left as they are there), and
OUT/emphasis_enlarged.csv: the same of pictures that were made smaller and are enlarged again. To be run on held-out
photographs.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

import codec
from benchmarks.harness.frames import write_frame
from benchmarks.harness.images import folder_images, read_image
from benchmarks.harness.runner import prepare_torch
from benchmarks.harness.told import count, qualities, told
from benchmarks.metrics.pictures import MetricOptions, Scorer
from benchmarks.studies.semantic import cropped
from benchmarks.studies.upscaling import SCALES, shrunk
from codec.restoration import strength

FACTORS = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5)
METRICS = ("lpips", "dists")


@contextmanager
def painting(factor: float) -> Iterator[None]:
    """Within it the ldm decoder paints so strongly."""
    streams, enlarged = strength.STRENGTHS["ldm"], strength.ENLARGED
    strength.STRENGTHS["ldm"] = tuple((place, replace(row, emphasis=factor)) for place, row in streams)
    strength.ENLARGED = tuple(replace(row, emphasis=factor) for row in enlarged)
    try:
        yield
    finally:
        strength.STRENGTHS["ldm"], strength.ENLARGED = streams, enlarged


def measure(
    c: codec.Codec, paths: list[Path], qualities: list[float], options: MetricOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """-> quality or scale, emphasis, pictures, rmse, lpips, dists: means over pictures."""
    prepare_torch(("ours",), METRICS, options)
    decoded: list[dict[str, Any]] = []
    enlarged: list[dict[str, Any]] = []
    scorer = Scorer(METRICS, options)
    for path in tqdm(paths, disable=None):
        x = np.ascontiguousarray(cropped(read_image(path), max(SCALES)))
        scorer.reference(x)
        files = {quality: c.encode(x, quality=quality, lossless=False) for quality in qualities}
        smaller = {scale: shrunk(x, scale) for scale in SCALES}
        for factor in FACTORS:
            with painting(factor):
                for quality, data in files.items():
                    picture = c.decode_array(data, decoder="ldm")
                    decoded.append({"quality": quality, "emphasis": factor, **scorer.score(picture)})
                for scale, small in smaller.items():
                    picture = np.asarray(c.upscale(small, scale))
                    enlarged.append({"scale": scale, "emphasis": factor, **scorer.score(picture)})
    return means(decoded, len(paths)), means(enlarged, len(paths))


def means(rows: list[dict[str, Any]], pictures: int) -> pd.DataFrame:
    """Of the rows that have their first two columns in common."""
    frame = pd.DataFrame(rows)
    frame = frame.groupby(list(frame.columns[:2]), as_index=False)[["rmse", *METRICS]].mean()
    frame.insert(2, "pictures", pictures)
    return frame


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.emphasis", description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, required=True, help="folder of held-out pictures")
    ap.add_argument(
        "--weights-cache", type=Path, required=True, metavar="HUB", help="folder of benchmarks.metrics.weights"
    )
    ap.add_argument("--qualities", type=qualities, default="5,15,25,42,70")
    ap.add_argument("--every", type=count, default=1, help="only every so many pictures")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    tables = measure(
        codec.load(threads=1),
        folder_images(args.images)[:: args.every],
        args.qualities,
        MetricOptions(None, args.weights_cache),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    for name, found in zip(("emphasis", "emphasis_enlarged"), tables, strict=True):
        write_frame(found, args.out / f"{name}.csv", float_format="%.6g")
        print(found.to_string(index=False))


if __name__ == "__main__":
    main()
