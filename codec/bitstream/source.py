"""Where the bytes of a file come from: a path, bytes, or an open file."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
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
        with _opened(source) as file:
            return read_stream(file, max_bytes)
    if hasattr(source, "read"):
        with _reading(source):
            with contextlib.suppress(AttributeError, OSError):  # a pipe: from where it is
                source.seek(0)
            return read_stream(source, max_bytes)
    return _bytes(source)


@contextlib.contextmanager
def seekable(source: Any) -> Iterator[BinaryIO]:
    """What ``content`` takes, as a binary file that can seek; an open one from where it stands. Raises CodecError."""
    if isinstance(source, (str, os.PathLike)):
        with _opened(source) as file:
            yield file
    elif hasattr(source, "read"):
        with _reading(source):
            can = getattr(source, "seekable", lambda: False)()
            yield source if can else io.BytesIO(read_stream(source))
    else:
        yield io.BytesIO(_bytes(source))


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise CodecError(f"cannot open {os.fspath(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise CodecError(f"cannot open {os.fspath(path)!r}: this is no name of a file") from error
    with file, _reading(file):
        yield file


@contextlib.contextmanager
def _reading(file: Any) -> Iterator[None]:
    try:
        if isinstance(file.read(0), str):
            raise CodecError("the file is open as text, not as binary")
        yield
    except OSError as error:
        raise CodecError(f"the file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"the file cannot be read: {error}") from error  # it is closed


def _bytes(source: Any) -> bytes:
    try:
        return memoryview(source).tobytes()
    except TypeError:
        raise CodecError(
            f"a compressed file is a path, bytes or an open binary file, not {type(source).__name__}"
        ) from None


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
