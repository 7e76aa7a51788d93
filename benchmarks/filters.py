"""What training the filter buys: python benchmarks/filters.py [--results results] NAME=RUN [NAME=RUN ...]

RUN: folder of codec.training.train_filter. Writes RESULTS/filter.csv: change of the squared error of held-out crops, in percent, at every validation of each run; level "all" is the
mean over levels. benchmarks/figures.py draws it. Where RESULTS/filter_before.csv (rows of ours-vq without the filter) and RESULTS/kodak/rd.csv are there, it also writes
RESULTS/filter_bd.csv: RMSE at each quality without and with it, and the BD-rate of the curves with its 95 % interval.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from benchmarks.bdrate import bd_table


def table(runs: dict[str, Path]) -> pd.DataFrame:
    """One row for each run, step and level."""
    parts = []
    for name, folder in runs.items():
        wide = pd.read_csv(folder / "validation.csv").drop_duplicates("step", keep="last")
        long = wide.melt(["step", "seconds"], var_name="level", value_name="change_percent").assign(run=name, level=lambda t: t.level.str.removeprefix("level_"))
        parts.append(long[["run", "step", "seconds", "level", "change_percent"]])
    return pd.concat(parts)


def compared(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """One row for each quality, with the means over pictures; the last columns hold the BD-rate of all of them."""
    keys = ["image_hash", "setting"]
    both = before.merge(after, on=keys, suffixes=("_before", "_after"), validate="one_to_one")
    if not (both.bytes_before == both.bytes_after).all():
        sys.exit("filters: the files of the two tables are not the same")
    means = both.groupby("setting")[["bits_per_dim_after", "rmse_before", "rmse_after"]].mean().reset_index()
    means = means.rename(columns={"bits_per_dim_after": "bits_per_dim"}).sort_values("bits_per_dim")
    bd = bd_table(pd.concat([before.assign(codec="without"), after.assign(codec="with")]), "without").set_index("codec").loc["with"]
    return means.assign(images=both.image_hash.nunique(), **{name: bd[name] for name in ("bd_rate_percent", "bd_rate_low", "bd_rate_high")})


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.filters", description=__doc__.split("\n")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    ap.add_argument("runs", nargs="+", metavar="NAME=RUN")
    args = ap.parse_args()
    runs = {name: Path(folder) for name, _, folder in (run.rpartition("=") for run in args.runs)}
    for folder in runs.values():
        if not (folder / "validation.csv").is_file():
            sys.exit(f"filters: there is no validation.csv in {folder}")
    table(runs).to_csv(args.results / "filter.csv", index=False, float_format="%.6g", lineterminator="\n")
    before, rd = args.results / "filter_before.csv", args.results / "kodak" / "rd.csv"
    if before.is_file() and rd.is_file():
        after = pd.read_csv(rd, dtype={"setting": str})
        found = compared(pd.read_csv(before, dtype={"setting": str}), after[after.codec == "ours-vq"])
        found.to_csv(args.results / "filter_bd.csv", index=False, float_format="%.6g", lineterminator="\n")


if __name__ == "__main__":
    main()
