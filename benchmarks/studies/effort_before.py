"""The encoder's search now and at an earlier commit: python -m benchmarks.studies.effort_before --images DIR --before
CHECKOUT [--effort 9] [--out results]

The two encode each picture at each quality one after the other, in processes of their own on one thread, with compiled
loops where they have them; both files are decoded by the codec of today. Writes OUT/effort_before.csv (bytes, RMSE and
processor seconds) and OUT/effort_before_bd.csv (BD-rate by RMSE of now against before, with a 95 % bootstrap interval
over pictures, and the ratio of the processor seconds). Run again, it measures what is missing.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

import codec
from benchmarks.analysis.bdrate import bd_table
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.images import SourceImage, folder_images, read_image, source_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import told
from benchmarks.metrics.pictures import rmse
from benchmarks.speed.measure import Worker
from benchmarks.speed.worker import Job
from benchmarks.studies.effort import QUALITIES

NOW, BEFORE = "now", "before"


def encoded(x: np.ndarray, quality: float, effort: int, folder: Path, source: Path | None) -> tuple[bytes, float]:
    """x uint8 (H, W, 3), source: the checkout that encodes it, None: this one -> the file, processor seconds."""
    pixels, file = folder / "pixels.npy", folder / "picture.ldc"
    np.save(pixels, x)
    job = Job("ours", "encode", 1, quality, effort, str(pixels), str(file), brief=True)
    worker = Worker(job, {"LDC_COMPILED": "always"}, source)
    try:
        worker.run()
        worker.ask("peak")  # it answers when the file is written
    finally:
        worker.close()
    return file.read_bytes(), worker.processor[0]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of effort_before.csv -> one row for each effort, over the pictures that have all qualities of both."""
    found = []
    for effort, part in rows.groupby("effort"):
        whole = part.groupby("image_hash").filter(lambda p: len(p) == 2 * rows.quality.nunique())
        columns = ["images", "bd_rate_percent", "bd_rate_low", "bd_rate_high", "overlap_percent"]
        bd = bd_table(whole.assign(setting=whole.quality.astype(str)), BEFORE).set_index("codec").loc[NOW, columns]
        spent = whole.groupby("codec").cpu_s.sum()
        found.append({"effort": effort, **bd, "cpu_s": spent[NOW], "cpu_ratio": spent[NOW] / spent[BEFORE]})
    return pd.DataFrame(found).astype({"images": int}).round(3)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.effort_before", description=__doc__.split(":")[0])
    ap.add_argument("--images", type=Path, required=True)
    ap.add_argument("--before", type=Path, required=True, help="checkout of the earlier commit")
    ap.add_argument("--effort", type=int, default=9)
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    if not (args.before / "codec").is_dir():
        ap.error(f"{args.before} is no checkout of this project")
    c = codec.load(threads=1)
    args.out.mkdir(parents=True, exist_ok=True)
    path, version = args.out / "effort_before.csv", f"codec {codec.__version__}, {c.decoder_id('vq')}"
    rows = read_frame(path).to_dict("records") if path.is_file() else []
    have = {(r["image_hash"], r["effort"], r["quality"], r["codec"]) for r in rows if r["version"] == version}
    images = [source_image(p, p.name) for p in folder_images(args.images)]
    cases: list[tuple[SourceImage, float, str]] = [(i, q, name) for i in images for q in QUALITIES for name in (BEFORE, NOW)]  # fmt: skip
    todo = [case for case in cases if (case[0].digest, args.effort, case[1], case[2]) not in have]
    for image, quality, name in tqdm(todo, disable=None):
        x = read_image(image.path)
        with tempfile.TemporaryDirectory() as folder:
            source = args.before.resolve() if name == BEFORE else None
            data, seconds = encoded(x, quality, args.effort, Path(folder), source)
        rows.append({"image": image.name, "image_hash": image.digest, "effort": args.effort, "quality": quality, "codec": name, "version": version, "bytes": len(data),
                     "bits_per_dim": round(8 * len(data) / x.size, 7), "rmse": round(rmse(x, c.decode_array(data)), 5), "cpu_s": round(seconds, 2)})  # fmt: skip
        write_rows(path, list(rows[0]), rows)
    found = summary(pd.DataFrame(rows))
    write_frame(found, args.out / "effort_before_bd.csv")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
