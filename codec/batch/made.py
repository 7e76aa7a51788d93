"""What is made of one file: a compressed one, a picture, or a larger picture, and what is said of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codec.batch.backend import Codecs
from codec.batch.content import Content
from codec.batch.fidelity import Fidelity, measured
from codec.batch.outcome import Enlargement, Report
from codec.batch.settings import Settings
from codec.bitstream import container
from codec.options import DecodeOptions, EncodeOptions, UpscaleOptions, Used


@dataclass(frozen=True)
class Made:
    """The bytes that became of one picture, and what is to be said of it."""

    data: bytes
    report: Report | Enlargement


def make(content: Content, settings: Settings, codecs: Codecs, step: Callable[[float], None], target: Path) -> Made:
    """What the settings ask for, of what was read. target: the file it is for, whose suffix says the format."""
    if content.header is not None:
        return _decode(content, settings, codecs, step, target)
    if isinstance(settings.options, UpscaleOptions):
        return _upscale(content, settings, codecs, step, target)
    return _encode(content, settings, codecs, step)


def _encode(content: Content, settings: Settings, codecs: Codecs, step: Callable[[float], None]) -> Made:
    from codec.image import lossless, metadata

    options, picture = settings.options, content.picture
    assert isinstance(options, EncodeOptions) and picture is not None
    kept = metadata.Section()
    if options.metadata == "keep":
        kept = metadata.section(picture.metadata, picture.width, picture.height)
    codec = None if options.lossless else codecs(settings.model)
    start = time.perf_counter()
    if codec is None:
        data = lossless.encode(picture, effort=options.effort, keep_hidden=options.keep_hidden, kept=kept.data)
    else:
        data = codec.encode(picture, **asdict(options), progress=step)
    seconds = time.perf_counter() - start
    header = container.read_header(data).header
    fidelity = Fidelity()
    if settings.verify:
        decoder: Any = lossless if header.lossless else codec
        decoded = decoder.decode_array(data)
        fidelity = measured(picture, decoded, options.keep_hidden)
    sizes = _Sizes(content.size, len(data), compressed=len(data))
    return Made(data, _report("encode", header, sizes, seconds, fidelity, (*picture.notes, *kept.notes), Used()))


def _decode(content: Content, settings: Settings, codecs: Codecs, step: Callable[[float], None], target: Path) -> Made:
    from codec.image import lossless, metadata, write

    options, header = settings.options, content.header
    assert isinstance(options, DecodeOptions) and header is not None
    notes: list[str] = []
    codec = None if header.lossless else codecs(header.model_id)
    start = time.perf_counter()
    if codec is None:
        image = lossless.decode(content.stream, max_bytes=options.max_bytes)
        if options.decoder != "vq":
            notes.append(f"the file is coded without loss: the decoder {options.decoder} has no detail to add")
    else:
        image = codec.decode(content.stream, **_asked(options), progress=step)
    seconds = time.perf_counter() - start
    saved = write.for_file(image, target, metadata.unpack(content.metadata))
    used = content.size if options.max_bytes is None else min(content.size, options.max_bytes)
    sizes = _Sizes(used, len(saved.data), compressed=used)
    made_by = Used() if header.lossless else options.used(header.seed)
    return Made(saved.data, _report("decode", header, sizes, seconds, Fidelity(), (*notes, *saved.notes), made_by))


def _upscale(content: Content, settings: Settings, codecs: Codecs, step: Callable[[float], None], target: Path) -> Made:
    from codec.image import write

    options, picture = settings.options, content.picture
    assert isinstance(options, UpscaleOptions) and picture is not None
    codec = codecs(settings.model)
    start = time.perf_counter()
    image = codec.upscale(picture, **asdict(options), progress=step)
    seconds = time.perf_counter() - start
    saved = write.for_file(image, target)
    report = Enlargement(
        command="upscale",
        input="",
        output="",
        width=image.width,
        height=image.height,
        scale=options.scale,
        input_bytes=content.size,
        output_bytes=len(saved.data),
        seconds=seconds,
        **asdict(options.used()),
        notes=(*picture.notes, *saved.notes),
    )
    return Made(saved.data, report)


@dataclass(frozen=True)
class _Sizes:
    """Bytes of the file that was read, of the one that was written, and of the compressed one of the two."""

    read: int
    written: int
    compressed: int


def _report(
    command: str,
    header: container.Header,
    sizes: _Sizes,
    seconds: float,
    fidelity: Fidelity,
    notes: tuple[str, ...],
    used: Used,
) -> Report:
    bits_per_pixel = 8 * sizes.compressed / (header.width * header.height)
    return Report(
        command=command,
        input="",
        output="",
        width=header.width,
        height=header.height,
        input_bytes=sizes.read,
        output_bytes=sizes.written,
        bits_per_dim=bits_per_pixel / 3,
        bits_per_pixel=bits_per_pixel,
        quality=container.quality_of(header.level),
        lossless=header.exact,
        reduced=header.reduced,
        seconds=seconds,
        rmse=fidelity.rmse,
        psnr=fidelity.psnr,
        ms_ssim=fidelity.ms_ssim,
        **asdict(used),
        notes=notes,
    )


def _asked(options: DecodeOptions) -> dict[str, Any]:
    """The options that are not the default ones, for codecs that know some of them only."""
    plain = asdict(DecodeOptions())
    return {name: value for name, value in asdict(options).items() if value != plain[name]}
