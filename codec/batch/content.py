"""What is in one file: read, and found sound, before torch is imported."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from codec.batch.settings import Settings
from codec.bitstream import container
from codec.bitstream.source import read_stream
from codec.options import DecodeOptions, UpscaleOptions

if TYPE_CHECKING:
    from codec.image.picture import Picture


@dataclass(frozen=True)
class Content:
    """What was read of one file: a picture, or the stream of a compressed one, and its metadata section. size:
    bytes."""

    size: int
    picture: Picture | None = None
    stream: bytes = b""
    header: container.Header | None = None
    metadata: bytes = b""


class TooLarge(Exception):
    """A picture has more pixels than were granted to it."""

    def __init__(self, megapixels: float) -> None:
        super().__init__(megapixels)
        self.megapixels = megapixels


def read(file: BinaryIO, settings: Settings, granted: float) -> Content:
    """What a file holds. Raises TooLarge for one with more pixels than were granted."""
    if isinstance(settings.options, DecodeOptions):
        asked = settings.options
        data = read_stream(file, asked.max_bytes)
        # refuses damage before torch is imported
        parsed = container.parse(data, max_bytes=asked.max_bytes, allow_truncated=asked.allow_truncated)
        _check_size(parsed.header.width * parsed.header.height, granted)
        return Content(len(data), stream=data, header=parsed.header, metadata=parsed.metadata)
    from codec.image import read as pictures

    # Pillow needs to seek, which a pipe or a remote file cannot.
    source = file if isinstance(file, io.BufferedReader) and file.seekable() else io.BytesIO(file.read())
    scale = settings.options.scale if isinstance(settings.options, UpscaleOptions) else 1
    with _mute():
        if granted < float("inf"):
            _check_size(pictures.pixels_of(source) * scale**2, granted)
        picture = pictures.load(source)
    return Content(source.seek(0, io.SEEK_END), picture=picture)


def _check_size(pixels: int, granted: float) -> None:
    if pixels > granted * 1e6:
        raise TooLarge(pixels / 1e6)


@contextlib.contextmanager
def _mute() -> Iterator[None]:
    """Keep libtiff, which has its own way of saying what comes as an exception too, off standard error."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
