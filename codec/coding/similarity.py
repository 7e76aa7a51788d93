"""MS-SSIM of large pictures, some rows at a time."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, Wang et al. 2003
WINDOW, SIGMA = 11, 1.5
ROWS = 256  # of a scale that are worked on at a time


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM (Wang et al. 2003) of two uint8 pictures (H, W, 3) of at least 161 pixels a side, as pytorch-msssim has
    it: five scales, data range 255, mean over colours. Its memory is 12 bytes a pixel."""
    window = _fspecial_gauss_1d(WINDOW, SIGMA).repeat([3, 1, 1, 1])
    x, y = a.transpose(2, 0, 1), b.transpose(2, 0, 1)
    product = torch.ones(3, dtype=torch.float64)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = _halved(x), _halved(y)
        ssim, cs = _means(x, y, window)
        product *= torch.relu(ssim if scale + 1 == len(WEIGHTS) else cs) ** weight
    return float(product.mean())


def _float(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(x, np.float32, order="C"))[None]


def _means(x: np.ndarray, y: np.ndarray, window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x, y (3, H, W) -> SSIM and its part without the means, of each colour, (3,) float64."""
    rows, total = x.shape[1] - WINDOW + 1, torch.zeros(2, 3, dtype=torch.float64)
    for top in range(0, rows, ROWS):
        count = min(ROWS, rows - top)
        part = slice(top, top + count + WINDOW - 1)
        found = _ssim(_float(x[:, part]), _float(y[:, part]), data_range=255, win=window, K=(0.01, 0.03))
        total += torch.stack([values[0] for values in found]).double() * (count / rows)
    return total[0], total[1]


def _halved(x: np.ndarray) -> np.ndarray:
    """Means over 2x2 values, float32; an odd side has a border of zeros first, as pytorch-msssim has it."""
    h, w = x.shape[1:]
    out = np.empty((3, (h + 1) // 2, (w + 1) // 2), np.float32)
    for top in range(0, out.shape[1], ROWS):
        first, last = 2 * top - h % 2, min(2 * (top + ROWS) - h % 2, h)
        part = F.pad(_float(x[:, max(first, 0) : last]), (0, 0, max(-first, 0), 0))
        out[:, top : top + ROWS] = F.avg_pool2d(part, 2, padding=(0, w % 2))[0].numpy()
    return out
