"""Super-resolution, measured.

    python -m benchmarks.studies.upscaling --feature-weights SQUEEZENET [--images DIR] [--out results/semantic]
    [--jobs N] [--real-esrgan]

Each picture, cropped to multiples of 4, is made smaller with Pillow's bicubic filter and enlarged again: by the
codec, bicubically, with Lanczos' filter, and four times by Real-ESRGAN if asked. Writes OUT/upscaling.csv, one row
for each method, scale and picture, and OUT/upscaling_mean.csv, means over pictures with sqz_kid of the set. Run
again, it measures what is missing; other weights begin anew. small_rmse: of the enlarged picture, made smaller again,
against the picture that was enlarged.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

import codec
from benchmarks.harness.frames import write_frame
from benchmarks.harness.images import SourceImage
from benchmarks.harness.table import Key
from benchmarks.harness.told import told
from benchmarks.metrics.pictures import rmse
from benchmarks.metrics.sets import FeatureStore
from benchmarks.studies import real_esrgan
from benchmarks.studies.semantic import Row, Rows, Worker, means, measured, original_key, parser, pictures, version
from codec.restoration.strength import ENLARGED

SCALES = (2, 4)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
METHODS = (*FILTERS, "ours")
RIVAL = "real-esrgan"
_CROP = max(SCALES)


@dataclass(frozen=True)
class Job:
    """All missing rows of one picture: scales and methods."""

    image: SourceImage
    todo: tuple[tuple[int, str], ...]
    version: str


def feature_key(digest: str, method: str, scale: int, version: str) -> Key:
    """Of the features of an enlarged picture."""
    return digest, method, str(scale), version


def shrunk(x: np.ndarray, scale: int) -> Image.Image:
    """x (H, W, 3) uint8 -> the picture that is enlarged."""
    return Image.fromarray(x).resize((x.shape[1] // scale, x.shape[0] // scale), Image.Resampling.BICUBIC)


def enlarged(c: codec.Codec, small: Image.Image, scale: int, method: str) -> np.ndarray:
    """(H, W, 3) uint8; method: one of METHODS, or RIVAL."""
    if method == "ours":
        return np.asarray(c.upscale(small, scale))
    if method == RIVAL:
        return real_esrgan.enlarge(np.asarray(small))
    return np.asarray(small.resize((small.width * scale, small.height * scale), FILTERS[method]))


def work(worker: Worker, job: Job) -> list[Row]:
    """Rows of upscaling.csv."""
    x = worker.take(job.image, _CROP)
    rows = []
    for scale, method in job.todo:
        small = shrunk(x, scale)
        start = time.perf_counter()
        picture = enlarged(worker.codec, small, scale, method)
        seconds = time.perf_counter() - start
        rows.append({
            "scale": scale, "method": method, "version": job.version, "image": job.image.name, "image_hash": job.image.digest,
            **worker.score(picture, feature_key(job.image.digest, method, scale, job.version)),
            "small_rmse": rmse(np.asarray(small), np.asarray(shrunk(picture, scale))), "seconds": seconds,
        })  # fmt: skip
    return rows


def run(
    images: list[SourceImage], out: Path, weights: Path, processes: int, hub: Path | None = None, rival: bool = False
) -> None:
    """Measures what is missing, and writes both tables."""
    emphasis = "/".join(f"{strength.emphasis:g}" for strength in ENLARGED)
    measuring, store = f"{version()}, enlarged {emphasis}", FeatureStore(out / ".features")
    table = Rows(out / "upscaling.csv", ["scale", "method", "image_hash"], measuring, hub)
    asked = [(s, m) for s in SCALES for m in METHODS] + ([(real_esrgan.SCALE, RIVAL)] if rival else [])
    if rival:
        real_esrgan.network()
    missing = {image: tuple((s, m) for s, m in asked if not table.has(s, m, image.digest)) for image in images}
    jobs = [Job(image, todo, measuring) for image, todo in missing.items() if todo]
    for rows in tqdm(
        measured(work, jobs, weights, out / ".features", processes, hub), total=len(jobs), unit="picture", disable=None
    ):
        table.add(rows)
    by_digest = {image.digest: image for image in images}
    frame = table.frame
    frame = frame[frame.image_hash.isin(by_digest)]

    def keys(row: Any) -> tuple[Key, Key]:
        return original_key(by_digest[row.image_hash], _CROP), feature_key(
            row.image_hash, row.method, row.scale, measuring
        )

    mean = means(frame, ["scale", "method"], store, keys)
    write_frame(mean, out / "upscaling_mean.csv", float_format="%.6g")


@told
def main() -> None:
    ap = parser("upscaling", __doc__)
    ap.add_argument("--real-esrgan", action="store_true", help="measure Real-ESRGAN x4 too (extra real-esrgan)")
    args = ap.parse_args()
    chosen = pictures(args.images, args.limit, args.every)
    run(chosen, args.out, args.feature_weights, args.jobs, args.weights_cache, args.real_esrgan)


if __name__ == "__main__":
    main()
