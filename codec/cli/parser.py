"""What can be asked for on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from codec import __version__
from codec.batch.files import STANDARD
from codec.bitstream.container import SUFFIX
from codec.cli import PROGRAM
from codec.cli.commands import run_decode, run_encode, run_upscale
from codec.cli.completion import run_completion
from codec.cli.export import run_export
from codec.cli.info import run_info
from codec.cli.integrate import run_integrate
from codec.cli.man import run_man
from codec.cli.report import say
from codec.cli.thumbnail import run_thumbnail
from codec.cli.view import run_view
from codec.options import SCALES


class _Parser(argparse.ArgumentParser):
    """Wrong usage is said in a form that is safe for the terminal, and help that cannot be written is an error."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if message and file is not None and file is sys.stdout:  # argparse keeps quiet about a full disk
            file.write(message)
            file.flush()
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        if sys.stderr is not None:
            self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}")
        raise SystemExit(2)


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Compress pictures with a neural codec.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_encode(commands)
    _add_decode(commands)
    _add_upscale(commands)
    _add_info(commands)
    _add_export(commands)
    _add_view(commands)
    _add_thumbnail(commands)
    _add_integrate(commands)
    _add_shell(commands)
    return parser


def _add_encode(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "encode",
        help=f"picture files -> {SUFFIX} files",
        allow_abbrev=False,
        description="Compress pictures. Folders are searched for pictures, and their tree is made again below OUT. "
        "Hidden ones and links to folders are not entered.",
    )
    _add_paths(parser, "picture or folder; - is standard input")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "-q",
        "--quality",
        type=_number(0, 100),
        default=argparse.SUPPRESS,
        metavar="Q",
        help="0 (small) to 100 (good), fractions allowed; default 50",
    )
    rate.add_argument(
        "--target-bpp",
        type=_number(0, 1e6, above=True),
        metavar="X",
        help="best quality that needs at most X bits per pixel",
    )
    rate.add_argument("--target-bytes", type=_whole(1), metavar="N", help="best quality in at most N bytes")
    rate.add_argument(
        "--target-psnr",
        type=_number(0, 100, above=True),
        metavar="X",
        help="smallest file whose pixels reach a PSNR of X dB, those under alpha 0 left out; lossless where no quality does",
    )
    parser.add_argument(
        "--effort",
        type=_whole(1, 9),
        default=1,
        metavar="E",
        help="1 (fast), 2 (looks at the decoded picture: about three times as long) to 9 (minutes): at 9 the picture is "
        "clearly better, and the file a tenth or more larger at the same quality; default 1",
    )
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="seed of a semantic decoder's noise, kept in the file; default 0",
    )
    parser.add_argument(
        "--keep-hidden",
        action="store_true",
        help="keep the colours of pixels that are fully transparent; default: smooth ones, which cost less",
    )
    parser.add_argument(
        "--lossless",
        action=argparse.BooleanOptionalAction,
        help="every pixel as it is; default: where that file is no larger than the other one, or fits the target; "
        "else drawings in fewer colours, where that is better; --no-lossless: neither",
    )
    parser.add_argument(
        "--metadata",
        choices=("keep", "drop"),
        default="drop",
        help="EXIF and XMP; what is kept has no thumbnail, and the orientation that was applied is 1; default drop",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="decode the result again and tell RMSE, PSNR and MS-SSIM; pixels under alpha 0 do not count",
    )
    _add_common(parser)
    _add_model(parser)
    _add_compute(parser)
    _add_many(parser)
    parser.set_defaults(run=run_encode)


def _add_decode(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "decode",
        help=f"{SUFFIX} files -> picture files",
        allow_abbrev=False,
        description="Decompress pictures. The suffix of OUT says the format (any that Pillow writes); PNG without.",
    )
    _add_paths(parser, f"{SUFFIX} file or folder; - is standard input")
    parser.add_argument(
        "--decoder",
        default="vq",
        metavar="NAME",
        help="vq: nearest to the original; ldm: generates the detail that was not sent; gan, perceptual: "
        "baselines; default vq",
    )
    parser.add_argument(
        "--max-bytes", type=_whole(1), metavar="N", help="use the first N bytes of the file only, for a coarser picture"
    )
    parser.add_argument(
        "--allow-truncated", action="store_true", help="make a coarser picture of a file that was cut short"
    )
    parser.add_argument(
        "--realism",
        type=_number(0, 1),
        metavar="R",
        help="0 (the vq picture) to 1 (all of the other decoder's); default 1",
    )
    _add_sampling(parser, "default: the seed in the file")
    _add_common(parser)
    _add_compute(parser)
    _add_many(parser)
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx"),
        help="what computes: onnx starts sooner, and decodes vq on the CPU; default: onnx where it is installed and can, else torch",
    )
    parser.set_defaults(run=run_decode)


