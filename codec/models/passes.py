"""The order in which the positions of a channel group are sent."""

from __future__ import annotations

import numpy as np


def pass_masks(h: int, w: int, passes: int) -> np.ndarray:
    """(passes, h, w) bool, a partition of the positions: checkerboard, or every fourth, its diagonal, the rest."""
    i, j = np.arange(h)[:, None] % 2, np.arange(w)[None] % 2
    if passes == 1:
        return np.ones((1, h, w), bool)
    if passes == 2:
        return np.stack([i == j, i != j])
    return np.stack([(i == 0) & (j == 0), (i == 1) & (j == 1), i != j])
