"""VTM and learned codecs of papers beside this one, on Kodak: python -m benchmarks.studies.rivals [--results results]

Nothing is measured here. From the published curves (benchmarks/published/kodak.csv) and RESULTS/kodak/mean.csv it
writes RESULTS/kodak/rivals.csv: for each rival the bytes that ours-vq needs more (+) or fewer (-) at equal RMSE; its
own BD-rate against the measured bpg-444 and jpeg; how much of the anchor's range the curves share; and, where its
paper or another gives one, a BD-rate against HM, which is of their making and on their terms
(benchmarks/published/rates/kodak.csv).

Published PSNR is a mean of PSNR over pictures, so ours is taken the same way here; RMSE is 255 / 10^(PSNR / 20) of
that mean.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.analysis.bdrate import Curve, bd_rate, quality_overlap
from benchmarks.analysis.published import DRAWN, FOLDER, published_points
from benchmarks.analysis.summary import read_table
from benchmarks.harness.frames import read_frame
from benchmarks.harness.table import write_rows
from benchmarks.harness.told import told

DATASET = "kodak"
OURS = "ours-vq"
ANCHORS = {"bpg": "bpg-444", "jpeg": "jpeg"}  # name in columns -> codec
#: Name -> system of the published table; None: no curve is known, only a rate in words.
RIVALS: dict[str, str | None] = {
    **{name: DRAWN[name] for name in ("mbt2018-mean", "VTM", "cheng2020-attn", "ELIC", "DCVC-RT intra")},
    "PULSE": None,
    "HM": "CompressAI:hm",
}


def measured_curve(means: pd.DataFrame, codec: str) -> Curve:
    """Mean bits/dim and the RMSE of the mean PSNR of a measured codec."""
    points = means[means.codec == codec]
    return Curve(points.bits_per_dim.to_numpy(), (255 / 10 ** (points.psnr / 20)).to_numpy())


def published_curve(system: str) -> tuple[Curve, pd.DataFrame]:
    """The same of a published system, and its rows."""
    rows = published_points(DATASET)
    rows = rows[rows.system == system].dropna(subset=["bits_per_dim", "rmse"])
    return Curve(rows.bits_per_dim.to_numpy(), rows.rmse.to_numpy()), rows


def table(means: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """One row for each rival, nearest first; without a curve there is no number but the published one."""
    ours, found = measured_curve(means, OURS), []
    said = rates.set_index("system")
    for name, system in RIVALS.items():
        row: dict[str, object] = {"codec": name, "version": means[means.codec == OURS].version.iloc[-1]}
        if system is not None:
            curve, rows = published_curve(system)
            row |= {"ours_percent": bd_rate(curve, ours), "ours_overlap_percent": quality_overlap(curve, ours)}
            for name_in_table, anchor in ANCHORS.items():
                base = measured_curve(means, anchor)
                row[f"{name_in_table}_percent"] = bd_rate(base, curve)
                row[f"{name_in_table}_overlap_percent"] = quality_overlap(base, curve)
            row |= {"points": len(rows), "source": rows.source.iloc[0], "convention": rows.psnr_convention.iloc[0]}
        if name in said.index:
            row |= {"said_percent": said.bd_rate_percent[name], "said_anchor": said.anchor[name]}
            row |= {"said_source": f"{said.source[name]}, {said.note[name]}"}
        found.append(row)
    return pd.DataFrame(found).sort_values("ours_percent", kind="stable").round(3)


@told
def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.rivals", description=__doc__.split(":")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    folder = ap.parse_args().results / DATASET
    found = table(read_table(folder / "mean.csv"), read_frame(FOLDER / "rates" / f"{DATASET}.csv"))
    write_rows(folder / "rivals.csv", list(found), found.astype(object).where(found.notna(), "").to_dict("records"))
    print(found[["codec", "ours_percent", "ours_overlap_percent", "said_percent"]].to_string(index=False))


if __name__ == "__main__":
    main()
