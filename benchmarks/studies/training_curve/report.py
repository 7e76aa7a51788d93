"""What compute bought: python -m benchmarks.studies.training_curve.report NAME=DIR=POINTS [NAME=DIR=POINTS ...]
[--results results]

DIR: folder of codec.training.base.train, each begun from the run before; POINTS: file in RESULTS that
benchmarks.studies.training_curve.measure made of its kept weights on Kodak. From their validation.csv, the points and
RESULTS/kodak/rd.csv it writes RESULTS/training.csv: megapixels of crops that the networks have seen since the first
run began, hours (of processors or cards), BD-rate on held-out photographs against the first validation of all, and
BD-rate on Kodak against BPG with its interval. Both are estimates (rounding, Gaussian rates): no files. With --append
the rows of runs whose folders are gone stay, and the first one named was begun from the last of them; without the
first validation of all, BD-rates on held-out photographs are left out.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from benchmarks.analysis.bdrate import Curve, bd_rate, bd_table
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told

ANCHOR = "bpg-444"


def held_out(validations: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """run, step, seconds, held_out_percent: mean curves against that of the first step of the first run, tokens not
    included."""
    first, found = None, []
    for run, validation in validations.items():
        for step, rows in validation.drop_duplicates(["step", "level"], keep="last").groupby("step"):
            curve = Curve(rows.bits_per_dim.to_numpy(), rows.rmse.to_numpy())
            first = curve if first is None else first
            found.append(
                {"run": run, "step": step, "seconds": rows.seconds.iloc[-1], "held_out_percent": bd_rate(first, curve)}
            )
    return pd.DataFrame(found)


def seen(config: dict, step: int) -> float:
    """Megapixels of crops up to a step."""
    late = min(step, int(config["late"] * config["steps"]))
    count = max(1, config["batch"] * config["crop"] ** 2 // config["crop_late"] ** 2)
    return (late * config["batch"] * config["crop"] ** 2 + (step - late) * count * config["crop_late"] ** 2) / 1e6


def against(points: pd.DataFrame, rd: pd.DataFrame) -> pd.DataFrame:
    """step, kodak_percent, kodak_low, kodak_high, images: BD-rate of each step against the anchor on the same
    pictures."""
    found = []
    anchor = rd[rd.codec == ANCHOR]
    for step, rows in points.groupby("step"):
        ours = rows.assign(codec="ours", setting=rows.level.astype(str), image_hash=rows.image)
        both = pd.concat([ours, anchor[anchor.image.isin(rows.image)].assign(image_hash=lambda t: t.image)])
        bd = bd_table(both, ANCHOR).set_index("codec").loc["ours"]
        found.append(
            {
                "step": step,
                "kodak_percent": bd.bd_rate_percent,
                "kodak_low": bd.bd_rate_low,
                "kodak_high": bd.bd_rate_high,
                "images": bd.images,
                "overlap_percent": bd.overlap_percent,
            }
        )
    return pd.DataFrame(found)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.training_curve.report", description=__doc__.split("\n\n")[0])
    ap.add_argument("runs", nargs="+", metavar="NAME=DIR=POINTS")
    ap.add_argument("--results", type=Path, default=Path("results"))
    ap.add_argument("--append", action="store_true", help="go on behind the rows of the table")
    args = ap.parse_args()
    if wrong := [text for text in args.runs if text.count("=") != 2]:
        ap.error(f"{wrong[0]!r} is not NAME=DIR=POINTS")
    runs = {
        name: (Path(folder), args.results / points) for name, folder, points in (text.split("=") for text in args.runs)
    }
    needed = [
        args.results / "kodak" / "rd.csv",
        *([args.results / "training.csv"] if args.append else []),
        *(
            path
            for folder, points in runs.values()
            for path in (folder / "validation.csv", folder / "config.json", points)
        ),
    ]
    if missing := [path for path in needed if not path.is_file()]:
        sys.exit(f"training_curve: there is no {missing[0]}")
    rd = read_frame(needed[0], dtype={"setting": str})
    kept = read_frame(args.results / "training.csv") if args.append else pd.DataFrame()
    kept = kept[~kept.run.isin(list(runs))] if len(kept) else kept
    table = held_out({name: read_frame(folder / "validation.csv") for name, (folder, _) in runs.items()})
    points = pd.concat([against(read_frame(path), rd).assign(run=name) for name, (_, path) in runs.items()])
    configs, before = {name: json.loads((folder / "config.json").read_text()) for name, (folder, _) in runs.items()}, {}
    for name in runs:  # what the runs before have seen
        before[name] = (kept.megapixels.max() if len(kept) else 0.0) + sum(
            seen(configs[other], int(table[table.run == other].step.max())) for other in before
        )
    table.insert(2, "megapixels", [before[r.run] + seen(configs[r.run], r.step) for r in table.itertuples()])
    table.insert(3, "hours", table.pop("seconds") / 3600)
    table = table.merge(points, on=["run", "step"], how="left")
    if len(kept):
        table = pd.concat([kept, table.assign(held_out_percent=float("nan"))])
    write_frame(table, args.results / "training.csv", float_format="%.5g")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
