"""Memory that was freed, but that the C library keeps: a tenth of what a large picture takes."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


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
