"""Every figure and table of the write-up from committed tables: python benchmarks/figures.py [--results results] [--out results/figures]

No networks run. What has no table yet is said in one sentence and left out. Figures are PDF and PNG, tables Markdown and LaTeX.
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import matplotlib

matplotlib.use("Agg")
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks import quantizers
from benchmarks.plots import draw_figures

COLOURS = {"vq": "#000000", "perceptual": "#0072B2", "gan": "#009E73", "ldm": "#D55E00", "realism": "#CC79A7"}
MARKERS = {"vq": "o", "perceptual": "v", "gan": "^", "ldm": "D", "realism": "."}
_RC = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "pdf.fonttype": 42,
    "axes.grid": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "savefig.dpi": 160, "legend.frameon": False, "legend.fontsize": 8,
}  # fmt: skip
NAMES = {"sqz_dist": "sqz_dist (SqueezeNet distance, not LPIPS)", "sqz_kid": "sqz_kid (SqueezeNet KID)", "rmse": "RMSE (0-255)", "ms_ssim": "MS-SSIM", "bits_per_dim": "rate, bits/dim"}


def log_rate(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def save(figure: plt.Figure, out: Path, name: str) -> None:
    figure.savefig(out / f"{name}.pdf", metadata={"CreationDate": None})
    figure.savefig(out / f"{name}.png")


def perceptual_curves(results: Path) -> plt.Figure:
    """Rate against RMSE and perceptual distances, one curve for each decoder of the same files."""
    table = pd.read_csv(results / "kodak" / "decoders.csv")
    metrics = [m for m in ("rmse", "sqz_dist", "sqz_kid") if m in table]
    figure, panels = plt.subplots(1, len(metrics), figsize=(3.5 * len(metrics), 3.3), layout="constrained")
    for axes, metric in zip(panels, metrics, strict=True):
        for name, rows in table.groupby("decoder", sort=False):
            axes.plot(rows.bits_per_dim, rows[metric], color=COLOURS[name], marker=MARKERS[name], markersize=4, label=name)
            axes.fill_between(rows.bits_per_dim, rows[f"{metric}_low"], rows[f"{metric}_high"], color=COLOURS[name], alpha=0.1, linewidth=0)
        log_rate(axes)
        axes.set_xlabel(NAMES["bits_per_dim"])
        axes.set_ylabel(NAMES[metric])
    panels[0].legend(title="Kodak, same files", title_fontsize=8)
    return figure


def plane(results: Path) -> plt.Figure:
    """Distortion-perception plane (Blau and Michaeli 2018): RMSE against perceptual distance, one curve for each decoder over the rates; realism is the path from vq to ldm."""
    table = pd.read_csv(results / "kodak" / "decoders.csv")
    metrics = [m for m in ("sqz_dist", "sqz_kid") if m in table]
    path = results / "semantic" / "sweep_mean.csv"
    sweep = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["knob", "quality"])
    figure, panels = plt.subplots(1, len(metrics), figsize=(4.4 * len(metrics), 3.6), layout="constrained")
    for axes, metric in zip(panels, metrics, strict=True):
        for name, rows in table.groupby("decoder", sort=False):
            axes.plot(rows.rmse, rows[metric], color=COLOURS[name], marker=MARKERS[name], markersize=4, label=name)
        for k, (_, rows) in enumerate(sweep[sweep.knob == "realism"].groupby("quality")):
            axes.plot(rows.rmse, rows[metric], color=COLOURS["realism"], marker=".", linewidth=1, label="realism 0 to 1" if k == 0 else None)
        axes.set_xlabel(NAMES["rmse"])
        axes.set_ylabel(NAMES[metric])
    panels[0].legend()
    return figure


def progressive(results: Path) -> plt.Figure:
    """Cumulative rate against RMSE: sections of the stream, then levels of the diffusion chain (Ho et al. 2020, figure 5)."""
    table = pd.read_csv(results / "semantic" / "progressive.csv")
    mean = table.groupby(["quality", "part", "step"], as_index=False)[["sigma", "bits_per_dim", "rmse"]].mean()
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    for k, (quality, rows) in enumerate(mean.groupby("quality")):
        for part, style in (("perceptual", "-"), ("semantic", "--")):
            points = rows[rows.part == part].sort_values("bits_per_dim")
            axes.plot(points.bits_per_dim, points.rmse, style, color=("#0072B2", "#D55E00", "#009E73")[k % 3], marker="o" if part == "perceptual" else "D", markersize=3.5,
                      label=f"quality {quality:g}: " + ("sections of the stream" if part == "perceptual" else "levels of the chain"))  # fmt: skip
    log_rate(axes)
    axes.set_xlabel("cumulative rate, bits/dim")
    axes.set_ylabel(NAMES["rmse"])
    axes.legend()
    return figure


def sweeps(results: Path) -> plt.Figure:
    """Steps, guidance and realism against perceptual distance and RMSE."""
    table = pd.read_csv(results / "semantic" / "sweep_mean.csv")
    knobs = [k for k in ("steps", "guidance", "realism") if (table.knob == k).any()]
    metrics = ("rmse", "sqz_dist", "sqz_kid")
    figure, grid = plt.subplots(len(metrics), len(knobs), figsize=(3.1 * len(knobs), 6.6), layout="constrained", squeeze=False, sharex="col")
    for column, knob in enumerate(knobs):
        for row, metric in enumerate(metrics):
            axes = grid[row][column]
            for k, (quality, rows) in enumerate(table[table.knob == knob].groupby("quality")):
                axes.plot(rows.value, rows[metric], color=("#0072B2", "#D55E00", "#009E73")[k % 3], marker="osD"[k % 3], markersize=3.5, label=f"{rows.bits_per_dim.mean():.3f} bits/dim")
            if knob == "steps":
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            if column == 0:
                axes.set_ylabel(NAMES[metric].split(" (")[0])
            if row == len(metrics) - 1:
                axes.set_xlabel(knob)
    grid[0][0].legend()
    return figure


def speed(results: Path) -> plt.Figure:
    """Time as a ratio to CompressAI's hyperprior, measured in one run."""
    table = pd.read_csv(results / "speed.csv")
    base = table[table.codec == "hyperprior"].set_index(["direction", "threads"]).seconds
    rows = table[table.codec != "hyperprior"].copy()
    rows["ratio"] = [r.seconds / base[(r.direction, r.threads)] for r in rows.itertuples()]
    figure, axes = plt.subplots(figsize=(5.2, 0.34 * len(rows) + 0.9), layout="constrained")
    labels = [f"{r.codec}, {r.direction}, {r.threads} thread{'s' if r.threads > 1 else ''}" for r in rows.itertuples()]
    axes.barh(labels[::-1], rows.ratio[::-1], color="#0072B2")
    for y, value in enumerate(rows.ratio[::-1]):
        axes.text(value, y, f" {value:.2g}", va="center", fontsize=8)
    axes.axvline(1, color="#D55E00", linewidth=1)
    axes.set_xlim(0, rows.ratio.max() * 1.15)
    axes.set_xlabel("seconds over those of bmshj2018-hyperprior, 768x512 (line: equal)")
    axes.grid(axis="y", visible=False)
    return figure


