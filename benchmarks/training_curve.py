"""What compute bought: python benchmarks/training_curve.py --run DIR [--results results]

DIR: folder of codec.training.train. From its validation.csv, RESULTS/training_points.csv (written by codec.training.curve on Kodak) and RESULTS/kodak/rd.csv it writes RESULTS/training.csv:
processor hours, BD-rate on held-out photographs against the first validation, and BD-rate on Kodak against BPG with its interval. Both are estimates (rounding, Gaussian rates): no files.
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pandas as pd

from benchmarks.bdrate import Curve, bd_rate, bd_table

ANCHOR = "bpg-444"


def held_out(validation: pd.DataFrame) -> pd.DataFrame:
    """step, seconds, held_out_percent: mean curves against that of the first step, tokens not included."""
    curves = {step: Curve(rows.bits_per_dim.to_numpy(), rows.rmse.to_numpy()) for step, rows in validation.drop_duplicates(["step", "level"], keep="last").groupby("step")}
    first = curves[min(curves)]
    seconds = validation.groupby("step").seconds.last()
    return pd.DataFrame([{"step": step, "seconds": seconds[step], "held_out_percent": bd_rate(first, curve)} for step, curve in curves.items()])


def against(points: pd.DataFrame, rd: pd.DataFrame) -> pd.DataFrame:
    """step, kodak_percent, kodak_low, kodak_high, images: BD-rate of each step against the anchor on the same pictures."""
    found = []
    anchor = rd[rd.codec == ANCHOR]
    for step, rows in points.groupby("step"):
        ours = rows.assign(codec="ours", setting=rows.level.astype(str), image_hash=rows.image)
        both = pd.concat([ours, anchor[anchor.image.isin(rows.image)].assign(image_hash=lambda t: t.image)])
        bd = bd_table(both, ANCHOR).set_index("codec").loc["ours"]
        found.append({"step": step, "kodak_percent": bd.bd_rate_percent, "kodak_low": bd.bd_rate_low, "kodak_high": bd.bd_rate_high, "images": bd.images})
    return pd.DataFrame(found)


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.training_curve", description=__doc__.split("\n")[0])
    ap.add_argument("--run", type=Path, required=True)
    ap.add_argument("--results", type=Path, default=Path("results"))
    args = ap.parse_args()
    sources = {name: path for name, path in (("validation", args.run / "validation.csv"), ("points", args.results / "training_points.csv"), ("rd", args.results / "kodak" / "rd.csv"))}
    if missing := [path for path in sources.values() if not path.is_file()]:
        sys.exit(f"training_curve: there is no {missing[0]}")
    validation, points, rd = (pd.read_csv(path, dtype={"setting": str}) for path in sources.values())
    table = held_out(validation).merge(against(points, rd), on="step", how="left")
    table.insert(1, "hours", table.pop("seconds") / 3600)
    table.to_csv(args.results / "training.csv", index=False, float_format="%.5g", lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
