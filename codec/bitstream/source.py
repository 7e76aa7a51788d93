"""Where the bytes of a file come from: a path, bytes, or an open file."""

from __future__ import annotations

import contextlib
import os
from typing import Any, BinaryIO

from codec.bitstream import container
from codec.errors import CodecError


def content(source: Any, max_bytes: int | None = None) -> bytes:
    """A path (str or os.PathLike), the bytes of a compressed file (bytes, bytearray, memoryview or another buffer), or
    an open binary file, from its start where it can seek -> its bytes.

    max_bytes: no more of a file is needed. Raises CodecError for what cannot be opened or read, and what
    ``read_stream`` raises.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, (str, os.PathLike)):
        try:
            with open(source, "rb") as file:
                return read_stream(file, max_bytes)
        except OSError as error:
            raise CodecError(f"cannot open {os.fspath(source)!r}: {error.strerror or error}") from error
        except ValueError as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError(f"cannot open {os.fspath(source)!r}: this is no name of a file") from error
    if hasattr(source, "read"):
        return _of_file(source, max_bytes)
    try:
        return memoryview(source).tobytes()
    except TypeError:
        raise CodecError(
            f"a compressed file is a path, bytes or an open binary file, not {type(source).__name__}"
        ) from None


def _of_file(file: Any, max_bytes: int | None) -> bytes:
    try:
        with contextlib.suppress(AttributeError, OSError):  # a pipe: from where it is
            file.seek(0)
        return read_stream(file, max_bytes)
    except OSError as error:
        raise CodecError(f"the file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"the file cannot be read: {error}") from error  # it is closed


def read_stream(file: BinaryIO, max_bytes: int | None = None) -> bytes:
    """Read a compressed file from where it stands, but not more of it than its header promises and one byte.

    So a large file that is not one of ours costs no memory, and left-over bytes are still seen. Raises FormatError or
    one of its subclasses for a header that is not sound.
    """
    start = _read(file, container.MAX_HEADER_BYTES)
    wanted = container.read_header(start).file_bytes + 1
    if max_bytes is not None:
        wanted = min(wanted, max_bytes + 1)
    return start + _read(file, max(wanted - len(start), 0))


def _read(file: BinaryIO, count: int) -> bytes:
    """So many bytes, fewer at the end of the file only: what is not buffered gives what it has."""
    parts = []
    while count > 0 and (part := file.read(count)):
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise CodecError("the file is open as text, not as binary")
        parts.append(bytes(part))
        count -= len(parts[-1])
    return b"".join(parts)
