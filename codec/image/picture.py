"""A picture as the codec takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codec.image.metadata import NOTHING, Metadata


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as the codec takes them.

    rgb:   uint8, H W 3, sRGB; the three channels are equal when `gray` is True.
    alpha: uint8, H W, or None when every pixel is opaque.
    gray:  the source had no colour.
    notes: what was converted or dropped on the way, for people.
    metadata: EXIF and XMP as they were in the source; `codec.image.metadata.section` makes them fit the pixels.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    gray: bool
    notes: tuple[str, ...] = ()
    metadata: Metadata = NOTHING

    @property
    def width(self) -> int:
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        return self.rgb.shape[0]


def picture_of(rgb: np.ndarray, alpha: np.ndarray | None, gray: bool, notes: list[str]) -> Picture:
    """A picture without its alpha channel where all of it is opaque."""
    opaque = alpha is None or bool((alpha == 255).all())
    return Picture(rgb, None if opaque else alpha, gray, tuple(notes))
