"""The command line keeps EXIF and XMP where it is asked to, says what becomes of them, and drops them else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from codec import cli
from codec.bitstream.container import parse, read_header
from codec.image import metadata
from tests.support.fake_codec import SHIPPED, FakeCodec

XMP = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6">XMP</x>'


@pytest.fixture
def fake(monkeypatch):
    fake = FakeCodec()
    monkeypatch.setattr("codec.batch.backend.load_codec", lambda args, model: fake)
    monkeypatch.setattr("codec.cli.commands.cores", lambda: 1)
    return fake


def picture(path: Path, number: int = 0, xmp: bytes = XMP, **options) -> Path:
    """A JPEG of 40x30 pixels that a camera held upright."""
    tags = Image.Exif()
    tags[0x112], tags[0x10F], tags[ExifTags.IFD.GPSInfo] = 6, f"Maker {number}", {1: "N", 2: (1.0, 2.0, 3.0)}
    pixels = np.random.default_rng(number).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=tags, xmp=xmp, **options)
    return path


def run(*args: object) -> int:
    try:
        return cli.main([str(arg) for arg in args])
    except SystemExit as exit:
        return exit.code


def test_dropped_unless_it_is_asked_for(fake, tmp_path, capfd):
    photo = picture(tmp_path / "a.jpg")
    assert run("encode", photo) == 0
    plain = (tmp_path / "a.ldc").read_bytes()
    assert run("encode", photo, "-f", "--metadata", "drop") == 0 and (tmp_path / "a.ldc").read_bytes() == plain
    assert b"Maker" not in plain and not parse(plain).metadata
    assert run("decode", tmp_path / "a.ldc") == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (30, 40) and not image.getexif() and "xmp" not in image.info
    capfd.readouterr()
    assert run("encode", photo, "--metadata", "all") == 2 and "invalid choice: 'all'" in capfd.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_kept_and_written(fake, tmp_path, capfd, suffix):
    ldc = tmp_path / "a.ldc"
    assert run("encode", picture(tmp_path / "a.jpg"), "--metadata", "keep") == 0
    assert run("decode", ldc, "-o", tmp_path / f"b.{suffix}") == 0
    said = capfd.readouterr().err
    assert said.count("note:") == 1 and "orientation was applied" in said
    with Image.open(tmp_path / f"b.{suffix}") as image:
        tags = image.getexif()
        assert (image.size, tags[0x10F], tags.get(0x112, 1)) == ((30, 40), "Maker 0", 1)
        assert tags.get_ifd(ExifTags.IFD.GPSInfo)[2] == (1.0, 2.0, 3.0)
        assert image.info["xmp"] == XMP.replace(b'"6"', b'"1"')
    size = read_header(ldc.read_bytes()).metadata_bytes
    assert run("info", ldc) == 0 and f"metadata_bytes  {size}\n" in capfd.readouterr().out
    assert run("info", ldc, "--json") == 0 and json.loads(capfd.readouterr().out)["metadata_bytes"] == size > 100


def test_where_it_cannot_be_written(fake, tmp_path, capfd):
    assert run("encode", picture(tmp_path / "a.jpg"), "--metadata", "keep", "--quiet") == 0
    assert run("decode", tmp_path / "a.ldc", "-o", tmp_path / "a.bmp") == 0
    assert "note: BMP does not hold this EXIF and XMP data here: it was left out" in capfd.readouterr().err


def test_many_files_in_processes(tmp_path, capfd):
    (tmp_path / "in").mkdir()
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.jpg", number)
    assert run("encode", tmp_path / "in", "-o", tmp_path / "out", "--lossless", "--metadata", "keep", "--jobs", 2) == 0
    assert run("decode", tmp_path / "out", "-o", tmp_path / "back", "--jobs", 2) == 0
    for number in range(3):
        with Image.open(tmp_path / "back" / f"{number}.png") as image:
            assert image.getexif()[0x10F] == f"Maker {number}" and image.size == (30, 40)


def test_too_much_is_refused_with_what_to_do(fake, tmp_path, capfd, monkeypatch):
    noise = np.random.default_rng(1).integers(33, 127, 60000, np.uint8).tobytes().replace(b"<", b"-")
    photo = picture(tmp_path / "a.jpg", xmp=noise)
    monkeypatch.setattr(metadata, "MAX_METADATA", 40000)
    for options in ([], ["--lossless"]):
        assert run("encode", photo, "--metadata", "keep", *options) == 1
        said = capfd.readouterr().err
        assert said.count("\n") == 1 and "drop the metadata to encode the picture" in said
    assert not (tmp_path / "a.ldc").exists() and run("encode", photo) == 0


def test_what_is_broken_is_said(fake, tmp_path, capfd):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", exif=b"Exif\0\0no tags")
    assert run("encode", tmp_path / "a.png", "--metadata", "keep") == 0
    assert "note: the EXIF data is broken and was dropped" in capfd.readouterr().err
    assert run("encode", tmp_path / "a.png", "-f") == 0 and "EXIF" not in capfd.readouterr().err


def test_an_output_with_metadata_is_another_where_none_is_wanted(fake, tmp_path, capfd):
    photo, fake.model_id = picture(tmp_path / "a.jpg"), SHIPPED
    for lossless in ([], ["--lossless"]):
        assert run("encode", photo, "-f", "--metadata", "keep", *lossless) == 0
        assert run("encode", photo, "--skip-existing", "--metadata", "keep", *lossless) == 0
        assert run("encode", photo, "--skip-existing", *lossless) == 1
        assert "was made with other settings" in capfd.readouterr().err
