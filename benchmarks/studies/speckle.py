"""Whether the encoder can do anything about saturated colours at quality 100: python -m benchmarks.studies.speckle
[--out results]

Writes OUT/speckle.csv: bytes, largest error and RMSE of small drawn pictures, with the rate at its usual share in the
quantiser's decisions, at a fifth of it and at a twentieth, with the look of effort 2 and the searches of efforts 3 and
5, and through the linear transform alone without quantisation (no file), which keeps half of the dimensions of a patch:
no encoder sends what is not in it.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import codec
from benchmarks.harness.frames import write_frame
from benchmarks.harness.told import told
from benchmarks.metrics.pictures import rmse
from codec.bitstream.container import MAX_LEVEL
from codec.coding.model import pad
from codec.coding.ratecontrol import RATE_SHARE

SIDE = 64
EFFORTS = (2, 3, 5)
SHARES = (0.2, 0.05)


def patches(*colours: tuple[int, int, int]) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3): the first colour to the left, the second to the right, the third below."""
    x = np.empty((SIDE, SIDE, 3), np.uint8)
    for rows, columns, colour in zip((0, 0, 37), (0, 29, 0), colours, strict=False):
        x[rows:, columns:] = colour
    return x


PICTURES = {
    "magenta": patches((255, 0, 255)),
    "saturated edges": patches((255, 0, 255), (0, 255, 0), (0, 0, 255)),
    "softer edges": patches((180, 90, 170), (80, 150, 90), (70, 80, 170)),
    "gray edges": patches((0, 0, 0), (255, 255, 255), (128, 128, 128)),
}


@torch.no_grad()
def measure(c: codec.Codec) -> pd.DataFrame:
    """One row for each picture and way."""
    rows, net = [], c.model.vqvae

    def add(name: str, way: str, x_hat: np.ndarray, size: int | None, effort: int = 1) -> None:
        x, version = PICTURES[name], ", ".join(filter(None, (c.decoder_id("vq"), c.search_id(effort))))
        worst = int(np.abs(x_hat.astype(int) - x).max())
        rows.append((version, name, way, size, worst, round(rmse(x, x_hat), 2)))

    for name, x in PICTURES.items():
        for effort in (1, *EFFORTS):
            data = c.encode(x, quality=100, effort=effort, lossless=False)
            add(name, f"effort {effort}", c.decode_array(data), len(data), effort)
        header = len(c.encode(x, quality=100, lossless=False))
        for factor in (1.0, *SHARES):
            asked = c.model.to_steps(x, MAX_LEVEL, share=RATE_SHARE * factor)
            sent = c.model.coder.encode(asked.v[0].numpy(), asked.tokens[0].numpy(), MAX_LEVEL, asked.weight)
            size = sum(map(len, sent.sections))
            if factor == 1:
                header -= size  # which is left of the file
                continue
            assert sent.v_hat is not None
            picture = c.model.decoded(sent.v_hat, MAX_LEVEL)[:SIDE, :SIDE]
            add(name, f"share of the rate x {factor:g}", picture, size + header)
        y = net.g_a.linear(pad(x).float() / 255 - 0.5)
        linear = (net.g_s.linear(y) + 0.5).clamp(0, 1).mul(255).round()[0].permute(1, 2, 0).numpy().astype(np.uint8)
        add(name, "not quantised, linear", linear[:SIDE, :SIDE], None)
    return pd.DataFrame(rows, columns=["version", "picture", "way", "bytes", "max_error", "rmse"]).astype(
        {"bytes": "Int64"}
    )


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.speckle", description=__doc__.split(":")[0])
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    found = measure(codec.load(threads=1))
    args.out.mkdir(parents=True, exist_ok=True)
    write_frame(found, args.out / "speckle.csv")
    print(found.pivot(index=["picture", "way"], columns="version").to_string())


if __name__ == "__main__":
    main()
