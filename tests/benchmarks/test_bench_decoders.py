"""The comparison of decoders, on a small table; KID and its bootstrap."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.analysis import decoders
from benchmarks.metrics.sets import FeatureStore, Kid, interval, resamples


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
    found = kid.resampled(np.array([[1, 1, 1, 1, 1], [2, 0, 1, 1, 1], [1, 1, 0, 0, 0]]))
    assert found[0] == pytest.approx(kid()) and found[1] != pytest.approx(kid())
    assert found[2] == pytest.approx(Kid(x[:2], y[:2])())


def test_the_bootstrap_of_kid_is_centred_and_as_wide_as_the_jackknife() -> None:
    rng = np.random.default_rng(3)
    own = rng.normal(0, 2, (30, 1, 20))  # patches of one image are alike
    x, y = ([{"squeeze": f} for f in own + rng.normal(shift, 1, (30, 8, 20))] for shift in (0.0, 0.5))
    kid, n = Kid(x, y), 30
    values = kid.resampled(resamples(n))
    left_out = kid.resampled(1 - np.eye(n, dtype=np.int64))
    error = np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum())
    assert abs(values.mean() - kid()) < 0.25 * error
    assert values.std() == pytest.approx(error, rel=0.3)
    low, high = interval(values)
    assert low < kid() < high


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
