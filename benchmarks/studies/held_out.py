"""Writes the middles of held-out photographs as PNG files, for benchmarks on them: python -m benchmarks.studies.held_out --data DIR --out DIR [--cache DIR]"""

import argparse
from pathlib import Path

from PIL import Image

from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.held_out", description=__doc__.split(":")[0])
    data_options(ap)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--count", type=int, default=24)
    ap.add_argument("--size", type=int, default=512, help="side in pixels")
    args = ap.parse_args()
    check_outside(args.out, args.data)
    photos = Photos(args.data, args.cache or args.out / "cache")
    args.out.mkdir(parents=True, exist_ok=True)
    for k, pixels in enumerate(photos.validation_crops(args.count, args.size)):
        Image.fromarray(pixels).save(args.out / f"held-out-{k:02d}.png")


if __name__ == "__main__":
    main()
