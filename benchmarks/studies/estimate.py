"""File size against the estimate that training minimises (ideal code lengths under the frozen tables, plus the header):

python -m benchmarks.studies.estimate --images DIR --out results/kodak/estimate.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

import codec
from benchmarks.harness.frames import write_frame
from benchmarks.harness.images import folder_images, read_image
from benchmarks.harness.told import told
from codec.bitstream.container import level_of, read_header
from codec.coding.model import pad

QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80, 90)


@torch.no_grad()
def estimate(c: codec.Codec, path: Path, quality: int) -> dict[str, float | int | str]:
    """One row: real bytes, header bytes, estimated bits."""
    rgb, level = read_image(path), level_of(quality)
    data = c.encode(path, quality=quality, lossless=False)
    asked = c.model.to_steps(pad(rgb), level)
    sent = c.model.coder.encode(asked.v[0].numpy(), asked.tokens[0].numpy(), level, asked.weight)
    header = read_header(data).header_bytes
    return {
        "image": path.name,
        "quality": quality,
        "bytes": len(data),
        "header_bytes": header,
        "estimated_bytes": sum(sent.bits) / 8 + header,
        "bits_per_dim": 8 * len(data) / rgb.size,
    }


@told
def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, required=True)
    ap.add_argument("--out", type=Path, required=True)
    args = ap.parse_args()
    paths = folder_images(args.images)
    c = codec.load(threads=1)
    rows = [estimate(c, p, q) for p in tqdm(paths, disable=None) for q in QUALITIES]
    table = pd.DataFrame(rows)
    write_frame(table, args.out, float_format="%.6g")
    mean = table.groupby("quality")[["bytes", "estimated_bytes", "bits_per_dim"]].mean()
    mean["difference_percent"] = (mean["bytes"] / mean["estimated_bytes"] - 1) * 100
    print(mean.round(4).to_string())


if __name__ == "__main__":
    main()
