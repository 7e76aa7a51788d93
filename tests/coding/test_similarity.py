"""MS-SSIM in rows against the library that does it whole."""

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_msssim import ms_ssim

from codec.coding import similarity


@pytest.mark.parametrize("size", [(161, 161), (163, 200), (330, 517), (177, 601)])
def test_as_the_library_has_it(photo, size, monkeypatch):
    monkeypatch.setattr(similarity, "ROWS", 40)
    a = np.asarray(Image.fromarray(np.asarray(photo)).resize(size))
    noise = np.random.default_rng(0).normal(0, 9, a.shape)
    b = np.clip(a + noise, 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(t.astype(np.float32)).permute(2, 0, 1)[None] for t in (a, b))
    whole = float(ms_ssim(x, y, data_range=255))
    assert whole < 0.99 and similarity.ms_ssim(a, b) == pytest.approx(whole, abs=2e-6)
    assert similarity.ms_ssim(a, a) == pytest.approx(1, abs=1e-6)
