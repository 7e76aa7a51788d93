"""Any picture in, the right pixels out; what cannot be kept is said, what cannot be read is refused."""

import io
import struct
import zlib
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from codec.errors import CorruptError, LimitError, PictureError
from codec.image import read
from codec.image.alpha import pack_alpha, unpack_alpha
from codec.image.write import assemble

PHOTO = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
RAMP = (np.arange(7 * 5 * 3).reshape(5, 7, 3) * 2 % 256).astype(np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG file written by hand, for what Pillow does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def test_every_way_to_hand_over_a_picture_gives_the_same_pixels(tmp_path):
    path = tmp_path / "ramp.png"
    Image.fromarray(RAMP).save(path)
    data = path.read_bytes()
    tensor = torch.from_numpy(RAMP).permute(2, 0, 1)
    images = [str(path), path, data, bytearray(data), io.BytesIO(data), Image.fromarray(RAMP), RAMP, tensor]
    images += [tensor / 255, (tensor / 255).double(), (tensor / 255).requires_grad_()]
    for image in images:
        picture = read.load(image)
        assert (picture.rgb == RAMP).all() and picture.rgb.dtype == np.uint8, type(image)
        assert picture.alpha is None and not picture.gray and picture.notes == ()
        assert (picture.width, picture.height) == (7, 5)
        assert read.load(picture) is picture
    assert read.load(torch.full((1, 2, 3), 0.5)).gray


def test_a_real_photograph():
    picture = read.load(PHOTO)
    assert picture.rgb.shape == (600, 512, 3) and picture.notes == ()
    assert (picture.rgb == np.asarray(Image.open(PHOTO).convert("RGB"))).all()


@pytest.mark.parametrize("mode", ["1", "L"])
def test_gray(mode):
    image = Image.fromarray(RAMP).convert(mode)
    picture = read.load(saved(image))
    assert picture.gray and picture.notes == ()
    assert (picture.rgb == np.asarray(image.convert("L"))[..., None]).all()


def test_gray_arrays():
    gray = RAMP[..., 0]
    for array in (gray, gray[..., None]):
        picture = read.load(array)
        assert picture.gray and (picture.rgb == gray[..., None]).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_kept(mode):
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(Image.fromarray(RAMP[..., 1]))
    for source in (image, saved(image), np.asarray(image)):
        picture = read.load(source)
        assert (picture.alpha == RAMP[..., 1]).all() and picture.gray == (mode == "LA")
        back = assemble(picture.rgb, picture.gray, picture.alpha)
        assert back.mode == mode and (np.asarray(back) == np.asarray(image)).all()


def test_opaque_alpha_is_dropped():
    assert read.load(Image.new("RGBA", (3, 2), (1, 2, 3, 255))).alpha is None
    assert read.load(Image.new("LA", (3, 2), (1, 255))).alpha is None


def test_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    picture = read.load(saved(image))
    assert picture.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]]] and picture.alpha is None and not picture.gray
    picture = read.load(saved(image, transparency=1))
    assert picture.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]]] and picture.alpha.tolist() == [[255, 0]]
    image.putpalette([9, 9, 9, 8, 8, 8])
    assert read.load(saved(image, "GIF")).gray


def test_one_transparent_colour():
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    assert read.load(saved(image, transparency=(4, 5, 6))).alpha.tolist() == [[255, 0]]
    gray = image.convert("L")
    assert read.load(saved(gray, transparency=gray.getpixel((0, 0)))).alpha.tolist() == [[0, 255]]


def test_sixteen_bit_gray_is_rounded_and_said():
    samples = np.array([[0, 128, 129, 32896, 65535, 65406]], np.uint16)
    for image in (Image.fromarray(samples), saved(Image.fromarray(samples)), saved(Image.fromarray(samples), "TIFF")):
        picture = read.load(image)
        assert picture.rgb[0, :, 0].tolist() == [0, 0, 1, 128, 255, 254]
        assert picture.gray and picture.notes == ("16-bit samples were reduced to 8 bits",)


def test_sixteen_bit_colour_and_its_transparent_colour():
    row = b"\0" + struct.pack(">6H", 257, 514, 771, 65535, 0, 256)
    key = struct.pack(">I4s6sI", 6, b"tRNS", row[7:], zlib.crc32(b"tRNS" + row[7:]))
    picture = read.load(png(2, 1, 16, 2, row))
    assert picture.rgb.tolist() == [[[1, 2, 3], [255, 0, 1]]] and picture.alpha is None
    assert picture.notes == ("16-bit samples were reduced to 8 bits",)
    assert read.load(png(2, 1, 16, 2, row, key)).alpha.tolist() == [[255, 0]]


