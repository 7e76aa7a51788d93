"""Memory that was freed, but that the C library keeps: too much for a large picture, too little for small ones and for
the rounds of a search."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

_BLOCK = (32 << 20) - (1 << 16)  # bytes; glibc looks at blocks of up to 32 MiB
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt
_REUSED = 32 << 20  # bytes: arrays up to here are reused
_KEPT = 1 << 30


@functools.cache
def _library() -> Any:
    """glibc; None for another C library, which gives memory back in other ways."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # TypeError: Windows
        return None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def release(values: int) -> None:
    """Gives freed memory back to the system, before an array of so many values is made; not for small ones, as it
    takes a millisecond."""
    if values >= 1 << 22 and (library := _library()) is not None:
        library.malloc_trim(0)


def keep() -> None:
    """From now on the process keeps up to 64 MB that are free, for its next picture.

    glibc gives back what is free at the end of its heap where that is more than twice the largest block that was ever
    freed. With the blocks of half a megapixel, a tenth of the time of each decode goes into fetching pages again.
    """
    np.empty(_BLOCK, np.uint8)  # freed at once, and never touched


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, all freed memory stays with the process, for the next round of the same work: to fetch it again is a
    sixth of the time of a gradient. ``release`` still gives back what is free. Then it is as ``keep`` has it."""
    library = _library()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _REUSED)
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        library.mallopt(_TRIM_THRESHOLD, 2 * _REUSED)
        library.malloc_trim(0)
