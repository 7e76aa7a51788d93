"""What a run over many files came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from codec.batch.outcome import Enlargement, Failure, Outcome, Report, Skipped

_DONE = {"encode": "encoded", "decode": "decoded", "upscale": "enlarged"}


@dataclass(frozen=True)
class Totals:
    """Sums over the files of a run, and over the pictures in shards in place of these.

    files: done, failed and skipped ones together. input_bytes, output_bytes: of those that were done. bits_per_pixel:
    of the compressed files, over all their pixels; None where there are none. seconds: from the start of the run to
    its end.
    """

    command: str
    files: int
    failed: int
    skipped: int
    input_bytes: int
    output_bytes: int
    bits_per_pixel: float | None
    seconds: float
    totals: Literal[True] = True  # tells this object from those of files

    def line(self) -> str:
        """The one-line summary."""
        done = self.files - self.failed - self.skipped
        parts = [f"{done} of {self.files} files {_DONE[self.command]}"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"{self.input_bytes} -> {self.output_bytes} bytes"] if done else []
        parts += [f"{self.bits_per_pixel:.3f} bpp"] if self.bits_per_pixel is not None else []
        return ", ".join([*parts, f"{self.seconds:.2f} s"])


class Tally:
    """Adds up outcomes."""

    def __init__(self) -> None:
        self._files = self._failed = self._skipped = 0
        self._read = self._written = self._compressed = self._pixels = 0

    def add(self, outcome: Outcome) -> None:
        self._files += isinstance(outcome, (Report, Enlargement, Failure, Skipped))
        self._failed += isinstance(outcome, Failure)
        self._skipped += isinstance(outcome, Skipped)
        if isinstance(outcome, (Report, Enlargement)):
            self._read += outcome.input_bytes
            self._written += outcome.output_bytes
        if isinstance(outcome, Report):
            self._compressed += outcome.output_bytes if outcome.command == "encode" else outcome.input_bytes
            self._pixels += outcome.width * outcome.height

    def totals(self, command: str, seconds: float) -> Totals:
        rate = 8 * self._compressed / self._pixels if self._pixels else None
        return Totals(command, self._files, self._failed, self._skipped, self._read, self._written, rate, seconds)
