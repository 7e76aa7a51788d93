"""What training time buys: python -m benchmarks.studies.validations --runs RUN ... [--out
results/semantic/validations.csv]

RUN ...: folders of runs of codec.training.restoration.train on the same crops, each begun with the last state of the
first one's kind. Writes their validations: run, step, seconds, task (place of the quality among the anchors, or x2,
x4), rmse and lpips of what is restored, and of what it is restored from (rmse_c, lpips_c).
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told

VALUES = ("rmse", "lpips", "rmse_c", "lpips_c")


def rows(run: Path) -> pd.DataFrame:
    """One row for each validation and task."""
    found = read_frame(run / "validation.csv")
    tasks = [name.removesuffix("_rmse") for name in found.columns if name.endswith("_rmse")]
    parts = []
    for task in tasks:
        part = found[["step", "seconds", *(f"{task}_{v}" for v in VALUES)]]
        part.columns = ["step", "seconds", *VALUES]
        part.insert(2, "task", task)
        parts.append(part)
    joined = pd.concat(parts).sort_values(["step", "task"], kind="stable")
    joined.insert(0, "run", run.name)
    return joined


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.validations", description=__doc__.split("\n\n")[0])
    ap.add_argument("--runs", type=Path, nargs="+", required=True)
    ap.add_argument("--out", type=Path, default=Path("results/semantic/validations.csv"))
    args = ap.parse_args()
    if missing := [run for run in args.runs if not (run / "validation.csv").exists()]:
        raise SystemExit(f"there is no validation.csv in {missing[0]}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_frame(pd.concat(map(rows, args.runs)), args.out, float_format="%.6g")


if __name__ == "__main__":
    main()
