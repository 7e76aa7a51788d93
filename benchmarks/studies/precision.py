"""What bfloat16 does to pictures: python -m benchmarks.studies.precision --images DIR [--out results]

Writes OUT/precision.csv: for each picture, flat colour, quality and decoder the RMSE and MS-SSIM of one file decoded
in float32 and in bfloat16, how far the two are apart, how far one and two threads are apart in bfloat16, and what a
file encoded in bfloat16 has. Rows that were there stay, and are replaced when measured again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import codec
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.images import folder_images, read_image
from benchmarks.harness.told import count, told
from benchmarks.metrics.pictures import rmse
from benchmarks.studies.flat import COLOURS, SIZE

QUALITIES = (5, 20, 35, 50, 65, 80, 92, 100)
SMALLEST = 161  # side of a picture that MS-SSIM is defined for


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    import torch
    from pytorch_msssim import ms_ssim as measured

    x, y = (torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1)[None].float() for p in (a, b))
    return float(measured(x, y, data_range=255.0))


def pictures(folder: Path, count: int) -> Iterator[tuple[str, np.ndarray]]:
    """``count`` pictures spread over a folder, then the flat colours."""
    paths = folder_images(folder)
    for path in paths[:: max(1, len(paths) // count)][:count]:
        x = read_image(path)
        if min(x.shape[:2]) < SMALLEST:
            raise BenchmarkError(f"{path}: both sides need {SMALLEST} pixels, for MS-SSIM")
        yield path.name, x
    for name, colour in COLOURS.items():
        yield f"flat {name}", np.full((*SIZE, 3), colour, np.uint8)


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b)


def measure(folder: Path, count: int, decoders: list[str]) -> pd.DataFrame:
    """One row for each picture, quality and decoder; flat colours have vq only."""
    wide, narrow, two = (
        codec.load(threads=t, precision=p) for t, p in ((1, "float32"), (1, "bfloat16"), (2, "bfloat16"))
    )
    if unknown := [name for name in decoders if name not in wide.decoders()]:
        raise BenchmarkError(f"there is no decoder {unknown[0]!r} (there are: {', '.join(wide.decoders())})")
    rows = []
    for name, x in pictures(folder, count):
        for quality in QUALITIES:
            data, other = (c.encode(x, quality=quality, lossless=False) for c in (wide, narrow))
            encoded = wide.decode_array(other)
            for decoder in decoders if min(x.shape[:2]) >= SMALLEST else decoders[:1]:
                a, b, c = (one.decode_array(data, decoder=decoder) for one in (wide, narrow, two))
                row = {
                    "version": wide.decoder_id(decoder),
                    "image": name,
                    "decoder": decoder,
                    "quality": quality,
                    "bytes": len(data),
                }
                row |= {
                    "rmse_float32": rmse(x, a),
                    "rmse_bfloat16": rmse(x, b),
                    "rmse_difference": rmse(x, b) - rmse(x, a),
                }
                if min(x.shape[:2]) >= SMALLEST:
                    row |= {"ms_ssim_float32": ms_ssim(x, a), "ms_ssim_difference": ms_ssim(x, b) - ms_ssim(x, a)}
                row |= {
                    "max_apart": apart(a, b).max(),
                    "mean_apart": apart(a, b).mean(),
                    "threads_apart": apart(b, c).max(),
                }
                if decoder == decoders[0]:
                    row |= {"encoded_bytes": len(other), "encoded_rmse": rmse(x, encoded)}
                rows.append(row)
    return pd.DataFrame(rows).round(6)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.precision", description=__doc__.split(":")[0])
    ap.add_argument("--images", type=Path, required=True)
    ap.add_argument("--count", type=count, default=3, help="pictures to take of the folder")
    ap.add_argument("--decoders", default="vq,perceptual,gan,ldm", help="names with commas between, vq first")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    found, path = measure(args.images, args.count, args.decoders.split(",")), args.out / "precision.csv"
    if path.is_file():
        old = read_frame(path)
        found = pd.concat([old, found]).drop_duplicates(["version", "image", "decoder", "quality"], keep="last")
    args.out.mkdir(parents=True, exist_ok=True)
    write_frame(found, path)
    worst = found.assign(rmse_difference=found.rmse_difference.abs(), ms_ssim_difference=found.ms_ssim_difference.abs())
    print(
        worst.groupby(["decoder", "quality"])[["rmse_difference", "ms_ssim_difference", "max_apart", "threads_apart"]]
        .max()
        .to_string()
    )


if __name__ == "__main__":
    main()
