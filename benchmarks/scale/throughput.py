"""Pictures a second of `encode --jobs` and `--engine ray`, and what the engines themselves take.

    python -m benchmarks.scale.throughput --pictures 200 --out results/scale/throughput.csv
    python -m benchmarks.scale.throughput --pictures 200 --size 128x128 --turns 1 --out
    results/scale/throughput_small.csv

Each engine encodes a few photographs and then many, turn by turn; the difference is what pictures cost, the rest is the
start: imports, weights, processes, the cluster. CPU seconds are those of all processes of a run together. They say what
a core does, also on a machine that others use; wall seconds say how the work spreads only where nobody else works.
Linux only.
"""

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import write_frame
from benchmarks.harness.images import packaged_images
from benchmarks.harness.told import count, told

ROOT = Path(__file__).resolve().parents[2]
ENGINES = {
    "jobs 1": ["--jobs", "1"],
    "jobs 2": ["--jobs", "2"],
    "ray 2": ["--engine", "ray", "--jobs", "2"],
}
FEW = 4  # pictures of the run whose cost is taken off
_ADOPT = 36  # PR_SET_CHILD_SUBREAPER: processes whose parents are gone become ours, and so do their CPU seconds


@dataclass(frozen=True)
class Spent:
    """Seconds of one run."""

    wall: float
    cpu: float


def draw(folder: Path, pictures: int, size: tuple[int, int]) -> Path:
    """Photographs of installed packages, each cut out at another place."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in packaged_images()]
    for number in range(pictures):
        cut = ImageOps.fit(photos[number % len(photos)], size, bleed=0.2 * rng.random(), centering=tuple(rng.random(2)))
        cut.save(folder / f"{number:05d}.png")
    return folder


def spend(folder: Path, out: Path, engine: list[str]) -> Spent:
    """Encode a folder, and wait until the last process of the run is gone."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "codec", "encode", str(folder), "-o", str(out), "--quiet", *engine]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_raylet_start_wait_time_s": "120"}
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode:
        raise BenchmarkError(f"encoding failed with {' '.join(engine)}")
    wall = time.perf_counter() - start
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def write(rows: list[dict[str, object]], path: Path) -> None:
    """The table, with what each engine takes over the first one in the same turn."""
    table = pd.DataFrame(rows)
    first = table[table.engine == table.engine.iloc[0]].set_index("turn")
    for kind in ("cpu", "wall"):
        mine = table[f"{kind}_s_a_picture"]
        table[f"{kind}_ratio"] = (mine / table.turn.map(first[f"{kind}_s_a_picture"])).round(3)
    write_frame(table, path)


def size(text: str) -> tuple[int, int]:
    """WxH -> width and height."""
    width, _, height = text.partition("x")
    return count(width), count(height)


def engines(text: str) -> list[str]:
    """Names of ENGINES with commas between."""
    names = text.split(",")
    if unknown := set(names) - set(ENGINES):
        raise argparse.ArgumentTypeError(f"unknown engine {sorted(unknown)[0]!r}; known: {', '.join(ENGINES)}")
    return names


@told
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=count, default=24, help="beside the few of the start")
    parser.add_argument("--size", type=size, default="768x512", metavar="WxH")
    parser.add_argument("--turns", type=count, default=2)
    parser.add_argument("--engines", type=engines, default=",".join(ENGINES), help="with commas")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    width, height = args.size
    ctypes.CDLL(None).prctl(_ADOPT, 1, 0, 0, 0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folders = {n: draw(work / str(n), n, args.size) for n in (FEW, FEW + args.pictures)}
        for turn in range(args.turns):
            for engine in args.engines:
                runs = {
                    n: spend(folder, work / f"{turn} {engine} {n}", ENGINES[engine]) for n, folder in folders.items()
                }
                less, more = runs.values()
                out = work / f"{turn} {engine} {FEW + args.pictures}"
                rows.append(
                    {
                        "turn": turn,
                        "engine": engine,
                        "width": width,
                        "height": height,
                        "pictures": args.pictures,
                        "png_bytes": sum(path.stat().st_size for path in folders[FEW + args.pictures].iterdir()),
                        "ldc_bytes": sum(path.stat().st_size for path in out.iterdir()),
                        "cpu_s_a_picture": round((more.cpu - less.cpu) / args.pictures, 4),
                        "wall_s_a_picture": round((more.wall - less.wall) / args.pictures, 4),
                        "start_cpu_s": round(less.cpu - FEW * (more.cpu - less.cpu) / args.pictures, 2),
                    }
                )
                print(rows[-1])
                write(rows, args.out)  # each time, for turns take minutes
    return 0


if __name__ == "__main__":
    sys.exit(main())
