"""Tables for the write-up as Markdown and LaTeX, from committed tables."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.analysis.bdrate import MARK, MARK_NOTE, marked
from benchmarks.analysis.models import find
from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame
from benchmarks.metrics import pictures, sets

PERCEPTUAL = (*pictures.NETWORK_METRICS, "fid", "kid")  # in published networks

LIST_NAMES = {
    "bits_per_dim": "bits/dim", "rmse": "RMSE", "psnr": "PSNR", "ms_ssim": "MS-SSIM", "gmsd": "GMSD", "mdsi": "MDSI",
    "sqz_dist_more": "sqz_dist - none", "decode_s": "decode, s", "training_steps": "training steps", "training_s": "training, s", "parameters": "added parameters",
    "lpips": "LPIPS", "lpips_vgg": "LPIPS (VGG)", "dists": "DISTS", "label_agreement": "labels agree", "fid": "FID", "kid": "KID",
    "overlap_percent": "overlap, %", "bd_rate_percent": "BD-rate, %", "ms_ssim_rate_percent": "BD-rate by MS-SSIM, %", "bpg_bd_rate_percent": "BD-rate against BPG, %",
}  # fmt: skip
DIGITS = {
    **{metric.name: metric.digits for metric in (*pictures.METRICS, *sets.METRICS)},
    "bits_per_dim": 4, "rmse": 2, "psnr": 2, "small_rmse": 2,
    "codes_back": 4, "in_cell": 4, "decode_s": 2, "training_s": 0, "seconds": 3, "cpu_s": 1, "bd_rate_percent": 1, "ms_ssim_rate_percent": 1, "bpg_bd_rate_percent": 1,
    "overlap_percent": 0, "stream": 4, "latents": 3, "pixels": 3, "total": 3, "quality": 0, "ratio_hyperprior": 2,
}  # fmt: skip

#: A Bjontegaard difference -> how much of the anchor's range its curves share.
OVERLAPS = {
    "bd_rate_percent": "overlap_percent",
    "ms_ssim_rate_percent": "ms_ssim_overlap_percent",
    "bpg_bd_rate_percent": "bpg_overlap_percent",
}


def number(value: float, digits: int, sign: str = "") -> str:
    """Empty for what is not there."""
    return "" if pd.isna(value) else f"{value:{sign}.{digits}f}"


def cells(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Text of the columns; one that has *_low and *_high gets its interval in brackets. Raises BenchmarkError
    where none of them is there."""
    shown = {}
    for name in columns:
        if name not in table:
            continue
        if table[name].dtype.kind != "f" or name == "value":
            shown[LIST_NAMES.get(name, name)] = [f"{v:g}" if isinstance(v, float) else str(v) for v in table[name]]
            continue
        stem = name.removesuffix("_percent")
        digits = DIGITS.get(name.removesuffix("_minus_vq"), 3)
        sign = "+" if name.endswith(("_minus_vq", "_rate_percent", "_more")) else ""
        text = [number(v, digits, sign) for v in table[name]]
        if f"{stem}_low" in table:
            ends = ([number(v, digits, sign) for v in table[f"{stem}_{end}"]] for end in ("low", "high"))
            text = [f"{t} [{low}, {high}]" if low else t for t, low, high in zip(text, *ends, strict=True)]
        if (share := OVERLAPS.get(name)) in table:
            text = [marked(t, percent) for t, percent in zip(text, table[share], strict=True)]
        head = name.removesuffix("_minus_vq")
        shown[LIST_NAMES.get(head, head) + (" - vq" if head != name else "")] = text
    if not shown:
        raise BenchmarkError(f"its table has none of the columns {', '.join(columns)}")
    return pd.DataFrame(shown)


def _decoders(folder: str) -> Callable[[Path], pd.DataFrame]:
    return lambda results: cells(
        read_frame(results / folder / "decoders.csv"),
        ["decoder", "images", "bits_per_dim", "rmse", "ms_ssim", *PERCEPTUAL, "gmsd", "mdsi", "sqz_dist", "sqz_kid"],
    )


def _cost(results: Path) -> pd.DataFrame:
    """What a decoder needs beside the networks of vq; decode_s is the mean over the settings."""
    table = read_frame(results / "kodak" / "decoders.csv")
    columns = ["parameters", "training_steps", "training_s", "decode_s"]
    return cells(
        table.groupby("decoder", sort=False, as_index=False)[columns]
        .mean()
        .astype({"parameters": int, "training_steps": int}),
        ["decoder", *columns],
    )