def effort(results: Path) -> plt.Figure:
    """Rate saved by the encoder's search against the seconds it takes."""
    table = pd.read_csv(results / "effort_bd.csv")
    figure, axes = plt.subplots(figsize=(4.4, 3.2), layout="constrained")
    axes.errorbar(table.cpu_s, table.bd_rate_percent, [table.bd_rate_percent - table.bd_rate_low, table.bd_rate_high - table.bd_rate_percent], marker="o", color="#0072B2", capsize=2)
    for row in table.itertuples():
        axes.annotate(f"effort {row.effort}", (row.cpu_s, row.bd_rate_percent), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("processor seconds to encode a picture of 768x512")
    axes.set_ylabel("BD-rate against effort 1, %")
    axes.margins(x=0.2)
    return figure


def training(results: Path) -> plt.Figure:
    """Loss curves of the shipped weights, each over its own first value."""
    manifest = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    entries = [*((f"vqvae-{k}", v) for k, v in manifest["models"].items()), *manifest.get("semantic", {}).items()]
    for k, (name, entry) in enumerate(entries):
        last = entry["stages"][-1]
        steps, losses = zip(*last["loss_curve"], strict=True)
        smooth = pd.Series(losses).rolling(5, min_periods=1).mean()
        axes.plot(steps, smooth / smooth[0], label=f"{name}, last stage", color=("#000000", "#0072B2", "#D55E00", "#009E73")[k % 4])
    axes.set_xlabel("step")
    axes.set_ylabel("loss over its first value")
    axes.legend()
    return figure


FIGURES: dict[str, Callable[[Path], plt.Figure]] = {
    "decoders": perceptual_curves, "distortion_perception": plane, "progressive": progressive, "sweeps": sweeps, "speed": speed, "effort": effort, "training": training,
}  # fmt: skip


def tables(results: Path) -> dict[str, pd.DataFrame]:
    """Name -> what is set as Markdown and LaTeX, of the tables that exist."""
    found = {}
    path = results / "kodak" / "decoders.csv"
    if path.is_file():
        d = pd.read_csv(path)
        columns = ["decoder", "bits_per_dim", "rmse", "ms_ssim", "sqz_dist", "sqz_kid", "decode_s", "parameters", "training_steps", "training_s"]
        found["decoders"] = d[[c for c in columns if c in d]].round({"bits_per_dim": 4, "rmse": 2, "ms_ssim": 4, "sqz_dist": 3, "sqz_kid": 1, "decode_s": 2, "training_s": 0})
    for name, source, columns in (
        ("bd_bpg", results / "kodak" / "bd.csv", ["codec", "bd_rate_percent", "bd_rate_low", "bd_rate_high"]),
        ("upscaling", results / "semantic" / "upscaling_mean.csv", ["scale", "method", "rmse", "psnr", "ms_ssim", "sqz_dist", "sqz_kid", "small_rmse"]),
        ("consistency", results / "semantic" / "sweep_mean.csv", ["quality", "value", "rmse", "sqz_dist", "codes_back"]),
        ("speed", results / "speed.csv", ["codec", "direction", "threads", "seconds", "ratio_hyperprior", "peak_mb", "kmac_per_pixel"]),
        ("effort", results / "effort_bd.csv", ["effort", "cpu_s", "bd_rate_percent", "bd_rate_low", "bd_rate_high"]),
    ):
        if source.is_file():
            t = pd.read_csv(source)
            if name == "bd_bpg":
                t = t[t.anchor == "bpg-444"]
            if name == "consistency":
                t = t[t.knob == "consistency"]
            found[name] = t[columns].round(4)
    path = results / "semantic" / "nll.csv"
    if path.is_file():
        found["nll"] = pd.read_csv(path).groupby("quality", as_index=False)[["stream", "latents", "pixels", "total"]].mean().round(4)
    return found


def markdown(table: pd.DataFrame) -> str:
    def text(value: object) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    rows = [list(table.columns), ["---"] * len(table.columns), *([text(v) for v in row] for row in table.itertuples(index=False))]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def latex(table: pd.DataFrame) -> str:
    def text(value: object) -> str:
        return (f"{value:g}" if isinstance(value, float) else str(value)).replace("_", r"\_")

    rows = [" & ".join(text(v) for v in row) + r" \\" for row in (table.columns, *table.itertuples(index=False))]
    return "\n".join([r"\begin{tabular}{" + "r" * len(table.columns) + "}", r"\hline", rows[0], r"\hline", *rows[1:], r"\hline", r"\end{tabular}", ""])


def main() -> None:
    ap = argparse.ArgumentParser(prog="benchmarks.figures", description=__doc__.split("\n")[0])
    ap.add_argument("--results", type=Path, default=Path("results"))
    ap.add_argument("--out", type=Path, default=Path("results/figures"))
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        try:
            with plt.rc_context(_RC):
                figure = draw(args.results)
                save(figure, args.out, name)
                plt.close(figure)
        except FileNotFoundError as missing:
            print(f"{name} is left out: there is no {missing.filename}", file=sys.stderr)
    if (args.results / "quantizers.csv").is_file():
        quantizers.draw(quantizers.read(args.results / "quantizers.csv"), args.out)
    if (args.results / "kodak" / "mean.csv").is_file():
        draw_figures(pd.read_csv(args.results / "kodak" / "mean.csv", dtype={"setting": str}), args.out / "kodak", "kodak", ("linear", "log"))
    for name, table in tables(args.results).items():
        (args.out / f"{name}.md").write_text(markdown(table))
        (args.out / f"{name}.tex").write_text(latex(table))


if __name__ == "__main__":
    main()