def _add_upscale(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "upscale",
        help="pictures -> larger pictures, with generated detail",
        allow_abbrev=False,
        description="Enlarge pictures with the semantic decoder. Made smaller again, the result is the picture that was given.",
    )
    _add_paths(parser, "picture or folder; - is standard input")
    parser.add_argument("--scale", type=int, choices=SCALES, default=2, help="times as wide and as high; default 2")
    _add_sampling(parser, "default 0")
    _add_common(parser)
    _add_model(parser)
    _add_compute(parser)
    _add_many(parser)
    parser.set_defaults(run=run_upscale)


def _add_sampling(parser: argparse.ArgumentParser, default_seed: str) -> None:
    parser.add_argument(
        "--steps",
        type=_whole(1, 1000),
        metavar="N",
        help="of the ldm decoder: 1, the default, makes detail at once; more follow the diffusion process",
    )
    parser.add_argument(
        "--guidance",
        type=_number(0, 20),
        metavar="S",
        help="classifier-free guidance by the context; default 1, none",
    )
    parser.add_argument(
        "--label",
        metavar="WHAT",
        help="what the picture shows, for the ldm decoder of a model with class labels; default: not said",
    )
    parser.add_argument(
        "--no-consistency",
        dest="consistency",
        action="store_const",
        const=False,
        help="do not make the result agree with what is known of the picture",
    )
    parser.add_argument("--seed", type=_whole(0, 2**32 - 1), metavar="N", help=f"of the noise; {default_seed}")


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "info",
        help=f"what {SUFFIX} files say about themselves",
        allow_abbrev=False,
        description="Check files and print their headers, and whether they are truncated.",
    )
    parser.add_argument(
        "files", nargs="+", type=_name, metavar="FILE", help=f"{SUFFIX} file or folder; - is standard input"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object per file")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(run=run_info)


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="a model for other programs: ONNX graphs, integers, a manifest",
        allow_abbrev=False,
        description="Write what a decoder in another language needs, and check the graphs against PyTorch.",
    )
    parser.add_argument(
        "--format",
        choices=("onnx", "graph"),
        required=True,
        help="onnx: graphs with weights, integers, manifest; graph: only what `decode --backend onnx` needs beside the "
        "weights of a model",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=_folder, metavar="DIR", help="folder, made where there is none"
    )
    parser.add_argument("-f", "--force", action="store_true", help="overwrite an export that is there")
    parser.add_argument("--weights", type=_name, metavar="DIR", help="folder of weights to add, with its manifest.json")
    _add_model(parser)
    parser.add_argument(
        "--decoder",
        action="append",
        default=[],
        metavar="NAME",
        help="networks of a semantic decoder (ldm, gan, perceptual) to write too; may be given again",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(run=run_export)


def _add_view(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "view",
        help=f"{SUFFIX} files in the browser, decoded there",
        allow_abbrev=False,
        description="Open a page in the browser that decodes the files itself; only this machine can reach it. "
        "Ctrl-C ends it.",
    )
    parser.add_argument(
        "inputs", nargs="*", type=_name, metavar="FILE", help=f"{SUFFIX} file; others can be dropped on the page"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--build", action="store_true", help="once, before all else: get what the page needs from npm, and the model"
    )
    what.add_argument(
        "--export",
        type=_folder,
        metavar="DIR",
        help="write the page, with the files, for any web server, in place of opening it",
    )
    what.add_argument("--no-open", action="store_true", help="print the address and leave the browser alone")
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="export into a folder that is not empty; pictures of a former page go",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(run=run_view)


def _add_shell(commands: argparse._SubParsersAction) -> None:
    completion = commands.add_parser(
        "completion",
        help="a script that completes the command line in a shell",
        allow_abbrev=False,
        description="Print a script by which a shell completes commands, options, their choices and names of files. "
        "docs/shell.md says where to put it.",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that is to read it")
    completion.set_defaults(run=run_completion)
    man = commands.add_parser(
        "man",
        help="the manual page",
        allow_abbrev=False,
        description="Print the manual page in troff, for `man -l` or a folder of manual pages.",
    )
    man.set_defaults(run=run_man)
    for parser in (completion, man):
        parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_thumbnail(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "thumbnail",
        help=f"a small PNG of a {SUFFIX} file, from its first part",
        allow_abbrev=False,
        description="Write a small PNG, as file managers want it: of large pictures only what it needs is decoded.",
    )
    parser.add_argument("file", type=_name, metavar="FILE", help=f"{SUFFIX} file; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=_name,
        metavar="OUT",
        help="PNG file, whatever its suffix; - is standard output",
    )
    parser.add_argument("--size", type=_whole(1, 65535), default=256, metavar="N", help="pixels a side at most; 256")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite an existing file")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(run=run_thumbnail)


def _add_integrate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "integrate",
        help=f"tell the desktop about {SUFFIX} files: type, previews, viewer",
        allow_abbrev=False,
        description="For the user who asks, on desktops that follow freedesktop.org: a media type, a thumbnailer and an "
        "entry in 'Open with', as three files below XDG_DATA_HOME.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dry-run", action="store_true", help="print the files and write nothing")
    what.add_argument("--install", action="store_true", help="write them")
    what.add_argument("--remove", action="store_true", help="remove them")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(run=run_integrate)


def _add_paths(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("inputs", nargs="+", type=_name, metavar="INPUT", help=what)
    parser.add_argument(
        "-o",
        "--output",
        type=_name,
        metavar="OUT",
        help="file, folder or - (standard output); default: beside the input",
    )
    there = parser.add_mutually_exclusive_group()
    there.add_argument("-f", "--force", action="store_true", help="overwrite existing files")
    there.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave outputs that are there alone; a compressed file of another quality, or that misses the target, is an error",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object per file on standard output, and for several one of totals",
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=_model, default="default", metavar="ID", help="number of the model; default: the newest"
    )


def _model(text: str) -> str | int:
    if text != "default" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not the number of a model")
    return text if text == "default" else int(text)


def _add_compute(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=_name, metavar="DIR", help="folder of weights to add, with its manifest.json")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default cpu")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="float32",
        help="of the networks that make pictures; auto: bfloat16 where it is fast, as for those that efforts 2 to 9 look at; default float32",
    )
    parser.add_argument("--threads", type=_whole(1, 1024), metavar="N", help="CPU threads; default: all")


