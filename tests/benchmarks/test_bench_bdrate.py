"""Bjontegaard numbers against the `bjontegaard` package and against cases done by hand."""

import bjontegaard
import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.bdrate import (
    MARK,
    MARK_NOTE,
    Curve,
    bd_rate,
    bd_rmse,
    bd_table,
    bootstrap,
    few_points,
    overlap,
    quality_overlap,
    rate_overlap,
    shared_range,
    warnings,
)
from benchmarks.harness.errors import BenchmarkError
from benchmarks.report.tables import cells, latex, markdown

RATE = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
RMSE = np.array([12.0, 9.1, 6.3, 4.0, 2.2])
OTHER = Curve(np.array([0.04, 0.11, 0.25, 0.6]), np.array([12.5, 8.0, 5.1, 2.9]))


def test_a_tenth_more_rate_everywhere_is_ten_percent() -> None:
    assert bd_rate(Curve(RATE, RMSE), Curve(1.1 * RATE, RMSE)) == pytest.approx(10, abs=1e-9)
    assert bd_rate(Curve(1.1 * RATE, RMSE), Curve(RATE, RMSE)) == pytest.approx(-100 / 11, abs=1e-9)


def test_one_level_more_error_everywhere_is_one() -> None:
    assert bd_rmse(Curve(RATE, RMSE), Curve(RATE, RMSE + 1)) == pytest.approx(1, abs=1e-9)


def test_two_straight_lines_by_hand() -> None:
    """log2 rate = -rmse and -rmse + (rmse - 2) / 4 for RMSE in dB space: checked on a straight pair of curves.

    anchor: PSNR 30 -> rate 1, 40 -> rate 4. test: PSNR 30 -> rate 1, 40 -> rate 2. In log2 the gap grows linearly
    from 0 to -1, its mean is -1/2, so the rate is 2**-0.5 of the anchor's: -29.289 %.
    """
    rmse = 255 / 10 ** (np.array([30.0, 40.0]) / 20)
    anchor, test = Curve(np.array([1.0, 4.0]), rmse), Curve(np.array([1.0, 2.0]), rmse)
    assert bd_rate(anchor, test) == pytest.approx(100 * (2**-0.5 - 1), abs=1e-9)


def test_agrees_with_the_bjontegaard_package() -> None:
    anchor = Curve(RATE, RMSE)
    theirs = bjontegaard.bd_rate(
        anchor.rate,
        anchor.quality,
        OTHER.rate,
        OTHER.quality,
        method="pchip",
        min_overlap=0,
        require_matching_points=False,
    )
    assert bd_rate(anchor, OTHER) == pytest.approx(theirs, abs=1e-6)
    # their bd_psnr is the mean vertical gap over log10 rate: the same integral with RMSE as the "PSNR"
    theirs = bjontegaard.bd_psnr(
        anchor.rate, -anchor.rmse, OTHER.rate, -OTHER.rmse, method="pchip", min_overlap=0, require_matching_points=False
    )
    assert bd_rmse(anchor, OTHER) == pytest.approx(-theirs, abs=1e-6)


def test_curves_without_overlap_have_no_number() -> None:
    assert np.isnan(bd_rate(Curve(RATE, RMSE), Curve(RATE, RMSE / 100)))


@pytest.mark.parametrize(
    ("rate", "rmse", "words"),
    [
        ([0.1, np.nan, 0.4], [9, 6, 4], "the rate nan"),
        ([0.1, 0.2, np.inf], [9, 6, 4], "the rate inf"),
        ([0, 0.2, 0.4], [9, 6, 4], "the rate 0"),
        ([0.1, 0.2, 0.4], [9, np.nan, 4], "the error nan"),
        ([0.1, 0.2, 0.4], [9, 6, 0], "the error 0"),
        ([0.1, 0.2, 0.4], [9, -6, 4], "the error -6"),
        ([0.1, 0.2], [9, 6, 4], "one error for each rate"),
        ([[0.1, 0.2]], [[9, 6]], "one error for each rate"),
    ],
)
def test_what_is_no_point_is_refused(rate: list[float], rmse: list[float], words: str) -> None:
    """NaN gave a number that was another curve's, and zeros ended in the interpolation of SciPy."""
    with pytest.raises(BenchmarkError, match=words):
        Curve(rate, rmse)


