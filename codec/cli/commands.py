"""What the commands do. torch is imported only when a picture is really coded, after the inputs were found sound."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from codec import manifest
from codec.bitstream import container
from codec.cli.info import inspect, read_stream
from codec.cli.jobs import STANDARD, Job, OutputError, UsageError, check_target, plan, write_target
from codec.cli.report import Enlargement, Report, Terminal, explain
from codec.errors import CodecError, UnknownModelError
from codec.options import DecodeOptions, EncodeOptions, UpscaleOptions

if TYPE_CHECKING:
    import numpy as np

    from codec.api import Codec
    from codec.image.read import Picture
    from codec.light import LightCodec

SUFFIX = ".ldc"
Options = TypeVar("Options", EncodeOptions, DecodeOptions, UpscaleOptions)


class StartError(CodecError):
    """The codec cannot be loaded, so no file of the run can be done."""


def load_codec(args: argparse.Namespace, model: str | int) -> Codec | LightCodec:
    """Load a model, with torch, which takes seconds to import, or without: called when the first picture needs it."""
    weights = manifest.read(args.weights)
    number = weights.number_of(model)
    backend = getattr(args, "backend", "torch") or ("onnx" if not _needs_torch(args) and _has_onnxruntime() else None)
    if backend != "torch":
        from codec import light

        if backend == "onnx" and (args.backend or light.graph_of(weights, number)):
            return light.load(model, args.weights)
    if importlib.util.find_spec("torch") is None:
        raise CodecError("torch is not installed, and without it there is only decode of vq (extra 'light')")
    from codec import api

    return api.load(model, device=args.device, threads=args.threads, weights=args.weights, precision=args.precision)


def _has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def _needs_torch(args: argparse.Namespace) -> str | None:
    """What was asked of a decoder that onnxruntime cannot do."""
    plain = {"decoder": "vq", "device": "cpu", "precision": "float32", "threads": None}
    return next((name for name, value in plain.items() if getattr(args, name) != value), None)


def _check_backend(args: argparse.Namespace) -> None:
    if args.backend != "onnx":
        return
    if name := _needs_torch(args):
        hint = "; OMP_NUM_THREADS sets them" if name == "threads" else ""
        raise UsageError(f"--{name} {getattr(args, name)} is not possible with --backend onnx{hint}")
    if not _has_onnxruntime():
        raise UsageError("--backend onnx needs onnxruntime (pip install 'ldc-codec[light]')")


class _Coder:
    """The codecs of one run, one for each model, loaded at their first use."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._codecs: dict[str | int, Any] = {}

    def get(self, model: str | int) -> Any:
        """A codec.api.Codec, or a codec.light.LightCodec, which only decodes."""
        if model not in self._codecs:
            try:
                self._codecs[model] = load_codec(self._args, model)
            except UnknownModelError:  # of one file
                raise
            except Exception as error:
                raise StartError(f"the codec cannot be loaded: {explain(error)}") from error
        return self._codecs[model]


def _check_decoder(args: argparse.Namespace) -> None:
    """Whether any model has the decoder; whether that of a file has it is seen when the file is read."""
    try:
        names = manifest.read(args.weights).decoder_names()
    except CodecError as error:
        raise UsageError(str(error)) from error
    if args.decoder not in names:
        raise UsageError(f"there is no decoder '{args.decoder}' (there is: {', '.join(names)})")


def _check_model(args: argparse.Namespace) -> None:
    try:
        manifest.read(args.weights).number_of(args.model)
    except CodecError as error:
        raise UsageError(str(error)) from error


def run_encode(args: argparse.Namespace) -> int:
    from codec.image import read

    _check_model(args)
    if args.lossless and hasattr(args, "quality"):
        raise UsageError("quality has no effect with lossless")
    _options(args, EncodeOptions)
    jobs = plan(args.inputs, args.output, SUFFIX, read.has_picture_suffix)
    return _run_jobs(args, jobs, _encode)


def run_decode(args: argparse.Namespace) -> int:
    from codec.image import write

    _check_decoder(args)
    _check_backend(args)
    _options(args, DecodeOptions)
    jobs = plan(args.inputs, args.output, ".png", lambda path: path.suffix.lower() == SUFFIX)
    for target in {job.target for job in jobs if not job.problem}:
        try:
            write.format_of(target)
        except CodecError as error:
            raise UsageError(str(error)) from error
    return _run_jobs(args, jobs, _decode)


