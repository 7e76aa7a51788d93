"""What the command line says: one line per file, a progress bar, JSON objects, and errors as one sentence."""

from __future__ import annotations

import json
import sys
import traceback
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from codec.errors import CodecError


@dataclass(frozen=True)
class Report:
    """What was done with one picture. The rates count the whole compressed file, header included.

    quality: 0..100, 100 for a lossless file. lossless: the compressed file holds every pixel as it is.
    width, height: pixels. bits_per_dim: 8 * bytes / (width * height * 3), bits_per_pixel: three times that.
    rmse: over 8-bit RGB, if it was measured.
    """

    command: str
    input: str
    output: str
    width: int
    height: int
    input_bytes: int
    output_bytes: int
    bits_per_dim: float
    bits_per_pixel: float
    quality: float
    lossless: bool
    seconds: float
    rmse: float | None
    notes: tuple[str, ...]

    def line(self) -> str:
        """The one-line summary."""
        parts = [
            f"{self.input} -> {self.output}: {self.width}x{self.height}",
            f"{self.input_bytes} -> {self.output_bytes} bytes",
            f"{self.bits_per_dim:.4f} bits/dim ({self.bits_per_pixel:.3f} bpp)",
            "lossless" if self.lossless else f"quality {self.quality:.2f}",
        ]
        if self.rmse is not None:
            parts.append(f"RMSE {self.rmse:.3f}")
        return ", ".join([*parts, f"{self.seconds:.2f} s"])


@dataclass(frozen=True)
class Enlargement:
    """What `upscale` did with one picture. width, height: pixels of the result; scale: times as wide and high as the input."""

    command: str
    input: str
    output: str
    width: int
    height: int
    scale: int
    seconds: float
    notes: tuple[str, ...]

    def line(self) -> str:
        """The one-line summary."""
        return f"{self.input} -> {self.output}: {self.width}x{self.height} ({self.scale} times), {self.seconds:.2f} s"


@dataclass(frozen=True)
class Failure:
    """Why nothing came of one file."""

    command: str
    input: str
    error: str


class Terminal:
    """Everything said during a run over `jobs` files: standard error, and JSON lines on standard output.

    as_json: JSON objects instead of summary lines. quiet: nothing but errors. debug: tracebacks too.
    """

    def __init__(self, *, jobs: int = 1, as_json: bool = False, quiet: bool = False, debug: bool = False) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._debug = debug
        self._finished = 0
        self._bar = None
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            layout = "{percentage:3.0f}% |{bar}| {elapsed} < {remaining}"
            self._bar = tqdm(total=jobs, file=sys.stderr, leave=False, bar_format=layout)

    def progress(self, fraction: float) -> None:
        """Show that a fraction (0..1) of the current file is done."""
        if self._bar is not None:
            self._bar.update(self._finished + fraction - self._bar.n)

    def next_file(self) -> None:
        self._finished += 1
        self.progress(0.0)

    def report(self, report: Report | Enlargement) -> None:
        if not self._quiet:
            for note in report.notes:
                self._say(f"{report.input}: note: {note}")
        if self._as_json:
            self._print_json(report)
        elif not self._quiet:
            self._say(report.line())

    def failure(self, command: str, name: str, error: BaseException) -> None:
        message = explain(error)
        self._say(f"codec: error: {name}: {message}")
        if self._as_json:
            self._print_json(Failure(command, name, message))
        if self._debug:
            for line in "".join(traceback.format_exception(error)).rstrip().splitlines():
                self._say(line)

    def close(self, failed: Sequence[str], jobs: int) -> None:
        """End the bar, and list the failures of a run over several files."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if failed and jobs > 1:
            self._say(f"codec: {len(failed)} of {jobs} files failed: {', '.join(failed)}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        say(text)
        if self._bar is not None:
            self._bar.refresh()

    def _print_json(self, value: Report | Enlargement | Failure) -> None:
        print(json.dumps(asdict(value)), flush=True)


def say(text: str) -> None:
    """Print one line on standard error, if it is open."""
    if sys.stderr is not None:  # print() would take standard output instead, and with it perhaps a picture
        print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` on one line that cannot steer a terminal: file names may hold anything."""
    return "".join(c.encode("unicode_escape").decode() if _steers(c) else c for c in text)


def _steers(c: str) -> bool:
    """Controls, ends of lines, turns of the direction of writing, and bytes that are no text."""
    return unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069"


def explain(error: BaseException) -> str:
    """One sentence, on one line, for any exception."""
    text = " ".join(str(error).split())
    if isinstance(error, CodecError):
        return text
    # torch has its own errors for this, of type RuntimeError, to be told without importing torch.
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "there is not enough memory for this picture"
    if isinstance(error, OSError):
        return error.strerror or text or "input or output failed"
    return f"internal error, please report it: {type(error).__name__}: {text} (--debug shows more)"
