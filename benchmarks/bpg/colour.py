"""RGB to YCbCr and back, 8 bit, full range, in the integer form that bpgenc and bpgdec use."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.bpg.container import ColourSpace

Planes = list[NDArray[np.uint8]]

# (kr, kb) of ITU-R BT.601, BT.709, BT.2020
_LUMA_WEIGHTS = {
    ColourSpace.YCBCR_BT601: (0.299, 0.114),
    ColourSpace.YCBCR_BT709: (0.2126, 0.0722),
    ColourSpace.YCBCR_BT2020: (0.2627, 0.0593),
}
_FORWARD_BITS, _INVERSE_BITS = 23, 22


def rgb_to_planes(rgb: NDArray[np.uint8], space: ColourSpace) -> Planes:
    """Three full-size planes of an HWC picture; RGB is stored in the order G, B, R."""
    red, green, blue = (rgb[..., channel].astype(np.int64) for channel in range(3))
    if space is ColourSpace.RGB:
        return [rgb[..., channel].copy() for channel in (1, 2, 0)]
    kr, kb = _LUMA_WEIGHTS[space]
    kg = 1 - kr - kb
    rows = (
        (kr, kg, kb),
        (-0.5 * kr / (1 - kb), -0.5 * kg / (1 - kb), 0.5),
        (0.5, -0.5 * kg / (1 - kr), -0.5 * kb / (1 - kr)),
    )
    planes = []
    for index, row in enumerate(rows):
        scaled = [int(np.floor(weight * (1 << _FORWARD_BITS) + 0.5)) for weight in row]
        total = scaled[0] * red + scaled[1] * green + scaled[2] * blue + (1 << (_FORWARD_BITS - 1))
        planes.append(_clip(((total) >> _FORWARD_BITS) + (128 if index else 0)))
    return planes


def planes_to_rgb(planes: Sequence[NDArray[np.uint8]], space: ColourSpace) -> NDArray[np.uint8]:
    """HWC picture from three full-size planes, or from one grey plane."""
    if len(planes) == 1:
        return np.repeat(planes[0][..., None], 3, axis=2)
    if space is ColourSpace.RGB:
        return np.stack([planes[2], planes[0], planes[1]], axis=2)
    kr, kb = _LUMA_WEIGHTS[space]
    kg = 1 - kr - kb
    cr_red, cb_green, cr_green, cb_blue = (
        int(np.floor(weight * (1 << _INVERSE_BITS) + 0.5))
        for weight in (2 * (1 - kr), 2 * kb * (1 - kb) / kg, 2 * kr * (1 - kr) / kg, 2 * (1 - kb))
    )
    luma = (planes[0].astype(np.int64) << _INVERSE_BITS) + (1 << (_INVERSE_BITS - 1))
    cb, cr = (plane.astype(np.int64) - 128 for plane in planes[1:])
    channels = (luma + cr_red * cr, luma - cb_green * cb - cr_green * cr, luma + cb_blue * cb)
    return np.stack([_clip(channel >> _INVERSE_BITS) for channel in channels], axis=2)


def _clip(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)
