"""The patches over which sets are compared (as HiFiC, Mentzer et al. 2020)."""

from typing import Any

PATCH = 256


def patches(image: Any) -> list[Any]:
    """H W C -> 256x256 pieces of the grid and of the grid shifted by half a patch; a smaller picture is one piece."""
    height, width = image.shape[:2]
    found = [
        image[top : top + PATCH, left : left + PATCH]
        for shift in (0, PATCH // 2)
        for top in range(shift, height - PATCH + 1, PATCH)
        for left in range(shift, width - PATCH + 1, PATCH)
    ]
    return found or [image]
