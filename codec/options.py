"""What can be asked of the codec: frozen records, checked when they are made. No torch here.

The same fields are keyword arguments of `codec.encode`, `codec.decode` and `codec.upscale`, and options of the command
line. A field that is None was not asked for; one that has no effect with the others is refused.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from codec.errors import CodecError

#: What a decoder can be told, beside the bytes. A decoder that is not named here takes everything.
TAKES: dict[str, tuple[str, ...]] = {
    "vq": (),
    "perceptual": ("realism", "guidance", "consistency", "context"),
    "gan": ("realism", "guidance", "consistency", "seed", "context"),
    "ldm": ("realism", "steps", "sampler", "guidance", "consistency", "seed", "context", "label"),
}
LDM_STEPS = 1  # where nothing is said: the step that was trained to be the only one
SCALES = (2, 4)  # of upscale


@dataclass(frozen=True)
class Used:
    """What makes a picture: the decoder, and its steps and seed where it has a use for them. None: nothing of the
    kind, as in a lossless file."""

    decoder: str | None = None
    steps: int | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How a picture is encoded."""

    quality: float = 50.0  # 0 (small) .. 100 (good), in steps of 1/64; not used with a target
    target_bpp: float | None = None  # the best quality that needs at most so many bits per pixel
    target_bytes: int | None = None  # the best quality in at most so many bytes
    target_psnr: float | None = None  # the smallest file whose pixels reach so many dB
    effort: int = 1  # 1 (one pass) .. 9 (searches for a better picture at the same quality, minutes)
    seed: int = 0  # of a decoder's noise, 0 .. 2**32-1; kept in the file
    keep_hidden: bool = False  # code the pixels under alpha 0 as they are, in place of smooth ones
    lossless: bool | None = (
        None  # every pixel as it is; None: where that is smaller; else few colours, where better; False: neither
    )
    metadata: str = "drop"  # "keep": EXIF and XMP, in a section of their own; "drop": leave them out

    def __post_init__(self) -> None:
        _take(self, "quality", _inside, 0, 100)
        _take(self, "effort", _whole_inside, 1, 9)
        _take(self, "seed", _seed)
        _take(self, "keep_hidden", check_flag)
        _take(self, "metadata", _text)
        if self.lossless is not None:
            _take(self, "lossless", check_flag)
        if sum(t is not None for t in (self.target_bpp, self.target_bytes, self.target_psnr)) > 1:
            raise CodecError("give one target: bytes, bits per pixel or PSNR")
        for name in ("target_psnr", "target_bpp", "target_bytes"):
            if getattr(self, name) is not None:
                _take(self, name, _target)
        if self.metadata not in ("keep", "drop"):
            raise CodecError(f"metadata is neither 'keep' nor 'drop': {self.metadata!r:.100}")
        if self.lossless:
            asked = {f.name for f in fields(self) if getattr(self, f.name) != f.default}
            for name in ("quality", "target_bpp", "target_bytes", "target_psnr", "seed"):
                if name in asked:
                    raise CodecError(f"{name} has no effect with lossless")

    def most_bytes(self, width: int, height: int) -> int | None:
        """That a file of a picture of this size may have; None without such a target."""
        if self.target_bpp is not None:
            return int(self.target_bpp * width * height / 8)
        return self.target_bytes


@dataclass(frozen=True, kw_only=True)
class _Generation:
    """How detail that was not sent is made."""

    realism: float | None = None  # 0 (none) .. 1 (all of the decoder's); None: 1
    steps: int | None = None  # 1 .. 1000; 1, the default, makes detail at once, more follow the diffusion process
    sampler: str | None = None  # of more than one step: dpmpp_2m, heun or ancestral
    guidance: float | None = None  # classifier-free guidance by the context, 0 .. 20; 1 is none
    consistency: bool | None = None  # make the sample agree with what is known of the picture; None: True
    seed: int | None = None  # of the noise; None: the one in the file, 0 for upscale
    context: Any = None  # array or tensor of numbers (N, D) for cross-attention, in place of what the file says
    label: str | None = None  # what the picture shows, one of Codec.labels()

    def __post_init__(self) -> None:
        if self.realism is not None:
            _take(self, "realism", _inside, 0, 1)
        if self.steps is not None:
            _take(self, "steps", _whole_inside, 1, 1000)
        if self.sampler is not None:
            _take(self, "sampler", _text)
        if self.guidance is not None:
            _take(self, "guidance", _inside, 0, 20)
        if self.consistency is not None:
            _take(self, "consistency", check_flag)
        if self.seed is not None:
            _take(self, "seed", _seed)
        if self.label is not None:
            _take(self, "label", _text)

    def check_sampler(self) -> None:
        """Raises CodecError for a sampler that has nothing to do."""
        if self.sampler is not None and self.steps in (None, 1):
            raise CodecError("sampler has no effect with one step")

    def generation(self) -> dict[str, Any]:
        """The fields above that were asked for."""
        return {f.name: value for f in fields(_Generation) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True, kw_only=True)
