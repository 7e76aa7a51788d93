"""Ablations of the perceptual stage: Bjontegaard differences from the points that
benchmarks.studies.ablations.measure measured.

    python -m benchmarks.studies.ablations.report [--results results]

Reads RESULTS/ablation_points.csv; writes RESULTS/ablations.csv: each variant against the model unchanged, mean over
held-out crops with its 95 % bootstrap interval. benchmarks/report/figures.py draws it.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.analysis.bdrate import bd_table
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told

ANCHOR = "unchanged"


def table(points: pd.DataFrame) -> pd.DataFrame:
    """One row for each variant; factors, and variants within, in the order in which they were measured."""
    rows = points.assign(codec=points.variant, image_hash=points.crop, setting=points.level)
    found = bd_table(rows, ANCHOR).set_index("codec")
    out = points.groupby(["factor", "variant"], sort=False)[["steps", "operations", "seconds"]].first().reset_index()
    for name, column in (
        ("bd_rate_percent", "bd_rate_percent"),
        ("low", "bd_rate_low"),
        ("high", "bd_rate_high"),
        ("overlap_percent", "overlap_percent"),
        ("crops", "images"),
    ):
        out[name] = found.loc[out.variant, column].to_numpy()
    first_seen = {factor: place for place, factor in enumerate(out.factor.unique())}
    out = out.sort_values("factor", key=lambda factor: factor.map(first_seen), kind="stable")
    return out[out.variant != ANCHOR]


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.ablations.report", description=__doc__.split("\n\n")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    args = ap.parse_args()
    path = args.results / "ablation_points.csv"
    if not path.is_file():
        raise BenchmarkError(f"{path} is not there: run benchmarks.studies.ablations.measure first")
    found = table(read_frame(path))
    write_frame(found, args.results / "ablations.csv", float_format="%.6g")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
