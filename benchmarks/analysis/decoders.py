"""The decoders of one file side by side: python -m benchmarks.analysis.decoders [--table results/kodak] -> TABLE/decoders.csv

From the rows of ours-vq, ours-ldm, ours-gan and ours-perceptual in TABLE/rd.csv, and the features that the same run left beside it. All four read the same
files, so differences to the vq picture are paired. Intervals are 95 % bootstrap intervals over images, of the mean or of the mean difference to vq.
"""

import argparse
import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.analysis.bdrate import bootstrap
from benchmarks.analysis.summary import read_table
from benchmarks.metrics.sets import FeatureStore, Kid, interval, resamples

NAMES = ("vq", "perceptual", "gan", "ldm")
METRICS = ("rmse", "ms_ssim", "gmsd", "mdsi", "sqz_dist")


def cost(name: str) -> dict[str, float]:
    """Parameters, training steps and seconds of a decoder, from the manifest of the weights."""
    found = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())
    entry = found["semantic"].get(f"{name}-{found['default']}")
    if entry is None:
        return {"parameters": 0, "training_steps": 0, "training_s": 0.0}
    stages = entry["stages"]
    return {"parameters": entry["parameters"], "training_steps": sum(s["steps"] for s in stages), "training_s": sum(s["seconds"] for s in stages)}


def table(rows: pd.DataFrame, store: FeatureStore) -> pd.DataFrame:
    """rows of rd.csv -> one row for each decoder and setting."""
    out = []
    for setting, group in rows.groupby("setting", sort=False):
        images = sorted(group.image_hash.unique())
        by_name = {name: group[group.codec == f"ours-{name}"].set_index("image_hash").reindex(images) for name in NAMES if (group.codec == f"ours-{name}").any()}
        if "vq" not in by_name or len(by_name) < 2:
            continue
        original = [store.load((digest, "original", "", "")) for digest in images]
        draws = resamples(len(images))
        kid = {}
        for name, part in by_name.items():
            decoded = [store.load((digest, f"ours-{name}", setting, part.version.iloc[0])) for digest in images]
            if all(original) and all(decoded):
                estimate = Kid(original, decoded)
                kid[name] = estimate(), estimate.resampled(draws)
        for name, part in by_name.items():
            assert np.array_equal(part.bytes, by_name["vq"].bytes), "the decoders were measured on different files"
            row: dict[str, object] = {"decoder": name, "setting": setting, "version": part.version.iloc[0], "images": len(part), "bits_per_dim": part.bits_per_dim.mean()}
            for metric in METRICS:
                row[metric], row[f"{metric}_low"], row[f"{metric}_high"] = bootstrap(part[metric])
                row[f"{metric}_minus_vq"], row[f"{metric}_minus_vq_low"], row[f"{metric}_minus_vq_high"] = bootstrap(part[metric] - by_name["vq"][metric])
            if name in kid and "vq" in kid:
                value, resampled = kid[name]
                row["sqz_kid"], (row["sqz_kid_low"], row["sqz_kid_high"]) = value, interval(resampled)
                row["sqz_kid_minus_vq"] = value - kid["vq"][0]
                row["sqz_kid_minus_vq_low"], row["sqz_kid_minus_vq_high"] = interval(resampled - kid["vq"][1])
            out.append({**row, "decode_s": part.decode_s.mean(), **cost(name)})
    frame = pd.DataFrame(out)
    order = frame.decoder.map({name: k for k, name in enumerate(NAMES)})
    return frame.assign(_order=order).sort_values(["_order", "bits_per_dim"], kind="stable").drop(columns="_order").reset_index(drop=True)


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.analysis.decoders", description=__doc__.split("\n")[0])
    ap.add_argument("--table", type=Path, default=Path("results/kodak"))
    args = ap.parse_args()
    rows = read_table(args.table / "rd.csv")
    rows = rows[rows.codec.isin([f"ours-{name}" for name in NAMES])]
    if rows.codec.nunique() < 2:
        sys.exit(f"{args.table}/rd.csv holds no second decoder to compare with ours-vq: run benchmarks/rd_curve.py --codecs ours first")
    found = table(rows, FeatureStore(args.table / ".features"))
    found.to_csv(args.table / "decoders.csv", index=False, float_format="%.6g", lineterminator="\n")
    print(found[[c for c in ("decoder", "setting", "bits_per_dim", "rmse", "sqz_dist", "sqz_dist_minus_vq_high", "sqz_kid", "sqz_kid_minus_vq_high") if c in found]].to_string(index=False))


if __name__ == "__main__":
    main()
