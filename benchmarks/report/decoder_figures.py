"""Figures of the semantic stage: decoders of the same files, the progressive curve, the knobs. Each takes the folder
of results."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from benchmarks.analysis.published import GENERATIVE, PERCEPTUAL, generative_curves
from benchmarks.harness.frames import read_frame
from benchmarks.report.curve_labels import draw_letters, draw_list, label_ends
from benchmarks.report.style import COLUMN, DECODERS, PAGE, SERIES, SERIES_MARKERS

PATH = "#CC79A7"  # colour of the path from the vq picture to the sample
NAMES = {
    "rmse": "RMSE (0-255)", "lpips": "LPIPS (AlexNet)", "dists": "DISTS", "fid": "FID (256-pixel patches)",
    "sqz_dist": "sqz_dist (not LPIPS)", "sqz_kid": "sqz_kid (SqueezeNet KID)",
}  # fmt: skip
PUBLISHED, OWN = ("rmse", "lpips", "dists", "fid"), ("rmse", "sqz_dist", "sqz_kid")
GREY, TEXT_GREY = "#8a8a8a", "#666666"  # published curves of other codecs
LETTERS = dict(zip(GENERATIVE, "abcdefghijklmnopqrstuvwxyz", strict=False))


def shown(table: pd.DataFrame) -> tuple[str, ...]:
    """The metrics of the panels: those in published networks where the table has them all, else those in SqueezeNet
    features."""
    return PUBLISHED if all(name in table and table[name].notna().any() for name in PUBLISHED) else OWN


def beside(axes: Axes, dataset: str, columns: list[str]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Draws published curves of generative codecs without changing the limits; returns what `draw_letters` takes."""
    limits = axes.get_xlim(), axes.get_ylim()
    curves = []
    for name, points in generative_curves(dataset, columns).items():
        x, y = points.to_numpy().T
        axes.plot(x, y, color=GREY, linewidth=0.7, marker=".", markersize=2.5, zorder=1.5, label=f"_{name}")
        curves.append((name, x, y))
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    return curves


