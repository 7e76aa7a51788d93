"""How strongly the ldm decoder should paint: python -m benchmarks.studies.emphasis --images DIR --weights-cache HUB
[--out results]

Writes OUT/emphasis.csv: means over pictures for each quality and each factor of what is painted into the vq picture
(1: what the network says; codec.restoration.strength has the default, noise and dots are left as they are there). To be
run on held-out photographs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

import codec
from benchmarks.harness.images import folder_images, read_image
from benchmarks.harness.runner import prepare_torch
from benchmarks.metrics.pictures import MetricOptions, Scorer
from codec.restoration.strength import STRENGTHS

FACTORS = (0.7, 0.85, 1.0, 1.15, 1.3, 1.5)
METRICS = ("lpips", "dists")


def measure(c: codec.Codec, paths: list[Path], qualities: list[float], options: MetricOptions) -> pd.DataFrame:
    """-> quality, emphasis, pictures, rmse, lpips, dists: means over pictures."""
    prepare_torch(("ours",), METRICS, options)
    rows = []
    default, scorer = STRENGTHS["ldm"], Scorer(METRICS, options)
    try:
        for path in tqdm(paths, disable=None):
            x = read_image(path)
            scorer.reference(x)
            for quality in qualities:
                data = c.encode(x, quality=quality, lossless=False)
                for factor in FACTORS:
                    STRENGTHS["ldm"] = tuple((place, replace(row, emphasis=factor)) for place, row in default)
                    decoded = c.decode_array(data, decoder="ldm")
                    rows.append({"quality": quality, "emphasis": factor, **scorer.score(decoded)})
    finally:
        STRENGTHS["ldm"] = default
    frame = pd.DataFrame(rows).groupby(["quality", "emphasis"], as_index=False)[["rmse", *METRICS]].mean()
    frame.insert(2, "pictures", len(paths))
    return frame


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.emphasis", description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, required=True, help="folder of held-out pictures")
    ap.add_argument(
        "--weights-cache", type=Path, required=True, metavar="HUB", help="folder of benchmarks.metrics.weights"
    )
    ap.add_argument("--qualities", default="5,15,25,42,70")
    ap.add_argument("--every", type=int, default=1, help="only every so many pictures")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    qualities = [float(q) for q in args.qualities.split(",")]
    found = measure(
        codec.load(threads=1),
        folder_images(args.images)[:: args.every],
        qualities,
        MetricOptions(None, args.weights_cache),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    found.to_csv(args.out / "emphasis.csv", index=False, float_format="%.6g", lineterminator="\n")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
