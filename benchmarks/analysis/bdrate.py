"""Bjontegaard differences between rate-distortion curves.

Bjontegaard (VCEG-M33, 2001) with monotone piecewise cubic interpolation (PCHIP): between two curves of (log rate,
PSNR) the mean horizontal gap over their common quality range is BD-rate (percent of bytes at equal RMSE; negative:
fewer bytes than the anchor), the mean vertical gap over their common rate range is BD-RMSE (levels of RMSE at equal
rate;
negative: less error). PSNR here is that of the RMSE, so both numbers come from the same two curves.

A difference says little where the curves hardly share a range, so each has its overlap, in percent of the anchor's
range; below `MIN_OVERLAP` it is marked wherever it is shown. Points that another point of the same curve beats (no
more bytes and no more error) are left out, so that all curves are monotone; how many, is counted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from benchmarks.harness.errors import BenchmarkError

RESAMPLES = 2000
MIN_OVERLAP = 50.0  # percent of the anchor's range
MIN_POINTS = 4  # of a curve: fewer say little of its course, 2 were wrong by more than 100 %
MARK = "\u2020"  # behind a difference whose overlap is less
MARK_NOTE = f"{MARK} The curves share less than {MIN_OVERLAP:g} % of the anchor's range."


@dataclass(frozen=True)
class Curve:
    """Points of one codec on one picture (or means over pictures): bits/dim and RMSE, in any order.

    Raises BenchmarkError for what is no point of a curve: a rate or an error that is not a number above 0. A point
    without error has no PSNR; whoever makes the curve leaves it out.
    """

    rate: NDArray[np.float64]
    rmse: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("rate", "rmse"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if self.rate.ndim != 1 or self.rate.shape != self.rmse.shape:
            raise BenchmarkError(f"a curve has one error for each rate, not {self.rmse.shape} for {self.rate.shape}")
        for name, values in (("rate", self.rate), ("error", self.rmse)):
            if (wrong := values[~(np.isfinite(values) & (values > 0))]).size:
                raise BenchmarkError(f"a curve has a point with the {name} {wrong[0]:g}, which is no number above 0")

    @property
    def quality(self) -> NDArray[np.float64]:
        """PSNR of the RMSE, dB."""
        return 20 * np.log10(255 / self.rmse)


@dataclass(frozen=True)
class BdResult:
    """One codec against one anchor. Intervals are 95 % bootstrap intervals of the mean over images; ms_ssim_rate:
    BD-rate by MS-SSIM in dB, NaN where it was not measured.

    Overlaps are means over images, 0 where the curves do not meet: overlap_percent of the PSNR range (BD-rate),
    rate_overlap_percent of the log-rate range (BD-RMSE), ms_ssim_overlap_percent of the MS-SSIM range.
    images, ms_ssim_images: how many have a BD-rate. beaten: points of the codec that another of its points beats.
    """

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
    overlap_percent: float
    rate_overlap_percent: float
    ms_ssim_overlap_percent: float
    ms_ssim_images: int
    beaten: int


def front(curve: Curve) -> Curve:
    """The points that no other point beats: by rising rate, with falling error. Doubled points count once."""
    order = np.lexsort((curve.rmse, curve.rate))
    rate, rmse = curve.rate[order], curve.rmse[order]
    least = np.minimum.accumulate(np.concatenate(([np.inf], rmse[:-1])))
    return Curve(rate[rmse < least], rmse[rmse < least])


def beaten(curve: Curve) -> int:
    """How many points `front` leaves out, doubled ones aside."""
    return len(np.unique(np.stack([curve.rate, curve.rmse]), axis=1).T) - len(front(curve).rate)


def overlap(anchor: ArrayLike, test: ArrayLike) -> float:
    """Percent of the anchor's range of values that the other's range covers."""
    a, b = np.asarray(anchor, float), np.asarray(test, float)
    if len(a) < 2 or not len(b) or a.min() == a.max():
        return 0.0
    return float(100 * max(0.0, min(a.max(), b.max()) - max(a.min(), b.min())) / (a.max() - a.min()))


def marked(text: str, overlap_percent: float) -> str:
    """A difference as text, with the mark where the curves share too little."""
    return f"{text} {MARK}" if text and overlap_percent < MIN_OVERLAP else text


def mean_gap(
    x_anchor: ArrayLike,
    y_anchor: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> float:
    """Mean of test minus anchor over the part of their common range of x that is within; NaN when there is none."""
    curves = []
    for x, y in ((x_anchor, y_anchor), (x_test, y_test)):
        order = np.argsort(x)
        xs, first = np.unique(np.asarray(x, float)[order], return_index=True)
        if len(xs) < 2:
            return float("nan")
        curves.append((xs, np.asarray(y, float)[order][first]))
    low = max(within[0], *(xs[0] for xs, _ in curves))
    high = min(within[1], *(xs[-1] for xs, _ in curves))
    if low >= high:
        return float("nan")
    anchor, test = (PchipInterpolator(*curve).integrate(low, high) / (high - low) for curve in curves)
    return float(test - anchor)


def bd_rate(anchor: Curve, test: Curve, within: tuple[float, float] = (-np.inf, np.inf)) -> float:
    """Percent of rate that `test` needs more than `anchor` at equal RMSE, averaged over the common PSNR range, or over
    its part within another."""
    anchor, test = front(anchor), front(test)
    return 100 * np.expm1(mean_gap(anchor.quality, np.log(anchor.rate), test.quality, np.log(test.rate), within))


def shared_range(curves: Iterable[Curve]) -> tuple[float, float]:
    """Lowest and highest PSNR that all curves have: differences over it can be compared with one another."""
    ranges = [front(curve).quality for curve in curves]
    low = max((quality.min(initial=np.inf) for quality in ranges), default=np.inf)
    high = min((quality.max(initial=-np.inf) for quality in ranges), default=-np.inf)
    if low >= high:
        raise BenchmarkError("the curves do not all share a range of PSNR")
    return float(low), float(high)


def bd_rmse(anchor: Curve, test: Curve) -> float:
    """Levels of RMSE that `test` has more than `anchor` at equal rate, averaged over the common log-rate range."""
    anchor, test = front(anchor), front(test)
    return mean_gap(np.log(anchor.rate), anchor.rmse, np.log(test.rate), test.rmse)


def quality_overlap(anchor: Curve, test: Curve) -> float:
    """Percent of the anchor's PSNR range over which `bd_rate` averages."""
    return overlap(front(anchor).quality, front(test).quality)


