"""Many files in several processes: the same files and reports as in one, whatever happens to the processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from codec import cli
from codec.batch.engine import Attempt
from codec.batch.outcome import Needs, StartError
from codec.batch.pool import Pool
from tests.support.fake_cli import BLUE, GREEN, RED
from tests.support.many import ROOT, draw, made, names, objects, run, start


def test_several_processes_make_the_same_files_and_the_same_reports(tmp_path):
    folder = draw(tmp_path / "in", 12)
    (folder / "0003.png").write_bytes(b"no picture")
    results = {}
    for jobs in (1, 3):
        out = tmp_path / f"out{jobs}"
        results[jobs] = objects(run("encode", folder, "-o", out, "--jobs", jobs, "--json", code=1))
        assert list(made(out)) == names(12, without=[3])
    for one, many in zip(results[1], results[3], strict=True):
        assert {"seconds": 0, "output": 0} | many == {"seconds": 0, "output": 0} | one | {
            name: many[name] for name in ("seconds", "output") if name in many
        }
    assert made(tmp_path / "out1") == made(tmp_path / "out3")


def test_a_worker_that_is_killed_costs_one_file(tmp_path):
    folder = draw(tmp_path / "in", 9, {2: RED, 5: GREEN, 8: RED})
    mark = str(tmp_path / "mark")
    (tmp_path / "mark").touch()
    (tmp_path / "mark").unlink()
    result = run("encode", folder, "-o", tmp_path / "out", "--jobs", 2, code=1, FAKE_MARK=mark)
    assert result.stderr.count("died twice, most likely for want of memory") == 2
    assert result.stderr.splitlines()[-1].startswith("ldc: 2 of 9 files failed: ")
    assert list(made(tmp_path / "out")) == names(9, without=[2, 8])


def test_workers_that_all_die_end_the_run(tmp_path):
    folder = draw(tmp_path / "in", 6, dict.fromkeys(range(6), RED))
    result = run("encode", folder, "-o", tmp_path / "out", "--jobs", 2, code=1)
    assert "the worker processes die at once" in result.stderr.splitlines()[-1]


def test_interruption_says_how_to_go_on_and_leaves_no_half_file(tmp_path):
    folder = draw(tmp_path / "in", 8, dict.fromkeys(range(3, 8), BLUE))
    out, begun = tmp_path / "out", tmp_path / "begun"
    begun.mkdir()
    process = start("encode", folder, "-o", out, "--jobs", 2, FAKE_SECONDS="3600", FAKE_BEGUN=str(begun))
    while len(list(begun.iterdir())) < 2:  # a worker gets the fourth or fifth file when the third has been reported
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    last = err.splitlines()[-1]
    assert last == "ldc: error: interrupted after 3 of 8 files; the same command with --skip-existing goes on"
    assert list(made(out)) == names(3)
    result = run("encode", folder, "-o", out, "--jobs", 2, "--skip-existing", FAKE_SECONDS="0")
    assert result.stderr.count(": skipped,") == 3 and list(made(out)) == names(8)


def test_two_runs_into_one_folder(tmp_path):
    folder = draw(tmp_path / "in", 8, dict.fromkeys(range(8), BLUE))
    both = [start("encode", folder, "-o", tmp_path / "out", "--jobs", 2, FAKE_SECONDS=".1") for _ in range(2)]
    for process in both:
        err = process.communicate(timeout=600)[1]
        wrong = [line for line in err.splitlines() if "error" in line]
        assert process.returncode == (1 if wrong else 0)
        assert all("exists (-f overwrites it)" in line for line in wrong), err
    assert list(made(tmp_path / "out")) == names(8)
    run("encode", folder, "-o", tmp_path / "out", "--skip-existing")


@dataclass
class Sleeper:
    """Tells when it was at work; items are megapixels. The first ones wait until there are three workers."""

    folder: Path

    def __call__(self, attempt: Attempt[float], progress=None):
        start = time.monotonic()
        (self.folder / str(os.getpid())).touch()
        while len(list(self.folder.iterdir())) < 3:
            time.sleep(0.01)
        if attempt.item > attempt.granted:
            return Needs(attempt.item)
        time.sleep(0.05)
        return start, time.monotonic()


def test_megapixels_in_work_stay_within_the_budget(tmp_path):
    sizes = [1, 9, 2, 1, 30, 4, 1, 9, 2]
    spans = dict(Pool(partial(Sleeper, tmp_path), 3, megapixels=12).run(sizes))
    assert sorted(spans) == list(range(9))
    for moment, _ in spans.values():
        at_work = [sizes[n] for n, (a, b) in spans.items() if a <= moment < b]
        assert sum(at_work) <= 12 or at_work == [30]
    assert any(sum(a <= moment < b for a, b in spans.values()) > 1 for moment, _ in spans.values())


class Doomed:
    def __call__(self, attempt: Attempt[int], progress=None):
        os._exit(1)


def test_a_worker_that_cannot_start_a_thread_says_nothing_of_its_own(capfd):
    start = "threading.Thread.start = lambda self: exec('raise RuntimeError(\"can\\'t start new thread\")')"
    program = f"import threading; {start}; from codec.batch import pool; pool._start(int, None)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT, check=False)
    assert (result.returncode, result.stderr) == (1, b"")


def test_the_pool_gives_up_where_nothing_lives():
    with pytest.raises(StartError, match="die at once"):
        list(Pool(Doomed, 2).run(range(9)))


@pytest.mark.slow
def test_decode_and_upscale_in_several_processes(tmp_path):
    folder = draw(tmp_path / "in", 4)
    run("encode", folder, "-o", tmp_path / "out")
    for command, source, suffix in (("decode", tmp_path / "out", ".png"), ("upscale", folder, ".x2.png")):
        for jobs in (1, 2):
            run(command, source, "-o", tmp_path / f"{command}{jobs}", "--jobs", jobs)
        one, two = (made(tmp_path / f"{command}{jobs}") for jobs in (1, 2))
        assert list(one) == [f"{number:04d}{suffix}" for number in range(4)] and one == two


@pytest.mark.slow
def test_the_real_codec_makes_the_same_files_in_several_processes(tmp_path, small, shipped):
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.fromarray(small[number * 40 : number * 40 + 70, :90]).save(tmp_path / "in" / f"{number}.png")
    assert cli.main(["encode", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--jobs", "2"]) == 0
    for number in range(3):
        data = shipped.encode(tmp_path / "in" / f"{number}.png")
        assert (tmp_path / "out" / f"{number}.ldc").read_bytes() == data
