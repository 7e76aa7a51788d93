"""Lossless files: every pixel comes back, forged ones are refused, and a photograph is given up early."""

import re
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

import codec.bitstream
from codec.bitstream.container import Header, Stream, lossless_header, pack, parse, read_header
from codec.errors import CodecError, CorruptError, UnsupportedError
from codec.image import lossless, read

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def picture(seed: int, height: int, width: int, channels: int, values: int) -> np.ndarray:
    """uint8 (H, W, C) noise of so many values; where there is alpha, some of it is 0."""
    rng = np.random.default_rng(seed)
    pixels = rng.choice(rng.integers(0, 256, values), (height, width, channels)).astype(np.uint8)
    if channels in (2, 4):
        pixels[..., -1] = rng.choice([0, 7, 255], (height, width))
        pixels[0, 0, -1] = 9  # so that it is never opaque
    return pixels


def shown(data: bytes) -> np.ndarray:
    """The picture of a file, read as FORMAT.md says: by a WebP decoder, from the one section."""
    info, section = read_header(data), parse(data).sections[0]
    padded = section + bytes(len(section) % 2)
    head = b"RIFF" + struct.pack("<I", 12 + len(padded)) + b"WEBPVP8L" + struct.pack("<I", len(section))
    with Image.open(BytesIO(head + padded)) as image:
        assert image.size == (info.header.width, info.header.height) and image.mode == "RGB" + "A" * info.alpha
        return np.asarray(image)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(list(MODES)),
    st.sampled_from([1, 2, 16, 256]),
    st.booleans(),
)
@settings(max_examples=120)
def test_every_pixel_that_is_seen_comes_back(seed, height, width, mode, values, keep):
    pixels = picture(seed, height, width, MODES[mode], values)
    data = lossless.encode(read.load(pixels), keep_hidden=keep)
    image = lossless.decode(data)
    got = np.asarray(image).reshape(pixels.shape)
    assert (image.mode, image.size) == (mode, (width, height))
    if mode.endswith("A") and not keep:
        pixels = pixels * (pixels[..., -1:] > 0)  # hidden ones become black
    assert (got == pixels).all()
    colour = pixels if mode.startswith("RGB") else np.dstack([pixels[..., :1]] * 3 + [pixels[..., 1:]])
    assert (shown(data) == colour).all()
    header = parse(data).header
    assert header == lossless_header(width, height, gray=mode.startswith("L"), alpha=mode.endswith("A"))


