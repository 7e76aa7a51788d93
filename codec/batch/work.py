"""The one function that does a file. torch is imported only when a picture is really coded, after the input was found
sound."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from codec import _start, manifest
from codec.batch import files, shards
from codec.batch.engine import Attempt
from codec.batch.fidelity import Fidelity, measured
from codec.batch.files import STANDARD, OutputError
from codec.batch.outcome import Done, Enlargement, Failure, Needs, Report, Skipped, StartError, explain
from codec.batch.plan import Task
from codec.bitstream import container
from codec.bitstream.source import read_stream
from codec.errors import CodecError, UnknownModelError
from codec.options import DecodeOptions, EncodeOptions, UpscaleOptions, Used

if TYPE_CHECKING:
    from codec.api import Codec
    from codec.image.read import Picture
    from codec.light import LightCodec

SUFFIX = ".ldc"


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


def load_codec(settings: Settings, model: str | int) -> Codec | LightCodec:
    """Load a model, with torch, which takes seconds to import, or without: called when the first picture needs it."""
    weights = manifest.read(settings.weights)
    number = weights.number_of(model)
    backend = settings.backend or ("onnx" if not needs_torch(settings) and has_onnxruntime() else None)
    if backend == "onnx":
        from codec import light  # which imports onnxruntime

        if settings.backend or light.graph_of(weights, number):
            return light.load(model, settings.weights)
    if importlib.util.find_spec("torch") is None:
        raise CodecError("torch is not installed, and without it there is only decode of vq (extra 'light')")
    made: Codec = _start.api().load(
        model,
        device=settings.device,
        threads=settings.threads,
        weights=settings.weights,
        precision=settings.precision,
    )
    return made


def has_onnxruntime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def needs_torch(settings: Settings) -> tuple[str, object] | None:
    """What was asked of a decoder that onnxruntime cannot do: the option, and its value."""
    asked = {
        "decoder": (getattr(settings.options, "decoder", ""), "vq"),
        "device": (settings.device, "cpu"),
        "precision": (settings.precision, "float32"),
        "threads": (settings.threads, None),
    }
    return next(((name, value) for name, (value, plain) in asked.items() if value != plain), None)


@dataclass(frozen=True)
class Made:
    """The bytes that became of one picture, and what is to be said of it."""

    data: bytes
    report: Report | Enlargement


class Worker:
    """Does the files of one run in one process, and keeps the models, which are loaded at their first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._codecs: dict[str | int, Any] = {}

    def __call__(self, attempt: Attempt[Task], progress: Callable[[float], None] | None = None) -> list[Done] | Needs:
        """What came of a file; of a shard also of each picture in it, the shard last. Raises StartError only."""
        task = attempt.item
        settings = self._settings
        if task.ours:
            settings = replace(settings, existing="replace")
        elif attempt.number and settings.existing == "refuse":  # what is there may be of the first attempt
            settings = replace(settings, existing="same")
        step = progress or _ignore
        try:
            if task.problem:
                raise CodecError(task.problem)
            if (skipped := _there(settings, task)) is not None:
                self._check_reached(task, settings, attempt.granted)
                return [Done(skipped, task.size, task.stamp)]
            if task.is_shard:
                return self._shard(task, settings, attempt.granted, step)
            return self._file(task, settings, attempt.granted, step)
        except _TooLarge as error:
            return Needs(error.megapixels)
        except (BrokenPipeError, StartError):
            raise
        except Exception as error:
            size, stamp = (None, "") if task.problem or task.source == STANDARD else files.facts(task.source)
            return [_failed(settings.command, task.source, error, size, stamp)]

    def _file(self, task: Task, settings: Settings, granted: float, step: Callable[[float], None]) -> list[Done]:
        with files.opened(task.source) as source:
            # What is read later is read within: the codec works on what was in the file at one time.
            content = self._read(source.file, settings, granted)
        made = self._make(content, settings, step, Path(task.target))
        _put(task, made.data, settings)
        report = replace(
            made.report, input=said(task.source, "standard input"), output=said(task.target, "standard output")
        )
        return [Done(report, source.size, source.stamp)]

    def _shard(self, task: Task, settings: Settings, granted: float, step: Callable[[float], None]) -> list[Done]:
        """Every picture in a shard; those that fail are left out of the new one."""
        done: list[Done] = []
        start = time.perf_counter()
        chosen = wanted(settings)
        out = shards.Writer()
        with files.opened(task.source, in_blocks=True) as source:
            for member in shards.read(source.file):
                step(min(1.0, member.info.offset / source.size) if source.size else 0.0)
                if chosen(Path(member.name)):
                    done.append(self._member(task, member, out, settings, granted))
                else:
                    out.add(member)
        data = out.close()
        _put(task, data, settings)
        seconds = time.perf_counter() - start
        report = shards.report(settings.command, task.source, task.target, done, len(data), source.size or 0, seconds)
        return [*done, Done(report, source.size, source.stamp)]

    def _member(
        self, task: Task, member: shards.Member, out: shards.Writer, settings: Settings, granted: float
    ) -> Done:
        name = shards.member_url(files.shown(task.source), member.name)
        try:
            content = self._read(io.BytesIO(member.data), settings, granted)
            made = self._make(content, settings, _ignore, Path("member" + settings.suffix))
        except (BrokenPipeError, StartError, _TooLarge):
            raise
        except Exception as error:
            return _failed(settings.command, name, error, len(member.data))
        target = out.add_made(member, settings.suffix, made.data)
        output = shards.member_url(files.shown(task.target), target)
        return Done(replace(made.report, input=name, output=output), len(member.data))

    def _read(self, file: BinaryIO, settings: Settings, granted: float) -> _Content:
        """What a file holds. Raises _TooLarge for one with more pixels than were granted."""
        if isinstance(settings.options, DecodeOptions):
            asked = settings.options
            data = read_stream(file, asked.max_bytes)
            # refuses damage before torch is imported
            parsed = container.parse(data, max_bytes=asked.max_bytes, allow_truncated=asked.allow_truncated)
            _check_size(parsed.header.width * parsed.header.height, granted)
            return _Content(len(data), stream=data, header=parsed.header, metadata=parsed.metadata)
        from codec.image import read

        # Pillow needs to seek, which a pipe or a remote file cannot.
        source = file if isinstance(file, io.BufferedReader) and file.seekable() else io.BytesIO(file.read())
        scale = settings.options.scale if isinstance(settings.options, UpscaleOptions) else 1
        with _mute():
            if granted < float("inf"):
                _check_size(read.pixels_of(source) * scale**2, granted)
            picture = read.load(source)
        return _Content(source.seek(0, io.SEEK_END), picture=picture)

    def _make(self, content: _Content, settings: Settings, step: Callable[[float], None], target: Path) -> Made:
        if content.header is not None:
            return self._decode(content, settings, step, target)
        if isinstance(settings.options, UpscaleOptions):
            return self._upscale(content, settings, step, target)
        return self._encode(content, settings, step)

    def _encode(self, content: _Content, settings: Settings, step: Callable[[float], None]) -> Made:
        from codec.image import lossless, metadata

        options, picture = settings.options, content.picture
        assert isinstance(options, EncodeOptions) and picture is not None
        kept = metadata.Section()
        if options.metadata == "keep":
            kept = metadata.section(picture.metadata, picture.width, picture.height)
        codec = None if options.lossless else self._codec(settings.model)
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

    def _decode(self, content: _Content, settings: Settings, step: Callable[[float], None], target: Path) -> Made:
        from codec.image import lossless, metadata, write

        options, header = settings.options, content.header
        assert isinstance(options, DecodeOptions) and header is not None
        notes: list[str] = []
        codec = None if header.lossless else self._codec(header.model_id)
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

    def _upscale(self, content: _Content, settings: Settings, step: Callable[[float], None], target: Path) -> Made:
        from codec.image import write

        options, picture = settings.options, content.picture
        assert isinstance(options, UpscaleOptions) and picture is not None
        codec = self._codec(settings.model)
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

    def _check_reached(self, task: Task, settings: Settings, granted: float) -> None:
        """OutputError for a compressed file that is there and misses the PSNR that is wanted, if one is."""
        from codec.image import lossless, reduced

        options = settings.options
        if not isinstance(options, EncodeOptions) or options.target_psnr is None or task.is_shard:
            return
        data = files.content(task.target) or b""
        header = container.read_header(data).header
        if header.exact:
            return
        with files.opened(task.source) as source:
            picture = self._read(source.file, settings, granted).picture
        assert picture is not None
        decoder: Any = lossless if header.lossless else self._codec(settings.model)
        same = (header.width, header.height) == (picture.width, picture.height)
        decoded = decoder.decode_array(data) if same else None
        if decoded is None or not reduced.reaches(picture, decoded, options.target_psnr, options.keep_hidden):
            raise _other(task.target, "misses the PSNR that is wanted")

    def _codec(self, model: str | int) -> Any:
        """A codec.api.Codec, or a codec.light.LightCodec, which only decodes."""
        if model not in self._codecs:
            try:
                self._codecs[model] = load_codec(self._settings, model)
            except UnknownModelError:  # of one file
                raise
            except Exception as error:
                raise StartError(f"the codec cannot be loaded: {explain(error)}") from error
        return self._codecs[model]


