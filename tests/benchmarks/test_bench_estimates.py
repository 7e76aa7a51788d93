"""FID and Inception score of sets and of resampled sets."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.analysis.summary import set_table
from benchmarks.metrics.estimates import Fid, InceptionScore, interval, resamples
from benchmarks.metrics.sets import FeatureStore, estimate
from codec._compat import import_torchvision

import_torchvision()


def features(images: int, patches: int, shift: float, seed: int) -> list[dict[str, np.ndarray]]:
    """Patches of one image are alike."""
    rng = np.random.default_rng(seed)
    own = rng.normal(0, 1, (images, 1, 40))
    return [{"inception": item.astype(np.float32)} for item in own + rng.normal(shift, 1, (images, patches, 40))]


def stacked(sets: list[dict[str, np.ndarray]]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([item["inception"] for item in sets])).double()


@pytest.mark.parametrize("patches", [2, 30])
def test_fid_is_that_of_the_covariances(patches: int) -> None:
    """Fewer and more patches than features, against the matrix root."""
    from scipy.linalg import sqrtm

    x, y = features(6, patches, 0, 0), features(6, patches, 0.3, 1)
    a, b = stacked(x).numpy(), stacked(y).numpy()
    root = np.trace(sqrtm(np.cov(a.T) @ np.cov(b.T)).real)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * root
    assert Fid(x, y)() == pytest.approx(expected, rel=1e-4)
    assert Fid(x, x)() == pytest.approx(0, abs=1e-8)


def test_fid_agrees_with_piq() -> None:
    import piq

    x, y = features(20, 8, 0, 0), features(20, 8, 0.3, 1)
    assert Fid(x, y)() == pytest.approx(float(piq.FID().compute_metric(stacked(y), stacked(x))), rel=1e-3)


def test_one_image_has_no_interval() -> None:
    x, y = features(1, 4, 0, 0), features(1, 4, 0.5, 1)
    assert np.isnan(interval(Fid(x, y).resampled(resamples(1)))).all()
    for name in ("fid", "kid"):
        assert np.isnan(interval(estimate(name, x, y).resampled(resamples(1)))).all()
    assert np.isfinite(interval(Fid(features(2, 4, 0, 0), features(2, 4, 0.5, 1)).resampled(resamples(2)))).all()


def test_two_images_of_one_patch_have_no_interval_of_kid() -> None:
    """Its two ends were the value itself: of the draws only the set has a KID."""
    x, y = features(2, 1, 0, 0), features(2, 1, 0.5, 1)
    assert np.isfinite(estimate("kid", x, y)())
    assert np.isnan(interval(estimate("kid", x, y).resampled(resamples(2)))).all()
    x, y = features(8, 1, 0, 0), features(8, 1, 0.5, 1)
    assert np.isfinite(interval(estimate("kid", x, y).resampled(resamples(8)))).all()


def test_an_interval_that_is_not_there_is_an_empty_field(tmp_path: Path) -> None:
    """A table had the text nan, all others nothing."""
    store = FeatureStore(tmp_path)
    for digest, x, y in zip("ab", features(2, 1, 0, 0), features(2, 1, 0.5, 1), strict=True):
        store.save((digest, "original", "", ""), x)
        store.save((digest, "jpeg", "5", "v1"), y)
    rows = pd.DataFrame({"codec": "jpeg", "version": "v1", "setting": "5", "image_hash": ["a", "b"], "bits_per_dim": 1})
    (found,) = set_table(rows, ["kid"], store).to_dict("records")
    assert np.isfinite(float(found["kid"])) and found["kid_low"] == found["kid_high"] == ""


@pytest.mark.slow
def test_the_spread_of_resampled_fid_is_that_of_fresh_sets_of_images() -> None:
    """Also for the difference of two decoders of the same images, which is much smaller."""
    pairs, spreads = [], []
    draws = resamples(30, 300)
    for seed in range(0, 80, 2):
        x, y = features(30, 8, 0, seed), features(30, 8, 0.5, seed + 1)
        noise = np.random.default_rng(1000 + seed)
        z = [
            {"inception": (item["inception"] + noise.normal(0.1, 0.5, item["inception"].shape)).astype(np.float32)}
            for item in y
        ]
        one, other = Fid(x, y), Fid(x, z)
        pairs.append((one(), other() - one()))
        if seed < 16:
            values = one.resampled(draws), other.resampled(draws) - one.resampled(draws)
            spreads.append([value.std() for value in values])
            low, high = interval(values[0])
            assert low < one() < high
    truth, found = np.std(pairs, axis=0), np.mean(spreads, axis=0)
    assert np.all(found > 0.8 * truth) and np.all(found < 1.5 * truth)
    assert truth[1] < truth[0] / 2


def test_inception_score_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    sets = [{"logits": rng.normal(0, 2, (5, 7)).astype(np.float32)} for _ in range(6)]
    p = torch.from_numpy(np.concatenate([item["logits"] for item in sets])).double().softmax(1).numpy()
    expected = np.exp((p * np.log(p / p.mean(0))).sum(1).mean())
    assert InceptionScore([], sets)() == pytest.approx(expected)
    twice = InceptionScore([], [*sets[:2], sets[0]])()
    assert InceptionScore([], sets[:2]).resampled(np.array([[2, 1]]))[0] == pytest.approx(twice)