def run_upscale(args: argparse.Namespace) -> int:
    from codec.image import read, write

    _check_model(args)

    _options(args, UpscaleOptions)
    jobs = plan(args.inputs, args.output, f".x{args.scale}.png", read.has_picture_suffix)
    for target in {job.target for job in jobs if not job.problem}:
        try:
            write.format_of(target)
        except CodecError as error:
            raise UsageError(str(error)) from error
    return _run_jobs(args, jobs, _upscale)


def _run_jobs(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    work: Callable[[argparse.Namespace, Job, _Coder, Terminal], Report | Enlargement],
) -> int:
    """Do the work for each job, go on after failures, and return the exit code."""
    if args.json and sys.stdout is None:
        raise OutputError("standard output is closed")
    if jobs[0].target == STANDARD:
        if args.json:
            raise UsageError("--json and an output to standard output exclude each other")
        if sys.stdout is None:
            raise OutputError("standard output is closed")
        if sys.stdout.isatty():
            raise UsageError("a file cannot be written to the terminal; give an output with -o")
    terminal = Terminal(jobs=len(jobs), as_json=args.json, quiet=args.quiet, debug=args.debug)
    coder = _Coder(args)
    failed: list[str] = []
    try:
        for job in jobs:
            try:
                if job.problem:
                    raise CodecError(job.problem)
                check_target(job, args.force)
                terminal.report(work(args, job, coder, terminal))
            except (BrokenPipeError, StartError):
                raise
            except Exception as error:
                failed.append(_name(job.source, "standard input"))
                terminal.failure(args.command, failed[-1], error)
            terminal.next_file()
    finally:
        terminal.close(failed, len(jobs))
    return 1 if failed else 0


def _options(args: argparse.Namespace, kind: type[Options]) -> Options:
    """What was asked for on the command line, which knows some of the options."""
    given = {f.name: getattr(args, f.name) for f in fields(kind) if hasattr(args, f.name)}
    try:
        return kind(**given)
    except CodecError as error:
        raise UsageError(str(error)) from error


def _asked(options: DecodeOptions) -> dict[str, Any]:
    """The options that are not the default ones."""
    plain = asdict(DecodeOptions())
    return {name: value for name, value in asdict(options).items() if value != plain[name]}


def _encode(args: argparse.Namespace, job: Job, coder: _Coder, terminal: Terminal) -> Report:
    from codec.image import lossless, read

    with _open(job.source) as file:
        # Pillow needs to seek, which a pipe cannot.
        source = io.BytesIO(file.read()) if job.source == STANDARD else file
        with _mute():
            picture = read.load(source)
        input_bytes = source.seek(0, io.SEEK_END)
    options = _options(args, EncodeOptions)
    codec = None if options.lossless else coder.get(args.model)
    start = time.perf_counter()
    if codec is None:
        data = lossless.encode(picture, effort=options.effort, keep_hidden=options.keep_hidden)
    else:
        data = codec.encode(picture, **asdict(options), progress=terminal.progress)
    seconds = time.perf_counter() - start
    header = container.read_header(data).header
    rmse = None
    if args.verify:
        decoded = lossless.decode_array(data) if header.lossless else coder.get(args.model).decode_array(data)
        rmse = _rmse(_coded(picture, header.lossless, options.keep_hidden), decoded)
    _write(job, data, args.force)
    sizes = _Sizes(input_bytes, len(data), compressed=len(data))
    return _report(args, job, header, sizes, seconds, rmse, picture.notes)


def _coded(picture: Picture, lossless: bool, keep_hidden: bool) -> np.ndarray:
    """uint8 (H, W, 3): the pixels that were coded, in which those under alpha 0 may be others."""
    from codec.image.alpha import fill_hidden
    from codec.image.lossless import seen

    if keep_hidden:
        return picture.rgb
    return seen(picture) if lossless else fill_hidden(picture.rgb, picture.alpha)


