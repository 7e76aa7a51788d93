"""Image.open and Image.save on our files."""

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError

import codec
from codec import coarse, pillow_plugin
from codec.bitstream.container import Header, pack, read_header
from codec.errors import CodecError, PictureError
from codec.image import formats, read, write
from codec.options import DecodeOptions
from tests.support.fake_codec import FakeCodec
from tests.support.watched import Watched

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def fake(monkeypatch):
    """The plugin over a codec without a network."""
    fake = FakeCodec()
    monkeypatch.setattr(codec, "_codec", lambda model: fake)
    monkeypatch.setattr(pillow_plugin, "_light", lambda model: None)
    return fake


@pytest.fixture
def real(shipped, monkeypatch):
    """The plugin over the codec that users get, loaded once."""
    monkeypatch.setattr(codec, "_codec", lambda model: shipped)
    return shipped


@pytest.fixture
def registered():
    """register(), and back."""
    yield pillow_plugin.register
    pillow_plugin.register()


def test_the_import_registers():
    program = "import codec.pillow_plugin, sys; from PIL import Image; im = Image.open(sys.argv[1]); print(im.format, im.size, 'torch' in sys.modules)"
    path = GOLDEN / "model6-gray-odd.ldc"
    said = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert said.stdout == "LDC (53, 37) False\n"


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_save_and_open(fake, mode, tmp_path):
    image = Image.new(mode, (12, 8), "gray")
    if "A" in mode:
        image.putalpha(100)
    image.save(tmp_path / "a.ldc", quality=70, effort=2, seed=9, unknown=1)
    assert fake.calls[-1]["quality"] == 70 and fake.calls[-1]["effort"] == 2
    with Image.open(tmp_path / "a.ldc") as opened:
        assert (opened.format, opened.mode, opened.size) == ("LDC", mode, (12, 8))
        assert opened.get_format_mimetype() == "image/x-ldc"
        assert opened.info == {
            "ldc_quality": 70,
            "ldc_lossless": False,
            "ldc_reduced": False,
            "ldc_model": 250,
            "ldc_seed": 9,
        }
        assert (np.asarray(opened) == np.asarray(image)).all()
        opened.copy().save(tmp_path / "a.png")
        again = pickle.loads(pickle.dumps(opened))
        assert again.size == (12, 8) and (np.asarray(again) == np.asarray(image)).all()


def test_a_loaded_picture_outlives_its_file(fake):
    out = io.BytesIO()
    Image.new("RGB", (5, 5), "red").save(out, "LDC")
    image = Image.open(out)
    image.load()
    out.close()
    assert image.convert("L").getpixel((0, 0)) == 76


def test_opening_reads_the_header_only(fake):
    data = pack(Header(30, 20, 250, 1, 64), [b"no such thing" * 100])
    file = Watched(data)
    image = Image.open(file)
    assert image.size == (30, 20) and file.furthest <= 200
    with pytest.raises(OSError, match="the model 250 of the file is not known"):  # another table hash
        image.load()


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda data: data[:10] + b"?" + data[11:], "the header is damaged"),
        (lambda data: data[:12], "ends inside its header"),
        (lambda data: data[:4] + b"\x09" + data[5:], "format version 9"),
    ],
)
def test_what_cannot_be_opened_is_unidentified(damage, sentence, tmp_path):
    path = tmp_path / "a.ldc"
    path.write_bytes(damage((GOLDEN / "model6-photo-q05.ldc").read_bytes()))
    with pytest.raises(UnidentifiedImageError, match=sentence):
        Image.open(path)


def test_what_cannot_be_decoded_is_an_error_of_the_system(real):
    data = (GOLDEN / "model6-photo-q50.ldc").read_bytes()
    damaged = bytearray(data)
    damaged[-1] ^= 1
    for bad, sentence in ((data[:-1], "the file is cut short"), (damaged, "damaged"), (data + b"x", "left over")):
        with pytest.raises(OSError, match=sentence):
            Image.open(io.BytesIO(bad)).load()
        with pytest.raises(OSError, match=sentence):
            Image.open(io.BytesIO(bad)).verify()
        with pytest.raises(OSError, match=sentence if len(bad) != len(data) else "."):
            image = Image.open(io.BytesIO(bad))
            assert image.draft(None, (1, 1))
            image.load() if len(bad) != len(data) else image.verify()
    whole = Image.open(io.BytesIO(data))
    whole.verify()
    with pytest.raises(ValueError, match="closed"):
        whole.load()


def test_cut_files_where_pillow_is_told_to_take_them(real, monkeypatch):
    data = (GOLDEN / "model6-photo-q50.ldc").read_bytes()
    info = read_header(data)
    part = data[: info.header_bytes + sum(info.section_bytes[:2])]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    got = np.asarray(Image.open(io.BytesIO(part)), int)
    assert np.abs(got - real.decode_array(data, max_bytes=len(part))).max() <= 1
    small = Image.open(io.BytesIO(part))
    small.draft(None, (6, 5))
    small.load()
    assert small.size == (6, 5)


def test_lossless_cannot_be_cut(real, monkeypatch):
    data = codec.encode(Image.new("RGB", (64, 64)), lossless=True)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(OSError, match="it is coded without loss"):
        Image.open(io.BytesIO(data[:-1])).load()


@pytest.mark.parametrize("sections", [1, 2])
def test_model_0_is_not_the_sign_of_a_lossless_file(sections):
    """It is that of an experiment, whose files nothing here decodes."""
    start = b"\x2f" + (63 | 63 << 14).to_bytes(4, "little")  # of a section of 64x64 pixels without loss
    data = pack(Header(64, 64, 0, 5, 100), [start] * sections)
    with pytest.raises(OSError, match="model 0") as caught:
        Image.open(io.BytesIO(data)).load()
    with pytest.raises(CodecError) as other:
        codec.decode(data)
    assert str(caught.value) == str(other.value)