def rate_overlap(anchor: Curve, test: Curve) -> float:
    """Percent of the anchor's log-rate range over which `bd_rmse` averages."""
    return overlap(np.log(front(anchor).rate), np.log(front(test).rate))


def bootstrap(values: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """Mean and its 95 % percentile bootstrap interval over images (NaN values are left out). One value has no
    interval: NaN, not a width of zero."""
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 2:
        return float(kept.mean()) if len(kept) else float("nan"), float("nan"), float("nan")
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
    """The rows that have MS-SSIM, with the error whose PSNR is MS-SSIM in dB, -10 log10(1 - MS-SSIM), in place of
    RMSE."""
    return (
        table.assign(rmse=255 * np.sqrt(1 - table.ms_ssim)).dropna(subset="rmse")
        if "ms_ssim" in table
        else table.head(0)
    )


def each(
    measure: Callable[[Curve, Curve], float], test: Mapping[str, Curve], anchor: Mapping[str, Curve]
) -> list[float]:
    """A measure of every image that both have."""
    return [measure(anchor[image], test[image]) for image in sorted(set(test) & set(anchor))]


def compare(codec: str, test: pd.DataFrame, anchor_name: str, anchor: pd.DataFrame) -> BdResult:
    """BD numbers of the rows of one codec against those of another: per image, then mean and interval; and of the
    mean curves."""
    ours, theirs = image_curves(test), image_curves(anchor)
    structure, their_structure = image_curves(structural(test)), image_curves(structural(anchor))
    by_error, by_structure = each(bd_rate, ours, theirs), each(bd_rate, structure, their_structure)
    return BdResult(
        codec,
        anchor_name,
        int(np.isfinite(by_error).sum()),
        *bootstrap(by_error),
        *bootstrap(each(bd_rmse, ours, theirs)),
        bd_rate(mean_curve(anchor), mean_curve(test)),
        *bootstrap(by_structure),
        bootstrap(each(quality_overlap, ours, theirs))[0],
        bootstrap(each(rate_overlap, ours, theirs))[0],
        bootstrap(each(quality_overlap, structure, their_structure))[0],
        int(np.isfinite(by_structure).sum()),
        sum(beaten(curve) for curve in ours.values()),
    )


def warnings(table: pd.DataFrame) -> list[str]:
    """One sentence for each codec of a Bjontegaard table with too small an overlap or with points that were left
    out."""
    sentences = []
    for row in table.itertuples():
        if np.isfinite(row.bd_rate_percent) and row.overlap_percent < MIN_OVERLAP:
            sentences.append(
                f"{row.codec} against {row.anchor}: the curves share {row.overlap_percent:.0f} % of the anchor's range "
                f"of RMSE, so its BD-rate says little (marked {MARK})"
            )
    left_out = table[table.beaten > 0].drop_duplicates("codec")
    return sentences + [
        f"{row.codec}: {row.beaten} point(s) with no less error than a smaller file are left out of the BD numbers"
        for row in left_out.itertuples()
    ]


def few_points(rows: pd.DataFrame) -> list[str]:
    """One sentence for each codec of a per-image table with a curve of too few points."""
    sentences = []
    for codec, group in rows.groupby("codec", sort=False):
        fewest = min((len(front(curve).rate) for curve in image_curves(group).values()), default=0)
        if fewest < MIN_POINTS:
            sentences.append(
                f"{codec}: a curve has {fewest} point(s); its BD numbers say little with fewer than {MIN_POINTS}"
            )
    return sentences


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
