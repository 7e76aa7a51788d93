"""Pillow's own limit of pixels, which servers set low."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from PIL import Image

from codec.bitstream.container import MAX_PIXELS
from codec.errors import CorruptError, LimitError


def exceeded() -> LimitError:
    """What is said where Pillow raises DecompressionBombError."""
    allowed = Image.MAX_IMAGE_PIXELS
    if allowed is not None and 2 * allowed < MAX_PIXELS:
        return LimitError(f"the picture has more than twice the {allowed} pixels of Image.MAX_IMAGE_PIXELS")
    return LimitError(f"the picture has more than {MAX_PIXELS} pixels")


@contextlib.contextmanager
def decoding(section: str) -> Iterator[None]:
    """Turn what Pillow raises for a section of a file into CorruptError, or LimitError, and mute its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise exceeded() from error
    except Exception as error:  # Pillow's readers raise many types, from OSError to SyntaxError
        raise CorruptError(f"{section} cannot be decoded") from error
