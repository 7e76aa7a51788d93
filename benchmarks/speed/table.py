"""The whole table of speed: sizes, efforts, threads, instruction sets, and the codecs beside ours.

    python -m benchmarks.speed.table --before BEFORE
    python -m benchmarks.speed.table --minutes 12 --groups small-1,small-2 --out results/speed_full

Work is done in groups; codecs of a group take turns in processes of their own, which are loaded once. --before is a
checkout of an earlier commit, which is measured in the same turns. A group that is in OUT.csv is left alone, and none
is begun after --minutes: call again to go on. Written after each group: OUT.csv, OUT.json. Exit code 0 when all groups
are there; 1 if some are not, or something cannot be measured; 2 for wrong usage.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import told
from benchmarks.speed.measure import ROOT, SIZE, Worker
from benchmarks.speed.memory import wall
from benchmarks.speed.worker import Job

COLUMNS = (
    "group", "codec", "variant", "direction", "decoder", "effort", "threads", "width", "height", "bytes", "repeats",
    "seconds", "processor_s", "over_hyperprior", "processor_over_hyperprior", "over_before", "processor_over_before",
    "seconds_per_megapixel", "joules", "startup_s", "cold_s", "peak_mb", "loaded_mb",
)  # fmt: skip
METHOD = {
    "seconds": "median of wall time per run, uint8 pixels to bytes or back; processor_s: of processor time, all threads",
    "over_X": "median over turns of seconds (or processor seconds) divided by those of X in the same turn; X hyperprior: "
    "same direction and threads; X before: the earlier commit, same direction, decoder, effort and threads",
    "cold_s": "startup_s (imports, weights) and the first run, where that is of the whole picture",
    "peak_mb": "largest resident size of the process in 10**6 bytes; loaded_mb: after imports and weights",
    "variant": "empty: float32, with numba where it pays, compiled before the first turn; numpy: without numba; "
    "bfloat16: pictures by --precision auto; avx2: no wider instructions, float32; before: the earlier commit",
    "joules": "median of what the processor's package took in a run, all that the machine does included, by RAPL; empty "
    "where a program cannot read that",
    "neural codecs": "CompressAI with random weights and real coding: their bytes mean nothing",
}
#: What keeps torch, oneDNN, MKL, OpenBLAS and numba from wider vectors.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NUMBA_CPU_NAME": "haswell",
}
SETTINGS = {
    "": {"LDC_COMPILED": "always"},
    "numpy": {"LDC_COMPILED": "never"},
    "bfloat16": {"LDC_COMPILED": "always"},
    "avx2": {"LDC_COMPILED": "always", **AVX2},
    "before": {"LDC_COMPILED": "always"},
    "before-avx2": {"LDC_COMPILED": "always", **AVX2},
}
PEERS = {
    "hyperprior": 3,
    "mbt2018-mean": 3,
    "cheng2020-anchor": 3,
    "jpeg": 75,
    "webp": 80,
    "avif": 75,
    "jxl": 1,
}  # fmt: skip  codec -> quality: quality 3 of CompressAI, Pillow's defaults, distance 1 of JPEG XL
SLOW = ("cheng2020-anchor",)  # take part in the first turn only
LARGEST = {"hyperprior": 2.5}  # megapixels: above, it takes more memory than most machines have


@dataclass(frozen=True)
class Entry:
    """One line to be measured."""

    codec: str
    variant: str
    direction: str
    decoder: str = ""
    effort: int = 1

    def job(self, threads: int, pixels: Path, file: str, brief: bool) -> Job:
        """file: what is written or read."""
        quality, precision = PEERS.get(self.codec, 50), "auto" if self.variant == "bfloat16" else "float32"
        effort = self.effort if self.codec == "ours" and self.direction == "encode" else 0
        return Job(
            self.codec, self.direction, threads, quality, effort, str(pixels), file, self.decoder, precision, brief
        )


@dataclass(frozen=True)
class Group:
    """What is measured in the same turns; megapixels None: the photograph of 768x512."""

    name: str
    threads: int
    megapixels: float | None
    turns: int
    entries: tuple[Entry, ...]


def groups(turns: int) -> list[Group]:
    """All of them, what matters most first."""

    def both(codec: str, variant: str = "") -> list[Entry]:
        decoder = "vq" if codec == "ours" else ""
        return [Entry(codec, variant, "encode"), Entry(codec, variant, "decode", decoder)]

    def joined(parts: Iterable[list[Entry]]) -> tuple[Entry, ...]:
        return tuple(entry for part in parts for entry in part)

    ours = [both("ours", variant) for variant in ("", "numpy", "bfloat16", "before")]
    semantic = [[Entry("ours", variant, "decode", "ldm") for variant in ("", "bfloat16")]]
    peers = [both(codec) for codec in PEERS]
    narrow = joined([both("ours", "avx2"), both("ours", "before-avx2"), both("hyperprior", "avx2")])
    fast = [both(codec) for codec in ("jpeg", "webp", "avif", "jxl")]
    search = [Entry("ours", variant, "encode", effort=effort) for effort in (2, 3, 5, 9) for variant in ("", "before")]
    out = [Group(f"small-{n}", n, None, turns, joined([*ours, *semantic, *peers])) for n in (1, 2)]
    out += [Group("avx2-1", 1, None, turns, narrow)]
    out += [Group("efforts-1", 1, None, 1, tuple(search))]
    out += [
        Group("efforts-2", 2, None, 1, tuple(e for e in search if e.variant != "before")),
    ]
    for megapixels in (0.4, 2, 12, 48):
        some = [both("ours"), *([both("hyperprior")] if megapixels < LARGEST["hyperprior"] else []), *fast]
        out += [Group(f"{megapixels:g}mp-1", 1, megapixels, 1, joined(some))]
    return out


def measure(group: Group, folder: Path, before: Path | None, bar: tqdm) -> list[dict[str, object]]:
    """The rows of a group."""
    pixels = folder / "pixels.npy"
    np.save(pixels, picture(group.megapixels))
    height, width, _ = np.load(pixels, mmap_mode="r").shape
    entries = [e for e in group.entries if before or not e.variant.startswith("before")]
    brief = group.turns == 1
    encoders, decoders = ([e for e in entries if e.direction == way] for way in ("encode", "decode"))
    files, rows = dict[str, str](), list[dict[str, object]]()
    for part in (encoders, decoders):  # decoders read what encoders wrote
        with ExitStack() as stack:
            running: list[tuple[Entry, Worker]] = []
            for entry in part:
                file = str(folder / f"{entry.codec}-{entry.variant}-{entry.effort}")
                if entry.direction == "decode":
                    file = files[entry.codec]
                elif entry.effort == 1:
                    files.setdefault(entry.codec, file)
                job = entry.job(group.threads, pixels, file, brief)
                source = before if entry.variant.startswith("before") else None
                settings = SETTINGS.get(entry.variant) if entry.variant or entry.codec == "ours" else None
                worker = Worker(job, settings, source)
                stack.callback(worker.close)
                running.append((entry, worker))
                bar.update()
                if brief:  # one after the other: large pictures take memory
                    worker.run()
                    worker.facts |= worker.ask("peak")
                    worker.close()
            for turn in range(0 if brief else group.turns):
                for entry, worker in running if turn % 2 else reversed(running):
                    if turn == 0 or entry.codec not in SLOW:
                        worker.run()
                bar.update()
            for _, worker in running:
                if not brief:
                    worker.facts |= worker.ask("peak")
            rows += [row(group, entry, worker, running, (width, height)) for entry, worker in running]
    return rows


def picture(megapixels: float | None) -> np.ndarray:
    """uint8 (H, W, 3)."""
    if megapixels is not None:
        return wall(megapixels)
    return np.asarray(ImageOps.fit(Image.fromarray(read_image(packaged_images()[0])), SIZE))


def row(
    group: Group, entry: Entry, worker: Worker, running: Sequence[tuple[Entry, Worker]], size: tuple[int, int]
) -> dict[str, object]:
    """One line of the table."""
    narrow = "avx2" in entry.variant

    def over(rival: Worker | None, times: str) -> float | None:
        if rival is None or rival is worker:
            return None
        pairs = zip(getattr(worker, times), getattr(rival, times), strict=False)
        return round(median(a / b for a, b in pairs), 3)

    wanted = Entry("hyperprior", "avx2" if narrow else "", entry.direction)
    earlier = replace(entry, variant="before-avx2" if narrow else "before")
    hyperprior = next((w for e, w in running if e == wanted), None)
    before = next((w for e, w in running if e == earlier), None) if not entry.variant.startswith("before") else None
    facts, seconds = worker.facts, median(worker.seconds)
    return {
        "group": group.name, "codec": entry.codec, "variant": entry.variant, "direction": entry.direction,
        "decoder": entry.decoder, "effort": entry.effort if entry.codec == "ours" and not entry.decoder else None,
        "threads": group.threads, "width": size[0], "height": size[1], "bytes": facts["bytes"],
        "repeats": len(worker.seconds), "seconds": round(seconds, 4),
        "processor_s": round(median(worker.processor), 4),
        "over_hyperprior": over(hyperprior, "seconds"), "processor_over_hyperprior": over(hyperprior, "processor"),
        "over_before": over(before, "seconds"), "processor_over_before": over(before, "processor"),
        "seconds_per_megapixel": round(seconds / (size[0] * size[1] / 1e6), 4),
        "joules": None if None in worker.joules else round(median(worker.joules), 2),
        "startup_s": round(facts["startup_s"], 2),
        "cold_s": None if worker.job.brief else round(facts["startup_s"] + facts["first_s"], 2),
        "peak_mb": round(facts["peak_mb"]), "loaded_mb": round(facts["loaded_mb"]),
    }  # fmt: skip


def read(path: Path) -> list[dict[str, object]]:
    """The rows that are there."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [dict(line) for line in csv.DictReader(file)]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [group.name for group in groups(1)]
    parser = argparse.ArgumentParser(
        prog="benchmarks.speed.table", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit (default: none is measured)")
    parser.add_argument("--turns", type=int, default=5, help="of groups of small pictures (default 5)")
    parser.add_argument("--minutes", type=float, default=12, help="no group is begun after so many (default 12)")
    parser.add_argument(
        "--groups",
        type=lambda text: text.split(","),
        default=names,
        metavar="A,B",
        help=f"which (default {','.join(names)})",
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "speed_full", help="without suffix (default results/speed_full)"
    )
    options = parser.parse_args(arguments)
    if options.turns < 2:
        parser.error("turns are at least 2")
    if unknown := set(options.groups) - set(names):
        parser.error(f"there is no group {min(unknown)!r}")
    if options.before and not (options.before / "codec").is_dir():
        parser.error(f"{options.before} is no checkout of this project")
    return options


def run(options: argparse.Namespace) -> bool:
    """Measure the groups that are missing -> whether all are there now."""
    path, start, load = options.out.with_suffix(".csv"), time.monotonic(), os.getloadavg()[0]
    rows, cpus = read(path), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    done = {str(line["group"]) for line in rows}
    wanted = [group for group in groups(options.turns) if group.name in options.groups and group.name not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    before = options.before and options.before.resolve()
    for group in wanted:
        if time.monotonic() - start > 60 * options.minutes:
            print(f"speed: out of time before {group.name}; call again to go on", file=sys.stderr)
            return False
        if group.threads > cpus:
            raise BenchmarkError(f"{group.threads} threads cannot be measured on {cpus} processor core(s)")
        with (
            tempfile.TemporaryDirectory() as name,
            tqdm(desc=group.name, total=len(group.entries), disable=not sys.stderr.isatty()) as bar,
        ):
            new = measure(group, Path(name), before, bar)
        rows += new
        write_rows(path, COLUMNS, rows)
        facts: Mapping[str, object] = {
            "cpus": cpus, "turns": options.turns, "load_average_before": round(load, 2),
            "load_average_after": round(os.getloadavg()[0], 2), "method": METHOD,
        }  # fmt: skip
        path.with_suffix(".json").write_text(run_metadata(**facts))
        for line in new:
            print(" ".join(f"{k} {v}" for k, v in line.items() if v not in (None, "") and k in SHOWN), flush=True)
    return True


SHOWN = (
    "group", "codec", "variant", "direction", "decoder", "effort", "seconds", "processor_s", "over_hyperprior",
    "over_before", "processor_over_before", "peak_mb",
)  # fmt: skip


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code."""
    options = parse(arguments)
    return 0 if run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
