"""HEIC and JPEG XL: read where the packages are installed, and a sentence that names the package where not."""

import io
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import codec
from codec import cli
from codec.bitstream.container import Header, pack
from codec.errors import LimitError, PictureError
from codec.image import boxes, colour, formats, read

ORIENTATION = 0x112


@pytest.fixture(scope="module")
def small(photo) -> Image.Image:
    return ImageOps.fit(photo, (90, 60))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """A file written by the packages themselves."""
    pillow_heif.register_heif_opener()
    import pillow_jxl  # noqa: F401

    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.sqrt(np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_jpeg_xl_is_read(small, mode):
    image = small.convert(mode)
    if "A" in mode:
        image.putalpha(small.getchannel("G"))
    for container in (False, True):
        taken = read.load(saved(image, "JXL", lossless=True, use_container=container))
        assert (taken.rgb == np.asarray(image.convert("RGB"))).all() and taken.gray == (mode[0] == "L")
        assert (taken.alpha is None) != ("A" in mode) and taken.notes == ()
        assert "A" not in mode or (taken.alpha == np.asarray(image.getchannel("A"))).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_heic_is_read(small, mode, tmp_path):
    image = small.convert(mode)
    if "A" in mode:
        image.putalpha(small.getchannel("G"))
    path = tmp_path / "a.HEIC"
    path.write_bytes(saved(image, "HEIF", quality=95, chroma=444))
    taken = read.load(path)
    assert rmse(taken.rgb, np.asarray(image.convert("RGB"))) < 4 and taken.notes == () and taken.gray == (mode == "L")
    assert "A" not in mode or rmse(taken.alpha, np.asarray(image.getchannel("A"))) < 3
    with Image.open(path) as opened:
        assert (read.load(opened).rgb == taken.rgb).all()


def test_turned_pictures_are_turned_once(small, tmp_path):
    upright = np.asarray(ImageOps.exif_transpose(with_exif(small)))
    heic = read.load(saved(small, "HEIF", quality=95, chroma=444, exif=turned().tobytes()))
    assert rmse(heic.rgb, upright) < 4
    # JPEG XL has its own orientation, none here, and that in EXIF is to be ignored
    exact = read.load(saved(small, "JXL", lossless=True, use_container=True, exif=turned().tobytes()))
    assert (exact.rgb == np.asarray(small)).all()
    # but a JPEG file that was packed comes back as it was, and is turned as it would have been
    jpeg = tmp_path / "a.jpg"
    small.save(jpeg, exif=turned(), quality=90)
    with Image.open(jpeg) as opened, pytest.warns(UserWarning, match="JPEG reconstruction"):
        packed = saved(opened, "JXL")
    assert (read.load(packed).rgb == read.load(jpeg).rgb).all() and read.load(packed).rgb.shape == upright.shape


def with_exif(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "PNG", exif=turned())
    return Image.open(out)


def test_colours_of_heic_are_converted(small):
    """Codes of H.273, as in AVIF: Display P3, and PQ with the primaries of BT.2020."""
    for primaries, transfer in ((12, 13), (9, 16)):
        options = {"color_primaries": primaries, "transfer_characteristics": transfer, "matrix_coefficients": 1}
        data = saved(small, "HEIF", quality=95, chroma=444, **options)
        taken = read.load(data)
        with Image.open(io.BytesIO(data)) as opened:
            stored, again = np.asarray(opened), read.load(opened)
        encoding = colour.of_cicp(primaries, transfer, [])
        assert (taken.rgb == colour.to_srgb(stored, encoding)).all() and (again.rgb == taken.rgb).all()
        assert taken.notes == (encoding.note(),) and rmse(taken.rgb, stored) > 2


def test_the_main_picture_of_several_is_taken(small):
    other = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    file = pillow_heif.from_pillow(other)
    file.add_from_pillow(small)
    out = io.BytesIO()
    file.save(out, quality=95, chroma=444, primary_index=1)
    taken = read.load(out.getvalue())
    assert rmse(taken.rgb, np.asarray(small)) < 4 and taken.notes == ("the main one of 2 pictures was taken",)


# what is refused


@pytest.mark.parametrize(
    "kind, module, sentence",
    [
        ("HEIF", "pillow_heif", "HEIC files are read with the package pillow-heif, which is not installed"),
        ("JXL", "pillow_jxl", "JPEG XL files are read with the package pillow-jxl-plugin, which is not installed"),
    ],
)
def test_a_missing_package_is_named(small, tmp_path, monkeypatch, capfd, kind, module, sentence):
    data = saved(small, kind)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PictureError, match=sentence):
        read.load(data)
    path = tmp_path / {"HEIF": "a.heif", "JXL": "a.jxl"}[kind]
    path.write_bytes(data)
    assert cli.main(["encode", str(tmp_path)]) == 1  # it is not left out of a folder without a word
    error = capfd.readouterr().err
    assert sentence in error and error.count("\n") == 1 and "(pip install pillow-" in error


