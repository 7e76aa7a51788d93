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


@dataclass(frozen=True)
class Allowed:
    """The settings that a codec takes: a range, whole numbers of it, or a few values."""

    low: float
    high: float
    whole: bool = False
    values: tuple[float, ...] = ()  # empty: all of the range

    def check(self, name: str, setting: float) -> None:
        """Raise BenchmarkError for a setting that the codec would change or refuse."""
        inside = self.low <= setting <= self.high and not (self.whole and setting % 1)
        if not inside or (self.values and setting not in self.values):
            kind = "whole numbers" if self.whole else "numbers"
            some = f"{', '.join(f'{value:g}' for value in self.values)} here"
            takes = some if self.values else f"{kind} from {self.low:g} to {self.high:g}"
            raise BenchmarkError(f"{name} has no setting {setting:g}: it takes {takes}")


class BenchCodec(Protocol):
    """Turns a picture into the bytes of a complete file and back; the rate is the number of bytes."""

    name: str
    version: str  # tools, their versions and fixed options: part of the key of a row
    settings: tuple[float, ...]  # the default points of the curve, lowest rate first
    search: Search
    # allowed: Allowed  # may be left out; settings of the command line are checked by it

    def encode(self, image: Image8, setting: float) -> bytes:
        """The whole file, container included."""

    def decode(self, data: bytes) -> Image8:
        """The 8-bit RGB picture a user gets."""
