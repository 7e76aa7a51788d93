"""Memory of our encoder and decoder at several sizes: does it stay bounded, and what does a megapixel take?

    python -m benchmarks.speed.memory
    python -m benchmarks.speed.memory --megapixels 12,48 --efforts 1 --out results/memory_large.csv

The picture is a wall of packaged photographs, each in another brightness, so that no two parts are alike. Every size
and direction is a fresh process of one thread, which loads the codec and then works once. Written: OUT, one row each;
beside it OUT with the suffix .json (machine, versions). The process is told apart from the picture: loaded_mb is
there before it, peak_mb is the most there ever was. Exit code 0; 1 if something cannot be measured.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.analysis.summary import run_metadata
from benchmarks.codecs import Image8
from benchmarks.harness.images import packaged_images, read_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import told
from benchmarks.speed.measure import ROOT, Worker, numbers
from benchmarks.speed.worker import Job

COLUMNS = (
    "megapixels", "width", "height", "direction", "effort", "decoder",
    "peak_mb", "loaded_mb", "mb_per_megapixel", "bytes",
)  # fmt: skip
METHOD = {
    "peak_mb": "largest resident size (VmHWM) of a fresh process of one thread, in 10**6 bytes",
    "loaded_mb": "resident size after imports and weights, before the picture",
    "mb_per_megapixel": "(peak_mb - loaded_mb) / megapixels; the uint8 picture itself takes 3",
}


def wall(megapixels: float) -> Image8:
    """uint8 (H, W, 3) of about so many pixels, 4 wide and 3 high: photographs side by side, each in another
    brightness."""
    width = 4 * round((megapixels * 1e6 / 12) ** 0.5)
    height = width * 3 // 4
    photos = [read_image(path) for path in packaged_images()]
    side = min(min(photo.shape[:2]) for photo in photos) - 7  # no multiple of the transform's grid
    out, rng = np.empty((height, width, 3), np.uint8), np.random.default_rng(0)
    for y in range(0, height, side):
        for x in range(0, width, side):
            photo = photos[rng.integers(len(photos))]
            part = out[y : y + side, x : x + side]
            part[:] = (photo[: part.shape[0], : part.shape[1]] * rng.uniform(0.4, 1)).astype(np.uint8)
    return out


def jobs(efforts: Sequence[int], decoders: Sequence[str], quality: float, folder: Path) -> Iterator[Job]:
    """Encoders first; decoders read the file of the first effort."""
    pixels = str(folder / "pixels.npy")
    for effort in efforts:
        yield Job("ours", "encode", 1, quality, effort, pixels, str(folder / f"ours-{effort}"))
    for decoder in decoders:
        yield Job("ours", "decode", 1, quality, 0, pixels, str(folder / f"ours-{efforts[0]}"), decoder)


def measured(job: Job, size: tuple[int, int]) -> dict[str, object]:
    """One line of the table."""
    worker = Worker(job)
    try:
        facts = worker.facts | worker.ask("peak")
    finally:
        worker.close()
    megapixels = size[0] * size[1] / 1e6
    return {
        "megapixels": round(megapixels, 2), "width": size[0], "height": size[1],
        "direction": job.direction, "effort": job.effort or None, "decoder": job.decoder,
        "peak_mb": round(facts["peak_mb"]), "loaded_mb": round(facts["loaded_mb"]),
        "mb_per_megapixel": round((facts["peak_mb"] - facts["loaded_mb"]) / megapixels, 1),
        "bytes": facts["bytes"],
    }  # fmt: skip


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="memory.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--megapixels",
        type=lambda text: [float(part) for part in text.split(",")],
        default=[0.4, 2, 12, 48, 64],
        metavar="A,B",
        help="sizes (default 0.4,2,12,48,64)",
    )
    parser.add_argument("--efforts", type=numbers, default=[1, 3], metavar="A,B", help="our encoder's (default 1,3)")
    parser.add_argument("--decoders", default="vq", metavar="A,B", help="our decoders (default vq)")
    parser.add_argument("--quality", type=float, default=50, help="ours (default 50)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "memory.csv", help="default results/memory.csv")
    options = parser.parse_args(arguments)
    if min(options.efforts) < 1 or min(options.megapixels) <= 0:
        parser.error("efforts are at least 1, sizes above 0")
    return options


def run(options: argparse.Namespace) -> list[dict[str, object]]:
    """Measure and write the table, which is written after each row; returns its rows."""
    rows: list[dict[str, object]] = []
    decoders = options.decoders.split(",")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    total = len(options.megapixels) * (len(options.efforts) + len(decoders))
    with tqdm(total=total, disable=not sys.stderr.isatty()) as bar:
        for megapixels in options.megapixels:
            with tempfile.TemporaryDirectory() as name:
                pixels = wall(megapixels)
                np.save(Path(name) / "pixels.npy", pixels)
                for job in jobs(options.efforts, decoders, options.quality, Path(name)):
                    rows.append(measured(job, (pixels.shape[1], pixels.shape[0])))
                    write_rows(options.out, COLUMNS, rows)
                    bar.update()
    facts = {"quality": options.quality, "pictures": [path.name for path in packaged_images()], "method": METHOD}
    options.out.with_suffix(".json").write_text(run_metadata(**facts))
    return rows


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence and an exit code, prints the table."""
    options = parse(arguments)
    rows = run(options)
    for row in rows:
        what = f"{row['direction']} {row['decoder'] or 'effort ' + str(row['effort'])}"
        print(f"{row['megapixels']:6} MP {what:<16} {row['peak_mb']:6} MB, {row['mb_per_megapixel']} MB/MP")
    return 0


if __name__ == "__main__":
    sys.exit(main())