def log_rate(axes: Axes, ticks: tuple[int, ...] = (1, 2, 5)) -> None:
    """Logarithmic horizontal axis with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def perceptual_curves(results: Path) -> plt.Figure:
    """Error and perceptual distances at each rate, one curve for each decoder of the same files.

    Below: the differences to vq with their 95 % intervals, paired by picture. Grey: published curves of other codecs.
    """
    table = read_frame(results / "kodak" / "decoders.csv")
    metrics = shown(table)
    figure, grid = plt.subplots(2, len(metrics), figsize=(PAGE, 4.6), layout="constrained", sharex=True)
    names = [name for name in DECODERS if (table.decoder == name).any()]
    last: list[list[Line2D]] = [[], []]
    keys: list[list] = []
    for column, metric in enumerate(metrics):
        above, below = grid[:, column]
        for k, name in enumerate(names):
            rows, (colour, marker) = table[table.decoder == name].sort_values("bits_per_dim"), DECODERS[name]
            line = above.plot(rows.bits_per_dim, rows[metric], color=colour, marker=marker, label=name)[0]
            middle, low, high = (rows[f"{metric}_minus_vq{end}"] for end in ("", "_low", "_high"))
            aside = 1.03 ** (k - len(names) / 2)  # so that bars do not cover one another
            under = below.plot(rows.bits_per_dim * aside, middle, color=colour, marker=marker, label=name)[0]
            below.errorbar(
                rows.bits_per_dim * aside,
                middle,
                [middle - low, high - middle],
                fmt="none",
                ecolor=colour,
                elinewidth=1,
                capsize=1.5,
            )
            if column == len(metrics) - 1:
                last[0].append(line)
                last[1].append(under)
        log_rate(below, (1, 3) if metrics == PUBLISHED else (1, 2, 5))
        above.set_ylim(bottom=0)
        if metrics == PUBLISHED:  # room for codecs of lower rates
            below.set_xlim(0.35 * table.bits_per_dim.min(), 1.3 * table.bits_per_dim.max())
        keys.append(beside(above, "kodak", ["bits_per_dim", metric]) if metric in PERCEPTUAL else [])
        above.set_title(NAMES[metric], loc="left", fontsize=8)
        below.set_xlabel("rate, bits/dim")
    grid[0][0].set_ylabel(f"{table.images.max()} pictures of Kodak")
    grid[1][0].set_ylabel("difference to vq")
    for row in (0, 1):
        label_ends(grid[row][-1], last[row])
    marked = set().union(
        *(draw_letters(axes, curves, TEXT_GREY, 5.5, LETTERS) for axes, curves in zip(grid[0], keys, strict=True))
    )
    if marked:  # the panel of RMSE has room
        draw_list(
            grid[0][0],
            {name: letter for name, letter in LETTERS.items() if name in marked},
            TEXT_GREY,
            (0.04, 0.03),
            "left",
            "bottom",
            5.5,
        )
    return figure


def plane(results: Path) -> plt.Figure:
    """Distortion-perception plane (Blau and Michaeli 2018): RMSE against perceptual distance, one curve for each
    decoder over the rates.

    Realism is the path from vq to ldm. Grey: published curves of other codecs, whose RMSE follows from their mean PSNR.
    """
    table = read_frame(results / "kodak" / "decoders.csv")
    path = results / "semantic" / "sweep_mean.csv"
    sweep = read_frame(path) if path.is_file() else pd.DataFrame(columns=["knob", "quality"])
    figure, panels = plt.subplots(1, 2, figsize=(PAGE, 3.0), layout="constrained")
    marked: dict[str, str] = {}
    for axes, metric in zip(panels, shown(table)[1:3], strict=True):
        ends = []
        for name, (colour, marker) in DECODERS.items():
            rows = table[table.decoder == name].sort_values("bits_per_dim", ascending=False)
            if len(rows):
                ends.append(axes.plot(rows.rmse, rows[metric], color=colour, marker=marker, label=name)[0])
            if name == "vq":
                for row in rows.itertuples():
                    axes.annotate(
                        f"{row.bits_per_dim:.3f}",
                        (row.rmse, getattr(row, metric)),
                        xytext=(-5, 3),
                        textcoords="offset points",
                        ha="right",
                        fontsize=7,
                        color="#555555",
                    )
        steps = (
            [rows.sort_values("value") for _, rows in sweep[sweep.knob == "realism"].groupby("quality")]
            if metric in sweep
            else []
        )
        for k, rows in enumerate(steps):
            axes.plot(
                rows.rmse,
                rows[metric],
                color=PATH,
                marker=".",
                linewidth=1,
                linestyle=(0, (3, 1.5)),
                zorder=5,
                label="realism 0 to 1" if k == 0 else f"_realism {k}",
            )
        if steps:
            axes.text(
                0.97,
                0.98,
                f"dashed: realism, {steps[0].images.iloc[0]} pictures",
                transform=axes.transAxes,
                ha="right",
                va="top",
                color=PATH,
                fontsize=7.5,
            )
        axes.text(
            0.03, 0.98, "grey: bits/dim", transform=axes.transAxes, ha="left", va="top", color="#555555", fontsize=7
        )
        axes.margins(x=0.22, y=0.16)
        axes.set_xlabel(NAMES["rmse"])
        axes.set_ylabel(NAMES[metric])
        if metric in PERCEPTUAL:
            axes.set_xlim(0.3 * table.rmse.min(), 1.6 * table.rmse.max())
            axes.set_ylim(bottom=0)
        label_ends(axes, ends)
        if metric in PERCEPTUAL:
            marked |= draw_letters(axes, beside(axes, "kodak", ["rmse", metric]), TEXT_GREY, 6.5, LETTERS)
    if marked:
        named = ", ".join(f"{letter} {name}" for name, letter in sorted(marked.items(), key=lambda item: item[1]))
        figure.supxlabel(f"published: {named}", x=0.02, ha="left", fontsize=7, color=TEXT_GREY)
    return figure


def progressive(results: Path) -> plt.Figure:
    """Cumulative rate against RMSE of what can be shown (Ho et al. 2020, figure 5): sections of the stream, then
    levels of the chain."""
    table = read_frame(results / "semantic" / "progressive.csv")
    mean = table.groupby(["quality", "part", "step"], as_index=False)[["sigma", "bits_per_dim", "rmse"]].mean()
    figure, axes = plt.subplots(figsize=(COLUMN, 2.9), layout="constrained")
    for k, (quality, rows) in enumerate(mean.groupby("quality")):
        colour = SERIES[k % len(SERIES)]
        first, second = (rows[rows.part == part].sort_values("step") for part in ("perceptual", "semantic"))
        axes.plot(first.bits_per_dim, first.rmse, "-", color=colour, marker="o", label=f"perceptual {quality:g}")
        axes.plot(
            second.bits_per_dim,
            second.rmse,
            "--",
            color=colour,
            marker="D",
            markersize=2.8,
            label=f"semantic {quality:g}",
        )
        axes.axvline(first.bits_per_dim.max(), color=colour, linewidth=0.7, linestyle=":")
        axes.annotate(
            f"quality {quality:g}", (first.bits_per_dim.iloc[-1], 0.98), xycoords=("data", "axes fraction"), xytext=(-2, 0),
            textcoords="offset points", rotation=90, ha="right", va="top", color=colour, fontsize=7,
        )  # fmt: skip
    log_rate(axes, (1, 3))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("cumulative rate, bits/dim")
    axes.set_ylabel(NAMES["rmse"])
    axes.legend(
        [Line2D([], [], color="#555555", marker="o"), Line2D([], [], color="#555555", linestyle="--", marker="D", markersize=2.8)],
        ["perceptual: the stream", "semantic: the chain"], fontsize=7, loc="lower left", handlelength=2.6,
    )  # fmt: skip
    return figure


def sweeps(results: Path) -> plt.Figure:
    """Steps, guidance and realism against RMSE and perceptual distances, one curve for each rate."""
    table = read_frame(results / "semantic" / "sweep_mean.csv")
    knobs = [k for k in ("steps", "guidance", "realism") if (table.knob == k).any()]
    metrics = shown(table)
    figure, grid = plt.subplots(
        len(metrics), len(knobs), figsize=(PAGE, 6.0), layout="constrained", squeeze=False, sharex="col", sharey="row"
    )
    for column, knob in enumerate(knobs):
        for row, metric in enumerate(metrics):
            axes = grid[row][column]
            lines = []
            for k, (_, rows) in enumerate(table[table.knob == knob].groupby("quality")):
                style = {"color": SERIES[k % len(SERIES)], "marker": SERIES_MARKERS[k % len(SERIES)]}
                rows = rows.sort_values("value")
                lines.append(
                    axes.plot(rows.value, rows[metric], **style, label=f"{rows.bits_per_dim.mean():.3f} bits/dim")[0]
                )
            if knob == "steps":
                axes.set_xscale("log", base=2)
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(ticks := np.unique(table[table.knob == knob].value), [f"{tick:g}" for tick in ticks])
            if column == 0:
                axes.set_ylabel(NAMES[metric])
            if row == len(metrics) - 1:
                axes.set_xlabel(knob)
            if column == len(knobs) - 1:
                label_ends(axes, lines)
    return figure
