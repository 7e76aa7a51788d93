"""The committed Kodak results: complete, traceable to rows, and equal to the known numbers of the classic codecs."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis.bdrate import Curve, bd_rate, mean_curve
from benchmarks.analysis.summary import bd_tables, complete_settings, mean_table, read_table
from benchmarks.codecs import CLASSIC

RESULTS = Path(__file__).parents[2] / "results" / "kodak"

# real bpgenc 0.9.8 (its own x265), -f 444, all 24 images: mean bits/dim and mean RMSE at q 28, 32, 35, 38, 41, 44, 47
BPGENC_444 = Curve(
    np.array([0.3601, 0.2282, 0.1549, 0.1010, 0.0632, 0.0382, 0.0226]),
    np.array([3.394, 4.663, 5.882, 7.347, 9.023, 10.866, 12.848]),
)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return read_table(RESULTS / "rd.csv")


def test_every_classic_codec_is_measured_on_all_images_at_eight_settings_or_more(table: pd.DataFrame) -> None:
    assert set(CLASSIC) - {"vvc"} <= set(table.codec)
    assert set(table.image) == {f"kodim{number:02}.png" for number in range(1, 25)}
    counts = table.groupby(["codec", "setting"]).image.nunique()
    assert (counts == 24).all()
    curves = counts.groupby("codec").size()
    assert (curves[[*(set(CLASSIC) - {"vvc"}), "ours-vq"]] >= 8).all()
    assert not table.duplicated(["image_hash", "codec", "setting", "version"]).any()


def test_rates_and_psnr_follow_from_bytes_and_rmse(table: pd.DataFrame) -> None:
    assert np.allclose(table.bits_per_dim, 8 * table.bytes / (3 * table.width * table.height), rtol=1e-6)
    assert np.allclose(table.psnr, 20 * np.log10(255 / table.rmse), atol=1e-4)
    metrics = table[["ms_ssim", "gmsd", "mdsi", "sqz_dist"]]
    assert metrics.notna().all(axis=None)


def test_every_picture_gets_larger_and_better_with_quality(table: pd.DataFrame) -> None:
    rows = (
        table[table.codec == "ours-vq"]
        .assign(quality=lambda t: t.setting.astype(float))
        .sort_values(["image", "quality"])
    )
    for _, picture in rows.groupby("image"):
        assert (np.diff(picture.bytes) > 0).all() and (np.diff(picture.rmse) < 0).all()
    means = rows.groupby("quality")[["bits_per_dim", "rmse"]].mean()
    assert means.bits_per_dim.iloc[0] < 0.006 and means.bits_per_dim.iloc[-1] > 0.5
    steps = np.diff(np.log(means.rmse)) / np.diff(
        np.log(means.bits_per_dim)
    )  # slope of the curve: it changes gradually
    assert (np.abs(np.diff(steps)) < 0.15).all(), steps


@pytest.mark.parametrize(
    ("codec", "setting", "rmse", "rate"),
    [
        ("jpeg", "10", 12.08, 0.0852),
        ("jpeg", "30", 7.833, 0.2034),
        ("jpeg", "50", 6.451, 0.2897),
        ("webp", "30", 7.114, 0.1587),
    ],
)
def test_known_points_are_reproduced_within_half_a_percent(
    table: pd.DataFrame, codec: str, setting: str, rmse: float, rate: float
) -> None:
    rows = table[(table.codec == codec) & (table.setting == setting)]
    assert rows.rmse.mean() == pytest.approx(rmse, rel=0.005)
    assert rows.bits_per_dim.mean() == pytest.approx(rate, rel=0.005)


def test_own_bpg_is_within_two_percent_of_real_bpgenc(table: pd.DataFrame) -> None:
    assert abs(bd_rate(BPGENC_444, mean_curve(table[table.codec == "bpg-444"]))) < 2


@pytest.mark.slow
def test_means_and_bjontegaard_tables_follow_from_the_rows(table: pd.DataFrame) -> None:
    complete, _ = complete_settings(table)
    means = pd.read_csv(RESULTS / "mean.csv", dtype={"setting": str})
    pd.testing.assert_frame_equal(means, mean_table(complete), check_dtype=False, atol=2e-6)
    bd = pd.read_csv(RESULTS / "bd.csv")
    assert {"bpg-444", "jpeg"} <= set(bd.anchor)
    pd.testing.assert_frame_equal(bd, bd_tables(complete, list(dict.fromkeys(bd.anchor))), check_dtype=False, atol=2e-4)


@pytest.mark.parametrize("folder", ["kodak", "held-out"])
def test_what_a_decoder_costs_is_in_the_manifest_of_its_weights(folder: str) -> None:
    entries = json.loads((resources.files("codec") / "weights" / "manifest.json").read_text())["semantic"]
    for row in pd.read_csv(RESULTS.with_name(folder) / "decoders.csv").itertuples():
        if row.decoder == "vq":
            assert row.parameters == row.training_steps == 0
        else:
            entry = entries[f"{row.decoder}-{row.version.split('model ')[1].split(',')[0]}"]
            assert (
                row.parameters == entry["parameters"] > 5e6
                and row.training_steps == sum(s["steps"] for s in entry["stages"]) > 2000
            )


def test_only_numbers_and_plots_are_committed() -> None:
    pictures = {
        path.relative_to(RESULTS).as_posix()
        for path in RESULTS.rglob("*")
        if path.suffix in (".png", ".jpg", ".webp", ".bpg")
    }
    assert all(name.startswith("figures/rate_") for name in pictures - {"contact_sheet.png"})
    assert "kodim" not in (RESULTS / "report.html").read_text()


def test_file_sizes_are_what_training_estimates_within_one_percent(table: pd.DataFrame) -> None:
    """Means over Kodak of benchmarks/studies/estimate.py; and its files are those of the table."""
    found = pd.read_csv(RESULTS / "estimate.csv")
    assert (found.groupby("quality").image.nunique() == 24).all()
    mean = found.groupby("quality")[["bytes", "estimated_bytes"]].mean()
    assert (mean.bytes / mean.estimated_bytes).between(0.99, 1.01).all()
    ours = table[table.codec == "ours-vq"].assign(quality=lambda rows: rows.setting.astype(float))
    both = found.merge(ours, on=["image", "quality"], suffixes=("", "_table"))
    assert len(both) == len(found) and (both.bytes == both.bytes_table).all()
