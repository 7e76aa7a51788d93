"""The command line: encode, decode, upscale, info.

Checks, messages and exit codes; what is done to pictures and bytes is elsewhere. torch is imported only when a
picture is really coded, after the inputs were found sound.

Exit codes: 0 all done, 1 a file failed, 2 wrong usage, 130 interrupted. Bad input gives one sentence on
standard error and never a traceback, unless --debug asks for it. Standard output carries nothing but the file
(with '-'), the JSON objects (with --json) or what `info` has to say.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from codec import __version__, files
from codec.bitstream import container
from codec.errors import CodecError
from codec.fileinfo import inspect, read_stream
from codec.files import STANDARD, Job, UsageError
from codec.terminal import Enlargement, Report, Terminal, explain

if TYPE_CHECKING:
    import numpy as np

    from codec.api import Codec

SUFFIX = ".ldc"


class StartError(CodecError):
    """The codec cannot be loaded, so no file of the run can be done."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line (sys.argv without `argv`) and return its exit code."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args)
    except UsageError as error:
        code, message = 2, str(error)
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    except BrokenPipeError:
        # The reader of our output went away. Python would complain again when it flushes at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code, message = 1, "standard output was closed"
    except Exception as error:
        code, message = 1, explain(error)
        if args.debug:
            traceback.print_exc()
    print(f"codec: error: {message}", file=sys.stderr)
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codec", description="Compress pictures with a neural codec.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"codec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_encode(commands)
    _add_decode(commands)
    _add_upscale(commands)
    _add_info(commands)
    return parser


def _add_encode(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "encode", help=f"picture files -> {SUFFIX} files", allow_abbrev=False,
        description="Compress pictures. Folders are searched for pictures, and their tree is made again below OUT.",
    )
    _add_paths(parser, "picture or folder; - is standard input")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("-q", "--quality", type=_number(0, 100), default=50.0, metavar="Q",
                      help="0 (small) to 100 (good), fractions allowed; default 50")
    rate.add_argument("--target-bpp", type=_number(0, 1e6, above=True), metavar="X",
                      help="best quality that needs at most X bits per pixel")
    rate.add_argument("--target-bytes", type=_whole(1), metavar="N",
                      help="best quality in at most N bytes")
    parser.add_argument("--effort", type=_whole(1, 9), default=1, metavar="E",
                        help="1 (fast) to 9 (smallest files, minutes); default 1")
    parser.add_argument("--seed", type=_whole(0, 2**32 - 1), default=0, metavar="N",
                        help="seed of a semantic decoder's noise, kept in the file; default 0")
    parser.add_argument("--verify", action="store_true", help="decode the result again and tell its RMSE")
    _add_common(parser)
    _add_compute(parser)
    parser.set_defaults(run=_run_encode)


def _add_decode(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "decode", help=f"{SUFFIX} files -> picture files", allow_abbrev=False,
        description="Decompress pictures. The suffix of OUT says the format (any that Pillow writes); PNG without.",
    )
    _add_paths(parser, f"{SUFFIX} file or folder; - is standard input")
    parser.add_argument("--decoder", choices=("vq", "ldm", "gan", "perceptual"), default="vq",
                        help="vq: nearest to the original; ldm: generates the detail that was not sent; gan, perceptual: "
                             "baselines; default vq")
    parser.add_argument("--max-bytes", type=_whole(1), metavar="N",
                        help="use the first N bytes of the file only, for a coarser picture")
    parser.add_argument("--allow-truncated", action="store_true",
                        help="make a coarser picture of a file that was cut short")
    parser.add_argument("--realism", type=_number(0, 1), default=1.0, metavar="R",
                        help="0 (the vq picture) to 1 (all of the other decoder's); default 1")
    _add_sampling(parser, "default: the seed in the file")
    _add_common(parser)
    _add_compute(parser)
    parser.set_defaults(run=_run_decode)


def _add_upscale(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "upscale", help="pictures -> larger pictures, with generated detail", allow_abbrev=False,
        description="Enlarge pictures with the semantic decoder. Made smaller again, the result is the picture that was given.",
    )
    _add_paths(parser, "picture or folder; - is standard input")
    parser.add_argument("--scale", type=int, choices=(2, 4), default=2, help="times as wide and as high; default 2")
    _add_sampling(parser, "default 0")
    _add_common(parser)
    _add_compute(parser)
    parser.set_defaults(run=_run_upscale)


