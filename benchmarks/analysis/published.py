"""Curves from papers and their repositories: facts with their sources, kept in published/*.csv.

One file per data set; columns: system, bpp, psnr, ms_ssim, lpips, fid, dists, source, psnr_convention, note.
PSNR is mostly the mean of per-image RGB PSNR. RMSE is derived from it as 255 / 10^(PSNR / 20): a geometric mean over
images, a few percent below the arithmetic mean that measured curves show.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

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


@cache
def published_points(dataset: str) -> pd.DataFrame:
    """All points of a data set (empty when there is no file for it), with bits_per_dim and rmse added."""
    path = FOLDER / f"{dataset}.csv"
    if not path.is_file():
        return pd.DataFrame(columns=["system", "bpp", "psnr", "ms_ssim", "source", "bits_per_dim", "rmse"])
    points = pd.read_csv(path)
    points["bits_per_dim"] = points.bpp / 3
    points["rmse"] = 255 / np.power(10, points.psnr / 20)
    return points


def drawn_curves(dataset: str, metric: str) -> dict[str, pd.DataFrame]:
    """Label -> points of the systems that figures show, sorted by rate, where the metric is known.

    HiFiC is three models (low, middle, high rate) under three names of one prefix.
    """
    points = published_points(dataset)
    if metric not in points:
        return {}
    curves = {}
    for label, system in DRAWN.items():
        chosen = points[points.system.str.startswith(system) if label == "HiFiC" else points.system == system]
        chosen = chosen[["bits_per_dim", metric]].dropna().sort_values("bits_per_dim")
        if len(chosen):
            curves[label] = chosen
    return curves