def test_lists_are_curves_and_empty_curves_share_nothing() -> None:
    empty = Curve([], [])
    assert bd_rate(Curve(list(RATE), list(RMSE)), OTHER) == bd_rate(Curve(RATE, RMSE), OTHER)
    assert np.isnan(bd_rate(empty, OTHER)) and quality_overlap(OTHER, empty) == 0
    for curves in ([], [OTHER, empty]):
        with pytest.raises(BenchmarkError, match="do not all share a range"):
            shared_range(curves)


def test_order_and_doubled_points_do_not_matter() -> None:
    shuffled = Curve(RATE[[3, 0, 4, 1, 2, 2]], RMSE[[3, 0, 4, 1, 2, 2]])
    assert bd_rate(Curve(RATE, RMSE), OTHER) == pytest.approx(bd_rate(shuffled, OTHER), abs=1e-12)


def test_bootstrap_brackets_the_mean_and_repeats() -> None:
    values = np.random.default_rng(3).normal(5, 2, 24)
    mean, low, high = bootstrap([*values, np.nan])
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(24)  # the normal interval, which the percentile interval approximates
    assert low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.25 * half)
    assert bootstrap(values) == bootstrap(values)


def test_one_picture_has_no_interval() -> None:
    """It had one of width zero."""
    assert bootstrap([3.0, np.nan])[0] == 3 and np.isnan(bootstrap([3.0, np.nan])[1:]).all()
    assert np.isnan(bootstrap([np.nan])).all()
    rows = table()
    result = bd_table(rows[rows.image_hash == "x"], "anchor").set_index("codec", drop=False)
    assert result.loc["better", "bd_rate_percent"] == pytest.approx(-20)
    assert np.isnan(result.loc["better", ["bd_rate_low", "bd_rmse_high", "bd_rate_high"]].astype(float)).all()
    assert result.loc["better", "overlap_percent"] == 100
    assert "[" not in cells(result, ["codec", "bd_rate_percent"]).to_string()


def test_a_curve_of_few_points_is_told() -> None:
    """Two points of JPEG gave +297 %, where all gave +166 %."""
    rows = table()
    assert few_points(rows) == []
    fewer = rows[~((rows.codec == "better") & (rows.image_hash == "y") & rows.setting.isin(["0", "1"]))]
    assert few_points(fewer) == ["better: a curve has 3 point(s); its BD numbers say little with fewer than 4"]
    assert few_points(rows[rows.setting.isin(["0", "1"])])[0].startswith("anchor: a curve has 2 point(s)")


def table() -> pd.DataFrame:
    rows = []
    for image, scale in (("x", 1.0), ("y", 1.5)):
        for codec, factor in (("anchor", 1.0), ("better", 0.8)):
            for setting, (rate, rmse) in enumerate(zip(RATE, RMSE, strict=True)):
                rows.append(
                    {
                        "codec": codec,
                        "setting": str(setting),
                        "image_hash": image,
                        "bits_per_dim": rate * factor * scale,
                        "rmse": rmse * scale,
                    }
                )
    return pd.DataFrame(rows)


def test_table_against_an_anchor() -> None:
    result = bd_table(table(), "anchor").set_index("codec")
    assert list(result.index) == ["better", "anchor"]
    better = result.loc["better"]
    assert (better.images, better.bd_rate_percent, better.bd_rate_of_means_percent) == pytest.approx((2, -20, -20))
    assert better.bd_rate_low == pytest.approx(-20) and better.bd_rate_high == pytest.approx(-20)
    assert better.bd_rmse < 0
    assert result.loc["anchor", "bd_rate_percent"] == pytest.approx(0)


