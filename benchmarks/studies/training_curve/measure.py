"""What compute buys: python -m benchmarks.studies.training_curve.measure --run DIR --images DIR --out FILE [--every N]

Estimated rates and errors of the weights that a training kept (its setting ``keep``), on pictures: one row for each
kept step, picture and quality level. The estimate rounds and takes Gaussian rates, tokens included: no file is
written, and the trellis, its tables and the encoder's decisions are not in it. For the record only: no choice is made
by it. Rows that are there are not measured again.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.told import count, told
from codec.models.vqvae import VQVAE
from codec.training.base.train import load_kept
from codec.training.data.photos import read_pictures, to_tensor

COLUMNS = ("step", "seconds", "image", "level", "bits_per_dim", "rmse")


@torch.no_grad()
def measure(model: VQVAE, pixels: np.ndarray, level: float) -> tuple[float, float]:
    """pixels (H, W, 3) uint8, sides multiples of 32 -> bits/dim and RMSE (0..255)."""
    x = to_tensor(pixels[None])
    out = model(x, torch.tensor([level]))
    tokens = model.tokens.bits[model.tokens.assign(model.g_a.linear(x - 0.5), model.sd)].sum()
    error = (out.x_hat.clamp(0, 1) * 255).round() - x * 255
    return float(out.bits + tokens) / pixels.size, float(error.square().mean().sqrt())


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.training_curve.measure", description=__doc__.split("\n\n")[0])
    ap.add_argument("--run", type=Path, required=True, help="folder of codec.training.base.train")
    ap.add_argument("--images", type=Path, required=True)
    ap.add_argument("--every", type=count, default=1, help="only every so many pictures")
    ap.add_argument("--out", type=Path, required=True, help="CSV file")
    args = ap.parse_args()
    torch.set_num_threads(1)
    kept = sorted(args.run.glob("step-*.pt"))
    if not kept:
        raise SystemExit(f"no kept weights in {args.run}: train with keep=N")
    rows = list(csv.DictReader(args.out.open(newline=""))) if args.out.exists() else []
    have = {(int(r["step"]), r["image"]) for r in rows}
    pictures = list(read_pictures(args.images, np.asarray))[:: args.every]
    for path in kept:
        model, facts = load_kept(path)
        model.eval()
        for name, whole in tqdm(pictures, desc=path.stem, disable=None):
            if (facts["step"], name) in have:
                continue
            pixels = whole[: whole.shape[0] // 32 * 32, : whole.shape[1] // 32 * 32].copy()
            for level in range(model.config.anchors):
                rate, rmse = measure(model, pixels, float(level))
                rows.append(
                    dict(
                        zip(
                            COLUMNS,
                            (facts["step"], f"{facts['seconds']:.0f}", name, level, f"{rate:.6g}", f"{rmse:.5g}"),
                            strict=True,
                        )
                    )
                )
        with open(args.out, "w", newline="") as f:
            out = csv.DictWriter(f, COLUMNS, lineterminator="\n")
            out.writeheader()
            out.writerows(rows)


if __name__ == "__main__":
    main()
