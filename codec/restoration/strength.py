"""How strongly a decoder paints, by the quality of the stream: what a network is not sure of is held back where little
is known of the picture (results/held-out/decoder_rows.csv, results/emphasis.csv)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F

BLOCK = 8  # pixels a side of the places over which what is painted is measured


@dataclass(frozen=True)
class Strength:
    """At one quality."""

    emphasis: float  # factor of what is painted: a network that is not sure paints too faintly
    noise: float = 1.0  # standard deviation of the noise of one step; less than 1: what is likelier (Brock et al. 2019)
    dots: float = 0.0  # grey levels of ``without_dots``; 0: nothing is taken away


Rows = tuple[tuple[float, Strength], ...]  # (place of the quality among the anchors, what holds there), linear between

PLAIN: Rows = (
    (0.0, Strength(0.85)),
    (1.0, Strength(1.0)),
    (2.0, Strength(1.1)),
    (3.0, Strength(1.2)),
    (5.0, Strength(1.4)),
)
#: of decoders that paint more than they know at low qualities; others have PLAIN
STRENGTHS: dict[str, Rows] = {
    "gan": (
        (0.0, Strength(0.32, 0.5, 10.0)),
        (0.7, Strength(0.7, 0.5, 10.0)),
        (1.4, Strength(1.04, 1.0, 1.0)),
        *PLAIN[2:],
    ),
    "ldm": (
        (0.0, Strength(0.7, 0.5, 10.0)),
        (0.7, Strength(0.95, 0.5, 10.0)),
        (1.4, Strength(1.04, 1.0, 1.0)),
        *PLAIN[2:],
    ),
}
#: of a picture that was enlarged, not decoded, by each of codec.models.restorer.UPSCALES: twice, much is known of it,
#: and less error is wanted (results/emphasis_enlarged.csv)
ENLARGED = (Strength(0.7), Strength(1.0))


def strength(name: str, task: float, anchors: int) -> Strength:
    """name: of the decoder; task: as in codec.models.restorer.Condition, among ``anchors`` qualities or beyond."""
    if task >= anchors:
        return ENLARGED[int(task) - anchors]
    rows = STRENGTHS.get(name, PLAIN)
    places = [at for at, _ in rows]
    return Strength(
        *(float(np.interp(task, places, [getattr(row, f.name) for _, row in rows])) for f in fields(Strength))
    )


def said(name: str) -> str:
    """What the rows of a decoder hold, where it differs from what a network says."""
    rows, plain = [row for _, row in STRENGTHS.get(name, PLAIN)], Strength(1.0)
    return ", ".join(
        f"{f.name} {'/'.join(f'{getattr(row, f.name):g}' for row in rows)}"
        for f in fields(Strength)
        if any(getattr(row, f.name) != getattr(plain, f.name) for row in rows)
    )


def without_dots(painted: torch.Tensor, level: float) -> torch.Tensor:
    """painted (B, 3, H, W), sides multiples of 8, in 0..1 -> the same, with detail of a pixel or two only as far as
    much is painted around: of root mean square r grey levels, r^2 / (r^2 + level^2) of it stays.

    A network that knows a texture paints it strongly; fine dots that are painted faintly are seldom there, and show
    on what is smooth. Nothing is seen beyond two blocks of 8 pixels."""
    energy = F.avg_pool2d(painted.square().mean(1, keepdim=True), BLOCK)
    energy = F.avg_pool2d(F.pad(energy, (1,) * 4, mode="replicate"), 3, 1)
    kept = energy / (energy + (level / 255) ** 2)
    coarse = _blurred(painted)
    return coarse + (painted - coarse) * F.interpolate(kept, scale_factor=BLOCK, mode="bilinear")


def _blurred(x: torch.Tensor) -> torch.Tensor:
    """By 1, 2, 1 in both directions."""
    x = F.pad(x, (1,) * 4, mode="replicate")
    x = 0.25 * (x[:, :, :-2] + x[:, :, 2:]) + 0.5 * x[:, :, 1:-1]
    return 0.25 * (x[..., :-2] + x[..., 2:]) + 0.5 * x[..., 1:-1]
