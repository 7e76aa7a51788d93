"""The contract that every measured codec fulfils."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.errors import BenchmarkError

Image8 = NDArray[np.uint8]
"""A picture: uint8, height x width x 3, RGB."""


class CodecAbsent(BenchmarkError):
    """The codec cannot run here; the message says what is missing."""


class CodecBroken(CodecAbsent):
    """A tool of the codec is there but does not work: unlike an absent one, this makes the run fail."""


@dataclass(frozen=True)
class CodecOptions:
    """What a user may choose for the codecs."""

    device: str = "cpu"
    plugins: tuple[str, ...] = ()  # files with more codecs


@dataclass(frozen=True)
class Search:
    """How a size is searched: settings from `worst` to `best` picture quality, in steps of `step`."""

    worst: float
    best: float
    step: float


class BenchCodec(Protocol):
    """Turns a picture into the bytes of a complete file and back; the rate is the number of bytes."""

    name: str
    version: str  # tools, their versions and fixed options: part of the key of a row
    settings: tuple[float, ...]  # the default points of the curve, lowest rate first
    search: Search

    def encode(self, image: Image8, setting: float) -> bytes:
        """The whole file, container included."""

    def decode(self, data: bytes) -> Image8:
        """The 8-bit RGB picture a user gets."""