def _add_sampling(parser: argparse.ArgumentParser, default_seed: str) -> None:
    parser.add_argument("--steps", type=_whole(1, 1000), metavar="N", help="of the ldm decoder's sampler; more is slower")
    parser.add_argument("--guidance", type=_number(0, 20), default=1.0, metavar="S",
                        help="classifier-free guidance of the ldm decoder; default 1, none")
    parser.add_argument("--label", metavar="WHAT",
                        help="what the picture shows, for the ldm decoder: people, animals, plants, land, water, sky, "
                             "buildings, vehicles, clothing, food or things; default: not said")
    parser.add_argument("--no-consistency", dest="consistency", action="store_false",
                        help="do not make the ldm decoder's sample agree with what is known of the picture")
    parser.add_argument("--seed", type=_whole(0, 2**32 - 1), metavar="N", help=f"of the noise; {default_seed}")


def _sampling(args: argparse.Namespace) -> dict[str, object]:
    """Arguments of `_add_sampling` -> options of codec.restore.Options."""
    options: dict[str, object] = {"guidance": args.guidance, "consistency": args.consistency, "seed": args.seed, "label": args.label}
    return options if args.steps is None else {**options, "steps": args.steps}


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "info", help=f"what a {SUFFIX} file says about itself", allow_abbrev=False,
        description="Check a file and print its header.",
    )
    parser.add_argument("file", metavar="FILE", help=f"{SUFFIX} file; - is standard input")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(run=_run_info)


def _add_paths(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=what)
    parser.add_argument("-o", "--output", metavar="OUT",
                        help="file, folder or - (standard output); default: beside the input")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite existing files")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object per file on standard output")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_compute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default cpu")
    parser.add_argument("--threads", type=_whole(1, 1024), metavar="N", help="CPU threads; default: all")


def _number(low: float, high: float, above: bool = False) -> Callable[[str], float]:
    """Argument type: a number in low..high, with `above` greater than low."""

    def convert(text: str) -> float:
        value = float(text)
        if not (low < value if above else low <= value) or not value <= high:  # also for NaN
            raise argparse.ArgumentTypeError(f"{text} is not {'above' if above else 'in'} {low:g}"
                                             f"{'' if above else f'..{high:g}'}")
        return value

    convert.__name__ = "number"  # argparse says "invalid number value"
    return convert


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Argument type: a whole number in low..high."""

    def convert(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            allowed = f"at least {low}" if high is None else f"in {low}..{high}"
            raise argparse.ArgumentTypeError(f"{text} is not {allowed}")
        return value

    convert.__name__ = "whole number"
    return convert


def load_codec(args: argparse.Namespace) -> Codec:
    """Import torch and load the model, which takes seconds: called when the first picture needs it."""
    from codec import api

    return api.load(device=args.device, threads=args.threads)


class _Coder:
    """The codec of one run, loaded at its first use."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._codec: Codec | None = None

    def get(self) -> Codec:
        if self._codec is None:
            try:
                self._codec = load_codec(self._args)
            except Exception as error:
                raise StartError(f"the codec cannot be loaded: {explain(error)}") from error
        return self._codec


def _run_encode(args: argparse.Namespace) -> int:
    from codec import pictures

    jobs = files.plan(args.inputs, args.output, SUFFIX, pictures.has_picture_suffix)
    return _run_jobs(args, jobs, _encode)


def _run_decode(args: argparse.Namespace) -> int:
    from codec import saving

    jobs = files.plan(args.inputs, args.output, ".png", lambda path: path.suffix.lower() == SUFFIX)
    for target in {job.target for job in jobs}:
        try:
            saving.format_of(target)
        except CodecError as error:
            raise UsageError(str(error)) from error
    return _run_jobs(args, jobs, _decode)


