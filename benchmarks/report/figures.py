"""Every figure and table of the write-up from committed tables: python -m benchmarks.report.figures [--results
results] [--out results/figures]

No networks run. What has no table yet is said in one sentence and left out. Figures are PDF and PNG, tables Markdown
and LaTeX.
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from benchmarks.analysis.bdrate import MIN_OVERLAP, marked
from benchmarks.analysis.models import find
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame
from benchmarks.harness.told import told
from benchmarks.report import tables
from benchmarks.report.decoder_figures import perceptual_curves, plane, progressive, sweeps
from benchmarks.report.plots import draw_figures
from benchmarks.report.rate_time import rate_time
from benchmarks.report.style import COLUMN, PAGE, RC, SERIES, SERIES_MARKERS
from benchmarks.studies.quantisers import report as quantizers


def rate_metrics(means: pd.DataFrame) -> list[str]:
    """Of the figures with all codecs."""
    return [name for name in ("rmse", "ms_ssim", "lpips", "dists", "sqz_dist") if name in means]


def speed(results: Path) -> plt.Figure:
    """Seconds of this codec over those of others, measured in turn in one run."""
    table = read_frame(results / "speed.csv")
    table = table[table.codec == "ours"].copy()
    several = table.threads.nunique() > 1
    table["kind"] = table.direction + np.where(table.decoder.isna(), "", " " + table.decoder.fillna(""))
    rows = [
        (f"{r.kind} / {name}" + (f", threads: {r.threads}" if several else ""), getattr(r, f"ratio_{name}"), r.direction)
        for r in table.itertuples() for name in ("hyperprior", "webp", "avif")
    ][::-1]  # fmt: skip
    figure, axes = plt.subplots(figsize=(COLUMN, 0.2 * len(rows) + 0.8), layout="constrained")
    labels, ratios, directions = zip(*rows, strict=True)
    axes.hlines(labels, 1, ratios, color="#999999", linewidth=1, zorder=2)
    for direction, colour, marker in (("encode", SERIES[0], "o"), ("decode", SERIES[1], "s")):
        chosen = [k for k, d in enumerate(directions) if d == direction]
        axes.plot(
            [ratios[k] for k in chosen],
            [labels[k] for k in chosen],
            marker,
            color=colour,
            markersize=5,
            label=direction,
        )
    for y, value in enumerate(ratios):
        axes.annotate(
            f"{value:.0f}" if value > 9.95 else f"{value:.2g}",
            (value, y),
            xytext=(6 if value > 1 else -6, 0),
            textcoords="offset points",
            va="center",
            ha="left" if value > 1 else "right",
            fontsize=7.5,
        )
    axes.axvline(1, color="#000000", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("seconds over theirs, 768x512\n(left of the line: faster)")
    axes.set_xlim(min(ratios) / 8, max(ratios) * 6)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="y", visible=False)
    return figure


def effort(results: Path) -> plt.Figure:
    """Rate saved by the encoder's search against the seconds it takes."""
    table = read_frame(results / "effort_bd.csv")
    figure, axes = plt.subplots(figsize=(COLUMN, 2.5), layout="constrained")
    axes.plot(table.cpu_s, table.bd_rate_percent, marker="o", color=SERIES[0], label="effort")
    axes.errorbar(
        table.cpu_s,
        table.bd_rate_percent,
        [table.bd_rate_percent - table.bd_rate_low, table.bd_rate_high - table.bd_rate_percent],
        fmt="none",
        ecolor=SERIES[0],
        capsize=2,
    )
    for row in table.itertuples():
        axes.annotate(
            marked(str(row.effort), row.overlap_percent),
            (row.cpu_s, row.bd_rate_percent),
            xytext=(5, 2),
            textcoords="offset points",
            fontsize=7.5,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("seconds for 768x512 (numbers: effort)")
    axes.set_ylabel("BD-rate against effort 1, %")
    axes.margins(x=0.15, y=0.1)
    return figure


def ablations(results: Path) -> plt.Figure:
    """BD-rate of variants, a group of rows for each factor."""
    path, model = find(results, "ablations.csv")
    table = read_frame(path).iloc[::-1].reset_index(drop=True)
    place = np.arange(len(table)) + 0.6 * (table.factor != table.factor.shift()).cumsum().to_numpy()
    figure, axes = plt.subplots(figsize=(COLUMN, 0.2 * (place[-1] - place[0]) + 0.8), layout="constrained")
    colours = {factor: SERIES[k % len(SERIES)] for k, factor in enumerate(dict.fromkeys(table.factor[::-1]))}
    for factor, rows in table.groupby("factor", sort=False):
        y = place[rows.index]
        for share, faces in ((False, "white"), (True, colours[factor])):  # hollow: the curves share too little
            chosen = (rows.overlap_percent >= MIN_OVERLAP).to_numpy() == share
            axes.plot(
                rows.bd_rate_percent[chosen], y[chosen], "o", color=colours[factor], markerfacecolor=faces, zorder=3
            )
        axes.errorbar(
            rows.bd_rate_percent,
            y,
            xerr=[rows.bd_rate_percent - rows.low, rows.high - rows.bd_rate_percent],
            fmt="none",
            ecolor=colours[factor],
            capsize=2,
        )
    axes.set_xscale("symlog", linthresh=20)  # some variants are far off
    axes.xaxis.set_major_locator(FixedLocator([-20, -10, 0, 10, 20, 100, 500]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axvline(0, color="#000000", linewidth=0.8, linestyle=":")
    axes.set_yticks(place, [f"{r.factor}: {r.variant}" for r in table.itertuples()], fontsize=7)
    for tick, factor in zip(axes.get_yticklabels(), table.factor, strict=True):
        tick.set_color(colours[factor])
    hollow = (table.overlap_percent < MIN_OVERLAP).any()
    of = "" if model is None else f" (model {model})"
    less = f"\n(hollow: overlap < {MIN_OVERLAP:g} %)" if hollow else ""
    axes.set_xlabel(f"BD-rate, %{of}{less}")
    axes.grid(axis="y", visible=False)
    return figure


def compute(results: Path) -> plt.Figure:
    """What training bought, run after run: BD-rate on held-out photographs against the first validation of all, and
    on Kodak against BPG, by what the networks have seen."""
    table = read_frame(results / "training.csv")
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.5), layout="constrained")
    for k, (name, rows) in enumerate(table.groupby("run", sort=False)):
        look = {"marker": SERIES_MARKERS[k], "color": SERIES[k]}
        if len(known := rows.dropna(subset="held_out_percent")):
            left.plot(known.megapixels, known.held_out_percent, label=name, **look)
        known = rows.dropna(subset="kodak_percent")
        right.plot(known.megapixels, known.kodak_percent, label=name, **look)
        right.fill_between(known.megapixels, known.kodak_low, known.kodak_high, color=SERIES[k], alpha=0.2, linewidth=0)
    left.set_ylabel("held-out photographs: BD-rate\nagainst the first point, %")
    right.set_ylabel("Kodak (estimate): BD-rate\nagainst BPG 4:4:4, %")
    right.legend()
    for axes in (left, right):
        axes.axhline(0, color="#000000", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xlim(table.megapixels.min() / 1.5, table.megapixels.max() * 1.5)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("megapixels seen")
    return figure


def training(results: Path) -> plt.Figure:
    """Loss of the shipped weights: the stages of each network one after the other, each with a loss of its own."""
    manifest = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())
    entries = [*((f"vqvae-{k}", v) for k, v in manifest["models"].items()), *manifest.get("semantic", {}).items()]
    figure, panels = plt.subplots(2, -(-len(entries) // 2), figsize=(PAGE, 3.9), layout="constrained", squeeze=False)
    for axes, (name, entry) in zip(panels.flat, entries, strict=False):
        begin = 0
        for k, stage in enumerate(entry["stages"]):
            steps, losses = np.array(stage["loss_curve"], float).T
            axes.plot(begin + steps, losses, label=f"stage {k + 1}", color=SERIES[k % len(SERIES)], linewidth=0.9)
            begin += stage["steps"]
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else ""))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_title(f"{name}: {begin:,} steps", loc="left", fontsize=8)
    for axes in panels.flat[len(entries) :]:
        axes.remove()
    for axes in panels.flat[max(0, len(entries) - panels.shape[1]) : len(entries)]:
        axes.set_xlabel("step")
    for axes in panels[:, 0]:
        axes.set_ylabel("loss (of each stage)")
    return figure


FIGURES: dict[str, Callable[[Path], plt.Figure]] = {
    "decoders": perceptual_curves, "distortion_perception": plane, "progressive": progressive, "sweeps": sweeps, "speed": speed,
    "rate_time": rate_time, "effort": effort, "ablations": ablations, "compute": compute, "training": training,
}  # fmt: skip


#: What reading a table that has other columns or values raises.
NOT_AS_EXPECTED = (LookupError, AttributeError, TypeError, ValueError)


@told
def main() -> int:
    ap = argparse.ArgumentParser(prog="benchmarks.report.figures", description=__doc__.split("\n\n")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    ap.add_argument("--out", type=Path, default=Path("results/figures"))
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    failed = []

    def attempt(name: str, make: Callable[[], None]) -> None:
        try:
            make()
        except FileNotFoundError as missing:
            print(f"{name} is left out: there is no {missing.filename}", file=sys.stderr)
        except (BenchmarkError, *NOT_AS_EXPECTED) as error:  # one bad table must not stop the rest
            why = str(error) if isinstance(error, BenchmarkError) else f"its table is not as expected ({error!r})"
            print(f"{name} failed: {why}", file=sys.stderr)
            failed.append(name)

    def draw(name: str) -> None:
        with plt.rc_context(RC):
            figure = FIGURES[name](args.results)
            figure.savefig(args.out / f"{name}.pdf", metadata={"CreationDate": None})
            figure.savefig(args.out / f"{name}.png")
            plt.close(figure)

    def rates() -> None:
        means = read_frame(args.results / "kodak" / "mean.csv", dtype={"setting": str})
        with plt.rc_context({"pdf.fonttype": RC["pdf.fonttype"]}):
            draw_figures(means[["codec", "bits_per_dim", *rate_metrics(means)]], args.out, "kodak", ("log",))

    def write(name: str) -> None:
        table = tables.TABLES[name](args.results)
        (args.out / f"{name}.md").write_text(tables.markdown(table))
        (args.out / f"{name}.tex").write_text(tables.latex(table))

    for name in FIGURES:
        attempt(f"figure {name}", lambda name=name: draw(name))
    attempt("figure quantizers", lambda: quantizers.draw(quantizers.read(args.results / "quantizers.csv"), args.out))
    attempt("figures of all codecs", rates)
    for name in tables.TABLES:
        attempt(f"table {name}", lambda name=name: write(name))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
