"""The decoders of one file side by side: python -m benchmarks.decoders --images DIR --weights-cache HUB --out results/NAME

Every picture of DIR is coded once at each quality, and every decoder that `codec.load().decoders()` names reads that file, so differences to the vq picture
are paired. Writes

  OUT/decoder_rows.csv   one row for each picture, quality and decoder
  OUT/decoders.csv       one row for each decoder and quality: means, metrics of the set, and differences to vq, with 95 % bootstrap intervals over pictures

Run again, it measures what is missing. Without --images the rows of OUT/rd.csv are taken, which rd_curve.py --codecs ours wrote. Metrics whose weights are not
there are left out with a sentence; benchmarks/metrics_weights.py makes HUB.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from benchmarks.bdrate import bootstrap
from benchmarks.decoder_runs import ROWS, measure_decoders, versions
from benchmarks.errors import BenchmarkError
from benchmarks.images import folder_images, source_image
from benchmarks.metrics import HIGHER_IS_BETTER, IMAGE_METRICS, NETWORK_METRICS, MetricOptions
from benchmarks.sets import METRICS as SETS
from benchmarks.sets import SET_METRICS, FeatureStore, estimate, interval, resamples
from benchmarks.summary import metric_columns, read_table
from codec.zoo import DEFAULT

ORDER = ("vq", "perceptual", "gan", "ldm")  # in tables; others after them
QUALITIES = (20.0, 40.0, 50.0, 60.0)  # about .01, .04, .06 and .1 bits/dim on photographs
DEFAULT_METRICS = ("ms_ssim", *NETWORK_METRICS, "fid", "kid", "gmsd", "mdsi", "sqz_dist", "sqz_kid")


def cost(name: str) -> dict[str, float]:
    """Parameters, training steps and seconds of a decoder, from the manifest of the weights."""
    manifest = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())
    entry = manifest["semantic"].get(f"{name}-{DEFAULT}")
    if entry is None:
        return {"parameters": 0, "training_steps": 0, "training_s": 0.0}
    stages = entry["stages"]
    return {"parameters": entry["parameters"], "training_steps": sum(s["steps"] for s in stages), "training_s": sum(s["seconds"] for s in stages)}


def set_columns(name: str, original: list, decoded: dict[str, list], draws: np.ndarray) -> dict[str, dict[str, float]]:
    """Decoder -> columns of a set metric: its value and the difference to vq, for the same resampled pictures."""
    found = {decoder: estimate(name, original, features) for decoder, features in decoded.items()}
    values = {decoder: (each(), each.resampled(draws)) for decoder, each in found.items()}
    columns = {}
    for decoder, (value, resampled) in values.items():
        row = {name: value, f"{name}_minus_vq": value - values["vq"][0]}
        row[f"{name}_low"], row[f"{name}_high"] = interval(resampled)
        row[f"{name}_minus_vq_low"], row[f"{name}_minus_vq_high"] = interval(resampled - values["vq"][1])
        columns[decoder] = row
    return columns


def table(rows: pd.DataFrame, store: FeatureStore) -> pd.DataFrame:
    """Rows of pictures -> one row for each decoder and setting. Metrics of sets are there where all features are."""
    rows = rows.assign(decoder=rows.codec.str.removeprefix("ours-"))
    names = sorted(rows.decoder.unique(), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    metrics = ["rmse", *metric_columns(rows.drop(columns="decoder"))]
    out = []
    for setting, group in rows.groupby("setting", sort=False):
        images = sorted(group.image_hash.unique())
        by_name = {name: part.set_index("image_hash").reindex(images) for name in names if len(part := group[group.decoder == name])}
        if "vq" not in by_name or len(by_name) < 2:
            continue
        for part in by_name.values():
            assert np.array_equal(part.bytes, by_name["vq"].bytes), "the decoders were measured on different files"
        original = [store.load((digest, "original", "", "")) for digest in images]
        decoded = {
            name: [store.load((digest, f"ours-{name}", setting, version)) for digest, version in zip(images, part.version, strict=True)]
            for name, part in by_name.items()
        }
        draws = resamples(len(images))
        of_sets: dict[str, dict[str, float]] = {name: {} for name in by_name}
        for record in SETS:
            if all(record.features in item for item in original) and (
                having := {name: items for name, items in decoded.items() if all(record.features in item for item in items)}
            ).keys() >= {"vq"}:
                for name, columns in set_columns(record.name, original, having, draws).items():
                    of_sets[name] |= columns
        for name, part in by_name.items():
            row: dict[str, object] = {"decoder": name, "setting": setting, "version": part.version.iloc[0], "images": len(part), "bits_per_dim": part.bits_per_dim.mean()}
            for metric in metrics:
                row[metric], row[f"{metric}_low"], row[f"{metric}_high"] = bootstrap(part[metric])
                row[f"{metric}_minus_vq"], row[f"{metric}_minus_vq_low"], row[f"{metric}_minus_vq_high"] = bootstrap(part[metric] - by_name["vq"][metric])
            out.append({**row, **of_sets[name], "decode_s": part.decode_s.mean(), **cost(name)})
    frame = pd.DataFrame(out)
    order = frame.decoder.map({name: k for k, name in enumerate(names)})
    return frame.assign(_order=order).sort_values(["_order", "bits_per_dim"], kind="stable").drop(columns="_order").reset_index(drop=True)


def short(found: pd.DataFrame) -> str:
    """For the terminal: values, with + where a decoder is better than vq and - where it is worse, 95 % sure."""
    metrics = [name for name in ("rmse", *DEFAULT_METRICS) if name in found]
    text = found[["decoder", "setting", "bits_per_dim"]].copy()
    for metric in metrics:
        sign = -1 if metric in HIGHER_IS_BETTER else 1
        ends = np.sort(sign * found[[f"{metric}_minus_vq_low", f"{metric}_minus_vq_high"]].to_numpy(), axis=1)
        mark = np.where(ends[:, 1] < 0, "+", np.where(ends[:, 0] > 0, "-", " "))
        text[metric] = [f"{value:.4g}{sure}" for value, sure in zip(found[metric], mark, strict=True)]
    return text.to_string(index=False)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    ap = argparse.ArgumentParser(prog="benchmarks.decoders", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--images", type=Path, help="folder of pictures to measure (default: take the rows of OUT/rd.csv)")
    ap.add_argument("--qualities", default=",".join(f"{q:g}" for q in QUALITIES), help="with commas (default: %(default)s)")
    ap.add_argument("--decoders", help="names, with commas; vq is always among them (default: all that have weights)")
    ap.add_argument("--metrics", default=",".join(DEFAULT_METRICS), help="beside rmse and psnr (default: %(default)s)")
    ap.add_argument("--weights-cache", type=Path, metavar="HUB", help="torch hub folder of benchmarks/metrics_weights.py")
    ap.add_argument("--feature-weights", type=Path, help="SqueezeNet 1.1 weights for sqz_dist and sqz_kid")
    ap.add_argument("--out", "--table", type=Path, default=Path("results/kodak"))
    ap.add_argument("--every", type=int, default=1, help="only every so many pictures")
    ap.add_argument("--limit", type=int, help="at most so many pictures")
    ap.add_argument("--device", default="cpu", help="torch device of the codec")
    ap.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, one thread each")
    args = ap.parse_args(arguments)
    args.metrics = [name for name in args.metrics.split(",") if name]
    if unknown := [name for name in args.metrics if name not in (*IMAGE_METRICS, *SET_METRICS)]:
        ap.error(f"unknown metric {unknown[0]!r}; known: {', '.join((*IMAGE_METRICS, *SET_METRICS))}")
    try:
        args.qualities = [float(value) for value in args.qualities.split(",")]
    except ValueError:
        ap.error(f"--qualities {args.qualities}: expected numbers with commas")
    return args


def run(args: argparse.Namespace) -> int:
    """Measure, if there is something to measure, and write the table; returns the exit code."""
    failed = 0
    if args.images:
        paths = folder_images(args.images)[:: args.every][: args.limit]
        decoders = versions(args.decoders.split(",") if args.decoders else None, args.device)
        options = MetricOptions(args.feature_weights, args.weights_cache)
        images = [source_image(path, path.name) for path in paths]
        measured = measure_decoders(images, args.qualities, decoders, args.metrics, options, args.out, args.jobs, args.device)
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
        raise BenchmarkError(f"there is no second decoder to compare with vq in {args.out}: name pictures with --images")
    found = table(rows, FeatureStore(args.out / ".features"))
    found.to_csv(args.out / "decoders.csv", index=False, float_format="%.6g", lineterminator="\n")
    print(short(found))
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; turns errors into a sentence."""
    try:
        return run(parse(arguments))
    except BenchmarkError as error:
        sys.exit(f"benchmarks.decoders: {error}")


if __name__ == "__main__":
    sys.exit(main())
