"""`python -m codec decode` from start to finish, with torch and with onnxruntime: what one picture costs in a fresh
process.

    python -m benchmarks.speed.cold
    python -m benchmarks.speed.cold --threads 1 --repeats 9 --out results/speed_cold

The backends take turns, so that what else the machine does falls on both alike. Written: OUT.csv (medians; ratios:
medians of the ratios within a turn) and OUT.json (machine, versions, settings). Exit code 0; 1 if something cannot be
measured; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps

import codec
from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import count, told

ROOT = Path(__file__).resolve().parents[2]
SIZE = (768, 512)
BACKENDS = ("torch", "onnx")
COLUMNS = (
    "backend", "threads", "quality", "width", "height", "bytes", "wall_s", "processor_s", "peak_mb", "repeats",
    "wall_ratio", "processor_ratio", "largest_difference",
)  # fmt: skip
METHOD = {
    "wall_s": "median of the time from the start of the process to its end: imports, weights, decoding, writing a PNG",
    "processor_s": "median of its processor time, user and system, of all threads",
    "peak_mb": "median of its largest resident size, in 10**6 bytes",
    "ratio": "median over turns of torch divided by this backend, in the same turn",
    "largest_difference": "to the picture of torch, in grey levels",
}

#: what `python -m codec` does, then the peak of its memory: the parent's counts in what the system tells of a child
PROGRAM = """
import sys
from codec.cli import main
code = main(sys.argv[1:])
from benchmarks.speed.worker import memory
print(memory("VmHWM"))
sys.exit(code)
"""


@dataclass(frozen=True)
class Run:
    """One process: seconds, and 10**6 bytes."""

    wall: float
    processor: float
    peak: float


def run(backend: str, source: Path, target: Path, threads: int) -> Run:
    """Decode a file in a fresh process. Raises BenchmarkError when it fails."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    env["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-c", PROGRAM, "decode", str(source), "-o", str(target), "-f", "--backend", backend]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--quiet"], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process.stdout, process.stderr:
        peak, said = process.stdout.read(), process.stderr.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"decoding with {backend} failed: {said}")
    return Run(wall, usage.ru_utime + usage.ru_stime, float(peak))


def measure(source: Path, folder: Path, threads: int, repeats: int) -> dict[str, list[Run]]:
    """All runs of each backend, after one of each that warms the file cache."""
    runs: dict[str, list[Run]] = {name: [] for name in BACKENDS}
    for turn in range(-1, repeats):
        for name in BACKENDS if turn % 2 else reversed(BACKENDS):
            result = run(name, source, folder / f"{name}.png", threads)
            if turn >= 0:
                runs[name].append(result)
    return runs


def rows(runs: dict[str, list[Run]], **facts: object) -> list[dict[str, object]]:
    """Lines of the table, with facts that are common to them."""
    out = []
    for name, done in runs.items():
        turns = list(zip(runs["torch"], done, strict=True))
        out.append(
            {
                "backend": name,
                **facts,
                "wall_s": round(median(one.wall for one in done), 3),
                "processor_s": round(median(one.processor for one in done), 3),
                "peak_mb": round(median(one.peak for one in done)),
                "repeats": len(done),
                "wall_ratio": round(median(torch.wall / one.wall for torch, one in turns), 2),
                "processor_ratio": round(median(torch.processor / one.processor for torch, one in turns), 2),
            }
        )
    return out


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.speed.cold", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--image", type=Path, help="picture, cut and scaled to 768x512 (default: a photograph in an installed package)"
    )
    parser.add_argument("--quality", type=float, default=50, help="of the file (default 50)")
    parser.add_argument("--threads", type=count, default=1, help="of each process (default 1)")
    parser.add_argument("--repeats", type=count, default=9, help="turns (default 9)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "speed_cold", help="without suffix (default results/speed_cold)"
    )
    return parser.parse_args(arguments)


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code, prints the table."""
    options, load = parse(arguments), os.getloadavg()[0]
    source = options.image or packaged_images()[0]
    picture = ImageOps.fit(Image.fromarray(read_image(source)), SIZE)
    data = codec.encode(picture, quality=options.quality)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "picture.ldc").write_bytes(data)
        runs = measure(folder / "picture.ldc", folder, options.threads, options.repeats)
        pictures = {backend: np.asarray(Image.open(folder / f"{backend}.png"), int) for backend in BACKENDS}
    facts = {"threads": options.threads, "quality": options.quality, "width": SIZE[0], "height": SIZE[1]}
    table = rows(runs, **facts, bytes=len(data))
    for line in table:
        line["largest_difference"] = int(np.abs(pictures[line["backend"]] - pictures["torch"]).max())
        print(
            f"{line['backend']:>5}: {line['wall_s']:.3f} s ({line['wall_ratio']:.2f} times as fast as torch), processor "
            f"{line['processor_s']:.3f} s ({line['processor_ratio']:.2f} times), {line['peak_mb']} MB"
        )
    write_rows(options.out.with_suffix(".csv"), COLUMNS, table)
    written = {"picture": f"{source.name}, cut and scaled to {SIZE[0]}x{SIZE[1]}", "model": codec.load().model_id}
    loads = {"load_average_before": round(load, 2), "load_average_after": round(os.getloadavg()[0], 2)}
    options.out.with_suffix(".json").write_text(run_metadata(**written, **loads, method=METHOD))
    return 0


if __name__ == "__main__":
    sys.exit(main())
