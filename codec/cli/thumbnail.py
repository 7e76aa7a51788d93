"""`thumbnail`: a small picture of a file, for file managers. Without torch where the file has a coarse part."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from codec.batch import files
from codec.batch.outcome import UsageError, explain
from codec.bitstream.container import SUFFIX
from codec.bitstream.source import read_stream
from codec.errors import CodecError


def run_thumbnail(args: argparse.Namespace) -> int:
    _check_suffix(args.output)
    files.check_target(args.file, args.output, args.force, made_folder=False)
    try:
        with files.opened(args.file) as source:
            data = read_stream(source.file)
        png = thumbnail(data, args.size)
    except (CodecError, OSError) as error:
        raise CodecError(f"{files.shown(args.file)}: {explain(error)}") from error
    files.put(args.output, png, made_folder=False)
    return 0


def _check_suffix(output: str) -> None:
    """A PNG is not named like another kind of picture. Other suffixes are those of file managers."""
    from codec.image import formats

    suffix = Path(output).suffix.lower()
    if suffix == SUFFIX or (suffix not in (".png", ".apng") and suffix in formats.all_suffixes()):
        raise UsageError(f"thumbnail writes PNG files, and '{suffix}' is the suffix of another kind of picture")


def thumbnail(data: bytes, size: int) -> bytes:
    """File -> PNG of at most ``size`` pixels a side; a smaller picture stays as it is. Raises OSError."""
    from PIL import Image

    import codec.pillow_plugin  # noqa: F401

    with Image.open(io.BytesIO(data)) as image:
        share = min(1.0, size / max(image.size))
        final = max(1, round(image.width * share)), max(1, round(image.height * share))
        draft = image.draft(None, final)
        small = image.resize(final, Image.Resampling.LANCZOS, box=draft[1] if draft else None)
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