@pytest.mark.parametrize("shape", [(2, 16383, 3), (2, 16384, 3), (16384, 2, 4), (33000, 1, 1)])
def test_sides_too_long_for_webp_are_cut(shape):
    pixels = picture(5, *shape, 2)
    if shape[2] == 4:
        pixels[16383:, :, 3] = 255  # an opaque part of a picture with alpha
    data = lossless.encode(read.load(pixels), keep_hidden=True)
    sections = parse(data).sections
    assert len(sections) == -(-max(shape) // 16383)
    assert (np.asarray(lossless.decode(data)).reshape(shape) == pixels).all()
    starts = [int.from_bytes(section[1:5], "little") for section in sections]
    sides = [(s & 0x3FFF) + 1 for s in starts], [(s >> 14 & 0x3FFF) + 1 for s in starts]
    assert sum(sides[shape[0] > shape[1]]) == max(shape) and set(sides[shape[0] <= shape[1]]) == {min(shape[:2])}
    assert lossless.encode_within(read.load(pixels), 4 * len(data), keep_hidden=True) == data


def test_colour_profiles_and_many_bits_are_converted_before():
    """Exact are the 8-bit sRGB pixels that the codec takes, not those of a file of another kind."""
    deep = np.random.default_rng(1).integers(0, 65536, (9, 8), dtype=np.uint16)
    out = BytesIO()
    Image.fromarray(deep).save(out, "PNG")
    taken = read.load(out.getvalue())
    assert taken.notes == ("16-bit samples were reduced to 8 bits",)
    assert (np.asarray(lossless.decode(lossless.encode(taken))) == taken.rgb[..., 0]).all()


def test_the_example_of_the_format_description():
    text = (Path(codec.bitstream.__file__).parent / "FORMAT.md").read_text()
    example = text.split("A lossless picture of 3 x 2 red pixels")[1].split("## ")[0]
    data = bytes.fromhex("".join(re.findall(r"^    ([0-9A-F ]+)$", example, re.MULTILINE)))
    assert (np.asarray(lossless.decode(data)) == np.full((2, 3, 3), (255, 0, 0))).all()
    assert (shown(data) == np.full((2, 3, 3), (255, 0, 0))).all()


# what is refused


def sealed(section: bytes, header: Header) -> Stream:
    return parse(pack(header, [section]))


def test_sections_of_another_size_or_kind_are_refused_before_they_are_decoded(monkeypatch):
    opaque, alpha = (
        parse(lossless.encode(read.load(picture(3, 9, 8, channels, 16)))).sections[0] for channels in (3, 4)
    )
    of = {
        "width": sealed(opaque, lossless_header(9, 9, gray=False, alpha=False)),
        "height": sealed(opaque, lossless_header(8, 8, gray=False, alpha=False)),
        "a picture of 64 megapixels": sealed(opaque, lossless_header(8192, 8192, gray=False, alpha=False)),
        "alpha": sealed(alpha, lossless_header(8, 9, gray=False, alpha=False)),
        "version": sealed(opaque[:4] + bytes([opaque[4] | 32]) + opaque[5:], lossless_header(8, 9, gray=False, alpha=False)),
        "signature": sealed(b"\x2e" + opaque[1:], lossless_header(8, 9, gray=False, alpha=False)),
        "four bytes": sealed(opaque[:4], lossless_header(8, 9, gray=False, alpha=False)),
    }  # fmt: skip
    monkeypatch.setattr(lossless, "_decoded", None)
    monkeypatch.setattr(lossless.np, "empty", lambda shape, kind: np.zeros((*shape[:2], 0)) if shape[2] == 0 else None)
    for what, stream in of.items():
        with pytest.raises(CorruptError, match="not of the picture's size and kind"):
            lossless.unpack(stream)
            raise AssertionError(what)


def test_sections_that_end_early_or_hold_noise_are_refused():
    pixels, rng = picture(3, 40, 50, 4, 256), np.random.default_rng(0)
    section = parse(lossless.encode(read.load(pixels))).sections[0]
    header = lossless_header(50, 40, gray=False, alpha=True)
    for size in (5, 6, 40, len(section) // 2, len(section) - 9):
        with pytest.raises(CorruptError, match="cannot be decoded"):
            lossless.unpack(sealed(section[:size], header))
    refused = 0
    for _ in range(60):
        noise = section[:5] + rng.bytes(len(section) - 5)
        try:
            assert lossless.unpack(sealed(noise, header))[0].shape == (40, 50, 3)
        except CorruptError:
            refused += 1
    assert refused > 30


def test_a_pillow_without_webp(monkeypatch):
    taken = read.load(picture(1, 8, 9, 3, 4))
    data = lossless.encode(taken)
    monkeypatch.setattr(features, "check", lambda name: False)
    assert lossless.encode_within(taken, 10**6) is None
    with pytest.raises(CodecError, match="needs a Pillow with WebP"):
        lossless.encode(taken)
    with pytest.raises(UnsupportedError, match="needs a Pillow with WebP"):
        lossless.decode(data)


# when it is tried


def test_a_photograph_is_given_up_after_a_look_at_few_rows(photo, monkeypatch):
    seen, webp = [], lossless.webp

    def spy(pixels, method, quality):
        seen.append(pixels.shape[0] * pixels.shape[1])
        return webp(pixels, method, quality)

    monkeypatch.setattr(lossless, "webp", spy)
    taken = read.load(photo)
    assert lossless.encode_within(taken, 6907) is None  # bytes of the lossy file at quality 50
    assert sum(seen) <= 512 * 600 / 8
    assert lossless.encode_within(taken, 61750) is None  # at quality 100
    assert len(seen) == 3 and seen[-1] == 512 * 600  # the fast coding of the whole was enough


def test_the_limit_is_kept():
    taken = read.load(picture(4, 140, 60, 3, 2))
    data = lossless.encode(taken)
    assert lossless.encode_within(taken, len(data)) == data
    assert lossless.encode_within(taken, len(data) - 1) is None
    assert len(lossless.encode(taken, effort=2)) <= len(data)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_no_larger_than_a_webp_file_by_more_than_the_header(channels):
    for values in (2, 16, 256):
        pixels = picture(6, 70, 90, channels, values)
        data = lossless.encode(read.load(pixels), keep_hidden=True)
        out = BytesIO()
        shape = (*pixels.shape[:2], 3) if channels == 1 else pixels.shape
        Image.fromarray(np.broadcast_to(pixels, shape)).save(
            out, "WEBP", lossless=True, exact=True, method=4, quality=80
        )
        assert len(data) <= len(out.getvalue()) + read_header(data).header_bytes