@pytest.mark.parametrize(
    "options, kind, sentence",
    [
        ({"quality": 101}, ValueError, "quality 101 is outside 0..100"),
        ({"quality": "high"}, ValueError, "quality is not a number"),
        ({"quality": 40, "lossless": True}, ValueError, "quality has no effect with lossless"),
        ({"target_bytes": 3}, OSError, "3 were asked for"),
    ],
)
def test_wrong_options(fake, options, kind, sentence, tmp_path):
    with pytest.raises(kind, match=sentence):
        Image.new("RGB", (5, 5)).save(tmp_path / "a.ldc", **options)
    assert not list(tmp_path.iterdir())


def test_pictures_that_are_not_taken(fake, tmp_path):
    with pytest.raises(OSError, match="."):
        Image.new("F", (5, 5), float("nan")).save(tmp_path / "a.ldc")


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_lossless(real, mode):
    image = Image.effect_noise((30, 20), 90).convert(mode)
    if "A" in mode:
        image.putalpha(100)
    out = io.BytesIO()
    image.save(out, "LDC", lossless=True)
    with Image.open(out) as opened:
        assert (opened.mode, opened.size) == (mode, (30, 20)) and opened.info["ldc_lossless"]
        assert opened.draft(None, (2, 2)) is None
        assert (np.asarray(opened) == np.asarray(image)).all()
    with Image.open(out) as opened:
        opened.thumbnail((3, 3))
        assert opened.size == (3, 2)


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


def test_draft_and_thumbnail(real, photo):
    data = real.encode(photo, quality=60)
    info = read_header(data)
    file = Watched(data)
    image = Image.open(file)
    assert image.draft("L", (64, 64)) == ("RGB", (0, 0, 64, 75)) and image.size == (64, 75)
    assert image.draft(None, (8, 8)) is None  # once only
    small = np.asarray(image, float)
    assert small.shape == (75, 64, 3)
    assert file.furthest == info.header_bytes + sum(info.section_bytes[:3])  # two groups
    full = Image.open(io.BytesIO(data))
    assert np.sqrt(np.mean((small - np.asarray(full.reduce(8), float)) ** 2)) < 2
    assert full.draft(None, (8, 8)) is None  # decoded already

    image = Image.open(io.BytesIO(data))
    image.thumbnail((50, 50))
    full.thumbnail((50, 50))
    assert image.size == full.size == (43, 50)
    assert np.sqrt(np.mean((np.asarray(image, float) - np.asarray(full, float)) ** 2)) < 2
    assert Image.open(io.BytesIO(data)).draft(None, (300, 300)) is None


def test_draft_keeps_alpha(real):
    path = GOLDEN / "model6-alpha-odd.ldc"
    with Image.open(path) as image, Image.open(path) as full:
        image.draft(None, (image.width // 4, image.height // 4))
        wanted = full.reduce(4)
        assert image.size == wanted.size and image.mode == wanted.mode and "A" in image.mode
        assert (np.asarray(image)[..., -1] == np.asarray(wanted)[..., -1]).all()


def test_another_decoder(fake, registered):
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "LDC")
    Image.open(out).load(DecodeOptions(decoder="ldm", realism=0.5))
    assert fake.calls[-1] == {"decoder": "ldm", "realism": 0.5}
    registered(DecodeOptions(decoder="ldm", steps=4))
    image = Image.open(out)
    assert image.draft(None, (4, 4)) is None
    image.load()
    assert fake.calls[-1] == {"decoder": "ldm", "steps": 4}
    with pytest.raises(ValueError, match="decoded already"):
        image.load(DecodeOptions())
    registered()
    image = Image.open(out)
    assert image.draft(None, (4, 4))
    with pytest.raises(ValueError, match="open the picture again"):
        image.load(DecodeOptions(decoder="ldm"))


def test_torch_where_there_is_no_onnxruntime(real, monkeypatch):
    """Both ways give the same picture, within a grey level."""
    path = GOLDEN / "model6-photo-q50.ldc"
    light = np.asarray(Image.open(path), int)
    monkeypatch.setattr(pillow_plugin, "_light", lambda model: None)
    torch = np.asarray(Image.open(path), int)
    assert (torch == real.decode_array(path.read_bytes())).all() and np.abs(light - torch).max() <= 1


@pytest.mark.parametrize("torch", [False, True])
def test_in_many_threads(real, monkeypatch, torch):
    if torch:
        monkeypatch.setattr(pillow_plugin, "_light", lambda model: None)
    paths = [GOLDEN / f"model6-{name}.ldc" for name in ("alpha-odd", "drawn", "gray-odd", "pixel")] * 2

    def pixels(path: Path) -> list[bytes]:
        with Image.open(path) as full, Image.open(path) as small:
            small.draft(None, (small.width // 2, small.height // 2))
            return [image.convert("RGBA").tobytes() for image in (full, small)]

    wanted = [pixels(path) for path in paths]
    coarse._model.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pixels, paths)) == wanted


def test_our_files_do_not_become_pictures_for_the_codec(tmp_path, real):
    """Pillow knows them now; folders of pictures still leave them out, and nothing is encoded twice."""
    pillow_plugin.register()
    path = tmp_path / "a.ldc"
    path.write_bytes(real.encode(Image.new("RGB", (32, 32))))
    assert not read.has_picture_suffix(path) and ".ldc" not in formats.all_suffixes()
    with pytest.raises(PictureError):
        read.load(path)
    with pytest.raises(PictureError, match="cannot be written as"):
        write.format_of(path)