class DecodeOptions(_Generation):
    """How a file is decoded."""

    decoder: str = "vq"  # vq: nearest to the original; the others make detail that was not sent
    max_bytes: int | None = None  # use no more than the first so many bytes, for a coarser picture
    allow_truncated: bool = False  # accept a file that was cut short, for a coarser picture

    def __post_init__(self) -> None:
        super().__post_init__()
        _take(self, "decoder", _text)
        _take(self, "allow_truncated", check_flag)
        if self.max_bytes is not None:
            _take(self, "max_bytes", _whole)
            if self.max_bytes < 0:
                raise CodecError(f"max_bytes {self.max_bytes} is negative")
        takes = TAKES.get(self.decoder)
        unused = [name for name in self.generation() if takes is not None and name not in takes]
        if unused:
            raise CodecError(f"{unused[0]} has no effect with the decoder {self.decoder}")
        self.check_sampler()

    def used(self, seed: int) -> Used:
        """What makes the picture of a file with this seed, which is not lossless."""
        if self.decoder == "vq" or self.realism == 0:
            return Used("vq")
        takes = TAKES.get(self.decoder, ("seed",))
        steps = (self.steps or LDM_STEPS) if "steps" in takes else None
        return Used(self.decoder, steps, (seed if self.seed is None else self.seed) if "seed" in takes else None)


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions(_Generation):
    """How a picture is enlarged."""

    scale: int = 2  # times as wide and as high, 2 or 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _take(self, "scale", _whole)
        if self.scale not in SCALES:
            raise CodecError(f"scale {self.scale} is not one of {', '.join(map(str, SCALES))}")
        self.check_sampler()

    def used(self) -> Used:
        """What makes the picture."""
        return Used("ldm", self.steps or LDM_STEPS, self.seed or 0)


def _take(options: Any, name: str, check: Callable[..., Any], *limits: int) -> None:
    """Check a field, and keep it in the plain type of Python that it stands for."""
    object.__setattr__(options, name, check(name, getattr(options, name), *limits))


def _inside(name: str, value: Any, low: int, high: int) -> float:
    number = _number(name, value)
    if not low <= number <= high:
        raise CodecError(f"{name} {number:g} is outside {low:g}..{high:g}")
    return number


def _whole_inside(name: str, value: Any, low: int, high: int) -> int:
    _inside(name, value, low, high)
    return _whole(name, value)


def _seed(name: str, value: Any) -> int:
    number = _whole(name, value)
    if not 0 <= number < 2**32:
        raise CodecError(f"{name} {number} is outside 0..2**32-1")
    return number


def _target(name: str, value: Any) -> float:
    unit = {"target_psnr": "dB", "target_bpp": "bpp", "target_bytes": "bytes"}[name]
    number = _number(f"the target in {unit}", value)
    if unit == "dB":
        if not 0 < number <= 100:
            raise CodecError(f"the target of {number:g} dB is outside 0..100")
    elif not number > 0:
        raise CodecError(f"the target of {number:g} {unit} is not positive")
    elif not number < 2**63:
        raise CodecError(f"the target of {number:g} {unit} is not a size")
    return int(number) if unit == "bytes" else number


def _number(name: str, value: Any) -> float:
    """Any type that is a number, those of numpy included."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__") or getattr(value, "shape", ()) != ():
        raise CodecError(f"{name} is not a number: {value!r:.100}")
    try:
        return float(value)
    except Exception:  # of other libraries; an integer may be too large
        raise CodecError(f"{name} is not a number: {value!r:.100}") from None


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise CodecError(f"{name} is not a whole number: {value!r:.100}") from None


def check_whole(name: str, value: Any, low: int) -> int:
    """A whole number of at least ``low``."""
    if (number := _whole(name, value)) < low:
        raise CodecError(f"{name} {number} is less than {low}")
    return number


def check_flag(name: str, value: Any) -> bool:
    """True or False, 1 or 0, or what numpy has for them."""
    if not hasattr(value, "__bool__") or getattr(value, "shape", ()) != () or value not in (True, False):
        raise CodecError(f"{name} is neither True nor False: {value!r:.100}")
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise CodecError(f"{name} is not a text: {value!r:.100}")
    return value
