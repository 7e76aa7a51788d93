"""Measuring decoders: every picture is coded once at each quality, and every decoder reads that file."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

import codec
from benchmarks.codecs import CodecOptions
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import SourceImage
from benchmarks.harness.runner import Failure, Plan, Worker, measure_all, prepare_torch
from benchmarks.harness.table import Row, Table, setting_text
from benchmarks.metrics.pictures import IMAGE_METRICS, MetricOptions, usable_metrics
from benchmarks.metrics.sets import SET_METRICS, FeatureStore, usable_sets

ROWS = "decoder_rows.csv"


@dataclass(frozen=True)
class Job:
    """One file and the decoders that are still to be measured on it, by name and version."""

    image: SourceImage
    setting: str
    decoders: tuple[tuple[str, str], ...]
    codec: str = "the codec"  # in sentences about failures


@dataclass(frozen=True)
class Measured:
    """The rows of a table, the metrics of sets that they have features for, and how many files failed."""

    rows: list[Row]
    set_metrics: tuple[str, ...]
    failed: int


class DecoderWorker(Worker):
    """One process on one thread."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._codec = codec.load(device=plan.codec_options.device, threads=1)

    def measure(self, job: Job) -> list[dict[str, object]]:
        """The rows of a file, one for each decoder."""
        original = self.take(job.image)
        start = time.perf_counter()
        data = self._codec.encode(original, quality=float(job.setting), lossless=False)
        encode_s = time.perf_counter() - start
        rows = []
        for name, version in job.decoders:
            start = time.perf_counter()
            decoded = self._codec.decode_array(data, decoder=name)
            end = time.perf_counter()
            row = self.scored(job.image, f"ours-{name}", job.setting, version, len(data), decoded)
            seconds = {"encode_s": encode_s, "decode_s": end - start, "metrics_s": time.perf_counter() - end}
            rows.append({**row, **{key: f"{value:.4f}" for key, value in seconds.items()}})
        return rows


def versions(wanted: Sequence[str] | None, device: str = "cpu") -> dict[str, str]:
    """Decoders, vq first, and what decides their pictures, as the benchmark's codecs ours-NAME say it.

    None: all that have weights.
    """
    loaded = codec.load(device=device)
    present = loaded.decoders()
    if unknown := [name for name in wanted or () if name not in present]:
        raise BenchmarkError(f"there are no weights for the decoder {unknown[0]!r} (there are: {', '.join(present)})")
    names = dict.fromkeys(("vq", *(wanted or present)))
    return {name: f"codec {codec.__version__}, {loaded.decoder_id(name)}, effort 1" for name in names}


def say(sentence: str) -> None:
    """One line on standard error."""
    tqdm.write(sentence, file=sys.stderr)


def measure_decoders(
    images: Sequence[SourceImage],
    qualities: Sequence[float],
    decoders: Mapping[str, str],
    metrics: Sequence[str],
    options: MetricOptions,
    out: Path,
    processes: int = 1,
    device: str = "cpu",
) -> Measured:
    """Measures what OUT/decoder_rows.csv does not hold yet; returns the rows of what was asked for."""
    prepare_torch((), metrics, options)
    pictures, left_out = usable_metrics([name for name in metrics if name in IMAGE_METRICS], options)
    sets, sets_left_out = usable_sets([name for name in metrics if name in SET_METRICS], options)
    for sentence in (*left_out, *sets_left_out):
        say(sentence)
    store, failed = FeatureStore(out / ".features"), 0
    table = Table(out / ROWS, pictures)
    try:
        jobs = []
        for image in images:
            for setting in map(setting_text, qualities):
                keys = {name: (image.digest, f"ours-{name}", setting, version) for name, version in decoders.items()}
                missing = tuple(
                    (name, key[-1])
                    for name, key in keys.items()
                    if not (table.has(key, pictures) and store.has(key, sets))
                )
                if missing:
                    jobs.append(Job(image, setting, missing))
        plan = Plan((), CodecOptions(device), pictures, sets, options, out / ".features", DecoderWorker)
        for found in tqdm(measure_all(jobs, plan, processes), total=len(jobs), unit="file", disable=None):
            if isinstance(found, Failure):
                failed += 1
                say(f"{found.job.image.name}: quality {found.job.setting} failed: {found.reason}")
                continue
            for row in found:
                table.append(row)
        table.finish({f"ours-{name}": version for name, version in decoders.items()})
        wanted = {image.digest for image in images}
        settings, current = (
            set(map(setting_text, qualities)),
            {(f"ours-{name}", version) for name, version in decoders.items()},
        )
        rows = [
            row for row in table.rows.values()
            if row["image_hash"] in wanted and row["setting"] in settings and (row["codec"], row["version"]) in current
        ]  # fmt: skip
    finally:
        table.close()
    return Measured(rows, sets, failed)
