"""`info`: what compressed files say about themselves, without decoding them and without torch."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from codec.batch import files
from codec.batch.files import OutputError
from codec.batch.outcome import Failure, explain
from codec.batch.plan import sources
from codec.bitstream import container
from codec.bitstream.source import read_stream
from codec.cli.report import Terminal, printable
from codec.errors import CodecError


@dataclass(frozen=True)
class FileInfo:
    """What `info` tells: the header, the sizes in bytes, and how much of the file is there.

    lossless: every pixel is as it was. reduced: coded without loss, after the encoder had reduced the colours.
    truncated: the file is shorter than its header says. whole_sections: that lie within the bytes that are there.
    """

    version: int
    width: int
    height: int
    gray: bool
    alpha: bool
    lossless: bool
    reduced: bool
    model_id: int
    table_hash: str
    quality: float
    seed: int
    file_bytes: int
    bits_per_dim: float
    bits_per_pixel: float
    header_bytes: int
    alpha_bytes: int
    metadata_bytes: int
    section_bytes: tuple[int, ...]
    truncated: bool
    present_bytes: int
    whole_sections: int


def inspect(file: BinaryIO) -> FileInfo:
    """Check a file and tell what is in it. FormatError for damage, but not for a file that was cut short."""
    data = read_stream(file)
    info = container.read_header(data)
    header, whole = info.header, 0
    least = info.header_bytes + info.alpha_bytes + info.section_bytes[0]
    if len(data) >= (info.file_bytes if header.lossless else least):
        sections = container.parse(data, allow_truncated=True).sections
        whole = sum(section is not None for section in sections)
    bits_per_pixel = 8 * info.file_bytes / (header.width * header.height)
    return FileInfo(
        version=container.VERSION,
        width=header.width,
        height=header.height,
        gray=header.gray,
        alpha=info.alpha,
        lossless=header.exact,
        reduced=header.reduced,
        model_id=header.model_id,
        table_hash=f"{header.table_hash:08x}",
        quality=container.quality_of(header.level),
        seed=header.seed,
        file_bytes=info.file_bytes,
        bits_per_dim=round(bits_per_pixel / 3, 6),
        bits_per_pixel=round(bits_per_pixel, 6),
        header_bytes=info.header_bytes,
        alpha_bytes=info.alpha_bytes,
        metadata_bytes=info.metadata_bytes,
        section_bytes=info.section_bytes,
        truncated=len(data) < info.file_bytes,
        present_bytes=len(data),
        whole_sections=whole,
    )


def run_info(args: argparse.Namespace) -> int:
    """Print a block of lines, or a JSON object, for each file; go on after a bad one."""
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    terminal = Terminal(as_json=args.json, quiet=True, debug=args.debug)
    failed = told = 0
    for task in sources(args.files, lambda path: path.suffix.lower() == container.SUFFIX):
        name = files.shown(task.source)
        try:
            if task.problem:
                raise CodecError(task.problem)
            with files.opened(task.source) as source:
                facts = asdict(inspect(source.file))
        except (CodecError, OSError) as error:
            terminal.failure(Failure("info", name, explain(error)), "".join(traceback.format_exception(error)))
            failed += 1
            continue
        if args.json:
            print(json.dumps({"file": name, **facts}), flush=True)
            continue
        if told:
            print()
        for key, value in {"file": printable(name), **facts}.items():
            print(f"{key:15} {_shown(value)}")
        told += 1
    return 1 if failed else 0


def _shown(value: Any) -> str:
    """A value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
