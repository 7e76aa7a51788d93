"""Bjontegaard differences between rate-distortion curves.

Bjontegaard (VCEG-M33, 2001) with monotone piecewise cubic interpolation (PCHIP): between two curves of (log rate, PSNR) the
mean horizontal gap over their common quality range is BD-rate (percent of bytes at equal RMSE; negative: fewer
bytes than the anchor), the mean vertical gap over their common rate range is BD-RMSE (levels of RMSE at equal rate;
negative: less error). PSNR here is that of the RMSE, so both numbers come from the same two curves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from benchmarks.harness.errors import BenchmarkError

RESAMPLES = 2000


@dataclass(frozen=True)
class Curve:
    """Points of one codec on one picture (or means over pictures): bits/dim and RMSE."""

    rate: NDArray[np.float64]
    rmse: NDArray[np.float64]

    @property
    def quality(self) -> NDArray[np.float64]:
        """PSNR of the RMSE, dB."""
        return 20 * np.log10(255 / self.rmse)


@dataclass(frozen=True)
class BdResult:
    """One codec against one anchor. Intervals are 95 % bootstrap intervals of the mean over images; ms_ssim_rate: BD-rate by MS-SSIM in dB, NaN where it was not measured."""

    codec: str
    anchor: str
    images: int
    bd_rate_percent: float
    bd_rate_low: float
    bd_rate_high: float
    bd_rmse: float
    bd_rmse_low: float
    bd_rmse_high: float
    bd_rate_of_means_percent: float
    ms_ssim_rate_percent: float
    ms_ssim_rate_low: float
    ms_ssim_rate_high: float


def mean_gap(x_anchor: ArrayLike, y_anchor: ArrayLike, x_test: ArrayLike, y_test: ArrayLike) -> float:
    """Mean of test minus anchor over the common range of x; NaN when the curves do not overlap."""
    curves = []
    for x, y in ((x_anchor, y_anchor), (x_test, y_test)):
        order = np.argsort(x)
        xs, first = np.unique(np.asarray(x, float)[order], return_index=True)
        if len(xs) < 2:
            return float("nan")
        curves.append((xs, np.asarray(y, float)[order][first]))
    low, high = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    if low >= high:
        return float("nan")
    anchor, test = (PchipInterpolator(*curve).integrate(low, high) / (high - low) for curve in curves)
    return float(test - anchor)


def bd_rate(anchor: Curve, test: Curve) -> float:
    """Percent of rate that `test` needs more than `anchor` at equal RMSE, averaged over the common PSNR range."""
    return 100 * np.expm1(mean_gap(anchor.quality, np.log(anchor.rate), test.quality, np.log(test.rate)))


def bd_rmse(anchor: Curve, test: Curve) -> float:
    """Levels of RMSE that `test` has more than `anchor` at equal rate, averaged over the common log-rate range."""
    return mean_gap(np.log(anchor.rate), anchor.rmse, np.log(test.rate), test.rmse)


def bootstrap(values: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """Mean and its 95 % percentile bootstrap interval over images (NaN values are left out)."""
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return float("nan"), float("nan"), float("nan")
    picks = np.random.default_rng(seed).integers(0, len(kept), (RESAMPLES, len(kept)))
    low, high = np.percentile(kept[picks].mean(1), (2.5, 97.5))
    return float(kept.mean()), float(low), float(high)


def image_curves(table: pd.DataFrame) -> dict[str, Curve]:
    """One curve per image of the rows of one codec; lossless points have no PSNR and are left out."""
    rows = table[table.rmse > 0]
    return {
        str(digest): Curve(group.bits_per_dim.to_numpy(), group.rmse.to_numpy())
        for digest, group in rows.groupby("image_hash")
    }


def structural(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that have MS-SSIM, with the error whose PSNR is MS-SSIM in dB, -10 log10(1 - MS-SSIM), in place of RMSE."""
    return (
        table.assign(rmse=255 * np.sqrt(1 - table.ms_ssim)).dropna(subset="rmse")
        if "ms_ssim" in table
        else table.head(0)
    )


def rates(test: Mapping[str, Curve], anchor: Mapping[str, Curve]) -> list[float]:
    """BD-rate of every image that both have."""
    return [bd_rate(anchor[image], test[image]) for image in sorted(set(test) & set(anchor))]


def compare(codec: str, test: pd.DataFrame, anchor_name: str, anchor: pd.DataFrame) -> BdResult:
    """BD numbers of the rows of one codec against those of another: per image, then mean and interval; and of the mean curves."""
    ours, theirs = image_curves(test), image_curves(anchor)
    by_error = rates(ours, theirs)
    errors = [bd_rmse(theirs[image], ours[image]) for image in sorted(set(ours) & set(theirs))]
    by_structure = rates(image_curves(structural(test)), image_curves(structural(anchor)))
    of_means = bd_rate(mean_curve(anchor), mean_curve(test))
    return BdResult(
        codec,
        anchor_name,
        int(np.isfinite(by_error).sum()),
        *bootstrap(by_error),
        *bootstrap(errors),
        of_means,
        *bootstrap(by_structure),
    )


def bd_table(table: pd.DataFrame, anchor: str) -> pd.DataFrame:
    """All codecs of a per-image table against one anchor codec, best first."""
    names = list(dict.fromkeys(table.codec))
    if anchor not in names:
        raise BenchmarkError(f"the anchor codec {anchor!r} is not in the table ({', '.join(names)})")
    rows = {name: table[table.codec == name] for name in names}
    results = [compare(name, rows[name], anchor, rows[anchor]) for name in names]
    return pd.DataFrame(results).sort_values("bd_rate_percent", kind="stable").reset_index(drop=True)


def mean_curve(table: pd.DataFrame) -> Curve:
    """Mean bits/dim and mean RMSE per setting of the rows of one codec."""
    means = table.groupby("setting")[["bits_per_dim", "rmse"]].mean().sort_values("bits_per_dim")
    means = means[means.rmse > 0]
    return Curve(means.bits_per_dim.to_numpy(), means.rmse.to_numpy())
