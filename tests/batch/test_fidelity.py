"""How near a decoded picture is, for --verify."""

import numpy as np
import pytest

from codec.batch.fidelity import Fidelity, measured
from codec.image.read import load


def test_an_exact_picture_has_no_psnr():
    x = np.zeros((161, 170, 3), np.uint8)
    assert measured(load(x), x) == Fidelity(0.0, None, 1.0)
    assert measured(load(x[:9]), x[:9]) == Fidelity(0.0, None, None)


def test_numbers_of_a_known_error(photo):
    x = np.asarray(photo)
    y = np.where(x > 127, x - 4, x + 4).astype(np.uint8)
    found = measured(load(x), y)
    assert found.rmse == pytest.approx(4.0) and found.psnr == pytest.approx(20 * np.log10(255 / 4))
    assert 0.9 < found.ms_ssim < 1
    noisy = np.random.default_rng(0).integers(0, 256, x.shape, np.uint8)
    assert measured(load(x), noisy).ms_ssim < 0.3


def test_pixels_under_alpha_0_do_not_count_unless_they_are_kept():
    x = np.full((170, 170, 4), 100, np.uint8)
    x[:85, :, 3] = 0
    picture, decoded = load(x), x[..., :3].copy()
    decoded[:85] = 0
    assert measured(picture, decoded) == Fidelity(0.0, None, 1.0)
    assert measured(picture, decoded, keep_hidden=True).rmse == pytest.approx(100 / np.sqrt(2))
    decoded[85:] += 4
    assert measured(picture, decoded) == Fidelity(4.0, pytest.approx(20 * np.log10(255 / 4)), None)
