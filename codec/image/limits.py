"""How large a picture may be: the limits of the format, and Pillow's own, which servers set low."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from PIL import Image

from codec.bitstream.container import MAX_PIXELS, MAX_SIDE
from codec.errors import CorruptError, LimitError, PictureError


def check_size(width: int, height: int) -> None:
    """Raise LimitError for a picture that is too large for the format, PictureError for one without pixels."""
    if width < 1 or height < 1:
        raise PictureError("the picture has no pixels")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise LimitError(
            f"the picture is too large: {width}x{height} (sides of at most {MAX_SIDE}, at most {MAX_PIXELS} pixels)"
        )


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