def test_a_large_jpeg_xl_file_is_refused_before_it_is_decoded(small, monkeypatch):
    data = saved(small, "JXL")
    import pillow_jxl.JpegXLImagePlugin as plugin

    monkeypatch.setattr(plugin, "Decoder", None)
    bits = 0 | 3 << 1 | 69999 << 3 | 0 << 33 | 3 << 36 | 69999 << 38  # not small, 30 bits, no ratio
    with pytest.raises(LimitError, match="too large: 70000x70000"):
        read.load(b"\xff\x0a" + bits.to_bytes(10, "little") + data[4:])
    with pytest.raises(PictureError, match="does not say its size"):
        read.load(b"\xff\x0a")


def test_pixels_are_counted_before_the_package_is_there(small, monkeypatch):
    """The budget of memory counts a file of any kind, and none is decoded for it."""
    import pillow_jxl.JpegXLImagePlugin as plugin

    files = {kind: saved(small, kind) for kind in ("HEIF", "JXL", "PNG", "AVIF", "JPEG")}
    monkeypatch.setattr(plugin, "Decoder", None)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name not in ("HEIF", "JXL")])
    for data in files.values():
        file = io.BytesIO(data)
        assert (read.pixels_of(file), file.tell()) == (90 * 60, 0)


def test_sizes_of_jpeg_xl_files(small):
    for size in ((1, 1), (8, 256), (64, 64), (160, 90), (120, 100), (300, 200), (257, 31), (3000, 2)):
        for container in (False, True):
            assert boxes.jxl_size(saved(small.resize(size), "JXL", use_container=container)) == size


def test_files_that_are_damaged_are_refused(small):
    for kind in ("HEIF", "JXL"):
        data = saved(small, kind)
        for bad in (data[: len(data) // 2], data[:40], data[:12], data[:40] + bytes(len(data) - 40)):
            with pytest.raises(PictureError):
                read.load(bad)


def test_our_own_files_are_no_pictures():
    with pytest.raises(PictureError, match=r"this is an \.ldc file; decode it first"):
        read.load(pack(Header(4, 4, 5, 1, 1), [b"abc"]))


def test_one_file_names_the_packages():
    sources = Path(codec.__file__).parent.rglob("*.py")
    names = [path.name for path in sources if any(kind.module in path.read_text() for kind in formats.FORMATS)]
    assert names == ["formats.py"]
    assert read.has_picture_suffix(Path("a.JXL")) and read.has_picture_suffix(Path("a.heic"))


@given(st.binary(max_size=80), st.sampled_from([b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x18ftyp", b""]))
@settings(max_examples=300)
def test_any_bytes_may_follow_the_start(tail, head):
    size = boxes.jxl_size(head + tail)
    assert size is None or (boxes.is_jxl(head + tail) and min(size) >= 0)
    assert boxes.is_heic(head + tail) in (False, head.endswith(b"ftyp") or tail[4:8] == b"ftyp")
