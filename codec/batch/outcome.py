"""What came of a file, as records that can be printed, kept in a manifest and sent between processes."""

from __future__ import annotations

from dataclasses import dataclass

from codec.errors import CodecError


class UsageError(CodecError):
    """What was asked for does not go together."""


class StartError(CodecError):
    """The codec cannot be loaded, or its processes die at once: no file of the run can be done."""


@dataclass(frozen=True)
class Report:
    """What was done with one picture. The rates count the whole compressed file, header included.

    quality: 0..100, 100 for a lossless file. lossless: the compressed file holds every pixel as it is. reduced: it is
    coded without loss too, but of a drawing whose colours the encoder reduced.
    width, height: pixels. bits_per_dim: 8 * bytes / (width * height * 3), bits_per_pixel: three times that.
    rmse, psnr (dB; None for an exact picture) and ms_ssim (Wang et al. 2003; None below 161 pixels a side and where
    pixels are hidden): of the decoded 8-bit RGB pixels, without those under alpha 0, if they were measured.
    decoder, steps, seed: of decode, what made the picture, as far as it has a use for them; a lossless file has none.
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
    reduced: bool
    seconds: float
    rmse: float | None
    psnr: float | None
    ms_ssim: float | None
    decoder: str | None
    steps: int | None
    seed: int | None
    notes: tuple[str, ...]

    def line(self) -> str:
        """The one-line summary."""
        parts = [
            f"{self.input} -> {self.output}: {self.width}x{self.height}",
            f"{self.input_bytes} -> {self.output_bytes} bytes",
            f"{self.bits_per_dim:.4f} bits/dim ({self.bits_per_pixel:.3f} bpp)",
            "lossless" if self.lossless else f"quality {self.quality:.2f}" + ", reduced colours" * self.reduced,
        ]
        if self.rmse is not None:
            parts.append(f"RMSE {self.rmse:.3f}")
        if self.psnr is not None:
            parts.append(f"PSNR {self.psnr:.2f} dB")
        if self.ms_ssim is not None:
            parts.append(f"MS-SSIM {self.ms_ssim:.4f}")
        if self.decoder not in (None, "vq"):
            steps = () if self.steps is None else (f"{self.steps} step{'s' * (self.steps > 1)}",)
            parts.append(" ".join((f"decoder {self.decoder}", *steps)))
        return ", ".join([*parts, f"{self.seconds:.2f} s"])


@dataclass(frozen=True)
class Enlargement:
    """What `upscale` did with one picture. width, height: pixels of the result; scale: times as wide and high as the
    input. decoder, steps, seed: what made it."""

    command: str
    input: str
    output: str
    width: int
    height: int
    scale: int
    input_bytes: int
    output_bytes: int
    seconds: float
    decoder: str | None
    steps: int | None
    seed: int | None
    notes: tuple[str, ...]

    def line(self) -> str:
        """The one-line summary."""
        return f"{self.input} -> {self.output}: {self.width}x{self.height} ({self.scale} times), {self.seconds:.2f} s"


@dataclass(frozen=True)
class Packed:
    """What became of a shard: how many pictures are in the new one, how many failed, and the bytes of both."""

    command: str
    input: str
    output: str
    pictures: int
    failed: int
    input_bytes: int
    output_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """The one-line summary."""
        pictures = f"{self.pictures} pictures" + (f" ({self.failed} failed)" if self.failed else "")
        sizes = f"{self.input_bytes} -> {self.output_bytes} bytes"
        return f"{self.input} -> {self.output}: {pictures}, {sizes}, {self.seconds:.2f} s"


@dataclass(frozen=True)
class Skipped:
    """A file whose output was there already."""

    command: str
    input: str
    output: str
    skipped: str  # why

    def line(self) -> str:
        """The one-line summary."""
        return f"{self.input}: skipped, {self.skipped}"


@dataclass(frozen=True)
class Failure:
    """Why nothing came of one file."""

    command: str
    input: str
    error: str


Outcome = Report | Enlargement | Packed | Skipped | Failure


@dataclass(frozen=True)
class Done:
    """An outcome, and what is kept of the source with it.

    size: bytes of the source, None where it is not known. stamp: its ETag or modification time, "" where there is none.
    trace: the traceback of a failure.
    """

    outcome: Outcome
    size: int | None = None
    stamp: str = ""
    trace: str = ""


@dataclass(frozen=True)
class Needs:
    """A picture that was not done: it needs more megapixels than were granted to it."""

    megapixels: float


#: Of torch, oneDNN, the loader of libraries and Python, which say so in errors of other types.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "could not create a primitive",
    "failed to map segment from shared object",
    "can't start new thread",
)


def explain(error: BaseException) -> str:
    """One sentence, on one line, for any exception."""
    text = " ".join(str(error).split())
    if isinstance(error, CodecError):
        return text
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        return "there is not enough memory for this picture"
    if isinstance(error, OSError):
        return error.strerror or text or "input or output failed"
    return f"internal error, please report it: {type(error).__name__}: {text} (--debug shows more)"
