"""What is asked of a run over many files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from codec import manifest
from codec.bitstream.container import SUFFIX
from codec.options import SCALES, DecodeOptions, EncodeOptions, UpscaleOptions


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is to be done with every file of a run; goes to every worker."""

    options: EncodeOptions | DecodeOptions | UpscaleOptions  # say the command too
    model: str | int = "default"  # not for decode, where each file names its own
    weights: str | None = None  # a folder to add
    device: str = "cpu"
    precision: str = "float32"
    threads: int | None = None  # of torch; None: its own number
    backend: str | None = "torch"  # of decode: torch or onnx; None: onnx where it is installed and can
    verify: bool = False  # of encode: decode again and tell the RMSE
    #: What to do with an output that is there: refuse; replace it; leave it alone; or refuse it unless the file that
    #: was made is the same, as where a run goes on that was killed between the file and the manifest's row.
    existing: Literal["refuse", "replace", "skip", "same"] = "refuse"

    @property
    def command(self) -> str:
        return {EncodeOptions: "encode", DecodeOptions: "decode", UpscaleOptions: "upscale"}[type(self.options)]

    @property
    def suffix(self) -> str:
        """Of what is made, where no file is named."""
        if isinstance(self.options, UpscaleOptions):
            return f".x{self.options.scale}.png"
        return SUFFIX if isinstance(self.options, EncodeOptions) else ".png"

    @property
    def made_suffixes(self) -> tuple[str, ...]:
        """Of what the command makes beside its inputs, whatever its options are."""
        if isinstance(self.options, UpscaleOptions):
            return tuple(f".x{scale}.png" for scale in SCALES)
        return (self.suffix,)

    def as_text(self) -> str:
        """What decides the outputs and what is told of them, on one line: kept in the manifest, and compared when a run
        goes on."""
        options = {f.name: getattr(self.options, f.name) for f in fields(self.options)}
        kept = {name: value for name, value in options.items() if value is not None}
        if not isinstance(self.options, DecodeOptions):
            kept["model"] = manifest.read(self.weights).number_of(self.model)
        if self.backend == "onnx":
            kept["backend"] = self.backend
        if self.verify:
            kept["verify"] = True
        return json.dumps({**kept, "precision": self.precision}, sort_keys=True)


def wanted(settings: Settings) -> Callable[[Path], bool]:
    """Which files of a folder are meant."""
    if isinstance(settings.options, DecodeOptions):
        return lambda path: path.suffix.lower() == SUFFIX
    from codec.image import read

    return read.has_picture_suffix
