"""The knobs of the semantic decoder, measured: steps, guidance, realism, consistency.

    python -m benchmarks.studies.sweep --feature-weights SQUEEZENET [--images DIR] [--out results/semantic] [--only
    steps,realism] [--jobs N]

Writes OUT/sweep.csv, one row for each knob, value, quality and picture, and OUT/sweep_mean.csv, means over pictures
with sqz_kid of the set. Run again, it measures what is missing; other weights of the decoder begin anew. What a knob
is not about stays at its default; the seed is the one of the file.

Of the latents whose symbol was sent (scale above 0), two shares, for consistency and for realism 0 (the vq picture):
codes_back: come out within half a step when the decoded picture is coded again at the same quality with the same
tokens. Rate-aware decisions and the adaptive prior tip over for small reasons: for the vq picture it is below 1 too.
in_cell: the analysis of the decoded picture is within `codec.restoration.consistency.CELL` steps of what was sent.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import codec
from benchmarks.harness.frames import write_frame
from benchmarks.harness.images import SourceImage
from benchmarks.harness.table import Key
from benchmarks.harness.told import qualities, told
from benchmarks.metrics.sets import FeatureStore
from benchmarks.studies.semantic import Row, Rows, Worker, means, measured, original_key, parser, pictures, version
from codec.bitstream.container import parse
from codec.coding.model import pad
from codec.models.integer_prior import Pass
from codec.restoration.consistency import CELL
from codec.restoration.restore import Options

QUALITIES = (20.0, 40.0, 50.0)  # about .01, .03 and .06 bits/dim on photographs
KNOBS: dict[str, tuple[float, ...]] = {
    "steps": (1, 2, 4, 8, 16), "guidance": (0, 0.5, 1, 1.5, 2, 3), "realism": (0, 0.25, 0.5, 0.75, 1), "consistency": (0, 1),
}  # fmt: skip
_TYPES = {"steps": int, "guidance": float, "realism": float, "consistency": bool}


@dataclass(frozen=True)
class Job:
    """All missing values of the knobs for one picture and quality."""

    image: SourceImage
    quality: float
    values: tuple[tuple[str, float], ...]
    version: str


def feature_key(digest: str, knob: str, value: float, quality: float, version: str) -> Key:
    """Of the features of a decoded picture."""
    return digest, knob, f"{value:g} {quality:g}", version


@torch.inference_mode()
def agreement(c: codec.Codec, data: bytes, picture: np.ndarray) -> dict[str, float]:
    """codes_back and in_cell of a decoded picture; see the module."""
    stream, model = parse(data), c.model
    level, net = stream.header.level, model.vqvae
    x = pad(picture)
    tokens, sent = model.coder.decode(stream.sections, x.shape[2] // 16, x.shape[3] // 16, level)
    coded = np.zeros(sent.shape, bool)

    def replay(p: Pass) -> np.ndarray:
        group = net.config.groups[p.group]
        coded[group.start : group.stop, p.rows, p.columns] = (p.scale > 0).T
        return sent[group.start : group.stop, p.rows, p.columns].T

    model.coder.prior.run(tokens, level, replay)
    asked = model.to_steps(x, level)
    v = asked.v[0].numpy()
    again = model.coder.quantise(v, tokens, level, asked.weight)[1]
    back, inside = np.abs(again - sent) < 128, np.abs(256 * v - sent) <= 256 * CELL
    return {"codes_back": float(back[coded].mean()), "in_cell": float(inside[coded].mean())}


def work(worker: Worker, job: Job) -> list[Row]:
    """Rows of sweep.csv; values that mean the same options are decoded once."""
    x = worker.take(job.image)
    data = worker.codec.encode(x, quality=job.quality, lossless=False)
    done: dict[Options, tuple[np.ndarray, float]] = {}
    rows = []
    for knob, value in job.values:
        options = {knob: _TYPES[knob](value)}
        if (key := Options(**options)) not in done:
            start = time.perf_counter()
            picture = worker.codec.decode_array(data, decoder="ldm", **options)
            done[key] = picture, time.perf_counter() - start
        picture, seconds = done[key]
        checked = knob == "consistency" or (knob, value) == ("realism", 0)
        rows.append({
            "knob": knob, "value": value, "quality": job.quality, "version": job.version,
            "image": job.image.name, "image_hash": job.image.digest, "bytes": len(data), "bits_per_dim": 8 * len(data) / x.size,
            **worker.score(picture, feature_key(job.image.digest, knob, value, job.quality, job.version)),
            **(agreement(worker.codec, data, picture) if checked else {"codes_back": np.nan, "in_cell": np.nan}), "decode_s": seconds,
        })  # fmt: skip
    return rows


def run(
    images: list[SourceImage],
    out: Path,
    weights: Path,
    knobs: list[str],
    qualities: list[float],
    processes: int,
    hub: Path | None = None,
) -> None:
    """Measures what is missing, and writes both tables."""
    measuring, store = version(), FeatureStore(out / ".features")
    table = Rows(out / "sweep.csv", ["knob", "value", "quality", "image_hash"], measuring, hub)
    jobs = []
    for image in images:
        for quality in qualities:
            missing = tuple(
                (k, float(v)) for k in knobs for v in KNOBS[k] if not table.has(k, v, quality, image.digest)
            )
            if missing:
                jobs.append(Job(image, quality, missing, measuring))
    for rows in tqdm(
        measured(work, jobs, weights, out / ".features", processes, hub), total=len(jobs), unit="file", disable=None
    ):
        table.add(rows)
    by_digest = {image.digest: image for image in images}
    frame = table.frame
    frame = frame[frame.image_hash.isin(by_digest)]

    def keys(row: Any) -> tuple[Key, Key]:
        return original_key(by_digest[row.image_hash]), feature_key(
            row.image_hash, row.knob, row.value, row.quality, measuring
        )

    mean = means(frame, ["knob", "value", "quality"], store, keys)
    write_frame(mean, out / "sweep_mean.csv", float_format="%.6g")


@told
def main() -> None:
    ap = parser("sweep", __doc__)
    ap.add_argument("--only", default=",".join(KNOBS), help="knobs, with commas")
    ap.add_argument("--qualities", type=qualities, default=",".join(f"{q:g}" for q in QUALITIES))
    args = ap.parse_args()
    names = args.only.split(",")
    if unknown := set(names) - set(KNOBS):
        ap.error(f"unknown knob {sorted(unknown)[0]!r}; known: {', '.join(KNOBS)}")
    run(
        pictures(args.images, args.limit, args.every),
        args.out,
        args.feature_weights,
        names,
        args.qualities,
        args.jobs,
        args.weights_cache,
    )


if __name__ == "__main__":
    main()
