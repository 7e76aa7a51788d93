"""The decoders of one file side by side: python -m benchmarks.studies.decoders --images DIR --weights-cache HUB --out
OUT

Every picture of DIR is coded once at each quality, and every decoder that `codec.load().decoders()` names reads that
file, so differences to the vq picture are paired. Writes

  OUT/decoder_rows.csv   one row for each picture, quality and decoder
  OUT/decoders.csv       one row for each decoder and quality: means, metrics of the set, and differences to vq, with
                         95 % bootstrap intervals over pictures

Run again, it measures what is missing. Without --images the rows of OUT/rd.csv are taken, which rd_curve.py --codecs
ours wrote. Metrics whose weights are not there are left out with a sentence; python -m benchmarks.metrics.weights makes
HUB.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.analysis.decoders import ORDER, short, table
from benchmarks.analysis.summary import read_table
from benchmarks.harness.decoders import ROWS, measure_decoders, versions
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import write_frame
from benchmarks.harness.images import folder_images, source_image
from benchmarks.harness.told import count, qualities, told
from benchmarks.metrics.pictures import IMAGE_METRICS, NETWORK_METRICS, MetricOptions
from benchmarks.metrics.sets import SET_METRICS, FeatureStore

QUALITIES = (20.0, 40.0, 50.0, 60.0)  # about .01, .04, .06 and .1 bits/dim on photographs
DEFAULT_METRICS = ("ms_ssim", "texture", *NETWORK_METRICS, "fid", "kid", "gmsd", "mdsi", "sqz_dist", "sqz_kid")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    ap = argparse.ArgumentParser(
        prog="benchmarks.studies.decoders", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--images", type=Path, help="folder of pictures to measure (default: take the rows of OUT/rd.csv)")
    ap.add_argument(
        "--qualities",
        type=qualities,
        default=",".join(f"{q:g}" for q in QUALITIES),
        help="with commas (default: %(default)s)",
    )
    ap.add_argument("--decoders", help="names, with commas; vq is always among them (default: all that have weights)")
    ap.add_argument("--metrics", default=",".join(DEFAULT_METRICS), help="beside rmse and psnr (default: %(default)s)")
    ap.add_argument("--weights-cache", type=Path, metavar="HUB", help="torch hub folder of benchmarks.metrics.weights")
    ap.add_argument("--feature-weights", type=Path, help="SqueezeNet 1.1 weights for sqz_dist and sqz_kid")
    ap.add_argument("--out", "--table", type=Path, default=Path("results/kodak"))
    ap.add_argument("--every", type=count, default=1, help="only every so many pictures")
    ap.add_argument("--limit", type=count, help="at most so many pictures")
    ap.add_argument("--device", default="cpu", help="torch device of the codec")
    ap.add_argument("--jobs", type=count, default=os.cpu_count() or 1, help="processes, one thread each")
    args = ap.parse_args(arguments)
    args.metrics = [name for name in args.metrics.split(",") if name]
    if unknown := [name for name in args.metrics if name not in (*IMAGE_METRICS, *SET_METRICS)]:
        ap.error(f"unknown metric {unknown[0]!r}; known: {', '.join((*IMAGE_METRICS, *SET_METRICS))}")
    return args


def run(args: argparse.Namespace) -> int:
    """Measure, if there is something to measure, and write the table; returns the exit code."""
    failed = 0
    if args.images:
        paths = folder_images(args.images)[:: args.every][: args.limit]
        decoders = versions(args.decoders.split(",") if args.decoders else None, args.device)
        options = MetricOptions(args.feature_weights, args.weights_cache)
        images = [source_image(path, path.name) for path in paths]
        measured = measure_decoders(
            images, args.qualities, decoders, args.metrics, options, args.out, args.jobs, args.device
        )
        failed = measured.failed
        keys = {(row["image_hash"], row["codec"], row["setting"]) for row in measured.rows}
        if not keys:
            raise BenchmarkError("nothing was measured")
        rows = read_table(args.out / ROWS)
        rows = rows[[(r.image_hash, r.codec, r.setting) in keys for r in rows.itertuples()]]
        whole = rows.groupby("setting").image_hash.transform("nunique") == len({image.digest for image in images})
        rows = rows[whole & (rows.groupby(["setting", "image_hash"]).codec.transform("nunique") == len(decoders))]
    else:
        rows = read_table(args.out / "rd.csv")
        rows = rows[rows.codec.isin([f"ours-{name}" for name in ORDER])]
    if rows.codec.nunique() < 2:
        raise BenchmarkError(
            f"there is no second decoder to compare with vq in {args.out}: name pictures with --images"
        )
    found = table(rows, FeatureStore(args.out / ".features"))
    write_frame(found, args.out / "decoders.csv", float_format="%.6g")
    print(short(found))
    return 1 if failed else 0


@told
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence."""
    return run(parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
