"""Smaller pictures of the first groups (codec.coarse) beside the whole picture, made smaller: time and error.

    python -m benchmarks.speed.coarse --images DIR
    python -m benchmarks.speed.coarse --images DIR --qualities 10,50 --repeats 3 --out results/coarse

For each picture of a folder, quality and factor: RMSE between the two, and of each to the picture that was encoded,
made smaller too; all of 8-bit RGB pixels, made smaller by means over squares. For the first picture at each quality
also processor time of both, in turns, on one thread. Written: OUT.csv, a row for each quality and factor with means
over the pictures; OUT.json. Exit code 0; 1 if something cannot be measured; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image
from tqdm import tqdm

import codec
from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.images import folder_images, packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import count, told
from codec import coarse, light
from codec.bitstream.container import read_header

ROOT = Path(__file__).resolve().parents[2]
QUALITIES = (10, 30, 50, 70, 90)
COLUMNS = (
    "quality", "factor", "images", "share_of_file", "rmse_to_whole", "rmse_to_original", "whole_to_original",
    "onnx_ratio", "torch_ratio", "repeats",
)  # fmt: skip
METHOD = {
    "share_of_file": "bytes that are read, of all; mean over the pictures",
    "rmse_to_whole": "mean over the pictures of the RMSE to the decoded whole picture, made as small",
    "rmse_to_original": "of the coarse picture to the one that was encoded, made as small",
    "whole_to_original": "of the whole picture to the one that was encoded, both made as small",
    "onnx_ratio": "median over turns of the processor time of the whole picture, with onnxruntime, over that of the coarse one, in the same turn; of the first picture, one thread, models loaded",
    "torch_ratio": "the same with PyTorch",
}


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    """uint8 (H, W, 3) -> float, means over squares; what is left over at the right and bottom is cut off."""
    h, w = (n // factor for n in pixels.shape[:2])
    return pixels[: h * factor, : w * factor].reshape(h, factor, w, factor, 3).mean((1, 3))


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a - b))))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def ratios(data: bytes, factor: int, whole: Sequence[Callable[[bytes], object]], repeats: int) -> list[float]:
    """How many times as long each of the decoders of the whole picture takes."""
    jobs: list[Callable[[], object]] = [lambda: coarse.decode(io.BytesIO(data), factor)]
    jobs += [lambda decode=decode: decode(data) for decode in whole]  # type: ignore[misc]
    turns = [[0.0] * len(jobs) for _ in range(repeats)]
    for job in jobs:
        job()
    for number, turn in enumerate(turns):
        for k in sorted(range(len(jobs)), reverse=bool(number % 2)):
            turn[k] = seconds(jobs[k])
    return [median(turn[k] / turn[0] for turn in turns) for k in range(1, len(jobs))]


def measure(paths: Sequence[Path], qualities: Sequence[int], repeats: int) -> list[dict[str, object]]:
    """The rows."""
    one, fast = codec.load(threads=1), light.load()
    found: dict[tuple[int, int], list[tuple[float, ...]]] = {}
    faster: dict[tuple[int, int], list[float]] = {}
    for number, path in enumerate(tqdm(paths, unit="picture")):
        original = read_image(path)
        for quality in qualities:
            data = one.encode(Image.fromarray(original), quality=quality, lossless=False)
            info, whole = read_header(data), one.decode_array(data)
            for factor in coarse.FACTORS:
                file = io.BytesIO(data)
                h, w = (n // factor for n in original.shape[:2])
                small = np.asarray(coarse.decode(file, factor).convert("RGB"), float)[:h, :w]
                after, before = reduced(whole, factor), reduced(original, factor)
                errors = rmse(small, after), rmse(small, before), rmse(after, before)
                found.setdefault((quality, factor), []).append((file.tell() / info.file_bytes, *errors))
                if number == 0:
                    faster[quality, factor] = ratios(data, factor, (fast.decode, one.decode), repeats)
    rows: list[dict[str, object]] = []
    for (quality, factor), values in found.items():
        share, *errors_mean = (round(float(v), 3) for v in np.mean(values, 0))
        onnx, torch = (round(ratio, 2) for ratio in faster[quality, factor])
        errors_of = dict(zip(("rmse_to_whole", "rmse_to_original", "whole_to_original"), errors_mean, strict=True))
        times = {"onnx_ratio": onnx, "torch_ratio": torch, "repeats": repeats}
        head = {"quality": quality, "factor": factor, "images": len(values), "share_of_file": share}
        rows.append({**head, **errors_of, **times})
    return sorted(rows, key=lambda row: (row["factor"], row["quality"]))


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code, prints the table."""
    parser = argparse.ArgumentParser(
        prog="coarse.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="default: photographs in installed packages")
    parser.add_argument(
        "--qualities",
        type=lambda text: [int(part) for part in text.split(",")],
        default=list(QUALITIES),
        metavar="A,B",
        help=f"default {','.join(map(str, QUALITIES))}",
    )
    parser.add_argument("--repeats", type=count, default=5, help="turns of the times (default 5)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "coarse", help="without suffix (default results/coarse)"
    )
    options = parser.parse_args(arguments)
    if not all(0 <= quality <= 100 for quality in options.qualities):
        parser.error("qualities are 0..100")
    load = os.getloadavg()[0]
    paths = folder_images(options.images) if options.images else packaged_images()
    rows = measure(paths, options.qualities, options.repeats)
    for row in rows:
        print(" ".join(f"{name} {row[name]}" for name in COLUMNS))
    write_rows(options.out.with_suffix(".csv"), COLUMNS, rows)
    pictures = f"{len(paths)} of {options.images.name if options.images else 'installed packages'}"
    facts = run_metadata(
        pictures=pictures,
        model=codec.load().model_id,
        load_average_before=round(load, 2),
        load_average_after=round(os.getloadavg()[0], 2),
        method=METHOD,
    )
    options.out.with_suffix(".json").write_text(facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
