"""Memory that was freed, but that the C library keeps: too much for a large picture, too little for small ones."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np

_BLOCK = (32 << 20) - (1 << 16)  # bytes; glibc looks at blocks of up to 32 MiB


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """glibc's own function; None for another C library, which gives memory back in other ways."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # TypeError: Windows
        return None
    return found


def release(values: int) -> None:
    """Gives freed memory back to the system, before an array of so many values is made; not for small ones, as it
    takes a millisecond."""
    if values >= 1 << 22 and (trim := _trim()) is not None:
        trim(0)


def keep() -> None:
    """From now on the process keeps up to 64 MB that are free, for its next picture.

    glibc gives back what is free at the end of its heap where that is more than twice the largest block that was ever
    freed. With the blocks of half a megapixel, a tenth of the time of each decode goes into fetching pages again.
    """
    np.empty(_BLOCK, np.uint8)  # freed at once, and never touched
