"""Curves from papers and their repositories: facts with their sources, kept in published/*.csv.

One file per data set; columns: system, bpp, psnr, ms_ssim, lpips, fid, dists, source, psnr_convention, note.
PSNR is mostly the mean of per-image RGB PSNR. RMSE is derived from it as 255 / 10^(PSNR / 20): a geometric mean over
images, a few percent below the arithmetic mean that measured curves show.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.harness.errors import BenchmarkError
from benchmarks.harness.frames import read_frame

FOLDER = Path(__file__).parents[1] / "published"

# label in the figures -> system in the table
DRAWN = {
    "BPG 4:4:4 (CompressAI)": "CompressAI:bpg_444_x265_ycbcr",
    "VTM": "CompressAI:vtm",
    "mbt2018-mean": "CompressAI:compressai-mbt2018-mean_mse_ans_cuda-8bit",
    "cheng2020-attn": "CompressAI:compressai-cheng2020-attn_mse_ans_cuda-8bit",
    "ELIC": "CompressAI:paper-elic2022_mse",
    "HiFiC": "HiFiC(TF official)",
    "MS-ILLM": "MS-ILLM",
    "DCVC-RT intra": "DCVC-RT-intra(original)",
}

# generative codecs, drawn for perceptual metrics: label -> file (empty: that of the data set) and system
GENERATIVE = {
    "HiFiC": ("", "HiFiC(TF official)"),
    "MS-ILLM": ("", "MS-ILLM"),
    "DiffEIC": ("", "DiffEIC"),
    "RDEIC": ("", "RDEIC-5 (measured by DiffEIC authors)"),
    "StableCodec": ("", "StableCodec"),
    "CoD-Lite (512 crops)": ("{}-512crop", "CoD-Lite"),
}
#: Data set that is known by the name of its folder -> its pictures and their pixels.
WHOLE = {"kodak": (24, 768 * 512)}
PERCEPTUAL = ("lpips", "dists", "fid")


def datasets() -> list[str]:
    """Those that have published curves."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def check_dataset(name: str) -> None:
    """Raise BenchmarkError for a name that has no published curves."""
    if name not in datasets():
        raise BenchmarkError(f"no published curves for {name!r}; known: {', '.join(datasets())}")


def is_whole(dataset: str, rows: pd.DataFrame) -> bool:
    """Whether the pictures of a per-image table are all of a data set: curves of others are no comparison."""
    pictures = rows.drop_duplicates("image_hash")
    count, pixels = WHOLE.get(dataset, (0, 0))
    return len(pictures) == count and bool((pictures.width * pictures.height == pixels).all())


@cache
def published_points(dataset: str) -> pd.DataFrame:
    """All points of a data set (empty when there is no file for it), with bits_per_dim and rmse added."""
    path = FOLDER / f"{dataset}.csv"
    if not path.is_file():
        return pd.DataFrame(columns=["system", "bpp", "psnr", "ms_ssim", "source", "bits_per_dim", "rmse"])
    points = read_frame(path)
    points["bits_per_dim"] = points.bpp / 3
    points["rmse"] = 255 / np.power(10, points.psnr / 20)
    return points


def _points(dataset: str, system: str, columns: list[str]) -> pd.DataFrame:
    """Points of a system where all columns are known, by rate. HiFiC is three models (low, middle, high rate) under
    three names of one prefix.

    FID of patches of another size than 256 pixels, or of one that is not stated, is another measure and left out.
    """
    points = published_points(dataset)
    if not set(columns) <= set(points):
        return pd.DataFrame(columns=columns)
    chosen = points[points.system.str.startswith(system) if system.startswith("HiFiC(TF") else points.system == system]
    if "fid" in columns:
        chosen = chosen[chosen.note.str.contains("256px", na=False)]
    return chosen.sort_values("bits_per_dim")[columns].dropna()


def generative_curves(dataset: str, columns: list[str]) -> dict[str, pd.DataFrame]:
    """Label -> points of the generative codecs where all columns are known, by rate."""
    found = {
        label: _points(file.format(dataset) or dataset, system, columns) for label, (file, system) in GENERATIVE.items()
    }
    return {label: points for label, points in found.items() if len(points)}


def drawn_curves(dataset: str, metric: str) -> dict[str, pd.DataFrame]:
    """Label -> points of the systems that figures show, sorted by rate, where the metric is known; perceptual metrics
    with more generative codecs."""
    columns = ["bits_per_dim", metric]
    curves = {label: points for label, system in DRAWN.items() if len(points := _points(dataset, system, columns))}
    return curves | (generative_curves(dataset, columns) if metric in PERCEPTUAL else {})