def test_float_picture():
    samples = np.array([[0.0, 0.5, 1.0]], np.float32)
    picture = read.load(Image.fromarray(samples))
    assert picture.rgb[0, :, 0].tolist() == [0, 128, 255] and "floating-point" in picture.notes[0]
    for bad in (samples * 255, samples - 1, samples * np.nan):
        with pytest.raises(PictureError, match=r"\[0, 1\]"):
            read.load(Image.fromarray(bad))


def test_cmyk_is_converted_and_said():
    image = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    picture = read.load(saved(image, "TIFF"))
    assert picture.rgb[0, 0].tolist() == [0, 255, 255] and picture.notes == ("CMYK was converted to RGB",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation(kind, orientation):
    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :16] = 255, 0, 0  # red in the upper left of the stored picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read.load(saved(Image.fromarray(corners), kind, exif=exif))
    red_is_at = {  # (lower?, right?)
        2: (0, 1),
        3: (1, 1),
        4: (1, 0),
        5: (0, 0),
        6: (0, 1),
        7: (1, 1),
        8: (1, 0),
    }[orientation]
    assert picture.rgb.shape == ((48, 32, 3) if orientation > 4 else (32, 48, 3))
    row, column = (-4 if last else 4 for last in red_is_at)
    assert picture.rgb[row, column, 0] > 200
    assert picture.notes == ("the EXIF orientation was applied",)


