"""BPG reader and writer: files of bpgenc, exact pictures, round trips, and every kind of damage."""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bpg import BpgError, decode, encode
from benchmarks.bpg.bits import (
    BitReader,
    BitWriter,
    add_emulation_prevention,
    read_ue7,
    remove_emulation_prevention,
    write_ue7,
)
from benchmarks.bpg.chroma import decimate, interpolate
from benchmarks.bpg.colour import planes_to_rgb, rgb_to_planes
from benchmarks.bpg.container import ColourSpace, PixelFormat, read_container
from benchmarks.bpg.hevc import build_sps, build_vps, read_reduced_sps, write_reduced_sps

# Files, their size, SHA-256 of the RGB bytes that bpgdec 0.9.8 gives, RMSE to the ramp below. "own": written with
# x265 4.2; "jctvc": by `bpgenc -e jctvc`; "bpgenc x265": by bpgenc's own x265.
VECTORS = {
    name: (item["hex"], tuple(item["size"]), item["sha256"], item["rmse"])
    for name, item in json.loads(Path(__file__).with_name("bpg_vectors.json").read_text()).items()
}
NAMES = list(VECTORS)


def ramp(width: int, height: int) -> np.ndarray:
    """The source picture of the vectors."""
    y, x = np.mgrid[:height, :width]
    return np.stack([13 * x + 3 * y, 5 * x + 11 * y, 255 - 7 * x - 2 * y], axis=2).astype(np.uint8)


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("name", NAMES)
def test_files_decode_to_the_pixels_of_bpgdec(name: str) -> None:
    text, (width, height), digest, error = VECTORS[name]
    picture = decode(bytes.fromhex(text))
    assert picture.shape == (height, width, 3)
    assert hashlib.sha256(picture.tobytes()).hexdigest() == digest
    assert rmse(picture, ramp(width, height)) == pytest.approx(error, abs=1e-4)


@pytest.mark.parametrize("pixel_format", [PixelFormat.YUV420_CENTRED, PixelFormat.YUV422_CENTRED, PixelFormat.YUV444])
@pytest.mark.parametrize("size", [(160, 128), (67, 51), (33, 17), (9, 9)])
def test_round_trip_keeps_size_and_is_near(photo: np.ndarray, pixel_format: PixelFormat, size: tuple[int, int]) -> None:
    image = photo[: size[1], : size[0]]
    coarse, fine = (decode(encode(image, q, pixel_format)) for q in (38, 10))
    assert coarse.shape == fine.shape == image.shape
    assert rmse(fine, image) < 8
    assert rmse(fine, image) < rmse(coarse, image)


def test_rgb_planes_beat_ycbcr_near_lossless_and_keep_channels_in_order(photo: np.ndarray) -> None:
    decoded = decode(encode(photo, 0, PixelFormat.YUV444, ColourSpace.RGB))
    assert rmse(decoded, photo) < 0.6
    assert [rmse(decoded[..., channel], photo[..., channel]) < 1 for channel in range(3)] == [True] * 3


@pytest.mark.parametrize("space", [ColourSpace.YCBCR_BT601, ColourSpace.YCBCR_BT709, ColourSpace.YCBCR_BT2020])
def test_colour_matrices_are_inverse_of_each_other(photo: np.ndarray, space: ColourSpace) -> None:
    back = planes_to_rgb(rgb_to_planes(photo, space), space)
    assert np.abs(back.astype(int) - photo).max() <= 3
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.array_equal(planes_to_rgb(rgb_to_planes(grey, space), space), grey)


def test_grey_file_has_equal_channels(photo: np.ndarray) -> None:
    data = encode(photo, 20, PixelFormat.GREY)
    decoded = decode(data)
    assert data[4] == 0x00
    assert np.ptp(decoded, axis=2).max() == 0
    assert rmse(decoded[..., 0], rgb_to_planes(photo, ColourSpace.YCBCR_BT601)[0]) < 3


@pytest.mark.parametrize("pixel_format", [PixelFormat.YUV420_CENTRED, PixelFormat.YUV422_CENTRED])
def test_chroma_siting_does_not_shift(pixel_format: PixelFormat) -> None:
    """A straight ramp must come back in place: a wrong siting would shift it by a quarter or half a step."""
    y, x = np.mgrid[:64, :64]
    plane = (20 + 2 * x + y).astype(np.uint8)
    back = interpolate(decimate(plane, pixel_format), pixel_format, 64, 64)
    assert np.abs(back[12:-12, 12:-12].astype(int) - plane[12:-12, 12:-12]).max() <= 1


