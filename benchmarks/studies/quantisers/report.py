"""Figure and Bjontegaard table of the comparison of quantisers, from the table that
benchmarks.studies.quantisers.measure measured.

    python -m benchmarks.studies.quantisers.report [--results results]

Reads RESULTS/quantizers.csv; writes RESULTS/quantizers_bd.csv and RESULTS/figures/quantizers.{png,pdf}.
"""

import argparse
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.interpolate import PchipInterpolator

from benchmarks.analysis.bdrate import Curve, bd_rate, bd_table, mean_curve
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame, write_frame
from benchmarks.harness.told import told
from benchmarks.report.curve_labels import label_ends
from benchmarks.report.style import OTHERS, PAGE, RC

_NOT_HERE = [
    "bd_rmse", "bd_rmse_low", "bd_rmse_high", "rate_overlap_percent",
    "ms_ssim_rate_percent", "ms_ssim_rate_low", "ms_ssim_rate_high", "ms_ssim_overlap_percent", "ms_ssim_images",
]  # fmt: skip
PLAIN, AWARE = "scalar", "scalar+ra"  # the two anchors
_COLOURS = {
    "scalar": "#000000", "tcq4": "#9ECAE1", "tcq8": "#56B4E9", "tcq32": "#0072B2", "tcq128": "#08306B", "tcq256": "#041833", "d4": "#E69F00", "e8": "#D55E00", "ecvq": "#009E73",
}  # fmt: skip
_TITLES = {"base": "prior of no particular quantiser (uniform noise)", "adapted": "adapted to tcq128+ra"}
_NOTE = (
    "Validation crops of 256x256, means over crops; the same transforms and prior for all, tables of each counted from its own closed-loop decisions.\n"
    "Ideal code lengths, tokens included. Solid: rate-aware assignment (+ra); dashed: nearest point."
)


def read(path: Path) -> pd.DataFrame:
    """The measured table, with the columns that benchmarks.analysis.bdrate reads: codec, image_hash, setting."""
    table = read_frame(path)
    table["codec"] = table.quantizer + np.where(table.rate_aware, "+ra", "")
    if PLAIN not in set(table.codec):
        raise BenchmarkError(f"{path} has no rows of the quantiser {PLAIN}, which the others are compared with")
    return table.assign(image_hash=table.crop, setting=table.quality)


def bd(table: pd.DataFrame) -> pd.DataFrame:
    """All quantisers against both anchors, for each kind of weights: mean over crops with its 95 % interval, and of
    the mean curves in the lower and the higher half of the anchor's rates; best first."""
    parts = []
    for weights, rows in table.groupby("weights", sort=False):
        curves = {name: mean_curve(part) for name, part in rows.groupby("codec")}
        seconds = rows.groupby("codec").seconds.mean()
        for anchor in (PLAIN, AWARE):
            if anchor not in curves:
                continue
            part = bd_table(rows, anchor).rename(columns={"images": "crops"})
            base = curves[anchor]
            middle = len(base.rate) // 2
            low, high = (Curve(base.rate[cut], base.rmse[cut]) for cut in (slice(middle + 1), slice(middle, None)))
            part["lower_rates_percent"] = [bd_rate(low, curves[name]) for name in part.codec]
            part["higher_rates_percent"] = [bd_rate(high, curves[name]) for name in part.codec]
            part["time_ratio"] = [seconds[name] / seconds[anchor] for name in part.codec]
            part.insert(0, "weights", weights)
            parts.append(part.drop(columns=_NOT_HERE).rename(columns={"codec": "quantizer"}))
    return pd.concat(parts, ignore_index=True).round(3)


def saving(anchor: Curve, test: Curve) -> tuple[np.ndarray, np.ndarray]:
    """-> rates of the anchor, and percent of rate that ``test`` needs more at the same RMSE, over the common range."""
    low, high = max(anchor.quality.min(), test.quality.min()), min(anchor.quality.max(), test.quality.max())
    quality = np.linspace(low, high, 60)
    a, b = (np.exp(PchipInterpolator(c.quality, np.log(c.rate))(quality)) for c in (anchor, test))
    return a, 100 * (b / a - 1)


def draw(table: pd.DataFrame, folder: Path) -> None:
    """Rate against RMSE, and rate at equal RMSE against plain scalar: a row of two panels for each kind of weights."""
    kinds = list(dict.fromkeys(table.weights))
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(RC):
        figure, axes = plt.subplots(
            len(kinds), 2, figsize=(PAGE, 3.2 * len(kinds) + 0.3), squeeze=False, layout="constrained"
        )
        figure.supxlabel(_NOTE, fontsize=6, color="#555555", x=0.01, ha="left")
        for row, kind in zip(axes, kinds, strict=True):
            rows = table[table.weights == kind]
            panels(row[0], row[1], {name: mean_curve(part) for name, part in rows.groupby("codec")})
            row[0].set_title(_TITLES[kind], loc="left", fontsize=8)
            row[1].set_title("rate at equal RMSE, against plain scalar", loc="left", fontsize=8)
        for right in axes[:, 1]:
            label_ends(right, list(right.lines))
        figure.savefig(folder / "quantizers.pdf", metadata={"CreationDate": None})
        figure.savefig(folder / "quantizers.png")
        plt.close(figure)


def _colours(names: Iterable[str]) -> dict[str, str]:
    """Quantiser, without its +ra -> colour; those that are not known here come last."""
    others = sorted({name.removesuffix("+ra") for name in names} - set(_COLOURS))
    return _COLOURS | dict(zip(others, cycle(OTHERS), strict=False))


def panels(left: Axes, right: Axes, curves: dict[str, Curve]) -> None:
    """Rate against RMSE, and the rate that each needs more than PLAIN."""
    colours = _colours(curves)
    for name in sorted(curves, key=lambda name: (list(colours).index(name.removesuffix("+ra")), name)):
        aware = name.endswith("+ra")
        style = {
            "color": colours[name.removesuffix("+ra")],
            "linestyle": "-" if aware else (0, (3, 1.5)),
            "linewidth": 1.5 if aware else 1.1,
        }
        left.plot(curves[name].rate, curves[name].rmse, marker="o", markersize=2.8, label=name, **style)
        rate, more = saving(curves[PLAIN], curves[name])
        right.plot(
            rate[::-1] if rate[0] > rate[-1] else rate, more[::-1] if rate[0] > rate[-1] else more, label=name, **style
        )
    for axes in (left, right):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.set_xlabel("rate, bits/dim")
    left.set_ylabel("RMSE (0-255)")
    right.set_xlabel(f"rate of {PLAIN}, bits/dim")
    right.set_ylabel("more rate, %")


@told
def main(argv: Sequence[str] | None = None) -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.studies.quantisers.report", description=__doc__.split("\n\n")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    args = ap.parse_args(argv)
    table = read(args.results / "quantizers.csv")
    result = bd(table)
    write_frame(result, args.results / "quantizers_bd.csv")
    draw(table, args.results / "figures")
    print(result[result.anchor == PLAIN].to_string(index=False))


if __name__ == "__main__":
    main()
