"""How near a decoded picture is to the one that was coded, for --verify."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from codec.image.picture import Picture

SIDE = 161  # pixels that MS-SSIM needs with its five scales


@dataclass(frozen=True)
class Fidelity:
    """Of 8-bit RGB pixels; None: not measured, or not to be had. psnr: dB, None for an exact picture. ms_ssim: None
    too where pixels are hidden, for it looks at squares."""

    rmse: float | None = None
    psnr: float | None = None
    ms_ssim: float | None = None


def measured(picture: Picture, decoded: np.ndarray, keep_hidden: bool = False) -> Fidelity:
    """A picture and uint8 (H, W, 3). Pixels under alpha 0 do not count, unless they were kept."""
    from codec.image import reduced

    rmse = math.sqrt(reduced.squared_error(picture, decoded, keep_hidden))
    psnr = 20 * math.log10(255 / rmse) if rmse else None
    if min(picture.width, picture.height) < SIDE:
        return Fidelity(rmse, psnr)
    if not rmse:
        return Fidelity(rmse, psnr, 1.0)
    if not reduced.shown_in(picture, keep_hidden).all():
        return Fidelity(rmse, psnr)
    from codec import api

    return Fidelity(rmse, psnr, api.ms_ssim(picture.rgb, decoded))
