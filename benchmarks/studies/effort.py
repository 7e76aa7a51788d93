"""What the encoder's search buys: python -m benchmarks.studies.effort --images DIR [--every N] [--again]
[--out results]

Writes OUT/effort.csv (bytes, RMSE and processor seconds of encoding for each picture, effort and quality),
OUT/effort_bd.csv (BD-rate by RMSE of each effort against effort 1, with 95 % bootstrap intervals over pictures; the
same against BPG 4:4:4, whose rows on the same pictures are those of OUT/kodak/rd.csv) and OUT/effort.json (pictures,
machine, versions). Run again, it measures what is missing;
--again: the efforts asked for anew, as for another search.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

import codec
from benchmarks.analysis.bdrate import bd_table
from benchmarks.analysis.summary import run_metadata
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.images import folder_images, read_image, source_image
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import count, efforts, told
from benchmarks.metrics.pictures import rmse

QUALITIES = (20.0, 45.0, 70.0, 92.0)


ANCHOR = "bpg-444"


def summary(rows: pd.DataFrame, others: pd.DataFrame | None) -> pd.DataFrame:
    """rows of effort.csv and rd.csv of other codecs -> one row for each effort, over the pictures that have all
    qualities at that effort and at effort 1."""
    named, found = rows.assign(codec=[f"effort {e}" for e in rows.effort], setting=rows.quality.astype(str)), []
    for effort, part in named.groupby("effort"):
        count = part.groupby("image_hash").size() + named[named.effort == 1].groupby("image_hash").size()
        whole = count.index[count == 2 * named.quality.nunique()]
        part, pair = (
            part[part.image_hash.isin(whole)],
            named[named.image_hash.isin(whole) & named.effort.isin((1, effort))],
        )
        columns = ["bd_rate_percent", "bd_rate_low", "bd_rate_high", "overlap_percent"]
        row = {
            "effort": effort,
            "images": len(whole),
            "cpu_s": part.cpu_s.mean(),
            **bd_table(pair, "effort 1").set_index("codec").loc[f"effort {effort}", columns],
        }
        if others is not None:
            anchor = others[(others.codec == ANCHOR) & others.image_hash.isin(whole)]
            against = bd_table(pd.concat([part, anchor]), ANCHOR).set_index("codec").loc[f"effort {effort}", columns]
            row |= {f"bpg_{name}": value for name, value in against.items()}
        found.append(row)
    return pd.DataFrame(found).round(3)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.effort", description=__doc__.split("\n\n")[0])
    ap.add_argument("--images", type=Path, required=True)
    ap.add_argument("--every", type=count, default=1, help="only every so many pictures")
    ap.add_argument("--efforts", type=efforts, default="1,9", help="with commas")
    ap.add_argument("--again", action="store_true", help="measure these efforts anew")
    ap.add_argument("--out", type=Path, default=Path("results"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    c = codec.load(threads=1)
    path = args.out / "effort.csv"
    known = f"codec {codec.__version__}", c.decoder_id("vq")
    versions = {e: ", ".join(filter(None, (*known, c.search_id(e)))) for e in range(1, 10)}
    rows = read_frame(path).to_dict("records") if path.is_file() else []
    rows = [
        r for r in rows if r["version"] == versions[r["effort"]] and not (args.again and r["effort"] in args.efforts)
    ]
    have = {(r["image_hash"], r["effort"], r["quality"]) for r in rows}
    images = [source_image(p, p.name) for p in folder_images(args.images)[:: args.every]]
    if 1 not in args.efforts and all(r["effort"] != 1 for r in rows):
        raise BenchmarkError(f"effort 1, which the others are compared with, is neither in --efforts nor in {path}")
    args.out.mkdir(parents=True, exist_ok=True)
    todo = [(i, e, q) for i in images for e in args.efforts for q in QUALITIES if (i.digest, e, q) not in have]
    for image, effort, quality in tqdm(todo, disable=None):
        x = read_image(image.path)
        start = time.process_time()
        data = c.encode(x, quality=quality, effort=effort, lossless=False)
        seconds = time.process_time() - start
        rows.append({"image": image.name, "image_hash": image.digest, "effort": effort, "quality": quality, "version": versions[effort], "bytes": len(data), "bits_per_dim": round(8 * len(data) / x.size, 7),
                     "rmse": round(rmse(x, c.decode_array(data)), 5), "cpu_s": round(seconds, 2)})  # fmt: skip
        write_rows(path, list(rows[0]), rows)
    rd = args.out / "kodak" / "rd.csv"
    found = summary(pd.DataFrame(rows), read_frame(rd, dtype={"setting": str}) if rd.is_file() else None)
    write_frame(found, args.out / "effort_bd.csv")
    pictures = sorted({r["image"] for r in rows})
    note = f"{len(pictures)} pictures; processor seconds of one thread beside other work"
    facts = {
        "folder": args.images.resolve().name,
        "note": note,
        "pictures": pictures,
        "qualities": QUALITIES,
        "versions": sorted({r["version"] for r in rows}),
    }
    (args.out / "effort.json").write_text(run_metadata(**facts))
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