def _run_upscale(args: argparse.Namespace) -> int:
    from codec import pictures, saving

    jobs = files.plan(args.inputs, args.output, f".x{args.scale}.png", pictures.has_picture_suffix)
    for target in {job.target for job in jobs}:
        try:
            saving.format_of(target)
        except CodecError as error:
            raise UsageError(str(error)) from error
    return _run_jobs(args, jobs, _upscale)


def _run_jobs(
    args: argparse.Namespace, jobs: Sequence[Job], work: Callable[[argparse.Namespace, Job, _Coder, Terminal], Report | Enlargement]
) -> int:
    """Do the work for each job, go on after failures, and return the exit code."""
    if jobs[0].target == STANDARD:
        if args.json:
            raise UsageError("--json and an output to standard output exclude each other")
        if sys.stdout.isatty():
            raise UsageError("a file cannot be written to the terminal; give an output with -o")
    terminal = Terminal(jobs=len(jobs), as_json=args.json, quiet=args.quiet, debug=args.debug)
    coder = _Coder(args)
    failed: list[str] = []
    try:
        for job in jobs:
            try:
                files.check_target(job, args.force)
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


def _encode(args: argparse.Namespace, job: Job, coder: _Coder, terminal: Terminal) -> Report:
    from codec import pictures

    with _open(job.source) as file:
        # Pillow needs to seek, which a pipe cannot.
        source = io.BytesIO(file.read()) if job.source == STANDARD else file
        picture = pictures.load(source)
        input_bytes = source.seek(0, io.SEEK_END)
    codec = coder.get()
    start = time.perf_counter()
    data = codec.encode(
        picture,
        quality=args.quality,
        target_bpp=args.target_bpp,
        target_bytes=args.target_bytes,
        effort=args.effort,
        seed=args.seed,
        progress=terminal.progress,
    )
    seconds = time.perf_counter() - start
    rmse = _rmse(picture.rgb, codec.decode_array(data)) if args.verify else None
    _write(job, data, args.force)
    header = container.read_header(data).header
    sizes = _Sizes(input_bytes, len(data), compressed=len(data))
    return _report(args, job, header, sizes, seconds, rmse, picture.notes)


def _decode(args: argparse.Namespace, job: Job, coder: _Coder, terminal: Terminal) -> Report:
    from codec import saving

    with _open(job.source) as file:
        data = read_stream(file, args.max_bytes)
    options = {"max_bytes": args.max_bytes, "allow_truncated": args.allow_truncated}
    header = container.parse(data, **options).header  # refuses damage before torch is imported
    codec = coder.get()
    start = time.perf_counter()
    if args.decoder != "vq":
        options |= {"realism": args.realism, **_sampling(args)}
    image = codec.decode(data, decoder=args.decoder, progress=terminal.progress, **options)
    seconds = time.perf_counter() - start
    saved = saving.to_bytes(image, saving.format_of(job.target))
    _write(job, saved.data, args.force)
    used = len(data) if args.max_bytes is None else min(len(data), args.max_bytes)
    return _report(args, job, header, _Sizes(used, len(saved.data), compressed=used), seconds, None, saved.notes)


def _upscale(args: argparse.Namespace, job: Job, coder: _Coder, terminal: Terminal) -> Enlargement:
    from codec import pictures, saving

    with _open(job.source) as file:
        picture = pictures.load(io.BytesIO(file.read()) if job.source == STANDARD else file)
    codec = coder.get()
    start = time.perf_counter()
    image = codec.upscale(picture, args.scale, progress=terminal.progress, **_sampling(args))
    seconds = time.perf_counter() - start
    saved = saving.to_bytes(image, saving.format_of(job.target))
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
        seconds=seconds,
        rmse=rmse,
        notes=notes,
    )


def _run_info(args: argparse.Namespace) -> int:
    source = Path(args.file)
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
        yield sys.stdin.buffer
    else:
        with open(source, "rb") as file:
            yield file


def _write(job: Job, data: bytes, force: bool) -> None:
    if job.target == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        files.write(job, data, force)


def _name(path: Path, standard: str) -> str:
    return standard if path == STANDARD else str(path)


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square error of two uint8 pictures of shape H W C, a few rows at a time to save memory."""
    total = sum(float(((x.astype("f4") - y) ** 2).sum()) for x, y in zip(a, b))
    return (total / a.size) ** 0.5
