"""Quantisers at equal adaptation: python -m benchmarks.studies.adaptation NAME=DIR NAME=DIR [...] [--results results]

DIR: runs of codec.training.base.adapt from one base with equal settings but for ``quantizer``, each with what its
networks learned of it. From their validation.csv it writes RESULTS/adaptation.csv: steps, quality level, bits/dim
(tokens not included) and RMSE on held-out crops, and the BD-rate of the mean curves of each step against those of the
first NAME.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from benchmarks.analysis.bdrate import Curve, bd_rate, quality_overlap
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told


def curve(rows: pd.DataFrame) -> Curve:
    return Curve(rows.bits_per_dim.to_numpy(), rows.rmse.to_numpy())


def compare(runs: dict[str, Path]) -> pd.DataFrame:
    """-> rows of all runs. Raises SystemExit if more than their quantisers differ."""
    configs = [json.loads((folder / "config.json").read_text()) | {"quantizer": None} for folder in runs.values()]
    if any(config != configs[0] for config in configs):
        raise SystemExit("adaptation: the runs do not have the same settings")
    table = pd.concat(
        [
            read_frame(folder / "validation.csv").drop(columns="seconds").assign(quantizer=name)
            for name, folder in runs.items()
        ]
    )
    return against(table, next(iter(runs)))


def against(table: pd.DataFrame, anchor: str) -> pd.DataFrame:
    """Rows of all runs with the BD-rate of each step against that step of the anchor, and their overlap."""
    first, found = table[table.quantizer == anchor], {}
    for key, rows in table.groupby(["quantizer", "step"]):
        pair = curve(first[first.step == key[1]]), curve(rows)
        found[key] = bd_rate(*pair), quality_overlap(*pair)
    columns = ["bd_rate_percent", "overlap_percent"]
    table = table.drop(columns=columns, errors="ignore")
    table[columns] = [found[r.quantizer, r.step] for r in table.itertuples()]
    return table[["quantizer", "step", "level", "bits_per_dim", "rmse", *columns]]


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.adaptation", description=__doc__.split("\n\n")[0])
    ap.add_argument("runs", nargs="+", metavar="NAME=DIR")
    ap.add_argument("--results", type=Path, default=Path("results"))
    args = ap.parse_args()
    runs = {name: Path(folder) for name, _, folder in (text.partition("=") for text in args.runs)}
    if missing := [folder for folder in runs.values() if not (folder / "validation.csv").is_file()]:
        sys.exit(f"adaptation: there is no {missing[0] / 'validation.csv'}")
    table = compare(runs)
    write_frame(table, args.results / "adaptation.csv", float_format="%.5g")
    print(table.drop_duplicates(["quantizer", "step"])[["quantizer", "step", "bd_rate_percent"]].to_string(index=False))


if __name__ == "__main__":
    main()
