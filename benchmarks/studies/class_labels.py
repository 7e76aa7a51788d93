"""What a class label does for the ldm decoder: python -m benchmarks.studies.class_labels --images DIR --feature-weights SQUEEZENET [--subjects FILE] [--out results/semantic] [--jobs N]

Every picture is decoded with no label, with its own, and with that of something else (each of the other labels in turn), from the same file and seed. Writes OUT/labels.csv, one row for each
picture, quality and label, and OUT/labels_mean.csv: means over pictures, sqz_kid of the set, and the mean difference of sqz_dist to no label with its 95 % bootstrap interval, paired by
picture. What the pictures show is in benchmarks/studies/subjects.csv. Run again, it measures what is missing.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

import codec
from benchmarks.analysis.bdrate import bootstrap
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import SourceImage
from benchmarks.harness.table import Key
from benchmarks.metrics.sets import FeatureStore
from benchmarks.studies.semantic import Row, Rows, Worker, means, measured, original_key, pictures, version
from benchmarks.studies.sweep import QUALITIES
from codec import manifest
from codec.errors import CodecError
from codec.zoo import labels_hash

SAID = ("none", "own", "other")


@dataclass(frozen=True)
class Job:
    """One picture at one quality; labels: what is said of it in each case of SAID."""

    image: SourceImage
    quality: float
    labels: tuple[str | None, ...]
    version: str


def feature_key(digest: str, said: str, quality: float, version: str) -> Key:
    """Of the features of a decoded picture."""
    return digest, "label", f"{said} {quality:g}", version


def work(worker: Worker, job: Job) -> list[Row]:
    """Rows of labels.csv."""
    x = worker.take(job.image)
    data, rows = worker.codec.encode(x, quality=job.quality), []
    for said, label in zip(SAID, job.labels, strict=True):
        start = time.perf_counter()
        picture = worker.codec.decode_array(data, decoder="ldm", label=label)
        seconds = time.perf_counter() - start
        rows.append({
            "said": said, "quality": job.quality, "label": label or "", "version": job.version, "image": job.image.name, "image_hash": job.image.digest, "bytes": len(data),
            "bits_per_dim": 8 * len(data) / x.size, **worker.score(picture, feature_key(job.image.digest, said, job.quality, job.version)), "decode_s": seconds,
        })  # fmt: skip
    return rows


def jobs(images: list[SourceImage], subjects: dict[str, str], names: tuple[str, ...], measuring: str) -> list[Job]:
    """Every picture at every quality. Raises BenchmarkError for a picture of which nothing, or nothing known, is said."""
    found = []
    for k, image in enumerate(images):
        own = subjects.get(image.name)
        if own not in names:
            raise BenchmarkError(f"{image.name} has no subject that is one of {', '.join(names)}")
        other = names[(names.index(own) + 1 + k % (len(names) - 1)) % len(names)]
        found += [Job(image, quality, (None, own, other), measuring) for quality in QUALITIES]
    return found


def run(
    images: list[SourceImage],
    subjects: dict[str, str],
    out: Path,
    weights: Path,
    processes: int,
    hub: Path | None = None,
) -> pd.DataFrame:
    """Measures what is missing, and writes both tables."""
    c = codec.load()
    measuring = f"{version()}, labels {labels_hash(manifest.read(), c.model_id)}"
    table, store = (
        Rows(out / "labels.csv", ["said", "quality", "image_hash"], measuring, hub),
        FeatureStore(out / ".features"),
    )
    todo = [j for j in jobs(images, subjects, c.labels(), measuring) if not table.has("own", j.quality, j.image.digest)]
    for rows in tqdm(
        measured(work, todo, weights, out / ".features", processes, hub), total=len(todo), unit="file", disable=None
    ):
        table.add(rows)
    by_digest = {image.digest: image for image in images}
    frame = table.frame
    frame = frame[frame.image_hash.isin(by_digest)]

    def keys(row: Any) -> tuple[Key, Key]:
        return original_key(by_digest[row.image_hash]), feature_key(row.image_hash, row.said, row.quality, measuring)

    mean = means(frame.drop(columns="label"), ["said", "quality"], store, keys)
    plain = frame[frame.said == "none"].set_index(["quality", "image_hash"]).sqz_dist
    for k, row in mean.iterrows():
        part = (
            frame[(frame.said == row.said) & (frame.quality == row.quality)]
            .set_index(["quality", "image_hash"])
            .sqz_dist
        )
        mean.loc[k, ["sqz_dist_more", "sqz_dist_more_low", "sqz_dist_more_high"]] = bootstrap(
            part - plain.reindex(part.index)
        )
    mean.to_csv(out / "labels_mean.csv", index=False, float_format="%.6g", lineterminator="\n")
    return mean


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.class_labels", description=__doc__.split("\n")[0])
    ap.add_argument("--images", type=Path, required=True, help="folder of pictures")
    ap.add_argument(
        "--subjects", type=Path, default=Path(__file__).with_name("subjects.csv"), help="CSV with image and subject"
    )
    ap.add_argument(
        "--feature-weights", type=Path, required=True, help="SqueezeNet 1.1 weights for sqz_dist and sqz_kid"
    )
    ap.add_argument(
        "--weights-cache",
        type=Path,
        metavar="HUB",
        help="folder of benchmarks.metrics.weights: LPIPS, DISTS, FID and others too",
    )
    ap.add_argument("--out", type=Path, default=Path("results/semantic"))
    ap.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    args = ap.parse_args()
    subjects = pd.read_csv(args.subjects).set_index("image").subject.to_dict()
    try:
        print(
            run(
                pictures(args.images, None, 1), subjects, args.out, args.feature_weights, args.jobs, args.weights_cache
            ).to_string(index=False)
        )
    except (BenchmarkError, CodecError) as error:
        sys.exit(f"class_labels: {error}")


if __name__ == "__main__":
    main()
