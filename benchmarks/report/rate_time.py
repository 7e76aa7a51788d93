"""Rate saved against the time that decoding takes."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter

from benchmarks.analysis.bdrate import Curve, bd_rate, shared_range
from benchmarks.harness.frames import read_frame
from benchmarks.report.style import PAGE, SERIES, SERIES_MARKERS
from benchmarks.studies.rivals import measured_curve, published_curve

ANCHOR = "jpeg"
#: Codec of the table of speed -> codec of the Kodak table, or system of the published points.
MEASURED = {"ours": "ours-vq", "jpeg": ANCHOR, "webp": "webp", "avif": "avif", "jxl": "jxl"}
PUBLISHED = {
    "hyperprior": "CompressAI:compressai-bmshj2018-hyperprior_mse_ans_cuda-8bit",
    "mbt2018-mean": "CompressAI:compressai-mbt2018-mean_mse_ans_cuda-8bit",
    "cheng2020-anchor": "CompressAI:compressai-cheng2020-anchor_mse_ans_cuda-8bit",
}
LABELS = {"": "ours", "numpy": "ours, without numba", "bfloat16": "ours, bfloat16"}


@dataclass(frozen=True)
class Dots:
    """table: label, decode seconds of 768x512 with one thread, percent of JPEG's bytes saved at equal RMSE on Kodak,
    and whether that is published; within: the PSNR that all curves have, over which all savings are averaged."""

    table: pd.DataFrame
    within: tuple[float, float]


def dots(results: Path) -> Dots:
    """One for each codec whose decoding was timed."""
    speed = read_frame(results / "speed_full.csv", keep_default_na=False, na_values={"seconds": [""]})
    means = read_frame(results / "kodak" / "mean.csv", dtype={"setting": str})
    here = (speed.group == "small-1") & (speed.direction == "decode") & speed.decoder.isin(["", "vq"])
    lines = list(speed[here & speed.variant.isin(LABELS)].itertuples())
    curves = {codec: _curve(means, codec) for codec in dict.fromkeys(line.codec for line in lines)}
    anchor = measured_curve(means, ANCHOR)
    within, found = shared_range([anchor, *curves.values()]), []
    for line in lines:
        label = LABELS[line.variant] if line.codec == "ours" else line.codec
        saved = -bd_rate(anchor, curves[line.codec], within)
        found.append((label, line.seconds, saved, line.codec in PUBLISHED))
    return Dots(pd.DataFrame(found, columns=["label", "seconds", "saved_percent", "published"]), within)


def _curve(means: pd.DataFrame, codec: str) -> Curve:
    return published_curve(PUBLISHED[codec])[0] if codec in PUBLISHED else measured_curve(means, MEASURED[codec])


def rate_time(results: Path) -> plt.Figure:
    """A dot for each codec."""
    found = dots(results)
    figure, axes = plt.subplots(figsize=(PAGE, 2.8), layout="constrained")
    for k, row in enumerate(found.table.itertuples()):  # names beside the plot: dots may lie close together
        colour, marker = SERIES[k % len(SERIES)], SERIES_MARKERS[(k + k // len(SERIES)) % len(SERIES_MARKERS)]
        label = f"{row.label} (rate published)" if row.published else row.label
        face = "white" if row.published else colour
        axes.plot(
            [row.seconds], [row.saved_percent], marker, color=colour, markerfacecolor=face, markersize=6, label=label
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("seconds to decode 768x512, one thread")
    axes.set_ylabel(f"bytes saved against JPEG, %,\nat PSNR of {found.within[0]:.1f} to {found.within[1]:.1f} dB")
    axes.margins(x=0.1, y=0.1)
    figure.legend(loc="outside right upper", fontsize=7)
    return figure