@pytest.mark.parametrize("pixel_format", [PixelFormat.YUV420_COSITED, PixelFormat.YUV422_COSITED])
def test_cosited_chroma_keeps_even_columns(pixel_format: PixelFormat) -> None:
    half = np.tile(
        (10 + 4 * np.arange(32)).astype(np.uint8), (64 if pixel_format is PixelFormat.YUV422_COSITED else 32, 1)
    )
    full = interpolate(half, pixel_format, 64, 64)
    assert np.array_equal(full[:, ::2], np.tile(half[:1], (64, 1)))
    assert np.abs(full[:, 9:-9:2].astype(int) - (full[:, 8:-10:2].astype(int) + 2)).max() <= 1


def test_parameter_sets_have_the_known_bytes() -> None:
    sps = read_reduced_sps(bytes.fromhex("924740"))
    assert write_reduced_sps(sps).hex() == "924740"
    assert build_vps().hex() == "40010c01ffff0408000003009000000300000300ffac09"
    assert build_sps(sps, 1, 768, 512).hex() == "4201010408000003009000000300000300ffa006020080596b9246dac8"
    assert build_sps(sps, 3, 768, 512).hex() == "4201010408000003009000000300000300ff9000c040100b2d7248db59"


@given(st.integers(0, 2**32 - 1), st.binary(max_size=4))
def test_ue7_is_shortest_and_comes_back(value: int, tail: bytes) -> None:
    data = write_ue7(value)
    assert read_ue7(data + tail, 0) == (value, len(data))
    assert data[0] != 0x80
    assert len(data) == max(1, -(-value.bit_length() // 7))


@given(st.lists(st.integers(0, 2**20)))
def test_exp_golomb_comes_back(values: list[int]) -> None:
    writer = BitWriter()
    writer.ue(*values)
    reader = BitReader(writer.bytes_rbsp())
    assert [reader.ue() for _ in values] == values


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 255])).map(bytes))
def test_emulation_prevention_hides_start_codes_and_comes_back(payload: bytes) -> None:
    escaped = add_emulation_prevention(payload)
    assert not any(code in escaped for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))
    assert remove_emulation_prevention(escaped) == payload


def test_every_truncation_is_refused_or_has_the_right_size() -> None:
    """BPG has no checksum: a file cut inside the slice may still decode, a file without slice data never does."""
    data = bytes.fromhex(VECTORS["bpgenc x265 420"][0])
    for length in range(len(data)):
        try:
            picture = decode(data[:length])
        except BpgError:
            continue
        assert length > data.index(b"\x26\x01\xaf") + 3
        assert picture.shape == (17, 33, 3)


@settings(max_examples=150)
@given(st.integers(0, 60), st.integers(1, 255))
def test_a_flipped_byte_never_raises_anything_else(position: int, change: int) -> None:
    data = bytearray.fromhex(VECTORS["bpgenc x265 420"][0])
    data[position] ^= change
    with contextlib.suppress(BpgError):
        assert decode(bytes(data)).dtype == np.uint8


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (0, 0x43, "not a BPG file"),
        (4, 0x30, "alpha"),
        (4, 0x22, "10 bits"),
        (4, 0xE0, "pixel format 7"),
        (5, 0x01, "animation"),
        (5, 0x02, "limited-range"),
        (5, 0x20, "colour space 2"),
        (6, 0x00, "out of bounds"),
        (6, 0x80, "shortest form"),
    ],
)
def test_unsupported_and_damaged_headers_are_named(position: int, value: int, words: str) -> None:
    data = bytearray.fromhex(VECTORS["own 420"][0])
    data[position] = value
    with pytest.raises(BpgError, match=words):
        decode(bytes(data))


def test_huge_size_is_refused_before_anything_is_allocated() -> None:
    data = b"BPG\xfb\x20\x00" + write_ue7(30000) + write_ue7(30000) + b"\x00\x03\x92\x47\x40" + bytes(20)
    with pytest.raises(BpgError, match="out of bounds"):
        decode(data)


def test_implicit_rdpcm_is_refused() -> None:
    """FFmpeg decodes such files (lossless jctvc) to wrong pixels without an error."""
    plain = read_reduced_sps(bytes.fromhex("924740"))
    flagged = write_reduced_sps(type(plain)(**{**vars(plain), "range_flags": 0b001000000}))
    data = b"BPG\xfb\x60\x00\x10\x10\x00" + write_ue7(len(flagged)) + flagged + bytes(20)
    with pytest.raises(BpgError, match="RDPCM"):
        decode(data)


def test_extension_data_and_explicit_length_are_stepped_over() -> None:
    data = bytes.fromhex(VECTORS["own 420"][0])
    rest = data[9:]
    longer = data[:5] + b"\x08" + data[6:8] + write_ue7(len(rest)) + b"\x06\x05\x04abcd" + rest + b"trailing"
    assert np.array_equal(decode(longer), decode(data))
    assert read_container(longer).hevc_data == rest[3:]


def test_too_small_a_picture_is_one_sentence() -> None:
    with pytest.raises(BpgError, match=r"8x40.*over 8 pixels"):
        encode(np.zeros((40, 8, 3), np.uint8), 30)
