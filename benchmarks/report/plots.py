"""Figures from the mean table: rate against RMSE, PSNR, MS-SSIM and perceptual metrics. No measuring here."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.analysis.published import drawn_curves
from benchmarks.analysis.summary import counted
from benchmarks.metrics.pictures import HIGHER_IS_BETTER
from benchmarks.report.curve_labels import MARGIN, Label, draw_keys, draw_labels
from benchmarks.report.style import AXIS_NAMES, curve_style

_GREY = "#8a8a8a"
_WIDTH, _LEFT, _RIGHT = 7.6, 0.76, 6.08  # inches: of a figure, and where its axes begin and end
_LABEL = 8  # size of the names of codecs
_RC = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "savefig.dpi": 160, "figure.dpi": 100,
}  # fmt: skip
NOTE = "Real files, container included; RMSE and PSNR on the decoded 8-bit RGB pixels. JPEG XL and HEIC tune for appearance here, not RMSE."


def figure_list(means: pd.DataFrame, rate_axes: Sequence[str]) -> list[tuple[str, str]]:
    """(metric, "linear" or "log") of every figure that the table allows."""
    metrics = [
        name for name in AXIS_NAMES if name in means and name != "bits_per_dim" and np.isfinite(means[name]).any()
    ]
    return [(metric, axis) for axis in rate_axes for metric in metrics]


def draw_figure(means: pd.DataFrame, folder: Path, dataset: str, metric: str, axis: str) -> Path:
    """Write one figure as PDF and PNG; returns the PNG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(_RC):
        figure, axes = plt.subplots(figsize=(_WIDTH, 5.4))
        figure.subplots_adjust(left=_LEFT / _WIDTH, right=_RIGHT / _WIDTH, top=0.93, bottom=0.14)
        _widen(figure, [str(codec) for codec in means.codec.unique()])
        _panel(axes, means, metric, dataset, axis == "log")
        figure.text(0.01, 0.01, _note(dataset, metric), fontsize=6.5, color="#555555", va="bottom")
        return _save(figure, folder / f"rate_{metric}_{axis}")


def _widen(figure: plt.Figure, names: Sequence[str]) -> None:
    """Make room for the longest name of a codec right of the axes, which keep their size."""
    texts = [figure.text(0, 0, name, fontsize=_LABEL, fontweight="bold", parse_math=False) for name in names]
    longest = max(text.get_window_extent().width for text in texts) / figure.dpi
    for text in texts:
        text.remove()
    width = max(_WIDTH, _LEFT + MARGIN * (_RIGHT - _LEFT) + longest + 0.1)
    figure.set_size_inches(width, figure.get_figheight())
    figure.subplots_adjust(left=_LEFT / width, right=_RIGHT / width)


def _title(axes: Axes, dataset: str, before: str, after: str) -> None:
    """Title with the name of a data set in it, of which as much is kept as there is room for."""
    name = dataset[:1].upper() + dataset[1:]
    for length in range(len(name), 0, -1):
        shown = name if length == len(name) else name[:length].rstrip() + "\u2026"
        text = axes.set_title(f"{before}{shown}{after}", loc="left", fontsize=10, parse_math=False)
        if text.get_window_extent().x1 <= axes.figure.bbox.width:
            return


def draw_figures(means: pd.DataFrame, folder: Path, dataset: str, rate_axes: Sequence[str]) -> list[Path]:
    """Write every figure as PDF and PNG; returns the PNG paths. `rate_axes`: "linear", "log" or both."""
    return [draw_figure(means, folder, dataset, metric, axis) for metric, axis in figure_list(means, rate_axes)]


def _panel(axes: Axes, means: pd.DataFrame, metric: str, dataset: str, log_rate: bool) -> None:
    rate_limits = _limits(means.bits_per_dim, log_rate, 0.04)
    finite = means[metric][np.isfinite(means[metric])]
    value_limits = _limits(finite, False, 0.04)
    if log_rate:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(rate_limits)
    axes.set_ylim(value_limits)
    published = []
    for name, points in drawn_curves(dataset, metric).items():
        x, y = points.bits_per_dim.to_numpy(), points[metric].to_numpy()
        axes.plot(x, y, color=_GREY, linewidth=0.7, marker=".", markersize=2.5, zorder=2)
        first = slice(None) if log_rate else slice(None, None, -1)  # the end where the curves lie apart
        published.append((name, x[first], y[first]))
    labels = []
    for index, (codec, group) in enumerate(means.groupby("codec", sort=True)):
        group = group[np.isfinite(group[metric])].sort_values("bits_per_dim")
        if group.empty:
            continue
        style = curve_style(str(codec), index)
        axes.plot(
            group.bits_per_dim, group[metric], color=style.colour, marker=style.marker, markersize=3.2,
            linewidth=style.width, linestyle=(0, style.dash) if style.dash else "-", zorder=4,
        )  # fmt: skip
        if (
            str(codec).startswith("ours") and f"{metric}_low" in group
        ):  # intervals of all codecs would cover one another
            ends = np.array([group[metric] - group[f"{metric}_low"], group[f"{metric}_high"] - group[metric]])
            axes.errorbar(
                group.bits_per_dim,
                group[metric],
                np.maximum(ends, 0),
                fmt="none",
                ecolor=style.colour,
                elinewidth=0.8,
                capsize=1.5,
                zorder=3,
            )
        last = group.iloc[-1]
        labels.append(
            Label(str(codec), last.bits_per_dim, last[metric], style.colour, _LABEL, str(codec).startswith("ours"))
        )
    fewer = counted(means, metric)
    axes.set_xlabel(AXIS_NAMES["bits_per_dim"] + (" (log scale)" if log_rate else ""))
    axes.set_ylabel(AXIS_NAMES[metric] + fewer)
    better = "upper" if metric in HIGHER_IS_BETTER else "lower"
    _title(axes, dataset, f"{AXIS_NAMES[metric]} against rate: ", f", {better} left is better")
    draw_labels(axes, labels)
    draw_keys(axes, published, "#666666", metric in HIGHER_IS_BETTER)


def _limits(values: pd.Series, log: bool, margin: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if log:
        factor = (high / low) ** margin if high > low else 2.0
        return low / factor, high * factor
    pad = margin * (high - low) or 1.0
    return low - pad, high + pad


def _note(dataset: str, metric: str) -> str:
    text = NOTE
    if drawn_curves(dataset, metric):
        text += "\nGrey: published curves (benchmarks/published), never measured here"
        text += "; their RMSE is derived from PSNR." if metric == "rmse" else "."
    return text


def _save(figure: plt.Figure, stem: Path) -> Path:
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.savefig(stem.with_suffix(".png"))
    plt.close(figure)
    return stem.with_suffix(".png")
