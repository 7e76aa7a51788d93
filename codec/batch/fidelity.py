"""How near a decoded picture is to the one that was coded, for --verify."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SIDE = 161  # pixels that MS-SSIM needs with its five scales


@dataclass(frozen=True)
class Fidelity:
    """Of 8-bit RGB pixels; None: not measured, or not to be had. psnr: dB, None for an exact picture."""

    rmse: float | None = None
    psnr: float | None = None
    ms_ssim: float | None = None


def measured(a: np.ndarray, b: np.ndarray) -> Fidelity:
    """Two uint8 pictures (H, W, 3), a few rows at a time to save memory where that is possible."""
    total = sum(float(((x.astype("f4") - y) ** 2).sum()) for x, y in zip(a, b, strict=True))
    rmse = math.sqrt(total / a.size)
    psnr = 20 * math.log10(255 / rmse) if rmse else None
    if min(a.shape[:2]) < SIDE:
        return Fidelity(rmse, psnr)
    if not rmse:
        return Fidelity(rmse, psnr, 1.0)
    from codec import api

    return Fidelity(rmse, psnr, api.ms_ssim(a, b))