def test_ms_ssim_has_a_rate_of_its_own() -> None:
    rows = table()
    assert np.isnan(bd_table(rows, "anchor").ms_ssim_rate_percent).all()  # it was not measured
    with_structure = rows.assign(ms_ssim=1 - rows.rmse**2 / 1e4).assign(
        bits_per_dim=lambda t: t.bits_per_dim.where(t.codec == "anchor", 1.5 * t.bits_per_dim)
    )
    result = bd_table(with_structure, "anchor").set_index("codec")
    assert (
        result.loc["better", "ms_ssim_rate_percent"]
        == pytest.approx(result.loc["better", "bd_rate_percent"])
        == pytest.approx(20)
    )
    worse = with_structure.assign(
        ms_ssim=with_structure.ms_ssim.where(with_structure.codec == "anchor", with_structure.ms_ssim - 0.01)
    )
    changed = bd_table(worse, "anchor").set_index("codec")
    assert changed.loc["better", "ms_ssim_rate_low"] > 20 and changed.loc["better", "bd_rate_percent"] == pytest.approx(
        20
    )


def test_unknown_anchor_is_one_sentence() -> None:
    with pytest.raises(BenchmarkError, match="'png' is not in the table"):
        bd_table(table(), "png")


def test_the_overlap_is_the_share_of_the_anchors_range() -> None:
    """By hand: the anchor covers PSNR 30 to 40, the other 38 to 44: 2 of 10 dB. In log rate: 1 to 4 and 2 to 16,
    half."""
    anchor = Curve(np.array([1.0, 4.0]), 255 / 10 ** (np.array([30.0, 40.0]) / 20))
    test = Curve(np.array([2.0, 16.0]), 255 / 10 ** (np.array([38.0, 44.0]) / 20))
    assert quality_overlap(anchor, test) == pytest.approx(20) and rate_overlap(anchor, test) == pytest.approx(50)
    assert quality_overlap(anchor, Curve(RATE, RMSE / 1000)) == 0


def test_a_small_overlap_is_a_column_a_warning_and_a_mark() -> None:
    rows = table()
    top = rows[(rows.codec == "better") & rows.setting.isin(["0", "1"])]  # the two coarsest points
    both = pd.concat([rows[rows.codec == "anchor"], top])
    result = bd_table(both, "anchor").set_index("codec", drop=False)
    expected = [overlap(20 * np.log10(255 / RMSE), 20 * np.log10(255 / RMSE[:2]))]
    assert result.loc["better", "overlap_percent"] == pytest.approx(np.mean(expected)) and expected[0] < 50
    assert result.loc["anchor", "overlap_percent"] == 100
    (sentence,) = warnings(result)
    assert sentence.startswith(f"better against anchor: the curves share {expected[0]:.0f} % of the anchor's range")
    shown = cells(result, ["codec", "bd_rate_percent", "overlap_percent"])
    texts = dict(zip(shown.codec, shown["BD-rate, %"], strict=True))
    assert texts["better"].endswith(f"] {MARK}") and MARK not in texts["anchor"]
    assert MARK_NOTE in markdown(shown) and r"\textdagger" in latex(shown)
    assert MARK_NOTE not in markdown(shown[shown.codec == "anchor"])


def test_a_point_that_another_beats_is_left_out_and_counted() -> None:
    """A file that is larger and no better bent the curve back: -87 % or +41 % came out of such curves."""
    bent = Curve(np.append(RATE, [0.3, 0.9]), np.append(RMSE, [9.5, 2.2]))
    assert bd_rate(Curve(RATE, RMSE), bent) == pytest.approx(0, abs=1e-12)
    assert bd_rmse(Curve(RATE, RMSE), bent) == pytest.approx(0, abs=1e-12)
    rows = table()
    worse = rows[(rows.codec == "better") & (rows.setting == "1")].assign(setting="9", bits_per_dim=0.7)
    result = bd_table(pd.concat([rows, worse]), "anchor").set_index("codec", drop=False)
    assert result.loc["better", "bd_rate_percent"] == pytest.approx(-20)
    assert result.beaten.to_dict() == {"better": 2, "anchor": 0}
    assert warnings(result) == [
        "better: 2 point(s) with no less error than a smaller file are left out of the BD numbers"
    ]
