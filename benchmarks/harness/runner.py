"""Measuring: what a job is, how one is done, and how many are done in parallel."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from benchmarks.codecs import BenchCodec, CodecOptions, Image8, make_codec
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import SourceImage, read_image
from benchmarks.harness.pool import quick_pool
from benchmarks.metrics.pictures import MetricOptions, Scorer
from benchmarks.metrics.sets import FeatureExtractor, FeatureStore
from codec.batch.cluster import Cluster
from codec.batch.engine import Attempt, Died
from codec.batch.pool import interrupt_later, one_thread_each
from codec.errors import CodecError


@dataclass(frozen=True)
class Plan:
    """What every worker needs to know."""

    codecs: tuple[str, ...]
    codec_options: CodecOptions
    metrics: tuple[str, ...]
    set_metrics: tuple[str, ...]
    metric_options: MetricOptions
    features: Path  # folder of the feature store
    worker: "type[Worker] | None" = None  # None: Worker


@dataclass(frozen=True)
class Job:
    """One row to measure."""

    image: SourceImage
    codec: str
    setting: str


@dataclass(frozen=True)
class Failure:
    """A job that could not be done, and why."""

    job: Job
    reason: str


class Worker:
    """Does jobs in one process, on one thread; keeps codecs, metrics and the last picture."""

    def __init__(self, plan: Plan) -> None:
        start = time.perf_counter()
        prepare_torch(plan.codecs, (*plan.metrics, *plan.set_metrics), plan.metric_options)
        self._codecs: dict[str, BenchCodec] = {name: make_codec(name, plan.codec_options) for name in plan.codecs}
        self._scorer = Scorer(plan.metrics, plan.metric_options)
        self._extract = FeatureExtractor(plan.set_metrics, plan.metric_options) if plan.set_metrics else None
        self._store = FeatureStore(plan.features)
        self._set_metrics = plan.set_metrics
        self._digest = ""
        self._original: Image8
        self._reference_s = 0.0  # what the metrics took for the picture itself; the first row of it pays
        self._loading_s = time.perf_counter() - start  # of codecs and metrics, told with the first row

    def __call__(self, job: Any) -> Any:
        """The row, or why there is none. A codec may raise anything, or leave: that must not end the run."""
        try:
            return self.measure(job)
        except BenchmarkError as error:
            return Failure(job, str(error))
        except (Exception, SystemExit) as error:
            return Failure(job, f"{type(error).__name__}: {error}".splitlines()[0])

    def take(self, image: SourceImage) -> Image8:
        """The original of what is scored next."""
        if image.digest != self._digest:
            self._original = read_image(image.path)
            start = time.perf_counter()
            self._scorer.reference(self._original)
            self._digest = image.digest
            key = (image.digest, "original", "", "")
            if self._extract and not self._store.has(key, self._set_metrics):
                self._store.save(key, self._extract(self._original))
            self._reference_s = time.perf_counter() - start
        return self._original

    def measure(self, job: Job) -> Any:
        """The row of a job."""
        codec = self._codecs[job.codec]
        original = self.take(job.image)
        reference_s, self._reference_s = self._reference_s, 0.0
        loading_s, self._loading_s = self._loading_s, 0.0
        start = time.perf_counter()
        data = codec.encode(original, float(job.setting))
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        end = time.perf_counter()
        row = self.scored(job.image, job.codec, job.setting, codec.version, len(data), decoded)
        seconds = {
            "encode_s": encoded - start,
            "decode_s": end - encoded,
            "metrics_s": time.perf_counter() - end + reference_s,
        }
        return {**row, **{name: f"{value:.4f}" for name, value in seconds.items()}, "loading_s": loading_s}

    def scored(
        self, image: SourceImage, codec: str, setting: str, version: str, size: int, decoded: Image8
    ) -> dict[str, object]:
        """The row of a decoded picture, without times; features of it are stored. `image` is what was taken last."""
        values = self._scorer.score(decoded)
        if self._extract:
            self._store.save((image.digest, codec, setting, version), self._extract(decoded))
        pixels = image.width * image.height
        return {
            "codec": codec,
            "setting": setting,
            "version": version,
            "image": image.name,
            "image_hash": image.digest,
            "width": image.width,
            "height": image.height,
            "bytes": size,
            "bits_per_dim": f"{8 * size / (3 * pixels):.8g}",
            "bpp": f"{8 * size / pixels:.8g}",
            **{name: f"{value:.7g}" for name, value in values.items()},
        }


def prepare_torch(codecs: Sequence[str], metrics: Sequence[str], options: MetricOptions) -> None:
    """One thread (so that values do not depend on the machine) and the wanted weights cache.

    Does nothing, and saves the seconds of importing torch, when neither a metric nor a codec will use it.
    """
    if metrics or any(name.startswith(("ours", "compressai")) for name in codecs):
        import torch

        torch.set_num_threads(1)
        if options.weights_cache is not None:
            torch.hub.set_dir(str(options.weights_cache))


_worker: Worker


def _start(plan: Plan) -> None:
    """Start of a worker process: Ctrl-C is the main process's business, and its death is the worker's end."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _worker = (plan.worker or Worker)(plan)


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(job: Job) -> dict[str, object] | Failure:
    return _worker(job)


def measure_all(jobs: Sequence[Job], plan: Plan, processes: int) -> Generator[dict[str, object] | Failure, None, None]:
    """Results as they come; with one process nothing is started beside this one. Closed early, it ends the
    processes."""
    if not jobs:
        return
    if processes == 1:
        yield from map((plan.worker or Worker)(plan), jobs)
        return
    try:
        with one_thread_each(), quick_pool(processes, "spawn", _start, (plan,)) as pool:
            with interrupt_later():
                futures = [pool.submit(_run, job) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
    except BrokenProcessPool:
        raise BenchmarkError(
            "a worker process died (a codec crashed, or memory ran out); finished rows are kept"
        ) from None


class _Measuring:
    """A Worker as the engines of codec.batch call it."""

    def __init__(self, plan: Plan) -> None:
        self._worker = (plan.worker or Worker)(plan)

    def __call__(self, attempt: Attempt[Any], progress: Callable[[float], None] | None = None) -> Any:
        return self._worker(attempt.item)


def measure_on_ray(
    jobs: Sequence[Job], plan: Plan, actors: int, address: str | None
) -> Generator[dict[str, object] | Failure, None, None]:
    """The same on a Ray cluster, by so many actors. address: of its head node, None to start one on this machine."""
    if not jobs:
        return
    try:
        for number, result in Cluster(partial(_Measuring, plan), address, actors).run(jobs):
            died = isinstance(result, Died)
            yield Failure(jobs[number], "its process died again and again") if died else result
    except CodecError as error:
        raise BenchmarkError(str(error)) from error
