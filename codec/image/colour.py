"""Colours that are coded otherwise than sRGB, as PNG and AVIF files can say without a profile.

A picture is decoded to light, brought to sRGB's primaries and coded with sRGB's curve, in float. Light brighter than
white (PQ and HLG) is tone-mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Curve = Callable[[np.ndarray], np.ndarray]

_D65 = (0.3127, 0.3290)
#: White, red, green and blue as x, y.
_SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_P3 = (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
_BT2020 = (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
#: By number in ITU-T H.273.
_PRIMARIES: dict[int, tuple[str, tuple[float, ...]]] = {
    1: ("sRGB", _SRGB),
    4: ("BT.470 M", (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601", (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)),
    6: ("BT.601", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    7: ("SMPTE 240", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    8: ("film", (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049)),
    9: ("BT.2020", _BT2020),
    11: ("DCI-P3", (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    12: ("Display P3", _P3),
    22: ("EBU 3213", (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077)),
}
#: Video curves are meant for a screen that shows them much as sRGB is shown, and everybody does so.
_LIKE_SRGB = (1, 2, 6, 13, 14, 15)
_WHITE_NITS = 203.0  # of diffuse white, BT.2408
_PEAK_NITS = 1000.0
_KNEE = 0.7  # light below this share of white stays as it is


@dataclass(frozen=True, eq=False)
class Encoding:
    """How samples stand for light.

    name:   for people.
    curve:  samples in 0..1 -> light, 1 is white.
    matrix: 3x3, light of the file's primaries -> light of sRGB's.
    hlg, bright: light is that of a scene; light may exceed white.
    narrow: black is 16 and white is 235 of 255, as in video.
    """

    name: str
    curve: Curve
    matrix: np.ndarray
    hlg: bool = False
    bright: bool = False
    narrow: bool = False

    def note(self) -> str:
        if self.bright:
            return f"colours of high dynamic range ({self.name}) were tone-mapped to sRGB"
        return f"colours were converted from {self.name} to sRGB"


def of_cicp(primaries: int, transfer: int, notes: list[str], narrow: bool = False) -> Encoding | None:
    """What the numbers of ITU-T H.273 say; None for what is sRGB or not said. Unknown numbers get a note."""
    if primaries != 2 and primaries not in _PRIMARIES:
        notes.append(f"the colour primaries {primaries} are not known and were taken as those of sRGB")
    curves: dict[int, tuple[str, Curve]] = {
        4: ("gamma 2.2", lambda v: v**2.2),
        5: ("gamma 2.8", lambda v: v**2.8),
        8: ("linear light", lambda v: v),
        16: ("PQ", _pq),
        17: ("gamma 2.6", lambda v: v**2.6 * (52.37 / 48)),
        18: ("HLG", _hlg),
    }
    name, points = _PRIMARIES.get(primaries, _PRIMARIES[1])
    curve = curves.get(transfer)
    if curve is None and transfer not in _LIKE_SRGB:
        notes.append(f"the transfer curve {transfer} is not known and was taken as that of sRGB")
    if curve is None and points == _SRGB and not narrow:
        return None
    label = name if curve is None else curve[0] if points == _SRGB else f"{name}, {curve[0]}"
    if narrow:
        label = "the range of video" if label == "sRGB" else f"{label} in the range of video"
    bright = transfer in (16, 18)
    return Encoding(label, curve[1] if curve else _srgb_light, _to_srgb_light(points), transfer == 18, bright, narrow)


def of_gamma(gamma: float | None, points: Sequence[float] | None, notes: list[str]) -> Encoding | None:
    """What gAMA (the exponent of the coder) and cHRM say; None for sRGB, or as good as."""
    curve: Curve = _srgb_light
    matrix = np.eye(3)
    names = []
    if gamma is not None and not 0.01 <= gamma <= 100:
        notes.append(f"the gamma of {gamma:g} makes no sense and was ignored")
        gamma = None
    if points is not None and max(abs(a - b) for a, b in zip(points, _SRGB, strict=True)) > 0.003:
        try:
            matrix = _to_srgb_light(points)
        except (np.linalg.LinAlgError, ZeroDivisionError):
            notes.append("the colour primaries make no sense and were ignored")
        else:
            names.append("other primaries")
            gamma = gamma or 1 / 2.2
    # Within 5 % it is the usual 1/2.2, which stands for sRGB where nothing else is said.
    if gamma is not None and (names or abs(gamma * 2.2 - 1) > 0.05):
        exponent = 1 / gamma
        curve = lambda v: v**exponent  # noqa: E731
        names.insert(0, f"gamma {gamma:.4g}")
    return Encoding(" and ".join(names), curve, matrix) if names else None


def to_srgb(samples: np.ndarray, encoding: Encoding) -> np.ndarray:
    """uint8 or uint16 samples H W C, C = 1 (gray) or 3 -> uint8 of the same shape."""
    most = np.iinfo(samples.dtype).max
    levels = np.linspace(0, 1, most + 1)
    if encoding.narrow:
        levels = np.clip((np.arange(most + 1) * 256 / (most + 1) - 16) / 219, 0, 1)
    table = encoding.curve(levels).astype(np.float32)
    out = np.empty(samples.shape, np.uint8)
    for rows, coded in strips(samples):
        light = table[coded]
        if encoding.bright:
            light = _tone_mapped(_hlg_shown(light) if encoding.hlg else light, encoding.matrix)
        elif light.shape[2] == 3:
            light = light @ encoding.matrix.T.astype(np.float32)
        out[rows] = srgb_bytes(light)
    return out


def strips(samples: np.ndarray, pixels: int = 2**18) -> list[tuple[slice, np.ndarray]]:
    """Bands of rows of a picture, so that floats of all of it are never in memory."""
    step = max(1, pixels // samples.shape[1])
    return [(slice(top, top + step), samples[top : top + step]) for top in range(0, len(samples), step)]


def srgb_bytes(light: np.ndarray) -> np.ndarray:
    """Linear light, 1 is white -> sRGB, uint8."""
    light = np.clip(light, 0, 1)
    coded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(coded * 255), np.uint8)


def _srgb_light(v: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4))


def _pq(v: np.ndarray) -> np.ndarray:
    power = v ** (1 / 78.84375)
    nits = 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return np.asarray(nits / _WHITE_NITS)


def _hlg(v: np.ndarray) -> np.ndarray:
    """Light of the scene, 0..1."""
    return np.asarray(np.where(v <= 0.5, v * v / 3, (np.exp((v - 0.55991073) / 0.17883277) + 0.28466892) / 12))


def _hlg_shown(scene: np.ndarray) -> np.ndarray:
    """Light of the scene -> light of a screen of 1000 nits, 1 is diffuse white."""
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32) if scene.shape[2] == 3 else scene[..., 0]
    return np.asarray(scene * luminance[..., None] ** np.float32(0.2) * (_PEAK_NITS / _WHITE_NITS), np.float32)


def _tone_mapped(light: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Bring light up to the peak below 1, the same factor for the channels of a pixel, and to sRGB's primaries."""
    if light.shape[2] == 3:
        light = np.maximum(light @ matrix.T.astype(np.float32), 0)
    brightest = light.max(axis=2, keepdims=True)
    t = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    peak = (_PEAK_NITS / _WHITE_NITS - _KNEE) / (1 - _KNEE)
    mapped = np.minimum(_KNEE + (1 - _KNEE) * t * (1 + t / peak**2) / (1 + t), 1)
    return np.asarray(light * np.where(brightest > _KNEE, mapped / np.maximum(brightest, _KNEE), 1), np.float32)


def _to_srgb_light(points: Sequence[float]) -> np.ndarray:
    return np.asarray(np.linalg.inv(_to_xyz(_SRGB)) @ _adapted(points[:2]) @ _to_xyz(points))


def _to_xyz(points: Sequence[float]) -> np.ndarray:
    """3x3, light of primaries -> XYZ."""
    columns = np.array([_xyz(*points[i : i + 2]) for i in (2, 4, 6)]).T
    return np.asarray(columns * np.linalg.solve(columns, _xyz(points[0], points[1])))


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def _adapted(white: Sequence[float]) -> np.ndarray:
    """3x3, XYZ under a white -> XYZ under D65, by Bradford."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gains = (bradford @ _xyz(*_D65)) / (bradford @ _xyz(white[0], white[1]))
    return np.asarray(np.linalg.inv(bradford) @ np.diag(gains) @ bradford)