@dataclass(frozen=True)
class _Content:
    """What was read of one file: a picture, or the stream of a compressed one, and its metadata section. size:
    bytes."""

    size: int
    picture: Picture | None = None
    stream: bytes = b""
    header: container.Header | None = None
    metadata: bytes = b""


class _TooLarge(Exception):
    def __init__(self, megapixels: float) -> None:
        super().__init__(megapixels)
        self.megapixels = megapixels


def _check_size(pixels: int, granted: float) -> None:
    if pixels > granted * 1e6:
        raise _TooLarge(pixels / 1e6)


def _there(settings: Settings, task: Task) -> Skipped | None:
    """Whether the target is there and may be left alone. OutputError where it must not or cannot be written."""
    if settings.existing == "skip" and task.target != STANDARD and files.exists(task.target):
        if isinstance(settings.options, EncodeOptions) and not task.is_shard:
            _check_same(settings, settings.options, task.target)
        shown = files.shown(task.target)
        return Skipped(settings.command, files.shown(task.source), shown, f"'{shown}' is there")
    files.check_target(task.source, task.target, settings.existing in ("replace", "same"), task.made_folder)
    return None


def _check_same(settings: Settings, options: EncodeOptions, target: str) -> None:
    """OutputError for a compressed file that is damaged, or was made with other settings, as far as it says."""
    data = files.content(target) or b""
    try:
        stream = container.parse(data)
    except CodecError as error:
        raise _other(target, f"is there but damaged: {error}") from error
    header = stream.header
    wrong = bool(stream.metadata) and options.metadata == "drop"  # a picture may have none to keep
    if header.lossless or options.lossless:  # made by no model
        wrong |= options.lossless is False or (options.lossless is True and not header.exact)
    else:
        wrong |= header.seed != options.seed
        wrong |= header.model_id != manifest.read(settings.weights).number_of(settings.model)
    if not header.exact and (options.target_bpp, options.target_bytes, options.target_psnr) == (None, None, None):
        wrong |= header.level != container.level_of(options.quality)
    if wrong:
        raise _other(target, "was made with other settings")
    most = options.most_bytes(header.width, header.height)
    if most is not None and len(data) > most:
        raise _other(target, f"has {len(data)} bytes, more than the {most} wanted")


