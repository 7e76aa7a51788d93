"""benchmarks/speed/measure.py: the protocol between table and workers, the ratios, and its refusals. No time is
compared with anything."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.harness.errors import BenchmarkError
from benchmarks.speed import measure as speed
from benchmarks.speed.worker import Job, count_macs
from codec.models.exact_bytes import Bytes
from codec.models.exact_torch import Torch


@pytest.fixture
def webp(tmp_path) -> tuple[Job, Job]:
    pixels = tmp_path / "pixels.npy"
    np.save(pixels, np.arange(48 * 32 * 3, dtype=np.uint8).reshape(32, 48, 3))
    return tuple(
        Job("webp", direction, 1, 80, 0, str(pixels), str(tmp_path / "file")) for direction in ("encode", "decode")
    )


def test_workers_measure_both_directions(webp):
    bar = SimpleNamespace(update=lambda: None)
    encoder, decoder = speed.measure(webp, 3, 1, bar)
    for worker in (encoder, decoder):
        line = speed.row(worker, {}, (48, 32))
        assert set(line) <= set(speed.COLUMNS)
        assert 0 < line["seconds_q1"] <= line["seconds"] <= line["seconds_q3"] and line["repeats"] == 3
        assert line["peak_mb"] >= line["loaded_mb"] > 5 and line["kmac_per_pixel"] is None
        assert line["bytes"] == os.path.getsize(encoder.job.file)


def test_ratio_is_the_median_of_ratios_within_turns():
    facts = {"macs": 48 * 32 * 5000, "bytes": 10, "startup_s": 1.0, "peak_mb": 2.0, "loaded_mb": 1.0}
    ours = SimpleNamespace(job=Job("ours", "encode", 1, 50, 1, "", ""), facts=facts, seconds=[1.0, 8.0, 3.0])
    other = SimpleNamespace(seconds=[2.0, 2.0, 2.0])
    line = speed.row(ours, {"hyperprior": other}, (48, 32))
    assert line["ratio_hyperprior"] == 1.5 and line["kmac_per_pixel"] == 5 and line["setting"] == "quality 50, effort 1"


def test_decoders_read_what_encoders_write(tmp_path):
    plan = speed.jobs(2, [1, 9], ["vq", "ldm"], 50, tmp_path)
    written = {job.file for job in plan if job.direction == "encode"}
    assert len(written) == 5 and {job.file for job in plan if job.direction == "decode"} <= written
    assert all(job.threads == 2 for job in plan)
    assert [job.decoder for job in plan if job.codec == "ours"] == ["", "", "vq", "ldm"]


def test_broken_worker_is_told(webp):
    with pytest.raises(BenchmarkError, match="webp decode failed: FileNotFoundError"):
        speed.Worker(webp[1])


def test_more_threads_than_cores_are_refused():
    with pytest.raises(SystemExit, match="4096 threads cannot be measured"):
        speed.main(["--threads", "4096"])
    for arguments in (["--threads", "0"], ["--repeats", "0"], ["--efforts", "x"]):
        with pytest.raises(SystemExit, match="2"):
            speed.main(arguments)


def test_products_of_bytes_count_as_those_of_the_integers_they_stand_for():
    scaled = np.ones((40, 30)) / 4096, np.zeros(30)
    counted = []
    for use in (Bytes(), Torch()):
        x, made = use.load(np.ones((7, 40))), use.layer(*scaled)
        counted.append(count_macs(lambda use=use, x=x, made=made: use.dense(x, *made)))
    assert counted == [7 * 40 * 30] * 2
