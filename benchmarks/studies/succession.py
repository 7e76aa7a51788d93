"""What a model's files are beside those of the model before: python -m benchmarks.studies.succession --before RD
[--rows results/kodak/rd.csv] [--out results/succession.csv]

RD: the rows of the older model, rd_curve.py's rd.csv of then (git show COMMIT:results/kodak/rd.csv). Both must have the
same pictures and settings. Writes a row for each codec and quality that is ours in both: mean bytes before and now,
their change in percent (mean over pictures of the logarithm), and RMSE before and now.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.analysis.summary import read_table
from benchmarks.harness.frames import write_frame
from benchmarks.harness.told import told

KEYS = ["codec", "setting", "image_hash"]
OURS = "ours-"


def model(version: str) -> int:
    """Of a version such as "codec 0.1.0, model 6, vq 4d6797ff, effort 1"."""
    found = re.search(r"\bmodel (\d+)", version)
    return int(found[1]) if found else 0


def compared(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Rows of both tables -> one for each codec and setting. Raises SystemExit where they share none."""
    both = before[before.codec.str.startswith(OURS)].merge(now, on=KEYS, suffixes=("_before", ""))
    if both.empty:
        raise SystemExit("the two tables share no picture and setting of ours")
    rows = []
    for (codec, setting), group in both.groupby(["codec", "setting"]):
        models = [sorted({model(v) for v in group[name]}) for name in ("version_before", "version")]
        rows.append(
            {
                "codec": codec,
                "quality": float(setting),
                "pictures": len(group),
                "model_before": " ".join(map(str, models[0])),
                "model": " ".join(map(str, models[1])),
                "bytes_before": group.bytes_before.mean(),
                "bytes": group.bytes.mean(),
                "bytes_percent": 100 * np.expm1(np.log(group.bytes / group.bytes_before).mean()),
                "rmse_before": group.rmse_before.mean(),
                "rmse": group.rmse.mean(),
            }
        )
    return pd.DataFrame(rows).sort_values(["codec", "quality"], kind="stable")


@told
def main(arguments: Sequence[str] | None = None) -> None:
    ap = argparse.ArgumentParser(
        prog="benchmarks.studies.succession", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--before", type=Path, required=True)
    ap.add_argument("--rows", type=Path, default=Path("results/kodak/rd.csv"))
    ap.add_argument("--out", type=Path, default=Path("results/succession.csv"))
    args = ap.parse_args(arguments)
    found = compared(read_table(args.before), read_table(args.rows))
    write_frame(found, args.out, "%.6g")
    print(found.to_string(index=False))


if __name__ == "__main__":
    main()
