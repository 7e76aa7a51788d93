"""From the per-image table to means, Bjontegaard tables and set metrics."""

import json
import platform
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.analysis.bdrate import BdResult, bd_table, bootstrap
from benchmarks.harness.frames import read_frame
from benchmarks.harness.table import KEY, TIMES
from benchmarks.metrics.pictures import NETWORK_METRICS
from benchmarks.metrics.sets import SET_METRICS, FeatureStore, set_values

_PACKAGES = (
    "numpy", "scipy", "pandas", "torch", "torchvision", "onnxruntime", "pillow", "pytorch-msssim", "piq", "lpips", "av", "imagecodecs",
    "pillow-heif", "compressai", "constriction",
)  # fmt: skip
_NOT_METRICS = {*KEY, *TIMES, "image", "width", "height", "bytes", "bits_per_dim", "bpp", "rmse", "psnr"}


def read_table(path: Path) -> pd.DataFrame:
    """The per-image table; `setting` stays text, it is part of the key."""
    return read_frame(path, dtype={"setting": str, "image": str, "image_hash": str}, keep_default_na=True)


def metric_columns(table: pd.DataFrame) -> list[str]:
    """Metric columns beside rmse and psnr that hold any value."""
    return [name for name in table.columns if name not in _NOT_METRICS and table[name].notna().any()]


def complete_settings(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the settings that were measured on every image, and a sentence for each codec that lost settings.

    A mean over fewer images is another curve: it must not stand beside the rest.
    """
    images = table.image_hash.nunique()
    counts = table.groupby(["codec", "version", "setting"]).image_hash.transform("nunique")
    dropped = table[counts < images].groupby("codec", sort=False).setting.nunique()
    sentences = [
        f"{codec}: {number} setting(s) not measured on all {images} images are left out of means and figures"
        for codec, number in dropped.items()
    ]
    return table[counts == images], sentences


def mean_table(table: pd.DataFrame) -> pd.DataFrame:
    """One row per codec and setting. rmse and psnr: means of per-image values; *_pooled: from the pooled squared error.

    Where a metric cannot be computed on every image (too small a picture, PSNR without error), its mean is over the
    others, and a column NAME_images counts them.
    """
    rows = []
    metrics = metric_columns(table)
    for (codec, tool, setting), group in table.groupby(["codec", "version", "setting"], sort=False):
        pooled = float(np.sqrt(np.mean(np.square(group.rmse))))
        rows.append(
            {
                "codec": codec, "setting": setting, "version": tool, "images": group.image_hash.nunique(),
                "bits_per_dim": group.bits_per_dim.mean(), "bpp": group.bpp.mean(),
                "rmse": group.rmse.mean(), "rmse_pooled": pooled,
                **_mean("psnr", group.psnr), "psnr_pooled": 20 * np.log10(255 / pooled) if pooled else np.inf,
                **{name: value for metric in metrics for name, value in _mean(metric, group[metric]).items()},
                "encode_s": group.encode_s.mean(), "decode_s": group.decode_s.mean(),
                **{f"{name}_images": int(np.isfinite(group[name]).sum()) for name in ("psnr", *metrics)},
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows).sort_values(["codec", "version", "bits_per_dim"], kind="stable")
    whole = [name for name in frame if name.endswith("_images") and (frame[name] == frame.images).all()]
    frame = frame.drop(columns=whole)
    return frame.round(6).reset_index(drop=True)


def counted(means: pd.DataFrame, metric: str) -> str:
    """Text " (3 of 13 images)" where the means of a metric are over fewer images than are there, else nothing."""
    if f"{metric}_images" not in means:
        return ""
    counts = means[f"{metric}_images"].astype(int)
    few = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    return f" ({few} of {means.images.max()} images)"


def counted_sentences(means: pd.DataFrame) -> list[str]:
    """One sentence for each metric that could not be computed on every image."""
    names = [name.removesuffix("_images") for name in means if name.endswith("_images")]
    return [
        f"{name} cannot be computed on every image: its means are over fewer{counted(means, name)}" for name in names
    ]


def _mean(metric: str, values: pd.Series) -> dict[str, float]:
    """The mean of what could be computed; of a metric of a published network with its 95 % bootstrap interval over
    images.

    PSNR is infinite for a picture without error: it is left out, unless all are.
    """
    if np.isinf(values).any():
        values = values[np.isfinite(values)] if np.isfinite(values).any() else values.head(1)
    if metric not in NETWORK_METRICS:
        return {metric: values.mean()}
    return dict(zip((metric, f"{metric}_low", f"{metric}_high"), bootstrap(values), strict=True))


def with_sets(means: pd.DataFrame, sets: pd.DataFrame | None) -> pd.DataFrame:
    """Means with the set metrics and their intervals beside them, for figures and report."""
    if sets is None or sets.empty:
        return means
    key = ["codec", "version", "setting"]
    columns = [f"{name}{end}" for name in SET_METRICS for end in ("", "_low", "_high") if f"{name}{end}" in sets]
    numbers = sets[columns].apply(pd.to_numeric, errors="coerce")
    return means.merge(pd.concat([sets[key], numbers], axis=1), on=key, how="left")


def bd_tables(table: pd.DataFrame, anchors: Sequence[str]) -> pd.DataFrame:
    """Bjontegaard results against each anchor, below one another."""
    if not anchors:
        return pd.DataFrame(columns=[field.name for field in fields(BdResult)])
    return pd.concat([bd_table(table, anchor) for anchor in anchors], ignore_index=True).round(4)


def set_table(table: pd.DataFrame, names: Sequence[str], store: FeatureStore) -> pd.DataFrame:
    """Set metrics per codec and setting, from the stored features, each with its 95 % bootstrap interval over
    images."""
    rows = []
    for (codec, tool, setting), group in table.groupby(["codec", "version", "setting"], sort=False):
        digests = sorted(group.image_hash)
        decoded = [store.load((digest, codec, setting, tool)) for digest in digests]
        original = [store.load((digest, "original", "", "")) for digest in digests]
        if found := set_values(names, original, decoded):
            values = {name: f"{value:.5g}" if np.isfinite(value) else "" for name, value in found.items()}
            rows.append(
                {"codec": codec, "setting": setting, "version": tool, "images": len(group),
                 "bits_per_dim": round(group.bits_per_dim.mean(), 6), **values}
            )  # fmt: skip
    return pd.DataFrame(rows)


def merge_sets(fresh: pd.DataFrame, path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Fresh set metrics, and those of the file at `path` for other codecs and settings that the table still holds.

    Features are not committed: in a new checkout only the codecs of the run have them.
    """
    key = ["codec", "version", "setting"]
    if not path.is_file():
        return fresh
    old = read_frame(path, dtype={"setting": str})
    counts = table.groupby(key, as_index=False).image_hash.nunique().rename(columns={"image_hash": "images"})
    old = old.merge(counts, on=[*key, "images"])
    merged = pd.concat([fresh, old], ignore_index=True).drop_duplicates(key)
    return merged.sort_values(["codec", "version", "bits_per_dim"], kind="stable").reset_index(drop=True)


def cpu_name() -> str:
    """The processor as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def run_metadata(**facts: object) -> str:
    """JSON text: package versions, machine, and the given facts of the run."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    machine = {"python": platform.python_version(), "system": platform.platform(), "cpu": cpu_name()}
    return json.dumps({**facts, "machine": machine, "packages": packages}, indent=2) + "\n"
