"""Damaged and forged variants of compressed files, and what `codec decode` makes of them.

    python -m tests.support.damage --count 10000 a.ldc b.ldc

Two kinds are counted apart. *Damaged* files have at least one wrong checksum, size or range: every one must be
refused with exit code 1, one line on standard error and no output. *Forged* files are sound for all checksums, which
only somebody who recomputes them on purpose can make: their contents may decode to a picture of nonsense or be
refused, but nothing may crash, and never more than one line is said.

All of it runs in one process, so that a crash of the process is seen, and with it time and memory are
measured: the slowest file of each kind, and how far the peak memory grew after one sound file was decoded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import random
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codec import cli
from codec.batch import backend
from codec.batch.settings import Settings
from codec.bitstream.container import MAX_LEVEL, MAX_SIDE, HeaderInfo, Stream, crc16, pack, parse, read_header
from codec.errors import FormatError
from codec.options import DecodeOptions


@dataclass(frozen=True)
class Variant:
    """A changed file. `forged`: all checksums and ranges are right."""

    recipe: str
    data: bytes
    forged: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one run of `codec decode`. `output`: a file was written."""

    code: int
    lines: int
    output: bool
    seconds: float
    message: str

    def is_right_for(self, variant: Variant) -> bool:
        refused = self.code == 1 and self.lines == 1 and not self.output and "internal error" not in self.message
        return refused or (variant.forged and self.code == 0 and self.lines == 0 and self.output)


def variants(files: Sequence[bytes], count: int, seed: int = 0) -> Iterator[Variant]:
    """Yield `count` damaged files made from sound ones, and the forged ones that come up on the way.

    The recipes take turns; the same seed gives the same files.
    """
    rng = random.Random(seed)
    made = 0
    for recipe in itertools.cycle(_RECIPES):
        if made == count:
            return
        try:
            data = recipe(rng, rng.choice(files), rng.choice(files))
        except ValueError:  # `pack` does not write it; for lossless files other recipes forge the header
            continue
        if data not in files:
            variant = Variant(recipe.__name__.strip("_"), data, forged=_is_sound(data))
            made += not variant.forged
            yield variant


def decode(path: Path, data: bytes) -> Outcome:
    """Run `codec decode` on these bytes, in this process."""
    path.write_bytes(data)
    output = path.with_suffix(".png")
    output.unlink(missing_ok=True)
    said = io.StringIO()
    start = time.perf_counter()
    with contextlib.redirect_stderr(said):
        code = cli.main(["decode", str(path), "-o", str(output), "--quiet"])
    seconds = time.perf_counter() - start
    message = said.getvalue()
    return Outcome(code, message.count("\n"), output.exists(), seconds, message.strip())


def _is_sound(data: bytes) -> bool:
    try:
        parse(data)
    except FormatError:
        return False
    return True


# Recipes: (random numbers, a sound file, a second one) -> changed bytes.


