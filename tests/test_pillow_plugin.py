"""Image.open and Image.save on our files."""

import io

import numpy as np
import pytest
from PIL import Image

import codec
from codec import pillow_plugin
from codec.bitstream.container import Header, pack
from codec.errors import CorruptError, FormatError
from tests.support.fake_codec import FakeCodec


@pytest.fixture
def fake(monkeypatch):
    """The plugin registered, over a codec without a network."""
    fake = FakeCodec()
    monkeypatch.setattr(codec, "_codec", lambda model: fake)
    pillow_plugin.register()
    pillow_plugin.register()  # twice does no harm
    return fake


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_save_and_open(fake, mode, tmp_path):
    image = Image.new(mode, (12, 8), "gray")
    if "A" in mode:
        image.putalpha(100)
    image.save(tmp_path / "a.ldc", quality=70, effort=2, unknown=1)
    assert fake.calls[-1]["quality"] == 70 and fake.calls[-1]["effort"] == 2
    with Image.open(tmp_path / "a.ldc") as opened:
        assert (opened.format, opened.mode, opened.size) == ("LDC", mode, (12, 8))
        assert opened.get_format_mimetype() == "image/x-ldc" and opened.info["ldc_quality"] == 70
        assert (np.asarray(opened) == np.asarray(image)).all()
        opened.copy().save(tmp_path / "a.png")


def test_a_loaded_picture_outlives_its_file(fake):
    out = io.BytesIO()
    Image.new("RGB", (5, 5), "red").save(out, "LDC")
    image = Image.open(out)
    image.load()
    out.close()
    assert image.convert("L").getpixel((0, 0)) == 76


def test_opening_reads_the_header_only(fake):
    data = pack(Header(30, 20, 250, 1, 64), [b"no such thing"])
    image = Image.open(io.BytesIO(data))
    assert image.size == (30, 20)
    with pytest.raises(FormatError):  # another table hash
        image.load()
    with pytest.raises(CorruptError):
        Image.open(io.BytesIO(data[:-1])).load()
    with pytest.raises(CorruptError):
        Image.open(io.BytesIO(data[:10] + b"?" + data[11:]))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_lossless(shipped, monkeypatch, mode):
    monkeypatch.setattr(codec, "_codec", lambda model: shipped)
    pillow_plugin.register()
    image = Image.effect_noise((30, 20), 90).convert(mode)
    if "A" in mode:
        image.putalpha(100)
    out = io.BytesIO()
    image.save(out, "LDC", lossless=True)
    with Image.open(out) as opened:
        assert (opened.mode, opened.size) == (mode, (30, 20)) and opened.info["ldc_lossless"]
        assert (np.asarray(opened) == np.asarray(image)).all()


def test_other_formats_are_not_taken_over(fake):
    out = io.BytesIO()
    Image.new("RGB", (5, 5)).save(out, "PNG")
    assert Image.open(out).format == "PNG"


def test_metadata_is_kept_where_it_is_asked_for(tmp_path):
    pillow_plugin.register()
    image = Image.new("RGB", (30, 20), (1, 2, 3))
    image.getexif()[0x10F] = "Maker"
    for metadata in ("keep", "drop"):
        image.save(tmp_path / "a.ldc", lossless=True, metadata=metadata)
        with Image.open(tmp_path / "a.ldc") as again:
            assert again.getexif().get(0x10F) == ("Maker" if metadata == "keep" else None)
