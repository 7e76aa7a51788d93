"""Faults that real files brought to light, each kind with a small file of its own and the right pixels."""

import io
import struct
import warnings
import zlib
from contextlib import nullcontext
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from codec import cli
from codec.errors import LimitError, PictureError
from codec.image import av1, lossless, read
from codec.image.alpha import fill_hidden, pack_alpha, unpack_alpha
from codec.image.write import SavedPicture, to_bytes
from tests.support.files import chunk, lut_profile, png, psd, tiff

PHOTO = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
REDUCED = "16-bit samples were reduced to 8 bits"
RANDOM = np.random.default_rng(19).integers(0, 65536, (5, 7, 4))


def rounded(samples: np.ndarray, top: int = 65535) -> np.ndarray:
    return np.floor(np.asarray(samples, float) * 255 / top + 0.5).astype(np.uint8)


def gray_of(data: bytes) -> list[int]:
    picture = read.load(data)
    assert picture.gray
    return picture.rgb[0, :, 0].tolist()


# samples of other depths


@pytest.mark.parametrize("photometric", [1, 0])
def test_twelve_bit_gray_tiff(photometric):
    samples = np.array([[[0], [2048], [4095], [1024]]])
    data = tiff(samples, 12, photometric)
    if photometric == 0:  # Pillow does not know it: no picture is better than a wrong one
        with pytest.raises(PictureError):
            read.load(data)
        return
    assert gray_of(data) == [0, 128, 255, 64]
    assert read.load(data).notes == ("12-bit samples were reduced to 8 bits",)