def _decode(args: argparse.Namespace, job: Job, coder: _Coder, terminal: Terminal) -> Report:
    from codec.image import lossless, write

    with _open(job.source) as file:
        data = read_stream(file, args.max_bytes)
    options = _options(args, DecodeOptions)
    # refuses damage before torch is imported
    header = container.parse(data, max_bytes=options.max_bytes, allow_truncated=options.allow_truncated).header
    notes = []
    if header.lossless:
        start = time.perf_counter()
        image = lossless.decode(data, max_bytes=options.max_bytes)
        if options.decoder != "vq":
            notes.append(f"the file is lossless: the decoder {options.decoder} has no detail to add")
    else:
        codec = coder.get(header.model_id)
        start = time.perf_counter()
        image = codec.decode(data, **_asked(options), progress=terminal.progress)
    seconds = time.perf_counter() - start
    saved = write.to_bytes(image, write.format_of(job.target))
    _write(job, saved.data, args.force)
    used = len(data) if args.max_bytes is None else min(len(data), args.max_bytes)
    sizes = _Sizes(used, len(saved.data), compressed=used)
    return _report(args, job, header, sizes, seconds, None, (*notes, *saved.notes))


def _upscale(args: argparse.Namespace, job: Job, coder: _Coder, terminal: Terminal) -> Enlargement:
    from codec.image import read, write

    with _open(job.source) as file, _mute():
        picture = read.load(io.BytesIO(file.read()) if job.source == STANDARD else file)
    codec = coder.get(args.model)
    start = time.perf_counter()
    image = codec.upscale(picture, **asdict(_options(args, UpscaleOptions)), progress=terminal.progress)
    seconds = time.perf_counter() - start
    saved = write.to_bytes(image, write.format_of(job.target))
    _write(job, saved.data, args.force)
    return Enlargement(
        command="upscale",
        input=_name(job.source, "standard input"),
        output=_name(job.target, "standard output"),
        width=image.width,
        height=image.height,
        scale=args.scale,
        seconds=seconds,
        notes=(*picture.notes, *saved.notes),
    )


@dataclass(frozen=True)
class _Sizes:
    """Bytes of the file that was read, of the one that was written, and of the compressed one of the two."""

    read: int
    written: int
    compressed: int


def _report(
    args: argparse.Namespace,
    job: Job,
    header: container.Header,
    sizes: _Sizes,
    seconds: float,
    rmse: float | None,
    notes: tuple[str, ...],
) -> Report:
    bits_per_pixel = 8 * sizes.compressed / (header.width * header.height)
    return Report(
        command=args.command,
        input=_name(job.source, "standard input"),
        output=_name(job.target, "standard output"),
        width=header.width,
        height=header.height,
        input_bytes=sizes.read,
        output_bytes=sizes.written,
        bits_per_dim=bits_per_pixel / 3,
        bits_per_pixel=bits_per_pixel,
        quality=container.quality_of(header.level),
        lossless=header.lossless,
        seconds=seconds,
        rmse=rmse,
        notes=notes,
    )


def run_info(args: argparse.Namespace) -> int:
    source = Path(args.file)
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        with _open(source) as file:
            facts = inspect(file)
    except (CodecError, OSError) as error:
        Terminal(as_json=args.json, quiet=True, debug=args.debug).failure("info", args.file, error)
        return 1
    if args.json:
        print(json.dumps(asdict(facts)))
    else:
        for name, value in asdict(facts).items():
            print(f"{name:15} {value}")
    return 0


@contextlib.contextmanager
def _open(source: Path) -> Iterator[BinaryIO]:
    if source == STANDARD:
        if sys.stdin is None or sys.stdin.closed:
            raise CodecError("it is closed")
        yield sys.stdin.buffer
    else:
        with open(source, "rb") as file:
            yield file


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


def _write(job: Job, data: bytes, force: bool) -> None:
    if job.target == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_target(job, data, force)


def _name(path: Path, standard: str) -> str:
    return standard if path == STANDARD else str(path)


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square error of two uint8 pictures of shape H W C, a few rows at a time to save memory."""
    total = sum(float(((x.astype("f4") - y) ** 2).sum()) for x, y in zip(a, b, strict=True))
    return float((total / a.size) ** 0.5)