def _differences(results: Path) -> pd.DataFrame:
    table = read_frame(results / "kodak" / "decoders.csv")
    return cells(
        table[table.decoder != "vq"],
        [
            "decoder",
            "bits_per_dim",
            *(f"{m}_minus_vq" for m in ("rmse", "ms_ssim", *PERCEPTUAL, "gmsd", "mdsi", "sqz_dist", "sqz_kid")),
        ],
    )


def _bd(results: Path) -> pd.DataFrame:
    table = read_frame(results / "kodak" / "bd.csv")
    return cells(
        table[table.anchor == "bpg-444"], ["codec", "bd_rate_percent", "ms_ssim_rate_percent", "overlap_percent"]
    )


def _sweep(results: Path) -> pd.DataFrame:
    table = read_frame(results / "semantic" / "sweep_mean.csv")
    return cells(
        table,
        ["knob", "value", "bits_per_dim", "images", "rmse", "ms_ssim", *PERCEPTUAL, "sqz_dist", "sqz_kid", "decode_s"],
    )


def _consistency(results: Path) -> pd.DataFrame:
    table = read_frame(results / "semantic" / "sweep_mean.csv")
    return cells(
        table[table.knob == "consistency"],
        ["value", "bits_per_dim", "images", "rmse", "sqz_dist", "codes_back", "in_cell", "decode_s"],
    )


def _upscaling(results: Path) -> pd.DataFrame:
    return cells(
        read_frame(results / "semantic" / "upscaling_mean.csv"),
        [
            "scale",
            "method",
            "images",
            "rmse",
            "psnr",
            "ms_ssim",
            *PERCEPTUAL,
            "sqz_dist",
            "sqz_kid",
            "small_rmse",
            "seconds",
        ],
    )


def _bound(results: Path) -> pd.DataFrame:
    table = read_frame(results / "semantic" / "nll.csv")
    return cells(
        table.groupby("quality", as_index=False)[["stream", "latents", "pixels", "total"]].mean(),
        ["quality", "stream", "latents", "pixels", "total"],
    )


def _speed(results: Path) -> pd.DataFrame:
    return cells(
        read_frame(results / "speed.csv").fillna({"decoder": ""}),
        ["codec", "direction", "decoder", "threads", "seconds", "ratio_hyperprior", "peak_mb", "kmac_per_pixel"],
    )


def _effort(results: Path) -> pd.DataFrame:
    return cells(
        read_frame(results / "effort_bd.csv"),
        ["effort", "images", "cpu_s", "bd_rate_percent", "bpg_bd_rate_percent", "overlap_percent"],
    )


def _ablations(results: Path) -> pd.DataFrame:
    path, model = find(results, "ablations.csv")
    table = read_frame(path).rename(columns={"low": "bd_rate_low", "high": "bd_rate_high"})
    if model is not None:
        table["model"] = model
    return cells(table, ["model", "factor", "variant", "bd_rate_percent", "overlap_percent"])


TABLES: dict[str, Callable[[Path], pd.DataFrame]] = {
    "decoders": _decoders("kodak"), "decoders_held_out": _decoders("held-out"), "decoders_minus_vq": _differences, "decoders_cost": _cost, "bd_bpg": _bd, "sweep": _sweep,
    "consistency": _consistency, "upscaling": _upscaling, "nll": _bound, "speed": _speed, "effort": _effort, "ablations": _ablations,
}  # fmt: skip


def markdown(table: pd.DataFrame, note: bool = True) -> str:
    """Table of GitHub's Markdown. note: what the mark of a small overlap means, below it where it is used."""

    def text(value: object) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    rows = [
        list(table.columns),
        ["---"] * len(table.columns),
        *([text(v) for v in row] for row in table.itertuples(index=False)),
    ]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
    return f"{lines}\n{MARK_NOTE}\n" if note and MARK in lines else lines


def latex(table: pd.DataFrame) -> str:
    """A tabular; text to the left, numbers to the right."""

    def text(value: object) -> str:
        return str(value).replace("_", r"\_").replace("%", r"\%").replace(f" {MARK}", r"\,\textdagger")

    words = [not any(str(v).lstrip("+-")[:1].isdigit() for v in table[name]) for name in table]
    rows = [" & ".join(text(v) for v in row) + r" \\" for row in (table.columns, *table.itertuples(index=False))]
    spec = "".join("l" if word else "r" for word in words)
    note = [text(f" {MARK_NOTE}")] if any(r"\textdagger" in row for row in rows) else []
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{spec}}}",
            r"\hline",
            rows[0],
            r"\hline",
            *rows[1:],
            r"\hline",
            r"\end{tabular}",
            *note,
            "",
        ]
    )
