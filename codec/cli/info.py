"""Reading a compressed file and what it says about itself, without decoding it and without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from codec.bitstream import container
from codec.bitstream.source import read_stream


@dataclass(frozen=True)
class FileInfo:
    """What `info` tells: the header, the sizes in bytes, and how much of the file is there."""

    version: int
    width: int
    height: int
    gray: bool
    alpha: bool
    lossless: bool
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
        lossless=header.lossless,
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
        present_bytes=len(data),
        whole_sections=whole,
    )
