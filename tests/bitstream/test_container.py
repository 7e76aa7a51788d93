"""The file container: golden bytes, round trips, and the refusal of everything that is not whole."""

import binascii
import io
import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec.bitstream
from codec.bitstream.container import (
    LOSSLESS_SIDE,
    MAX_HEADER_BYTES,
    MAX_LEVEL,
    MAX_PIXELS,
    MAX_SECTIONS,
    Header,
    crc16,
    level_of,
    lossless_header,
    pack,
    parse,
    quality_of,
    read_header,
)
from codec.errors import CodecError, CorruptError, FormatError, LimitError, UnsupportedError
from tests.support.damage import reseal

HEADER = Header(width=768, height=512, model_id=3, table_hash=0xDEADBEEF, level=3200)
U32 = st.integers(0, 2**32 - 1)
HEADERS = st.builds(
    Header,
    width=st.integers(1, 65535),
    height=st.integers(1, MAX_PIXELS // 65535),
    model_id=U32,
    table_hash=U32,
    level=st.integers(0, MAX_LEVEL),
    gray=st.booleans(),
    seed=st.one_of(st.just(0), U32),
)
SECTIONS = st.lists(st.binary(max_size=40), min_size=1, max_size=MAX_SECTIONS)


def test_crc16_is_the_catalogued_one():
    assert crc16(b"123456789") == 0x29B1


def test_levels_of_the_quality_scale():
    assert [level_of(q) for q in (0, 12.5, 92, 100)] == [0, 800, 5888, MAX_LEVEL]
    assert all(level_of(quality_of(level)) == level for level in range(MAX_LEVEL + 1))
    assert [quality_of(level) for level in (0, 3201, MAX_LEVEL)] == [0, 50.015625, 100]


def test_golden_bytes_are_those_of_the_format_description():
    text = (Path(codec.bitstream.__file__).parent / "FORMAT.md").read_text()
    example = text.split("### Example")[1].split("## ")[0]
    first = example.split("A lossless picture")[0]
    golden = bytes.fromhex("".join(re.findall(r"^    ([0-9A-F ]+)$", first, re.MULTILINE)))
    header = Header(300, 200, model_id=1, table_hash=0x01020304, level=3200, gray=True, seed=7)
    assert pack(header, [b"abc", b""]) == golden
    assert golden.hex() == "8a4c444301050104030201ac02c801800c0702034a51008430085ba9bc616263"


def read_as_described(data: bytes) -> tuple[Header, bytes, list[bytes], bytes]:
    """A second reader, written from FORMAT.md alone."""
    position = 4

    def number(size: int) -> int:
        nonlocal position
        position += size
        return int.from_bytes(data[position - size : position], "little")

    def varint() -> int:
        groups = [number(1)]
        while groups[-1] & 128:
            groups.append(number(1))
        return sum((group & 127) << 7 * i for i, group in enumerate(groups))

    def entry() -> tuple[int, int]:
        size = varint()
        return size, number(2) if size else 0

    assert data[:4] == bytes.fromhex("8A4C4443") and number(1) == 1
    flags = number(1)
    model, tables, width, height, level = varint(), number(4), varint(), varint(), number(2)
    seed = varint() if flags & 4 else 0
    lossless = bool(flags & 8)
    alpha = entry() if flags & 2 and not lossless else (0, 0)
    metadata = entry() if flags & 16 else (0, 0)
    entries = [alpha, *[entry() for _ in range(number(1))], metadata]
    position += 2
    covered = data[:position]
    file_crc = number(4)
    assert file_crc == zlib.crc32(covered + data[position:])
    pieces = []
    for size, crc in entries:
        pieces.append(data[position : position + size])
        assert not size or binascii.crc_hqx(pieces[-1], 0xFFFF) == crc
        position += size
    assert position == len(data)
    inside, reduced = lossless and flags & 2 > 0, flags & 32 > 0
    header = Header(width, height, model, tables, level, bool(flags & 1), seed, lossless, inside, reduced)
    return header, pieces[0], pieces[1:-1], pieces[-1]


@given(HEADERS, SECTIONS, st.binary(max_size=40), st.binary(max_size=200))
@settings(max_examples=200)
def test_round_trip(header, sections, alpha, metadata):
    data = pack(header, sections, alpha, metadata)
    stream = parse(data)
    assert (stream.header, stream.alpha, stream.sections) == (header, alpha, tuple(sections))
    assert stream.metadata == metadata
    assert read_as_described(data) == (header, alpha, sections, metadata)
    info = read_header(io.BytesIO(data))
    assert info == read_header(data[:MAX_HEADER_BYTES])
    assert info.header == header and info.file_bytes == len(data)
    assert (info.alpha_bytes, info.section_bytes) == (len(alpha), tuple(map(len, sections)))
    assert info.metadata_bytes == len(metadata)
    assert info.header_bytes <= MAX_HEADER_BYTES


@given(st.data())
@settings(max_examples=60)
def test_round_trip_of_lossless_files(data):
    long = data.draw(st.integers(1, 65535))
    sides = [long, data.draw(st.integers(1, min(long, MAX_PIXELS // long)))]
    width, height = data.draw(st.permutations(sides))
    gray, alpha = data.draw(st.booleans()), data.draw(st.booleans())
    level = data.draw(st.none() | st.integers(0, 6400))
    header = lossless_header(width, height, gray=gray, alpha=alpha, reduced=level)
    assert header.exact is (level is None) and header.level == (6400 if level is None else level)
    count = -(-long // 16383)
    section = st.binary(min_size=1, max_size=20)
    sections = data.draw(st.lists(section, min_size=count, max_size=count))
    metadata = data.draw(st.binary(max_size=20))
    file = pack(header, sections, metadata=metadata)
    assert (parse(file).header, parse(file).sections) == (header, tuple(sections))
    assert read_as_described(file) == (header, b"", sections, metadata)
    info = read_header(file)
    assert info.alpha == header.alpha_inside and info.alpha_bytes == 0 and info.file_bytes == len(file)
    for size in (data.draw(st.integers(0, len(file) - 1)), info.header_bytes, len(file) - 1):  # never enough
        for arguments in ({"max_bytes": size}, {"allow_truncated": True}, {}):
            with pytest.raises(FormatError):
                parse(file if "max_bytes" in arguments else file[:size], **arguments)
    for wrong in (sections[1:], [*sections, b"x"], [*sections[1:], b""]):
        with pytest.raises(ValueError):
            pack(header, wrong)
    with pytest.raises(ValueError):
        pack(header, sections, b"alpha")


# Offsets in the header: flags 5, model id 6, hash 7..10, width 11, height 12, level 13..14, number of sections 15.
@pytest.mark.parametrize(
    "start, stop, field, error",
    [
        (6, 7, b"\x05", CorruptError),  # a model
        (7, 8, b"\x01", CorruptError),  # its tables
        (13, 15, b"\xff\x18", CorruptError),  # a level that is not the highest
        (5, 6, b"\x0c", CorruptError),  # a seed, whose bytes are those that follow
        (11, 12, b"\x80\x80\x01", CorruptError),  # 16384 columns, which need two sections
        (11, 12, b"\x80\x80\x04", LimitError),  # 65536
        (15, 19, b"\x01\x00", CorruptError),  # one empty section
        (15, 16, b"\x02", CorruptError),  # two
        (5, 6, b"\x48", UnsupportedError),  # another flag
        (5, 6, b"\x20", CorruptError),  # reduced, but not lossless
        (5, 6, b"\x0b", None),  # gray and alpha: sound
    ],
)
def test_headers_of_lossless_files_are_checked(start, stop, field, error):
    good = pack(lossless_header(9, 7, gray=False, alpha=False), [b"picture"])
    bad = good[:start] + field + good[stop:]
    bad = reseal(bad, read_header(good).header_bytes + len(field) - (stop - start))
    if error is None:
        assert parse(bad).header == lossless_header(9, 7, gray=True, alpha=True)
    else:
        with pytest.raises(error):
            parse(bad)


def test_lossless_headers_that_are_none_are_not_written():
    good = lossless_header(9, 7, gray=False, alpha=True)
    for change in ({"model_id": 5}, {"table_hash": 1}, {"level": 0}, {"seed": 1}, {"width": LOSSLESS_SIDE + 1}):
        with pytest.raises(ValueError, match="lossless picture"):
            pack(replace(good, **change), [b"picture"])
    for change in ({"model_id": 5}, {"table_hash": 1}, {"seed": 1}, {"width": LOSSLESS_SIDE + 1}):
        with pytest.raises(ValueError, match="lossless picture"):
            pack(replace(good, reduced=True, level=640, **change), [b"picture"])
    assert parse(pack(replace(good, reduced=True, level=640), [b"picture"])).header.level == 640
    with pytest.raises(ValueError, match="only a lossless picture has reduced colours"):
        pack(replace(HEADER, reduced=True), [b"tokens"])
    with pytest.raises(ValueError, match="only a lossless picture has its alpha inside"):
        pack(replace(HEADER, alpha_inside=True), [b"tokens"])


def test_header_is_small():
    """Every byte counts at low rates: 0.01 bits/dim of a Kodak picture are 1,475 bytes."""
    data = pack(HEADER, [b"t" * 300, b"a" * 3000, b"b" * 9000])
    assert read_header(data).header_bytes == 36


@pytest.mark.parametrize(
    "data",
    [
        pack(replace(HEADER, seed=5), [b"tokens", b"", b"group one", b"group two"]),
        pack(replace(HEADER, seed=5), [b"tokens", b"", b"group one", b"group two"], b"alpha"),
        pack(lossless_header(300, 200, gray=False, alpha=True), [b"a picture"]),
    ],
    ids=["opaque", "alpha", "lossless"],
)
def test_every_single_byte_change_is_refused(data):
    for index in range(len(data)):
        for change in range(1, 256):
            damaged = bytearray(data)
            damaged[index] ^= change
            for truncated in (False, True):
                with pytest.raises(FormatError):
                    parse(bytes(damaged), allow_truncated=truncated)


@given(st.data())
@settings(max_examples=300)
def test_random_damage_is_refused(data):
    good = pack(HEADER, [b"tokens", b"group one" * 9, b"group two" * 9], b"alpha")
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, len(good)))
    bad = good[:start] + data.draw(st.binary(max_size=30)) + good[stop:]
    if bad != good:
        with pytest.raises(FormatError):
            parse(bad)


@pytest.mark.parametrize("alpha", [b"", b"alpha"])
def test_every_truncation_is_refused_or_gives_the_sections_that_are_whole(alpha):
    sections = (b"tokens", b"group one", b"", b"group three", b"")
    data = pack(HEADER, sections, alpha)
    info = read_header(data)
    needed = info.header_bytes + len(alpha) + len(sections[0])
    for size in range(len(data)):
        with pytest.raises(FormatError):
            parse(data[:size])
        for arguments in ({"max_bytes": size}, {"allow_truncated": True}):
            given_bytes = data if "max_bytes" in arguments else data[:size]
            if size < needed:
                with pytest.raises(FormatError):
                    parse(given_bytes, **arguments)
                continue
            stream = parse(given_bytes, **arguments)
            whole, end = [], info.header_bytes + len(alpha)
            for section in sections:
                end += len(section)
                whole.append(section if end <= size and None not in whole else None)
            assert stream.alpha == alpha and stream.sections == tuple(whole)


def test_max_bytes_beyond_the_end_changes_nothing():
    data = pack(HEADER, [b"tokens", b"group"])
    assert parse(data, max_bytes=len(data)) == parse(data, max_bytes=10**12) == parse(data)
    with pytest.raises(CorruptError, match="cut short"):
        parse(data[:-1], max_bytes=len(data))


def test_max_bytes_does_not_look_behind():
    data = pack(HEADER, [b"tokens", b"group"])
    stream = parse(data[:-1] + b"?", max_bytes=len(data) - 1)
    assert stream.sections == (b"tokens", None)


def test_damage_in_a_section_of_a_cut_file_is_refused():
    data = bytearray(pack(HEADER, [b"tokens", b"group one", b"group two"]))
    data[read_header(data).header_bytes + 8] ^= 1
    with pytest.raises(CorruptError, match="section 1"):
        parse(data[:-1], allow_truncated=True)


def test_trailing_bytes_are_refused():
    data = pack(HEADER, [b"tokens"])
    for truncated in (False, True):
        with pytest.raises(CorruptError, match="^bytes are left over after the end"):
            parse(data + b"\0", allow_truncated=truncated)


@pytest.mark.parametrize("data", [b"", b"\x8aLD", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(500)], ids=repr)
def test_other_files_are_named_as_such(data):
    for call in (parse, read_header):
        with pytest.raises(FormatError, match="not an LDC file"):
            call(data)


def test_other_versions_and_flags_are_unsupported():
    good = pack(HEADER, [b"tokens"])
    size = read_header(good).header_bytes
    with pytest.raises(UnsupportedError, match="version 2"):
        parse(reseal(good[:4] + b"\2" + good[5:], size))
    with pytest.raises(UnsupportedError, match="features"):
        parse(reseal(good[:5] + b"\x80" + good[6:], size))


# Offsets in the header of `pack(HEADER, [b"tokens"])`: model id at 6, hash 7..10, width 11..12,
# height 13..14, level 15..16, number of sections 17, size of the first 18, its CRC-16 19..20.
@pytest.mark.parametrize(
    "start, stop, field, error",
    [
        (11, 13, b"\x00", LimitError),  # width 0
        (13, 15, b"\x00", LimitError),  # height 0
        (11, 13, b"\x80\x80\x04", LimitError),  # width 65536
        (11, 15, b"\xff\xff\x03\xff\xff\x03", LimitError),  # 65535 x 65535
        (11, 13, b"\xff\xff\xff\xff\x0f", LimitError),  # width 2**32 - 1
        (11, 13, b"\xff\xff\xff\xff\x1f", CorruptError),  # width above 32 bits
        (11, 13, b"\xff" * 12, CorruptError),  # a varint without end
        (11, 13, b"\x80\x86\x00", CorruptError),  # width 768 in a longer form
        (6, 7, b"\x80\x00", CorruptError),  # model 0 in a longer form
        (15, 17, b"\x41\x1a", CorruptError),  # level 6721
        (17, 18, b"\x00", CorruptError),  # no sections
        (17, 18, b"\x11", CorruptError),  # 17 sections
        (18, 19, b"\xff\xff\xff\xff\x0f", LimitError),  # a section of 4 GiB
        (18, 19, b"\x80\x80\x80\x80\x01", CorruptError),  # one of 256 MiB: allowed, but not there
        (5, 6, b"\x01", None),  # gray: sound
    ],
)
def test_header_fields_with_right_checksums_are_bounded(start, stop, field, error):
    good = pack(HEADER, [b"tokens"])
    bad = good[:start] + field + good[stop:]
    bad = reseal(bad, read_header(good).header_bytes + len(field) - (stop - start))
    if error is None:
        assert parse(bad).header.gray
    else:
        for arguments in ({}, {"allow_truncated": True}, {"max_bytes": len(bad) - 1}):
            with pytest.raises(error):
                parse(bad, **arguments)


@pytest.mark.parametrize("flag, header", [(2, HEADER), (4, HEADER)])
def test_a_flag_with_an_empty_field_is_refused(flag, header):
    good = pack(header, [b"tokens"])
    bad = good[:5] + bytes([flag]) + good[6:17] + b"\0" + good[17:]
    with pytest.raises(CorruptError, match="empty"):
        parse(reseal(bad, read_header(good).header_bytes + 1))


def test_a_section_swapped_for_another_is_refused_even_with_the_file_check_right():
    good = pack(HEADER, [b"tokens", b"tokens", b"grouppp"])
    size = read_header(good).header_bytes
    with pytest.raises(CorruptError, match="section 2"):
        parse(reseal(good[:-7] + b"grouqqq", size))


def test_all_zero_sizes_are_possible():
    assert parse(pack(HEADER, [b""] * 16)).sections == (b"",) * 16


@pytest.mark.parametrize(
    "change, sections, error",
    [
        ({"width": 0}, [b""], LimitError),
        ({"height": 65536}, [b""], LimitError),
        ({"width": 8193, "height": 8192}, [b""], LimitError),
        ({"level": MAX_LEVEL + 1}, [b""], ValueError),
        ({"level": -1}, [b""], ValueError),
        ({"seed": 2**32}, [b""], ValueError),
        ({"model_id": -1}, [b""], ValueError),
        ({}, [], ValueError),
        ({}, [b""] * 17, ValueError),
    ],
)
def test_pack_refuses_what_parse_would(change, sections, error):
    with pytest.raises(error):
        pack(replace(HEADER, **change), sections)


def test_largest_picture_is_allowed():
    assert parse(pack(replace(HEADER, width=8192, height=8192), [b""])).header.width == 8192


def test_error_family():
    assert issubclass(FormatError, CodecError) and issubclass(FormatError, ValueError)
    for error in (CorruptError, UnsupportedError, LimitError):
        assert issubclass(error, FormatError)


def test_metadata_that_was_cut_off_is_not_there():
    data = pack(HEADER, [b"tokens", b"group"], b"alpha", b"metadata")
    whole = len(data) - len(b"metadata")
    for size in (whole, len(data) - 1):
        for stream in (parse(data, max_bytes=size), parse(data[:size], allow_truncated=True)):
            assert (stream.sections, stream.metadata) == ((b"tokens", b"group"), b"")
    assert parse(data, max_bytes=whole - 1).sections == (b"tokens", None)


def test_metadata_is_bounded_and_checked():
    assert parse(pack(HEADER, [b""], metadata=bytes(65536))).metadata == bytes(65536)
    with pytest.raises(ValueError):
        pack(HEADER, [b""], metadata=bytes(65537))
    good = pack(HEADER, [b"tokens"], metadata=b"abc")
    size = read_header(good).header_bytes
    with pytest.raises(CorruptError, match="metadata section"):
        parse(reseal(good[:-1] + b"?", size))
    start = size - 6 - 4  # of its entry, before the number of sections and the entry of the only one
    assert good[start - 3 : start] == b"\x03" + good[start - 2 : start]
    larger = good[: start - 3] + b"\x81\x80\x04" + good[start - 2 :]
    with pytest.raises(LimitError, match="metadata"):
        read_header(reseal(larger, size + 2))
    empty = good[: start - 3] + b"\0" + good[start:]
    with pytest.raises(CorruptError, match="empty"):
        read_header(reseal(empty, size - 2))