def test_broken_exif_does_not_cost_the_picture():
    data = saved(Image.fromarray(RAMP), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert (read.load(data).rgb == RAMP).all()


def wide_gamut_profile() -> bytes:
    """An ICC profile that swaps nothing but is far from sRGB: the one Pillow can make, XYZ, will not fit RGB,
    so sRGB with the red and blue primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    for index in range(count):
        entry = 132 + 12 * index
        if profile[entry : entry + 4] == b"rXYZ":
            profile[entry : entry + 4] = b"bXYZ"
        elif profile[entry : entry + 4] == b"bXYZ":
            profile[entry : entry + 4] = b"rXYZ"
    profile[84:100] = bytes(16)  # the profile's own checksum, which is optional
    return bytes(profile)


def gray_profile() -> bytes:
    """A gray ICC profile with gamma 1."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g\0" + bytes(79) + b"\0\0\0"
    tags, body, offset = b"", b"", 128 + 4 + 3 * 12
    for name, value in ((b"wtpt", white), (b"kTRC", curve), (b"desc", text)):
        value += bytes(-len(value) % 4)
        tags += name + struct.pack(">2I", offset + len(body), len(value))
        body += value
    head = bytearray(128)
    head[0:4] = struct.pack(">I", offset + len(body))
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"mntrGRAYXYZ ", b"acsp"
    head[68:80] = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return bytes(head) + struct.pack(">I", 3) + tags + body


def test_icc_profile_is_converted_and_said():
    photo = Image.open(PHOTO).convert("RGB").resize((64, 64))
    swapped = Image.merge("RGB", photo.split()[::-1])
    picture = read.load(saved(photo, icc_profile=wide_gamut_profile()))
    assert picture.notes == ("colours were converted from the ICC profile to sRGB",)
    assert np.abs(picture.rgb.astype(int) - np.asarray(swapped)).max() <= 2


def test_srgb_profile_leaves_the_pixels_alone():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for image in (Image.fromarray(RAMP), Image.fromarray(RAMP).convert("L")):
        picture = read.load(saved(image, icc_profile=profile))
        assert (picture.rgb == np.asarray(image.convert("RGB"))).all() and picture.notes == ()


def test_gray_icc_profile():
    image = Image.fromarray(np.array([[0, 55, 255]], np.uint8))
    picture = read.load(saved(image, icc_profile=gray_profile()))
    assert picture.gray and picture.notes == ("colours were converted from the ICC profile to sRGB",)
    assert picture.rgb[0, :, 0].tolist() == [0, 128, 255]  # linear light .216 is sRGB .5


@pytest.mark.parametrize("profile, said", [(b"garbage" * 30, "broken"), ("gray", "does not fit")])
def test_useless_icc_profile_is_ignored_and_said(profile, said):
    profile = gray_profile() if profile == "gray" else profile
    picture = read.load(saved(Image.fromarray(RAMP), "TIFF", icc_profile=profile))
    assert (picture.rgb == RAMP).all() and len(picture.notes) == 1 and said in picture.notes[0]


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        picture = read.load(data)
        assert picture.notes == ("the first of 3 frames was taken",)
        assert picture.rgb[0, 0, 0] > 250 and picture.rgb[0, 0, 1] < 5


def test_limits_come_before_the_pixels():
    wide = png(65536, 1, 8, 0, b"")
    with pytest.raises(LimitError, match="65536x1"):
        read.load(wide)
    for side in (8200, 12000, 60000, 2**31 - 1):  # Pillow warns from 89 million pixels and refuses from 179
        with pytest.raises(LimitError):
            read.load(png(side, side, 8, 2, b""))
    with pytest.raises(LimitError):
        read.load(np.broadcast_to(np.uint8(0), (1, 65536)))
    assert read.load(np.zeros((1, 65535), np.uint8)).width == 65535
    assert read.load(np.zeros((1, 1, 3), np.uint8)).height == 1


def test_bad_pictures_are_refused(tmp_path):
    photo = Path(PHOTO).read_bytes()
    tiff = saved(Image.fromarray(RAMP), "TIFF")
    for bad in (b"", b"no picture", photo[:300], photo[: len(photo) // 2], tiff[:40], png(7, 5, 8, 2, b"\0" * 9)):
        with pytest.raises(PictureError) as caught:
            read.load(bad)
        assert "\n" not in str(caught.value)
    (tmp_path / "text.png").write_text("text")
    for path in (tmp_path / "text.png", tmp_path / "missing.png", tmp_path):
        with pytest.raises(PictureError):
            read.load(path)
    with pytest.raises(PictureError, match="EPS"):
        read.load(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((2, 2, 3), np.uint16),
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((2,), np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
        np.zeros((0, 2), np.uint8),
        None,
        3,
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(PictureError):
        read.load(array)


def test_other_tensors_are_refused():
    for tensor in (
        torch.full((3, 2, 2), 200.0),
        torch.full((3, 2, 2), float("nan")),
        torch.zeros(1, 3, 2, 2),
        torch.zeros(2, 2),
        torch.zeros(3, 0, 2),
        torch.zeros((3, 2, 2), dtype=torch.int64),
    ):
        with pytest.raises(PictureError):
            read.load(tensor)
    with pytest.raises(PictureError, match="no pixels"):
        read.load(torch.zeros(3, 0, 8))


def test_a_file_that_is_open_as_text_is_told_so(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    with (
        open(tmp_path / "a.png", encoding="ascii") as file,
        pytest.raises(PictureError, match="open as text, not as binary"),
    ):
        read.load(file)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (300, 200)])
def test_alpha_round_trip(shape):
    alpha = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    data = pack_alpha(alpha)
    assert (unpack_alpha(data, shape[1], shape[0]) == alpha).all()
    with pytest.raises(CorruptError):
        unpack_alpha(data, shape[1] + 1, shape[0])


def test_simple_alpha_is_small():
    disc = np.hypot(*np.mgrid[-128:128, -128:128]) < 100
    assert len(pack_alpha(disc.astype(np.uint8) * 255)) < 1000


def test_forged_alpha_is_refused():
    good = pack_alpha(RAMP[..., 0])
    rows = b"".join(b"\0" + bytes(7) for _ in range(5))
    assert (unpack_alpha(png(7, 5, 8, 0, rows), 7, 5) == 0).all()
    text = b"zTXt" + b"k\0\0" + zlib.compress(bytes(10**6))
    text = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    forged = [b"", good[:-1], good + b"\0", good[:40] + good[41:], b"GIF89a" + good, saved(Image.fromarray(RAMP))]
    forged += [png(7, 5, 8, 0, rows, text), png(7, 5, 16, 0, rows), png(7, 5, 8, 0, rows[:20]), png(7, 5, 8, 3, rows)]
    forged += [good.replace(b"IDAT", b"IDAX"), png(7, 5, 8, 0, b"\x09" * 40), png(2**31 - 1, 2**31 - 1, 8, 0, b"")]
    for data in forged:
        with pytest.raises(CorruptError):
            unpack_alpha(data, 7, 5)


def test_assemble_gray_takes_the_mean():
    rgb = np.array([[[10, 11, 11], [0, 0, 1], [255, 255, 255]]], np.uint8)
    assert np.asarray(assemble(rgb, True, None)).tolist() == [[11, 0, 255]]
    assert assemble(rgb, False, None).mode == "RGB"
