"""Every codec that can run here fulfils the contract; those that cannot are absent with a reason."""

import io
import stat
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.codecs import CLASSIC, NAMES, CodecAbsent, CodecBroken, CodecOptions, expand_names, make_codec
from benchmarks.codecs.registry import ARCHITECTURES
from benchmarks.harness.errors import BenchmarkError
from benchmarks.metrics.pictures import rmse

OPTIONS = CodecOptions()
HERE = [name for name in CLASSIC if name != "vvc"]


@pytest.mark.parametrize("name", HERE)
def test_contract_of_the_classic_codecs(name: str, photo: np.ndarray) -> None:
    codec = make_codec(name, OPTIONS)
    image = photo[:101, :83]  # odd sides
    files = [codec.encode(image, setting) for setting in (codec.settings[0], codec.settings[-1])]
    small, large = (codec.decode(data) for data in files)
    assert codec.name == name and any(letter.isdigit() for letter in codec.version)
    assert len(codec.settings) >= 8
    assert small.shape == large.shape == image.shape and small.dtype == large.dtype == np.uint8
    assert len(files[0]) < len(files[1])
    assert rmse(large, image) < min(8, rmse(small, image))
    assert codec.encode(image, codec.settings[0]) == files[0]
    span = sorted((codec.search.worst, codec.search.best))
    assert all(span[0] <= setting <= span[1] for setting in codec.settings)
    for setting in (*codec.settings, *span):
        codec.allowed.check(name, setting)
    for setting in (-0.5, codec.allowed.high + 1, float("nan"), *([50.5] if codec.allowed.whole else [])):
        with pytest.raises(BenchmarkError, match=f"{name} has no setting .*: it takes .*numbers from"):
            codec.allowed.check(name, setting)


def test_jpeg_variants_differ_as_named(photo: np.ndarray) -> None:
    def facts(name: str) -> tuple[bool, list[tuple[int, int]]]:
        with Image.open(io.BytesIO(make_codec(name, OPTIONS).encode(photo, 50))) as picture:
            return "progressive" in picture.info, [layer[1:3] for layer in picture.layer]

    assert facts("jpeg") == (False, [(2, 2), (1, 1), (1, 1)])
    assert facts("jpeg-progressive") == (True, [(2, 2), (1, 1), (1, 1)])
    assert facts("jpeg-444") == (False, [(1, 1), (1, 1), (1, 1)])


def test_groups_and_order_of_names() -> None:
    assert expand_names(["bpg", "jpeg", "bpg-444"]) == ("bpg-420", "bpg-444", "jpeg")
    assert set(expand_names(["all"])) == set(NAMES)
    stable = {"ours-vq", "ours-ldm", "ours-gan", "ours-perceptual", "vvc", "compressai-mbt2018-mean", *HERE}
    assert stable <= set(NAMES)
    with pytest.raises(BenchmarkError, match="unknown codec 'gif'"):
        expand_names(["jpeg", "gif"])


@pytest.mark.parametrize(("name", "module"), [("jxl", "imagecodecs"), ("heic", "pillow_heif"), ("bpg-420", "av")])
def test_a_missing_package_makes_the_codec_absent(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.bpg.writer import writer_version

    writer_version.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CodecAbsent, match=module.replace("_", "-")):
        make_codec(name, OPTIONS)


def script(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


BPGENC = """
import sys
from PIL import Image
if "-h" in sys.argv:
    print("BPG Image Encoder version 0.9.8"); sys.exit(1)
q, chroma, target, source = sys.argv[2], sys.argv[4], sys.argv[6], sys.argv[7]
assert sys.argv[1::2][:3] == ["-q", "-f", "-o"] and chroma in ("420", "444")
Image.open(source).save(target, "WEBP", quality=90 - int(q))
"""
BPGDEC = """
import sys
from PIL import Image
Image.open(sys.argv[3]).save(sys.argv[2])
"""


def test_bpgenc_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    script(tmp_path, "bpgenc", BPGENC)
    script(tmp_path, "bpgdec", BPGDEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    codec = make_codec("bpg-444", OPTIONS)
    data = codec.encode(photo, 40)
    assert data[:4] == b"RIFF"  # the stand-in's bytes, not those of the own writer
    assert rmse(codec.decode(data), photo) < 12
    assert codec.version == "bpgenc 0.9.8, x265, level 8, bpgdec"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys; sys.exit('no such preset')", "exit code 1: no such preset"),
        ("pass", "wrote no file"),
        ("import sys; open(sys.argv[6], 'wb').write(b'junk')", "not a BPG file"),
    ],
)
def test_a_broken_bpgenc_is_told_not_replaced(
    body: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, "bpgenc", body)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(CodecBroken, match=words):
        make_codec("bpg-420", OPTIONS)


