"""Sides of pictures and of their latents."""

from codec.models.config import PATCH

SIDE = 2 * PATCH  # pictures are padded to multiples of so many pixels


def latent_size(height: int, width: int) -> tuple[int, int]:
    """Pixels of a picture -> h, w of its latents."""
    return -(-height // SIDE) * 2, -(-width // SIDE) * 2
