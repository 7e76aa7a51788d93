"""Time, memory and arithmetic of our encoder and decoder beside a published neural codec and two classic ones.

    python -m benchmarks.speed.measure
    python -m benchmarks.speed.measure --threads 1 --efforts 1,5,9 --repeats 15 --out results/speed

Every codec and direction is a fresh process that is loaded once and then asked for one run at a time, turn by turn,
so that what else the machine does falls on all of them alike. Written: OUT.csv (medians, quartiles, ratios: medians
of the ratios within a turn) and OUT.json (machine, versions, settings). Start-up (imports, weights, first run apart)
has its own column. Exit code 0; 1 if something cannot be measured; 2 for wrong usage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import count, told
from benchmarks.speed.worker import Job

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("worker.py")
SIZE = (768, 512)
PEERS = {"hyperprior": 3, "webp": 80, "avif": 75}  # codec -> quality: quality 3 of CompressAI, Pillow's defaults
COLUMNS = (
    "codec", "direction", "decoder", "threads", "setting", "width", "height", "bytes", "seconds", "seconds_q1", "seconds_q3", "repeats",
    *(f"ratio_{peer}" for peer in PEERS), "startup_s", "peak_mb", "loaded_mb", "kmac_per_pixel",
)  # fmt: skip
METHOD = {
    "seconds": "median of wall time per run, uint8 pixels to bytes or back, entropy coding included, start-up and first run excluded",
    "ratio": "median over turns of our seconds divided by the other codec's seconds in the same turn, same direction and threads",
    "peak_mb": "largest resident size of the fresh process in 10**6 bytes; loaded_mb: resident size after imports and weights",
    "kmac_per_pixel": "FlopCounterMode of torch over one whole run, halved: convolutions and matrix products, and the integer prior's "
    "multiply-adds; per pixel of the picture; not counted for efforts above 1",
    "hyperprior": "CompressAI bmshj2018-hyperprior, quality 3, random weights: its bytes mean nothing",
}


def package_joules() -> float | None:
    """What the processor's packages have taken so far, by RAPL; None where that cannot be read."""
    try:
        counters = list(Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj"))
        return sum(int(file.read_text()) for file in counters) / 1e6 if counters else None
    except OSError:
        return None


class Worker:
    """A process of benchmarks/speed/worker.py. settings: more of its environment; source: a checkout of the project
    that it measures, None: this one. Its threads wait for one another as they do by default, whatever OMP_WAIT_POLICY
    says here: where they sleep between parts of a picture (PASSIVE), two of them are hardly faster than one."""

    def __init__(self, job: Job, settings: Mapping[str, str] | None = None, source: Path | None = None) -> None:
        self.job, self.seconds, self.processor = job, list[float](), list[float]()
        self.joules = list[float | None]()
        count = str(job.threads)
        env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        env |= {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        env |= {**(settings or {}), "PYTHONPATH": str(source or ROOT)}
        command = [sys.executable, str(WORKER), json.dumps(asdict(job))]
        self._process = subprocess.Popen(
            command,
            cwd=source or ROOT,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.facts = self._answer()

    def _answer(self) -> dict[str, float]:
        line = self._process.stdout.readline()
        if not line:
            reason = self._process.communicate()[1].strip().splitlines() or ["no message"]
            raise BenchmarkError(f"{self.job.codec} {self.job.direction} failed: {reason[-1]}")
        return json.loads(line)

    def ask(self, command: str) -> dict[str, float]:
        """The answer to a command of the worker."""
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def run(self) -> None:
        before = package_joules()
        took = self.ask("run")
        after = package_joules()
        self.joules.append(None if before is None or after is None or after < before else after - before)
        self.seconds.append(took["seconds"])
        self.processor.append(took["processor_s"])

    def finish(self) -> None:
        self.facts |= self.ask("end")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def jobs(threads: int, efforts: Sequence[int], decoders: Sequence[str], quality: float, folder: Path) -> list[Job]:
    """Encoders first: decoders read what they write. Our decoders read the file of the first effort."""
    pixels, out = str(folder / "pixels.npy"), []
    for effort in efforts:
        out.append(Job("ours", "encode", threads, quality, effort, pixels, str(folder / f"ours-{effort}"), ""))
    out += [Job(peer, "encode", threads, q, 0, pixels, str(folder / peer)) for peer, q in PEERS.items()]
    out += [
        Job("ours", "decode", threads, quality, 0, pixels, str(folder / f"ours-{efforts[0]}"), decoder)
        for decoder in decoders
    ]
    out += [Job(peer, "decode", threads, q, 0, pixels, str(folder / peer)) for peer, q in PEERS.items()]
    return out


def measure(wanted: Sequence[Job], repeats: int, slow_repeats: int, bar: tqdm) -> list[Worker]:
    """Start all workers, run them in turns, finish them. Efforts above 1 and semantic decoders take part in the first
    `slow_repeats` turns only."""
    workers: list[Worker] = []
    try:
        for job in wanted:
            workers.append(Worker(job))
            bar.update()
        for turn in range(repeats):
            for worker in workers if turn % 2 else reversed(workers):
                if turn < slow_repeats or (worker.job.effort <= 1 and worker.job.decoder in ("", "vq")):
                    worker.run()
            bar.update()
        for worker in workers:
            worker.finish()
            bar.update()
    finally:
        for worker in workers:
            worker.close()
    return workers


def row(worker: Worker, peers: Mapping[str, Worker], size: tuple[int, int]) -> dict[str, object]:
    """One line of the table; ratios for our codec only."""
    job, facts, low_high = (
        worker.job,
        worker.facts,
        quantiles(worker.seconds, n=4) if len(worker.seconds) > 1 else [worker.seconds[0]] * 3,
    )
    setting = f"quality {job.quality:g}" + (f", effort {job.effort}" if job.effort else "")
    ratios = (
        {
            f"ratio_{name}": round(median(a / b for a, b in zip(worker.seconds, peer.seconds, strict=True)), 3)
            for name, peer in peers.items()
        }
        if job.codec == "ours"
        else {}
    )
    macs = facts["macs"]
    return {
        "codec": job.codec, "direction": job.direction, "decoder": job.decoder, "threads": job.threads, "setting": setting, "width": size[0], "height": size[1],
        "bytes": facts["bytes"], "seconds": round(median(worker.seconds), 4), "seconds_q1": round(low_high[0], 4), "seconds_q3": round(low_high[2], 4),
        "repeats": len(worker.seconds), **ratios, "startup_s": round(facts["startup_s"], 2), "peak_mb": round(facts["peak_mb"]),
        "loaded_mb": round(facts["loaded_mb"]), "kmac_per_pixel": None if macs is None else round(macs / (size[0] * size[1]) / 1000, 2),
    }  # fmt: skip


def numbers(text: str) -> list[int]:
    """ "1,2" -> [1, 2]."""
    return [int(part) for part in text.split(",")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="speed.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--image", type=Path, help="picture, cut and scaled to 768x512 (default: a photograph in an installed package)"
    )
    parser.add_argument(
        "--threads", type=numbers, default=[1, 2], metavar="A,B", help="numbers of threads (default 1,2)"
    )
    parser.add_argument("--efforts", type=numbers, default=[1], metavar="A,B", help="our encoder's efforts (default 1)")
    parser.add_argument("--decoders", default="vq,ldm", metavar="A,B", help="our decoders, vq first (default vq,ldm)")
    parser.add_argument("--quality", type=float, default=50, help="ours (default 50)")
    parser.add_argument("--repeats", type=count, default=15, help="turns (default 15)")
    parser.add_argument(
        "--slow-repeats", type=count, default=3, help="turns of efforts above 1 and of semantic decoders (default 3)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "results" / "speed", help="without suffix (default results/speed)"
    )
    options = parser.parse_args(arguments)
    if min(*options.threads, *options.efforts) < 1:
        parser.error("threads and efforts are at least 1")
    return options


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure and write the table; returns its rows."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if max(options.threads) > cpus:
        raise BenchmarkError(
            f"{max(options.threads)} threads cannot be measured on the {cpus} processor core(s) that this process may use"
        )
    source = options.image or packaged_images()[0]
    picture = ImageOps.fit(Image.fromarray(read_image(source)), SIZE)
    rows, load = [], os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "pixels.npy", np.asarray(picture))
        plans = [
            jobs(threads, options.efforts, options.decoders.split(","), options.quality, Path(name))
            for threads in options.threads
        ]
        with tqdm(total=sum(2 * len(plan) + options.repeats for plan in plans), disable=not sys.stderr.isatty()) as bar:
            for plan in plans:
                workers = measure(plan, options.repeats, options.slow_repeats, bar)
                for worker in workers:
                    peers = {
                        w.job.codec: w
                        for w in workers
                        if w.job.codec != "ours" and w.job.direction == worker.job.direction
                    }
                    rows.append(row(worker, peers, SIZE))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_rows(options.out.with_suffix(".csv"), COLUMNS, rows)
    facts = {
        "picture": f"{source.name}, cut and scaled to {SIZE[0]}x{SIZE[1]}", "threads": options.threads, "efforts": options.efforts, "decoders": options.decoders.split(","), "repeats": options.repeats,
        "cpus": cpus, "load_average_before": round(load, 2), "load_average_after": round(os.getloadavg()[0], 2), "method": METHOD,
    }  # fmt: skip
    options.out.with_suffix(".json").write_text(run_metadata(**facts))
    return rows


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code, prints the table."""
    options = parse(arguments)
    rows = run(options)
    for line in rows:
        ratios = " ".join(f"x{line[f'ratio_{peer}']} {peer}" for peer in PEERS if f"ratio_{peer}" in line)
        macs = "" if line["kmac_per_pixel"] is None else f"{line['kmac_per_pixel']} kMAC/pixel"
        name = f"{line['codec']:>10} {line['direction']} {line['decoder']:<3} {line['threads']} thread(s) {line['setting']:<21}"
        print(f"{name} {line['seconds']:8.3f} s {line['peak_mb']:5d} MB {macs:>16}  {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