def test_vvc_runs_the_tools_on_padded_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: np.ndarray
) -> None:
    """Stand-ins for vvencapp and vvdecapp: zlib on the planes, 10-bit output as the real decoder gives."""
    script(
        tmp_path,
        "vvencapp",
        """
import sys, zlib
if "--version" in sys.argv:
    print("vvencapp 1.12.0"); sys.exit()
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
width, height = map(int, options["-s"].split("x"))
data = open(options["-i"], "rb").read()
assert len(data) == width * height * 3 // 2 and width % 8 == height % 8 == 0 and options["-c"] == "yuv420"
open(options["-o"], "wb").write(zlib.compress(data, 1))
""",
    )
    script(
        tmp_path,
        "vvdecapp",
        """
import sys, zlib
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = zlib.decompress(open(options["-b"], "rb").read())
open(options["-o"], "wb").write(b"".join((4 * value).to_bytes(2, "little") for value in data))
""",
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    codec = make_codec("vvc", OPTIONS)
    image = photo[:61, :83]
    decoded = codec.decode(codec.encode(image, 32))
    assert decoded.shape == image.shape
    assert rmse(decoded, image) < 6  # what 4:2:0 alone costs
    assert "vvencapp 1.12.0" in codec.version


def test_vvc_without_tools_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CodecAbsent, match="vvencapp and vvdecapp"):
        make_codec("vvc", OPTIONS)


class FakeCodec:
    """The contract of `codec.Codec`, with WebP inside and an offset that tells the decoders apart."""

    model_id = 7

    def decoders(self) -> tuple[str, ...]:
        return ("vq", "ldm")

    def encode(self, image: np.ndarray, *, quality: float = 50.0, effort: int = 1, lossless: bool | None) -> bytes:
        assert lossless is False
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "WEBP", quality=int(quality))
        return bytes([effort]) + buffer.getvalue()

    def decode(self, data: bytes, decoder: str = "vq") -> Image.Image:
        picture = Image.open(io.BytesIO(data[1:])).convert("RGB")
        return picture if decoder == "vq" else picture.point(lambda value: value ^ 1)


@pytest.fixture
def fake_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.codecs import ours

    module = types.SimpleNamespace(load=lambda device: FakeCodec(), __version__="0.0")
    monkeypatch.setitem(sys.modules, "codec.errors", types.SimpleNamespace(CodecError=ValueError))
    monkeypatch.setitem(sys.modules, "codec", module)
    ours._load.cache_clear()
    yield
    ours._load.cache_clear()


def test_ours_decodes_one_file_with_every_decoder(fake_codec: None, photo: np.ndarray) -> None:
    vq, ldm, effort9 = (make_codec(name, OPTIONS) for name in ("ours-vq", "ours-ldm", "ours-vq-e9"))
    data = vq.encode(photo, 80)
    assert data == ldm.encode(photo, 80)
    assert data[0] == 1 and effort9.encode(photo, 80)[0] == 9
    assert not np.array_equal(vq.decode(data), ldm.decode(data))
    assert rmse(vq.decode(data), photo) < 12
    assert len({codec.version for codec in (vq, ldm, effort9)}) == 3 and "model 7" in vq.version


def test_ours_without_weights_for_a_decoder_is_absent(fake_codec: None) -> None:
    with pytest.raises(CodecAbsent, match="no weights for the gan decoder"):
        make_codec("ours-gan", OPTIONS)


@pytest.fixture
def empty_hub(tmp_path: Path) -> Path:
    import torch

    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    yield tmp_path
    torch.hub.set_dir(before)


@pytest.mark.slow
def test_compressai_without_checkpoints_is_absent_and_says_how_to_get_them(empty_hub: Path) -> None:
    assert len(ARCHITECTURES) == 6
    with pytest.raises(CodecAbsent, match=r"bmshj2018_factorized\(quality=1, pretrained=True\) downloads"):
        make_codec("compressai-bmshj2018-factorized", OPTIONS)


@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "bmshj2018-hyperprior"])
def test_compressai_codes_real_bytes_with_a_random_checkpoint(
    empty_hub: Path, photo: np.ndarray, architecture: str
) -> None:
    import torch

    from codec._compat import import_torchvision

    import_torchvision()
    from compressai.zoo.image import model_architectures, model_urls

    torch.manual_seed(0)
    model = model_architectures[architecture](8, 12)
    model.update()
    name = Path(model_urls[architecture]["mse"][2]).name
    torch.save(model.state_dict(), empty_hub / "checkpoints" / name)
    codec = make_codec(f"compressai-{architecture}", OPTIONS)
    assert codec.settings == (2.0,)
    image = photo[:70, :90]
    data = codec.encode(image, 2)
    decoded = codec.decode(data)
    x = torch.from_numpy(np.pad(image, ((0, 58), (0, 38), (0, 0)), mode="edge")).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = model.eval()(x)["x_hat"][0, :, :70, :90].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    assert decoded.shape == image.shape
    assert np.abs(decoded - expected).max() <= 1
    with pytest.raises(CodecAbsent, match="quality 3"):
        codec.encode(image, 3)
