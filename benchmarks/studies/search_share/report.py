"""What the weight of the rate in the encoder's search does: python -m benchmarks.studies.search_share.report
[--results results]

From RESULTS/search_share.csv (python -m benchmarks.studies.search_share.measure): RESULTS/search_share_bd.csv,
BD-rate by RMSE of each share against effort 1, with 95 % bootstrap intervals over crops.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.analysis.bdrate import bd_table
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """rows of search_share.csv -> one row for each search."""
    crop = rows.crop.astype(str)
    found = bd_table(
        rows.assign(codec=rows.search, setting=rows.level.astype(str), image=crop, image_hash=crop), "effort 1"
    )
    found = found[["codec", "images", "bd_rate_percent", "bd_rate_low", "bd_rate_high", "overlap_percent"]].rename(
        columns={"codec": "search", "images": "crops"}
    )
    return found.round(3).sort_values("search", ignore_index=True)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.search_share.report", description=__doc__.split(":")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    args = ap.parse_args()
    found = table(read_frame(args.results / "search_share.csv"))
    write_frame(found, args.results / "search_share_bd.csv")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
