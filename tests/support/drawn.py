"""A drawing with soft edges, which becomes one of fewer colours at middle qualities."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def discs(alpha: bool = False) -> np.ndarray:
    """Smoothed discs on white, uint8 (120, 160, 3); with alpha (120, 160, 4), dark red that nobody sees around them."""
    image = Image.new("RGBA", (640, 480), (90, 0, 0, 0) if alpha else "white")
    draw = ImageDraw.Draw(image)
    for k in range(12):
        x, y = 40 + 95 * (k % 6), 60 + 210 * (k // 6)
        draw.ellipse((x, y, x + 80 + 5 * k, y + 130), fill=(20 * k, 250 - 20 * k, 9 * k, 255), outline="black", width=9)
    small = np.asarray(image.resize((160, 120), Image.Resampling.BOX))
    return np.where(small[..., 3:] > 0, small, (90, 0, 0, 0)).astype(np.uint8) if alpha else small[..., :3]
