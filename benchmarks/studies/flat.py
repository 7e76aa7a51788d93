"""What becomes of flat, saturated colours, which photographs seldom have: python -m benchmarks.studies.flat [--out
results]

Writes OUT/flat.csv: bytes, largest error and RMSE of one flat picture for each colour and quality. Rows of other
weights stay, for comparison.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import codec
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told
from benchmarks.metrics.pictures import rmse

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
}
QUALITIES = (20, 50, 80, 100)
SIZE = (40, 50)  # rows and columns


def measure(c: codec.Codec) -> pd.DataFrame:
    """One row for each colour and quality."""
    rows = []
    for name, colour in COLOURS.items():
        x = np.full((*SIZE, 3), colour, np.uint8)
        for quality in QUALITIES:
            data = c.encode(x, quality=quality, lossless=False)
            x_hat = c.decode_array(data)
            rows.append(
                {
                    "version": c.decoder_id("vq"),
                    "colour": name,
                    "quality": quality,
                    "bytes": len(data),
                    "max_error": int(np.abs(x_hat.astype(int) - x).max()),
                    "rmse": round(rmse(x, x_hat), 3),
                }
            )
    return pd.DataFrame(rows)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.flat", description=__doc__.split(":")[0])
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    found, path = measure(codec.load(threads=1)), args.out / "flat.csv"
    if path.is_file():
        old = read_frame(path)
        found = pd.concat([old[~old.version.isin(found.version)], found])
    args.out.mkdir(parents=True, exist_ok=True)
    write_frame(found, path)
    print(
        found.pivot(index=["colour", "quality"], columns="version", values=["bytes", "max_error", "rmse"]).to_string()
    )


if __name__ == "__main__":
    main()
