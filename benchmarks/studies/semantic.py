"""What sweep.py and upscaling.py share: a worker that measures, tables that grow, means over pictures."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import codec
from benchmarks.codecs import Image8
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.images import SourceImage, folder_images, packaged_images, read_image, source_image
from benchmarks.harness.table import Key
from benchmarks.harness.told import count
from benchmarks.metrics.networks import hub_folder
from benchmarks.metrics.pictures import IMAGE_METRICS, NETWORK_METRICS, MetricOptions, Scorer, usable_metrics
from benchmarks.metrics.sets import METRICS as SETS
from benchmarks.metrics.sets import SET_METRICS, FeatureExtractor, FeatureStore, set_values

METRICS = ("ms_ssim", "sqz_dist")
WITH_HUB = (*NETWORK_METRICS, "fid", "kid")  # measured too where the folder of published weights is named
Row = dict[str, Any]


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The options that both have."""
    ap = argparse.ArgumentParser(prog=f"benchmarks.studies.{name}", description=description.split("\n\n")[0])
    ap.add_argument("--images", type=Path, help="folder of pictures (default: photographs in installed packages)")
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
    ap.add_argument("--every", type=count, default=1, help="only every so many pictures")
    ap.add_argument("--limit", type=count, help="at most so many pictures")
    ap.add_argument("--jobs", type=count, default=1, help="processes, one thread each")
    return ap


def version() -> str:
    """The semantic decoder that is measured, with the hash of its weights and the defaults of its sampler."""
    c = codec.load()
    if "ldm" not in c.decoders():
        raise BenchmarkError("there are no weights of the ldm decoder")
    return f"codec {codec.__version__}, {c.decoder_id('ldm')}"


def pictures(folder: Path | None, limit: int | None, every: int) -> list[SourceImage]:
    """Every so many pictures of a folder (None: the packaged photographs), `limit` at most."""
    paths = packaged_images() if folder is None else folder_images(folder)
    return [source_image(path, path.name) for path in paths[::every][:limit]]


def cropped(x: Image8, multiple: int) -> Image8:
    """The upper left part of a picture whose sides are multiples of so many pixels."""
    return x[: x.shape[0] // multiple * multiple, : x.shape[1] // multiple * multiple]


def original_key(image: SourceImage, multiple: int = 1) -> Key:
    """Of the features of an original cropped to a multiple."""
    return image.digest, "original", str(multiple), ""


def metrics(hub: Path | None) -> tuple[str, ...]:
    """What is measured beside rmse and psnr."""
    return (*METRICS, "sqz_kid", *(WITH_HUB if hub else ()))


class Worker:
    """One process on one thread: the codec, and metrics of pictures against one original at a time."""

    def __init__(self, weights: Path, features: Path, hub: Path | None = None) -> None:
        torch.set_num_threads(1)
        self.codec, self.store = codec.load(threads=1), FeatureStore(features)
        names, options = metrics(hub), MetricOptions(weights, hub)
        self._sets = [name for name in names if name in SET_METRICS]
        with hub_folder(hub):
            self._scorer = Scorer([name for name in names if name in IMAGE_METRICS], options)
            self._extract = FeatureExtractor(self._sets, options)

    def take(self, image: SourceImage, multiple: int = 1) -> Image8:
        """The picture, cropped to a multiple of so many pixels: the original of what is scored next."""
        x = cropped(read_image(image.path), multiple)
        self._scorer.reference(x)
        key = original_key(image, multiple)
        if not self.store.has(key, self._sets):
            self.store.save(key, self._extract(x))
        return x

    def score(self, picture: Image8, key: Key) -> dict[str, float]:
        """Metrics against the original; the features for metrics of sets are stored under the key."""
        self.store.save(key, self._extract(picture))
        return self._scorer.score(picture)


_worker: Worker


def _start(weights: Path, features: Path, hub: Path | None) -> None:
    global _worker
    _worker = Worker(weights, features, hub)


def _do(work: Callable[[Worker, Any], list[Row]], job: Any) -> list[Row]:
    return work(_worker, job)


def measured(
    work: Callable[[Worker, Any], list[Row]],
    jobs: Sequence[Any],
    weights: Path,
    features: Path,
    processes: int,
    hub: Path | None = None,
) -> Iterator[list[Row]]:
    """The rows of each job, in the order in which they are done; work is a function of a module. Raises BenchmarkError
    where a metric cannot be measured here."""
    if processes == 1 or len(jobs) < 2:
        worker = Worker(weights, features, hub) if jobs else None
        yield from (work(worker, job) for job in jobs)
        return
    with hub_folder(hub):  # here, as a process of the pool cannot say it
        _, absent = usable_metrics(
            [name for name in metrics(hub) if name in IMAGE_METRICS], MetricOptions(weights, hub)
        )
    if absent:
        raise BenchmarkError(absent[0])
    with ProcessPoolExecutor(processes, get_context("spawn"), _start, (weights, features, hub)) as pool:
        for done in as_completed([pool.submit(_do, work, job) for job in jobs]):
            yield done.result()


class Rows:
    """A CSV table of one version of the decoder; rows of another version, or without a wanted metric, are dropped
    when it grows."""

    def __init__(self, path: Path, key: Sequence[str], version: str, hub: Path | None = None) -> None:
        self._path, self._key = path, list(key)
        found = read_frame(path) if path.is_file() else pd.DataFrame(columns=["version", *key])
        found = found[found.version == version]
        wanted = [name for name in metrics(hub) if name in NETWORK_METRICS]
        self._rows = (found.dropna(subset=wanted) if set(wanted) <= set(found) else found.head(0)).to_dict("records")

    def has(self, *key: object) -> bool:
        """Whether there is a row with these values of the key columns."""
        return any(all(row[name] == value for name, value in zip(self._key, key, strict=True)) for row in self._rows)

    def add(self, rows: list[Row]) -> None:
        """Writes the whole table, sorted by its key."""
        self._rows += rows
        write_frame(self.frame, self._path, float_format="%.6g")

    @property
    def frame(self) -> pd.DataFrame:
        """All rows."""
        frame = pd.DataFrame(self._rows)
        return frame.sort_values(self._key, kind="stable", ignore_index=True) if len(frame) else frame


def means(
    rows: pd.DataFrame, by: Sequence[str], store: FeatureStore, keys: Callable[[Any], tuple[Key, Key]]
) -> pd.DataFrame:
    """Means over pictures, and metrics of the set with their 95 % bootstrap intervals over them.

    keys(row): of the features of original and result.
    """
    out = []
    for values, group in rows.groupby(list(by), sort=True):
        numbers = group.drop(columns=[*by, "image", "image_hash", "version"]).mean()
        row = {**dict(zip(by, values, strict=True)), "version": group.version.iloc[0], "images": len(group), **numbers}
        original, result = (
            [store.load(key) for key in side] for side in zip(*(keys(r) for r in group.itertuples()), strict=True)
        )
        if all(original) and all(result):
            kinds = set.intersection(*(set(item) for item in (*original, *result)))
            names = [record.name for record in SETS if record.features in kinds]
            row |= set_values(names, original, result)
        out.append(row)
    return pd.DataFrame(out)