@pytest.mark.parametrize("kind", [b"P5", b"P2"])
def test_pgm_of_any_depth(kind):
    for top in (1023, 4095, 65535, 100):
        samples = np.array([0, (top + 1) // 2, top, (top + 1) // 4])
        body = samples.astype(">u2" if top > 255 else "u1").tobytes()
        if kind == b"P2":
            body = b" ".join(str(n).encode() for n in samples)
        assert gray_of(kind + f" 4 1 {top}\n".encode() + body) == rounded(samples, top).tolist()


def test_ppm_of_many_bits_is_said():
    data = b"P6 2 1 1023\n" + np.array([0, 512, 1023, 256, 1, 2], ">u2").tobytes()
    picture = read.load(data)
    assert picture.rgb.tolist() == [[[0, 128, 255], [64, 0, 0]]] and picture.notes == (REDUCED,)


@pytest.mark.parametrize("depth", [1, 2, 4, 6, 9, 12, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg2000_of_any_depth(depth, channels):
    """Pillow shifts fewer bits, so that white is not white, and makes white of more bits black."""
    imagecodecs = pytest.importorskip("imagecodecs")
    top = (1 << depth) - 1
    samples = np.array([[0, top // 2, top, top // 4]] * 4).astype("u1" if depth <= 8 else "u2")
    stored = samples if channels == 1 else np.stack([samples] * channels, -1)
    data = imagecodecs.jpeg2k_encode(stored, bitspersample=depth, reversible=True)
    if depth > 8 and (channels == 3 or depth == 9):
        with pytest.raises(PictureError, match="JPEG 2000 with"):
            read.load(data)
    else:
        picture = read.load(data)
        assert np.abs(picture.rgb[..., 0].astype(int) - rounded(samples, top)).max() <= (depth > 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_white_is_zero_in_sixteen_bits(order, deflate):
    samples = np.array([[[0], [32768], [65535], [16384]]])
    data = tiff(samples, 16, 0, order=order, deflate=deflate)
    if order == ">":  # not known to Pillow
        with pytest.raises(PictureError):
            read.load(data)
    else:
        assert gray_of(data) == [255, 127, 0, 191]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colour_tiff(order, planes, deflate, channels):
    samples = RANDOM[..., :channels]
    picture = read.load(
        tiff(samples, 16, 2, order=order, planes=planes, deflate=deflate, extra=2 if channels == 4 else None)
    )
    got = picture.rgb if channels == 3 else np.dstack([picture.rgb, picture.alpha])
    assert (got == rounded(samples)).all() and picture.notes == (REDUCED,)


def test_premultiplied_sixteen_bit_tiff():
    colour, alpha = RANDOM[..., :3] // 2 + 9000, RANDOM[..., 3:] // 2 + 30000
    stored = np.concatenate([colour * alpha // 65535, alpha], axis=2)
    picture = read.load(tiff(stored, 16, 2, extra=1))
    assert (
        np.abs(picture.rgb.astype(int) - rounded(colour)).max() <= 1 and (picture.alpha == rounded(alpha[..., 0])).all()
    )


def test_sixteen_bit_cmyk_is_said():
    picture = read.load(tiff(np.array([[[0, 32768, 65535, 0]]]), 16, 5))
    assert picture.rgb.tolist() == [[[255, 127, 0]]] and picture.notes[0] == REDUCED


@pytest.mark.parametrize("depth", [8, 16])
def test_signed_samples_are_refused(depth):
    with pytest.raises(PictureError, match="signed"):
        read.load(tiff(np.array([[[0], [3], [100]]]), depth, 1, tags={339: (3, [2])}))


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png_is_rounded(colour, channels):
    samples = RANDOM[..., :channels].copy()
    samples[0, 0] = 0x00FF
    data = png(samples, 16, colour)
    with Image.open(io.BytesIO(data)) as opened:
        for source in (data, opened):
            picture = read.load(source)
            assert picture.gray == (channels < 3) and picture.notes == (REDUCED,)
            count = 1 if picture.gray else 3
            assert (picture.rgb[..., :count] == rounded(samples[..., :count])).all() and picture.rgb[0, 0, 0] == 1
            if channels in (2, 4):
                assert (picture.alpha == rounded(samples[..., -1])).all()


# transparent colours


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colour", [0, 2])
def test_transparent_colour_of_any_depth(depth, colour):
    if colour == 2 and depth < 8:
        return
    top = (1 << depth) - 1
    channels = 1 if colour == 0 else 3
    samples = np.repeat(np.array([[[0], [top // 3], [top], [top // 2]]]), channels, axis=2)
    key = np.full(channels, top // 3, ">u2").tobytes()
    picture = read.load(png(samples, depth, colour, chunk(b"tRNS", key)))
    wanted = np.where((samples == top // 3).all(axis=2), 0, 255)
    assert (picture.alpha == wanted).all()
    assert (picture.rgb == rounded(samples, top)).all()


# colours without a profile


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 1e5)))


def chrm(*points: float) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 1e5) for value in points)))


P3 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
COLOUR = np.array([[[200, 100, 50]]])


@pytest.mark.parametrize(
    "before, wanted",
    [
        (gama(1.0), (229, 168, 123)),
        (chrm(*P3), (216, 93, 24)),
        (gama(0.45455) + chrm(*P3), (216, 93, 24)),
        (gama(0.45455), (200, 100, 50)),
        (gama(0.45455) + chrm(*SRGB), (200, 100, 50)),
        (gama(1.0) + chunk(b"sRGB", b"\0"), (200, 100, 50)),
        (chunk(b"cICP", bytes([1, 13, 0, 1])) + gama(1.0), (200, 100, 50)),
        (chunk(b"cICP", bytes([1, 8, 0, 1])), (229, 168, 123)),
        (chunk(b"cICP", bytes([12, 13, 0, 1])), (215, 93, 31)),
        (gama(1.0)[:-1] + b"?", (200, 100, 50)),
    ],
)
@pytest.mark.parametrize("depth", [8, 16])
def test_png_gamma_and_primaries(before, wanted, depth):
    data = png(COLOUR * (257 if depth == 16 else 1), depth, 2, before)
    picture = read.load(data)
    assert np.abs(picture.rgb[0, 0].astype(int) - wanted).max() <= 1
    changed = tuple(picture.rgb[0, 0]) != (200, 100, 50)
    said = [note for note in picture.notes if note != REDUCED]
    assert len(said) == (1 if changed or before.endswith(b"?") else 0), said
    if not before.endswith(b"?"):  # Pillow refuses it itself
        with Image.open(io.BytesIO(png(COLOUR, 8, 2, before))) as opened:
            assert (read.load(opened).rgb == read.load(png(COLOUR, 8, 2, before)).rgb).all()


@pytest.mark.parametrize("depth", [8, 16])
def test_png_in_the_range_of_video(depth):
    samples = np.array([[[16, 16, 16], [235, 235, 235], [126, 16, 235], [0, 5, 255]]])
    wanted = np.array([[[0, 0, 0], [255, 255, 255], [128, 0, 255], [0, 0, 255]]])
    data = png(samples * (256 if depth == 16 else 1), depth, 2, chunk(b"cICP", bytes([1, 13, 0, 0])))
    picture = read.load(data)
    assert np.abs(picture.rgb.astype(int) - wanted).max() <= 1
    assert picture.notes[-1] == "colours were converted from the range of video to sRGB"
    matrix = read.load(png(samples, 8, 2, chunk(b"cICP", bytes([1, 13, 1, 1]))))
    assert (matrix.rgb == samples).all() and "matrix 1" in matrix.notes[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_float_tiff_of_either_order(order, deflate):
    """Of compressed files of the other order Pillow swaps bytes that libtiff has put right: all but black was lost."""
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    values = np.array([[0, 0.5, 1, 0.25]], np.float32)
    tifffile.imwrite(out, values, byteorder=order, compression="zlib" if deflate else None)
    assert gray_of(out.getvalue()) == [0, 128, 255, 64]


def test_bmp_of_five_bits_is_not_called_deep():
    row = struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0xFFFF)
    head = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 16, 3, 0, 0, 0, 0, 0) + struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    picture = read.load(b"BM" + struct.pack("<IHHI", 74, 0, 0, 66) + head + row)
    assert picture.rgb.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]] and not picture.notes


def test_gray_and_palette_gamma():
    assert gray_of(png(np.array([[[0], [55], [255]]]), 8, 0, gama(1.0))) == [0, 128, 255]
    data = png(np.array([[[0], [1]]]), 8, 3, gama(1.0) + chunk(b"PLTE", bytes([200, 100, 50, 0, 0, 255])))
    assert np.abs(read.load(data).rgb.astype(int) - [[[229, 168, 123], [0, 0, 255]]]).max() <= 1


@pytest.mark.parametrize("transfer, white, dark", [(16, 0.5807, 0.2), (18, 0.75, 0.2)])
def test_high_dynamic_range_is_tone_mapped_and_said(transfer, white, dark):
    """Diffuse white (203 nits) stays bright and below the peak, which is white; order and grays are kept."""
    values = np.array([0, dark, 0.4, white, 0.9, 1.0])
    samples = np.repeat(np.rint(values * 65535).astype(int)[None, :, None], 3, axis=2)
    picture = read.load(png(samples, 16, 2, chunk(b"cICP", bytes([9, transfer, 0, 1]))))
    got = picture.rgb[0].astype(int)
    assert (np.ptp(got, axis=1) == 0).all() and (np.diff(got[:, 0]) >= 0).all()
    assert got[0, 0] == 0 and 225 <= got[3, 0] <= 245 and got[5, 0] == 255
    nits = {16: 2.4765, 18: 1000 * (dark**2 / 3) ** 1.2}[transfer]  # PQ of .2, HLG of .2 on a screen of 1000 nits
    light = nits / 203
    assert abs(got[1, 0] - 255 * (1.055 * light ** (1 / 2.4) - 0.055 if light > 0.0031308 else 12.92 * light)) <= 1
    assert any("tone-mapped" in note for note in picture.notes)


def test_unknown_codes_are_said():
    picture = read.load(png(COLOUR, 8, 2, chunk(b"cICP", bytes([77, 99, 0, 1]))))
    assert (picture.rgb == COLOUR).all() and len(picture.notes) == 2


def with_codes(data: bytes, primaries: int, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@pytest.mark.parametrize(
    "codes, note", [((1, 13), None), ((2, 2), None), ((12, 13), "Display P3"), ((9, 16), "PQ"), ((9, 18), "HLG")]
)
def test_avif_colours(codes, note):
    out = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(out, "AVIF", quality=100, subsampling="4:4:4")
    data = with_codes(out.getvalue(), *codes)
    with Image.open(io.BytesIO(data)) as plain:
        before = np.asarray(plain.convert("RGB")).astype(int)
    picture = read.load(data)
    assert (picture.notes == ()) if note is None else (note in picture.notes[0])
    if note is None:
        assert (picture.rgb == before).all()
    elif note == "Display P3":
        assert np.abs(picture.rgb[0, 0].astype(int) - (215, 93, 31)).max() <= 3
    else:
        assert np.abs(picture.rgb - before).max() > 10


def patched_bits(data: bytes, at: int, value: int) -> bytes:
    """16 bits from bit ``at`` on."""
    whole, shift = int.from_bytes(data, "big"), 8 * len(data) - at - 16
    return (whole & ~(0xFFFF << shift) | value << shift).to_bytes(len(data), "big")


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(
    "box, stream, note",
    [
        (None, (1, 13), None),
        (None, (12, 13), "Display P3"),
        (None, (9, 16), "PQ"),
        (None, (9, 18), "HLG"),
        (None, (1, 8), "linear light"),
        (None, (9, 1), "BT.2020"),
        ((1, 13), (9, 16), None),  # the box counts, not the stream
        ((12, 13), (1, 13), "Display P3"),
        ((9, 16), (1, 13), "PQ"),
    ],
)
def test_avif_colours_in_the_stream(box, stream, note, alpha):
    """Where there is no colr box, the sequence header of AV1 says what the colours are."""
    out = io.BytesIO()
    image = Image.new("RGBA" if alpha else "RGB", (16, 16), (200, 100, 50, 77)[: 4 if alpha else 3])
    image.save(out, "AVIF", quality=100, subsampling="4:4:4")
    data = out.getvalue()
    pattern = format(1 << 16 | 1 << 8 | 13, "017b")  # said, primaries 1, transfer 13
    streams = data.index(b"mdat") + 4
    text = "".join(format(byte, "08b") for byte in data[streams : streams + 4000])
    at = text.index(pattern) + 1
    data = data[:streams] + patched_bits(data[streams:], at, stream[0] << 8 | stream[1])
    data = data.replace(b"colrnclx", b"freenclx") if box is None else with_codes(data, *box)
    picture = read.load(data)
    assert (picture.notes == ()) if note is None else (note in picture.notes[0]), picture.notes
    if note == "Display P3":
        assert np.abs(picture.rgb[0, 0].astype(int) - (215, 93, 31)).max() <= 3
    if note == "linear light":
        assert np.abs(picture.rgb[0, 0].astype(int) - (229, 168, 123)).max() <= 3


@pytest.mark.parametrize("reduced", [False, True])
def test_sequence_header_of_av1(reduced):
    """One written field by field, of a still picture and of the first of a film; cut anywhere it says nothing."""
    fields = [(0, 3), (1, 1), (int(reduced), 1)]  # profile, still, reduced
    if reduced:
        fields += [(4, 5)]
    else:
        fields += [(1, 1), (1, 32), (25, 32), (1, 1), (0b00101, 5)]  # times
        fields += [(1, 1), (9, 5), (7, 32), (3, 5), (4, 5)]  # decoder model
        fields += [(1, 1), (1, 5)]  # delays are said; two operating points
        fields += [(3, 12), (9, 5), (1, 1), (1, 1), (5, 10), (6, 10), (0, 1), (1, 1), (2, 4)]
        fields += [(1, 12), (3, 5), (0, 1), (0, 1)]
    fields += [(9, 4), (8, 4), (639, 10), (479, 9)]
    if not reduced:
        fields += [(1, 1), (3, 4), (2, 3)]
    fields += [(1, 1), (0, 1), (1, 1)]
    if not reduced:
        fields += [(1, 1), (1, 1), (0, 1), (1, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1), (0, 1), (1, 1), (6, 3)]
    fields += [(0, 1), (1, 1), (1, 1)] + [(1, 1), (0, 1), (1, 1), (9, 8), (16, 8), (9, 8)]
    text = "".join(format(value, f"0{count}b") for value, count in fields)
    body = int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")
    data = b"\x12\0\x0a" + bytes([len(body)]) + body
    assert av1.colours(data) == (9, 16) and av1.colours(b"\x08" + body) == (9, 16)
    assert [av1.colours(data[:cut]) for cut in range(len(data) - 1)] == [None] * (len(data) - 1)


@pytest.mark.parametrize(
    "codes, note", [((1, 13), None), ((12, 13), "Display P3"), ((9, 16), "PQ"), ((9, 18), "HLG"), ((1, 8), "linear")]
)
def test_heic_colours(codes, note):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 50)).save(out, "HEIF", quality=100)
    picture = read.load(with_codes(out.getvalue(), *codes))
    assert (picture.notes == ()) if note is None else (note in picture.notes[0]), picture.notes


# profiles in 16 bits


def rgb_profile(gamma: float, points: str = "srgb") -> bytes:
    """An ICC profile of the primaries of sRGB and one gamma."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", data, 128)[0]
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    at = len(data)
    for index in range(count):
        entry = 132 + 12 * index
        if data[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            data[entry + 4 : entry + 12] = struct.pack(">II", at, len(curve))
    data += curve
    data[0:4] = struct.pack(">I", len(data))
    data[84:100] = bytes(16)
    return bytes(data)


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_linear_profile_in_sixteen_bits(channels, kind):
    """64 dark levels, of which 13 were left."""
    ramp = np.arange(64)[None, :, None] * 64
    samples = np.repeat(ramp, channels, axis=2)
    profile = rgb_profile(1.0)
    if kind == "png":
        data = png(samples, 16, 0 if channels == 1 else 2, iccp(profile))
    else:
        data = tiff(samples, 16, 1 if channels == 1 else 2, tags={34675: (7, profile)})
    picture = read.load(data)
    light = ramp[0, :, 0] / 65535
    wanted = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    got = picture.rgb[0, :, 0]
    assert np.abs(got - wanted).max() <= 0.6 and len(set(got.tolist())) > 50
    assert "colours were converted from the ICC profile to sRGB" in picture.notes


@pytest.mark.parametrize("channels", [1, 3])
def test_profile_of_tables_in_sixteen_bits(channels):
    """A dark ramp keeps its levels, gray its neutrality, and whole steps are as Pillow's engine has them."""
    profile = lut_profile(3)
    ramp = np.repeat(np.arange(64)[None, :, None] * 64, channels, axis=2)
    picture = read.load(png(ramp, 16, 0 if channels == 1 else 2, iccp(profile)))
    light = ramp[0, :, 0] / 65535
    wanted = 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    got = picture.rgb[0].astype(int)
    assert np.abs(got - wanted[:, None]).max() <= 2.5 and len(set(got[:, 1].tolist())) > 45
    assert np.ptp(got, axis=1).max() <= 1 and (np.diff(got[:, 1]) >= 0).all()
    assert picture.notes.count("colours were converted from the ICC profile to sRGB") == 1
    eight = np.random.default_rng(4).integers(0, 256, (40, 50, channels))
    kind = 0 if channels == 1 else 2
    same = [read.load(png(eight * scale, depth, kind, iccp(profile))).rgb for depth, scale in ((8, 1), (16, 257))]
    assert (same[0] == same[1]).all()


def test_inks_in_sixteen_bits_with_a_profile():
    profile = lut_profile(4, grid=5)
    eight = np.random.default_rng(4).integers(0, 256, (9, 11, 4))
    tags = {34675: (7, profile)}
    pictures = [read.load(tiff(eight * scale, depth, 5, tags=tags)) for depth, scale in ((8, 1), (16, 257))]
    assert (pictures[0].rgb == pictures[1].rgb).all() and pictures[1].notes[0] == REDUCED
    assert pictures[1].notes[1:] == pictures[0].notes == ("colours were converted from the ICC profile to sRGB",)
    ramp = np.zeros((1, 257, 4), int)
    ramp[..., 3] = 30000 + np.arange(257)
    got = read.load(tiff(ramp, 16, 5, tags=tags)).rgb[0].astype(int)
    assert (np.diff(got, axis=0) <= 0).all() and len(set(got[:, 1])) == 2
    wrong = read.load(tiff(ramp, 16, 5, tags={34675: (7, lut_profile(3))}))
    plain = read.load(tiff(ramp, 16, 5))
    assert (wrong.rgb == plain.rgb).all() and any("does not fit" in note for note in wrong.notes)


def test_profiles_in_sixteen_bits_agree_with_eight():
    for profile in (rgb_profile(1.8), rgb_profile(2.6)):
        samples = np.random.default_rng(2).integers(0, 256, (9, 9, 3))
        eight = read.load(png(samples, 8, 2, iccp(profile))).rgb.astype(int)
        deep = read.load(png(samples * 257, 16, 2, iccp(profile))).rgb
        assert np.abs(eight - deep).max() <= 2
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = read.load(png(RANDOM[..., :3], 16, 2, iccp(srgb)))
    assert (picture.rgb == rounded(RANDOM[..., :3])).all() and picture.notes == (REDUCED,)


# files that were refused


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_of_photoshop(layers):
    samples = RANDOM[..., :3].astype(np.uint8)
    picture = read.load(psd(samples, layers))
    assert (picture.rgb == samples).all()
    assert picture.notes == ((f"the merged picture of {layers} layers was taken",) if layers > 1 else ())


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3 * 10**6))),
        chunk(b"iTXt", b"k\0\x01\0\0\0" + zlib.compress(bytes(3 * 10**6))),
        chunk(b"tEXt", b"k\0" + b"x" * 3 * 10**6) * 30,
        chunk(b"tEXt", b"k\0text", check=0),
        chunk(b"iTXt", b"\xff\xff"),
        chunk(b"zzZz", b"?" * 50, check=7),
    ],
    ids=["zTXt", "iTXt", "tEXt", "checksum", "garbage", "unknown"],
)
def test_png_texts_do_not_cost_the_picture(extra, place):
    picture = read.load(png(COLOUR, 8, 2, **{place: extra}))
    assert (picture.rgb == COLOUR).all() and picture.notes == ()


def test_large_png_profile():
    profile = rgb_profile(1.0) + np.random.default_rng(1).bytes(2 * 2**20)
    picture = read.load(png(COLOUR, 8, 2, iccp(profile)))
    assert np.abs(picture.rgb[0, 0].astype(int) - (229, 168, 123)).max() <= 2


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_without_its_end_marker(progressive):
    photo = Image.open(PHOTO).resize((77, 61))
    out = io.BytesIO()
    photo.save(out, "JPEG", progressive=progressive)
    data = out.getvalue()
    whole = read.load(data)
    for cut in (1, 2):
        picture = read.load(data[:-cut])
        assert (picture.rgb == whole.rgb).all() and "end of the JPEG file is missing" in picture.notes[0]
    for cut in (20, 300, len(data) // 2):
        with pytest.raises(PictureError):
            read.load(data[:-cut])


@pytest.mark.parametrize("body", [b"", b"\0", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_png_that_is_none(body):
    with pytest.raises(PictureError):
        read.load(body)
    whole = png(COLOUR, 8, 2)
    for size in range(whole.index(b"IDAT") + 6):
        with pytest.raises(PictureError):
            read.load(whole[:size])


@pytest.mark.parametrize("parts", [1, 3])
def test_png_of_more_data_than_pixels_is_refused(parts):
    """Noughts that deflate to nothing: Pillow would take them for as long as they come."""
    whole = png(COLOUR, 8, 2)
    at = whole.index(b"IDAT") - 4
    extra = [chunk(b"IDAT", bytes(2**20 // parts + 1000)) for _ in range(parts)]
    assert read.load(whole[:at] + chunk(b"IDAT", b"") + whole[at:]).rgb.shape == (1, 1, 3)
    with pytest.raises(PictureError, match="more data than its pixels need"):
        read.load(whole[:-12] + b"".join(extra) + whole[-12:])


def test_limit_of_the_caller_is_told_as_it_is(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(LimitError, match="Image.MAX_IMAGE_PIXELS"):
        read.load(png(RANDOM[..., :3] % 256, 8, 2))


def large_png(*chunks: bytes) -> bytes:
    """One that says it is of 9000x8000, and has no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 8000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("given", ["path", "str", "bytes", "file", "command line"])
def test_a_large_picture_is_refused_as_what_it_is(given, tmp_path, capfd):
    path = tmp_path / "a.png"
    path.write_bytes(large_png())
    sentence = "the picture is too large: 9000x8000"
    if given == "command line":
        assert cli.main(["encode", str(path)]) == 1
        assert f"{path}: {sentence}" in capfd.readouterr().err
        return
    with open(path, "rb") as file:
        image = {"path": path, "str": str(path), "bytes": path.read_bytes(), "file": file}[given]
        with pytest.raises(LimitError, match=sentence):
            read.load(image)


def test_pixels_are_counted_though_a_text_is_long():
    text = chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(3_000_000)))
    small = png(COLOUR, 8, 2)
    small = small[:33] + text + small[33:]
    assert read.pixels_of(io.BytesIO(small)) == read.load(small).rgb[..., 0].size
    with pytest.raises(LimitError, match="9000x8000"):
        read.pixels_of(io.BytesIO(large_png(text)))
    for size in range(24):
        assert read.pixels_of(io.BytesIO(small[:size])) == 0


@pytest.mark.parametrize("size, refused", [(14, False), (40, True)])
def test_sound_files_are_not_called_damaged_for_the_limit_of_the_caller(size, refused, monkeypatch):
    """Pillow warns from so many pixels on, and refuses twice as many."""
    rgba = np.random.default_rng(1).integers(0, 256, (size, size, 4)).astype(np.uint8)
    data, alpha = lossless.encode(read.load(rgba)), pack_alpha(rgba[..., 3])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    for decode in (lambda: lossless.decode_array(data), lambda: unpack_alpha(alpha, size, size)):
        with warnings.catch_warnings(), pytest.raises(LimitError, match="Image.MAX") if refused else nullcontext():
            warnings.simplefilter("error")
            decode()


# what alpha hides


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (64, 40)])
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_hidden_pixels_are_filled_smoothly(shape, share):
    random = np.random.default_rng(3)
    rgb = random.integers(0, 256, (*shape, 3)).astype(np.uint8)
    alpha = np.where(random.random(shape) < share, 0, 7).astype(np.uint8)
    before = rgb.copy()
    filled = fill_hidden(rgb, alpha)
    assert (filled[alpha > 0] == rgb[alpha > 0]).all() and (rgb == before).all() and filled.dtype == np.uint8
    assert (fill_hidden(filled, alpha) == filled).all()
    assert fill_hidden(rgb, None) is rgb
    gray = np.repeat(rgb[..., :1], 3, axis=2)
    assert (np.ptp(fill_hidden(gray, alpha), axis=2) == 0).all()


def test_hidden_noise_costs_nothing(shipped):
    """A red disc in noise that nobody sees, 256x256: 993 bytes, most of them of the alpha channel, where 7648 were."""
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    disc = np.hypot(*np.mgrid[-128:128, -128:128]) < 90
    noise[disc] = 200, 30, 40
    picture = np.dstack([noise, np.where(disc, 255, 0).astype(np.uint8)])
    flat = noise.copy()
    flat[~disc] = 200, 30, 40
    cheap, kept = (len(shipped.encode(picture, keep_hidden=keep, lossless=False)) for keep in (False, True))
    least = len(shipped.encode(np.dstack([flat, picture[..., 3]]), lossless=False))
    assert cheap <= least + 50 and cheap < kept / 5, (cheap, least, kept)


# pictures out


def read_again(saved: SavedPicture, side: int | None = None) -> Image.Image:
    with Image.open(io.BytesIO(saved.data)) as image:
        if image.format == "ICNS":
            width, height, scale = next(size for size in image.info["sizes"] if size[0] * size[2] == side)
            image.size = width, height
            image.load(scale)
        else:
            image.load()
        return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", sorted(Image.SAVE))
def test_what_a_format_cannot_hold_is_said_or_refused(kind, mode):
    lossy = {"AVIF": 40, "JPEG": 40, "MPO": 40}
    for size in ((16, 16), (64, 64), (300, 30)):
        pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4)).astype(np.uint8)
        image = Image.fromarray(pixels).convert(mode)
        try:
            saved = to_bytes(image, kind)
        except PictureError as error:
            assert len(str(error)) > 20
            continue
        try:
            result = read_again(saved, size[0])
        except Exception:
            assert any("cannot be read again" in note for note in saved.notes)
            continue
        assert result.size == size
        if any("on white" in note or "off by" in note for note in saved.notes):
            continue
        wrong = np.abs(np.asarray(result.convert(mode), int) - np.asarray(image, int)).max()
        assert wrong <= lossy.get(kind, 0), wrong


def test_icons_and_gif():
    image = Image.fromarray(RANDOM.astype(np.uint8))
    saved = to_bytes(image, "ICO")
    assert (
        saved.notes == ()
        and read_again(saved).size == (7, 5)
        and (np.asarray(read_again(saved)) == np.asarray(image)).all()
    )
    with pytest.raises(PictureError, match="at most 256x256"):
        to_bytes(Image.new("RGB", (300, 200)), "ICO")
    with pytest.raises(PictureError, match="squares"):
        to_bytes(image, "ICNS")
    assert to_bytes(Image.new("RGBA", (64, 64), (1, 2, 3, 4)), "ICNS").notes == (
        "ICNS holds the picture in other sizes as well",
    )
    assert to_bytes(Image.new("RGB", (9, 9), (1, 2, 3)), "GIF").notes == ()
    many = np.random.default_rng(1).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert "GIF cannot hold all of these colours" in to_bytes(Image.fromarray(many), "GIF").notes[0]


# what callers hand over


def odd_tensors() -> dict[str, object]:
    plain = torch.full((3, 4, 5), 0.5)
    return {
        "meta": plain.to("meta"),
        "quantized": torch.quantize_per_tensor(plain, 0.1, 0, torch.quint8),
        "complex": torch.complex(plain, plain),
        "nested": torch.nested.nested_tensor([plain, plain]),
        "nul": "a\0b.png",
        "fake file": type("File", (), {"read": lambda self, size=-1: "text"})(),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["meta", "quantized", "complex", "nested", "nul", "fake file"])
def test_what_is_no_picture_is_refused_in_a_sentence(name):
    with pytest.raises(PictureError) as caught:
        read.load(odd_tensors()[name])
    assert "\n" not in str(caught.value)


def test_unusual_arrays_and_tensors_are_read():
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert (read.load(np.matrix(pixels)).rgb == pixels[..., None]).all()
    tensor = torch.arange(60).reshape(3, 4, 5) / 255
    for same in (
        tensor.to_sparse(),
        torch._neg_view(-tensor),
        tensor.half().float(),
        tensor.permute(2, 1, 0).contiguous().permute(2, 1, 0),
    ):
        assert (read.load(same).rgb == read.load(tensor).rgb).all()