def _other(target: str, why: str) -> OutputError:
    return OutputError(f"the output '{files.shown(target)}' {why} (-f overwrites it)")


def _put(task: Task, data: bytes, settings: Settings) -> None:
    if task.target == STANDARD:
        files.put(task.target, data, task.made_folder)
        return
    if settings.existing == "same" and (there := files.content(task.target)) is not None:
        if there != data:
            raise OutputError(f"the output '{files.shown(task.target)}' exists and is another (-f overwrites it)")
        return
    # again: another process may have made the file in the meantime
    files.check_target(task.source, task.target, settings.existing in ("replace", "same"), task.made_folder)
    files.write(task.target, data, task.made_folder)


def _failed(command: str, source: str, error: BaseException, size: int | None = None, stamp: str = "") -> Done:
    trace = "".join(traceback.format_exception(error))
    return Done(Failure(command, said(source, "standard input"), explain(error)), size, stamp, trace)


def said(name: str, standard: str) -> str:
    """A file as it is named to people."""
    return standard if name == STANDARD else files.shown(name)


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


def _asked(options: DecodeOptions) -> dict[str, Any]:
    """The options that are not the default ones, for codecs that know some of them only."""
    plain = asdict(DecodeOptions())
    return {name: value for name, value in asdict(options).items() if value != plain[name]}


def _ignore(done: float) -> None:
    pass