def _flip_bits(rng: random.Random, data: bytes, _: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _flip_bits_of_the_header(rng: random.Random, data: bytes, _: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        out[rng.randrange(read_header(data).header_bytes)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _cut_the_end(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _cut_the_beginning(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[rng.randrange(1, len(data)) :]


def _cut_a_piece(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 50) :]


def _insert(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.randrange(1, 50)) + data[start:]


def _overwrite(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data))
    filler = rng.choice((bytes, rng.randbytes))(rng.randrange(1, 200))
    return (data[:start] + filler + data[start + len(filler) :])[: len(data)]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _join(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data + other


def _noise_after_the_magic(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: rng.choice((4, 5, 6))] + rng.randbytes(rng.randrange(300))


_EXTREMES = (0, 1, 2, 127, 128, 255, 256, MAX_SIDE, MAX_SIDE + 1, 2**31 - 1, 2**31, 2**32 - 1)


def _set_a_field(rng: random.Random, data: bytes) -> tuple[bytes, int]:
    """Write an extreme number into a random header field; return the file and its new header size."""
    info = read_header(data)
    start, stop, is_varint = rng.choice(list(_fields(data)))
    value = rng.choice((*_EXTREMES, rng.randrange(2**32)))
    if is_varint:
        field = rng.choice((_varint(value), _varint(value), _varint(value)[:-1] + b"\x80\x00", b"\xff" * 12))
    else:
        field = (value % 256 ** (stop - start)).to_bytes(stop - start, "little")
    return data[:start] + field + data[stop:], info.header_bytes + len(field) - (stop - start)


def _extreme_field(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return _set_a_field(rng, data)[0]


def _extreme_field_with_right_checksums(rng: random.Random, data: bytes, _: bytes) -> bytes:
    while True:
        changed = reseal(*_set_a_field(rng, data))
        # A picture of 64 million pixels in a sound header is a large job, not a wrong one; the same code is
        # run by a small one.
        if not (_is_sound(changed) and _pixels(changed) > 4 * _pixels(data)):
            return changed


def _other_size(rng: random.Random, data: bytes, _: bytes) -> bytes:
    header = read_header(data).header
    width, height = (max(1, side + rng.choice((-64, -17, -1, 0, 1, 16, 63))) for side in (header.width, header.height))
    return _repack(data, header=replace(header, width=width, height=height))


def _other_header(rng: random.Random, data: bytes, _: bytes) -> bytes:
    header = read_header(data).header
    changes = {
        "level": rng.randrange(MAX_LEVEL + 1),
        "gray": not header.gray,
        "seed": rng.randrange(2**32),
        "model_id": rng.randrange(2**32),
        "table_hash": rng.randrange(2**32),
    }
    name = rng.choice(list(changes))
    return _repack(data, header=replace(header, **{name: changes[name]}))


def _swap_sections(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return _change_sections(data, lambda sections: rng.shuffle(sections))


def _sections_of_another_file(rng: random.Random, data: bytes, other: bytes) -> bytes:
    foreign = parse(other).sections

    def change(sections: list[bytes]) -> None:
        index = rng.randrange(len(sections))
        sections[index] = foreign[min(index, len(foreign) - 1)]

    return _change_sections(data, change)


def _other_number_of_sections(rng: random.Random, data: bytes, _: bytes) -> bytes:
    def change(sections: list[bytes]) -> None:
        if rng.random() < 0.5 and len(sections) > 1:
            del sections[rng.randrange(len(sections))]
        else:
            sections.insert(rng.randrange(len(sections) + 1), rng.randbytes(rng.randrange(40)))

    return _change_sections(data, change)


def _other_section_bytes(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """Noise, zeros, nothing, a bit flipped or a cut in a section, all checksums right."""

    def change(sections: list[bytes]) -> None:
        index = rng.randrange(len(sections))
        old = sections[index]
        size = rng.choice((len(old), rng.randrange(2 * len(old) + 2)))
        flipped = bytearray(old or b"\0")
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        sections[index] = rng.choice(
            (
                rng.randbytes(size),
                bytes(size),
                b"\xff" * size,
                b"",
                old[: len(old) // 2],
                old + rng.randbytes(4),
                bytes(flipped),
            )
        )

    return _change_sections(data, change)


def _other_alpha(rng: random.Random, data: bytes, _: bytes) -> bytes:
    stream = parse(data)
    alpha = stream.alpha
    if alpha:
        alpha = rng.choice((b"", alpha[: len(alpha) // 2], rng.randbytes(len(alpha)), alpha + alpha))
    else:
        alpha = rng.randbytes(rng.randrange(1, 200))
    return pack(stream.header, stream.sections, alpha, stream.metadata)


def _other_metadata(rng: random.Random, data: bytes, _: bytes) -> bytes:
    stream = parse(data)
    old = stream.metadata
    plain = zlib.decompress(old) if old else b"\1\x08\0\0\0II*\0\x08\0\0\0"
    flipped = bytearray(plain)
    flipped[rng.randrange(len(plain))] ^= 1 << rng.randrange(8)
    other = rng.choice((flipped, plain[: rng.randrange(len(plain))], plain + plain, plain + b"\2", rng.randbytes(40)))
    return pack(stream.header, stream.sections, stream.alpha, rng.choice((zlib.compress(other), old[:-1], old + b"?")))


_RECIPES: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip_bits,
    _flip_bits_of_the_header,
    _cut_the_end,
    _cut_the_beginning,
    _cut_a_piece,
    _insert,
    _overwrite,
    _splice,
    _join,
    _noise_after_the_magic,
    _extreme_field,
    _extreme_field_with_right_checksums,
    _flip_bits,
    _cut_the_end,
    _other_size,
    _splice,
    _other_header,
    _extreme_field,
    _swap_sections,
    _flip_bits_of_the_header,
    _sections_of_another_file,
    _extreme_field_with_right_checksums,
    _other_number_of_sections,
    _flip_bits,
    _other_section_bytes,
    _cut_the_end,
    _other_alpha,
    _other_metadata,
)


def reseal(data: bytes, header_bytes: int) -> bytes:
    """Write right header and file checksums into a file whose header has so many bytes."""
    head, payload = data[: header_bytes - 6], data[header_bytes:]
    head += struct.pack("<H", crc16(head))
    return head + struct.pack("<I", zlib.crc32(head + payload)) + payload


def _change_sections(data: bytes, change: Callable[[list[bytes]], None]) -> bytes:
    sections = list(parse(data).sections)
    change(sections)
    return _repack(data, sections=tuple(sections[:16]))


def _repack(data: bytes, **changes: object) -> bytes:
    stream: Stream = replace(parse(data), **changes)
    return pack(stream.header, stream.sections, stream.alpha, stream.metadata)


def _pixels(data: bytes) -> int:
    header = read_header(data).header
    return header.width * header.height


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([128 | value & 127])
        value >>= 7
    return out + bytes([value])


def _fields(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """(start, stop, is a varint) of each number in a header, from the model id on."""
    info: HeaderInfo = read_header(data)
    position = 6

    def field(size: int) -> tuple[int, int, bool]:
        """The next field, of so many bytes; 0 for a varint."""
        nonlocal position
        stop = position + size
        if not size:
            while data[stop] & 128:
                stop += 1
            stop += 1
        found = (position, stop, not size)
        position = stop
        return found

    yield field(0)  # model id
    yield field(4)  # table hash
    yield field(0)  # width
    yield field(0)  # height
    yield field(2)  # level
    if info.header.seed:
        yield field(0)
    if info.alpha_bytes:
        yield field(0)
        yield field(2)
    if info.metadata_bytes:
        yield field(0)
        yield field(2)
    yield field(1)  # number of sections
    for size in info.section_bytes:
        yield field(0)
        if size:
            yield field(2)


def _peak_mb() -> float:
    """Largest resident size of this process so far, in MB. (Linux counts in KiB.)"""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.damage", description="Decode damaged and forged files."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="sound compressed files")
    parser.add_argument("--count", type=int, default=1000, help="how many damaged files; default 1000")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    originals = [path.read_bytes() for path in args.files]

    codec = backend.load_codec(Settings(options=DecodeOptions(), threads=1), "default")
    backend.load_codec = lambda *_: codec  # once for all runs
    seconds = {False: 0.0, True: 0.0}
    count = {False: 0, True: 0}
    shown = wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.ldc")
        for data in originals:
            if decode(path, data).code != 0:
                parser.error("a file that should be sound cannot be decoded")
        before = _peak_mb()
        for variant in variants(originals, args.count, args.seed):
            outcome = decode(path, variant.data)
            count[variant.forged] += 1
            seconds[variant.forged] = max(seconds[variant.forged], outcome.seconds)
            shown += outcome.code == 0
            if not outcome.is_right_for(variant):
                wrong += 1
                print(f"{variant.recipe}, forged {variant.forged}: {outcome}", file=sys.stderr)
    print(
        f"{count[False]} damaged files: slowest {seconds[False]:.3f} s; "
        f"{count[True]} forged files: {shown} gave a picture, slowest {seconds[True]:.3f} s; "
        f"peak memory {before:.0f} MB with sound files, {_peak_mb():.0f} MB after all; {wrong} wrong outcomes"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