def _add_many(parser: argparse.ArgumentParser) -> None:
    many = parser.add_argument_group("many files", "docs/many-pictures.md has examples.")
    many.add_argument(
        "--jobs",
        type=_whole(1, 4096),
        metavar="N",
        help="files at one time, in processes of one thread each; with --engine ray the actors; default: the cores",
    )
    many.add_argument(
        "--max-megapixels",
        type=_number(0, 1e6, above=True),
        metavar="X",
        help="of pictures in work at one time; a larger one is done alone; default: what the memory holds",
    )
    many.add_argument(
        "--manifest", type=_name, metavar="FILE", help="a row for each file, .csv or .parquet, written as they are done"
    )
    many.add_argument(
        "--resume", action="store_true", help="go on with the manifest: do what is not in it, or has changed"
    )
    many.add_argument("--retry-failed", action="store_true", help="go on, and try again what failed")
    many.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: a Ray cluster; default local")
    many.add_argument(
        "--address", metavar="HOST", help="of a Ray cluster that runs, or auto; default: one on this machine"
    )


def _name(text: str) -> str:
    """Argument type: the name of a file or folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty name is no file")
    return text


def _folder(text: str) -> str:
    """Argument type: the name of a folder to write."""
    if text == STANDARD:
        raise argparse.ArgumentTypeError("a folder cannot be written to standard output")
    return _name(text)


def _number(low: float, high: float, above: bool = False) -> Callable[[str], float]:
    """Argument type: a number in low..high, with `above` greater than low."""

    def convert(text: str) -> float:
        value = float(text)
        if not (low < value if above else low <= value) or not value <= high:  # also for NaN
            allowed = f"above {low:g} and at most {high:.10g}" if above else f"in {low:g}..{high:.10g}"
            raise argparse.ArgumentTypeError(f"{text} is not {allowed}")
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
