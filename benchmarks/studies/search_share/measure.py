"""The weight of the rate in the encoder's search, measured on held-out photographs: python -m
benchmarks.studies.search_share.measure --data DIR --cache DIR [--count N] [--out results]

Crops of 256x256 from the middles of every second held-out photograph, at effort 1 and with the search of effort 9 at
several shares: which codec.coding.ratecontrol.RATE_SHARE suits the search. Writes OUT/search_share.csv: ideal bits,
with those of the tokens and a header, and RMSE of each crop, quality and share. Run again, it measures what is
missing. benchmarks/studies/search_share/report.py makes the Bjontegaard table.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.told import count, told
from codec import zoo
from codec.coding import search as refine
from codec.coding.model import Base
from codec.coding.ratecontrol import RATE_SHARE
from codec.training.data.cache import check_outside, data_options
from codec.training.data.photos import Photos

SHARES = (0.3, 0.42, 0.6)
LEVELS = (1280, 2880, 4480, 5888)  # qualities 20, 45, 70 and 92
SIZE, HEADER = 256, 176  # pixels a side, bits


@torch.no_grad()
def measure(model: Base, crop: np.ndarray, level: int, share: float | None) -> tuple[float, float]:
    """crop (S, S, 3) uint8; share None: effort 1 -> bits, RMSE of the 8-bit pixels."""
    x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None]
    asked = model.to_steps(x, level, share or RATE_SHARE)
    v, tokens, position, weight = asked.v, asked.tokens, asked.position, asked.weight
    if share is not None:
        found = refine.refine(model, x, v, tokens, level, position, refine.PLANS[-1], lambda done: None, share)
        v, weight = found.v, found.weight
    codes = tokens[0].numpy()
    sent = model.coder.measure(v[0].numpy(), codes, level, weight)
    x_hat = model.decoded(sent.v_hat, level).astype(np.float32)
    return sent.bits + model.coder.tokens.encode(codes)[1] + HEADER, float(np.sqrt(np.square(x_hat - crop).mean()))


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.search_share.measure", description=__doc__.split(":")[0])
    data_options(ap, default=None)
    ap.add_argument("--count", type=count, default=21, help="crops")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    check_outside(args.out, args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    model, path = zoo.load(), args.out / "search_share.csv"
    crops = Photos(args.data, args.cache).validation_crops(2 * args.count, SIZE)[::2]
    cases: dict[str, float | None] = {"effort 1": None, **{f"share {share:g}": share for share in SHARES}}
    rows: list[dict[str, object]] = []
    if path.is_file():
        with open(path, newline="") as f:
            rows = list(csv.DictReader(f))
    have = {(int(r["crop"]), int(r["level"]), r["search"]) for r in rows}
    for crop, level, search in tqdm(
        [key for k in range(len(crops)) for level in LEVELS for name in cases if (key := (k, level, name)) not in have],
        disable=None,
    ):
        bits, error = measure(model, crops[crop], level, cases[search])
        rows.append(
            {
                "crop": crop,
                "level": level,
                "search": search,
                "bits_per_dim": round(bits / crops[crop].size, 7),
                "rmse": round(error, 5),
            }
        )
        with open(path.with_suffix(".part"), "w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(path.with_suffix(".part"), path)


if __name__ == "__main__":
    main()
