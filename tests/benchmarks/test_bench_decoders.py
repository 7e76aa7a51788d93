"""The comparison of decoders and the figures, on small tables."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import decoders, figures
from benchmarks.sets import FeatureStore, Kid


def features(count: int, shift: float = 0.0, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"squeeze": (rng.normal(shift, 1, (6, 20))).astype(np.float32)} for _ in range(count)]


def test_kid_agrees_with_piq() -> None:
    import torch

    from codec._compat import import_torchvision

    import_torchvision()
    import piq

    x, y = features(30), features(30, 0.4, 1)
    stacked = [torch.from_numpy(np.concatenate([f["squeeze"] for f in s])).double() for s in (y, x)]
    assert Kid(x, y)() == pytest.approx(float(piq.KID().compute_metric(*stacked)), rel=1e-6)


def test_kid_of_resampled_images() -> None:
    x, y = features(5), features(5, 0.4, 1)
    kid = Kid(x, y)
    assert kid(np.ones(5, int)) == pytest.approx(kid())
    assert kid(np.array([2, 0, 1, 1, 1])) != pytest.approx(kid())
    assert kid(np.array([1, 1, 0, 0, 0])) == pytest.approx(Kid(x[:2], y[:2])())


@pytest.fixture
def measured(tmp_path):
    """A table in which ldm has more error and features nearer to the originals than vq."""
    store, rows = FeatureStore(tmp_path / ".features"), []
    original = features(4)
    for k in range(4):
        store.save((f"i{k}", "original", "", ""), original[k])
        for name, shift, rmse in (("vq", 0.5, 10.0 + k), ("ldm", 0.1, 11.0 + k)):
            store.save((f"i{k}", f"ours-{name}", "20", "v"), features(4, shift, 7)[k])
            rows.append({"codec": f"ours-{name}", "setting": "20", "version": "v", "image_hash": f"i{k}", "bytes": 100 + k, "bits_per_dim": 0.01 * (k + 1), "rmse": rmse,
                         "ms_ssim": 0.9, "gmsd": 0.1, "mdsi": 0.2, "sqz_dist": 3.0 - shift + k, "decode_s": 1.0})  # fmt: skip
    return pd.DataFrame(rows), store


def test_differences_to_vq_are_paired(measured) -> None:
    found = decoders.table(*measured).set_index("decoder")
    ldm = found.loc["ldm"]
    assert (ldm.rmse_minus_vq, ldm.rmse_minus_vq_low, ldm.rmse_minus_vq_high) == pytest.approx((1, 1, 1))
    assert ldm.rmse_high - ldm.rmse_low > 1  # pictures differ much more than decoders do
    assert ldm.sqz_kid_minus_vq_high < 0 and ldm.sqz_kid < found.loc["vq"].sqz_kid


def test_other_files_are_no_comparison(measured) -> None:
    rows, store = measured
    rows.loc[rows.codec == "ours-ldm", "bytes"] += 1
    with pytest.raises(AssertionError, match="different files"):
        decoders.table(rows, store)


def test_figures_show_the_tables(measured, tmp_path) -> None:
    (tmp_path / "kodak").mkdir()
    table = decoders.table(*measured)
    table.to_csv(tmp_path / "kodak" / "decoders.csv", index=False)
    figure = figures.perceptual_curves(tmp_path)
    drawn = {line.get_label(): line.get_ydata()[0] for line in figure.axes[0].lines}
    assert drawn == pytest.approx(dict(zip(table.decoder, table.rmse, strict=True)))
    assert sorted(line.get_ydata()[0] for line in figures.plane(tmp_path).axes[1].lines) == pytest.approx(sorted(table.sqz_kid))
    text = figures.markdown(figures.tables(tmp_path)["decoders"])
    assert text.startswith("| decoder | bits_per_dim |") and text.count("\n") == 2 + len(table)
    assert r"bits\_per\_dim" in figures.latex(figures.tables(tmp_path)["decoders"])


def test_missing_tables_are_left_out(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["figures", "--results", str(tmp_path), "--out", str(tmp_path / "out")])
    figures.main()
    assert "decoders is left out" in capsys.readouterr().err
    assert (tmp_path / "out" / "training.png").is_file()
